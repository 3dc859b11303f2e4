# SPDX-License-Identifier: Apache-2.0
"""add_test.py - jobs that come to a batch that runs"""
import contextlib
import json
import os
import signal
import socket

from harness import Batch, ask, equal, lines, marked, test, until

GATE = {'key': 'gate', 'shell': 'echo up > up; until test -e go; do sleep 0.01; done'}


def start(folder, *jobs, options=('-j4',)):
    """A batch that runs until there is a file `go`, or what else its jobs wait for."""
    batch = Batch(folder, 'run', '--socket=socket', *options, 'jobs.json', jobs=[GATE, *jobs])
    batch.written('up')
    return batch


def add(folder, *jobs):
    """Its exit code, what it said, and its complaint."""
    done = Batch(folder, 'add', 'socket', '-', stdin='\n'.join(job if isinstance(job, str) else json.dumps(job) for job in jobs)).wait()
    return done.code, json.loads(done.out or '{}'), done.err


def status(folder):
    return json.loads(ask(folder, 'status', 'socket').out)


@test
def jobs_come_while_others_run_and_need_those_that_were_there(folder):
    note = 'echo {0} >> order'
    batch = start(folder, {'key': 'a', 'shell': note.format('a')}, {'key': 'bad', 'shell': 'exit 1'}, {'key': 'late', 'shell': note.format('late'), 'needs': ['gate']})
    until(lambda: status(folder)['succeeded'] and status(folder)['failed'], 'a and bad have ended')
    equal(add(folder, {'key': 'c', 'shell': note.format('c'), 'needs': ['b', 'late']}, {'key': 'b', 'shell': note.format('b') + '; echo > b', 'needs': ['a']}),
          (0, {'added': ['c', 'b']}, ''))
    batch.written('b')
    equal(add(folder, {'key': 'd', 'shell': note.format('d'), 'needs': ['c']}, {'key': 'e', 'shell': 'echo never', 'needs': ['bad']},
              {'key': 'f', 'shell': 'echo never', 'needs': ['e']})[:2], (0, {'added': ['d', 'e', 'f']}))
    (folder / 'go').touch()
    done = batch.wait()
    equal((done.code, done.out, lines((folder / 'order').read_text())), (1, '', ['a', 'b', 'late', 'c', 'd']), done)
    assert 'job "e" skipped: it needs "bad"' in done.err and '9 jobs: 6 succeeded, 1 failed, 2 skipped' in done.err, done


@test
def many_may_add_at_once(folder):
    batch = start(folder, options=('-j4', '--journal=journal'))
    (folder / 'more.json').write_text('{"key": "same", "shell": "echo same >> ran", "conflict": "queue"}\n')
    clients = [Batch(folder, 'add', 'socket', 'more.json') for _ in range(8)]
    for client in clients:
        equal(client.wait().code, 0)
    (folder / 'go').touch()
    done = batch.wait()
    equal((done.code, (folder / 'ran').read_text()), (0, 'same\n' * 8), done)


@test
def who_needs_a_key_that_is_being_replaced_needs_the_new_one(folder):
    slow = "trap 'until test -e die; do sleep 0.01; done; exit 0' TERM; echo a > a1; while :; do sleep 0.01; done"
    serve = {'key': 's', 'shell': 'exec sleep 600', 'restart': 'transient'}
    batch = start(folder, {'key': 'a', 'shell': slow}, serve, {'key': 'w', 'shell': 'echo w > w; until test -e go; do sleep 0.01; done', 'needs': ['s']})
    batch.written('a1')
    equal(add(folder, {'key': 'a', 'shell': 'echo a2 >> order', 'conflict': 'replace'})[:2], (0, {'replaced': ['a']}))
    equal(add(folder, {'key': 'd', 'shell': 'echo d >> order; echo > d', 'needs': ['a']})[:2], (0, {'added': ['d']}))
    (folder / 'die').touch()
    batch.written('d')
    equal((folder / 'order').read_text(), 'a2\nd\n')
    batch.written('w')
    equal(add(folder, {**serve, 'conflict': 'replace'}, {'key': 'e', 'shell': 'echo > e', 'needs': ['s']})[:2], (0, {'replaced': ['s'], 'added': ['e']}))
    batch.written('e')
    (folder / 'go').touch()
    done = batch.wait()
    equal(done.code, 0, done)
    assert 'not run' not in done.err, done


@test
def a_service_that_is_wanted_again_needs_who_has_come_in_the_place_of_another(folder):
    serve = {'shell': 'exec sleep 600', 'restart': 'transient'}
    batch = start(folder, {'key': 'x', **serve}, {'key': 's', **serve, 'needs': ['x']}, {'key': 'd', 'shell': 'true', 'needs': ['s']})
    until(lambda: [service['state'] for service in status(folder)['services']] == ['stopped', 'stopped'], 'nobody needs them')
    equal(add(folder, {'key': 'x', **serve})[:2], (0, {'added': ['x']}))
    equal(add(folder, {'key': 'e', 'shell': 'echo > e', 'needs': ['s']})[:2], (0, {'added': ['e']}))
    batch.written('e')
    (folder / 'go').touch()
    done = batch.wait()
    equal(done.code, 0, done)


@test
def a_pattern_that_is_nested_deep_is_refused_and_the_batch_goes_on(folder):
    batch = start(folder)
    for job in ({'restart': 'temporary', 'shell': 'true', 'ready': {'line': '(' * 2000 + 'x' + ')' * 2000}},
                {'call': 'grep', 'path': 'x', 'pattern': '(' * 2000 + 'x' + ')' * 2000}):
        code, _, complaint = add(folder, {'key': 'deep', **job})
        assert code and 'job "deep"' in complaint, (code, complaint)
    equal(add(folder, {'key': 's', 'restart': 'temporary', 'shell': 'echo x; exec sleep 600', 'ready': {'line': '(' * 32 + 'x' + ')' * 32}})[:2], (0, {'added': ['s']}))
    (folder / 'go').touch()
    done = batch.wait()
    equal(done.code, 0, done)


@test
def what_is_wrong_is_refused_whole_with_its_place(folder):
    batch = start(folder, {'key': 's', 'shell': 'exec sleep 600', 'restart': 'transient'}, {'key': 'w', 'shell': 'true', 'needs': ['gate']})
    fine = '{"key": "fine", "shell": "touch ran"}\n'
    for text, words in (('{"key": "a", "shel": "x"}', 'standard input:2:1: job "a": there is no field "shel"'),
                        ('{"key": ', 'standard input:2:1: this object is not closed'),
                        ('{"key": "a", "shell": "x", "needs": ["z"]}', 'standard input:2:1: job "a" needs "z", which there is not'),
                        ('{"key": "fine", "shell": "x"}', 'standard input:2:1: job "fine" is there twice, first at 1:1'),
                        (' {"key": "w", "shell": "x"}', 'standard input:2:2: job "w" is there already, from 3:1 of the file'),
                        ('{"key": "s", "shell": "x", "conflict": "queue"}', '2:1: job "s" is queued behind a service, which ends last, from 2:1 of the file'),
                        ('{"key": "a", "shell": "x", "needs": ["b"]}{"key": "b", "shell": "x", "needs": ["a"]}', 'these jobs wait for each other: "'),
                        ('{"key": "gate", "shell": "x", "needs": ["w"], "conflict": "replace"}', 'these jobs wait for each other: "'),
                        ('{"key": "a", "shell": "x", "resources": {"gpu": 1}}', 'standard input:2:1: job "a" wants of "gpu", which there is not'),
                        ('{"key": "a", "shell": "x", "rate": "api"}', 'standard input:2:1: job "a" has the rate "api", which there is not')):
        code, said, error = add(folder, fine + text)
        equal((code, said), (1, {}), text)
        assert words in error, (words, error)
    for words, error in ((['replace', 'socket', 'none'], 'there is no such job'), (['add', 'socket', 'none'], 'none: No such file'),
                         (['add', 'socket'], 'usage: batch add SOCKET FILE'), (['replace', 'socket', 'w', 'jobs.json'], 'takes one job, with this key')):
        done = Batch(folder, *words).wait()
        assert done.code and error in done.err, done
    equal(status(folder)['jobs'], 3)
    (folder / 'go').touch()
    done = batch.wait()
    equal(done.code, 0, done)
    assert not (folder / 'ran').exists() and '3 jobs: 2 succeeded, 1 stopped' in done.err, done


@test
def a_key_that_is_held_is_treated_as_the_job_says(folder):
    batch = start(folder, {'key': 'a', 'shell': 'echo a1 > a1; exec sleep 600'}, {'key': 'b', 'shell': 'echo b >> order', 'needs': ['a']},
                  {'key': 'q', 'shell': 'echo q1 >> order; exit 1', 'needs': ['gate']}, options=('-j4', '-v', '-k'))
    batch.written('a1')
    again = {'key': 'a', 'shell': 'echo a2 >> order'}
    for policy, said in (('keep', 'kept'), ('join', 'kept'), ('replace', 'replaced')):
        equal(add(folder, {**again, 'conflict': policy})[:2], (0, {said: ['a']}))
    until(lambda: (folder / 'order').exists() and lines((folder / 'order').read_text()) == ['a2', 'b'], 'b has waited for the other a')
    equal(add(folder, {'key': 'q', 'shell': 'echo q2 >> order', 'conflict': 'queue'}, {'key': 'a', 'shell': 'echo a3 >> order', 'needs': ['q']})[:2],
          (0, {'queued': ['q'], 'added': ['a']}))
    (folder / 'go').touch()
    done = batch.wait()
    equal((done.code, lines((folder / 'order').read_text())), (1, ['a2', 'b', 'q1', 'q2']), done)
    assert 'job "a" replaced: signal 15' in done.err and 'job "a" skipped: it needs "q"' in done.err, done
    assert '7 jobs: 4 succeeded, 1 failed, 1 skipped, 1 replaced' in done.err, done


@test
def who_is_being_stopped_still_holds_its_key_but_for_who_joins(folder):
    batch = start(folder, {'key': 'a', 'shell': 'trap "until test -e go; do sleep 0.01; done; exit" TERM; echo > a; sleep 600 & wait'},
                  options=('-j4', '--grace=60'))
    batch.written('a')
    equal(ask(folder, 'cancel', 'socket', 'a').code, 0)
    again = {'key': 'a', 'shell': 'echo again'}
    for policy, said in (('keep', 'kept'), ('join', 'queued')):
        equal(add(folder, {**again, 'conflict': policy})[:2], (0, {said: ['a']}))
    (folder / 'go').touch()
    done = batch.wait()
    equal((done.code, done.out), (1, 'again\n'), done)
    assert '3 jobs: 2 succeeded, 1 cancelled' in done.err, done


@test
def replace_runs_a_job_or_a_service_again(folder):
    batch = start(folder, {'key': 's', 'shell': 'trap "echo -s >> log; exit" TERM; echo +s >> log; echo up; sleep 600 & wait', 'restart': 'permanent',
                           'ready': {'line': 'up', 'interval': '5ms'}},
                  {'key': 'w', 'shell': 'echo old', 'needs': ['gate', 's']}, options=('-j1', '-k', '--grace=60'))
    until(lambda: [s['state'] for s in status(folder)['services']] == ['ready'], 's is up')
    equal(ask(folder, 'replace', 'socket', 's').code, 0)
    until(lambda: [s['state'] for s in status(folder)['services']] == ['replaced', 'ready'], 'the new s is up')
    equal(lines((folder / 'log').read_text()), ['+s', '-s', '+s'])
    (folder / 'w.json').write_text('{"key": "w", "shell": "cat log", "needs": ["s", "gate"]}')
    equal(json.loads(ask(folder, 'replace', 'socket', 'w', 'w.json').out), {'replaced': ['w']})
    (folder / 'go').touch()
    done = batch.wait()
    equal((done.code, [line for line in lines(done.out) if line != 'up']), (0, ['+s', '-s', '+s']), done)
    assert 'job "w" replaced before it was started' in done.err and '2 succeeded, 1 stopped, 2 replaced' in done.err, done


@test
def after_a_kill_what_came_is_run_and_what_was_replaced_is_not(folder):
    wait = 'echo {0} > {0}; test -e go || exec sleep 600; echo {0} >> order'
    mark = {'env': {'MARK': str(folder)}}
    batch = start(folder, {'key': 'a', 'shell': wait.format('a'), **mark}, {'key': 'b', 'shell': 'echo b >> order', 'needs': ['a']},
                  options=('-j4', '--journal=journal'))
    batch.written('a')
    equal(add(folder, {'key': 'a', 'shell': wait.format('new'), 'conflict': 'replace', **mark}, {'key': 's', 'shell': 'exec sleep 600', 'restart': 'transient', **mark},
              {'key': 'c', 'shell': wait.format('c'), 'needs': ['s'], **mark})[:2], (0, {'replaced': ['a'], 'added': ['s', 'c']}))
    for name in ('new', 'c'):
        batch.written(name)
    batch.signal(signal.SIGKILL)
    batch.wait()
    until(lambda: not marked(folder), 'they are gone')
    (folder / 'go').touch()
    done = Batch(folder, 'resume', '-j1', 'journal').wait()
    equal(done.code, 0, done)
    equal(sorted(lines((folder / 'order').read_text())), ['b', 'c', 'new'])
    order = lines((folder / 'order').read_text())
    assert order.index('new') < order.index('b') and '4 succeeded, 1 stopped, 1 replaced' in done.err, done
    equal(Batch(folder, 'resume', 'journal').wait().code, 0)
    equal(lines((folder / 'order').read_text()), order)


@test
def a_service_that_was_stopped_comes_back_for_who_needs_it(folder):
    batch = start(folder, {'key': 's', 'shell': 'echo +s >> log; echo up; exec sleep 600', 'restart': 'transient', 'ready': {'line': 'up', 'interval': '5ms'}},
                  {'key': 'a', 'shell': 'true', 'needs': ['s']})
    until(lambda: status(folder)['stopped'] == 1, 's is not needed any more')
    equal(add(folder, {'key': 'b', 'shell': 'cat log', 'needs': ['s']})[:2], (0, {'added': ['b']}))
    until(lambda: status(folder)['succeeded'] == 2 and status(folder)['stopped'] == 1, 'b has ended, and s')
    (folder / 'go').touch()
    done = batch.wait()
    equal((done.code, done.out.count('+s')), (0, 2), done)


@test
def who_asks_wrongly_or_says_nothing_disturbs_nobody(folder):
    batch = start(folder)
    with contextlib.ExitStack() as stack:
        for text in (b'', b'{"do": "add", "jobs": "'):  # they never end their line
            stuck = stack.enter_context(socket.socket(socket.AF_UNIX))
            stuck.connect(str(folder / 'socket'))
            stuck.sendall(text)
        for text, words in ((b'{"do": "status", "version": 2}', 'it speaks version 1'), (b'{"do": "add"}', 'add wants jobs'),
                            (b'{"do": "replace"}', 'replace wants a key'), (b'{"do": "add", "jobs": 1}', 'add wants jobs')):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(str(folder / 'socket'))
                peer.sendall(text + b'\n')
                assert words in json.loads(peer.makefile().readline())['error'], text
        if os.geteuid() == 0:  # the mode may be changed by hand: others are not heard all the same
            os.chmod(folder, 0o711)
            os.chmod(folder / 'socket', 0o666)
            ours, theirs = os.pipe()
            if not (child := os.fork()):
                with contextlib.suppress(OSError):
                    os.setuid(65534)
                    with socket.socket(socket.AF_UNIX) as peer:
                        peer.connect(str(folder / 'socket'))
                        with contextlib.suppress(BrokenPipeError):
                            peer.sendall(b'{"do": "status"}\n')
                        heard = b''
                        with contextlib.suppress(ConnectionResetError):
                            heard = peer.recv(1)
                        os.write(theirs, b'heard' if heard else b'nothing')
                os._exit(0)
            os.close(theirs)
            os.waitpid(child, 0)
            assert os.read(ours, 16) in (b'nothing', b''), 'nothing, or it could not become another user'
            os.close(ours)
        (folder / 'go').touch()
        done = batch.wait()
    equal(done.code, 0, done)
