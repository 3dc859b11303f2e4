// SPDX-License-Identifier: Apache-2.0

package main

// A crowd: goroutines that all wait, goroutines that all sleep.

import (
	"context"
	"fmt"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func residentBytes() int {
	var total, resident int
	file, err := os.Open("/proc/self/statm")
	check(err == nil, "no statm")
	defer file.Close()
	fmt.Fscan(file, &total, &resident)
	return resident * os.Getpagesize()
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// parked measures in its first run alone: in the second the stacks would be there already.
func parked(count int) {
	if printing {
		return
	}
	printing = true
	var waiting, ended sync.WaitGroup
	waiting.Add(count)
	ended.Add(count)
	gate := make(chan struct{})
	before := residentBytes()
	start := time.Now()
	for i := 0; i < count; i++ {
		go func() {
			waiting.Done()
			<-gate
			ended.Done()
		}()
	}
	waiting.Wait()
	perOp("create cold and wait", start, count)
	report("waiting, resident", "bytes", float64(residentBytes()-before)/float64(count))
	start = time.Now()
	close(gate)
	ended.Wait()
	perOp("wake all, see them end", start, count)
}

// cancelSleeps has goroutines sleep for an hour, each under a timer of its own, and then
// cancels them.
func cancelSleeps(count int) {
	if printing {
		return
	}
	printing = true
	ctx, cancel := context.WithCancel(context.Background())
	var asleep, ended sync.WaitGroup
	var cancelled int64
	asleep.Add(count)
	ended.Add(count)
	start := time.Now()
	for i := 0; i < count; i++ {
		go func(i int) {
			timer := time.NewTimer(time.Hour + time.Duration(i%1000)*time.Millisecond)
			asleep.Done()
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				atomic.AddInt64(&cancelled, 1)
			}
			ended.Done()
		}(i)
	}
	asleep.Wait()
	perOp("sleeps, create and arm", start, count)
	time.Sleep(20 * time.Millisecond)
	start = time.Now()
	cancel()
	ended.Wait()
	perOp("sleeps, cancel and end", start, count)
	check(cancelled == int64(count), "somebody was not cancelled")
}

// sleeps has goroutines sleep until random instants of one second, which begins when all of
// them sleep.
func sleeps(count int) {
	if printing {
		return
	}
	printing = true
	ahead := 100*time.Millisecond + time.Duration(count)*5*time.Microsecond
	for !sleepRound(count, ahead) {
		ahead *= 2
	}
}

// sleepRound is false, and reports nothing, if the second had begun before all slept.
func sleepRound(count int, ahead time.Duration) bool {
	late := make([]time.Duration, count)
	random := uint64(88172645463325252)
	var ended sync.WaitGroup
	ended.Add(count)
	cpu := cpuTime()
	begin := time.Now().Add(ahead)
	for i := 0; i < count; i++ {
		wake := begin.Add(time.Duration(xorshift(&random) % uint64(time.Second)))
		go func(i int) {
			time.Sleep(time.Until(wake))
			late[i] = time.Since(wake)
			ended.Done()
		}(i)
	}
	inTime := time.Now().Before(begin)
	ended.Wait()
	cpu = cpuTime() - cpu
	sort.Slice(late, func(i, j int) bool { return late[i] < late[j] })
	check(late[0] >= 0, "too early")
	if inTime {
		report("sleeps, lateness p50", "us", float64(late[count/2].Microseconds()))
		report("sleeps, lateness p99", "us", float64(late[count-1-count/100].Microseconds()))
		report("sleeps, lateness p99.9", "us", float64(late[count-1-count/1000].Microseconds()))
		report("sleeps, processor time", "s", cpu.Seconds())
	}
	return inTime
}
