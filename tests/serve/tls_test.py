# SPDX-License-Identifier: Apache-2.0
"""tls_test.py - what is said over TLS arrives as it was said, and who does not speak it is not answered"""
import asyncio
import atexit
import contextlib
import functools
import json
import os
import ssl
import subprocess
import tempfile

import websockets

import harness
from harness import Peer, Server, WAIT_S, equal, test, until
from jobs_test import job_request
from stream_test import CHUNKED, DIGEST, chunk, digest, head, whole
from websocket_test import asynchronous, call

HELLO = b'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n'


@functools.cache
def certificate():
    """A file with a key and a certificate for 127.0.0.1, and a context that trusts it; both for as long as the tests run."""
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    path = os.path.join(directory.name, 'both.pem')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', path,
                    '-out', path + '.crt', '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'],
                   capture_output=True, timeout=WAIT_S, check=True)
    with open(path, 'ab') as both, open(path + '.crt', 'rb') as chain:
        both.write(chain.read())
    return path, ssl.create_default_context(cafile=path + '.crt')


@contextlib.contextmanager
def secure(*options):
    path, context = certificate()
    with Server('--tls-cert=' + path, *options, scheme='https') as server:
        yield server, context


def peer(server, context):
    plain = Peer(server.port)
    plain.socket = context.wrap_socket(plain.socket, server_hostname='127.0.0.1', suppress_ragged_eofs=False)
    return plain


@test
def requests_are_answered_over_tls(_):
    with secure('--rate=100000') as (server, context):
        with peer(server, context) as one:
            equal(one.socket.version(), 'TLSv1.3')
            one.send(HELLO * 100)
            equal({one.answer().body for _ in range(100)}, {b'hello\n'})
            body = json.dumps({'key': 'big', 'kind': 'hash', 'pad': 'x' * 900000}).encode()
            one.send(b'POST /api/process HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
            equal(one.answer().status, 202)
            one.send(whole(DIGEST, body * 3))
            equal(one.answer().json(), digest(body * 3))
            one.send(b'GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
            equal(one.answer().status, 404)
            assert one.closed(), 'it takes its leave'
        equal(server.curl('--cacert', certificate()[0], '-w', '%{http_version}', f'{server.url}/hello'), b'hello\n1.1')


@test
@asynchronous
async def websockets_and_events_work_over_tls(_):
    with secure() as (server, context):
        url = f'wss://127.0.0.1:{server.port}/ws/ann'
        async with websockets.connect(url, ssl=context, ping_interval=None) as ann:
            for message in ('hello', 'x' * 60000):
                await ann.send(message)
                equal(await ann.recv(), message)
            async with websockets.connect(url, ssl=context, ping_interval=None) as second:
                await asyncio.wait_for(ann.wait_closed(), WAIT_S)
                equal(ann.close_code, 4000)
                await second.send('still here')
                equal(await second.recv(), 'still here')
        await call(events_come, server, context)


def events_come(server, context):
    with peer(server, context) as listening, peer(server, context) as starting:
        listening.send(HELLO.replace(b'/hello', b'/api/events/nap'))
        equal(listening.head()[1]['transfer-encoding'], 'chunked')
        starting.send(job_request(key='nap', kind='sleep', ms=0))
        equal(starting.answer().status, 202)
        equal([listening.chunk().split(b'\n')[1] for _ in range(2)], [b'event: started', b'event: ended'])


class Shaking:
    """A client that shakes hands with a server step by step, over bytes in memory."""

    def __init__(self, server, context):
        self.peer, self.input, self.output = Peer(server.port), ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.input, self.output, server_hostname='127.0.0.1')

    def step(self, function, *arguments):
        """Until it is done; what it has to say goes out byte by byte."""
        while True:
            try:
                done = function(*arguments)
            except ssl.SSLWantReadError:
                done = None
            for byte in self.output.read():
                self.peer.send(bytes([byte]))
            if done is not None:
                return done
            assert self.peer.more(), 'closed'
            self.input.write(self.peer.take(len(self.peer.buffer)))


@test
def a_handshake_may_come_byte_by_byte_while_others_are_slow(_):
    with secure('--header-ms=600000') as (server, context):
        slow = [Shaking(server, context) for _ in range(20)]
        for one in slow:
            with contextlib.suppress(ssl.SSLWantReadError):
                one.tls.do_handshake()
            one.hello = one.output.read()
            one.peer.send(one.hello[:len(one.hello) // 2])
        with Peer(server.port) as plain:
            one = Shaking(server, context)
            one.step(lambda: one.tls.do_handshake() or True)
            one.step(one.tls.write, HELLO)
            assert one.step(one.tls.read, 1000).endswith(b'\r\n\r\nhello\n')
            one.peer.socket.close()
            plain.send(slow[0].hello)
            assert plain.more(), 'and so it is with a whole one'
        for one in slow[1:]:
            one.peer.send(one.hello[len(one.hello) // 2:])
            one.step(lambda one=one: one.tls.do_handshake() or True)
        for one in slow:
            one.peer.socket.close()


@test
def a_handshake_that_does_not_end_in_time_is_given_up(_):
    with secure('--header-ms=100') as (server, context):
        one = Shaking(server, context)
        with contextlib.suppress(ssl.SSLWantReadError):
            one.tls.do_handshake()
        hello = one.output.read()
        for cut in (1, 5, len(hello) // 2, len(hello) - 1):
            with Peer(server.port) as halfway, contextlib.suppress(ConnectionResetError):
                halfway.send(hello[:cut])
                assert not halfway.more(), cut
        one.peer.socket.close()


@test
def large_bodies_are_streamed_over_tls_and_slow_readers_held_back(_):
    body = bytes(range(256)) * (5 << 11)
    parts = b''.join(chunk(body[at:at + 70000]) for at in range(0, len(body), 70000))
    with secure('--send-ms=200') as (server, context):
        with peer(server, context) as one:
            # a large body is sent from beside: not from another thread, for OpenSSL's objects are for one
            one.send(whole(DIGEST, body) + head(DIGEST, CHUNKED) + parts + b'0\r\n\r\n' + HELLO)
            equal([one.answer().json() for _ in range(2)], [digest(body)] * 2)
            equal(one.answer().body, b'hello\n')
        with peer(server, context) as asking, Peer(server.port, receive_bytes=4096) as plain:
            plain.socket = context.wrap_socket(plain.socket, server_hostname='127.0.0.1')
            plain.socket.settimeout(0.2)
            with contextlib.suppress(OSError):
                while True:
                    plain.socket.send(HELLO.replace(b'/hello', b'/') * 1000)

            def connections():
                asking.send(HELLO.replace(b'/hello', b'/api/stats'))
                return asking.answer().json()['server']['connections']

            until(lambda: connections() == 1, 'who reads nothing is given up')


@test
def who_does_not_speak_tls_is_not_answered(_):
    with secure('--header-ms=100') as (server, _context), Peer(server.port) as silent:
        assert not silent.more(), 'a handshake has its time'
    with secure() as (server, context):
        with Peer(server.port) as plain:
            plain.send(HELLO)
            with contextlib.suppress(ConnectionResetError):
                while plain.more():
                    pass
            assert b'HTTP/1.1' not in plain.buffer, plain.buffer
        offer = ssl.create_default_context()
        offer.check_hostname, offer.verify_mode = False, ssl.CERT_NONE
        offer.set_alpn_protocols(['h2'])
        with Peer(server.port) as modern:
            try:
                offer.wrap_socket(modern.socket)
                raise AssertionError('h2 is not spoken here')
            except (ssl.SSLError, ConnectionResetError):
                pass
        with peer(server, context) as good:
            good.send(HELLO)
            equal(good.answer().status, 200)


@test
def a_client_that_vanishes_leaves_nothing_behind(_):
    with secure() as (server, context), peer(server, context) as asking:
        def connections():
            asking.send(b'GET /api/stats HTTP/1.1\r\nHost: x\r\n\r\n')
            return asking.answer().json()['server']['connections']

        for _ in range(5):
            with peer(server, context) as gone:
                gone.send(HELLO[:10])
        until(lambda: connections() == 1, 'only the asking connection is left')


@test
def it_drains_with_open_connections(_):
    with secure() as (server, context), peer(server, context) as idle, Peer(server.port) as halfway:
        idle.send(HELLO)
        equal(idle.answer().status, 200)
        halfway.send(b'\x16\x03\x01')
        server.process.terminate()
        assert idle.closed()
        idle.socket.close()
        equal(server.wait(), 0, server.stderr())


@test
def a_certificate_that_is_none_is_refused(_):
    with tempfile.NamedTemporaryFile() as empty:
        for options in (['--tls-cert=' + empty.name], ['--tls-cert=/no/such/file']):
            done = subprocess.run([harness.BINARY, '--port=0', *options], capture_output=True, text=True, timeout=WAIT_S, check=False)
            equal(done.returncode, 1, done.stderr)
            assert 'cannot read certificate and key' in done.stderr, done.stderr
