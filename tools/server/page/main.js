// SPDX-License-Identifier: Apache-2.0

// main - the live page: looks at the server once a second and shows what it sees
import { hasToken } from "./api.js"
import { byId, setText } from "./dom.js"
import * as events from "./events.js"
import * as fibers from "./fibers.js"
import { History } from "./history.js"
import * as jobs from "./jobs.js"
import * as numbers from "./numbers.js"
import * as plots from "./plots.js"
import * as start from "./start.js"
import { askToken } from "./token.js"
import * as users from "./users.js"
import { Watch } from "./watch.js"
import * as workers from "./workers.js"

const states = {
    connecting: "connecting",
    live: "live",
    draining: "draining: it ends when its jobs have ended",
    paused: "paused",
    away: "no answer – trying again",
    ended: "it has ended – trying again",
    refused: "refused",
}

const history = new History()
let plot = null

/** Of a fiber's id, what it is known by: its job's key, its user. */
function fiberNames({ jobs: all, users: connected }) {
    return new Map([...all, ...connected].map(({ id, key }) => [id, key]))
}

function onState(state, why) {
    byId("link").dataset.state = state
    document.body.dataset.state = state
    setText(byId("link"), why ? `${states[state]}: ${why}` : states[state])
    start.setDraining(state === "draining")
}

function onLook(look) {
    const now = history.add(look)
    numbers.show(history)
    jobs.show(look.fibers)
    workers.show(now, look.stats.runtime, fiberNames(look.fibers))
    fibers.show(look.fibers.fibers, history)
    users.show(look.users)
    byId("links").hidden = hasToken() // a link cannot bring one
    plot?.(history)
}

function onEvent(event) {
    events.add(event)
    jobs.progress(event)
}

const watch = new Watch({ askToken, onLook, onEvent, onState })
jobs.begin({ replace: start.replace, changed: () => watch.look() })
start.begin(() => watch.look())
plots.begin().then((show) => {
    plot = show
    if (history.now) plot?.(history)
})

byId("pause").addEventListener("click", () => {
    watch.paused = !watch.paused
    setText(byId("pause"), watch.paused ? "Resume" : "Pause")
})
