// SPDX-License-Identifier: Apache-2.0

// start - the form that starts a job, and replaces one
import * as api from "./api.js"
import { byId, el, setText } from "./dom.js"

const number = (name, label, value, min, max) => ({
    name,
    label,
    value,
    type: "number",
    min,
    max,
})

/** What each kind of work wants to know. */
const kinds = {
    sleep: [number("ms", "For, ms", 60000, 0, 86400000)],
    primes: [number("below", "Below", 1000000000, 0, 100000000000)],
    hash: [
        { name: "text", label: "Text", value: "abc", type: "text" },
        number("rounds", "Rounds", 10000000, 1, 1000000000),
    ],
    fail: [
        number("code", "Code", 1, -2147483648, 2147483647),
        number("ms", "After, ms", 1000, 0, 86400000),
    ],
}

const form = byId("start")
const field = (name) => form.elements[name]
const started = new Map() // by key, what this page has started
let changed

function say(text, bad = false) {
    byId("started").toggleAttribute("data-bad", bad)
    setText(byId("started"), text)
}

/** The fields of the kind that is chosen, with the values that are known. */
function showKind(known = {}) {
    const fields = kinds[field("kind").value].map(({ name, label, value, ...more }) =>
        el(
            "label",
            {},
            label,
            el("input", {
                name,
                required: more.type === "number",
                value: known[name] ?? value,
                ...more,
            }),
        ),
    )
    byId("kind-fields").replaceChildren(...fields)
}

function readRestart() {
    const restart = { type: field("restart").value }
    for (const name of ["delay_ms", "factor", "times"]) {
        if (field(name).value !== "") restart[name] = field(name).valueAsNumber
    }
    return restart
}

function readJob() {
    const job = { kind: field("kind").value, mode: field("mode").value }
    if (field("key").value) job.key = field("key").value
    for (const { name, type } of kinds[job.kind]) {
        job[name] = type === "number" ? field(name).valueAsNumber : field(name).value
    }
    if (field("deadline_ms").value) job.deadline_ms = field("deadline_ms").valueAsNumber
    if (field("restart").value) job.restart = readRestart()
    return job
}

const outcomes = {
    started: "runs",
    replaced: "runs in place of the older job",
    kept: "was kept: nothing has started",
    joined: "was joined: nothing has started",
    queued: "waits for its turn",
}

async function submit(event) {
    event.preventDefault()
    const job = readJob()
    try {
        const { key, outcome } = await api.start(job)
        if (outcome !== "kept" && outcome !== "joined") started.set(key, job)
        if (started.size > 1000) started.delete(started.keys().next().value)
        say(`${key} ${outcomes[outcome] ?? outcome}`)
    } catch (error) {
        say(error.message, true)
    }
    changed()
}

/** Offer to replace a job, by the same as it was started with if that is known. */
export function replace({ key, name }) {
    const known = started.get(key) ?? {}
    field("key").value = key
    field("mode").value = "replace"
    field("kind").value = known.kind ?? name
    showKind(known)
    say(`What you start replaces ${key}.`)
    const button = form.querySelector("[type=submit]")
    button.scrollIntoView({ block: "nearest" })
    button.focus()
}

/** A server that is about to end starts nothing. */
export function setDraining(draining) {
    form.querySelector("[type=submit]").disabled = draining
}

export function begin(whenChanged) {
    changed = whenChanged
    showKind()
    field("kind").addEventListener("input", () => showKind())
    form.addEventListener("submit", submit)
}
