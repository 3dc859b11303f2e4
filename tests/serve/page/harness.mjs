// SPDX-License-Identifier: Apache-2.0

// harness - a server, a browser, and tests of the page told in TAP
//
// Whatever must happen is waited for, up to WAIT_MS; nothing is expected at a certain time.
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync } from "node:fs"
import path from "node:path"
import { createInterface } from "node:readline"
import { chromium } from "playwright-core"

export const WAIT_MS = 30000

const flags = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]

/** A server of its own; `ask` talks to its API. */
export class Server {
    static async start(binary, ...options) {
        const server = new Server()
        server.process = spawn(binary, ["--port=0", ...options], {
            stdio: ["ignore", "pipe", "pipe"],
        })
        server.exit = once(server.process, "exit")
        server.errors = ""
        server.process.stderr.on("data", (text) => {
            server.errors = (server.errors + text).slice(-4000)
        })
        const [line] = await once(createInterface(server.process.stdout), "line")
        server.url = /listening on (http:\S+)$/.exec(line)[1]
        return server
    }

    async ask(method, target, body) {
        const answer = await fetch(this.url + target, {
            method,
            body: body && JSON.stringify(body),
        })
        return answer.json()
    }

    start(job) {
        return this.ask("POST", "/api/process", { kind: "sleep", ms: 3600000, ...job })
    }

    status(key) {
        return this.ask("GET", `/api/status/${encodeURIComponent(key)}`)
    }

    async end(signal = "SIGTERM") {
        this.process.kill(signal)
        const [code] = await this.exit
        return code
    }
}

/** A browser without a profile, and pages in it; what they complain about is kept. */
export class Browser {
    complaints = []

    static async start(executablePath, folder) {
        const browser = new Browser()
        browser.folder = folder
        mkdirSync(folder, { recursive: true })
        browser.chromium = await chromium.launch({
            executablePath,
            args: flags,
            timeout: 2 * WAIT_MS,
        })
        return browser
    }

    /** options: as of Playwright's browser.newContext */
    async open(url, options = {}) {
        const context = await this.chromium.newContext({
            viewport: { width: 1280, height: 900 },
            ...options,
        })
        context.setDefaultTimeout(WAIT_MS)
        const page = await context.newPage()
        page.on("pageerror", (error) => this.complaints.push(String(error)))
        page.on(
            "console",
            (message) => message.type() === "error" && this.complaints.push(message.text()),
        )
        await page.goto(url)
        return page
    }

    /** What was to be complained about. */
    forgive(pattern) {
        this.complaints = this.complaints.filter((text) => !pattern.test(text))
    }

    /** An artefact to look at. */
    async shoot(page, name, options = {}) {
        await page.screenshot({ path: path.join(this.folder, `${name}.png`), ...options })
    }

    close() {
        return this.chromium.close()
    }
}

/** Run all tests, one after the other, whether one fails or not. The exit code. */
export async function run(tests) {
    let failed = 0
    console.log(`1..${tests.length}`)
    for (const [at, [promise, test]] of tests.entries()) {
        const began = performance.now()
        try {
            await test()
            console.log(`ok ${at + 1} - ${promise}`)
        } catch (error) {
            failed++
            console.log(
                `not ok ${at + 1} - ${promise}\n${String(error.stack).replace(/^/gm, "# ")}`,
            )
        }
        console.log(`# ${((performance.now() - began) / 1000).toFixed(2)} s`)
    }
    return failed ? 1 : 0
}
