// SPDX-License-Identifier: Apache-2.0

package main

// Goroutines: yield, spawn and join, trees, ping-pong, a crowd that waits, sleepers.

import (
	"runtime"
	"sync"
	"time"
)

func yield(count int) {
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
	reportTime("yield", time.Since(start)*time.Duration(workers), count/fibers*fibers)
}

func spawnJoin(count int) {
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
	perOp("spawn+join, one at a time", start, count)
}

func spawnBatch(count int) {
	batch := *inBatch
	var done sync.WaitGroup
	start := time.Now()
	for i := 0; i < count/batch; i++ {
		done.Add(batch)
		for j := 0; j < batch; j++ {
			go done.Done()
		}
		done.Wait()
	}
	perOp("spawn 1000, join all", start, count/batch*batch)
}

// pinned keeps the calling goroutine on a thread of its own where there is more than one.
func pinned() func() {
	if runtime.GOMAXPROCS(0) == 1 {
		return func() {}
	}
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

func pingPong(count int) {
	defer pinned()()
	there, back := make(chan int), make(chan int)
	go func() {
		defer pinned()()
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
	perOp("ping-pong, channel", start, count)
	close(there)
	check(sum == count, "a turn is missing")
}

// Whoever has the turn computes until the other's thread sleeps; from the send to the other's next line.
func pingPongAsleep(count int) {
	if runtime.GOMAXPROCS(0) == 1 {
		return
	}
	const think = 50 * time.Microsecond
	turnOf := [2]chan time.Time{make(chan time.Time, 1), make(chan time.Time, 1)}
	var handed time.Duration
	played := 0
	play := func(me int) {
		defer pinned()()
		for i := 0; i < count; i++ {
			released := <-turnOf[me]
			now := time.Now()
			if i > 0 || me > 0 {
				handed += now.Sub(released)
			}
			played++
			for until := now.Add(think); now.Before(until); {
				now = time.Now()
			}
			turnOf[1-me] <- now
		}
	}
	done := make(chan struct{})
	go func() {
		play(1)
		close(done)
	}()
	turnOf[0] <- time.Now()
	play(0)
	<-done
	report("ping-pong, both asleep", "ns", float64(handed)/float64(count))
	check(played == 2*count, "a turn is missing")
}

func pingPongCond(count int) {
	defer pinned()()
	var mutex sync.Mutex
	turnOf := [2]*sync.Cond{sync.NewCond(&mutex), sync.NewCond(&mutex)}
	turn, played := 0, 0
	play := func(me int) {
		mutex.Lock()
		for i := 0; i < count; i++ {
			for turn != me {
				turnOf[me].Wait()
			}
			played++
			turn = 1 - me
			turnOf[turn].Signal()
		}
		mutex.Unlock()
	}
	done := make(chan struct{})
	start := time.Now()
	go func() {
		defer pinned()()
		play(1)
		close(done)
	}()
	play(0)
	<-done
	perOp("ping-pong, condition", start, count)
	check(played == 2*count, "a turn is missing")
}
