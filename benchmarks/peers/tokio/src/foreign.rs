// SPDX-License-Identifier: Apache-2.0

//! From a thread of the system into the runtime: submission, and waking it from idle.

use crate::support::{check, number, per_op, report_latency};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

pub async fn submit(count: u64) {
    submit_from(count, 1, "submit from one thread").await;
    submit_from(count, number("threads", 4), "submit from several threads").await;
}

async fn submit_from(count: u64, threads: u64, metric: &str) {
    let each = count / threads;
    let ended = Arc::new(AtomicU64::new(0));
    let all_ended = Arc::new(Notify::new());
    let start = Instant::now();
    let submitters: Vec<_> = (0..threads)
        .map(|_| {
            let (ended, all_ended) = (ended.clone(), all_ended.clone());
            let runtime = Handle::current();
            std::thread::spawn(move || {
                for _ in 0..each {
                    let (ended, all_ended) = (ended.clone(), all_ended.clone());
                    runtime.spawn(async move {
                        if ended.fetch_add(1, Ordering::Relaxed) + 1 == each * threads {
                            all_ended.notify_one();
                        }
                    });
                }
            })
        })
        .collect();
    all_ended.notified().await;
    per_op(metric, start, each * threads);
    for submitter in submitters {
        submitter.join().unwrap();
    }
}

fn pause() {
    std::thread::sleep(Duration::from_micros(number("pause", 1000)));
}

pub async fn wake(count: u64) {
    let permit = Arc::new(Semaphore::new(0));
    let (next, woken) = mpsc::channel::<Instant>();
    let caller = {
        let permit = permit.clone();
        std::thread::spawn(move || {
            let mut late = Vec::new();
            for _ in 0..count {
                pause();
                let called = Instant::now();
                permit.add_permits(1);
                late.push(woken.recv().unwrap().duration_since(called));
            }
            late
        })
    };
    for _ in 0..count {
        permit.acquire().await.unwrap().forget();
        next.send(Instant::now()).unwrap();
    }
    let late = caller.join().unwrap();
    check(late.len() as u64 == count, "a call is missing");
    report_latency("wake from idle, p50", "wake from idle, p99", late);
}

pub async fn spawn(count: u64) {
    let runtime = Handle::current();
    let over = Arc::new(Notify::new());
    let caller = {
        let over = over.clone();
        std::thread::spawn(move || {
            let mut late = Vec::new();
            for _ in 0..count {
                pause();
                let (next, begun) = mpsc::channel();
                let called = Instant::now();
                runtime.spawn(async move { next.send(Instant::now()).unwrap() });
                late.push(begun.recv().unwrap().duration_since(called));
            }
            over.notify_one();
            late
        })
    };
    over.notified().await;
    let late = caller.join().unwrap();
    check(late.len() as u64 == count, "a call is missing");
    report_latency("spawn from idle, p50", "spawn from idle, p99", late);
}
