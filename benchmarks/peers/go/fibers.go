// SPDX-License-Identifier: Apache-2.0

// fibers - the fiber questions, asked of Go: yield, spawn and join, ping-pong over channels,
// channels, select, a bounded for-each, a race, a timeout
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
	report("ping-pong, channel", "ns", perOp(start, count))
	close(there)
	check(sum == count, "a turn is missing")
}

// One sends to one, or four to four.
func channel(pairs, capacity int, metric string) {
	const count = 1000000
	values := make(chan int, capacity)
	var producers, consumers sync.WaitGroup
	sums := make([]int, pairs)
	start := time.Now()
	consumers.Add(pairs)
	for i := 0; i < pairs; i++ {
		go func(sum *int) {
			for v := range values {
				*sum += v
			}
			consumers.Done()
		}(&sums[i])
	}
	producers.Add(pairs)
	for i := 0; i < pairs; i++ {
		go func() {
			for v := 1; v <= count/pairs; v++ {
				values <- v
			}
			producers.Done()
		}()
	}
	producers.Wait()
	close(values)
	consumers.Wait()
	report(metric, "ns", perOp(start, count))
	sum, each := 0, count/pairs
	for _, s := range sums {
		sum += s
	}
	check(sum == pairs*(each*(each+1)/2), "a value is missing")
}

// A select over n channels, written out: reflect.Select is another question.
func selectFrom(c []chan int) int {
	switch len(c) {
	case 2:
		select {
		case <-c[0]:
			return 0
		case <-c[1]:
			return 1
		}
	case 4:
		select {
		case <-c[0]:
			return 0
		case <-c[1]:
			return 1
		case <-c[2]:
			return 2
		case <-c[3]:
			return 3
		}
	}
	select {
	case <-c[0]:
		return 0
	case <-c[1]:
		return 1
	case <-c[2]:
		return 2
	case <-c[3]:
		return 3
	case <-c[4]:
		return 4
	case <-c[5]:
		return 5
	case <-c[6]:
		return 6
	case <-c[7]:
		return 7
	}
}

func selects(n int) {
	const count = 1000000
	channels := make([]chan int, n)
	for i := range channels {
		channels[i] = make(chan int, 1)
		channels[i] <- 1
	}
	start := time.Now()
	for i := 0; i < count; i++ {
		channels[selectFrom(channels)] <- 1
	}
	if runtime.GOMAXPROCS(0) == 1 {
		report(fmt.Sprintf("select of %d, and a send", n), "ns", perOp(start, count))
	}
}

func selectsWaiting(n int) {
	const count = 300000
	channels := make([]chan int, n)
	for i := range channels {
		channels[i] = make(chan int)
	}
	start := time.Now()
	go func() {
		for i := 0; i < count; i++ {
			channels[i%n] <- 1
		}
	}()
	for i := 0; i < count; i++ {
		selectFrom(channels)
	}
	report(fmt.Sprintf("select of %d, waiting", n), "ns", perOp(start, count))
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
		channel(1, 0, "channel, one to one")
		channel(1, 1, "channel of one, one to one")
		channel(1, 100, "channel of 100, one to one")
		channel(4, 0, "channel, four to four")
		channel(4, 100, "channel of 100, four to four")
		for _, n := range []int{2, 4, 8} {
			selects(n)
			selectsWaiting(n)
		}
	}
}
