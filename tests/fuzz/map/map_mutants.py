#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Break the map on purpose, one edit at a time, and see that the fuzz target says so.

Reads map_mutants.txt (its head explains the format), applies each edit to a copy of the real
file, compiles what it touches as libfibermap-explore is compiled, and runs the target on inputs of
random bytes, with no coverage to lead it: it must fail on one. Fails too if an edit no longer
matches exactly once. That the unbroken map passes is what the test fuzz_map says.
"""
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "stress"))
from explored_mutants import judge_all, options_of  # noqa: E402


def judge(builder, index, mutant, options):
    """Whether the target failed on the mutant, and a line about it."""
    try:
        program = builder.build(index, mutant)
    except LookupError as error:
        return False, f"STALE      {mutant.name}: {error}"
    except subprocess.CalledProcessError as error:
        return False, f"NO BUILD   {mutant.name}\n{error.stderr}"
    try:
        run = subprocess.run([str(program), f"--random={options.schedules}"], text=True,
                             capture_output=True, timeout=600, check=False, errors="replace")
    except subprocess.TimeoutExpired:
        return False, f"NO END     {mutant.name}"
    if run.returncode == 0:
        return False, f"NOT FOUND  {mutant.name}"
    where = [line for line in run.stderr.splitlines() if line.startswith("random input")]
    if not where:
        return False, f"ERROR {run.returncode}   {mutant.name}\n{run.stderr[:2000]}"
    return True, f"found      {mutant.name}\n           {where[0]}"


def main():
    options = options_of(__doc__, schedules=100000)
    return judge_all(judge, options, "found", options)


if __name__ == "__main__":
    sys.exit(main())
