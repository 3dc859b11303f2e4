// SPDX-License-Identifier: Apache-2.0

package main

// How late a sleeper wakes beside goroutines that compute.

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

func computeFor(span time.Duration) {
	for start := time.Now(); time.Since(start) < span; {
	}
}

func beside(count, hogs int, turn func(), p50, p99 string) {
	var over int32
	var all sync.WaitGroup
	late := make([]time.Duration, count)
	for i := 0; i < hogs; i++ {
		all.Add(1)
		go func() {
			for atomic.LoadInt32(&over) == 0 {
				turn()
			}
			all.Done()
		}()
	}
	for i := range late {
		wake := time.Now().Add(time.Millisecond)
		time.Sleep(time.Until(wake))
		late[i] = time.Since(wake)
	}
	atomic.StoreInt32(&over, 1)
	all.Wait()
	reportLate(p50, p99, late)
	check(late[0] >= 0, "too early")
}

func hog(count int) {
	if runtime.GOMAXPROCS(0) > 1 {
		turn := func() { computeFor(time.Microsecond) }
		beside(count, 1, turn, "beside a hog, p50", "beside a hog, p99")
	}
}

func yielding(count int) {
	turn := func() {
		computeFor(time.Duration(*slice) * time.Microsecond)
		runtime.Gosched()
	}
	beside(count, *hogs*runtime.GOMAXPROCS(0), turn,
		"beside hogs that yield, p50", "beside hogs that yield, p99")
}
