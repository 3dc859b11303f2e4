#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""aarch64.py BUILD LIST [NAME...] - run the unit and stress tests of a cross build, one after another

Below aarch64.sh, where the kernel runs such programs. LIST says what the emulator cannot do: lines of
a test, as NAME or, of a Criterion program, NAME:suite/test, and the reason. All else must pass, and
what is listed must not: that is played too, unless its reason begins with "now and then". The last line
says how many passed, counted as tools/test does.
"""
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from count_tests import tap_counts

SLOWER = 5  # than the machine below: what a test's time limit is multiplied by
LISTED_SECONDS = 20  # for one that is listed, and may never end


def read_list(path):
    entries = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith('#'):
            name, reason = line.split(' ', 1)
            entries[name] = reason
    return entries


def programs(build):
    """Name to test, of those that run something of the build; none that compiles broken libraries."""
    tests = json.loads((build / 'meson-info' / 'intro-tests.json').read_text())
    return {test['name']: test for test in tests
            if {'fibermap:unit', 'fibermap:stress'} & set(test['suite'])
            and not test['name'].endswith('_mutants')
            and any(word.startswith(f'{build}/tests/') for word in test['cmd'])}


def play(build, test, more, seconds):
    """(passed, failed, what it said); who does not end is ended, with all that it has started."""
    process = subprocess.Popen(test['cmd'] + more, cwd=build, env={**os.environ, **test['env']}, text=True,
                               errors='replace', stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        said = f'no end after {seconds} s'
    code = process.poll()
    end_children()
    passed, failed = tap_counts(said) or (int(code == 0), 0)
    return passed, failed or int(code != 0), said


def adopt_orphans():
    """Make whatever outlives its parent, among what is started here, a child of this process."""
    set_child_subreaper = 36
    ctypes.CDLL(None, use_errno=True).prctl(set_child_subreaper, 1, 0, 0, 0)


def end_children():
    while children := Path(f'/proc/self/task/{os.getpid()}/children').read_text().split():
        for child in map(int, children):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def main():
    build, entries = Path(sys.argv[1]).resolve(), read_list(Path(sys.argv[2]))
    tests = programs(build)
    adopt_orphans()
    names = sys.argv[3:] or list(tests)
    passed, wrong, listed = 0, [], 0
    if not sys.argv[3:]:
        wrong += [f'{name}: no such test' for name in entries if name.split(':')[0] not in tests]
    for name in names:
        test, begun = tests[name], time.monotonic()
        apart = {key: key.partition(':')[2] for key in entries if key.split(':')[0] == name}
        good = bad = 0
        if name not in entries:
            more = ['--filter', f'!({"|".join(apart.values())})'] if apart else []
            good, bad, said = play(build, test, more, SLOWER * test['timeout'])
            if bad or not good:
                wrong.append(name)
                print(said[-4000:])
        for key, one in apart.items():
            if not entries[key].startswith('now and then'):
                better, as_said, _ = play(build, test, ['--filter', one] if one else [], LISTED_SECONDS)
                if better or not as_said:
                    wrong.append(f'{key} is listed, and passes or is not there')
        passed += good
        listed += len(apart)
        print(f'{name}: {good} passed, {bad} failed, {len(apart)} listed, {time.monotonic() - begun:.0f} s', flush=True)
    print(*wrong, f'{passed} passed, {len(wrong)} wrong, {listed} on the list', sep='\n')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
