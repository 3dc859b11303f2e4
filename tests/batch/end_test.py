# SPDX-License-Identifier: Apache-2.0
"""end_test.py - signals, and what is left behind"""
import contextlib
import fcntl
import os
import pathlib
import signal
import subprocess
import termios

import harness
from harness import Batch, Skipped, alive, ask, each, equal, lines, marked, run, test, until, with_small_disk


@test
def a_signal_stops_all_jobs_in_order_and_has_it_reported(folder):
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        (folder / 'up').unlink(missing_ok=True)
        batch = Batch(folder, 'run', 'jobs.json', '-j2', jobs=[
            {'key': 'a', 'shell': 'trap "echo bye; exit 0" TERM; sleep 600 & echo $! > up; wait'},
            {'key': 'b', 'shell': 'echo never', 'needs': ['a']}])
        child = int(batch.written('up'))
        batch.signal(number)
        done = batch.wait()
        equal((done.code, done.out), (code, 'bye\n'), done)
        assert 'job "a" cancelled' in done.err and '1 cancelled, 1 not run' in done.err, done
        until(lambda pid=child: not alive(pid), 'its child is gone')


@test
def a_second_signal_kills(folder):
    batch = Batch(folder, 'each', '--grace=600', ': {}; trap "echo asked > asked" TERM; echo up > up; while :; do sleep 0.02; done',
                  ':::', 'a')
    batch.written('up')
    batch.signal(signal.SIGTERM)
    batch.written('asked')
    batch.signal(signal.SIGTERM)
    done = batch.wait()
    equal(done.code, 143, done)
    assert 'job 1 (a) cancelled: signal 9 (Killed)' in done.err, done


@test
def it_does_not_wait_for_arguments_when_it_is_stopped(folder):
    batch = Batch(folder, 'each', 'echo {} > got')
    batch.process.stdin.write('x\n')
    batch.process.stdin.flush()
    batch.written('got')
    batch.signal(signal.SIGINT)
    equal(batch.process.wait(40), 130)
    batch.wait()


DAEMON = 'setsid sh -c "{1} echo \\$\\$ > {0}; sleep 600 & wait" & until test -s {0}; do sleep 0.01; done; '  # with a child of its own


@test
def no_job_outlives_a_kill_nor_what_left_its_group(folder):
    batch = Batch(folder, 'each', '-j2', DAEMON.format('daemon{}', '') + 'echo $$ > pid{}; exec sleep 600', ':::', '1', '2', env={'MARK': str(folder)})
    pids = [int(batch.written(name)) for name in ('pid1', 'pid2', 'daemon1', 'daemon2')]
    assert all(map(alive, pids)), pids
    batch.signal(signal.SIGKILL)
    batch.wait()
    until(lambda: not any(map(alive, pids)) and not any(map(alive, marked(folder))), 'all of them are gone')


@test
def nothing_leaves_the_cgroup_whatever_becomes_of_the_program(folder):
    done = each(folder, '--cgroup', 'cat /proc/self/cgroup; : {}', ':::', 'x')
    if 'goes on without a cgroup of its own' in done.err:
        raise Skipped(done.err.strip())
    def own(text):
        return [line.split('::', 1)[1] for line in lines(text) if line.startswith('0::')][0]
    points = [line.split()[4] for line in lines(pathlib.Path('/proc/self/mountinfo').read_text()) if ' - cgroup2 ' in line]
    assert '/fibermap-batch-' in own(done.out) and (done.code, done.err) == (0, ''), done
    assert not any(os.path.exists(point + own(done.out)) for point in points), done
    daemon = DAEMON.format('daemon', '').replace('setsid', 'env -i setsid')  # nothing of ours is in its environment
    batch = Batch(folder, 'each', '--cgroup', daemon + 'cat /proc/self/cgroup > up; exec sleep 600; : {}', ':::', 'x')
    mine = own(batch.written('up'))
    pid = int(batch.written('daemon'))
    batch.signal(signal.SIGKILL)
    batch.wait()
    until(lambda: not alive(pid) and not any(os.path.exists(point + mine) for point in points), 'the daemon is gone, and the cgroup')


@test
def without_a_cgroup_it_goes_on(folder):
    done = with_small_disk(folder, '400k', """
        mount -t tmpfs none /sys/fs/cgroup || exit 77
        "$BATCH" each --cgroup 'echo {}' ::: a""")
    equal((done.code, done.out), (0, 'a\n'), done)
    assert 'batch: goes on without a cgroup of its own: ' in done.err, done


@test
def what_a_job_left_behind_ends_with_it_where_that_is_stopped_or_fails(folder):
    daemon = DAEMON.format('daemon', "trap 'echo bye > bye; exit' TERM;")
    failing = DAEMON.format('first', '') + 'test $BATCH_ATTEMPT = 2'
    batch = Batch(folder, 'run', '--socket=socket', '-j4', '--grace=60', 'jobs.json', jobs=[
        {'key': 'a', 'shell': daemon + 'wait', 'env': {'MARK': str(folder)}}, {'key': 'b', 'shell': 'until test -e go; do sleep 0.01; done'},
        {'key': 'c', 'shell': 'test $BATCH_ATTEMPT = 2 && test ! -e /proc/$(cat first)/exe || { ' + failing + '; }', 'retry': 1},
        {'key': 'd', 'shell': DAEMON.format('late', '') + 'wait', 'timeout': '300ms', 'env': {'MARK': str(folder)}}])
    pid = int(batch.written('daemon'))
    equal(ask(folder, 'cancel', 'socket', 'a').code, 0)
    equal(batch.written('bye'), 'bye\n')
    until(lambda: not alive(pid) and not any(map(alive, marked(folder))), 'a, d and what they left are gone while b runs')
    equal(batch.process.poll(), None)
    (folder / 'go').touch()
    done = batch.wait()
    equal(done.code, 1, done)
    assert '2 succeeded, 1 timed out, 1 cancelled' in done.err and 'left behind' not in done.err, done


@test
def what_jobs_left_behind_well_ends_with_the_batch(folder):
    done = run(folder, [{'key': name, 'shell': DAEMON.format(name, '').replace('setsid', f'{env} setsid') + 'echo $BATCH_RUN >> runs'}
                        for name, env in (('daemon1', ''), ('daemon2', 'env -i'))], '-j2')
    pids = [int((folder / name).read_text()) for name in ('daemon1', 'daemon2')]
    assert not any(map(alive, pids)), done
    equal((done.code, done.out, len(set(lines((folder / 'runs').read_text())))), (0, '', 1), done)
    assert lines(done.err)[0] in [f'batch: ended {n} processes that jobs had left behind' for n in (2, 3, 4)], done


@test
def who_lost_its_parent_is_reaped_while_others_run(folder):
    command = 'for n in 1 2 3 4 5 6 7 8; do (true & ); done; test {} != x || { echo > up; until test -e go; do sleep 0.01; done; }'
    batch = Batch(folder, 'each', '-j1', command, ':::', '1', '2', '3', 'x')
    batch.written('up')

    def zombies():
        found = []
        for task in pathlib.Path(f'/proc/{batch.process.pid}/task').iterdir():  # those that it has started, and those that came to it
            with contextlib.suppress(OSError):
                found += [pid for pid in (task / 'children').read_text().split() if not alive(int(pid))]
        return found
    until(lambda: not zombies(), 'they are gone')
    (folder / 'go').touch()
    equal(batch.wait().code, 0)


@test
def no_descriptor_and_no_process_is_left_behind(folder):
    batch = Batch(folder, 'each', '-j2', ': {}; ls /proc/self/fd | wc -l; ls /proc/$PPID/fd | wc -l', stdin='x\n' * 40)
    done = batch.wait()
    counts = [int(line) for line in lines(done.out)]
    equal(done.code, 0, done)
    equal(set(counts[0::2]), {4}, 'in a job: 0, 1, 2 and the folder')
    assert max(counts[1::2][20:]) <= max(counts[1::2][:20]) + 12, counts


@test
def a_terminal_that_is_closed_stops_all_jobs(folder):
    ours, theirs = os.openpty()
    with subprocess.Popen([harness.BINARY, 'each', '-j1', ': {}; trap "echo asked > asked; exit 0" TERM; echo $$ > up; sleep 600 & wait', ':::', 'a'],
                          cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                          preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) as process:
        os.close(theirs)
        up = folder / 'up'
        until(lambda: up.exists() and up.read_text().endswith('\n'), 'the job runs')
        os.close(ours)
        equal(process.wait(harness.WAIT_S), 129)
    assert not alive(int(up.read_text())) and (folder / 'asked').exists()


@test
def what_cannot_be_written_is_said_and_is_no_success(folder):
    for option, words in (('--json=/dev/full', 'cannot write the events'), ('--joblog=/dev/full', '/dev/full'), ('--report=/dev/full', '/dev/full'),
                          ('--results=/dev/null/x', 'its output cannot be kept')):
        done = each(folder, option, 'echo', ':::', 'a')
        assert done.code in (1, 255) and words in done.err, (option, done)
    with open('/dev/full', 'w') as full:
        done = subprocess.run([harness.BINARY, 'each', 'echo', ':::', 'a'], stdout=full, stderr=subprocess.PIPE, text=True, timeout=harness.WAIT_S, check=False)
    assert done.returncode == 255 and 'cannot print: No space left on device' in done.stderr, done


@test
def what_may_not_be_read_or_written_is_named(folder):
    jobs = [{'key': 'a', 'shell': 'true', 'directory': 'shut'}, {'key': 'b', 'call': 'count', 'path': ['open', 'none']}, {'key': 'c', 'argv': ['shut/program']},
            {'key': 'd', 'shell': 'cat', 'stdin_file': 'shut/in'}, {'key': 'e', 'shell': 'echo e'}]
    (folder / 'open/shut').mkdir(parents=True)
    (folder / 'open/file').write_text('a b\n')
    for name in ('shut', 'open/shut', 'locked.json'):
        (folder / name).mkdir(exist_ok=True) if 'shut' in name else (folder / name).write_text('{"key": "x", "shell": "touch ran"}')
        (folder / name).chmod(0)
    try:
        for words, error in ((['run', 'locked.json'], 'locked.json: Permission denied'), (['run', '.'], '.: Is a directory'), (['each', '-a', 'locked.json', 'echo'], 'Permission denied'),
                             (['run', '--journal=shut/journal', 'jobs.json'], 'shut/journal: Permission denied'), (['resume', 'shut/journal'], 'shut/journal: Permission denied'),
                             (['run', '--joblog=shut/log', 'jobs.json'], 'shut/log: Permission denied'), (['run', '--socket=shut/socket', 'jobs.json'], 'shut/socket: Permission denied')):
            done = Batch(folder, *words, jobs=jobs, preexec=harness.bound_by_modes).wait()
            assert (done.code, done.out) == (255, '') and error in done.err, (words, done)
        done = Batch(folder, 'run', '-k', 'jobs.json', jobs=jobs, preexec=harness.bound_by_modes).wait()
    finally:
        for name in ('shut', 'open/shut'):
            (folder / name).chmod(0o700)
    equal((done.code, done.out), (1, '1 2 4 open\n0 0 0 none\n1 2 4 total\ne\n'), done)
    for error in ('job "a" failed: it cannot be started in its directory: Permission denied', 'open/shut: Permission denied', 'none: No such file or directory',
                  'job "b" failed: exit code 2', 'job "c" failed: it cannot be started: Permission denied', 'job "d" failed: its standard input cannot be opened: Permission denied',
                  '1 succeeded, 4 failed'):
        assert error in done.err, (error, done)
    assert not (folder / 'ran').exists()
