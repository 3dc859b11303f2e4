// SPDX-License-Identifier: Apache-2.0

// fibers - the fiber questions, asked of Go: yield, spawn and join, ping-pong over channels, a
// bounded for-each, a race, a timeout
//
// Each runs twice and the second counts; prints JSON lines as the benchmarks do. GOMAXPROCS is the
// number of workers.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

var counted bool

func report(metric, unit string, value float64) {
	if !counted {
		return
	}
	fmt.Printf("{\"who\":\"go\",\"metric\":\"%s\",\"workers\":%d,\"unit\":\"%s\",\"median\":%.6g}\n",
		metric, runtime.GOMAXPROCS(0), unit, value)
}

func check(ok bool, what string) {
	if !ok {
		fmt.Fprintln(os.Stderr, "fibers:", what)
		os.Exit(1)
	}
}

func perOp(start time.Time, count int) float64 {
	return float64(time.Since(start).Nanoseconds()) / float64(count)
}

func yield() {
	const count = 4000000
	workers := runtime.GOMAXPROCS(0)
	fibers := 2 * workers
	var done sync.WaitGroup
	done.Add(fibers)
	start := time.Now()
	for i := 0; i < fibers; i++ {
		go func() {
			for j := 0; j < count/fibers; j++ {
				runtime.Gosched()
			}
			done.Done()
		}()
	}
	done.Wait()
	report("yield", "ns", perOp(start, count)*float64(workers))
}

func spawnJoin() {
	const count = 300000
	var done sync.WaitGroup
	sum := 0
	start := time.Now()
	for i := 0; i < count; i++ {
		done.Add(1)
		go func() {
			sum++
			done.Done()
		}()
		done.Wait()
	}
	check(sum == count, "a goroutine is missing")
	report("spawn+join, one at a time", "ns", perOp(start, count))
}

func spawnBatch() {
	const count, batch = 500000, 1000
	var done sync.WaitGroup
	start := time.Now()
	for i := 0; i < count/batch; i++ {
		done.Add(batch)
		for j := 0; j < batch; j++ {
			go done.Done()
		}
		done.Wait()
	}
	report("spawn 1000, join all", "ns", perOp(start, count))
}

// As errgroup does it under a limit: a goroutine for each piece, no more than eight at a time.
func forEach() {
	const count = 1000000
	done := make([]byte, count)
	limit := make(chan struct{}, 8)
	var all sync.WaitGroup
	start := time.Now()
	for i := 0; i < count; i++ {
		limit <- struct{}{}
		all.Add(1)
		go func(i int) {
			done[i] = 1
			<-limit
			all.Done()
		}(i)
	}
	all.Wait()
	report("for_each of 8", "ns", perOp(start, count))
	for i := range done {
		check(done[i] == 1, "a piece was left out")
	}
}

// Of two that race, one is done at once and the other waits until it is cancelled; both are awaited.
func race() {
	const count = 100000
	start := time.Now()
	for i := 0; i < count; i++ {
		ctx, cancel := context.WithCancel(context.Background())
		won := make(chan int, 2)
		var both sync.WaitGroup
		both.Add(2)
		go func() {
			<-ctx.Done()
			both.Done()
		}()
		go func() {
			won <- i
			both.Done()
		}()
		check(<-won == i, "nobody won")
		cancel()
		both.Wait()
	}
	report("race of two", "ns", perOp(start, count))
}

func timeout() {
	const count = 100000
	start := time.Now()
	for i := 0; i < count; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		done := make(chan int, 1)
		go func() { done <- i }()
		select {
		case n := <-done:
			check(n == i, "another's result")
		case <-ctx.Done():
			check(false, "timed out")
		}
		cancel()
	}
	report("timeout that does not fire", "ns", perOp(start, count))
}

func pingPong() {
	const count = 300000
	there, back := make(chan int), make(chan int)
	pin := runtime.GOMAXPROCS(0) > 1
	if pin {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	go func() {
		if pin {
			runtime.LockOSThread()
		}
		for v := range there {
			back <- v + 1
		}
		close(back)
	}()
	sum := 0
	start := time.Now()
	for i := 0; i < count; i++ {
		there <- i
		sum += <-back - i
	}
	report("ping-pong, condition", "ns", perOp(start, count))
	close(there)
	check(sum == count, "a turn is missing")
}

func main() {
	for _, counted = range []bool{false, true} {
		yield()
		spawnJoin()
		spawnBatch()
		pingPong()
		forEach()
		race()
		timeout()
	}
}
