#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cost.py - the instructions of one operation on each hot path, held to costs.txt

A path of paths.c runs N times and 2 N times under callgrind; the difference, by N, is what one
operation costs, whatever the machine is doing meanwhile. More than the list allows is a
slow-down, less is a gain that the list is to keep: both fail. So do atomic read-modify-writes,
of which each costs as much as some twenty other instructions: one more or less than listed is a
failure. Speaks TAP, a test for each path. Skipped, if the list is of another compiler or there
is no valgrind.

    cost.py --program P --list costs.txt --compiler 'gcc 12 x86_64'    hold it to the list
            ... --write          count, and write the list anew
            ... --where PATH     which functions the operation spends its instructions in, and
                                 its atomic ones
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
from typing import NamedTuple

COUNT = 10000
HEAD = """\
# Instructions of one operation, and how many of them are atomic read-modify-writes, as cost.py
# counts them. tests/README.md says when they are written anew: ninja -C build write_costs
"""


class Cost(NamedTuple):
    instructions: float
    atomics: float

    def rounded(self):
        return Cost(round(self.instructions), round(self.atomics))


@functools.cache
def valgrind():
    """The command, or None where it does not work."""
    path = shutil.which("valgrind")
    if not path:
        return None
    trial = subprocess.run([path, "--tool=none", "true"], capture_output=True, check=False)
    return path if trial.returncode == 0 else None


@functools.cache
def disassembly(program):
    """Where its functions begin, by name; and the addresses of its atomic read-modify-writes."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", program], check=True,
                          capture_output=True, text=True).stdout
    begins, atomics = {}, set()
    for line in text.splitlines():
        if match := re.match(r"([0-9a-f]+) <(.+)>:", line):
            begins[match[2]] = int(match[1], 16)
        # xchg with memory locks by itself
        elif match := re.match(r"\s+([0-9a-f]+):\s+(?:lock |xchg .*\()", line):
            atomics.add(int(match[1], 16))
    return begins, atomics


def executed(profile):
    """(function, address, times) of each instruction that ran, calls of others not included."""
    names, function, called, address = {}, "", False, 0
    for line in profile.read_text().splitlines():
        if match := re.match(r"c?fn=\((\d+)\)(?: (.*))?", line):
            if match[2]:
                names[match[1]] = re.sub(r"'\d+$", "", match[2])
            if not line.startswith("c"):
                function = names[match[1]]
        elif line.startswith("calls="):
            called = True  # the next line is what the call cost
        elif match := re.match(r"(0x[0-9a-f]+|[+-]\d+|\*) (\d+)$", line):
            at = match[1]
            address = int(at, 16) if at[0] == "0" else address if at == "*" else address + int(at)
            if not called:
                yield function, address, int(match[2])
            called = False


def functions_of(profile, program):
    """Instructions, and atomic ones, by function. Where the program was put is its functions'
    first instructions' to tell."""
    begins, atomics = disassembly(program)
    ran = list(executed(profile))
    first = {}
    for function, address, _ in ran:
        first[function] = min(address, first.get(function, address))
    moved = Counter(at - begins[name] for name, at in first.items() if name in begins)
    base = moved.most_common(1)[0][0] if moved else 0
    counts = Counter()
    for function, address, times in ran:
        counts[function, "instructions"] += times
        if address - base in atomics:
            counts[function, "atomics"] += times
    return counts


def run(program, path, count):
    """One run's instructions: by thread, by function."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [valgrind(), "-q", "--tool=callgrind", "--separate-threads=yes",
                   "--dump-instr=yes", "--dump-line=no",
                   f"--callgrind-out-file={out}", str(program), path, str(count)]
        # no environment: malloc and valgrind would listen to it
        subprocess.run(command, check=True, capture_output=True, timeout=300, env={})
        return {profile.name: functions_of(profile, program)
                for profile in Path(folder).glob("out-*")}


def per_operation(program, path):
    """The Cost of one operation, by function: that in the worker's thread."""
    once, twice = run(program, path, COUNT), run(program, path, 2 * COUNT)
    worker = max(twice, key=lambda thread: twice[thread].total() - once[thread].total())
    spent = twice[worker]
    spent.subtract(once[worker])
    return {name: Cost(spent[name, "instructions"] / COUNT, spent[name, "atomics"] / COUNT)
            for name in {name for name, _ in spent}}


def total(spent):
    return Cost(*map(sum, zip(*spent.values())))


def cost(program, path):
    return total(per_operation(program, path)).rounded()


def read_list(path):
    """(compiler, tolerance in percent, cost by path)"""
    costs, words = {}, {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"(compiler|tolerance) (.*)", line):
            words[match[1]] = match[2]
        elif match := re.match(r"(\w+)\s+(\d+)\s+(\d+) ", line):
            costs[match[1]] = Cost(int(match[2]), int(match[3]))
    return words["compiler"], float(words["tolerance"].rstrip(" %")), costs


def paths_of(program):
    """What each path is, by its name."""
    listed = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    return dict(line.split("\t") for line in listed.splitlines())


def verdict(now, then, tolerance):
    """What is wrong with a path's cost, or nothing."""
    change = (now.instructions - then.instructions) * 100 / then.instructions
    if abs(change) > tolerance:
        more = "more" if change > 0 else "less"
        return f"{abs(change):.1f} % {more} than {then.instructions}"
    if now.atomics != then.atomics:
        return f"{now.atomics} atomic read-modify-writes, not {then.atomics}"
    return ""


def hold(program, paths, costs, tolerance):
    print(f"1..{len(paths)}")
    wrong = 0
    for number, path in enumerate(paths, 1):
        now = cost(program, path)
        fault = verdict(now, costs[path], tolerance) if path in costs else "not in the list"
        wrong += bool(fault)
        said = f"ok {number} - {path}: {now.instructions}, {now.atomics} atomic"
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
    for name, what in paths.items():
        spent = cost(program, name)
        lines.append(f"{name:12} {spent.instructions:5} {spent.atomics:3}  {what}\n")
    path.write_text("".join(lines), encoding="utf-8")
    print("".join(lines), end="")
    return 0


def where(program, path):
    spent = per_operation(program, path)
    for name in sorted(spent, key=spent.get, reverse=True):
        if spent[name].instructions >= 0.5:
            print(f"{spent[name].instructions:8.1f} {spent[name].atomics:5.1f}  {name}")
    whole = total(spent)
    print(f"{whole.instructions:8.1f} {whole.atomics:5.1f}")
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
