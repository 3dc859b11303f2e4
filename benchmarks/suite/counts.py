#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""counts.py BUILD - what an operation executes as the workers grow, counted and not timed

Runs benchmark programs of BUILD under callgrind, N and 2 N operations of a case with 1, 2 and 8
workers, and prints a table of the difference by N: instructions, and how many of them are atomic
read-modify-writes. Where both stay, no worker pays for there being others; what the counts do
not see is how far away a cache line is. A minute; needs valgrind and objdump.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "cost"))
from cost import Cost, functions_of, valgrind  # noqa: E402

WORKERS = (1, 2, 8)
COUNT = 20000
CASES = [
    ("bench_keyed", "i-batch", []),
    ("bench_keyed", "ii", []),
    ("bench_keyed", "iii", []),
    ("bench_keyed", "iii-ref", []),
    ("bench_keyed", "iv", ["--entries", "2000"]),
    ("bench_spawn_join", "batch", []),
]


def executed(program, arguments):
    """All threads' instructions, and atomic ones."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [valgrind(), "-q", "--tool=callgrind", "--dump-instr=yes", "--dump-line=no",
                   f"--callgrind-out-file={out}", str(program), *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        counts = functions_of(out, program)
    return Cost(*(sum(count for (_, kind), count in counts.items() if kind == wanted)
                  for wanted in Cost._fields))


def per_operation(program, case, parameters, workers):
    once, twice = (executed(program, ["--only", case, "--workers", str(workers), "--runs", "1",
                                      "--warmup", "0", "--count", str(count), *parameters])
                   for count in (COUNT, 2 * COUNT))
    return Cost(*((b - a) / COUNT for a, b in zip(once, twice)))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if not valgrind():
        sys.exit("counts: valgrind is not there, or does not work")
    programs = Path(sys.argv[1]) / "benchmarks"
    print("| operation |" + "".join(f" {n} worker{'s' if n > 1 else ''} |" for n in WORKERS))
    print("|---|" + "---|" * len(WORKERS))
    for name, case, parameters in CASES:
        cells = []
        for workers in WORKERS:
            spent = per_operation(programs / name, case, parameters, workers)
            cells.append(f" {spent.instructions:,.0f}, {abs(spent.atomics):.1f} atomic |")
        print(f"| {name.removeprefix('bench_')} {case} |" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
