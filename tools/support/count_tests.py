#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""count_tests.py TESTLOG.json - what passed and what failed in one run of `meson test`

A program that speaks TAP counts test by test, any other program as one. A program that reports no
failed test and yet did not end well (crash, time-out, wrong plan) is one failure more. A skipped
test counts as neither. Prints the output of every program that failed, and as the last line the two
numbers: passed failed.
"""
import json
import re
import sys

TAIL_LINES = 200
GOOD = ('OK', 'EXPECTEDFAIL')


def tap_counts(text):
    """(passed, failed) of TAP output, or None if it is none."""
    passed = failed = 0
    if not re.search(r'^(1\.\.\d|TAP version)', text, re.M):
        return None
    for line in text.splitlines():
        match = re.match(r'(not )?ok\b(.*)', line)
        if not match or re.search(r'#\s*SKIP\b', match[2], re.I):
            continue
        if match[1] and not re.search(r'#\s*TODO\b', match[2], re.I):
            failed += 1
        else:
            passed += 1
    return passed, failed


def count(result):
    """(passed, failed) of one program."""
    ended_well = result['result'] in GOOD
    if result['result'] == 'SKIP':
        return 0, 0
    tap = tap_counts(result['stdout'] or '')
    if tap is None:
        return (1, 0) if ended_well else (0, 1)
    passed, failed = tap
    if not ended_well and not failed:
        failed = 1
    return passed, failed


def show(result):
    """Print what a failed program said, and how to run it again."""
    print(f"\n---- {result['name']}: {result['result']}, exit code {result['returncode']}, "
          f"{result['duration']:.1f} s")
    print('     ' + ' '.join(result['command']))
    for stream in ('stdout', 'stderr'):
        lines = (result.get(stream) or '').splitlines()
        if len(lines) > TAIL_LINES:
            print(f'[{len(lines) - TAIL_LINES} lines of {stream} left out]')
        for line in lines[-TAIL_LINES:]:
            print(line)


def main():
    passed = failed = 0
    with open(sys.argv[1], encoding='utf-8', errors='replace') as log:
        for line in log:
            result = json.loads(line)
            p, f = count(result)
            passed += p
            failed += f
            if f:
                show(result)
    print(passed, failed)


if __name__ == '__main__':
    main()
