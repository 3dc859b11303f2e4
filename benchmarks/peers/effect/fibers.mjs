// SPDX-License-Identifier: Apache-2.0

// Fibers: yield, spawn and join.

export const yields = ({ Effect, Fiber, fork, yieldNow, perOp, now, check }, count) =>
    Effect.gen(function* () {
        let done = 0
        const body = Effect.gen(function* () {
            for (let i = 0; i < count / 2; i++) {
                yield* yieldNow
                done++
            }
        })
        const start = now()
        const both = [yield* fork(body), yield* fork(body)]
        for (const fiber of both) yield* Fiber.join(fiber)
        perOp("yield", start, count)
        check(done === count, "a yield is missing")
    })

export const spawnOne = ({ Effect, Fiber, fork, perOp, now, check }, count) =>
    Effect.gen(function* () {
        let sum = 0
        const start = now()
        for (let i = 0; i < count; i++) {
            sum += yield* Fiber.join(yield* fork(Effect.succeed(1)))
        }
        perOp("spawn+join, one at a time", start, count)
        check(sum === count, "a fiber is missing")
    })

export const spawnBatch = ({ Effect, Fiber, fork, perOp, now, check, sizes }, count) =>
    Effect.gen(function* () {
        const rounds = Math.floor(count / sizes.batch)
        let sum = 0
        const start = now()
        for (let i = 0; i < rounds; i++) {
            const all = []
            for (let j = 0; j < sizes.batch; j++) all.push(yield* fork(Effect.succeed(1)))
            for (const fiber of all) sum += yield* Fiber.join(fiber)
        }
        perOp("spawn 1000, join all", start, rounds * sizes.batch)
        check(sum === rounds * sizes.batch, "a fiber is missing")
    })
