// SPDX-License-Identifier: Apache-2.0

//! A value through a channel. An mpsc holds at least one value and has one receiver.

use crate::support::{check, per_op};
use std::time::Instant;
use tokio::sync::mpsc;

pub async fn one_to_one(count: u64) {
    through(count, 1, "channel of one, one to one").await;
    through(count, 100, "channel of 100, one to one").await;
}

async fn through(count: u64, capacity: usize, metric: &str) {
    let (sender, mut receiver) = mpsc::channel(capacity);
    let start = Instant::now();
    let consumer = tokio::spawn(async move {
        let mut sum = 0;
        while let Some(value) = receiver.recv().await {
            sum += value;
        }
        sum
    });
    let producer = tokio::spawn(async move {
        for value in 1..=count {
            sender.send(value).await.unwrap();
        }
    });
    producer.await.unwrap();
    let sum = consumer.await.unwrap();
    per_op(metric, start, count);
    check(sum == count * (count + 1) / 2, "a value is missing");
}
