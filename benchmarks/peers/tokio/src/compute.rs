// SPDX-License-Identifier: Apache-2.0

//! Computations in pieces: queens, a product of matrices. A piece is a task.

use crate::support::{check, number, report, workers};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

#[derive(Clone, Copy, Default)]
struct Board {
    row: u64,
    columns: u32,
    left: u32,
    right: u32,
}

fn puts(board: Board, queens: u64) -> impl Iterator<Item = Board> {
    let mut free = ((1u32 << queens) - 1) & !(board.columns | board.left | board.right);
    std::iter::from_fn(move || {
        let queen = free & free.wrapping_neg();
        free ^= queen;
        (queen != 0).then(|| Board {
            row: board.row + 1,
            columns: board.columns | queen,
            left: (board.left | queen) << 1,
            right: (board.right | queen) >> 1,
        })
    })
}

fn places(board: Board, queens: u64) -> u64 {
    if board.row == queens {
        return 1;
    }
    puts(board, queens).map(|put| places(put, queens)).sum()
}

/// The same with a task for each queen in the first `forked` rows.
fn places_forked(
    board: Board,
    queens: u64,
    forked: u64,
) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if board.row >= forked {
            return places(board, queens);
        }
        let tasks: Vec<_> = puts(board, queens)
            .map(|put| tokio::spawn(places_forked(put, queens, forked)))
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        sum
    })
}

async fn solve(count: u64, forked: u64, metric: &str) {
    const SOLUTIONS: [u64; 15] =
        [1, 1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2680, 14200, 73712, 365596];
    let queens = number("queens", 12);
    let start = Instant::now();
    let mut sum = 0;
    for _ in 0..count {
        sum += places_forked(Board::default(), queens, forked).await;
    }
    report("tokio", metric, "ms", start.elapsed().as_secs_f64() * 1e3 / count as f64);
    check(sum == count * SOLUTIONS[queens as usize], "places");
}

pub async fn queens(count: u64) {
    if workers() == 1 {
        solve(count, 0, "queens, in one fiber").await;
    }
    solve(count, number("depth", 3), "queens").await;
}

struct Product {
    n: usize,
    size: usize,
    a: Vec<f64>,
    b: Vec<f64>,
}

impl Product {
    /// One block of the result, row by row.
    fn block(&self, index: usize) -> Vec<f64> {
        let (n, size, blocks) = (self.n, self.size, self.n / self.size);
        let (top, left) = (index / blocks * size, index % blocks * size);
        let mut block = vec![0.0; size * size];
        for inner in (0..n).step_by(size) {
            for (i, row) in block.chunks_exact_mut(size).enumerate() {
                for k in inner..inner + size {
                    let a = self.a[(top + i) * n + k];
                    let other = &self.b[k * n + left..k * n + left + size];
                    for (sum, b) in row.iter_mut().zip(other) {
                        *sum += a * b;
                    }
                }
            }
        }
        block
    }

    fn put(&self, c: &mut [f64], index: usize, block: &[f64]) {
        let blocks = self.n / self.size;
        let (top, left) = (index / blocks * self.size, index % blocks * self.size);
        for (i, row) in block.chunks_exact(self.size).enumerate() {
            let at = (top + i) * self.n + left;
            c[at..at + self.size].copy_from_slice(row);
        }
    }
}

async fn multiply(count: u64, product: &Arc<Product>, together: bool, metric: &str) -> Vec<f64> {
    let blocks = (product.n / product.size) * (product.n / product.size);
    let mut c = vec![0.0; product.n * product.n];
    let start = Instant::now();
    for _ in 0..count {
        if !together {
            (0..blocks).for_each(|index| product.put(&mut c, index, &product.block(index)));
            continue;
        }
        let tasks: Vec<_> = (0..blocks)
            .map(|index| {
                let product = product.clone();
                tokio::spawn(async move { product.block(index) })
            })
            .collect();
        for (index, task) in tasks.into_iter().enumerate() {
            product.put(&mut c, index, &task.await.unwrap());
        }
    }
    report("tokio", metric, "ms", start.elapsed().as_secs_f64() * 1e3 / count as f64);
    c
}

pub async fn matrix(count: u64) {
    let (n, size) = (number("size", 512) as usize, number("block", 64) as usize);
    check(n % size == 0, "--block does not divide --size");
    let small = |i: usize, j: usize| ((i * 7 + j * 3) % 10) as f64;
    let a = (0..n * n).map(|at| small(at / n, at % n)).collect();
    let b = (0..n * n).map(|at| small(at % n, at / n)).collect();
    let product = Arc::new(Product { n, size, a, b });
    if workers() == 1 {
        multiply(count, &product, false, "matrix product, one block at a time").await;
    }
    let c = multiply(count, &product, true, "matrix product").await;
    for i in (0..n).step_by(37) {
        for j in (0..n).step_by(41) {
            let sum: f64 = (0..n).map(|k| product.a[i * n + k] * product.b[k * n + j]).sum();
            check(sum == c[i * n + j], "another product");
        }
    }
}
