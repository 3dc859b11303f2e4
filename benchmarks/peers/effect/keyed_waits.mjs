// SPDX-License-Identifier: Apache-2.0

// The work of bench_keyed_waits.c over FiberMap: calls of one key that join who runs there, and
// failures that are retried at once. A run that waits for the end of the one it replaces has no
// counterpart.
import { names } from "./keyed.mjs"

export const dedup = (context, count) => {
    const { Effect, Fiber, FiberMap, Option, get, fork, yieldNow, perOp, now, check, sizes } =
        context
    return Effect.gen(function* () {
        const map = yield* FiberMap.make()
        const run = yield* FiberMap.runtime(map)()
        const keys = names(Math.ceil(count / sizes.callers))
        let bodies = 0
        const start = now()
        for (const [round, key] of keys.entries()) {
            let come = 0
            const untilAllHaveCome = Effect.gen(function* () {
                bodies++
                while (come < sizes.callers) yield* yieldNow
                return round
            })
            const caller = Effect.gen(function* () {
                come++
                // in one step: no other fiber runs in between
                const fiber = Option.getOrElse(get(map, key), () => run(key, untilAllHaveCome))
                return yield* Fiber.join(fiber)
            })
            const callers = []
            for (let i = 0; i < sizes.callers; i++) callers.push(yield* fork(caller))
            for (const fiber of callers) {
                check((yield* Fiber.join(fiber)) === round, "another's result")
            }
        }
        perOp("run_wait of one key, per caller", start, keys.length * sizes.callers)
        check(bodies === keys.length, "bodies")
    })
}

export const restart = ({ Effect, FiberMap, perOp, now, check, sizes }, count) =>
    Effect.gen(function* () {
        const map = yield* FiberMap.make()
        const restarts = Math.ceil(count / sizes.keys)
        let bodies = 0
        const body = Effect.suspend(() => {
            bodies++
            return Effect.fail("failed")
        })
        const start = now()
        const retried = Effect.ignore(Effect.retry(body, { times: restarts }))
        for (const key of names(sizes.keys)) {
            yield* FiberMap.run(map, key, retried)
        }
        yield* FiberMap.awaitEmpty(map)
        perOp("restart storm", start, sizes.keys * restarts)
        check(bodies === sizes.keys * (restarts + 1), "bodies")
    })
