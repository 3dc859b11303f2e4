// SPDX-License-Identifier: Apache-2.0

// peer - the questions of the benchmarks, asked of Go; GOMAXPROCS is the number of workers
//
// peer QUESTION [--workers N] [--only CASE] [--count N] ... does each case twice and prints
// the second time as a JSON line, as the benchmarks do.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"
)

type work struct {
	name  string
	count int // operations, unless --count is given
	body  func(count int)
}

var questions = map[string][]work{
	"yield":      {{"yield", 4000000, yield}},
	"spawn_join": {{"one", 300000, spawnJoin}, {"batch", 500000, spawnBatch}},
	"fib":        {{"later", 25, fib}},
	"skynet":     {{"later", 1000000, skynet}},
	"pingpong": {{"cond", 300000, pingPongCond}, {"channel", 300000, pingPong},
		{"asleep", 5000, pingPongAsleep}},
	"flow": {{"each", 1000000, forEach}, {"race", 100000, race},
		{"timeout", 100000, timeout}},
	"channel": {{"producer_consumer", 1000000, oneToOne}, {"many", 1000000, fourToFour},
		{"buffer", 1000000, buffer}, {"select", 1000000, selects},
		{"select_wait", 300000, selectsWaiting}},
	"keyed": {{"i-seq", 200000, sequential}, {"i-batch", 200000, batch}, {"ii", 200000, storm},
		{"ii-started", 200000, stormStarted}, {"iii", 2000000, held}, {"iv", 1000000, lookup},
		{"v", 400000, hot}, {"vi", 100000, clearAll}},
	"parked": {{"parked", 1000000, parked}},
	"timers": {{"sleeps", 1000000, sleeps}, {"cancel", 1000000, cancelSleeps}},
	"keyed_waits": {{"dedup", 200000, dedup}, {"replace-await", 200000, replaceAwait},
		{"restart", 1000000, restart}},
	"foreign": {{"submit", 200000, submit}, {"wake", 500, wakeFromIdle},
		{"spawn", 500, spawnFromIdle}},
	"compute":  {{"queens", 3, queensOnBoard}, {"matrix", 1, matrix}},
	"fairness": {{"hog", 1000, hog}, {"yielding", 500, yielding}},
}

// What else the questions take.
var (
	workers = flag.Int("workers", 1, "GOMAXPROCS")
	only    = flag.String("only", "", "this case alone")
	counted = flag.Int("count", 0, "operations, instead of each case's own")
	keys    = flag.Int("keys", 1000, "keys in flight in i-batch and the storms")
	hotKeys = flag.Int("hot", 16, "keys of v")
	entries = flag.Int("entries", 100000, "entries of iv")
	inBatch = flag.Int("batch", 1000, "goroutines that are started before a join")
	callers = flag.Int("callers", 100, "callers of one key in dedup")
	queens  = flag.Int("queens", 12, "queens")
	depth   = flag.Int("depth", 3, "rows with a goroutine for each queen")
	size    = flag.Int("size", 512, "rows of a matrix")
	inBlock = flag.Int("block", 64, "rows of a block")
	threads = flag.Int("threads", 4, "threads that submit")
	pause   = flag.Int("pause", 1000, "microseconds before a wake")
	hogs    = flag.Int("hogs", 4, "hogs to a worker that yield")
	slice   = flag.Int("slice", 100, "microseconds between two yields")
	bound   = flag.Int("bound", 8, "pieces of for_each at a time")
)

var printing bool

func report(metric, unit string, value float64) {
	if printing {
		fmt.Printf(`{"who":"go","metric":"%s","workers":%d,"unit":"%s","median":%.6g}`+"\n",
			metric, runtime.GOMAXPROCS(0), unit, value)
	}
}

func reportTime(metric string, elapsed time.Duration, count int) {
	report(metric, "ns", float64(elapsed.Nanoseconds())/float64(count))
}

// perOp reports the time since start, by operation.
func perOp(metric string, start time.Time, count int) {
	reportTime(metric, time.Since(start), count)
}

func check(ok bool, what string) {
	if !ok {
		fmt.Fprintln(os.Stderr, "peer:", what)
		os.Exit(1)
	}
}

func xorshift(state *uint64) uint64 {
	*state ^= *state << 13
	*state ^= *state >> 7
	*state ^= *state << 17
	return *state
}

func main() {
	check(len(os.Args) > 1, "QUESTION [--workers N] [--only CASE] [--count N] ...")
	if os.Args[1] == "--version" {
		fmt.Println(runtime.Version())
		return
	}
	isServer := os.Args[1] == "http" || os.Args[1] == "http_keyed"
	cases, known := questions[os.Args[1]]
	check(known || isServer, "no question "+os.Args[1])
	flag.CommandLine.Parse(os.Args[2:])
	runtime.GOMAXPROCS(*workers)
	if isServer {
		serve()
	}
	for _, each := range cases {
		if *only != "" && *only != each.name {
			continue
		}
		count := each.count
		if *counted > 0 {
			count = *counted
		}
		for _, printing = range []bool{false, true} {
			runtime.GC() // nobody pays for what was there before
			each.body(count)
		}
	}
}
