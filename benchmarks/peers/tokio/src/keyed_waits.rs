// SPDX-License-Identifier: Apache-2.0

//! The work of bench_keyed_waits.c: a OnceCell in a DashMap for calls of one key that share a run,
//! a mutex for each key over the map of dash_map.rs for replacements that wait, a task that
//! starts others for restarts.

use crate::dash_map::KeyedMap;
use crate::keys::{ended, names, round_keys, Body, ENDED};
use crate::support::{check, number, per_op};
use dashmap::DashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Mutex, OnceCell};

type Flights = DashMap<String, Arc<OnceCell<u64>>>;

/// Run what `body` makes under `key`, or wait for who runs there; true if it was one's own run.
async fn run_wait<F: Future<Output = u64>>(
    flights: &Flights,
    key: &str,
    body: impl FnOnce() -> F,
) -> (u64, bool) {
    let flight = flights.entry(key.to_string()).or_default().clone();
    let mut own = false;
    let run = || {
        own = true;
        body()
    };
    let result = *flight.get_or_init(run).await;
    if own {
        flights.remove_if(key, |_, other| Arc::ptr_eq(other, &flight));
    }
    (result, own)
}

#[derive(Default)]
struct Party {
    flights: Flights,
    come: AtomicU64,
    bodies: AtomicU64,
    started: AtomicU64,
}

async fn come(party: Arc<Party>, key: String, round: u64, callers: u64) {
    party.come.fetch_add(1, Ordering::Relaxed);
    let body = || async {
        party.bodies.fetch_add(1, Ordering::Relaxed);
        while party.come.load(Ordering::Relaxed) < callers {
            tokio::task::yield_now().await;
        }
        round
    };
    let (result, own) = run_wait(&party.flights, &key, body).await;
    check(result == round, "another's result");
    party.started.fetch_add(u64::from(own), Ordering::Relaxed);
}

pub async fn dedup(count: u64) {
    let callers = number("callers", 100);
    let keys = names((count + callers - 1) / callers);
    let party = Arc::new(Party::default());
    let start = Instant::now();
    for (round, key) in (0..).zip(&keys) {
        party.come.store(0, Ordering::Relaxed);
        let all: Vec<_> = (0..callers)
            .map(|_| tokio::spawn(come(party.clone(), key.clone(), round, callers)))
            .collect();
        for caller in all {
            caller.await.unwrap();
        }
    }
    per_op("run_wait of one key, per caller", start, keys.len() as u64 * callers);
    let bodies = party.bodies.load(Ordering::Relaxed);
    check(bodies == party.started.load(Ordering::Relaxed), "bodies");
    check(bodies >= keys.len() as u64 && party.flights.is_empty(), "bodies");
}

#[derive(Default)]
struct Place {
    turn: Mutex<()>,
    inside: AtomicU64, // bodies that run under this key: never two
}

struct Inside<'a>(&'a Place);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn alone(place: Arc<Place>, _body: Body) {
    let _turn = place.turn.lock().await;
    check(place.inside.fetch_add(1, Ordering::Relaxed) == 0, "another runs");
    let _inside = Inside(&place);
    std::future::pending::<()>().await;
}

pub async fn replace_await(count: u64) {
    ENDED.store(0, Ordering::Relaxed);
    let keys = names(round_keys());
    let places: Vec<Arc<Place>> = keys.iter().map(|_| Arc::default()).collect();
    let map = Arc::new(KeyedMap::default());
    let start = Instant::now();
    for i in 0..count as usize {
        let k = i % keys.len();
        let replaced = map.replace(&keys[k], alone(places[k].clone(), Body));
        check(replaced == (i >= keys.len()), "replaced");
        if k == keys.len() - 1 {
            tokio::task::yield_now().await;
        }
    }
    map.clear().await;
    per_op("replace_await storm", start, count);
    check(ended() == count, "replace_await");
}

async fn fail(bodies: Arc<AtomicU64>) -> Result<(), &'static str> {
    bodies.fetch_add(1, Ordering::Relaxed);
    Err("failed")
}

/// A task for each attempt, so that one that panics would not take the loop with it.
async fn restarted(bodies: Arc<AtomicU64>, restarts: u64) {
    for _ in 0..=restarts {
        if let Ok(Ok(())) = tokio::spawn(fail(bodies.clone())).await {
            return;
        }
    }
}

pub async fn restart(count: u64) {
    let keys = names(round_keys());
    let restarts = (count + keys.len() as u64 - 1) / keys.len() as u64;
    let map = Arc::new(KeyedMap::default());
    let bodies = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    for key in &keys {
        map.replace(key, restarted(bodies.clone(), restarts));
    }
    map.until_none_live().await;
    per_op("restart storm", start, keys.len() as u64 * restarts);
    let all = keys.len() as u64 * (restarts + 1);
    check(bodies.load(Ordering::Relaxed) == all, "bodies");
}
