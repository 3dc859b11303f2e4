// SPDX-License-Identifier: Apache-2.0

//! What the two keyed peers share: the keys of bench_keyed.c, the count of bodies that ended.

use crate::support::{number, xorshift};
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
