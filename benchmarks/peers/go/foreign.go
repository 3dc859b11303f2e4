// SPDX-License-Identifier: Apache-2.0

package main

// From a thread of the system into the scheduler. Go lets no thread in that it does not know; a
// goroutine that keeps a thread to itself stands for one.

import (
	"runtime"
	"sort"
	"sync/atomic"
	"time"
)

// onThread runs body on a thread of its own.
func onThread(body func()) chan struct{} {
	over := make(chan struct{})
	go func() {
		runtime.LockOSThread() // and ends with the goroutine
		body()
		close(over)
	}()
	return over
}

func submitFrom(count, threads int, metric string) {
	each := count / threads
	all, ended := int64(each*threads), int64(0)
	allEnded := make(chan struct{})
	submitters := make([]chan struct{}, threads)
	start := time.Now()
	for i := range submitters {
		submitters[i] = onThread(func() {
			for i := 0; i < each; i++ {
				go func() {
					if atomic.AddInt64(&ended, 1) == all {
						close(allEnded)
					}
				}()
			}
		})
	}
	<-allEnded
	perOp(metric, start, int(all))
	for _, submitter := range submitters {
		<-submitter
	}
	check(ended == all, "a goroutine is missing")
}

func submit(count int) {
	submitFrom(count, 1, "submit from one thread")
	submitFrom(count, *threads, "submit from several threads")
}

func reportLate(p50, p99 string, late []time.Duration) {
	sort.Slice(late, func(i, j int) bool { return late[i] < late[j] })
	count := len(late)
	report(p50, "us", float64(late[count/2].Nanoseconds())/1e3)
	report(p99, "us", float64(late[count-1-count/100].Nanoseconds())/1e3)
}

// fromIdle has a thread call once all have come to rest, and again; call returns when the
// goroutine that it reaches began its next line.
func fromIdle(count int, call func() time.Time, p50, p99 string) {
	late := make([]time.Duration, 0, count)
	<-onThread(func() {
		for i := 0; i < count; i++ {
			time.Sleep(time.Duration(*pause) * time.Microsecond)
			called := time.Now()
			late = append(late, call().Sub(called))
		}
	})
	check(len(late) == count, "a call is missing")
	reportLate(p50, p99, late)
}

func wakeFromIdle(count int) {
	permit, next := make(chan struct{}), make(chan time.Time)
	go func() {
		for range permit {
			next <- time.Now()
		}
	}()
	fromIdle(count, func() time.Time {
		permit <- struct{}{}
		return <-next
	}, "wake from idle, p50", "wake from idle, p99")
	close(permit)
}

func spawnFromIdle(count int) {
	next := make(chan time.Time)
	fromIdle(count, func() time.Time {
		go func() { next <- time.Now() }()
		return <-next
	}, "spawn from idle, p50", "spawn from idle, p99")
}
