// SPDX-License-Identifier: Apache-2.0

//! The command line, the figures, the check.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static PRINTING: AtomicBool = AtomicBool::new(false);

pub fn set_printing(printing: bool) {
    PRINTING.store(printing, Ordering::Relaxed);
}

pub fn is_printing() -> bool {
    PRINTING.load(Ordering::Relaxed)
}

/// What stands behind the question: --NAME VALUE.
pub fn words() -> HashMap<String, String> {
    let args: Vec<String> = std::env::args().skip(2).collect();
    args.chunks_exact(2)
        .map(|pair| (pair[0].trim_start_matches('-').to_string(), pair[1].clone()))
        .collect()
}

pub fn number(name: &str, otherwise: u64) -> u64 {
    words().get(name).map_or(otherwise, |text| text.parse().expect(name))
}

pub fn workers() -> u64 {
    number("workers", 1)
}

pub fn check(ok: bool, what: &str) {
    if !ok {
        eprintln!("peer: {what}");
        std::process::exit(1);
    }
}

pub fn report(who: &str, metric: &str, unit: &str, value: f64) {
    if is_printing() {
        println!(
            "{{\"who\":\"{who}\",\"metric\":\"{metric}\",\"workers\":{},\"unit\":\"{unit}\",\
             \"median\":{value}}}",
            workers()
        );
    }
}

/// Report the time since `start`, by operation.
pub fn per_op(metric: &str, start: Instant, count: u64) {
    per_op_of("tokio", metric, start, count);
}

pub fn per_op_of(who: &str, metric: &str, start: Instant, count: u64) {
    report(who, metric, "ns", start.elapsed().as_nanos() as f64 / count as f64);
}

pub fn report_latency(p50: &str, p99: &str, mut late: Vec<Duration>) {
    late.sort();
    let micros = |place: usize| late[place].as_nanos() as f64 / 1e3;
    report("tokio", p50, "us", micros(late.len() / 2));
    report("tokio", p99, "us", micros(late.len() - 1 - late.len() / 100));
}

pub fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
