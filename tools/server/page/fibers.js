// SPDX-License-Identifier: Apache-2.0

// fibers - how many are in which state, what the parked ones wait for, how long things take
import { byId, el, setText, table } from "./dom.js"
import { percentile } from "./history.js"
import { count, nanoseconds } from "./text.js"

const states = ["running", "runnable", "new", "parked"]
const waits = el("p", { class: "note" })
const times = table("How long things take", ["", "p50", "p99", "samples"])

const meters = Object.fromEntries(
    states.map((state) => {
        const meter = el("meter", { min: 0, max: 1, value: 0, "aria-label": state })
        const number = el("span", { class: "number" })
        return [
            state,
            { meter, number, row: el("li", {}, el("span", {}, state), meter, number) },
        ]
    }),
)
byId("fibers").append(
    el("ul", { class: "meters" }, ...states.map((state) => meters[state].row)),
    waits,
    times.node,
)

export function show(fibers, history) {
    const all = states.reduce((sum, state) => sum + fibers.states[state], 0)
    for (const state of states) {
        meters[state].meter.value = all ? fibers.states[state] / all : 0
        setText(meters[state].number, count(fibers.states[state]))
    }
    const words = Object.entries(fibers.waits).sort((a, b) => b[1] - a[1])
    const told = words.map(([what, number]) => `${what} ${count(number)}`).join(", ")
    setText(waits, `They wait for ${told || "nothing"}.`)
    setText(byId("fiber-count"), count(all))
    const row = (text, name) => {
        const histogram = history.histogram(name)
        const at = (percent) =>
            histogram.count ? nanoseconds(percentile(histogram, percent)) : "–"
        return [text, at(50), at(99), count(histogram.count)]
    }
    times.fill([
        row("runnable to running", "latency"),
        row("running to waiting", "runLength"),
        row("blocking call to thread", "blockingWait"),
    ])
}
