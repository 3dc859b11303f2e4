#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the library slow on purpose, one edit at a time, and see that cost.py complains.

Reads cost_mutants.txt (its head explains the format), applies each edit to a copy of the real
file, compiles what it touches as the library that is counted is compiled, and counts the path
that the entry names: it must cost more than costs.txt allows. Fails too if an edit no longer
matches exactly once. That the unbroken library is within costs.txt is what the test cost says.
"""
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "stress"))
from explored_mutants import judge_all, options_of  # noqa: E402  builds the same way
from cost import cost, read_list as read_costs, valgrind, verdict  # noqa: E402

HERE = Path(__file__).resolve().parent


def judge(builder, index, mutant, costs, tolerance):
    """Whether the mutant costs too much, and a line about it."""
    try:
        now = cost(builder.build(index, mutant), mutant.model)
    except LookupError as error:
        return False, f"STALE      {mutant.name}: {error}"
    except subprocess.CalledProcessError as error:
        return False, f"NO BUILD   {mutant.name}\n{error.stderr}"
    then = costs[mutant.model]
    fault = verdict(now, then, tolerance)
    cheaper = now.instructions < then.instructions and now.atomics <= then.atomics
    if cheaper or not fault:
        return False, f"NOT FOUND  {mutant.name}\n           {mutant.model}: {now.instructions}"
    return True, f"found      {mutant.name}\n           {mutant.model}: {now.instructions}, {fault}"


def main():
    options = options_of(__doc__, schedules=0)
    if not valgrind():
        print("skipped: valgrind is not there, or does not work")
        return 77
    _, tolerance, costs = read_costs(HERE / "costs.txt")
    return judge_all(judge, options, "found", costs, tolerance)


if __name__ == "__main__":
    sys.exit(main())
