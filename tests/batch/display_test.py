# SPDX-License-Identifier: Apache-2.0
"""display_test.py - what people and machines see while it runs"""
import contextlib
import json
import os
import re
import subprocess

import harness
from harness import each, equal, lines, run, test


@test
def machines_get_an_event_for_all_that_happens(folder):
    done = run(folder, [{'key': 'a', 'shell': 'echo abc; test $BATCH_ATTEMPT = 2', 'retry': {'times': 1, 'delay': 0.002}},
                        {'key': 'b', 'shell': 'kill -9 $$'}, {'key': 'c', 'shell': 'true', 'needs': ['b']}],
               '--json=events', '-j1', '-q')
    equal((done.code, done.out, done.err), (1, 'abc\n', ''), done)
    events = [json.loads(line) for line in lines((folder / 'events').read_text())]
    told = [(e['event'], e.get('key'), e.get('attempt'), e.get('state'), e.get('code'), e.get('out_bytes')) for e in events]
    equal([e for e in told if e[1] == 'a'], [('start', 'a', 1, None, None, None), ('end', 'a', 1, 'failed', 1, 4),
                                             ('start', 'a', 2, None, None, None), ('end', 'a', 2, 'succeeded', 0, 4)])
    equal([e for e in told if e[1] == 'b'], [('start', 'b', 1, None, None, None), ('end', 'b', 1, 'failed', 137, 0)])
    equal([e for e in events if e['event'] == 'end'][0]['again_in_ms'], 2)
    left = [e for e in events if e['event'] == 'left-out']
    equal([(e['key'], e['state'], e['because']) for e in left], [('c', 'skipped', 'b')])
    over = events[-1]
    equal((over['event'], over['succeeded'], over['failed'], over['skipped'], over['exit_code']), ('over', 1, 1, 1, 1))
    done = each(folder, '--json=no/such', 'echo', ':::', 'a')
    assert done.code == 255 and 'no/such: No such file' in done.err, done


@test
def on_a_terminal_a_line_says_how_far_it_is_and_leaves_no_trace(folder):
    ours, theirs = os.openpty()
    with subprocess.Popen([harness.BINARY, 'each', '-j2', 'until test -e go; do sleep 0.02; done; exit', ':::', '0', '1'], cwd=folder,
                          stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env={**os.environ, 'TERM': 'xterm'}) as process:
        os.close(theirs)
        seen = b''
        with contextlib.suppress(OSError):  # so a terminal says that nobody writes any more
            while chunk := os.read(ours, 65536):
                seen += chunk
                if b'0/2, 2 running' in seen and not (folder / 'go').exists():
                    (folder / 'go').touch()
        equal(process.wait(harness.WAIT_S), 1)
    os.close(ours)
    assert re.search(rb'\r\x1b\[K\[\.{20}\] 0/2, 2 running: [12] \([01]\) \d+ s, [12] \([01]\) \d+ s', seen), seen
    shown = [line.rsplit(b'\r\x1b[K', 1)[-1].strip() for line in seen.split(b'\n')]
    equal(shown[0], b'batch: job 2 (1) failed: exit code 1', seen)
    assert shown[1].startswith(b'batch: 2 jobs: 1 succeeded, 1 failed;') and shown[2:] == [b''], seen
