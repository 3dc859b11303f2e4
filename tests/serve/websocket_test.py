# SPDX-License-Identifier: Apache-2.0
"""websocket_test.py - one connection per user, messages in their order, frames by the rules"""
import asyncio
import functools
import os
import struct
import time

import websockets

from harness import Server, WAIT_S, equal, test, until

KEY = b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
UPGRADE = b'Host: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n'
VERSION = b'Sec-WebSocket-Version: 13\r\n'


def asynchronous(function):
    """A test that awaits."""
    @functools.wraps(function)
    def run(server):
        asyncio.run(asyncio.wait_for(function(server), 2 * WAIT_S))
    return run


def connect(server, user, **options):
    options.setdefault('ping_interval', None)
    options.setdefault('max_size', None)
    return websockets.connect(f'ws://127.0.0.1:{server.port}/ws/{user}', **options)


async def call(function, *arguments, **options):
    """A blocking call beside the event loop, which may have a ping to answer."""
    return await asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *arguments, **options))


async def code_of(websocket):
    """How the server closes it."""
    await asyncio.wait_for(websocket.wait_closed(), WAIT_S)
    return websocket.close_code, websocket.close_reason


def users(server):
    return server.get('/api/fibers').json()['users']


@test
@asynchronous
async def what_a_user_sends_comes_back(server):
    async with connect(server, 'ann') as ann:
        for message in ('hello', '', 'é€𝄞', b'', b'\0\xff', 'x' * 65536, os.urandom(65536)):
            await ann.send(message)
            equal(await ann.recv(), message)
        await ann.send(['in ', 'three ', 'pieces'])
        equal(await ann.recv(), 'in three pieces')
        await asyncio.wait_for(await ann.ping(), WAIT_S)
    until(lambda: not users(server), 'ann has left')


@test
@asynchronous
async def a_message_is_delivered_at_once(server):
    async with connect(server, 'ann') as ann:
        equal([u['key'] for u in await call(users, server)], ['ann'])
        answer = await call(server.post, '/api/send/ann', 'hello, é'.encode())
        equal((answer.status, answer.json()), (200, {'user': 'ann', 'outcome': 'delivered'}))
        equal(await ann.recv(), 'hello, é')
        for number in range(300):
            await call(server.post, '/api/send/ann', str(number))
            equal(await ann.recv(), str(number))


@test
@asynchronous
async def messages_wait_in_order_for_a_user(server):
    for number in range(64):
        answer = await call(server.post, '/api/send/b%20b', str(number))
        equal((answer.status, answer.json()), (202, {'user': 'b b', 'outcome': 'queued'}))
    equal((await call(server.post, '/api/send/b%20b', 'one too many')).status, 429)
    async with connect(server, 'b%20b') as bob:
        equal([await bob.recv() for _ in range(64)], [str(n) for n in range(64)])
        equal((await call(server.post, '/api/send/b%20b', 'now')).json()['outcome'], 'delivered')
        equal(await bob.recv(), 'now')


@test
def what_cannot_be_a_message_is_refused(server):
    equal(server.post('/api/send/ann', b'\xff').status, 400)
    equal(server.post('/api/send/ann', b'x' * 65537).status, 413)
    equal(server.post('/api/send/', b'x').status, 400)
    with Server('--max-users=1') as other:
        equal(other.post('/api/send/ann', b'x').status, 202)
        equal(other.post('/api/send/bob', b'x').status, 503)


@test
@asynchronous
async def a_second_connection_replaces_the_first(server):
    async with connect(server, 'ann') as first:
        for _ in range(20):
            second = await connect(server, 'ann')
            equal(await code_of(first), (4000, 'replaced'))
            await call(server.post, '/api/send/ann', 'for the second')
            equal(await second.recv(), 'for the second')
            first = second
        equal(len(await call(users, server)), 1)
        await first.close()


# F107
@test
@asynchronous
async def of_many_at_once_one_connection_remains(server):
    all_of_them = await asyncio.gather(*(connect(server, 'ann') for _ in range(100)))
    pending = {asyncio.ensure_future(code_of(one)): one for one in all_of_them}
    while len(pending) > 1:
        done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_S)
        assert done, f'{len(pending)} remain'
        for task in done:
            equal(task.result(), (4000, 'replaced'))
            del pending[task]
    (task, last), = pending.items()
    await call(server.post, '/api/send/ann', 'you')
    equal(await last.recv(), 'you')
    await last.close()
    await task


# F107
@test
@asynchronous
async def messages_reach_one_connection_none_twice(server):
    """Connections come and go while messages are sent: those that are not lost with a connection come once, in order."""
    count, seen, stop = 300, [], asyncio.Event()

    async def listen():
        while not stop.is_set():
            websocket = await connect(server, 'ann')
            try:
                while True:
                    seen.append(int(await asyncio.wait_for(websocket.recv(), 0.02)))
            except (asyncio.TimeoutError, websockets.ConnectionClosed):
                await websocket.close()

    listener = asyncio.ensure_future(listen())
    for number in range(count):
        while (await call(server.post, '/api/send/ann', str(number))).status == 429:
            pass
    deadline = time.monotonic() + WAIT_S
    while (not seen or seen[-1] < count - 1) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
        # the very last may have been lost with a connection
        if not listener.done() and (await call(server.counts))['messages_sent'] and seen and seen[-1] < count - 1:
            await call(server.post, '/api/send/ann', str(count - 1))
    stop.set()
    await listener
    once = [n for n in seen if n != count - 1]
    equal(once, sorted(set(once)))
    assert len(once) > count // 2, f'{len(once)} of {count} arrived'


@test
@asynchronous
async def a_message_to_all_reaches_everybody_who_is_connected(_):
    with Server('--queue=1') as server:
        equal((await call(server.post, '/api/send', 'nobody hears it')).json(), {'delivered': 0, 'full': 0})
        await call(server.post, '/api/send/absent', 'waits')
        async with connect(server, 'ann') as ann, connect(server, 'b%20b') as bob:
            equal((await call(server.get, '/api/users')).json(),
                  {'connected': 2, 'users': [{'user': 'absent', 'connected': False, 'waiting': 1},
                                             {'user': 'ann', 'connected': True, 'waiting': 0},
                                             {'user': 'b b', 'connected': True, 'waiting': 0}]})
            for text in ('to all, é', ''):
                answer = await call(server.post, '/api/send', text.encode())
                equal((answer.status, answer.json()), (200, {'delivered': 2, 'full': 0}))
                equal([await ann.recv(), await bob.recv()], [text, text])
            equal((await call(server.post, '/api/send', b'\xff')).status, 400)
            equal((await call(server.post, '/api/send', b'x' * 65537)).status, 413)
        async with connect(server, 'absent') as absent:
            equal(await absent.recv(), 'waits')
        until(lambda: server.get('/api/users').json() == {'connected': 0, 'users': []}, 'nobody is left')


@test
@asynchronous
async def a_message_waits_so_long_and_no_longer(_):
    with Server('--queue-ms=100', '--max-users=2') as server:
        for user in ('ann', 'ann', 'bob'):
            await call(server.post, f'/api/send/{user}', 'old')
        # as long as ann and bob have places there is none for cid
        until(lambda: server.post('/api/send/cid', 'new').status == 202, 'what has waited too long gives way')
        until(lambda: server.get('/api/users').json()['users'] == [], 'all is forgotten')
        async with connect(server, 'ann') as ann:
            await ann.send('nothing came before')
            equal(await ann.recv(), 'nothing came before')
        assert b'fibermap_messages_expired_total' in (await call(server.get, '/metrics')).body


@test
@asynchronous
async def compression_that_is_offered_is_not_taken(server):
    async with connect(server, 'ann', compression='deflate') as ann:
        equal(ann.extensions, [])
        await ann.send('x' * 1000)
        equal(await ann.recv(), 'x' * 1000)


# F104
@test
@asynchronous
async def a_message_too_large_closes(server):
    async with connect(server, 'ann') as ann:
        await ann.send('x' * 65537)
        equal((await code_of(ann))[0], 1009)
    async with connect(server, 'ann') as ann:
        await ann.send(['x' * 1000] * 66)
        equal((await code_of(ann))[0], 1009)


@test
@asynchronous
async def who_answers_pings_stays_and_who_does_not_leaves(_):
    with Server('--ping-ms=100', '--pong-ms=900') as server:
        async with connect(server, 'ann') as ann, connect(server, 'bob') as bob:
            bob.transport.pause_reading()  # and so never sees a ping
            while len(await call(users, server)) == 2:
                await asyncio.sleep(0.01)
            equal([u['key'] for u in await call(users, server)], ['ann'])
            await ann.send('still here')
            equal(await ann.recv(), 'still here')
            bob.transport.abort()


# ---- frames by hand ----

def frame(opcode, payload=b'', fin=1, reserved=0, masked=True, length=None):
    head = bytes([fin << 7 | reserved << 4 | opcode])
    size = len(payload) if length is None else length
    bit = 0x80 if masked else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack('>H', size)
    else:
        head += bytes([bit | 127]) + struct.pack('>Q', size)
    mask = b'\1\2\3\4'
    if not masked:
        return head + payload
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def close(code, reason=b''):
    return frame(8, struct.pack('>H', code) + reason)


def handshake(user=b'raw', headers=UPGRADE + KEY + VERSION):
    return b'GET /ws/' + user + b' HTTP/1.1\r\n' + headers + b'\r\n'


def read_frame(peer):
    """(opcode, payload) of a frame from the server, which never masks."""
    first, second = peer.take(2)
    size = second & 127
    if size == 126:
        size, = struct.unpack('>H', peer.take(2))
    elif size == 127:
        size, = struct.unpack('>Q', peer.take(8))
    assert not second & 128, 'masked'
    return first & 15, peer.take(size)


def read_close(peer):
    """The code of the close frame that ends the stream."""
    while True:
        opcode, payload = read_frame(peer)
        if opcode == 8:
            assert not peer.buffer, 'something behind the close'
            return struct.unpack('>H', payload[:2])[0] if payload else None


# What comes after the handshake, and the code with which the server closes.
BROKEN = {
    'unmasked': (1002, frame(1, b'x', masked=False)),
    'a reserved bit': (1002, frame(1, b'x', reserved=4)),
    'another reserved bit': (1002, frame(2, b'x', reserved=1)),
    'reserved opcode 3': (1002, frame(3)),
    'reserved opcode 15': (1002, frame(15)),
    'a ping in pieces': (1002, frame(9, b'x', fin=0)),
    'a long ping': (1002, frame(9, b'x' * 126)),
    'a continuation of nothing': (1002, frame(0, b'x')),
    'a text within a text': (1002, frame(1, b'x', fin=0) + frame(1, b'y')),
    'bad UTF-8': (1007, frame(1, b'\xff')),
    'bad UTF-8 across frames': (1007, frame(1, b'\xe2\x82', fin=0) + frame(0, b'\x28')),
    'UTF-8 cut off': (1007, frame(1, b'\xe2\x82')),
    'a surrogate': (1007, frame(1, b'\xed\xa0\x80')),
    'bad UTF-8 at once': (1007, frame(1, b'\xff' * 8, length=60000)),
    'length 2^63 - 1': (1009, frame(2, b'x', length=2**63 - 1)),
    'length 2^64 - 1': (1002, frame(2, b'x', length=2**64 - 1)),
    'a 16-bit length that is not minimal': (1002, b'\x82\xfe\x00\x05\1\2\3\4abcde'),
    'a 64-bit length that is not minimal': (1002, b'\x82\xff' + struct.pack('>Q', 5) + b'\1\2\3\4abcde'),
    'a message of 2000 pieces': (1008, frame(2, b'', fin=0) + frame(0, b'', fin=0) * 2000),
    'close with one byte': (1002, frame(8, b'\3')),
    'close 0': (1002, close(0)),
    'close 999': (1002, close(999)),
    'close 1004': (1002, close(1004)),
    'close 1005': (1002, close(1005)),
    'close 1006': (1002, close(1006)),
    'close 1016': (1002, close(1016)),
    'close 2999': (1002, close(2999)),
    'close with a reason that is not UTF-8': (1007, close(1000, b'\xff')),
    'close 1000': (1000, close(1000, b'bye')),
    'close 3000': (3000, close(3000)),
    'close 4999': (4999, close(4999)),
    'close without a code': (None, frame(8)),
    'data behind a close': (1000, close(1000) + frame(1, b'x')),
}


# F104, F105
@test
def broken_frames_close_with_the_code_of_the_rfc(server):
    for name, (code, data) in BROKEN.items():
        for step in (None, 1):
            with server.peer() as peer:
                peer.send(handshake())
                equal(peer.answer().status, 101)
                peer.send(data, step)
                equal(read_close(peer), code, f'{name}, step {step}')
    until(lambda: not users(server), 'nobody is left')


# F103
@test
def frames_may_come_with_the_handshake_and_behind_other_requests(server):
    hello = b'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n'
    with server.peer() as peer:
        peer.send(hello + handshake() + frame(1, b'early') + frame(9, b'ping') + close(1000))
        equal(peer.answer().status, 200)
        answer = peer.answer()
        equal((answer.status, answer.headers['sec-websocket-accept']), (101, 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='))
        equal(sorted([read_frame(peer), read_frame(peer)]), [(1, b'early'), (10, b'ping')])
        equal(read_close(peer), 1000)
        assert peer.closed()


@test
def a_handshake_that_is_none_is_refused(server):
    for status, headers in ((426, b'Host: x\r\n'), (426, UPGRADE + KEY), (426, UPGRADE + KEY + b'Sec-WebSocket-Version: 8\r\n'),
                            (400, UPGRADE + VERSION), (400, UPGRADE + VERSION + b'Sec-WebSocket-Key: short\r\n'),
                            (400, UPGRADE + VERSION + KEY + KEY), (403, UPGRADE + VERSION + KEY + b'Origin: http://y\r\n')):
        with server.peer() as peer:
            peer.send(handshake(headers=headers))
            equal(peer.answer().status, status, headers)
    with server.peer() as peer:
        peer.send(handshake(headers=UPGRADE + VERSION + KEY + b'Origin: http://x\r\n'))
        equal(peer.answer().status, 101)


# F106
@test
def a_flood_of_pings_that_is_never_read_is_held_back(_):
    with Server('--send-ms=300') as server, server.peer(receive_bytes=4096) as peer:
        peer.send(handshake())
        peer.socket.settimeout(0.2)
        ping = frame(9, b'x' * 125) * 1000
        sent = 0
        try:
            while sent < 100 << 20:
                sent += peer.socket.send(ping)
        except OSError:
            pass
        assert sent < 100 << 20, 'the server never stops reading'
        until(lambda: not users(server), 'the peer is given up')
