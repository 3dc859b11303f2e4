// SPDX-License-Identifier: Apache-2.0

//! The questions of the benchmarks, asked of Tokio, tokio-util's JoinMap and DashMap.
//!
//! peer QUESTION [--workers N] [--only CASE] [--count N] [--NAME N]... does each case twice and
//! prints the second time as a JSON line. One worker is the current_thread runtime, which
//! serves Tokio best there; more are the multi_thread runtime.

mod channel;
mod compute;
mod crowd;
mod dash_map;
mod dash_map_cases;
mod fairness;
mod flow;
mod foreign;
mod join_map;
mod keyed_waits;
mod keys;
mod support;
mod tasks;

use support::{check, is_printing, number, set_printing, words, workers};

/// Question, case, operations unless --count is given.
const WORKS: &[(&str, &str, u64)] = &[
    ("yield", "yield", 4_000_000),
    ("spawn_join", "one", 300_000),
    ("spawn_join", "batch", 500_000),
    ("fib", "later", 25),
    ("skynet", "later", 1_000_000),
    ("flow", "each", 1_000_000),
    ("flow", "race", 100_000),
    ("flow", "timeout", 100_000),
    ("pingpong", "semaphore", 300_000),
    ("pingpong", "channel", 300_000),
    ("channel", "producer_consumer", 1_000_000),
    ("keyed", "i-seq", 200_000),
    ("keyed", "i-batch", 200_000),
    ("keyed", "ii", 200_000),
    ("keyed", "ii-started", 200_000),
    ("keyed", "iii", 2_000_000),
    ("keyed", "iv", 1_000_000),
    ("keyed", "v", 400_000),
    ("keyed", "vi", 100_000),
    ("keyed_waits", "dedup", 200_000),
    ("keyed_waits", "replace-await", 200_000),
    ("keyed_waits", "restart", 1_000_000),
    ("compute", "queens", 3),
    ("compute", "matrix", 1),
    ("parked", "parked", 1_000_000),
    ("timers", "sleeps", 1_000_000),
    ("timers", "cancel", 1_000_000),
    ("foreign", "submit", 200_000),
    ("foreign", "wake", 500),
    ("foreign", "spawn", 500),
    ("fairness", "hog", 1000),
    ("fairness", "yielding", 500),
];

async fn ask(question: &str, case: &str, count: u64) {
    match (question, case) {
        ("yield", _) => tasks::yields(count).await,
        ("spawn_join", "one") => tasks::spawn_one(count).await,
        ("spawn_join", _) => tasks::spawn_batch(count).await,
        ("fib", _) => tasks::fib(count).await,
        ("skynet", _) => tasks::skynet(count).await,
        ("flow", "each") => flow::for_each(count).await,
        ("flow", "race") => flow::race(count).await,
        ("flow", _) => flow::timeout(count).await,
        ("pingpong", _) if workers() > 1 => {} // nothing keeps the two on threads of their own
        ("pingpong", "semaphore") => tasks::ping_pong_semaphore(count).await,
        ("pingpong", _) => tasks::ping_pong_channel(count).await,
        ("channel", _) => channel::one_to_one(count).await,
        ("keyed", case) => {
            join_map::ask(case, count).await;
            dash_map_cases::ask(case, count).await;
        }
        ("keyed_waits", "dedup") => keyed_waits::dedup(count).await,
        ("keyed_waits", "replace-await") => keyed_waits::replace_await(count).await,
        ("keyed_waits", _) => keyed_waits::restart(count).await,
        ("compute", "queens") => compute::queens(count).await,
        ("compute", _) => compute::matrix(count).await,
        ("parked", _) => crowd::parked(count).await,
        ("timers", "sleeps") => crowd::sleeps(count).await,
        ("timers", _) => crowd::cancel(count).await,
        ("foreign", "submit") => foreign::submit(count).await,
        ("foreign", "wake") => foreign::wake(count).await,
        ("foreign", _) => foreign::spawn(count).await,
        ("fairness", "hog") => fairness::hog(count).await,
        (_, _) => fairness::yielding(count).await,
    }
}

fn version() -> String {
    let lock = include_str!("../Cargo.lock");
    ["tokio", "tokio-util", "dashmap"]
        .map(|name| {
            let entry = lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1);
            let number = entry.and_then(|text| text.split('"').next());
            format!("{name} {}", number.unwrap_or("unknown"))
        })
        .join(", ")
}

fn main() {
    let question = std::env::args().nth(1).unwrap_or_default();
    if question == "--version" {
        println!("{}", version());
        return;
    }
    check(WORKS.iter().any(|work| work.0 == question), "QUESTION [--workers N] [--count N]...");
    let mut builder = match workers() {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(workers() as usize).enable_time();
    let runtime = builder.build().expect("a runtime");
    for &(_, case, count) in WORKS.iter().filter(|work| work.0 == question) {
        if words().get("only").map_or(false, |only| only != case) {
            continue;
        }
        for turn in 0..2 {
            set_printing(turn == 1);
            let question = question.clone();
            runtime.block_on(async move {
                // in a task, not in the thread that waits for the runtime
                let count = number("count", count);
                let work = tokio::spawn(async move { ask(&question, case, count).await });
                check(work.await.is_ok(), "a case panicked");
            });
            if turn == 0 && is_printing() {
                break; // it has measured a cold run and has nothing to say of a warm one
            }
        }
    }
}
