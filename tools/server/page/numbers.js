// SPDX-License-Identifier: Apache-2.0

// numbers - what matters most, in large figures
import { byId, el, setText } from "./dom.js"
import { percentile } from "./history.js"
import { count, nanoseconds } from "./text.js"

const tiles = [
    ["requests/s", (now) => count(Math.round(now.requestRate)), "answered in the last second"],
    ["jobs", (now) => count(now.jobs), "under a key, or queued behind it"],
    ["fibers", (now) => count(now.fibers), "that have not ended, connections included"],
    ["in queues", (now) => count(now.queued), "fibers that could run and wait for a worker"],
    [
        "switches/s",
        (now) => count(Math.round(now.switchRate)),
        "from one fiber to the next, on all workers",
    ],
    [
        "delay, p99",
        (now, history) => nanoseconds(percentile(history.histogram("latency"), 99)),
        "from runnable to running; at most twice the true value",
    ],
    ["connections", (now) => count(now.connections), "open, this page's included"],
    ["users", (now) => count(now.users), "with a WebSocket"],
]

const values = tiles.map(([name, , title]) => {
    const value = el("dd", {}, "–")
    byId("numbers").append(el("div", { title }, el("dt", {}, name), value))
    return value
})

export function show(history) {
    tiles.forEach(([, text], at) => setText(values[at], text(history.now, history)))
}
