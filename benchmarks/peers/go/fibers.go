// SPDX-License-Identifier: Apache-2.0

// fibers - the fiber questions, asked of Go: yield, spawn and join, ping-pong over channels
//
// Each runs twice and the second counts; prints JSON lines as the benchmarks do. GOMAXPROCS is the
// number of workers.
package main

import (
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
	}
}
