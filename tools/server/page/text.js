// SPDX-License-Identifier: Apache-2.0

// text - numbers as people read them

const compact = new Intl.NumberFormat("en", {
    notation: "compact",
    maximumSignificantDigits: 3,
})
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 })

/** 12, 1,234, 56.7K */
export function count(number) {
    return Math.abs(number) < 10000 ? whole.format(number) : compact.format(number)
}

function three(number) {
    return number.toFixed(number < 10 && number % 1 ? 1 : 0)
}

/** 850 ns, 1.2 µs, 15 ms, 3.4 s */
export function nanoseconds(ns) {
    const units = [
        ["s", 1e9],
        ["ms", 1e6],
        ["µs", 1e3],
    ]
    const [unit, size] = units.find(([, size]) => ns >= size) ?? ["ns", 1]
    return `${three(ns / size)} ${unit}`
}

/** How long ago: 0 s, 59 s, 3 min, 2 h 5 min, 4 d 3 h */
export function age(ms) {
    const seconds = Math.floor(ms / 1000)
    const minutes = Math.floor(seconds / 60)
    const hours = Math.floor(minutes / 60)
    if (seconds < 60) return `${seconds} s`
    if (minutes < 60)
        return minutes < 10 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`
    if (hours < 24) return `${hours} h ${minutes % 60} min`
    return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** 1 job, 2 jobs */
export function many(number, noun) {
    return `${count(number)} ${noun}${number === 1 ? "" : "s"}`
}

export function clock(date) {
    return date.toTimeString().slice(0, 8)
}
