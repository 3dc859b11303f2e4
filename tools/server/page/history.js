// SPDX-License-Identifier: Apache-2.0

// history - the last looks at the server, and how fast its counters rise between two of them

const KEPT_MS = 180000
const RATE_MS = 900 // rates are over at least so long, or they jump

/** What a look is remembered by. */
function numbersOf({ stats, fibers, users, at }) {
    const { runtime, server, workers } = stats
    const own = workers.reduce((sum, worker) => sum + worker.queued + worker.pinned, 0)
    return {
        at,
        time: Date.now() / 1000,
        requests: server.requests,
        jobsStarted: server.jobs_started,
        switches: runtime.switches,
        jobs: fibers.job_count,
        fibers: runtime.fibers_live,
        queued: own + runtime.shared_queued,
        connections: server.connections,
        users: users.connected,
        latency: runtime.schedule_latency,
        runLength: runtime.run_length,
        blockingWait: runtime.blocking_wait,
        workers,
    }
}

/** By how much counters have risen in a second; a server that has begun anew counts from 0. */
function perSecond(now, before, name) {
    if (!before || now[name] < before[name]) return 0
    return (now[name] - before[name]) / Math.max(0.001, (now.at - before.at) / 1000)
}

/** A histogram without what it had counted before. */
function since(now, before) {
    if (!before || now.count < before.count) return now
    const buckets = now.buckets.map((count, at) => count - (before.buckets[at] ?? 0))
    return { buckets, count: now.count - before.count }
}

/** The value that `percent` of a histogram do not exceed: the end of its bucket. */
export function percentile({ buckets, count }, percent) {
    let wanted = Math.ceil((count * percent) / 100)
    if (wanted === 0) return 0
    const at = buckets.findIndex((inBucket) => (wanted -= inBucket) <= 0)
    return 2 ** (at + 1)
}

export class History {
    #looks = []

    add(look) {
        const now = numbersOf(look)
        const before =
            this.#looks.findLast((look) => now.at - look.at >= RATE_MS) ?? this.#looks[0]
        const own = (worker, at) =>
            before && before.workers[at] && { ...before.workers[at], at: before.at }
        now.requestRate = perSecond(now, before, "requests")
        now.startRate = perSecond(now, before, "jobsStarted")
        now.switchRate = perSecond(now, before, "switches")
        now.workers = now.workers.map((worker, at) => {
            const timed = { ...worker, at: now.at }
            const rate = (name) => perSecond(timed, own(worker, at), name)
            return {
                ...worker,
                switchRate: rate("switches"),
                stealRate: rate("steals"),
                parkRate: rate("parks"),
            }
        })
        this.#looks.push(now)
        while (now.at - this.#looks[0].at > KEPT_MS) this.#looks.shift()
        return now
    }

    get now() {
        return this.#looks.at(-1)
    }

    /** Since the first look that is kept; if it is the only one, since the server's start. */
    histogram(name) {
        const first = this.#looks.length > 1 ? this.#looks[0][name] : undefined
        return since(this.now[name], first)
    }

    /** [times, ...values of each name], as uPlot wants them. The first look has no rates. */
    series(...names) {
        const looks = this.#looks.slice(1)
        return ["time", ...names].map((name) => looks.map((look) => look[name]))
    }
}
