#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cost.py - the instructions of one operation on each hot path, held to costs.txt

A path of paths.c runs N times and 2 N times under callgrind; the difference, by N, is what one
operation costs, whatever the machine is doing meanwhile. More than the list allows is a
slow-down, less is a gain that the list is to keep: both fail. Speaks TAP, a test for each path.
Skipped, if the list is of another compiler or there is no valgrind.

    cost.py --program P --list costs.txt --compiler 'gcc 12 x86_64'    hold it to the list
            ... --write          count, and write the list anew
            ... --where PATH     which functions the operation spends its instructions in
            ... --only PATH      that one alone
"""
import argparse
import functools
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

COUNT = 10000
HEAD = """\
# Instructions of one operation, as cost.py counts them. tests/README.md says when they are
# written anew: ninja -C build write_costs
"""


@functools.cache
def valgrind():
    """The command, or None where it does not work."""
    path = shutil.which("valgrind")
    if not path:
        return None
    trial = subprocess.run([path, "--tool=none", "true"], capture_output=True, check=False)
    return path if trial.returncode == 0 else None


def functions_of(profile):
    """Instructions of each function, calls of others not included."""
    own, names, function, called = Counter(), {}, "", False
    for line in profile.read_text().splitlines():
        if match := re.match(r"c?fn=\((\d+)\)(?: (.*))?", line):
            if match[2]:
                names[match[1]] = re.sub(r"'\d+$", "", match[2])
            if not line.startswith("c"):
                function = names[match[1]]
        elif line.startswith("calls="):
            called = True  # the next line is what the call cost
        elif match := re.match(r"[+\-*\d]\S* (\d+)$", line):
            if not called:
                own[function] += int(match[1])
            called = False
    return own


def run(program, path, count):
    """One run's instructions: by thread, by function."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [valgrind(), "-q", "--tool=callgrind", "--separate-threads=yes",
                   f"--callgrind-out-file={out}", str(program), path, str(count)]
        # no environment: malloc and valgrind would listen to it
        subprocess.run(command, check=True, capture_output=True, timeout=300, env={})
        return {profile.name: functions_of(profile) for profile in Path(folder).glob("out-*")}


def per_operation(program, path):
    """Instructions of one operation, by function: those of the worker's thread."""
    once, twice = run(program, path, COUNT), run(program, path, 2 * COUNT)
    worker = max(twice, key=lambda thread: twice[thread].total() - once[thread].total())
    twice[worker].subtract(once[worker])
    return {name: count / COUNT for name, count in twice[worker].items()}


def cost(program, path):
    return round(sum(per_operation(program, path).values()))


def read_list(path):
    """(compiler, tolerance in percent, cost by path)"""
    costs, words = {}, {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"(compiler|tolerance) (.*)", line):
            words[match[1]] = match[2]
        elif match := re.match(r"(\w+)\s+(\d+) ", line):
            costs[match[1]] = int(match[2])
    return words["compiler"], float(words["tolerance"].rstrip(" %")), costs


def paths_of(program):
    """What each path is, by its name."""
    listed = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    return dict(line.split("\t") for line in listed.splitlines())


def verdict(now, then, tolerance):
    """What is wrong with a path's cost, or nothing."""
    change = (now - then) * 100 / then
    if abs(change) <= tolerance:
        return ""
    return f"{abs(change):.1f} % {'more' if change > 0 else 'less'} than {then}"


def hold(program, paths, costs, tolerance):
    print(f"1..{len(paths)}")
    wrong = 0
    for number, path in enumerate(paths, 1):
        now = cost(program, path)
        fault = verdict(now, costs[path], tolerance) if path in costs else "not in the list"
        wrong += bool(fault)
        said = f"ok {number} - {path}: {now}"
        print(f"not {said}, {fault}" if fault else said, flush=True)
    for path in costs.keys() - paths.keys():
        print(f"Bail out! no path {path}")
        wrong += 1
    if wrong:
        print("# More: cost.py --where PATH says in which functions. Less, or more with reason:")
        print("# ninja -C build write_costs, and the new numbers go into the same commit.")
    return 1 if wrong else 0


def write(path, program, paths, compiler, tolerance):
    lines = [HEAD, f"compiler {compiler}\n", f"tolerance {tolerance:g} %\n\n"]
    lines += [f"{name:12} {cost(program, name):5}  {what}\n" for name, what in paths.items()]
    path.write_text("".join(lines), encoding="utf-8")
    print("".join(lines), end="")
    return 0


def where(program, path):
    spent = per_operation(program, path)
    for name in sorted(spent, key=spent.get, reverse=True):
        if spent[name] >= 0.5:
            print(f"{spent[name]:8.1f}  {name}")
    print(f"{sum(spent.values()):8.1f}")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True, type=Path)
    parser.add_argument("--list", required=True, type=Path)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--only")
    parser.add_argument("--where")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()

    compiler, tolerance, costs = read_list(options.list)
    if not valgrind():
        print("1..0 # SKIP valgrind is not there, or does not work")
        return 0
    if options.where:
        return where(options.program, options.where)
    paths = paths_of(options.program)
    if options.write:
        return write(options.list, options.program, paths, options.compiler, tolerance)
    if compiler != options.compiler:
        print(f"1..0 # SKIP the list is of {compiler}, this is {options.compiler}")
        return 0
    if options.only:
        paths, costs = {options.only: ""}, {options.only: costs[options.only]}
    return hold(options.program, paths, costs, tolerance)


if __name__ == "__main__":
    sys.exit(main())
