// SPDX-License-Identifier: Apache-2.0

//! A crowd: tasks that all wait, tasks that all sleep. Measured in the first run alone: in the
//! second the memory would be there already.

use crate::support::{check, per_op, report, set_printing, workers, xorshift};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("statm");
    pages * 4096
}

/// User and system time of the process in seconds, in steps of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let behind_name = stat.rsplit(')').next().expect("stat");
    let ticks = |field: usize| -> f64 {
        behind_name.split_whitespace().nth(field).and_then(|n| n.parse().ok()).expect("stat")
    };
    (ticks(11) + ticks(12)) / 100.0
}

pub async fn parked(count: u64) {
    set_printing(true);
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::new(AtomicU64::new(0));
    let all_wait = Arc::new(Notify::new());
    let mut tasks = Vec::with_capacity(count as usize);
    let before = resident_bytes();
    let start = Instant::now();
    for _ in 0..count {
        let (gate, waiting, all_wait) = (gate.clone(), waiting.clone(), all_wait.clone());
        tasks.push(tokio::spawn(async move {
            if waiting.fetch_add(1, Ordering::Relaxed) + 1 == count {
                all_wait.notify_one();
            }
            gate.acquire().await.unwrap().forget();
        }));
    }
    all_wait.notified().await;
    per_op("create cold and wait", start, count);
    let bytes = (resident_bytes() - before) as f64 / count as f64;
    report("tokio", "waiting, resident", "bytes", bytes);
    let start = Instant::now();
    gate.add_permits(count as usize);
    for task in tasks {
        task.await.unwrap();
    }
    per_op("wake all, see them end", start, count);
}

/// Tasks sleep for an hour, and then are aborted.
pub async fn cancel(count: u64) {
    set_printing(true);
    let asleep = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::with_capacity(count as usize);
    let start = Instant::now();
    for i in 0..count {
        let asleep = asleep.clone();
        let hour = Duration::from_millis(3_600_000 + i % 1000);
        tasks.push(tokio::spawn(async move {
            asleep.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(hour).await;
        }));
    }
    while asleep.load(Ordering::Relaxed) < count {
        tokio::task::yield_now().await;
    }
    per_op("sleeps, create and arm", start, count);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let start = Instant::now();
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        check(task.await.unwrap_err().is_cancelled(), "somebody was not cancelled");
    }
    per_op("sleeps, cancel and end", start, count);
}

pub async fn sleeps(count: u64) {
    set_printing(true);
    let mut ahead = Duration::from_micros(100_000 + 5 * count);
    while !sleep_round(count, ahead).await {
        ahead *= 2;
    }
}

/// Tasks sleep until random instants of one second; false if it had begun before all slept.
async fn sleep_round(count: u64, ahead: Duration) -> bool {
    let mut random = 88172645463325252;
    let cpu = cpu_seconds();
    let begin = Instant::now() + ahead;
    let mut tasks = Vec::with_capacity(count as usize);
    for i in 0..count {
        let wake = begin + Duration::from_nanos(xorshift(&mut random) % 1_000_000_000);
        tasks.push(tokio::spawn(async move {
            tokio::time::sleep_until(wake.into()).await;
            Instant::now().checked_duration_since(wake).expect("too early")
        }));
        if workers() == 1 && i % 1000 == 999 {
            tokio::task::yield_now().await;
        }
    }
    let in_time = Instant::now() < begin;
    let mut late = Vec::with_capacity(tasks.len());
    for task in tasks {
        late.push(task.await.unwrap().as_micros() as f64);
    }
    let cpu = cpu_seconds() - cpu;
    late.sort_by(f64::total_cmp);
    check(late.len() as u64 == count, "somebody did not wake");
    if in_time {
        let n = late.len();
        report("tokio", "sleeps, lateness p50", "us", late[n / 2]);
        report("tokio", "sleeps, lateness p99", "us", late[n - 1 - n / 100]);
        report("tokio", "sleeps, lateness p99.9", "us", late[n - 1 - n / 1000]);
        report("tokio", "sleeps, processor time", "s", cpu);
    }
    in_time
}
