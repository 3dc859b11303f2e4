// SPDX-License-Identifier: Apache-2.0

// page_test SERVER CHROMIUM FOLDER - the live page in a browser, in TAP
//
// FOLDER is where the screenshots go. They share a server and its page, but for those that say
// otherwise, and follow one another.
import assert from "node:assert/strict"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import path from "node:path"
import { Browser, run, Server } from "./harness.mjs"

const [binary, executable, folder] = process.argv.slice(2)
const TOKEN = "correct-horse-battery-staple"
const HOSTILE = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>&amp;"'`

const server = await Server.start(binary)
const browser = await Browser.start(executable, folder)
const page = await browser.open(server.url)

/* ---- what is looked for ---- */

const live = (on = page) => on.locator("#link[data-state=live]").waitFor()
const row = (key, on = page) =>
    on.locator("#job-rows tr").filter({ has: on.locator("th", { hasText: key }) })
const tile = (name, on = page) =>
    on
        .locator("#numbers div", {
            has: on.locator("dt", { hasText: new RegExp(`^${name}$`) }),
        })
        .locator("dd")
const gone = (locator) => locator.waitFor({ state: "detached" })
const says = (id, text, on = page) => on.locator(`#${id}`, { hasText: text }).waitFor()

/** Wait until a tile's number is at least this. */
async function atLeast(name, number, on = page) {
    const value = await tile(name, on).elementHandle()
    await on.waitForFunction(
        ([dd, wanted]) => Number(dd.textContent.replace(/,/g, "")) >= wanted,
        [value, number],
    )
}

async function fill(fields, on = page) {
    for (const [name, value] of Object.entries(fields)) {
        const field = on.locator(`#start [name=${name}]`)
        if (await field.evaluate((node) => node.tagName === "SELECT"))
            await field.selectOption(value)
        else await field.fill(String(value))
    }
}

const submit = (on = page) => on.locator("#start [type=submit]")

/* ---- the page ---- */

async function opens() {
    await live()
    assert.equal(await page.title(), "fibermap-serve")
    await page.locator("#numbers dd", { hasText: "–" }).first().waitFor({ state: "detached" })
    await page.locator("#workers tbody tr").first().waitFor()
    await page.locator("#plots canvas").nth(2).waitFor()
    await page.locator("#fibers", { hasText: "They wait for" }).waitFor()
}

async function movesUnderLoad() {
    const jobs = Array.from({ length: 40 }, (_, at) => ({
        key: `many-${at}`,
        kind: "sleep",
        ms: 3600000,
    }))
    jobs.push({
        key: "sums",
        kind: "primes",
        below: 1000000000,
        restart: { type: "permanent" },
    })
    await server.ask("POST", "/api/batch", { jobs })
    let loaded = true
    const ask = async () => {
        while (loaded) await (await fetch(`${server.url}/hello/keyed`)).arrayBuffer()
    }
    const load = Promise.all(Array.from({ length: 4 }, ask))
    await atLeast("jobs", 41)
    await atLeast("requests/s", 20)
    await atLeast("switches/s", 20)
    await row("sums").locator("progress:not([hidden])").waitFor()
    await browser.shoot(page, "load", { fullPage: true })
    loaded = false
    await load
}

async function starts() {
    await fill({ key: "nap", kind: "sleep", mode: "fail", ms: 3600000 })
    await submit().click()
    await says("started", "nap runs")
    await row("nap").locator(".state", { hasText: "running" }).waitFor()
    await row("nap").locator("td", { hasText: "sleep, " }).waitFor()
    await page.locator("#events li", { hasText: "nap" }).first().waitFor()
    assert.equal((await server.status("nap")).state, "running")
    await submit().click()
    await says("started", "a job runs under this key")
    browser.forgive(/status of 409/)
}

async function replaces() {
    const before = await server.status("nap")
    await row("nap").getByRole("button", { name: "Replace" }).click()
    assert.equal(await page.locator("#start [name=key]").inputValue(), "nap")
    assert.equal(await page.locator("#start [name=mode]").inputValue(), "replace")
    assert.equal(await page.locator("#start [name=ms]").inputValue(), "3600000")
    await submit().click()
    await says("started", "nap runs in place of the older job")
    await page.locator("#events li", { hasText: "replaced" }).first().waitFor()
    const after = await server.status("nap")
    assert.equal(after.state, "running")
    assert.notEqual(after.id, before.id)
}

async function queues() {
    await fill({ mode: "queue" })
    await submit().click()
    await says("started", "nap waits for its turn")
    const queued = row("nap").filter({ hasText: "queued" })
    await queued.waitFor()
    assert.equal(
        await queued.getByRole("button", { name: "Cancel" }).count(),
        0,
        "its key is another's",
    )
    await fill({ mode: "replace" })
}

async function cancels() {
    await row("nap").getByRole("button", { name: "Cancel" }).click()
    await says("said", "nap is cancelled")
    await gone(row("nap").filter({ hasText: "queued" })) // it has its turn
    await row("nap").getByRole("button", { name: "Cancel" }).click()
    await gone(row("nap"))
    assert.equal((await server.status("nap")).reason, "remove")
}

async function showsKeysAsText() {
    await fill({ key: HOSTILE })
    await submit().click()
    await row(HOSTILE).waitFor()
    await page.locator("#events .key", { hasText: HOSTILE }).first().waitFor()
    assert.equal(await row(HOSTILE).locator("th").textContent(), HOSTILE)
    assert.equal(await page.locator("main img, main script").count(), 0)
    assert.equal(await page.evaluate(() => window.pwned), undefined)
    await browser.shoot(page, "hostile")
    await row(HOSTILE).getByRole("button", { name: "Cancel" }).click()
    await gone(row(HOSTILE))
    await fill({ key: "" })
}

async function sortsAndFilters() {
    const keys = () => page.locator("#job-rows th").allTextContents()
    await page.locator("#filter").fill("many-1")
    await page.getByRole("columnheader", { name: "Key" }).getByRole("button").click()
    assert.deepEqual(await keys(), [
        "many-1",
        ...Array.from({ length: 10 }, (_, at) => `many-1${at}`),
    ])
    await page.getByRole("columnheader", { name: "Key" }).getByRole("button").click()
    assert.equal((await keys())[0], "many-19")
    assert.equal(
        await page.getByRole("columnheader", { name: "Key" }).getAttribute("aria-sort"),
        "descending",
    )
    await page.locator("#filter-state").selectOption("queued")
    await page.locator("#no-jobs", { hasText: "No job has such a key" }).waitFor()
    await page.locator("#filter-state").selectOption("")
}

async function asksBeforeItCancelsMany() {
    await page.locator("#filter").fill("many-3")
    await page.locator("#cancel-many").click()
    await page
        .locator("#sure-title", { hasText: "Cancel 11 jobs whose key begins with “many-3”?" })
        .waitFor()
    await browser.shoot(page, "sure")
    await page.keyboard.press("Escape")
    assert.equal((await server.status("many-30")).state, "running")
    await page.locator("#cancel-many").click()
    await page.locator("#sure").click()
    await says("said", "11 jobs cancelled")
    await page.locator("#job-rows tr").first().waitFor({ state: "detached" })
    await page.locator("#filter").fill("")
    await row("many-20").waitFor()
}

async function pauses() {
    await page.locator("#pause").click()
    await page.locator("#link[data-state=paused]").waitFor()
    const { key } = await server.start({})
    await page.locator("#pause").click()
    await live()
    await row(key).waitFor()
    await server.ask("DELETE", `/api/cancel/${key}`)
    await gone(row(key))
}

/* ---- other ways to it ---- */

/** Press Tab until what is wanted has the focus. */
async function tabTo(on, selector) {
    for (let at = 0; at < 300; at++) {
        await on.keyboard.press("Tab")
        if (await on.evaluate((wanted) => document.activeElement.matches(wanted), selector))
            return
    }
    assert.fail(`the Tab key does not lead to ${selector}`)
}

async function worksByKeyboard() {
    const on = await browser.open(server.url)
    await live(on)
    await on.keyboard.press("Tab")
    await on.keyboard.press("Enter") // the link that skips what is above the jobs
    assert.equal(await on.evaluate(() => document.activeElement.id), "filter")
    await on.keyboard.type("by-hand")
    await tabTo(on, "#start [name=key]")
    await on.keyboard.type("by-hand")
    await on.keyboard.press("Enter")
    await row("by-hand", on).waitFor()
    const outline = await on.evaluate(
        () => getComputedStyle(document.activeElement).outlineStyle,
    )
    assert.notEqual(outline, "none", "where the focus is can be seen")
    await tabTo(on, "[aria-label='Replace by-hand']")
    await on.keyboard.press("Enter")
    await on.waitForFunction(() => document.activeElement.type === "submit")
    await on.keyboard.press("Enter")
    await says("started", "by-hand runs in place of the older job", on)
    await tabTo(on, "[aria-label='Cancel by-hand']")
    await browser.shoot(on, "keyboard")
    await on.keyboard.press("Enter")
    await gone(row("by-hand", on))
    assert.equal(
        await on.evaluate(() => document.activeElement.id),
        "filter",
        "the focus stays near",
    )
    await on.context().close()
}

async function fitsAPhone() {
    const on = await browser.open(server.url, {
        viewport: { width: 360, height: 740 },
        deviceScaleFactor: 2,
        isMobile: true,
        hasTouch: true,
    })
    await live(on)
    await server.start({ key: "x".repeat(200) })
    await row("xxx", on).waitFor()
    const width = await on.evaluate(() => document.documentElement.scrollWidth)
    assert.ok(width <= 360, `the page is ${width} wide`)
    await browser.shoot(on, "phone")
    await browser.shoot(on, "phone-whole", { fullPage: true })
    await row("xxx", on).getByRole("button", { name: "Cancel" }).tap()
    await gone(row("xxx", on))
    await on.context().close()
}

async function isDarkWhereWanted() {
    const brightness = (on) =>
        on.evaluate(() =>
            Number(getComputedStyle(document.body).backgroundColor.match(/\d+/)[0]),
        )
    assert.ok((await brightness(page)) > 200)
    const on = await browser.open(server.url, { colorScheme: "dark" })
    await live(on)
    await row("many-20", on).waitFor()
    assert.ok((await brightness(on)) < 60)
    await browser.shoot(on, "dark", { fullPage: true })
    await on.context().close()
}

async function triesAgain() {
    const on = await browser.open(server.url)
    await live(on)
    await on.context().setOffline(true)
    await on.locator("#link[data-state=away]").waitFor()
    await browser.shoot(on, "away")
    await on.context().setOffline(false)
    await live(on)
    await on.context().close()
    browser.forgive(/ERR_INTERNET_DISCONNECTED/)
}

async function doesWithoutPlots() {
    const on = await browser.open("about:blank")
    await on.route("**/uplot.js", (route) => route.fulfill({ status: 404 }))
    await on.goto(server.url)
    await says("plots", "Plots are not built in", on)
    await live(on)
    await on.locator("#job-rows tr").first().waitFor()
    await on.context().close()
    browser.forgive(/status of 404/)
}

async function asksForTheToken() {
    const directory = mkdtempSync(path.join(tmpdir(), "page-"))
    const file = path.join(directory, "token")
    writeFileSync(file, `${TOKEN}\n`)
    const guarded = await Server.start(binary, `--token-file=${file}`)
    const on = await browser.open(guarded.url)
    await on.locator("#token-dialog[open]").waitFor()
    await on.locator("#token").fill("a-token-that-is-wrong")
    await on.keyboard.press("Enter")
    await says("token-why", "does not know this token", on)
    await browser.shoot(on, "token")
    await on.locator("#token").fill(TOKEN)
    await on.keyboard.press("Enter")
    await live(on)
    await fill({ key: "secret" }, on)
    await submit(on).click()
    await row("secret", on).waitFor()
    await on.locator("#events .key", { hasText: "secret" }).first().waitFor()
    await on.reload()
    await live(on) // this tab knows it still
    await on.context().close()
    browser.forgive(/status of 401/)
    assert.equal(await guarded.end(), 0)
    rmSync(directory, { recursive: true })
}

async function tellsOfTheEnd() {
    const ending = await Server.start(binary, "--grace-ms=3600000")
    const on = await browser.open(ending.url)
    await live(on)
    await ending.start({ key: "last" })
    await row("last", on).waitFor()
    await on.locator("#events li", { hasText: "last" }).first().waitFor() // it listens
    ending.process.kill("SIGTERM")
    await on
        .locator("#link[data-state=draining]")
        .or(on.locator("#link[data-state=ended]"))
        .waitFor()
    await on.context().close()
    await ending.end("SIGKILL")
    browser.forgive(/ERR_/)
}

/* ---- the end ---- */

async function complainsOfNothing() {
    await browser.close()
    assert.equal(await server.end(), 0, server.errors)
    assert.deepEqual(browser.complaints, [])
}

process.exitCode = await run([
    ["the page opens, and all of it is there", opens],
    ["numbers move under load", movesUnderLoad],
    ["a job is started, and refused", starts],
    ["a job is replaced", replaces],
    ["a job queues", queues],
    ["a job is cancelled, and goes", cancels],
    ["a hostile key is text", showsKeysAsText],
    ["jobs are sorted and filtered", sortsAndFilters],
    ["many are cancelled once it was asked", asksBeforeItCancelsMany],
    ["it pauses", pauses],
    ["all of it works by keyboard", worksByKeyboard],
    ["it fits a phone", fitsAPhone],
    ["it is dark where that is wanted", isDarkWhereWanted],
    ["it tries again when the server is away", triesAgain],
    ["it does without plots", doesWithoutPlots],
    ["it asks for the token", asksForTheToken],
    ["it tells that the server ends", tellsOfTheEnd],
    ["nothing was complained about", complainsOfNothing],
])
process.exit() // what hangs on, hangs on to nothing
