#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gdb_test.py GDB SCRIPT PROGRAM - drive gdb over a live process, and over the core that it leaves"""
import os
import re
import resource
import subprocess
import sys
import tempfile

SKIPPED = 77  # for Meson
KEYS = ['key-1', r'user-1234\x01', 'a key of more bytes than an entry holds: it stands in a blob, 60']


def run(gdb, script, *words):
    command = [gdb, '-nx', '-batch', '-ex', 'set debuginfod enabled off', '-x', script, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=120, check=False)
    return done.stdout


def check(condition, what, said):
    if not condition:
        print(f'gdb_test: {what} not in:\n{said}', file=sys.stderr)
        sys.exit(1)


def check_fibers(said):
    listed = re.search(r'^ *(\d+) parked +in never "sleeper" at sleep_deep gdb_sample.c:\d+$', said, re.M)
    check(listed, 'the sleeper', said)
    check(re.search(r'^ *\d+ running +on worker \d+, thread \d+ "spinner"$', said, re.M),
          'the spinner', said)
    for key in KEYS:
        check(re.search(rf'^ *\d+ parked +in never key "{re.escape(key)}" at sleep_deep', said, re.M),
              f'key {key}', said)
    calls = re.findall(r'^#\d+ +.*\bin (\w+) \((.*)\).*gdb_sample.c:\d+$', said, re.M)
    depths = [int(words.split('=')[1]) for name, words in calls if name == 'sleep_deep' and 'depth=' in words]
    check(depths[:8] == [0, 1, 2, 3] * 2, 'four calls of sleep_deep, by name and by key', said)
    check(any(name == 'sleeper' for name, _ in calls), 'the body', said)
    check(re.search(r'in fm__fiber_run\b', said), 'the end of the stack', said)
    check(re.search(r'^\$\d+ = 2$', said, re.M), 'a variable of a frame', said)
    check(re.search(r'^#\d+ .*spin_deep \(', said, re.M), 'the calls of the spinner', said)
    # the thread is shown as before
    check(re.search(r'^#\d+ .*\bmain \(argc=', said, re.M), 'the thread itself', said)


def main():
    gdb, script, program = sys.argv[1:]
    hello = subprocess.run([gdb, '-nx', '-batch', '-ex', 'python print(6 * 7)'], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, check=False)
    if '42' not in hello.stdout:
        print('gdb_test: skipped: this gdb has no python')
        sys.exit(SKIPPED)
    look = ['-ex', 'info fibers', '-ex', 'fiber sleeper bt', '-ex', 'fiber key-1 bt',
            '-ex', 'fiber sleeper frame apply all -q -s print depth', '-ex', 'fiber spinner bt',
            '-ex', 'bt']
    said = run(gdb, script, '-ex', 'break look_here', '-ex', 'run', *look, '-ex', 'kill', program)
    if 'ptrace' in said and 'not permitted' in said:
        print('gdb_test: skipped: processes may not be traced here')
        sys.exit(SKIPPED)
    check_fibers(said)
    with tempfile.TemporaryDirectory() as folder:
        core = leave_core(program, folder)
        if core:
            check_fibers(run(gdb, script, *look, program, core))
        else:
            print('gdb_test: the kernel leaves no core files here: only the live process was looked at')


def leave_core(program, folder):
    """The core file of a program that aborts, None if the kernel puts it elsewhere."""
    def allow():
        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    subprocess.run([program, 'abort'], cwd=folder, preexec_fn=allow, timeout=60, check=False,
                   stderr=subprocess.DEVNULL)
    found = os.listdir(folder)
    return os.path.join(folder, found[0]) if found else None


main()
