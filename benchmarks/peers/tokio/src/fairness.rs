// SPDX-License-Identifier: Apache-2.0

//! How late a sleeper wakes beside tasks that compute.

use crate::support::{number, report_latency, workers};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn compute_for(span: Duration) {
    let start = Instant::now();
    while start.elapsed() < span {}
}

async fn sleep_many(count: u64) -> Vec<Duration> {
    let mut late = Vec::new();
    for _ in 0..count {
        let wake = Instant::now() + Duration::from_millis(1);
        tokio::time::sleep_until(wake.into()).await;
        late.push(Instant::now().checked_duration_since(wake).expect("too early"));
    }
    late
}

pub async fn hog(count: u64) {
    if workers() == 1 {
        return;
    }
    let over = Arc::new(AtomicBool::new(false));
    let sleeper = tokio::spawn(sleep_many(count));
    let hog = {
        let over = over.clone();
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                compute_for(Duration::from_micros(1));
            }
        })
    };
    let late = sleeper.await.unwrap();
    over.store(true, Ordering::Relaxed);
    hog.await.unwrap();
    report_latency("beside a hog, p50", "beside a hog, p99", late);
}

pub async fn yielding(count: u64) {
    let over = Arc::new(AtomicBool::new(false));
    let slice = Duration::from_micros(number("slice", 100));
    let sleeper = tokio::spawn(sleep_many(count));
    let hogs: Vec<_> = (0..number("hogs", 4) * workers())
        .map(|_| {
            let over = over.clone();
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    compute_for(slice);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let late = sleeper.await.unwrap();
    over.store(true, Ordering::Relaxed);
    for hog in hogs {
        hog.await.unwrap();
    }
    report_latency("beside hogs that yield, p50", "beside hogs that yield, p99", late);
}
