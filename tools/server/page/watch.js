// SPDX-License-Identifier: Apache-2.0

// watch - looks at the server again and again, and listens to it
//
//   connecting --> live <--> paused
//                  |  ^
//        no answer |  | an answer
//                  v  |
//                  away      tries again, each time a little later, up to 5 s
//
// A 401 asks for the token and goes on. A page that nobody sees does not look.
import * as api from "./api.js"

const LOOK_MS = 1000
const AWAY_MS = 5000
const HURRY_MS = 200

/**
 * askToken(wrong)   resolves when a token has been given
 * onLook({ stats, fibers, users, at })
 * onEvent({ name, data })
 * onState(state, why)    connecting, live, draining, paused, away, refused; ended: away, and it
 *                        was draining
 */
export class Watch {
    #handlers
    #paused = false
    #draining = false
    #failures = 0
    #wake = () => {}
    #again = false // look once more: it was asked for while a look was under way
    #hurry
    #asking
    #stream

    constructor(handlers) {
        this.#handlers = handlers
        document.addEventListener("visibilitychange", () => this.look())
        handlers.onState("connecting")
        this.#run()
    }

    get paused() {
        return this.#paused
    }

    set paused(paused) {
        this.#paused = paused
        if (paused) this.#stream?.abort()
        this.#handlers.onState(paused ? "paused" : "connecting")
        this.look()
    }

    /** Look now. */
    look() {
        this.#again = true
        this.#wake()
    }

    /** Something has changed: look soon, once for all that happens until then. */
    lookSoon() {
        this.#hurry ??= setTimeout(() => {
            this.#hurry = undefined
            this.look()
        }, HURRY_MS)
    }

    get #idle() {
        return this.#paused || document.hidden
    }

    #rest(ms) {
        return new Promise((wake) => {
            this.#wake = wake
            if (ms !== undefined) setTimeout(wake, ms)
        })
    }

    async #run() {
        for (;;) {
            if (this.#idle) {
                await this.#rest()
                continue
            }
            this.#again = false
            await this.#lookOnce()
            const later = this.#failures
                ? Math.min(AWAY_MS, 250 * 2 ** this.#failures)
                : LOOK_MS
            if (!this.#again) await this.#rest(later)
        }
    }

    async #lookOnce() {
        try {
            const [stats, fibers, users] = await Promise.all([
                api.stats(),
                api.fibers(),
                api.users(),
            ])
            this.#failures = 0
            if (this.#paused) return
            this.#draining = stats.server.draining
            this.#handlers.onState(this.#draining ? "draining" : "live")
            this.#handlers.onLook({ stats, fibers, users, at: performance.now() })
            this.#listen()
        } catch (error) {
            await this.#failed(error)
        }
    }

    async #failed(error) {
        if (error.status === 401) {
            await this.#askToken()
            this.#again = true
            return
        }
        this.#failures++
        if (this.#paused) return
        if (error instanceof api.Refused) this.#handlers.onState("refused", error.message)
        else this.#handlers.onState(this.#draining ? "ended" : "away")
    }

    #askToken() {
        this.#asking ??= this.#handlers.askToken(api.hasToken()).finally(() => {
            this.#asking = undefined
        })
        return this.#asking
    }

    /** Have a stream of events, if there is none. */
    #listen() {
        if (this.#stream) return
        const stream = new AbortController()
        this.#stream = stream
        this.#hear(stream.signal)
            .catch(() => {})
            .finally(() => {
                this.#stream = undefined
                if (!this.#idle) this.lookSoon() // the server may have gone
            })
    }

    async #hear(signal) {
        for await (const event of api.events(signal)) {
            if (signal.aborted) return
            if (event.name === "draining") this.#draining = true
            this.#handlers.onEvent(event)
            if (event.name !== "progress") this.lookSoon()
        }
    }
}
