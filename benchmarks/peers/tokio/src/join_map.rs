// SPDX-License-Identifier: Apache-2.0

//! Supervision by key with tokio-util's JoinMap: owned by one task, or in a mutex where several
//! use it.

use crate::keys::{block, count_one, ended, entry_count, hot_keys, in_each_worker, in_two_tasks,
                  look_up, names, nothing, round_keys, shuffled, Body, ENDED};
use crate::support::{check, per_op_of, workers, xorshift};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio_util::task::JoinMap;

fn per_op(metric: &str, start: Instant, count: u64) {
    per_op_of("tokio JoinMap", metric, start, count);
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
    let mut map = JoinMap::new();
    let start = Instant::now();
    for key in &keys {
        map.spawn(key.clone(), nothing());
        let (ended_key, result) = map.join_next().await.unwrap();
        check(&ended_key == key && result.is_ok(), "another's exit");
    }
    per_op("i-seq", start, count);
    check(map.is_empty(), "left");
}

async fn batch(count: u64) {
    let round = round_keys();
    let count = count / round * round;
    let keys = names(count);
    let mut map = JoinMap::new();
    let start = Instant::now();
    for (i, key) in (1..).zip(&keys) {
        map.spawn(key.clone(), count_one(Body));
        if i % round == 0 {
            while map.join_next().await.is_some() {}
            check(ended() == i, "batch");
        }
    }
    per_op("i-batch", start, count);
}

async fn storm(count: u64, metric: &str, started: bool) {
    let round = round_keys();
    let keys = names(round);
    let mut map = JoinMap::new();
    let start = Instant::now();
    for i in 0..count {
        map.spawn(keys[(i % round) as usize].clone(), block(Body));
        if started && i % round == round - 1 {
            tokio::task::yield_now().await;
        }
    }
    map.abort_all();
    while map.join_next().await.is_some() {}
    // JoinMap does not report whom it has replaced
    while ended() < count {
        tokio::task::yield_now().await;
    }
    per_op(metric, start, count);
    check(ended() == count, "storm");
}

type Shared = Arc<Mutex<JoinMap<String, ()>>>;

async fn held(count: u64) {
    let map = Shared::default();
    let key = names(1).remove(0);
    map.lock().unwrap().spawn(key.clone(), block(Body));
    let share = count / workers();
    let start = Instant::now();
    in_each_worker(&map, move |_, map| {
        for _ in 0..share {
            let mut map = map.lock().unwrap();
            if !map.contains_key(&key) {
                map.spawn(key.clone(), block(Body));
            }
        }
    })
    .await;
    per_op("iii", start, share * workers());
    check(map.lock().unwrap().len() == 1, "started");
}

async fn filled(keys: &[String]) -> JoinMap<String, ()> {
    let mut map = JoinMap::new();
    for (i, key) in keys.iter().enumerate() {
        map.spawn(key.clone(), block(Body));
        if i % 256 == 255 {
            tokio::task::yield_now().await;
        }
    }
    map
}

/// JoinMap gives no handle: it only says whether the key is there.
async fn lookup(count: u64) {
    let keys = names(entry_count());
    let map = Shared::new(Mutex::new(filled(&keys).await));
    let order = Arc::new(shuffled(&keys));
    let _not_dropped_by_the_tasks = order.clone();
    let share = count / workers();
    let start = Instant::now();
    in_each_worker(&map, move |worker, map| {
        look_up(&order, worker, share, |key| map.lock().unwrap().contains_key(key));
    })
    .await;
    per_op("iv", start, share * workers());
}

async fn hot(count: u64) {
    let map = Shared::default();
    let keys = Arc::new(names(hot_keys()));
    let start = Instant::now();
    let each = count / 2;
    let started = in_two_tasks(|seed| hot_many(map.clone(), keys.clone(), each, seed)).await;
    per_op("v", start, each * 2);
    let mut map = std::mem::take(&mut *map.lock().unwrap());
    map.abort_all();
    while map.join_next().await.is_some() {}
    while ended() < started {
        tokio::task::yield_now().await;
    }
    check(ended() == started, "hot");
}

async fn hot_many(map: Shared, keys: Arc<Vec<String>>, count: u64, seed: u64) -> u64 {
    let (mut random, mut started) = (seed, 0);
    for i in 0..count {
        let draw = xorshift(&mut random);
        let key = &keys[(draw % keys.len() as u64) as usize];
        let percent = (draw >> 32) % 100;
        {
            let mut map = map.lock().unwrap();
            if percent < 50 || (percent >= 90 && !map.contains_key(key)) {
                map.spawn(key.clone(), block(Body));
                started += 1;
            } else if percent < 75 {
                map.contains_key(key);
            } else if percent < 90 {
                map.abort(key);
            }
        }
        if i % 64 == 63 {
            tokio::task::yield_now().await;
        }
    }
    started
}

async fn clear(count: u64) {
    let mut map = filled(&names(count)).await;
    let start = Instant::now();
    map.abort_all();
    while map.join_next().await.is_some() {}
    per_op("vi", start, count);
    check(ended() == count, "clear");
}
