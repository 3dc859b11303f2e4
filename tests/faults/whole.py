#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""whole.py - the scenes call every function of include/fm, but for headers in MAY_MISS"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COMMENT = re.compile(r'/\*.*?\*/', re.S)
FUNCTION = re.compile(r'\bFM_API\b[^;{(]*?\b(fm_\w+)\(')
MAY_MISS = {
    'explore.h': 'of a library of its own, which has its own system calls',
    'locks.h': 'of a library of its own, which asks for nothing',
}

called = set()
for path in sorted((ROOT / 'tests' / 'faults').glob('*.[ch]')):
    called |= set(re.findall(r'\b(fm_\w+)\(', COMMENT.sub('', path.read_text())))
missing = []
for path in sorted((ROOT / 'include' / 'fm').glob('*.h')):
    if path.name not in MAY_MISS:
        missing += [f'include/fm/{path.name}: {name} is called by no scene of tests/faults'
                    for name in FUNCTION.findall(COMMENT.sub('', path.read_text()))
                    if name not in called]
for line in missing:
    print(line, file=sys.stderr)
sys.exit(bool(missing))
