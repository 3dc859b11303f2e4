// SPDX-License-Identifier: Apache-2.0

package main

// The structured calls as Go programs write them.

import (
	"context"
	"sync"
	"time"
)

// As errgroup does it under a limit: a goroutine for each piece, no more than so many at a
// time.
func forEach(count int) {
	done := make([]byte, count)
	limit := make(chan struct{}, *bound)
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
	perOp("for_each of 8", start, count)
	for i := range done {
		check(done[i] == 1, "a piece was left out")
	}
}

// Of two that race, one is done at once and the other waits until it is cancelled; both are
// awaited.
func race(count int) {
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
	perOp("race of two", start, count)
}

func timeout(count int) {
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
	perOp("timeout that does not fire", start, count)
}
