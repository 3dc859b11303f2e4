// SPDX-License-Identifier: Apache-2.0

//! Tasks: yield, spawn and join, trees, ping-pong.

use crate::support::{check, number, per_op, report, workers};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, Semaphore};
use tokio::task::JoinHandle;

pub async fn yields(count: u64) {
    let each = count / (2 * workers());
    let start = Instant::now();
    let tasks: Vec<_> = (0..2 * workers())
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..each {
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let yields = each * 2 * workers();
    let ns = start.elapsed().as_nanos() as f64 * workers() as f64 / yields as f64;
    report("tokio", "yield", "ns", ns);
}

pub async fn spawn_one(count: u64) {
    let start = Instant::now();
    let mut sum = 0;
    for i in 0..count {
        sum += tokio::spawn(async move { i }).await.unwrap();
    }
    per_op("spawn+join, one at a time", start, count);
    check(sum == count * (count - 1) / 2, "a task is missing");
}

pub async fn spawn_batch(count: u64) {
    let batch = number("batch", 1000);
    let mut tasks: Vec<JoinHandle<u64>> = Vec::with_capacity(batch as usize);
    let mut joined = 0;
    let start = Instant::now();
    for _ in 0..count / batch {
        tasks.extend((0..batch).map(|_| tokio::spawn(async { 1 })));
        for task in tasks.drain(..) {
            joined += task.await.unwrap();
        }
    }
    per_op("spawn 1000, join all", start, joined);
    check(joined == count / batch * batch, "a task is missing");
}

fn fib_of(n: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if n < 2 {
            return n;
        }
        let child = tokio::spawn(fib_of(n - 1));
        let own = fib_of(n - 2).await;
        own + child.await.unwrap()
    })
}

pub async fn fib(n: u64) {
    let (mut a, mut b) = (0, 1);
    for _ in 0..n {
        (a, b) = (b, a + b);
    }
    let start = Instant::now();
    let result = fib_of(n).await;
    per_op("fib, per fork", start, b - 1);
    check(result == a, "another number");
}

fn grow(first: u64, leaves: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if leaves == 1 {
            return first;
        }
        let step = leaves / 10;
        let children: Vec<_> =
            (0..10).map(|i| tokio::spawn(grow(first + i * step, step))).collect();
        let mut sum = 0;
        for child in children {
            sum += child.await.unwrap();
        }
        sum
    })
}

pub async fn skynet(leaves: u64) {
    let start = Instant::now();
    let sum = tokio::spawn(grow(0, leaves)).await.unwrap();
    report("tokio", "skynet", "ms", start.elapsed().as_secs_f64() * 1e3);
    check(sum == leaves * (leaves - 1) / 2, "another sum");
}

pub async fn ping_pong_channel(count: u64) {
    let (to_other, mut at_other) = mpsc::channel(1);
    let (to_us, mut at_us) = mpsc::channel(1);
    let start = Instant::now();
    let other = tokio::spawn(async move {
        while let Some(ball) = at_other.recv().await {
            to_us.send(ball + 1).await.unwrap();
        }
    });
    let mut ball = 0;
    for _ in 0..count {
        to_other.send(ball).await.unwrap();
        ball = at_us.recv().await.unwrap();
    }
    per_op("ping-pong, channel of one", start, count);
    drop(to_other);
    other.await.unwrap();
    check(ball == count, "a turn is missing");
}

pub async fn ping_pong_semaphore(count: u64) {
    let balls = Arc::new([Semaphore::new(1), Semaphore::new(0)]);
    let play = |me: usize, balls: Arc<[Semaphore; 2]>| async move {
        for _ in 0..count {
            balls[me].acquire().await.unwrap().forget();
            balls[1 - me].add_permits(1);
        }
    };
    let start = Instant::now();
    let other = tokio::spawn(play(1, balls.clone()));
    play(0, balls.clone()).await;
    other.await.unwrap();
    per_op("ping-pong, semaphore", start, count);
    check(balls[0].available_permits() == 1, "a turn is missing");
}
