// SPDX-License-Identifier: Apache-2.0

// peer - the questions of the benchmarks, asked of Effect 3 and 4, on Node's one thread
//
// node peer.mjs QUESTION [--only CASE] [--count N] [--NAME N]... does each case twice and
// prints the second time as a JSON line. Counts are smaller than elsewhere: all figures are
// per operation.
import { readFileSync } from "node:fs"
import { parseArgs } from "node:util"
import * as effect3 from "effect3"
import * as effect4 from "effect4"
import * as fibers from "./fibers.mjs"
import * as keyed from "./keyed.mjs"
import * as keyedWaits from "./keyed_waits.mjs"

// Where the two versions call the same thing by different names.
const versions = [
    {
        who: "effect 3",
        ...effect3,
        yieldNow: effect3.Effect.yieldNow(),
        fork: effect3.Effect.fork,
        get: effect3.FiberMap.unsafeGet,
        interrupt: (fiber) => fiber.unsafeInterruptAsFork(effect3.FiberId.none),
    },
    {
        who: "effect 4",
        ...effect4,
        yieldNow: effect4.Effect.yieldNow,
        fork: effect4.Effect.forkChild,
        get: effect4.FiberMap.getUnsafe,
        interrupt: (fiber) => fiber.interruptUnsafe(),
    },
]

const questions = {
    yield: [["yield", 500000, fibers.yields]],
    spawn_join: [["one", 100000, fibers.spawnOne], ["batch", 100000, fibers.spawnBatch]],
    keyed: [
        ["i-seq", 50000, keyed.sequential],
        ["i-batch", 50000, keyed.batch],
        ["ii", 50000, keyed.storm("ii", false)],
        ["ii-started", 50000, keyed.storm("ii-started", true)],
        ["iii", 500000, keyed.held],
        ["iv", 500000, keyed.lookup],
        ["v", 100000, keyed.hot],
        ["vi", 100000, keyed.clear],
    ],
    keyed_waits: [["dedup", 20000, keyedWaits.dedup], ["restart", 20000, keyedWaits.restart]],
}

function versionOf(name) {
    const file = new URL(`node_modules/${name}/package.json`, import.meta.url)
    return JSON.parse(readFileSync(file, "utf8")).version
}

function fail(what) {
    console.error(`peer: ${what}`)
    process.exit(1)
}

if (process.argv[2] === "--version") {
    const all = ["effect3", "effect4"].map(versionOf).join(" and ")
    console.log(`Effect ${all}, Node ${process.versions.node}`)
    process.exit(0)
}

const number = { type: "string" }
const { values } = parseArgs({
    args: process.argv.slice(3),
    options: {
        only: number, workers: number, count: number, keys: number, hot: number,
        entries: number, batch: number, callers: number,
    },
})
const sizes = {
    keys: Number(values.keys ?? 1000),
    hot: Number(values.hot ?? 16),
    entries: Number(values.entries ?? 100000),
    batch: Number(values.batch ?? 1000),
    callers: Number(values.callers ?? 100),
}

for (const [name, count, body] of questions[process.argv[2]] ?? fail("no such question")) {
    if (values.only && values.only !== name) continue
    for (const version of versions) {
        for (const printing of [false, true]) {
            const perOp = (metric, start, operations) => {
                const median = Number(process.hrtime.bigint() - start) / operations
                if (!printing) return
                console.log(JSON.stringify(
                    { who: version.who, metric, workers: 1, unit: "ns", median }))
            }
            const check = (ok, what) => ok || fail(`${version.who}: ${what}`)
            const context = { ...version, sizes, perOp, check, now: process.hrtime.bigint }
            const work = body(context, Number(values.count ?? count))
            await version.Effect.runPromise(version.Effect.scoped(work))
        }
    }
}
