// SPDX-License-Identifier: Apache-2.0

// plots - the last minutes, drawn by uPlot
import { byId, el } from "./dom.js"
import { clock, count, nanoseconds } from "./text.js"

const HEIGHT = 130
const SPAN_S = 60 // at least so much is shown

/* steps of an axis: of whole numbers, and of seconds */
const WHOLE = [1, 2, 5]
    .flatMap((step) => Array.from({ length: 10 }, (_, power) => step * 10 ** power))
    .sort((a, b) => a - b)
const SECONDS = [5, 10, 15, 30, 60, 120]

const color = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

/** Whatever has a color looks for it each time that it is drawn: it depends on the scheme. */
const ink =
    (name, alpha = "") =>
    () =>
        color(name) + alpha

function axis(more) {
    return {
        stroke: ink("muted"),
        font: "11px system-ui, sans-serif",
        size: 44,
        gap: 4,
        grid: { stroke: ink("line"), width: 1 },
        ticks: { show: false },
        ...more,
    }
}

function line(label, name) {
    return {
        label,
        stroke: ink(name),
        fill: ink(name, "22"),
        width: 1.5,
        points: { show: false },
    }
}

const fromZero = { range: (_, __, max) => [0, Math.max(4, max * 1.1)] }

/** From the first look to the last; before there is one, up to now. */
function span(_, first, last) {
    const to = last || Date.now() / 1000
    return [Math.min(first || to, to - SPAN_S), to]
}

const overTime = (...series) => ({
    scales: { x: { range: span }, y: fromZero },
    axes: [
        axis({
            size: 22,
            space: 70,
            incrs: SECONDS,
            values: (_, splits) => splits.map((at) => clock(new Date(at * 1000))),
        }),
        axis({ space: 28, incrs: WHOLE, values: (_, splits) => splits.map(count) }),
    ],
    series: [{}, ...series],
})

/** Buckets are powers of two of nanoseconds; over each stands its share of all. */
const histogram = (uPlot, ...series) => ({
    scales: { x: { time: false }, y: fromZero },
    axes: [
        axis({
            size: 22,
            space: 50,
            incrs: [1, 2, 5, 10],
            values: (_, splits) => splits.map((at) => nanoseconds(2 ** at)),
        }),
        axis({
            space: 28,
            incrs: WHOLE,
            values: (_, splits) => splits.map((share) => `${share} %`),
        }),
    ],
    series: [
        {},
        ...series.map((one) => ({ ...one, paths: uPlot.paths.stepped({ align: 1 }) })),
    ],
})

function shares({ buckets, count: all }, from, to) {
    const share = (at) => (all ? (100 * (buckets[at] ?? 0)) / all : 0)
    return Array.from({ length: to - from + 1 }, (_, at) => share(from + at))
}

function histogramData(history) {
    const [latency, runLength] = ["latency", "runLength"].map((name) => history.histogram(name))
    const used = [latency, runLength].flatMap(({ buckets }) =>
        [...buckets.keys()].filter((at) => buckets[at] > 0),
    )
    const [from, to] = [Math.min(8, ...used), Math.max(20, ...used) + 1]
    const x = Array.from({ length: to - from + 1 }, (_, at) => from + at)
    return [x, shares(latency, from, to), shares(runLength, from, to)]
}

const plots = (uPlot) => [
    {
        title: "per second",
        legend: [
            ["requests", "blue"],
            ["jobs started", "green"],
        ],
        options: overTime(line("requests", "blue"), line("jobs started", "green")),
        data: (history) => history.series("requestRate", "startRate"),
    },
    {
        title: "now",
        legend: [
            ["fibers", "blue"],
            ["jobs", "green"],
            ["in queues", "red"],
        ],
        options: overTime(
            line("fibers", "blue"),
            line("jobs", "green"),
            line("in queues", "red"),
        ),
        data: (history) => history.series("fibers", "jobs", "queued"),
    },
    {
        title: "how long",
        legend: [
            ["runnable to running", "blue"],
            ["running to waiting", "green"],
        ],
        options: histogram(
            uPlot,
            line("runnable to running", "blue"),
            line("running to waiting", "green"),
        ),
        data: histogramData,
    },
]

function makePlot(uPlot, { title, legend, options, data }) {
    const place = el("div", {
        class: "plot",
        role: "img",
        "aria-label": legend.map(([name]) => name).join(", "),
    })
    const names = legend.map(([name, paint]) => el("span", { class: `legend ${paint}` }, name))
    byId("plots").append(
        el(
            "figure",
            { class: "panel" },
            el("figcaption", {}, ...names, el("span", { class: "note" }, title)),
            place,
        ),
    )
    const plot = new uPlot(
        {
            ...options,
            width: place.clientWidth || 300,
            height: HEIGHT,
            padding: [8, 24, 0, 0],
            legend: { show: false },
            cursor: { y: false, drag: { x: false, y: false } },
        },
        [[], ...legend.map(() => [])],
        place,
    )
    new ResizeObserver(() =>
        plot.setSize({ width: place.clientWidth, height: HEIGHT }),
    ).observe(place)
    return (history) => plot.setData(data(history))
}

/** show(history), or null where uPlot is not part of the program. */
export async function begin() {
    const uPlot = await import("./uplot.js").then(
        (module) => module.default,
        () => null,
    )
    if (!uPlot) {
        byId("plots").append(
            el(
                "p",
                { class: "note" },
                "Plots are not built in: there was no uPlot from npm when this program was built.",
            ),
        )
        return null
    }
    document.head.append(el("link", { rel: "stylesheet", href: "/page/uplot.css" }))
    byId("plotted-by").append(
        "Plots by uPlot, © Leon Sorokin, ",
        el("a", { href: "/page/uplot-license.txt" }, "MIT licence"),
        ".",
    )
    const draw = plots(uPlot).map((plot) => makePlot(uPlot, plot))
    let last
    const show = (history) => {
        last = history
        for (const one of draw) one(history)
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener(
        "change",
        () => last && show(last),
    )
    return show
}
