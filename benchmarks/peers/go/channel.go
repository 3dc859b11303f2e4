// SPDX-License-Identifier: Apache-2.0

package main

// Channels and select.

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

// checkSums: as many as have received have sent 1, 2 ... each.
func checkSums(sums []int, each int) {
	sum := 0
	for _, s := range sums {
		sum += s
	}
	check(sum == len(sums)*(each*(each+1)/2), "a value is missing")
}

// One sends to one, or four to four.
func channel(count, pairs, capacity int, metric string) {
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
	perOp(metric, start, count/pairs*pairs)
	checkSums(sums, count/pairs)
}

func oneToOne(count int) {
	channel(count, 1, 0, "channel, one to one")
	channel(count, 1, 1, "channel of one, one to one")
	channel(count, 1, 100, "channel of 100, one to one")
}

func fourToFour(count int) {
	channel(count, 4, 0, "channel, four to four")
	channel(count, 4, 100, "channel of 100, four to four")
}

// ring holds values under a mutex, with two conditions.
type ring struct {
	sync.Mutex
	notFull, notEmpty *sync.Cond
	values            [100]int
	put, taken        int
}

func (r *ring) add(value int) {
	r.Lock()
	for r.put-r.taken == len(r.values) {
		r.notFull.Wait()
	}
	r.values[r.put%len(r.values)] = value
	r.put++
	r.notEmpty.Signal()
	r.Unlock()
}

func (r *ring) take() int {
	r.Lock()
	for r.put == r.taken {
		r.notEmpty.Wait()
	}
	value := r.values[r.taken%len(r.values)]
	r.taken++
	r.notFull.Signal()
	r.Unlock()
	return value
}

func buffer(count int) {
	const pairs = 4
	each := count / pairs
	r := &ring{}
	r.notFull, r.notEmpty = sync.NewCond(r), sync.NewCond(r)
	var all sync.WaitGroup
	all.Add(2 * pairs)
	sums := make([]int, pairs)
	start := time.Now()
	for i := range sums {
		go func() {
			for value := 1; value <= each; value++ {
				r.add(value)
			}
			all.Done()
		}()
		go func(sum *int) {
			for j := 0; j < each; j++ {
				*sum += r.take()
			}
			all.Done()
		}(&sums[i])
	}
	all.Wait()
	perOp("buffer of 100, four to four", start, each*pairs)
	checkSums(sums, each)
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

func selects(count int) {
	for _, n := range []int{2, 4, 8} {
		selectReady(count, n)
	}
}

func selectReady(count, n int) {
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
		perOp(fmt.Sprintf("select of %d, and a send", n), start, count)
	}
}

func selectsWaiting(count int) {
	for _, n := range []int{2, 4, 8} {
		selectWaiting(count, n)
	}
}

func selectWaiting(count, n int) {
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
	perOp(fmt.Sprintf("select of %d, waiting", n), start, count)
}
