// SPDX-License-Identifier: Apache-2.0

// token - asks for the token, where the server wants one
import { useToken } from "./api.js"
import { byId, setText } from "./dom.js"

const dialog = byId("token-dialog")

/** Resolves when a token has been given; refused: the one before was not the server's. */
export function askToken(refused) {
    if (refused) setText(byId("token-why"), "The server does not know this token.")
    dialog.showModal()
    return new Promise((done) => {
        dialog.addEventListener("close", function closed() {
            if (!byId("token").value) {
                dialog.showModal()
                return
            }
            dialog.removeEventListener("close", closed)
            useToken(byId("token").value)
            byId("token").value = ""
            done()
        })
    })
}
