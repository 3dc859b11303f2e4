// SPDX-License-Identifier: Apache-2.0

// users - who is connected by a WebSocket, and for whom messages wait
import { byId, el, setText, table } from "./dom.js"
import { count } from "./text.js"

const SHOWN = 20

const users = table("Users", ["User", "Connected", "Messages"])
const nobody = el("p", { class: "empty" }, "Nobody. A user connects to /ws/NAME.")
byId("users").append(users.node, nobody)

export function show({ connected, users: all }) {
    setText(byId("user-count"), `${count(connected)} connected`)
    users.node.hidden = all.length === 0
    nobody.hidden = all.length > 0
    users.fill(
        all
            .slice(0, SHOWN)
            .map(({ user, connected: here, waiting }) => [
                user,
                here ? "yes" : "no",
                count(waiting),
            ]),
    )
}
