#!/usr/bin/env python3
"""Run the models of a build and print the table of README.md.

For each protocol: the rooms, the scenarios and their threads, what the run of the suite `model`
and that of the suite `long` have searched, in processor time, and the mutants. A search that is
not complete within its bound, or a mutant that is not as mutants.txt says, is an error.
"""
import argparse
import json
import re
import resource
import subprocess
import sys

LINE = re.compile(r"(\S+) +(\d+) executions, +(\d+) cut off, (\d+) threads +\S+ s +(\S+)")


def run(command):
    """What a program wrote, and the processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout, (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def search(command):
    """(scenarios, fewest and most threads, executions, seconds) of a complete search."""
    text, seconds = run(command)
    lines = LINE.findall(text)
    if not lines or any(line[4] != "complete" for line in lines):
        sys.exit(f"{' '.join(command)}: not complete\n{text}")
    threads = [int(line[3]) for line in lines]
    return len(lines), min(threads), max(threads), sum(int(line[1]) for line in lines), seconds


def bounds_of(command):
    return "`" + " ".join(word for word in command[1:]) + "`"


def rooms_of(command):
    """The sources of the mutants, but for the scenario and the stand-ins."""
    rooms = [word for before, word in zip(command, command[1:]) if before == "--source"]
    rooms = [room for room in rooms if not room.startswith("tests/")]
    return ", ".join(f"`{'/'.join(room.split('/')[-2:])}`" for room in rooms)


def seconds_of(seconds):
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("protocol", nargs="*", help="all, unless some are named")
    parser.add_argument("--no-mutants", action="store_true")
    options = parser.parse_args()
    text, _ = run(["meson", "introspect", options.build, "--tests"])
    tests = {test["name"]: test["cmd"] for test in json.loads(text)}
    names = options.protocol or [name[6:] for name in tests if name.startswith("model_")]
    print("| protocol | rooms | scenarios, threads | suite `model` | executions "
          "| suite `long` | executions | mutants |\n|---|---|---|---|---|---|---|---|")
    for name in names:
        short, long = tests[f"model_{name}"], tests[f"long_model_{name}"]
        count, fewest, most, executions, seconds = search(short)
        _, _, _, long_executions, long_seconds = search(long)
        mutants = "-"
        if not options.no_mutants:
            text, _ = run(tests[f"mutants_{name}"])
            rejected, rest = map(int, re.search(r": (\d+) rejected, (\d+) not", text).groups())
            mutants = f"{rejected}/{rejected + rest}"
        print(f"| {name} | {rooms_of(tests[f'mutants_{name}'])} | {count}, {fewest} to {most} "
              f"| {bounds_of(short)} | {executions:,} in {seconds_of(seconds)} "
              f"| {bounds_of(long)} | {long_executions:,} in {seconds_of(long_seconds)} "
              f"| {mutants} |", flush=True)


if __name__ == "__main__":
    main()
