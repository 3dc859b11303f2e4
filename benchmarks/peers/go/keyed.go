// SPDX-License-Identifier: Apache-2.0

// keyed - supervision by key as Go programs do it: a sharded map from key to a cancel function
//
// The same work as bench_keyed.c, with the same keys and checks. An entry holds a context's cancel
// function and a channel that is closed when its goroutine ends; who ends removes its own entry, if it is
// still its own. Each runs twice and the second counts; prints JSON lines. GOMAXPROCS is the number of
// workers.
package main

import (
	"context"
	"fmt"
	"hash/maphash"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
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

func (m *keyedMap) start(s *shard, key string, ctx context.Context, e *entry, body func(context.Context)) {
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

var ended int64

func nothing(context.Context) {}

func countOne(context.Context) { atomic.AddInt64(&ended, 1) }

func block(ctx context.Context) {
	<-ctx.Done()
	atomic.AddInt64(&ended, 1)
}

func check(ok bool, what string) {
	if !ok {
		fmt.Fprintln(os.Stderr, "keyed:", what)
		os.Exit(1)
	}
}

func names(count int) []string {
	stems := []string{"j-", "job-", "user-", "session-", "connection-"}
	keys := make([]string, count)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s%07d", stems[i%5], i)
	}
	return keys
}

var counted bool

func report(metric string, elapsed time.Duration, count int) {
	if !counted {
		return
	}
	fmt.Printf("{\"who\":\"go\",\"metric\":\"%s\",\"workers\":%d,\"unit\":\"ns\",\"median\":%.6g}\n",
		metric, runtime.GOMAXPROCS(0), float64(elapsed.Nanoseconds())/float64(count))
}

// inEachWorker runs the same work in one goroutine for each worker.
func inEachWorker(work func(worker int)) time.Duration {
	var done sync.WaitGroup
	start := time.Now()
	for i := 0; i < runtime.GOMAXPROCS(0); i++ {
		done.Add(1)
		go func(worker int) {
			work(worker)
			done.Done()
		}(i)
	}
	done.Wait()
	return time.Since(start)
}

func fill(m *keyedMap, keys []string) {
	for _, key := range keys {
		m.replace(key, block)
	}
	time.Sleep(100 * time.Millisecond)
	check(m.size() == len(keys), "size")
}

func xorshift(state *uint64) uint64 {
	*state ^= *state << 13
	*state ^= *state >> 7
	*state ^= *state << 17
	return *state
}

func sequential() {
	const count = 200000
	m, keys := newMap(), names(count)
	start := time.Now()
	for _, key := range keys {
		e, _ := m.replace(key, nothing)
		<-e.done
	}
	report("i-seq", time.Since(start), count)
	check(m.size() == 0, "left")
}

func batch() {
	const count, round = 200000, 1000
	m, keys := newMap(), names(count)
	ended = 0
	start := time.Now()
	for i, key := range keys {
		m.replace(key, countOne)
		if i%round == round-1 {
			m.live.Wait()
			check(atomic.LoadInt64(&ended) == int64(i+1), "batch")
		}
	}
	report("i-batch", time.Since(start), count)
	check(m.size() == 0, "left")
}

func storm(metric string, yield bool) {
	const count, round = 200000, 1000
	m, keys := newMap(), names(round)
	ended = 0
	replaced := 0
	start := time.Now()
	for i := 0; i < count; i++ {
		if _, was := m.replace(keys[i%round], block); was {
			replaced++
		}
		if yield && i%round == round-1 {
			runtime.Gosched()
		}
	}
	m.clear()
	m.live.Wait()
	elapsed := time.Since(start)
	check(replaced == count-round && ended == count, "storm")
	report(metric, elapsed, count)
}

func held() {
	const count = 2000000
	m, key := newMap(), names(1)[0]
	m.replace(key, block)
	share := count / runtime.GOMAXPROCS(0)
	elapsed := inEachWorker(func(int) {
		for i := 0; i < share; i++ {
			_, started := m.keep(key, block)
			check(!started, "started")
		}
	})
	report("iii", elapsed, count)
	m.clear()
}

func lookup() {
	const entries, count = 100000, 1000000
	m, keys := newMap(), names(entries)
	fill(m, keys)
	order := make([]string, entries)
	random := uint64(88172645463325252)
	for i := range order {
		j := xorshift(&random) % uint64(i+1)
		order[i] = order[j]
		order[j] = keys[i]
	}
	share := count / runtime.GOMAXPROCS(0)
	elapsed := inEachWorker(func(worker int) {
		place := worker * 7919
		for i := 0; i < share; i++ {
			check(m.get(order[place]) != nil, "not found")
			if place++; place == entries {
				place = 0
			}
		}
	})
	report("iv", elapsed, count)
	m.clear()
}

func hot() {
	const count = 400000
	m, keys := newMap(), names(16)
	ended = 0
	var started int64
	var done sync.WaitGroup
	start := time.Now()
	for f := 0; f < 2; f++ {
		done.Add(1)
		go func(random uint64) {
			own := int64(0)
			for i := 0; i < count/2; i++ {
				draw := xorshift(&random)
				key := keys[draw%16]
				switch percent := (draw >> 32) % 100; {
				case percent < 50:
					m.replace(key, block)
					own++
				case percent < 75:
					m.get(key)
				case percent < 90:
					m.interrupt(key)
				default:
					if _, was := m.keep(key, block); was {
						own++
					}
				}
				if i%64 == 63 {
					runtime.Gosched()
				}
			}
			atomic.AddInt64(&started, own)
			done.Done()
		}(2463534242 + uint64(f)*7919)
	}
	done.Wait()
	elapsed := time.Since(start)
	m.clear()
	m.live.Wait()
	check(ended == started && m.size() == 0, "hot")
	report("v", elapsed, count)
}

func clearAll() {
	const count = 100000
	m, keys := newMap(), names(count)
	ended = 0
	fill(m, keys)
	start := time.Now()
	m.clear()
	elapsed := time.Since(start)
	check(ended == count && m.size() == 0, "clear")
	report("vi", elapsed, count)
}

func main() {
	for _, counted = range []bool{false, true} {
		sequential()
		batch()
		storm("ii", false)
		storm("ii-started", true)
		held()
		lookup()
		hot()
		clearAll()
	}
}
