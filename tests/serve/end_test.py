# SPDX-License-Identifier: Apache-2.0
"""end_test.py - how the program starts and ends"""
import contextlib
import json
import re
import signal
import socket
import subprocess
import tempfile
import threading

import harness
from harness import Server, WAIT_S, equal, test, until
from websocket_test import asynchronous, code_of, connect, frame, handshake


# F110
@test
@asynchronous
async def a_signal_drains(_):
    for number in (signal.SIGTERM, signal.SIGINT):
        with Server() as server:
            server.start(key='nap', kind='sleep', ms=3600000)
            server.start(key='sum', kind='primes', below=10**11)
            with server.peer() as idle, server.peer() as halfway:
                idle.send(b'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n')
                equal(idle.answer().status, 200)
                halfway.send(b'GET /hel')
                async with connect(server, 'ann') as ann:
                    server.process.send_signal(number)
                    equal(await code_of(ann), (1001, 'going away'))
                assert idle.closed() and halfway.closed()
            equal(server.wait(), 0)
            assert 'jobs: 2 ended, 0 of them failed, 0 stuck' in server.stderr(), server.stderr()
            assert 'users: 1 ended' in server.stderr(), server.stderr()


@test
def a_job_may_use_its_grace(_):
    with Server('--grace-ms=20000') as server:
        server.start(key='fault', kind='fail', ms=200)
        equal(server.end(), 0)
        assert 'jobs: 1 ended, 1 of them failed, 0 stuck' in server.stderr(), server.stderr()


@test
def while_it_drains_it_answers_but_starts_nothing(_):
    with Server('--grace-ms=3600000') as server, server.peer() as peer, server.peer() as other:
        server.start(key='nap', kind='sleep', ms=3600000)
        for one in (peer, other):
            one.send(b'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n')
            equal(one.answer().status, 200)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: 'draining' in ''.join(server.errors), 'it drains')
        until(lambda: refuses(server.port), 'the door is closed')
        peer.send(b'GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
        answer = peer.answer()
        equal((answer.status, answer.body, answer.headers['connection']), (503, b'draining\n', 'close'))
        body = b'{"kind": "sleep"}'
        other.send(b'POST /api/process HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
        equal(other.answer().status, 503)
        equal(server.end(signal.SIGTERM), 128 + signal.SIGTERM)


def refuses(port):
    with socket.socket() as probe:
        return probe.connect_ex(('127.0.0.1', port)) != 0


# F110
@test
def a_second_signal_ends_at_once(_):
    with Server('--grace-ms=3600000') as server:
        server.start(key='nap', kind='sleep', ms=3600000)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: 'draining' in ''.join(server.errors), 'it drains')
        equal(server.end(signal.SIGINT), 128 + signal.SIGINT)


# F110
@test
def what_does_not_end_in_time_is_named(_):
    with tempfile.NamedTemporaryFile() as log, Server('--drain-ms=1', '--log=' + log.name) as server, server.peer() as ann:
        ann.send(handshake(b'ann'))
        equal(ann.answer().status, 101)
        # for two seconds the user is waited for, who does not answer the close
        equal(server.end(), 1)
        assert re.search(r'users: \d+ ended, \d+ of them failed, 1 stuck ann\n', server.stderr()), server.stderr()
        assert 'not all has ended' in server.stderr(), server.stderr()
        lines = [json.loads(line) for line in log.read().splitlines()]
        equal([line['stuck'] for line in lines if line.get('map') == 'users'], [1])


@test
def peers_that_never_read_do_not_hold_up_the_end(_):
    with Server() as server, server.peer(receive_bytes=4096) as page, server.peer(receive_bytes=4096) as flood:
        for peer, data in ((page, b'GET / HTTP/1.1\r\nHost: x\r\n\r\n' * 100000),
                           (flood, handshake() + frame(9, b'x' * 125) * 100000)):
            peer.socket.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                peer.send(data)
        equal(server.end(), 0, server.stderr())


# F110
@test
def it_drains_under_load(_):
    with Server() as server:
        stop = threading.Event()

        def load(number):
            while not stop.is_set():
                try:
                    server.start(key=str(number % 3), kind='sleep', ms=5)
                    server.get('/hello')
                except (OSError, AssertionError, harness.http.client.HTTPException):
                    pass  # it is on its way out

        threads = [threading.Thread(target=load, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: server.counts()['requests'] > 200, 'the load is on')
        code = server.end()
        stop.set()
        for thread in threads:
            thread.join()
        equal(code, 0, server.stderr())


# F110
@test
def a_signal_before_the_start_is_not_lost(_):
    process = subprocess.Popen([harness.BINARY, '--port=0'], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=WAIT_S)
    equal(process.returncode, 0, err)


# F110
@test
def what_cannot_start_says_why(server):
    for options, code, word in (([f'--port={server.port}'], 1, 'Address already in use'),
                                (['--port=70000'], 64, 'from 0 to 65535'),
                                (['--address=192.0.2.1', '--port=0'], 1, 'cannot listen on 192.0.2.1'),
                                (['--tea'], 64, 'tea'), (['tea'], 64, 'tea')):
        done = subprocess.run([harness.BINARY, *options], capture_output=True, text=True, timeout=WAIT_S, check=False)
        equal(done.returncode, code, options)
        assert word in done.stderr, done.stderr


@test
def help_and_version_are_short(_):
    for option, word in (('--help', '--port'), ('--version', 'fibermap-serve')):
        done = subprocess.run([harness.BINARY, option], capture_output=True, text=True, timeout=WAIT_S, check=True)
        assert word in done.stdout, done.stdout
