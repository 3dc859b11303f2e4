// SPDX-License-Identifier: Apache-2.0

package main

// The work of bench_keyed.c over that map, with the same keys and checks.

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

var ended int64

func nothing(context.Context) {}

func countOne(context.Context) { atomic.AddInt64(&ended, 1) }

func block(ctx context.Context) {
	<-ctx.Done()
	atomic.AddInt64(&ended, 1)
}

func names(count int) []string {
	stems := []string{"j-", "job-", "user-", "session-", "connection-"}
	keys := make([]string, count)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s%07d", stems[i%5], i)
	}
	return keys
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

func sequential(count int) {
	m, keys := newMap(), names(count)
	start := time.Now()
	for _, key := range keys {
		e, _ := m.replace(key, nothing)
		<-e.done
	}
	perOp("i-seq", start, count)
	check(m.size() == 0, "left")
}

func batch(count int) {
	round := *keys
	count = count / round * round
	check(count > 0, "a count below --keys")
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
	perOp("i-batch", start, count)
	check(m.size() == 0, "left")
}

func storm(count int) { replaceAll(count, "ii", false) }

func stormStarted(count int) { replaceAll(count, "ii-started", true) }

func replaceAll(count int, metric string, yield bool) {
	round := *keys
	check(count >= round, "a count below --keys")
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
	check(replaced == count-round && ended == int64(count), "storm")
	reportTime(metric, elapsed, count)
}

func held(count int) {
	m, key := newMap(), names(1)[0]
	m.replace(key, block)
	share := count / runtime.GOMAXPROCS(0)
	elapsed := inEachWorker(func(int) {
		for i := 0; i < share; i++ {
			_, started := m.keep(key, block)
			check(!started, "started")
		}
	})
	reportTime("iii", elapsed, count)
	m.clear()
}

func lookup(count int) {
	m, keys := newMap(), names(*entries)
	fill(m, keys)
	order := make([]string, *entries)
	random := uint64(88172645463325252)
	for i := range order {
		j := xorshift(&random) % uint64(i+1)
		order[i] = order[j]
		order[j] = keys[i]
	}
	share := count / runtime.GOMAXPROCS(0)
	elapsed := inEachWorker(func(worker int) {
		place := worker * 7919 % *entries
		for i := 0; i < share; i++ {
			check(m.get(order[place]) != nil, "not found")
			if place++; place == *entries {
				place = 0
			}
		}
	})
	reportTime("iv", elapsed, count)
	m.clear()
}

func hot(count int) {
	m, keys := newMap(), names(*hotKeys)
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
				key := keys[draw%uint64(len(keys))]
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
	reportTime("v", elapsed, count)
}

func clearAll(count int) {
	m, keys := newMap(), names(count)
	ended = 0
	fill(m, keys)
	start := time.Now()
	m.clear()
	elapsed := time.Since(start)
	check(ended == int64(count) && m.size() == 0, "clear")
	reportTime("vi", elapsed, count)
}
