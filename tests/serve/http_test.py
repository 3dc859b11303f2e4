# SPDX-License-Identifier: Apache-2.0
"""http_test.py - requests and answers as bytes: framing, limits, deadlines"""
import resource
import socket
import struct
import threading

from harness import Server, WAIT_S, equal, test, until

HOST = b'Host: localhost\r\n'
CHUNKED = b'Transfer-Encoding: chunked\r\n'
HELLO = b'GET /hello HTTP/1.1\r\n' + HOST + b'\r\n'


def post(headers=b'', body=b''):
    """POST /api/send/nobody, by which a body can be told from none."""
    return b'POST /api/send/nobody HTTP/1.1\r\n' + HOST + headers + b'\r\n' + body


def get(headers=b'', path=b'/hello', version=b'HTTP/1.1'):
    return b'GET ' + path + b' ' + version + b'\r\n' + headers + b'\r\n'


def chunked(*lines):
    return post(CHUNKED, b''.join(lines))


# The server reads plain heads in one look, and all others byte by byte: on either side of the border between the two.
PLAIN = {
    'nothing but Host': (200, get(HOST)),
    'small letters, spaces': (200, get(b'hOST:   localhost:80  \r\nX-Other:\r\n')),
    'an address of six': (200, get(b'Host: [::1]:8080\r\n')),
    'an empty Host': (200, get(b'Host:\r\n')),
    'a Host with an at sign': (400, get(b'Host: a@b\r\n')),
    'a Host with a tab behind': (200, get(b'Host: localhost\t\r\n')),
    'a query': (200, get(HOST, path=b'/hello?a=b&c=%20')),
    'a query with a brace': (200, get(HOST, path=b'/hello?{a}')),
    'the absolute form': (200, get(HOST, path=b'http://localhost/hello')),
    'a byte above 127 in a value': (200, get(HOST + b'X: \xff\r\n')),
    'sixteen headers': (200, get(HOST + b'X: y\r\n' * 15)),
    'seventeen headers': (200, get(HOST + b'X: y\r\n' * 16)),
    'a second Host behind sixteen headers': (400, get(HOST + b'X: y\r\n' * 15 + HOST)),
    'an empty body': (200, get(HOST + b'Content-Length: 0\r\n')),
    'a path that is not there': (404, get(HOST, path=b'/nowhere')),
}


# F100
@test
def a_head_is_read_the_same_in_one_look_and_byte_by_byte(server):
    for name, (status, data) in PLAIN.items():
        for step in (None, 1):
            with server.peer() as peer:
                peer.send(data, step)
                equal(peer.answer().status, status, f'{name}, step {step}')


@test
def what_follows_the_last_request_is_not_read(server):
    """Behind a request in HTTP/1.0 or with Connection: close there is nothing, however plain."""
    for last in get(HOST, version=b'HTTP/1.0'), get(HOST + b'Connection: close\r\n'):
        with server.peer() as peer:
            peer.send(last + HELLO)
            equal(peer.answer().status, 200)
            assert peer.closed()


@test
def a_body_too_large_in_chunks_is_refused(server):
    with server.peer() as peer:
        chunk = b'10000\r\n' + b'a' * 65536 + b'\r\n'
        sender = threading.Thread(target=peer.send, args=(chunked(chunk * 32),))
        sender.start()
        equal(peer.answer().status, 413)
        assert peer.closed()
        sender.join()


@test
def curl_learns_that_its_body_is_too_large(server):
    out = server.curl('-w', ' %{http_code}', '-H', 'Expect:', '--data-binary', '@-', f'{server.url}/api/send/ann',
                      data=b'x' * (3 << 20))
    assert out.endswith(b' 413'), out


@test
def requests_in_one_packet_are_answered_in_order(server):
    with server.peer() as peer:
        peer.send(HELLO + get(HOST, path=b'/healthz') + post(b'Content-Length: 1\r\n', b'\xff') + HELLO)
        got = [(a.status, a.body[:5]) for a in (peer.answer() for _ in range(4))]
        equal([g[0] for g in got], [200, 200, 400, 200])
        equal([got[0][1], got[1][1], got[3][1]], [b'hello', b'ok\n', b'hello'])


# F103
@test
def ten_thousand_requests_in_one_write_are_answered(server):
    with server.peer() as peer:
        sender = threading.Thread(target=peer.send, args=(HELLO * 10000,))
        sender.start()
        for number in range(10000):
            equal(peer.answer().status, 200, f'request {number}')
        sender.join()


@test
def a_request_may_come_byte_by_byte(server):
    with server.peer() as peer:
        peer.send(b'\r\n' + HELLO, 1)
        equal(peer.answer().body, b'hello\n')
        peer.send(chunked(b'5\r\nhello\r\n0\r\nT: x\r\n\r\n') + HELLO, 1)
        equal(peer.answer().status, 202)
        equal(peer.answer().status, 200)


# F99
@test
def a_request_may_be_cut_at_any_byte(_):
    data = post(CHUNKED + b'X: y\r\n', b'3;a="b"\r\nfoo\r\n2\r\n\xc3\xa9\r\n0\r\nT: x\r\n\r\n') + HELLO
    # With one worker, what was sent first is read before the other connection's request is answered.
    with Server('--workers=1', '--queue=100000') as server, server.peer() as other:
        for cut in range(1, len(data)):
            with server.peer() as peer:
                peer.send(data[:cut])
                other.send(HELLO)
                other.answer()
                peer.send(data[cut:])
                equal([peer.answer().status, peer.answer().status], [202, 200], f'cut at {cut}')


@test
def bodies_in_chunks_arrive_whole(server):
    for text in (b'a' * 200000, 'é€𝄞'.encode() * 5000):
        parts = [text[at:at + 999] for at in range(0, len(text), 999)]
        with server.peer() as peer:
            peer.send(b'POST /api/process HTTP/1.1\r\n' + HOST + CHUNKED + b'\r\n')
            for part in [b'{"kind": "hash", "pad": "', *parts, b'"}']:
                peer.send(b'%x\r\n%s\r\n' % (len(part), part))
            peer.send(b'0\r\n\r\n')
            equal(peer.answer().status, 202)


@test
def curl_keeps_its_connection(server):
    out = server.curl('-w', '%{num_connects}\n', f'{server.url}/hello', f'{server.url}/hello')
    equal(out.split(), [b'hello', b'1', b'hello', b'0'])


@test
def connection_close_and_http_1_0_close(server):
    for data in (get(HOST + b'Connection: close\r\n'), get(version=b'HTTP/1.0')):
        with server.peer() as peer:
            peer.send(data)
            answer = peer.answer()
            equal((answer.status, answer.headers['connection']), (200, 'close'))
            assert peer.closed()
    with server.peer() as peer:
        peer.send(get(b'Connection: keep-alive\r\n', version=b'HTTP/1.0') + HELLO)
        equal([peer.answer().status, peer.answer().status], [200, 200])


@test
def head_is_get_without_the_body(server):
    with server.peer() as peer:
        peer.send(b'HEAD' + HELLO[3:] + HELLO)
        answer = peer.answer(head=True)
        equal((answer.status, answer.headers['content-length']), (200, '6'))
        equal(peer.answer().body, b'hello\n')


@test
def who_waits_for_100_continue_gets_it_before_the_body(server):
    with server.peer() as peer:
        peer.send(post(b'Expect: 100-continue\r\nContent-Length: 5\r\n'))
        equal(peer.answer().status, 100)
        peer.send(b'hello')
        equal(peer.answer().status, 202)
    with server.peer() as peer:
        peer.send(post(b'Expect: 100-continue\r\nContent-Length: 5000000\r\n'))
        equal(peer.answer().status, 413)
    server.curl('-H', 'Expect: 100-continue', '-d', 'x' * 2000, f'{server.url}/api/send/nobody')


@test
def an_upgrade_to_something_else_is_no_upgrade(server):
    with server.peer() as peer:
        peer.send(get(HOST + b'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n') * 2)
        equal([peer.answer().body, peer.answer().body], [b'hello\n', b'hello\n'])


@test
def paths_and_methods_are_told_apart(server):
    equal(server.get('/').status, 200)
    assert b'/api/process' in server.get('/').body
    for path in ('/nothing', '/hello/', '/api', '/api/', '/api/status', '//'):
        equal(server.get(path).status, 404, path)
    for method, path, allow in (('DELETE', '/hello', 'GET, HEAD, OPTIONS'), ('GET', '/api/process', 'POST, OPTIONS'),
                                ('POST', '/api/cancel/x', 'DELETE, OPTIONS'), ('PUT', '/hello', 'GET, HEAD, OPTIONS'),
                                ('HEAD', '/ws/x', 'GET, OPTIONS')):
        answer = server.request(method, path)
        equal((answer.status, answer.headers['allow']), (405, allow), f'{method} {path}')
    with server.peer() as peer:
        peer.send(get(HOST, path=b'http://elsewhere/hello?a=b') + get(HOST, path=b'*'))
        equal([peer.answer().status, peer.answer().status], [200, 400])


@test
def options_tells_what_is_allowed(server):
    with server.peer() as peer:
        for path, allow in ((b'/hello', 'GET, HEAD, OPTIONS'), (b'/api/process', 'POST, OPTIONS'),
                            (b'/api/cancel/x', 'DELETE, OPTIONS'), (b'*', 'GET, HEAD, POST, DELETE, OPTIONS')):
            peer.send(b'OPTIONS ' + path + b' HTTP/1.1\r\n' + HOST + b'\r\n' + HELLO)
            answer = peer.answer()
            equal((answer.status, answer.headers['allow']), (204, allow), path)
            assert 'content-length' not in answer.headers
            equal(peer.answer().body, b'hello\n')
        peer.send(b'OPTIONS /nothing HTTP/1.1\r\n' + HOST + b'\r\n')
        equal(peer.answer().status, 404)


# F101
@test
def what_does_not_come_in_time_is_refused(_):
    with Server('--header-ms=150', '--body-ms=150', '--idle-ms=150') as server:
        for data in (b'G', HELLO[:-1], post(b'Content-Length: 5\r\n', b'hell'), chunked(b'5\r\nhe'), HELLO + b'GET'):
            with server.peer() as peer:
                peer.send(data)
                if data.startswith(HELLO):
                    equal(peer.answer().status, 200)
                equal(peer.answer().status, 408, data)
                assert peer.closed(), data
        with server.peer() as peer:
            assert peer.closed(), 'an idle connection is closed without a word'
        with server.peer() as peer:
            peer.send(HELLO)
            equal(peer.answer().status, 200)
            assert peer.closed(), 'and so it is after a request'


# F101
@test
def slow_clients_do_not_slow_the_others(_):
    with Server('--header-ms=1000') as server:
        slow = [server.peer() for _ in range(400)]
        for peer in slow:
            peer.send(b'GET /hel')
        with server.peer() as healthy:
            for _ in range(200):
                healthy.send(HELLO)
                equal(healthy.answer().status, 200)
        equal({peer.answer().status for peer in slow}, {408})
        for peer in slow:
            peer.socket.close()


# F101
@test
def a_client_that_never_reads_is_given_up(_):
    with Server('--send-ms=200') as server, server.peer(receive_bytes=4096) as peer:
        sender = threading.Thread(target=peer.send, args=(get(HOST, path=b'/') * 100000,))
        sender.start()
        until(lambda: server.counts()['connections'] == 1, 'only the asking connection is left')
        sender.join(WAIT_S)
        assert not sender.is_alive()


# F102
@test
def a_client_that_vanishes_leaves_nothing(server):
    before = server.counts()['connections']
    for data in (b'', b'GET /he', post(b'Content-Length: 5\r\n', b'h'), HELLO):
        with server.peer() as peer:
            peer.send(data)
        with server.peer() as peer:
            peer.send(data)
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))  # RST, not FIN
    until(lambda: server.counts()['connections'] <= before, 'their connections are gone')


@test
def connections_beyond_the_limit_wait(_):
    with Server('--max-connections=2') as server:
        with server.peer() as first, server.peer() as second:
            for peer in (first, second):
                peer.send(HELLO)
                equal(peer.answer().status, 200)
            third = server.peer()
            third.send(HELLO)
            first.send(HELLO)
            equal(first.answer().status, 200)
            assert not third.buffer
        with third:
            equal(third.answer().status, 200)


# F86
@test
def running_out_of_descriptors_passes(_):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Server() as server, server.peer() as here:
        here.send(HELLO)
        equal(here.answer().status, 200)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (40, hard))
        peers = [server.peer() for _ in range(60)]
        for peer in peers:
            peer.send(HELLO)
        until(lambda: 'cannot accept for now' in ''.join(server.errors), 'descriptors are out')
        here.send(HELLO)
        equal(here.answer().status, 200, 'who is here is answered')
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        for peer in peers:
            equal(peer.answer().status, 200)
            peer.socket.close()


# As RFC 3986 has it: %xx of what may stand there as itself is the same path, a slash is never the same as %2F, and
# segments of points are for clients to resolve.
PATHS = {
    b'/%68ello': 200, b'/%68%65%6C%6c%6F': 200, b'/hello?%': 200, b'/hello?a=/../b': 200, b'/%7E': 404, b'/hello%20': 404, b'/hello%2F': 404,
    b'/hello%2fkeyed': 404, b'/hello/%6beyed': 200, b'/%61pi/st%61ts': 200, b'/%2568ello': 404, b'//hello': 404, b'/hello/': 404,
    b'/.': 400, b'/..': 400, b'/./hello': 400, b'/../hello': 400, b'/hello/.': 400, b'/api/../hello': 400, b'/%2e%2e/hello': 400, b'/.%2E/hello': 400,
    b'/api/status/..': 400, b'/api/status/%2e': 400, b'/api/status/../hello': 400, b'/api/status/...': 404, b'/api/st%61tus/x%2Fy': 404,
    b'/api/st%61tus/x/y': 400, b'/api/status/..%2f': 404, b'/%00': 400, b'/hello%00': 400, b'/api/status/%00': 400, b'/%': 400, b'/%6': 400, b'/%6g': 400,
    b'/a' * 2000: 404, b'/hello#': 400,
}


@test
def a_path_has_one_spelling(server):
    with server.peer() as peer:
        for path, status in PATHS.items():
            peer.send(get(HOST, path=path))
            equal(peer.answer().status, status, path)
    key = 'slash/%and/percent'
    server.start(key=key, kind='sleep', ms=0)
    for path in ('/api/status/slash%2F%25and%2fpercent', '/api/st%61tus/sl%61sh%2F%25and%2fpercent'):
        equal(server.get(path).json()['key'], key, path)
