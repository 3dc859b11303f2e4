# SPDX-License-Identifier: Apache-2.0
"""control_test.py - asking a batch that runs"""
import contextlib
import json
import os
import socket
import stat

from harness import Batch, ask, each, equal, test, until

NAP = 'echo up > up; exec sleep 600'


@test
def status_says_what_runs_and_what_has_ended(folder):
    batch = Batch(folder, 'run', '--socket=socket', '-j1', 'jobs.json',
                  jobs=[{'key': 'a', 'shell': 'true'}, {'key': 'b', 'shell': NAP}, {'key': 'c', 'shell': 'true', 'needs': ['b']}])
    batch.written('up')
    equal(stat.S_IMODE(os.stat(folder / 'socket').st_mode), 0o600)
    done = ask(folder, 'status', 'socket')
    status = json.loads(done.out)
    equal((done.code, status['jobs'], status['succeeded'], status['more_may_come'], status['stopping']), (0, 3, 1, False, False), done)
    equal([(job['key'], job['attempt'], job['slot']) for job in status['running']], [('b', 1, 1)])
    assert os.path.exists(f'/proc/{status["running"][0]["pid"]}'), status
    second = Batch(folder, 'run', '--socket=socket', 'jobs.json').wait()
    assert second.code == 255 and 'socket: Address already in use' in second.err, second
    waiter = Batch(folder, 'wait', 'socket')
    equal(ask(folder, 'cancel', 'socket', 'b').code, 0)
    done = batch.wait()
    equal(done.code, 1, done)
    assert 'job "b" cancelled: signal 15' in done.err and '1 succeeded, 1 cancelled, 1 skipped' in done.err, done
    heard = waiter.wait()
    assert heard.code in (1, 255), heard  # it may have asked when all was over
    assert not (folder / 'socket').exists()
    done = ask(folder, 'status', 'socket')
    assert done.code == 255 and 'socket: No such file' in done.err, done


@test
def a_job_that_waits_is_cancelled_before_it_starts(folder):
    batch = Batch(folder, 'run', '--socket=socket', '-j1', '-k', '--json=events', 'jobs.json',
                  jobs=[{'key': 'a', 'shell': NAP}, {'key': 'b', 'shell': 'echo never'}, {'key': 'c', 'shell': 'echo never', 'needs': ['b']},
                        {'key': 'd', 'shell': 'echo never', 'needs': ['a']}, {'key': 'e', 'shell': 'echo e'}])
    batch.written('up')
    for key in ('b', 'd'):
        equal(json.loads(ask(folder, 'cancel', 'socket', key).out), {'cancelled': key})
    for key, error in (('b', 'this job has ended already'), ('x', 'there is no such job')):
        done = ask(folder, 'cancel', 'socket', key)
        assert done.code == 1 and error in done.err, done
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(str(folder / 'socket'))
    waiting.sendall(b'{"do": "wait"}\n')
    equal(ask(folder, 'cancel', 'socket', 'a').code, 0)
    done = batch.wait()
    equal((done.code, done.out), (1, 'e\n'), done)
    for line in ('job "b" cancelled before it was started', 'job "c" skipped: it needs "b"', 'job "d" cancelled before', '1 succeeded, 3 cancelled, 1 skipped'):
        assert line in done.err, (line, done)
    answer = ''
    with waiting, contextlib.suppress(ConnectionResetError):  # all may have been over before it was heard
        answer = waiting.makefile().readline()
    assert not answer or json.loads(answer) == {'exit_code': 1}, answer


@test
def jobs_of_each_go_by_their_numbers_and_wrong_questions_are_refused(folder):
    (folder / 'socket').touch()
    refused = each(folder, '--socket=socket', 'echo', ':::', 'a')
    assert refused.code == 255 and 'socket: Address already in use' in refused.err, refused
    (folder / 'socket').unlink()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(folder / 'socket'))
    stale.close()
    batch = Batch(folder, 'each', '--socket=socket', '-j2', ': {}; echo up > up; exec sleep 600', ':::', 'x', 'y')
    until(lambda: len(json.loads(ask(folder, 'status', 'socket').out or '{"running": []}')['running']) == 2, 'both run')
    refused = Batch(folder, 'add', 'socket', '-', stdin='{"key": "a", "shell": "true"}').wait()
    assert refused.code == 1 and 'jobs of each come from its arguments' in refused.err, refused
    for text in (b'tea\n', b'{}\n', b'{"do": "dance"}\n', b'{"do": "cancel"}\n', b'[1]\n', b'{"do": {}}\n', b'{"do": null}\n'):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(folder / 'socket'))
            peer.sendall(text)
            assert 'error' in json.loads(peer.makefile().readline()), text
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(folder / 'socket'))
        with contextlib.suppress(ConnectionError):  # no line may be so long: it is not read to its end
            peer.sendall(b'x' * (5 << 20))
            equal(peer.makefile().read(), '')
    equal(ask(folder, 'cancel', 'socket', '1').code, 0)
    equal(ask(folder, 'cancel', 'socket', '2').code, 0)
    equal(ask(folder, 'cancel', 'socket').code, 255)
    done = batch.wait()
    equal(done.code, 0, done)
    assert 'job 1 (x) cancelled: signal 15' in done.err and '2 cancelled' in done.err, done
