// SPDX-License-Identifier: Apache-2.0

package main

// Trees of goroutines: fib without a cut-off, skynet.

import "time"

func fibOf(n int) int {
	if n < 2 {
		return n
	}
	other := make(chan int, 1)
	go func() { other <- fibOf(n - 1) }()
	own := fibOf(n - 2)
	return own + <-other
}

func fib(n int) {
	a, b := 0, 1
	for i := 0; i < n; i++ {
		a, b = b, a+b
	}
	start := time.Now()
	result := fibOf(n)
	perOp("fib, per fork", start, b-1)
	check(result == a, "another number")
}

func grow(first, leaves int, sum chan<- int) {
	if leaves == 1 {
		sum <- first
		return
	}
	const children = 10
	sums := make(chan int, children)
	for i := 0; i < children; i++ {
		go grow(first+i*(leaves/children), leaves/children, sums)
	}
	total := 0
	for i := 0; i < children; i++ {
		total += <-sums
	}
	sum <- total
}

func skynet(leaves int) {
	sum := make(chan int, 1)
	start := time.Now()
	go grow(0, leaves, sum)
	total := <-sum
	report("skynet", "ms", float64(time.Since(start).Nanoseconds())/1e6)
	check(total == leaves*(leaves-1)/2, "another sum")
}
