# SPDX-License-Identifier: Apache-2.0
"""stream_test.py - bodies that are read, and answers that are sent, piece by piece"""
import hashlib
import json
import signal
import socket
import threading
import time

from harness import Server, WAIT_S, equal, test, until

HOST = b'Host: localhost\r\n'
HELLO = b'GET /hello HTTP/1.1\r\n' + HOST + b'\r\n'
CHUNKED = b'Transfer-Encoding: chunked\r\n'
DIGEST = b'/api/digest'
LINES = b'/api/process/lines'


def head(path, headers=b'', version=b'HTTP/1.1'):
    return b'POST ' + path + b' ' + version + b'\r\n' + HOST + headers + b'\r\n'


def whole(path, body, version=b'HTTP/1.1', more=b''):
    return head(path, b'Content-Length: %d\r\n' % len(body) + more, version) + body


def chunk(data):
    return b'%x\r\n%s\r\n' % (len(data), data)


def digest(body):
    return {'bytes': len(body), 'sha256': hashlib.sha256(body).hexdigest()}


def lines(data):
    return [json.loads(line) for line in data.splitlines()]


def sending(peer, data):
    """A thread that sends, so that the answer can be read meanwhile."""
    thread = threading.Thread(target=peer.send, args=(data,))
    thread.start()
    return thread


@test
def a_body_larger_than_any_that_is_held_is_read_as_it_comes(server):
    body = bytes(range(256)) * (5 << 12)
    parts = b''.join(chunk(body[at:at + 70000]) for at in range(0, len(body), 70000))
    with server.peer() as peer:
        for data in (whole(DIGEST, body), head(DIGEST, CHUNKED) + parts + b'0\r\nX: y\r\n\r\n'):
            thread = sending(peer, data + HELLO)
            answer = peer.answer()
            equal((answer.status, answer.json()), (200, digest(body)))
            equal(peer.answer().body, b'hello\n', 'and the connection goes on')
            thread.join()
    equal(server.post('/api/send/nobody', b'x' * ((1 << 20) + 1)).status, 413)


@test
def a_streamed_body_may_be_cut_at_any_byte(server):
    data = head(DIGEST, CHUNKED) + chunk(b'foo') + b'2;a=b\r\nba\r\n' + chunk(b'r') + b'0\r\n\r\n' + HELLO
    with server.peer() as peer:
        for step in (1, 2, 3, 5, 7, None):
            peer.send(data, step)
            equal(peer.answer().json(), digest(b'foobar'), f'step {step}')
            equal(peer.answer().body, b'hello\n')


@test
def an_empty_body_is_streamed_as_well(server):
    with server.peer() as peer:
        for data in (head(DIGEST), whole(DIGEST, b''), head(DIGEST, CHUNKED) + b'0\r\n\r\n'):
            peer.send(data)
            equal(peer.answer().json(), digest(b''), data)
        peer.send(head(LINES))
        equal(peer.answer().body, b'')


@test
def many_in_one_packet_are_told_apart(server):
    data = whole(DIGEST, b'one') + HELLO + head(DIGEST, CHUNKED) + chunk(b'two') + b'0\r\n\r\n' + whole(LINES, b'{}') + HELLO
    with server.peer() as peer:
        peer.send(data * 20)
        for _ in range(20):
            equal(peer.answer().json(), digest(b'one'))
            equal(peer.answer().body, b'hello\n')
            equal(peer.answer().json(), digest(b'two'))
            equal([line['status'] for line in lines(peer.answer().body)], [400])
            equal(peer.answer().body, b'hello\n')


@test
def each_line_is_answered_as_it_comes(server):
    with server.peer() as peer:
        peer.send(head(LINES, CHUNKED))
        equal(peer.head()[1]['content-type'], 'application/x-ndjson')
        for number in range(1, 6):
            job = json.dumps({'key': f'line-{number}', 'kind': 'sleep', 'ms': 0}).encode() + b'\n'
            peer.send(chunk(job[:9]) + chunk(job[9:]))
            answer = json.loads(peer.chunk())
            assert answer.pop('id')
            equal(answer, {'line': number, 'status': 202, 'key': f'line-{number}', 'outcome': 'started'})
        peer.send(b'0\r\n\r\n' + HELLO)
        equal(peer.chunk(), b'')
        equal(peer.answer().body, b'hello\n')


@test
def a_line_that_is_wrong_is_told_of_and_the_next_is_read(server):
    body = (b'{"kind": "sleep", "ms": 0}\n\r\n \n{"kind": "tea"}\r\n{\n[]\n'
            b'{"key": "line-wait", "kind": "primes", "below": 10, "mode": "join", "wait_ms": 20000}\n\xff\n{"kind": "sleep", "ms": 0}')
    with server.peer() as peer:
        peer.send(whole(LINES, body) + HELLO)
        got = lines(peer.answer().body)
        equal([(line['line'], line['status']) for line in got],
              [(1, 202), (4, 400), (5, 400), (6, 400), (7, 200), (8, 400), (9, 202)])
        equal((got[4]['outcome'], got[4]['result']), ('started', {'below': 10, 'primes': 4}))
        assert all(line['detail'] for line in got if line['status'] == 400), got
        equal(peer.answer().body, b'hello\n')


@test
def a_client_of_http_1_0_gets_an_answer_that_ends_with_the_connection(server):
    for more in (b'', b'Connection: keep-alive\r\n'):
        with server.peer() as peer:
            peer.send(whole(LINES, b'{"kind": "tea"}\n{"kind": "tea"}\n', b'HTTP/1.0', more))
            answer_head = peer.head()[1]
            equal((answer_head['connection'], 'transfer-encoding' in answer_head), ('close', False))
            while peer.more():
                pass
            equal([line['line'] for line in lines(peer.buffer)], [1, 2])


@test
def connection_close_closes_behind_a_streamed_answer(server):
    for path in (DIGEST, LINES):
        with server.peer() as peer:
            peer.send(whole(path, b'{}', more=b'Connection: close\r\n') + HELLO)
            answer = peer.answer()
            equal((answer.status, answer.headers['connection']), (200, 'close'))
            assert peer.closed()


@test
def who_waits_for_100_continue_gets_it_when_the_body_is_wanted(server):
    with server.peer() as peer:
        peer.send(head(DIGEST, b'Expect: 100-continue\r\nContent-Length: 5\r\n'))
        equal(peer.answer().status, 100)
        peer.send(b'hello')
        equal(peer.answer().json(), digest(b'hello'))
        peer.send(head(b'/%61pi/digest', b'Expect: 100-continue\r\nContent-Length: 5\r\n') + b'hello')
        equal((peer.answer().status), 200, 'nobody waits for it')
    with server.peer() as peer:
        peer.send(head(DIGEST, b'Expect: 100-continue\r\nContent-Length: 5\r\nOrigin: http://elsewhere\r\n'))
        answer = peer.answer()
        equal((answer.status, answer.headers['connection']), (403, 'close'), 'it is not wanted')
        assert peer.closed()


@test
def an_answer_that_breaks_off_is_not_ended(server):
    with server.peer() as peer:
        peer.send(head(LINES, CHUNKED) + chunk(b'{}\n') + b'x')
        equal(peer.head()[0], 200)
        equal([json.loads(peer.chunk())['status'] for _ in range(2)], [400, 400])
        assert not peer.more() and not peer.buffer, 'no last chunk'
    with server.peer() as peer:
        thread = sending(peer, head(LINES, CHUNKED) + chunk(b'x' * ((1 << 20) + 1)) + b'0\r\n\r\n')
        peer.head()
        answer = json.loads(peer.chunk())
        equal((answer['status'], answer['detail']), (413, 'the line is too long'))
        assert not peer.more() and not peer.buffer, 'no last chunk'
        thread.join()


# F100
@test
def a_streamed_body_has_a_limit_as_well(_):
    with Server('--stream-mib=1') as server:
        for data in (whole(DIGEST, b'x' * (1 << 20)), head(DIGEST, CHUNKED) + chunk(b'x' * (1 << 20)) + b'0\r\n\r\n'):
            with server.peer() as peer:
                thread = sending(peer, data)
                equal(peer.answer().status, 200)
                thread.join()
        for data in (whole(DIGEST, b'x' * ((1 << 20) + 1)), head(DIGEST, CHUNKED) + chunk(b'x' * (1 << 20)) + chunk(b'x')):
            with server.peer() as peer:
                thread = sending(peer, data)
                equal(peer.answer().status, 413)
                assert peer.closed()
                thread.join()
        with server.peer() as peer:
            peer.send(head(DIGEST, b'Expect: 100-continue\r\nContent-Length: %d\r\n' % ((1 << 20) + 1)))
            equal(peer.answer().status, 413, 'nobody waits for a body that is too large')


# F100
@test
def no_line_is_longer_than_a_body_that_is_held(_):
    for most in (0, 100):
        with Server(f'--body-bytes={most}') as server, server.peer() as peer:
            peer.send(whole(LINES, b'\n' + b' ' * (most + 2)))
            equal(peer.head()[0], 200)
            equal(json.loads(peer.chunk())['status'], 413, most)


# F101
@test
def a_streamed_body_that_stops_or_drips_is_given_up(_):
    with Server('--body-ms=200') as server:
        with server.peer() as peer:
            peer.send(head(DIGEST, b'Content-Length: 5\r\n') + b'hell')
            equal(peer.answer().status, 408)
            assert peer.closed()
        with server.peer() as peer:
            peer.send(head(DIGEST, b'Content-Length: 100000\r\n'))
            deadline, peer.buffer = time.monotonic() + WAIT_S, b''
            peer.socket.settimeout(0.02)
            while not peer.buffer and time.monotonic() < deadline:  # a byte gives a millisecond, and takes twenty
                peer.send(b'x')
                try:
                    peer.more()
                except socket.timeout:
                    pass
            peer.socket.settimeout(WAIT_S)
            equal(peer.answer().status, 408)


# F101
@test
def who_sends_lines_and_reads_no_answers_is_held_back_and_given_up(_):
    with Server('--send-ms=200') as server, server.peer(receive_bytes=4096) as peer:
        thread = sending(peer, head(LINES, CHUNKED) + chunk(b'{"kind":"tea"}\n' * 4000) * 30)
        until(lambda: server.counts()['connections'] == 1, 'only the asking connection is left')
        thread.join(WAIT_S)
        assert not thread.is_alive()


@test
def a_client_that_vanishes_in_its_body_leaves_nothing(server):
    before = server.counts()['connections']
    for path in (DIGEST, LINES):
        with server.peer() as peer:
            peer.send(head(path, b'Content-Length: 100\r\n') + b'{')
    until(lambda: server.counts()['connections'] <= before, 'their connections are gone')


@test
def the_end_of_the_server_ends_a_stream(_):
    for path in (DIGEST, LINES):
        with Server() as server, server.peer() as peer:
            peer.send(head(path, b'Expect: 100-continue\r\nContent-Length: 100\r\n'))
            equal(peer.head()[0], 100)
            if path == LINES:
                equal(peer.head()[0], 200)
                peer.send(b'{}\n')
                equal(json.loads(peer.chunk())['line'], 1)
            server.process.send_signal(signal.SIGTERM)
            if path == DIGEST:
                equal(peer.answer().status, 503)
            else:
                equal(json.loads(peer.chunk())['status'], 503)
            assert peer.closed()
            peer.socket.close()
            equal(server.wait(), 0)
