// SPDX-License-Identifier: Apache-2.0

package main

// Supervision by key as Go programs do it: a sharded map from key to a cancel function. An
// entry holds a context's cancel function and a channel that is closed when its goroutine
// ends; who ends removes its own entry, if it is still its own.

import (
	"context"
	"hash/maphash"
	"sync"
)

const shardCount = 16

type entry struct {
	cancel context.CancelFunc
	done   chan struct{}
}

type shard struct {
	sync.RWMutex
	entries map[string]*entry
	_       [64]byte
}

type keyedMap struct {
	seed   maphash.Seed
	shards [shardCount]shard
	live   sync.WaitGroup // all goroutines, replaced ones too
}

func newMap() *keyedMap {
	m := &keyedMap{seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].entries = make(map[string]*entry)
	}
	return m
}

func (m *keyedMap) shard(key string) *shard {
	return &m.shards[maphash.String(m.seed, key)%shardCount]
}

func (m *keyedMap) start(s *shard, key string, ctx context.Context, e *entry,
	body func(context.Context)) {
	m.live.Add(1)
	go func() {
		body(ctx)
		s.Lock()
		if s.entries[key] == e {
			delete(s.entries, key)
		}
		s.Unlock()
		e.cancel()
		close(e.done)
		m.live.Done()
	}()
}

func newEntry() (context.Context, *entry) {
	ctx, cancel := context.WithCancel(context.Background())
	return ctx, &entry{cancel, make(chan struct{})}
}

// replace starts body under key; true if it took the place of another.
func (m *keyedMap) replace(key string, body func(context.Context)) (*entry, bool) {
	ctx, e := newEntry()
	s := m.shard(key)
	s.Lock()
	old := s.entries[key]
	s.entries[key] = e
	s.Unlock()
	if old != nil {
		old.cancel()
	}
	m.start(s, key, ctx, e, body)
	return e, old != nil
}

// keep starts body under key if nobody is there; true if it did.
func (m *keyedMap) keep(key string, body func(context.Context)) (*entry, bool) {
	s := m.shard(key)
	s.RLock()
	old := s.entries[key]
	s.RUnlock()
	if old != nil {
		return old, false
	}
	ctx, e := newEntry()
	s.Lock()
	if old = s.entries[key]; old != nil {
		s.Unlock()
		e.cancel()
		return old, false
	}
	s.entries[key] = e
	s.Unlock()
	m.start(s, key, ctx, e, body)
	return e, true
}

func (m *keyedMap) get(key string) *entry {
	s := m.shard(key)
	s.RLock()
	e := s.entries[key]
	s.RUnlock()
	return e
}

func (m *keyedMap) interrupt(key string) {
	if e := m.get(key); e != nil {
		e.cancel()
	}
}

// clear cancels all and waits for them.
func (m *keyedMap) clear() {
	var all []*entry
	for i := range m.shards {
		s := &m.shards[i]
		s.RLock()
		for _, e := range s.entries {
			all = append(all, e)
		}
		s.RUnlock()
	}
	for _, e := range all {
		e.cancel()
	}
	for _, e := range all {
		<-e.done
	}
}

func (m *keyedMap) size() int {
	n := 0
	for i := range m.shards {
		m.shards[i].RLock()
		n += len(m.shards[i].entries)
		m.shards[i].RUnlock()
	}
	return n
}
