#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sleeps.py - no thread of a test sleeps in real time, except in the files that MAY lists with their reason

Fibers that wait for the real clock are found at run time, in tests/support/fibers.h.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CALL = re.compile(r'\b(?:usleep|nanosleep|clock_nanosleep|thrd_sleep|sleep)\(')

MAY = {
    'faults/recovery.c': 'a load that is counted for a second',
    'runtime/context/stress_stack.c': 'trims now and then beside those that take stacks',
    'runtime/io/storm.h': 'signals come now and then',
    'runtime/sched/stress_resize.c': 'the load runs for a while on as many workers',
    'soak/soak.c': 'an hour of load, and what it uses each second',
    'soak/usage.h': 'what the kernel still counts in a calm',
    'runtime/sched/test_runtime.c': 'what an idle runtime uses in five seconds',
    'runtime/sched/test_stall.c': 'threads that block for a moment are what it is about',
    'stress/map_history.c': 'looks now and then how far the clients are',
    'stress/races.c': 'a watchdog',
    'support/passing.h': 'looks now and then whether time can pass',
}

sleeping = {}
for path in sorted((ROOT / 'tests').rglob('*.[ch]')):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if CALL.search(line):
            sleeping.setdefault(path.relative_to(ROOT / 'tests').as_posix(), []).append(number)
for name in sorted(sleeping.keys() - MAY.keys()):
    print(f'tests/{name}:{sleeping[name][0]}: sleeps in real time', file=sys.stderr)
for name in sorted(MAY.keys() - sleeping.keys()):
    print(f'tests/{name}: does not sleep, though it may', file=sys.stderr)
sys.exit(sleeping.keys() != MAY.keys())
