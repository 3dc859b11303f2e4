// SPDX-License-Identifier: Apache-2.0

// api - requests to the server that this page came from

const ANSWER_MS = 20000 // no answer takes longer than a cancellation, which waits for 5 s

/** The server has answered, and not with what was asked for. */
export class Refused extends Error {
    constructor(status, detail) {
        super(detail)
        this.status = status
    }
}

let token = sessionStorage.getItem("token")

/** The token of all requests from now on; this tab keeps it. */
export function useToken(text) {
    token = text
    sessionStorage.setItem("token", text)
}

export const hasToken = () => token !== null

async function request(method, path, body, signal) {
    const headers = token === null ? {} : { Authorization: `Bearer ${token}` }
    const answer = await fetch(path, { method, body, headers, signal, cache: "no-store" })
    if (answer.ok) return answer
    const problem = await answer.json().catch(() => ({}))
    throw new Refused(answer.status, problem.detail ?? answer.statusText)
}

/** The answer as an object. Throws Refused, or TypeError where there is no server. */
export async function ask(method, path, body) {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const answer = await request(method, path, text, AbortSignal.timeout(ANSWER_MS))
    return answer.json()
}

/** One event of a stream: { name, data }, undefined if it is only a comment. */
function parseEvent(lines) {
    const field = (name) =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2)
    const data = field("data")
    return data === undefined ? undefined : { name: field("event"), data: JSON.parse(data) }
}

/**
 * What happens to jobs, until the server ends the stream or `signal` does. Not an EventSource,
 * which could not bring a token.
 */
export async function* events(signal) {
    const answer = await request("GET", "/api/events", undefined, signal)
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
    let rest = ""
    for (;;) {
        const { done, value } = await reader.read()
        if (done) return
        const parts = (rest + value).split("\n\n")
        rest = parts.pop()
        for (const part of parts) {
            const event = parseEvent(part.split("\n"))
            if (event) yield event
        }
    }
}

const inPath = (key) => encodeURIComponent(key)

export const stats = () => ask("GET", "/api/stats")
export const fibers = () => ask("GET", "/api/fibers")
export const users = () => ask("GET", "/api/users")
export const start = (job) => ask("POST", "/api/process", job)
export const cancel = (key) => ask("DELETE", `/api/cancel/${inPath(key)}`)
export const cancelAll = (prefix) => ask("DELETE", `/api/cancel?prefix=${inPath(prefix)}`)
