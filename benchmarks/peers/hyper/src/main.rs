// SPDX-License-Identifier: Apache-2.0

//! The server of the HTTP questions over hyper.
//!
//! peer http [--workers N] says where it listens and serves until it is ended: /hello, and
//! /hello/keyed, which is answered by a task of its own under a fresh key of a DashMap. One
//! worker is Tokio's current_thread runtime, which serves it best there.

use dashmap::mapref::entry::Entry as Slot;
use dashmap::DashMap;
use hyper::header::{HeaderValue, CONTENT_TYPE};
use hyper::service::{make_service_fn, service_fn};
use hyper::{Body, Method, Request, Response, Server, StatusCode};
use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use tokio::sync::oneshot::{self, error::RecvError};
use tokio::task::JoinHandle;

/// A key holds the handle of its task, by which who replaces it aborts it.
#[derive(Default)]
struct Keyed {
    tasks: DashMap<String, (u64, JoinHandle<()>)>,
    next: AtomicU64,
    ended: AtomicU64,
}

/// Lives in the task: takes it out of the map when it ends or is aborted, if it is there still.
struct Leave {
    keyed: Arc<Keyed>,
    key: String,
    number: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.keyed.tasks.remove_if(&self.key, |_, (number, _)| *number == self.number);
    }
}

/// Run `body` under `key` in place of whom it finds there, and wait for what it makes.
async fn run_wait<F>(
    keyed: &Arc<Keyed>,
    key: String,
    number: u64,
    body: F,
) -> Result<F::Output, RecvError>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let leave = Leave { keyed: keyed.clone(), key: key.clone(), number };
    let (done, exit) = oneshot::channel();
    {
        // locked while the task starts, so that one that ends at once finds its entry
        let slot = keyed.tasks.entry(key);
        let task = tokio::spawn(async move {
            let _leave = leave;
            let _ = done.send(body.await);
        });
        match slot {
            Slot::Occupied(mut slot) => slot.insert((number, task)).1.abort(),
            Slot::Vacant(slot) => drop(slot.insert((number, task))),
        }
    }
    exit.await
}

async fn keyed_hello(keyed: &Arc<Keyed>) -> Result<String, RecvError> {
    let number = keyed.next.fetch_add(1, Ordering::Relaxed);
    let of_task = keyed.clone();
    run_wait(keyed, format!("hello-{number}"), number, async move {
        format!("hello {}\n", of_task.ended.fetch_add(1, Ordering::Relaxed) + 1)
    })
    .await
}

fn answer(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

async fn serve(keyed: Arc<Keyed>, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/hello") => answer(StatusCode::OK, Body::from("hello\n")),
        (&Method::GET, "/hello/keyed") => match keyed_hello(&keyed).await {
            Ok(text) => answer(StatusCode::OK, Body::from(text)),
            Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, Body::empty()),
        },
        _ => answer(StatusCode::NOT_FOUND, Body::empty()),
    })
}

async fn listen() {
    let keyed = Arc::new(Keyed::default());
    let service = make_service_fn(|_| {
        let keyed = keyed.clone();
        async { Ok::<_, Infallible>(service_fn(move |request| serve(keyed.clone(), request))) }
    });
    let server = Server::bind(&([127, 0, 0, 1], 0).into()).tcp_nodelay(true).serve(service);
    println!("listening on http://{}", server.local_addr());
    server.await.expect("it serves");
}

fn version() -> String {
    let lock = include_str!("../Cargo.lock");
    ["hyper", "tokio", "dashmap"]
        .map(|name| {
            let entry = lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1);
            let number = entry.and_then(|text| text.split('"').next());
            format!("{name} {}", number.unwrap_or("unknown"))
        })
        .join(", ")
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let workers = match words[..] {
        ["--version"] => return println!("{}", version()),
        ["http" | "http_keyed"] => 1,
        ["http" | "http_keyed", "--workers", count] => count.parse().expect("a number"),
        _ => panic!("peer http [--workers N]"),
    };
    let mut builder = match workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(workers).enable_all().build().expect("a runtime");
    runtime.block_on(listen());
}
