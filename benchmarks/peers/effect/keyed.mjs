// SPDX-License-Identifier: Apache-2.0

// The work of bench_keyed.c over FiberMap, with the same keys and checks.

export function names(count) {
    const stems = ["j-", "job-", "user-", "session-", "connection-"]
    return Array.from({ length: count }, (_, i) => stems[i % 5] + String(i).padStart(7, "0"))
}

// A random number below `below`; 32 bits of state.
function random(seed) {
    let state = seed
    return (below) => {
        state ^= state << 13
        state ^= state >>> 17
        state ^= state << 5
        return (state >>> 0) % below
    }
}

export const sequential = ({ Effect, Fiber, FiberMap, perOp, now, check }, count) =>
    Effect.gen(function* () {
        const map = yield* FiberMap.make()
        const keys = names(count)
        const start = now()
        for (const key of keys) {
            yield* Fiber.await(yield* FiberMap.run(map, key, Effect.void))
        }
        perOp("i-seq", start, count)
        check((yield* FiberMap.size(map)) === 0, "left")
    })

export const batch = ({ Effect, FiberMap, perOp, now, check, sizes }, count) =>
    Effect.gen(function* () {
        const map = yield* FiberMap.make()
        const rounds = Math.floor(count / sizes.keys)
        const keys = names(rounds * sizes.keys)
        let bodies = 0
        const body = Effect.sync(() => bodies++)
        const start = now()
        for (let i = 0; i < keys.length; i++) {
            yield* FiberMap.run(map, keys[i], body)
            if (i % sizes.keys === sizes.keys - 1) {
                yield* FiberMap.awaitEmpty(map)
                check(bodies === i + 1, "batch")
            }
        }
        perOp("i-batch", start, keys.length)
    })

export const storm = (metric, started) => (context, count) => {
    const { Effect, FiberMap, yieldNow, perOp, now, check, sizes } = context
    return Effect.gen(function* () {
        const map = yield* FiberMap.make()
        const keys = names(sizes.keys)
        let ended = 0
        const start = now()
        for (let i = 0; i < count; i++) {
            const fiber = yield* FiberMap.run(map, keys[i % keys.length], Effect.never)
            fiber.addObserver(() => ended++)
            if (started && i % keys.length === keys.length - 1) yield* yieldNow
        }
        yield* FiberMap.clear(map)
        while (ended < count) yield* yieldNow // FiberMap does not await whom it has replaced
        perOp(metric, start, count)
        check(ended === count, "storm")
    })
}

export const held = ({ Effect, FiberMap, perOp, now, check }, count) =>
    Effect.gen(function* () {
        const map = yield* FiberMap.make()
        const [key] = names(1)
        yield* FiberMap.run(map, key, Effect.never)
        const start = now()
        for (let i = 0; i < count; i++) {
            yield* FiberMap.run(map, key, Effect.never, { onlyIfMissing: true })
        }
        perOp("iii", start, count)
        check((yield* FiberMap.size(map)) === 1, "started")
    })

export const lookup = (context, count) => {
    const { Effect, FiberMap, Option, get, perOp, now, check, sizes } = context
    return Effect.gen(function* () {
        const map = yield* FiberMap.make()
        const order = names(sizes.entries)
        for (const key of order) yield* FiberMap.run(map, key, Effect.never)
        const below = random(2463534242)
        for (let i = order.length - 1; i > 0; i--) {
            const j = below(i + 1)
            const swapped = order[i]
            order[i] = order[j]
            order[j] = swapped
        }
        const start = now()
        let found = 0
        for (let i = 0; i < count; i++) {
            const fiber = yield* Effect.sync(() => get(map, order[i % order.length]))
            found += Option.isSome(fiber) ? 1 : 0
        }
        perOp("iv", start, count)
        check(found === count, "not found")
        yield* FiberMap.clear(map)
    })
}

const hotMany = (context, map, keys, count, seed, tally) => {
    const { Effect, FiberMap, Option, get, interrupt, yieldNow } = context
    const below = random(seed)
    const onlyIfMissing = { onlyIfMissing: true }
    const count1 = (fiber) => {
        tally.started++
        fiber.addObserver(() => tally.ended++)
    }
    return Effect.gen(function* () {
        for (let i = 0; i < count; i++) {
            const key = keys[below(keys.length)]
            const percent = below(100)
            if (percent < 50) {
                count1(yield* FiberMap.run(map, key, Effect.never))
            } else if (percent < 75) {
                get(map, key)
            } else if (percent < 90) {
                const holder = get(map, key)
                if (Option.isSome(holder)) interrupt(holder.value)
            } else {
                const holder = get(map, key)
                const fiber = yield* FiberMap.run(map, key, Effect.never, onlyIfMissing)
                if (Option.isNone(holder)) count1(fiber)
            }
            if (i % 64 === 63) yield* yieldNow
        }
    })
}

export const hot = (context, count) => {
    const { Effect, Fiber, FiberMap, fork, yieldNow, perOp, now, check, sizes } = context
    return Effect.gen(function* () {
        const map = yield* FiberMap.make()
        const keys = names(sizes.hot)
        const tally = { started: 0, ended: 0 }
        const start = now()
        const both = []
        for (const seed of [2463534242, 2463542161]) {
            both.push(yield* fork(hotMany(context, map, keys, count / 2, seed, tally)))
        }
        for (const fiber of both) yield* Fiber.join(fiber)
        perOp("v", start, count)
        yield* FiberMap.clear(map)
        while (tally.ended < tally.started) yield* yieldNow
        check(tally.ended === tally.started, "hot")
    })
}

export const clear = ({ Effect, FiberMap, yieldNow, perOp, now, check }, count) =>
    Effect.gen(function* () {
        const map = yield* FiberMap.make()
        let ended = 0
        for (const key of names(count)) {
            const fiber = yield* FiberMap.run(map, key, Effect.never)
            fiber.addObserver(() => ended++)
        }
        yield* yieldNow
        const start = now()
        yield* FiberMap.clear(map)
        perOp("vi", start, count)
        check(ended === count && (yield* FiberMap.size(map)) === 0, "clear")
    })
