#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""soak.py - is what a long run holds flat?

    soak.py --run PROGRAM [--output FOLDER] [options of it]
                                     run it, keep samples.jsonl and soak.svg, judge
    soak.py --judge samples.jsonl    judge samples that were kept
    soak.py --leaks PROGRAM          each kind of leak that it can make must be seen
    soak.py --self-test              series that the rule must accept, and some that it must not

The rule. The calms of a run are looked at, in which all load has ended; the first quarter of
them, at least two, is warm-up: pools, tables and arenas grow to what the load needs. What is
left is cut in three.

    counts     descriptors, threads, mappings, fibers, timers, members: the most of the last
               third is not above the most of the first; of mappings by at most 2, for
               the stack of an ended thread that libc keeps for the next, and its guard
    memory     the least of the last third is not above the least of the first by more than
               0.5 % and 1 MiB; nor is all of each third above all of the one before it
    p99_ns     the median of the last third is above that of the first by at most 20 %
               (--slower changes it) and 100 us

An exit code of 0 means flat, 1 that something has grown, and what; 2 that the run failed.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

COUNTS = ("descriptors", "threads", "mappings", "fibers", "timers", "members")
SLACK = {"mappings": 2}
MEMORY_SHARE, MEMORY_BYTES = 0.005, 1 << 20
SLOWER, SLOWER_NS = 1.2, 100_000
LEAST = 8  # calms


def thirds(series):
    """Without the warm-up: the three parts."""
    series = series[max(2, len(series) // 4):]
    a, b = len(series) // 3, len(series) * 2 // 3
    return series[:a], series[a:b], series[b:]


def grown(calms, slower=SLOWER):
    """What is not flat, a line each."""
    if len(calms) < LEAST:
        return ["%d calms are too few to say" % len(calms)]
    found = []
    for name in COUNTS:
        first, _, last = thirds([calm[name] for calm in calms])
        if max(last) > max(first) + SLACK.get(name, 0):
            found.append("%s: at most %d at first, %d at last" % (name, max(first),
                                                                  max(last)))
    parts = thirds([calm["memory"] for calm in calms])
    first, last = min(parts[0]), min(parts[2])
    if last > first * (1 + MEMORY_SHARE) + MEMORY_BYTES:
        found.append("memory: at least %.2f MiB at first, %.2f MiB at last" %
                     (first / (1 << 20), last / (1 << 20)))
    elif max(parts[0]) < min(parts[1]) and max(parts[1]) < min(parts[2]):
        found.append("memory: each third above the one before, from %d to %d bytes" %
                     (first, last))
    first, _, last = thirds([calm["p99_ns"] for calm in calms])
    if statistics.median(last) > statistics.median(first) * slower + SLOWER_NS:
        found.append("p99: %d ns at first, %d ns at last" %
                     (statistics.median(first), statistics.median(last)))
    return found


HOUR, MINUTE = 3600, 60


def figures(calms):
    """Of half an hour and more: how memory goes in % an hour after five minutes, and the median
    p99 of the last ten minutes against that of the first ten."""
    end = calms[-1]["calm"] if calms else 0
    if end < HOUR / 2:
        return ""
    late = [(calm["calm"], calm["memory"]) for calm in calms if calm["calm"] > 5 * MINUTE]
    times, bytes_ = zip(*late)
    slope = statistics.linear_regression(times, bytes_).slope * HOUR / statistics.mean(bytes_)
    first = statistics.median(c["p99_ns"] for c in calms if c["calm"] < 10 * MINUTE)
    last = statistics.median(c["p99_ns"] for c in calms if c["calm"] > end - 10 * MINUTE)
    return "memory %+.2f %% an hour, p99 of the last ten minutes %.2f of that of the first" % (
        100 * slope, last / first)


def read(lines):
    """(storms, calms) of the lines."""
    samples = [json.loads(line) for line in lines if line.strip()]
    return [s for s in samples if "storm" in s], [s for s in samples if "calm" in s]


# ---- drawing ----

DRAWN = (("memory", "resident MiB", 1 << 20), ("descriptors", "descriptors", 1),
         ("threads", "threads", 1), ("mappings", "mappings", 1), ("fibers", "fibers", 1),
         ("p99_ns", "run and join, p99, us", 1000))
WIDTH, HEIGHT, LEFT = 760, 90, 130


def line_of(points, width, height):
    """Points as an SVG path, and the range of their values."""
    times, values = [p[0] for p in points], [p[1] for p in points]
    low, high = min(values), max(values)
    span, last = (high - low) or 1, max(times) or 1
    places = ["%.1f,%.1f" % (LEFT + t / last * (width - LEFT - 10),
                             height - 10 - (v - low) / span * (height - 25))
              for t, v in points]
    return "M" + " L".join(places), low, high


def draw(storms, calms):
    """All series over time: grey in the storms, black in the calms."""
    rows = []
    for index, (name, title, unit) in enumerate(DRAWN):
        rows.append('<g transform="translate(0,%d)"><text x="4" y="30">%s</text>' %
                    (index * HEIGHT, title))
        for kind, samples, colour in (("storm", storms, "#aaa"), ("calm", calms, "#000")):
            points = [(s[kind], s[name] / unit) for s in samples if name in s]
            if not points or (kind == "storm" and name == "p99_ns"):
                continue
            path, low, high = line_of(points, WIDTH, HEIGHT)
            rows.append('<path d="%s" fill="none" stroke="%s"/>' % (path, colour))
            if kind == "calm":
                rows.append('<text x="4" y="46">%.6g to %.6g</text>' % (low, high))
        rows.append("</g>")
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
            'font-family="sans-serif" font-size="12">'
            '<rect width="100%%" height="100%%" fill="#fff"/>%s</svg>\n' %
            (WIDTH, HEIGHT * len(DRAWN), "".join(rows)))


# ---- runs ----

def run(command):
    """The lines of a run, or None."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print("%s ended with %d" % (command[0], done.returncode))
        return None
    return done.stdout.splitlines()


def judge(lines, slower):
    storms, calms = read(lines)
    found = grown(calms, slower)
    for line in found:
        print(line)
    last = calms[-1] if calms else {}
    done = ", ".join("%s %s" % (name, last.get(name)) for name in
                     ("runs", "replaced", "restarts", "sleeps", "bytes", "jobs"))
    print("%d calms in %.0f s: %s; %s" % (len(calms), last.get("calm", 0),
                                          "not flat" if found else "flat", done))
    if figures(calms):
        print(figures(calms))
    return 1 if found else 0


LEAKS = (("memory", "memory"), ("descriptor", "descriptors"), ("fiber", "fibers"),
         ("thread", "threads"))


def see_leaks(program):
    """A run that leaks must not be called flat, and it must be for what it leaks."""
    wrong = 0
    for leak, series in LEAKS:
        lines = run([program, "--calms=12", "--cycle=1", "--leak=" + leak])
        found = grown(read(lines)[1]) if lines else ["the run failed"]
        good = any(line.startswith(series + ":") for line in found)
        wrong += not good
        print("%-10s %s: %s" % (leak, "seen" if good else "NOT SEEN", "; ".join(found)))
    return 1 if wrong else 0


def series_of(count, **changed):
    """Calms of a made-up run: constants, or a function of the calm's number."""
    base = {"memory": 50 << 20, "descriptors": 9, "threads": 7, "mappings": 80, "fibers": 0,
            "timers": 0, "members": 0, "p99_ns": 400_000}
    base.update(changed)
    return [{"calm": i, **{name: value(i) if callable(value) else value
                           for name, value in base.items()}} for i in range(count)]


def self_test():
    mib = 1 << 20
    cases = [
        ("constant", series_of(30), True),
        ("a warm-up", series_of(40, memory=lambda i: (30 + min(i, 9)) * mib,
                                mappings=lambda i: 60 + min(i, 9)), True),
        ("up and down", series_of(40, memory=lambda i: (50 + i % 3) * mib,
                                  p99_ns=lambda i: 300_000 + i % 7 * 50_000), True),
        ("one peak in the middle",
         series_of(40, memory=lambda i: (90 if i == 25 else 50) * mib), True),
        ("faster and smaller", series_of(40, memory=lambda i: (90 - i) * mib,
                                         p99_ns=lambda i: 900_000 - i * 1000), True),
        ("one descriptor more", series_of(40, descriptors=lambda i: 9 + (i > 25)), False),
        ("a thread each calm", series_of(40, threads=lambda i: 7 + i), False),
        ("a fiber that stays", series_of(40, fibers=lambda i: int(i > 30)), False),
        ("a slow leak", series_of(100, memory=lambda i: 50 * mib + i * 40_000), False),
        ("a very slow one, and nothing else",
         series_of(100, memory=lambda i: 50 * mib + i * 4096), False),
        ("a leak under noise",
         series_of(90, memory=lambda i: (50 + i % 3) * mib + i * 60_000), False),
        ("slower and slower", series_of(40, p99_ns=lambda i: 400_000 + i * 40_000), False),
        ("mappings", series_of(40, mappings=lambda i: 80 + i // 2), False),
        ("too short to say", series_of(5), False),
    ]
    wrong = [name for name, calms, flat in cases if bool(grown(calms)) == flat]
    hour = [{**calm, "calm": 10.0 * i} for i, calm in enumerate(
        series_of(361, memory=lambda i: 50 * mib * (1 + i / 360 / 100),
                  p99_ns=lambda i: 400_000 + (i > 180) * 100_000))]
    if figures(hour) != ("memory +0.99 % an hour, p99 of the last ten minutes 1.25 of that of "
                         "the first") or figures(hour[:100]):
        wrong.append("the figures of an hour")
    for name in wrong:
        print("%s: judged wrongly" % name)
    print("self-test: %d series, %d judged wrongly" % (len(cases), len(wrong)))
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run")
    parser.add_argument("--judge", type=pathlib.Path)
    parser.add_argument("--leaks")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--slower", type=float, default=SLOWER)
    options, rest = parser.parse_known_args()
    if options.self_test:
        return self_test()
    if options.leaks:
        return see_leaks(options.leaks)
    if options.run:
        lines = run([options.run, *rest])
        if lines is None:
            return 2
    elif options.judge:
        lines = options.judge.read_text(encoding="utf-8").splitlines()
    else:
        parser.error("what to do?")
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (options.output / "soak.svg").write_text(draw(*read(lines)), encoding="utf-8")
    return judge(lines, options.slower)


if __name__ == "__main__":
    sys.exit(main())
