// SPDX-License-Identifier: Apache-2.0

package main

// Computations in pieces: queens, a product of matrices.

import (
	"runtime"
	"sync"
	"time"
)

type board struct{ row, columns, left, right, forked int }

func places(b board) int {
	if b.row == *queens {
		return 1
	}
	sum, children := 0, 0
	var sums chan int
	if b.row < b.forked {
		sums = make(chan int, *queens)
	}
	for free := (1<<*queens - 1) &^ (b.columns | b.left | b.right); free != 0; free &= free - 1 {
		queen := free & -free
		put := board{b.row + 1, b.columns | queen, (b.left | queen) << 1, (b.right | queen) >> 1,
			b.forked}
		if sums == nil {
			sum += places(put)
			continue
		}
		children++
		go func() { sums <- places(put) }()
	}
	for ; children > 0; children-- {
		sum += <-sums
	}
	return sum
}

func solve(count, forked int, metric string) {
	solutions := []int{1, 1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2680, 14200, 73712, 365596}
	start := time.Now()
	sum := 0
	for i := 0; i < count; i++ {
		sum += places(board{forked: forked})
	}
	report(metric, "ms", float64(time.Since(start).Nanoseconds())/1e6/float64(count))
	check(sum == count*solutions[*queens], "places")
}

func queensOnBoard(count int) {
	if runtime.GOMAXPROCS(0) == 1 {
		solve(count, 0, "queens, in one fiber")
	}
	solve(count, *depth, "queens")
}

type product struct {
	a, b, c []float64
	n, size int
}

func (p *product) block(index int) {
	n, size, blocks := p.n, p.size, p.n/p.size
	top, left := index/blocks*size, index%blocks*size
	for i := top; i < top+size; i++ {
		row := p.c[i*n+left : i*n+left+size]
		for j := range row {
			row[j] = 0
		}
	}
	for inner := 0; inner < n; inner += size {
		for i := top; i < top+size; i++ {
			row := p.c[i*n+left : i*n+left+size]
			for k := inner; k < inner+size; k++ {
				a, other := p.a[i*n+k], p.b[k*n+left:k*n+left+size]
				for j := range row {
					row[j] += a * other[j]
				}
			}
		}
	}
}

func (p *product) multiply(count int, together bool, metric string) {
	blocks := (p.n / p.size) * (p.n / p.size)
	start := time.Now()
	for i := 0; i < count; i++ {
		var all sync.WaitGroup
		for b := 0; b < blocks; b++ {
			if !together {
				p.block(b)
				continue
			}
			all.Add(1)
			go func(b int) {
				p.block(b)
				all.Done()
			}(b)
		}
		all.Wait()
	}
	report(metric, "ms", float64(time.Since(start).Nanoseconds())/1e6/float64(count))
}

func matrix(count int) {
	n := *size
	p := &product{make([]float64, n*n), make([]float64, n*n), make([]float64, n*n), n, *inBlock}
	check(n%p.size == 0, "--block does not divide --size")
	small := func(i, j int) float64 { return float64((i*7 + j*3) % 10) }
	for i := range p.a {
		p.a[i], p.b[i] = small(i/n, i%n), small(i%n, i/n)
	}
	if runtime.GOMAXPROCS(0) == 1 {
		p.multiply(count, false, "matrix product, one block at a time")
	}
	p.multiply(count, true, "matrix product")
	for i := 0; i < n; i += 37 {
		for j := 0; j < n; j += 41 {
			sum := 0.0
			for k := 0; k < n; k++ {
				sum += p.a[i*n+k] * p.b[k*n+j]
			}
			check(sum == p.c[i*n+j], "another product")
		}
	}
}
