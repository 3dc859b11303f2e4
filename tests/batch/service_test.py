# SPDX-License-Identifier: Apache-2.0
"""service_test.py - jobs that run as long as others need them"""
import json
import signal
import socket

from harness import Batch, ask, equal, lines, run, test, until

PATIENT = '--grace=60'  # with services that have last words, however slow the machine is


def service(key, **fields):
    """One that says when it comes, and when it is asked to go."""
    return {'key': key, 'restart': 'transient', 'ready': {'line': '^up$', 'interval': '5ms'}, **fields, 'shell':
            f'trap "echo -{key} >> log; exit 3" TERM; echo +{key} >> log; echo up; sleep 600 & wait'}


def states(folder):
    """Of the services, by key; what was asked too early has none."""
    return {about['key']: about['state'] for about in json.loads(ask(folder, 'status', 'socket').out or '{"services": []}')['services']}


@test
def services_end_when_all_that_need_them_have_in_reverse_order(folder):
    done = run(folder, [{'key': 'test', 'shell': 'echo test >> log; echo said', 'needs': ['web']},
                        service('web', needs=['db']), service('db'), {'key': 'also', 'shell': 'true', 'needs': ['db']}], '-j1', '-k', PATIENT)
    equal((done.code, done.out.count('said')), (0, 1), done)
    equal(lines((folder / 'log').read_text()), ['+db', '+web', 'test', '-web', '-db'])
    assert '4 jobs: 2 succeeded, 2 stopped' in done.err, done


@test
def who_needs_a_service_starts_when_its_probe_succeeds(folder):
    done = run(folder, [{'key': 's', 'shell': 'echo up > up; exec sleep 600', 'restart': 'permanent',
                         'ready': {'probe': 'test -e there && test $BATCH_KEY = s', 'interval': '5ms'}},
                        {'key': 'a', 'shell': 'test -e there', 'needs': ['s']},
                        {'key': 'b', 'shell': 'until test -e up; do sleep 0.01; done; touch there'}], '-j2', '--json=events')
    equal(done.code, 0, done)
    told = [(e['event'], e['key'], e.get('state')) for e in map(json.loads, lines((folder / 'events').read_text())) if e.get('key') != 'b' and 'key' in e]
    equal(told, [('start', 's', None), ('ready', 's', None), ('start', 'a', None), ('end', 'a', 'succeeded'), ('end', 's', 'stopped')])


@test
def who_needs_a_service_starts_when_its_port_is_open(folder):
    with socket.socket() as ours:  # ours from the start, so nobody else's; a connection to it is refused
        ours.bind(('127.0.0.1', 0))
        batch = Batch(folder, 'run', '--socket=socket', 'jobs.json', jobs=[
            {'key': 's', 'shell': 'echo up > up; exec sleep 600', 'restart': 'transient',
             'ready': {'port': ours.getsockname()[1], 'interval': '5ms'}},
            {'key': 'a', 'shell': 'echo a > a', 'needs': ['s']}])
        batch.written('up')
        until(lambda: states(folder) == {'s': 'starting'}, 'it is not ready')
        assert not (folder / 'a').exists()
        ours.listen(64)
        done = batch.wait()
    equal((done.code, (folder / 'a').read_text()), (0, 'a\n'), done)


@test
def a_service_that_is_not_ready_in_time_has_failed(folder):
    done = run(folder, [{'key': 's', 'shell': 'exec sleep 600', 'restart': {'intensity': 1}, 'ready': {'probe': ['false'], 'within': '30ms'}},
                        {'key': 'a', 'shell': 'echo never', 'needs': ['s']},
                        {'key': 't', 'shell': 'exit 0', 'restart': 'temporary', 'ready': {'line': 'x', 'interval': '1s'}},
                        {'key': 'b', 'shell': 'echo never', 'needs': ['t']}])
    equal((done.code, done.out), (1, ''), done)
    for line in ('service "s" failed: not ready after', ', attempt 1', 'service "s" gave up after 2 attempts: not ready after',
                 'service "t" gave up after 1 attempt: exit code 0, before it was ready', 'job "a" skipped: it needs "s"',
                 'job "b" skipped: it needs "t"', '2 failed, 2 skipped'):
        assert line in done.err, (line, done)


@test
def a_service_is_restarted_and_its_exit_codes_do_not_count(folder):
    crash = 'echo x >> {0}; test $(wc -l < {0}) -lt 3 || exec sleep 600; exit {1}'
    seen = 'until test -e {0} && test $(wc -l < {0}) -ge 3; do sleep 0.01; done'
    done = run(folder, [{'key': 's', 'shell': crash.format('s', 7), 'restart': {'delay': '1ms', 'factor': 2, 'intensity': 9}},
                        {'key': 'p', 'shell': crash.format('p', 0), 'restart': 'permanent'},
                        {'key': 'done', 'shell': 'exit 0', 'restart': 'transient'},
                        {'key': 'r', 'shell': 'sleep 0.01; ' + crash.format('r', 7), 'restart': {'intensity': 1, 'period': '1h', 'reset_after': '5ms'}},
                        {'key': 'c', 'shell': seen.format('r'), 'needs': ['r']},
                        {'key': 'a', 'shell': seen.format('s'), 'needs': ['s']}, {'key': 'b', 'shell': seen.format('p'), 'needs': ['p', 'done']}])
    equal(done.code, 0, done)
    for attempt in (1, 2):
        assert f'batch: service "s" failed: exit code 7, attempt {attempt}\n' in done.err, done
    assert '4 succeeded, 3 stopped' in done.err, done


@test
def while_a_service_is_not_ready_again_no_other_that_needs_it_starts(folder):
    batch = Batch(folder, 'run', '--socket=socket', '-j4', 'jobs.json', jobs=[
        {'key': 's', 'shell': 'echo x >> starts; until test -e crash; do sleep 0.01; done; test $(wc -l < starts) -gt 1 || exit 1; exec sleep 600',
         'restart': 'transient', 'ready': {'probe': 'test $BATCH_ATTEMPT = 1 || test -e again', 'interval': '5ms'}},
        {'key': 'a', 'shell': 'touch crash; until test $(wc -l < starts) = 2; do sleep 0.01; done', 'needs': ['s']},
        {'key': 'b', 'shell': 'test -e again', 'needs': ['a', 's']}])
    until(lambda: json.loads(ask(folder, 'status', 'socket').out or '{"succeeded": 0}')['succeeded'] == 1 and states(folder) == {'s': 'starting'}, 'a has ended')
    (folder / 'again').touch()
    done = batch.wait()
    equal(done.code, 0, done)
    assert '2 succeeded, 1 stopped' in done.err, done


@test
def a_service_that_fails_too_often_gives_up(folder):
    batch = Batch(folder, 'run', '--socket=socket', 'jobs.json', jobs=[
        {'key': 's', 'shell': 'echo x >> starts; exit 0', 'restart': {'type': 'permanent', 'intensity': 2, 'period': '1h'}},
        {'key': 'a', 'shell': 'until test -e go; do sleep 0.01; done'}])
    until(lambda: json.loads(ask(folder, 'status', 'socket').out or '{"failed": 0}')['failed'], 'it has given up')
    (folder / 'go').touch()
    done = batch.wait()
    equal((done.code, (folder / 'starts').read_text()), (1, 'x\n' * 3), done)
    assert 'service "s" gave up after 3 attempts: exit code 0' in done.err and '1 succeeded, 1 failed' in done.err, done


@test
def a_signal_stops_the_jobs_and_then_the_services_in_reverse_order(folder):
    batch = Batch(folder, 'run', PATIENT, 'jobs.json', jobs=[
        service('db'), service('web', needs=['db']),
        {'key': 'a', 'shell': 'trap "sleep 0.05; echo -a >> log; exit" TERM; echo > up; sleep 600 & wait', 'needs': ['web']}])
    batch.written('up')
    batch.signal(signal.SIGTERM)
    done = batch.wait()
    equal((done.code, lines((folder / 'log').read_text())), (143, ['+db', '+web', '-a', '-web', '-db']), done)
    assert '1 cancelled, 2 stopped' in done.err, done


@test
def a_batch_of_services_runs_until_it_is_stopped(folder):
    batch = Batch(folder, 'run', PATIENT, '--socket=socket', 'jobs.json', jobs=[service('db'), service('web', needs=['db'])])
    until(lambda: states(folder) == {'db': 'ready', 'web': 'ready'}, 'they are up')
    equal(ask(folder, 'cancel', 'socket', 'web').code, 0)
    done = batch.wait()
    equal((done.code, lines((folder / 'log').read_text())), (1, ['+db', '+web', '-web', '-db']), done)
    assert 'job "web" cancelled: exit code 3' in done.err and '1 cancelled, 1 stopped' in done.err, done


@test
def after_a_kill_a_service_is_started_again_where_it_is_needed(folder):
    batch = Batch(folder, 'run', PATIENT, '--journal=journal', 'jobs.json', jobs=[
        service('db'), {'key': 'a', 'shell': 'echo a', 'needs': ['db']},
        {'key': 'b', 'shell': 'echo up > up; test -e go || exec sleep 600; echo b', 'needs': ['db', 'a']}])
    batch.written('up')
    batch.signal(signal.SIGKILL)
    batch.wait()
    (folder / 'go').touch()
    done = Batch(folder, 'resume', 'journal').wait()
    equal((done.code, [line for line in lines(done.out) if line != 'up']), (0, ['b']), done)
    equal(lines((folder / 'log').read_text()), ['+db', '+db', '-db'])
    done = Batch(folder, 'resume', 'journal').wait()
    equal((done.code, lines((folder / 'log').read_text())), (0, ['+db', '+db', '-db']), done)


@test
def services_that_cannot_be_are_refused_and_a_dry_run_starts_none(folder):
    jobs = [{'key': 's', 'shell': 'touch ran', 'restart': 'transient', 'resources': {'memory': 3}, 'ready': {'line': 'x'}},
            {'key': 'a', 'shell': 'touch ran', 'needs': ['s'], 'resources': {'memory': 2}}]
    done = run(folder, jobs, '--resource=memory=4')
    assert done.code == 255 and 'job "a" wants 2 of "memory", of which there is 4, and services may have taken 3' in done.err, done
    done = run(folder, jobs, '--resource=memory=5', '--ungroup')
    assert done.code == 255 and 'service "s" is ready by a line of its output' in done.err, done
    done = run(folder, jobs, '--resource=memory=5', '--dry-run')
    equal((done.code, done.out), (0, 's: touch ran\na: touch ran\n'), done)
    assert not (folder / 'ran').exists()
