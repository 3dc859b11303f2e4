// SPDX-License-Identifier: Apache-2.0

// dom - elements without HTML: text becomes text nodes, so no data is ever read as markup

export const byId = (id) => document.getElementById(id)

/** el("td", { class: "x", onclick: f, hidden: true }, ...children): of nodes and text. */
export function el(name, attributes = {}, ...children) {
    const node = document.createElement(name)
    for (const [key, value] of Object.entries(attributes)) {
        if (key.startsWith("on")) node.addEventListener(key.slice(2), value)
        else if (value === true) node.setAttribute(key, "")
        else if (value !== false && value != null) node.setAttribute(key, value)
    }
    node.append(...children)
    return node
}

/** Only what has changed is touched: a screen reader, and a selection, stay where they are. */
export function setText(node, text) {
    if (node.textContent !== text) node.textContent = text
}

/**
 * Make the children of `parent` be `nodes`, in that order. Who had the focus keeps it, unless
 * it has gone.
 */
export function setChildren(parent, nodes) {
    const focused = document.activeElement
    const stay = new Set(nodes)
    for (const child of [...parent.children]) {
        if (!stay.has(child)) child.remove()
    }
    nodes.forEach((node, at) => {
        if (parent.children[at] !== node) parent.insertBefore(node, parent.children[at] ?? null)
    })
    if (focused !== document.activeElement && parent.contains(focused)) {
        focused.focus({ preventScroll: true })
    }
}

/** A table with a heading for each column, and what fills it: rows of texts and nodes. */
export function table(caption, headings) {
    const body = el("tbody")
    const head = el("tr", {}, ...headings.map((text) => el("th", { scope: "col" }, text)))
    const node = el(
        "table",
        {},
        el("caption", { class: "unseen" }, caption),
        el("thead", {}, head),
        body,
    )
    const rows = []
    function fill(all) {
        while (rows.length < all.length) {
            const cells = headings.map((text) => el("td", { "data-label": text }))
            rows.push({ cells, row: el("tr", {}, ...cells) })
        }
        setChildren(
            body,
            rows.slice(0, all.length).map(({ row }) => row),
        )
        all.forEach((values, at) =>
            values.forEach((value, column) => {
                const cell = rows[at].cells[column]
                if (value instanceof Node) {
                    if (cell.firstChild !== value) cell.replaceChildren(value)
                } else setText(cell, String(value))
            }),
        )
    }
    return { node, fill }
}
