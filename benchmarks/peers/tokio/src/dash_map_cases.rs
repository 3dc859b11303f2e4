// SPDX-License-Identifier: Apache-2.0

//! The work of bench_keyed.c over the map of dash_map.rs, with the same keys and checks.

use crate::dash_map::KeyedMap;
use crate::keys::{block, count_one, ended, entry_count, hot_keys, in_each_worker, in_two_tasks,
                  look_up, names, nothing, round_keys, shuffled, Body, ENDED};
use crate::support::{check, per_op_of, workers, xorshift};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

type Shared = Arc<KeyedMap>;

fn per_op(metric: &str, start: Instant, count: u64) {
    per_op_of("tokio DashMap", metric, start, count);
}

pub async fn ask(case: &str, count: u64) {
    ENDED.store(0, Ordering::Relaxed);
    match case {
        "i-seq" => sequential(count).await,
        "i-batch" => batch(count).await,
        "ii" => storm(count, "ii", false).await,
        "ii-started" => storm(count, "ii-started", true).await,
        "iii" => held(count).await,
        "iv" => lookup(count).await,
        "v" => hot(count).await,
        _ => clear(count).await,
    }
}

async fn sequential(count: u64) {
    let keys = names(count);
    let map = Shared::default();
    let start = Instant::now();
    for key in &keys {
        let (done, exit) = oneshot::channel();
        map.replace(key, async move { done.send(nothing().await).unwrap() });
        exit.await.unwrap();
    }
    per_op("i-seq", start, count);
    map.until_none_live().await;
    check(map.len() == 0, "left");
}

async fn batch(count: u64) {
    let round = round_keys();
    let count = count / round * round;
    let keys = names(count);
    let map = Shared::default();
    let start = Instant::now();
    for (i, key) in (1..).zip(&keys) {
        map.replace(key, count_one(Body));
        if i % round == 0 {
            map.until_none_live().await;
            check(ended() == i, "batch");
        }
    }
    per_op("i-batch", start, count);
    check(map.len() == 0, "left");
}

async fn storm(count: u64, metric: &str, started: bool) {
    let round = round_keys();
    let keys = names(round);
    let map = Shared::default();
    let mut replaced = 0;
    let start = Instant::now();
    for i in 0..count {
        replaced += u64::from(map.replace(&keys[(i % round) as usize], block(Body)));
        if started && i % round == round - 1 {
            tokio::task::yield_now().await;
        }
    }
    map.clear().await;
    per_op(metric, start, count);
    check(replaced == count - round && ended() == count, "storm");
}

async fn held(count: u64) {
    let map = Shared::default();
    let key = names(1).remove(0);
    map.replace(&key, block(Body));
    let share = count / workers();
    let start = Instant::now();
    in_each_worker(&map, move |_, map| {
        for _ in 0..share {
            check(!map.keep(&key, || block(Body)), "started");
        }
    })
    .await;
    per_op("iii", start, share * workers());
    map.clear().await;
}

async fn fill(map: &Shared, keys: &[String]) {
    for (i, key) in keys.iter().enumerate() {
        map.replace(key, block(Body));
        if i % 256 == 255 {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    check(map.len() == keys.len(), "size");
}

async fn lookup(count: u64) {
    let keys = names(entry_count());
    let map = Shared::default();
    fill(&map, &keys).await;
    let order = Arc::new(shuffled(&keys));
    let _not_dropped_by_the_tasks = order.clone();
    let share = count / workers();
    let start = Instant::now();
    in_each_worker(&map, move |worker, map| {
        look_up(&order, worker, share, |key| map.get(key).is_some());
    })
    .await;
    per_op("iv", start, share * workers());
    map.clear().await;
}

async fn hot(count: u64) {
    let map = Shared::default();
    let keys = Arc::new(names(hot_keys()));
    let start = Instant::now();
    let each = count / 2;
    let started = in_two_tasks(|seed| hot_many(map.clone(), keys.clone(), each, seed)).await;
    per_op("v", start, each * 2);
    map.clear().await;
    check(ended() == started && map.len() == 0, "hot");
}

async fn hot_many(map: Shared, keys: Arc<Vec<String>>, count: u64, seed: u64) -> u64 {
    let (mut random, mut started) = (seed, 0);
    for i in 0..count {
        let draw = xorshift(&mut random);
        let key = &keys[(draw % keys.len() as u64) as usize];
        match (draw >> 32) % 100 {
            0..=49 => {
                map.replace(key, block(Body));
                started += 1;
            }
            50..=74 => drop(map.get(key)),
            75..=89 => map.interrupt(key),
            _ => started += u64::from(map.keep(key, || block(Body))),
        }
        if i % 64 == 63 {
            tokio::task::yield_now().await;
        }
    }
    started
}

async fn clear(count: u64) {
    let map = Shared::default();
    fill(&map, &names(count)).await;
    let start = Instant::now();
    map.clear().await;
    per_op("vi", start, count);
    check(ended() == count && map.len() == 0, "clear");
}
