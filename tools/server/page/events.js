// SPDX-License-Identifier: Apache-2.0

// events - what happens to jobs, newest first
import { byId, el, setText } from "./dom.js"
import { clock, count, many } from "./text.js"

const KEPT = 100
const RATE_MS = 1000

const list = byId("events")
let fresh = [] // not drawn yet
let heard = 0

function reasonOf(data) {
    const parts = []
    if (data.state) parts.push(data.state)
    if (data.reason) parts.push(`by ${data.reason}`)
    if (data.code !== undefined) parts.push(`code ${data.code}`)
    if (data.ms !== undefined) parts.push(`after ${count(data.ms)} ms`)
    if (data.restarts) parts.push(many(data.restarts, "restart"))
    if (data.events) parts.push(`${many(data.events, "event")} not heard: there are too many`)
    return parts.join(", ")
}

function item(name, data) {
    return el(
        "li",
        { "data-event": data.state ?? name },
        el("time", {}, clock(new Date())),
        el("b", {}, name),
        el("span", { class: "key" }, data.key ?? ""),
        el("span", { class: "note" }, [data.kind, reasonOf(data)].filter(Boolean).join(" · ")),
    )
}

function draw() {
    list.prepend(...fresh.reverse())
    fresh = []
    while (list.children.length > KEPT) list.lastChild.remove()
}

/** Thousands may come in a second: of those that nobody could read the newest are drawn. */
export function add({ name, data }) {
    heard++
    if (name === "progress") return
    if (fresh.length === 0) requestAnimationFrame(draw)
    fresh.push(item(name, data))
    if (fresh.length > KEPT) fresh.shift()
}

byId("clear-events").addEventListener("click", () => list.replaceChildren())
setInterval(() => {
    setText(byId("event-rate"), heard ? `${count(heard)} in the last second` : "")
    heard = 0
}, RATE_MS)
