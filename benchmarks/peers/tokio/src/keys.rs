// SPDX-License-Identifier: Apache-2.0

//! What the two keyed peers share: the keys of bench_keyed.c, the count of bodies that ended,
//! who asks from where.

use crate::support::{check, number, workers, xorshift};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

pub static ENDED: AtomicU64 = AtomicU64::new(0);

/// Counts a body when it ends, also when it is aborted or dropped before it began.
pub struct Body;

impl Drop for Body {
    fn drop(&mut self) {
        ENDED.fetch_add(1, Ordering::Relaxed);
    }
}

pub async fn nothing() {}

pub async fn count_one(_body: Body) {}

pub async fn block(_body: Body) {
    std::future::pending::<()>().await;
}

pub fn ended() -> u64 {
    ENDED.load(Ordering::Relaxed)
}

pub fn names(count: u64) -> Vec<String> {
    let stems = ["j-", "job-", "user-", "session-", "connection-"];
    (0..count).map(|i| format!("{}{i:07}", stems[i as usize % 5])).collect()
}

pub fn shuffled(names: &[String]) -> Vec<String> {
    let mut order: Vec<String> = Vec::with_capacity(names.len());
    let mut random = 88172645463325252;
    for name in names {
        let j = (xorshift(&mut random) % (order.len() as u64 + 1)) as usize;
        order.push(name.clone());
        let last = order.len() - 1;
        order.swap(j, last);
    }
    order
}

pub fn round_keys() -> u64 {
    number("keys", 1000)
}

pub fn hot_keys() -> u64 {
    number("hot", 16)
}

pub fn entry_count() -> u64 {
    number("entries", 100_000)
}

/// The same work in one task for each worker.
pub async fn in_each_worker<M>(map: &M, work: impl Fn(u64, &M) + Clone + Send + 'static)
where
    M: Clone + Send + 'static,
{
    let tasks: Vec<_> = (0..workers())
        .map(|worker| {
            let (map, work) = (map.clone(), work.clone());
            tokio::spawn(async move { work(worker, &map) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// A worker's share of lookups, each worker's from another place on.
pub fn look_up(order: &[String], worker: u64, share: u64, finds: impl Fn(&String) -> bool) {
    let mut place = worker as usize * 7919 % order.len();
    for _ in 0..share {
        check(finds(&order[place]), "not found");
        place = if place + 1 == order.len() { 0 } else { place + 1 };
    }
}

/// The work of two tasks, each with a seed of its own; the sum of what they return.
pub async fn in_two_tasks<F>(work: impl Fn(u64) -> F) -> u64
where
    F: Future<Output = u64> + Send + 'static,
{
    let both = [0, 1].map(|i| tokio::spawn(work(2463534242 + i * 7919)));
    let mut sum = 0;
    for task in both {
        sum += task.await.unwrap();
    }
    sum
}
