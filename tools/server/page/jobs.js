// SPDX-License-Identifier: Apache-2.0

// jobs - a row for each job: sorted, filtered, replaced, cancelled
import * as api from "./api.js"
import { byId, el, setChildren, setText } from "./dom.js"
import { age, count, many } from "./text.js"

/* rows at first, and more of them each time that it is asked for */
const SHOWN = matchMedia("(max-width: 600px)").matches ? 10 : 100
const order = new Intl.Collator("en", { numeric: true })

const columns = [
    { name: "Key", value: (job) => job.key },
    { name: "Kind", value: (job) => job.name },
    { name: "State", value: (job) => job.state },
    { name: "Age", value: (job) => job.age_ms, number: true },
    { name: "Waits for", value: (job) => job.waits_ms ?? -1 },
    { name: "Restarts", value: (job) => job.restarts, number: true },
]

let jobs = [] // as the server told them last
let total = 0
let shown = SHOWN
let sortedBy = columns[3]
let falling = false
let hooks // { replace(job), changed() }
const rows = new Map() // by the id of the job's fiber
const percents = new Map() // the same
const busy = new Set() // keys that are being cancelled

/* ---- a row ---- */

function say(text, bad = false) {
    byId("said").toggleAttribute("data-bad", bad)
    setText(byId("said"), text)
}

async function cancel(key) {
    if (busy.has(key)) return
    busy.add(key)
    render()
    try {
        const { outcome } = await api.cancel(key)
        say(
            outcome === "cancelled"
                ? `${key} is cancelled`
                : `${key} is interrupted, and will end`,
        )
    } catch (error) {
        say(`${key}: ${error.message}`, true)
    }
    busy.delete(key)
    hooks.changed()
}

function makeRow(job) {
    const { key } = job
    const label = (text) => el("td", { "data-label": text })
    const cells = {
        kind: label("Kind"),
        state: el("span", { class: "state" }),
        age: label("Age"),
        waits: label("Waits for"),
        restarts: label("Restarts"),
        progress: el("progress", { max: 100, value: 0, "aria-label": "done" }),
    }
    const replace = el(
        "button",
        { type: "button", "aria-label": `Replace ${key}`, onclick: () => hooks.replace(job) },
        "Replace",
    )
    const stop = el(
        "button",
        { type: "button", "aria-label": `Cancel ${key}`, onclick: () => cancel(key) },
        "Cancel",
    )
    const actions = el("td", { class: "actions" }, replace, stop)
    cells.progress.hidden = true
    const row = el(
        "tr",
        {},
        el("th", { scope: "row", class: "key", title: key }, key),
        cells.kind,
        el("td", { "data-label": "State" }, cells.state, cells.progress),
        cells.age,
        cells.waits,
        cells.restarts,
        actions,
    )
    return { row, cells, buttons: [replace, stop] }
}

/** Of who queues or has been replaced the key is another's: it cannot be cancelled by it. */
const holdsKey = (job) => job.state !== "queued" && job.state !== "replaced"

function waitsFor(job) {
    if (job.waits_for) return `${job.waits_for}, ${age(job.waits_ms)}`
    return job.fiber === "runnable" ? "a worker" : "–"
}

function updateRow({ row, cells, buttons }, job) {
    const percent = percents.get(job.id)
    row.dataset.state = job.state
    setText(cells.kind, job.name)
    setText(cells.state, job.state)
    setText(cells.age, age(job.age_ms))
    setText(cells.waits, waitsFor(job))
    setText(cells.restarts, count(job.restarts))
    cells.progress.hidden = percent === undefined
    if (percent !== undefined) cells.progress.value = percent
    for (const button of buttons) button.hidden = !holdsKey(job)
    // not disabled: that would lose the focus
    buttons[1].setAttribute("aria-disabled", busy.has(job.key))
}

function rowOf(job) {
    if (!rows.has(job.id)) rows.set(job.id, makeRow(job))
    const row = rows.get(job.id)
    updateRow(row, job)
    return row
}

/* ---- all of them ---- */

function compare(a, b) {
    const [x, y] = [sortedBy.value(a), sortedBy.value(b)]
    const way = falling ? -1 : 1
    return (
        way * (typeof x === "number" ? x - y : order.compare(x, y)) ||
        order.compare(a.key, b.key)
    )
}

/** Who had the focus is gone: the next row's button of the same kind gets it, or the filter. */
function keepFocus(wanted, before) {
    const lost = [...before].findIndex((row) => row.contains(document.activeElement))
    if (lost < 0 || wanted.includes(before[lost])) return () => {}
    const which = [...before[lost].querySelectorAll("button")].indexOf(document.activeElement)
    return () => {
        const next = wanted[Math.min(lost, wanted.length - 1)]
        const button = next?.querySelectorAll("button")[which]
        const target = button && !button.hidden ? button : byId("filter")
        target.focus({ preventScroll: true })
    }
}

function render() {
    const text = byId("filter").value
    const state = byId("filter-state").value
    const found = jobs
        .filter((job) => job.key.includes(text) && (!state || job.state === state))
        .sort(compare)
    const wanted = found.slice(0, shown).map((job) => rowOf(job).row)
    const focus = keepFocus(wanted, byId("job-rows").children)
    setChildren(byId("job-rows"), wanted)
    focus()
    const told = jobs.length < total ? `, the first ${count(jobs.length)} are known here` : ""
    setText(
        byId("job-count"),
        found.length === jobs.length
            ? `${count(total)}${told}`
            : `${count(found.length)} of ${count(total)}${told}`,
    )
    setText(
        byId("no-jobs"),
        total ? "No job has such a key and state." : "No job runs. Start one with the form.",
    )
    byId("no-jobs").hidden = found.length > 0
    byId("more-jobs").hidden = found.length <= shown
    setText(byId("more-jobs"), `Show ${count(Math.min(SHOWN, found.length - shown))} more`)
    byId("cancel-many").hidden = !text || !jobs.some((job) => job.key.startsWith(text))
    setText(
        byId("cancel-many"),
        `Cancel all ${text.length > 12 ? `${text.slice(0, 12)}…` : text}*`,
    )
}

export function show(fibers) {
    jobs = fibers.jobs
    total = fibers.job_count
    const live = new Set(jobs.map((job) => job.id))
    for (const map of [rows, percents]) {
        for (const id of map.keys()) if (!live.has(id)) map.delete(id)
    }
    render()
}

/** Of events: how far a job has come. */
export function progress({ name, data }) {
    if (name === "progress") percents.set(data.id, data.percent)
    else if (name === "started") percents.delete(data.id)
    const row = rows.get(data.id)
    if (!row || name !== "progress") return
    row.cells.progress.hidden = false
    row.cells.progress.value = data.percent
}

/* ---- what the bar above does ---- */

async function cancelMany() {
    const prefix = byId("filter").value
    const number = jobs.filter((job) => job.key.startsWith(prefix)).length
    if (number > 1 || jobs.length < total) {
        const all = jobs.length < total ? "all jobs" : many(number, "job")
        setText(byId("sure-title"), `Cancel ${all} whose key begins with “${prefix}”?`)
        setText(byId("sure"), `Cancel ${all}`)
        byId("sure-dialog").returnValue = ""
        byId("sure-dialog").showModal()
        await new Promise((done) =>
            byId("sure-dialog").addEventListener("close", done, { once: true }),
        )
        if (byId("sure-dialog").returnValue !== "yes") return
    }
    try {
        const answer = await api.cancelAll(prefix)
        say(`${many(answer.jobs, "job")} ${answer.outcome}`)
    } catch (error) {
        say(error.message, true)
    }
    hooks.changed()
}

function sortBy(column) {
    falling = sortedBy === column ? !falling : false
    sortedBy = column
    markSorted()
    render()
}

function markSorted() {
    columns.forEach((column, at) => {
        const sort = column !== sortedBy ? "none" : falling ? "descending" : "ascending"
        byId("job-head").children[at].setAttribute("aria-sort", sort)
    })
}

export function begin(theHooks) {
    hooks = theHooks
    byId("job-head").append(
        ...columns.map((column) =>
            el(
                "th",
                { scope: "col" },
                el(
                    "button",
                    { type: "button", class: "sort", onclick: () => sortBy(column) },
                    column.name,
                ),
            ),
        ),
        el("th", { scope: "col" }, el("span", { class: "unseen" }, "What to do")),
    )
    markSorted()
    byId("filter").addEventListener("input", render)
    byId("filter-state").addEventListener("input", render)
    byId("cancel-many").addEventListener("click", cancelMany)
    byId("more-jobs").addEventListener("click", () => {
        shown += SHOWN
        render()
    })
}
