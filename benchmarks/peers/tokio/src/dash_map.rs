// SPDX-License-Identifier: Apache-2.0

//! Supervision by key as Tokio programs write it over DashMap: a key holds the handle of its
//! task, and a task that ends removes its own entry, if it is still its own.

use dashmap::mapref::entry::Entry as Slot;
use dashmap::DashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

#[derive(Clone)]
pub struct Holder {
    number: u64,
    task: Arc<JoinHandle<()>>,
}

#[derive(Default)]
pub struct KeyedMap {
    entries: DashMap<String, Holder>,
    next: AtomicU64,
    live: AtomicU64, // replaced ones too
    none_live: Notify,
}

/// Lives in the task: leaves the map when the task ends, is aborted, or is dropped.
struct Leave {
    map: Arc<KeyedMap>,
    key: String,
    number: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.map.entries.remove_if(&self.key, |_, holder| holder.number == self.number);
        if self.map.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.map.none_live.notify_waiters();
        }
    }
}

impl KeyedMap {
    fn start<F>(self: &Arc<Self>, key: &str, body: F) -> Holder
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.live.fetch_add(1, Ordering::Relaxed);
        let leave = Leave { map: self.clone(), key: key.to_string(), number };
        let task = Arc::new(tokio::spawn(async move {
            let body = body; // named first: a task that never began drops it first, too
            let _leave = leave;
            body.await;
        }));
        Holder { number, task }
    }

    /// Start `body` under `key`; true if it took the place of another. The entry stays locked
    /// while the task starts, so that one that ends at once finds it.
    pub fn replace<F>(self: &Arc<Self>, key: &str, body: F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self.entries.entry(key.to_string()) {
            Slot::Occupied(mut slot) => {
                let old = slot.insert(self.start(key, body));
                drop(slot);
                old.task.abort();
                true
            }
            Slot::Vacant(slot) => {
                slot.insert(self.start(key, body));
                false
            }
        }
    }

    /// Start what `body` makes under `key` if nobody is there; true if it did.
    pub fn keep<F>(self: &Arc<Self>, key: &str, body: impl FnOnce() -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.entries.contains_key(key) {
            return false;
        }
        match self.entries.entry(key.to_string()) {
            Slot::Occupied(_) => false,
            Slot::Vacant(slot) => {
                slot.insert(self.start(key, body()));
                true
            }
        }
    }

    pub fn get(&self, key: &str) -> Option<Holder> {
        self.entries.get(key).map(|holder| holder.clone())
    }

    pub fn interrupt(&self, key: &str) {
        if let Some(holder) = self.get(key) {
            holder.task.abort();
        }
    }

    /// Wait until nothing runs, replaced tasks included.
    pub async fn until_none_live(&self) {
        loop {
            let woken = self.none_live.notified();
            if self.live.load(Ordering::Acquire) == 0 {
                return;
            }
            woken.await;
        }
    }

    /// Interrupt all and wait for them, with no shard locked meanwhile.
    pub async fn clear(&self) {
        let all: Vec<Holder> = self.entries.iter().map(|entry| entry.value().clone()).collect();
        for holder in all {
            holder.task.abort();
        }
        self.until_none_live().await;
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
}
