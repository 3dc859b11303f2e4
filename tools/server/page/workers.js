// SPDX-License-Identifier: Apache-2.0

// workers - what each of them runs, and how many fibers wait in its queue
import { byId, el, setText, table } from "./dom.js"
import { count } from "./text.js"

const workers = table("Workers", ["#", "Runs", "Queue", "Switches/s", "Steals/s", "Sleeps/s"])
const shared = el("p", { class: "note" })
byId("workers").append(workers.node, shared)

/** fiberNames: of a fiber's id, what it is known by. */
export function show(now, runtime, fiberNames) {
    const rate = (number) => count(Math.round(number))
    workers.fill(
        now.workers.map((worker, at) => [
            String(at),
            worker.running ? (fiberNames.get(worker.running) ?? "a fiber") : "–",
            worker.pinned
                ? `${count(worker.queued)} + ${count(worker.pinned)} pinned`
                : count(worker.queued),
            rate(worker.switchRate),
            rate(worker.stealRate),
            rate(worker.parkRate),
        ]),
    )
    setText(
        byId("worker-count"),
        `${count(runtime.worker_count)}, ${count(runtime.workers_awake)} awake`,
    )
    setText(shared, `${count(runtime.shared_queued)} fibers in the queue that all share`)
}
