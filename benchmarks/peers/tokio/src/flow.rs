// SPDX-License-Identifier: Apache-2.0

//! The structured calls as Tokio programs write them.

use crate::support::{check, number, per_op};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A task for each piece, no more than so many at a time.
pub async fn for_each(count: u64) {
    let bound = number("bound", 8) as usize;
    let done: Arc<Vec<AtomicU8>> = Arc::new((0..count).map(|_| AtomicU8::new(0)).collect());
    let limit = Arc::new(Semaphore::new(bound));
    let mut all = JoinSet::new();
    let start = Instant::now();
    for i in 0..count as usize {
        let permit = limit.clone().acquire_owned().await.unwrap();
        let done = done.clone();
        all.spawn(async move {
            done[i].store(1, Ordering::Relaxed);
            drop(permit);
        });
        if all.len() >= 2 * bound {
            all.join_next().await; // results do not pile up
        }
    }
    while all.join_next().await.is_some() {}
    per_op("for_each of 8", start, count);
    check(done.iter().all(|piece| piece.load(Ordering::Relaxed) == 1), "a piece was left out");
}

/// Of two tasks, one is done at once and the other waits until it is aborted; both are awaited.
pub async fn race(count: u64) {
    let start = Instant::now();
    for i in 0..count {
        let mut both = JoinSet::new();
        both.spawn(std::future::pending::<u64>());
        both.spawn(async move { i });
        check(both.join_next().await.unwrap().unwrap() == i, "nobody won");
        both.shutdown().await;
    }
    per_op("race of two", start, count);
}

pub async fn timeout(count: u64) {
    let start = Instant::now();
    for i in 0..count {
        let body = tokio::spawn(async move { i });
        let result = tokio::time::timeout(Duration::from_secs(1), body).await;
        check(result.unwrap().unwrap() == i, "another's result");
    }
    per_op("timeout that does not fire", start, count);
}
