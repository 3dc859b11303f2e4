#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Break the map on purpose, one edit at a time, and see that its histories are rejected.

Reads history_mutants.txt (its head explains the format), applies each edit to a copy of the real
file, compiles what it touches as libfibermap-explore is compiled, links map_history_explored with
it, and has history_check judge what that records. A schedule is repeated exactly, so what is found
once is found each time. The fault must be found in the history: a broken map whose program crashes
or hangs is a failure here, as is an edit that no longer matches. That the unbroken map passes is
what the test stress_history_explored says.
"""
import subprocess
import sys
from pathlib import Path

from explored_mutants import judge_all, options_of

BATCH = 300  # schedules that are recorded before the checker looks


def judge(builder, index, mutant, options):
    """Whether the mutant's histories were rejected, and a line about it."""
    try:
        program = builder.build(index, mutant)
    except LookupError as error:
        return False, f"STALE      {mutant.name}: {error}"
    except subprocess.CalledProcessError as error:
        return False, f"NO BUILD   {mutant.name}\n{error.stderr}"
    for seed in range(1, options.schedules // BATCH + 1):
        run = subprocess.run([str(program), f"--schedules={BATCH}", f"--seed={seed << 20}"],
                             capture_output=True, text=True, timeout=600, check=False,
                             errors="replace")
        verdict = subprocess.run([str(options.checker)], input=run.stdout, capture_output=True,
                                 text=True, timeout=600, check=False)
        if verdict.returncode == 1:
            what = "\n           ".join(verdict.stdout.splitlines()[:2])
            return True, f"rejected   {mutant.name}\n           {what}"
        if verdict.returncode:
            return False, f"UNDECIDED  {mutant.name}\n{verdict.stdout}{verdict.stderr}"
        if run.returncode:
            return False, f"ERROR {run.returncode}    {mutant.name}\n{run.stderr[:2000]}"
    return False, f"ACCEPTED   {mutant.name}"


def main():
    options = options_of(__doc__, schedules=6000)
    return judge_all(judge, options, "rejected", options)


if __name__ == "__main__":
    sys.exit(main())
