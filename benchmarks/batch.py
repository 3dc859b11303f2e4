#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""batch.py [--rounds N] [--short] [BINARY] - tools/batch beside what else does its work, in turns

  true    10,000 processes of /bin/true, two at a time: xargs -P2, GNU parallel (tools/need bench; left out where it is not)
  count   the words of a tree of 100,000 files, a job for each of its folders: find | xargs -P2 wc
  calls   1,000,000 built-in jobs (the SHA-256 of a text) in a graph of depth 10, alone

Each round asks all, one after the other. Ratios are of the medians: how many times as long the other takes. BINARY is that of
tools/batch, which builds it. --short does a hundredth of the work and measures nothing.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def took(command, folder, **how):
    """Seconds, and the peak memory in bytes of what runs alone: usage of the child from wait4."""
    started = time.monotonic()
    with subprocess.Popen(command, cwd=folder, shell=isinstance(command, str), stdout=subprocess.DEVNULL, **how) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f'{command}: exit code {process.returncode}')
    return time.monotonic() - started, usage.ru_maxrss * 1024


def make_tree(folder, folders, files):
    for d in range(folders):
        path = folder / 'tree' / f'{d:04}'
        path.mkdir(parents=True)
        for f in range(files):
            (path / f'{f:03}').write_text(f'file {f} of folder {d}\n' + 'the quick brown fox jumps over the lazy dog\n' * (f % 20))


def ask_true(binary, folder, scale):
    (folder / 'args').write_text(''.join(f'{n}\n' for n in range(10000 // scale)))
    asked = {'batch': [binary, 'each', '-j2', '-a', 'args', '/bin/true'], 'xargs -P2': ['xargs', '-a', 'args', '-P2', '-n1', '/bin/true']}
    if shutil.which('parallel') and 'GNU parallel' in subprocess.run(['parallel', '--version'], capture_output=True, text=True, check=False).stdout:
        asked['GNU parallel'] = ['parallel', '-j2', '-a', 'args', '/bin/true']
    else:
        print('true: GNU parallel is not there (tools/need bench)')
    return asked


def ask_count(binary, folder, scale):
    make_tree(folder, 1000 // scale, 100)
    with open(folder / 'count.json', 'w') as file:
        for path in sorted((folder / 'tree').iterdir()):
            file.write(json.dumps({'key': path.name, 'call': 'count', 'path': f'tree/{path.name}'}) + '\n')
    return {'batch': [binary, 'run', '-q', '-j2', 'count.json'], 'find | xargs -P2 wc': 'find tree -type f -print0 | LC_ALL=C xargs -0 -P2 wc'}


def ask_calls(binary, folder, scale):
    count = 1000000 // scale
    row = count // 10
    with open(folder / 'calls.json', 'w') as file:
        for n in range(count):
            needs = f', "needs": ["{n - row}"]' if n >= row else ''
            file.write(f'{{"key": "{n}", "call": "hash", "text": "{n}"{needs}}}\n')
    return {'batch': [binary, 'run', '-q', '-j2', 'calls.json']}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--short', action='store_true')
    parser.add_argument('--only', choices=('true', 'count', 'calls'))
    parser.add_argument('binary', nargs='?', default=ROOT / 'build/release-batch/tools/batcher/fibermap-batch')
    options = parser.parse_args()
    if not os.access(options.binary, os.X_OK):
        sys.exit(f'{options.binary} is not there: tools/batch --help builds it')
    binary = str(pathlib.Path(options.binary).resolve())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for question in (ask_true, ask_count, ask_calls):
        name = question.__name__[4:]
        if options.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory(prefix='batch-bench-') as folder:
            asked = question(binary, pathlib.Path(folder), 100 if options.short else 1)
            times = {who: [] for who in asked}
            memory = 0
            for _ in range(1 if options.short else options.rounds):
                for who, command in asked.items():
                    seconds, rss = took(command, folder)
                    times[who].append(seconds)
                    memory = max(memory, rss if who == 'batch' else 0)
        ours = statistics.median(times['batch'])
        for who, seconds in times.items():
            median = statistics.median(seconds)
            more = f'{memory / 1e6:.0f} MB' if who == 'batch' else f'ratio {median / ours:.2f}'
            print(f'{name:6} {who:20} least {min(seconds):8.3f} s, median {median:8.3f} s, {more}', flush=True)


main()
