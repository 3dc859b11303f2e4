// SPDX-License-Identifier: Apache-2.0

package main

// The work of bench_keyed_waits.c: calls of one key that share a run, replacements that wait
// for whom they replace, restarts.

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// flight is one run that several callers share, as in the usual singleflight.
type flight struct {
	done   chan struct{}
	result int
}

type flights struct {
	sync.Mutex
	under map[string]*flight
}

// runWait runs body under key, or waits for who runs there; true if it was this call's own run.
func (f *flights) runWait(key string, body func() int) (int, bool) {
	f.Lock()
	if other := f.under[key]; other != nil {
		f.Unlock()
		<-other.done
		return other.result, false
	}
	own := &flight{done: make(chan struct{})}
	f.under[key] = own
	f.Unlock()
	own.result = body()
	f.Lock()
	delete(f.under, key)
	f.Unlock()
	close(own.done)
	return own.result, true
}

func dedup(count int) {
	rounds := (count + *callers - 1) / *callers
	keys := names(rounds)
	f := &flights{under: make(map[string]*flight)}
	var bodies, started int64
	start := time.Now()
	for round, key := range keys {
		var come int64
		body := func() int {
			atomic.AddInt64(&bodies, 1)
			for atomic.LoadInt64(&come) < int64(*callers) {
				runtime.Gosched()
			}
			return round
		}
		var all sync.WaitGroup
		all.Add(*callers)
		for i := 0; i < *callers; i++ {
			go func() {
				atomic.AddInt64(&come, 1)
				result, own := f.runWait(key, body)
				check(result == round, "another's result")
				if own {
					atomic.AddInt64(&started, 1)
				}
				all.Done()
			}()
		}
		all.Wait()
	}
	perOp("run_wait of one key, per caller", start, rounds**callers)
	check(bodies == started && int(bodies) >= rounds, "bodies")
}

func replaceAwait(count int) {
	m, names := newMap(), names(*keys)
	inside := make([]int64, *keys)
	ended = 0
	start := time.Now()
	for i := 0; i < count; i++ {
		k := i % *keys
		old := m.get(names[k])
		m.replace(names[k], func(ctx context.Context) {
			if old != nil {
				<-old.done
			}
			check(atomic.AddInt64(&inside[k], 1) == 1, "another runs")
			<-ctx.Done()
			atomic.AddInt64(&inside[k], -1)
			atomic.AddInt64(&ended, 1)
		})
		if k == *keys-1 {
			runtime.Gosched()
		}
	}
	m.clear()
	m.live.Wait()
	perOp("replace_await storm", start, count)
	check(ended == int64(count), "replace_await")
}

// restart has a goroutine for each key that starts another for each attempt, so that one that
// panics or calls Goexit would not take the loop with it.
func restart(count int) {
	m, names := newMap(), names(*keys)
	restarts := (count + *keys - 1) / *keys
	failed := errors.New("failed")
	var bodies int64
	start := time.Now()
	for _, key := range names {
		m.replace(key, func(ctx context.Context) {
			for i := 0; i <= restarts && ctx.Err() == nil; i++ {
				result := make(chan error, 1)
				go func() {
					atomic.AddInt64(&bodies, 1)
					result <- failed
				}()
				if <-result == nil {
					return
				}
			}
		})
	}
	m.live.Wait()
	perOp("restart storm", start, *keys*restarts)
	check(bodies == int64(*keys*(restarts+1)), "bodies")
}
