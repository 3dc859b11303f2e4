# SPDX-License-Identifier: Apache-2.0
"""smuggling_test.py - requests that two readers may take for different ones

Behind each row comes one request more, which whoever misreads the row would take for part of it, or for the first
of two. A refused row is answered once, the connection is closed, and what came behind is not looked at; one that
is good by the RFC is answered, and so is what comes behind.
"""
from harness import equal, test

HOST = b'Host: localhost\r\n'
CHUNKED = b'Transfer-Encoding: chunked\r\n'
BEHIND = b'GET /healthz HTTP/1.1\r\n' + HOST + b'\r\n'


def get(headers=HOST, line=b'GET /hello HTTP/1.1'):
    return line + b'\r\n' + headers + b'\r\n'


def target(target):
    return get(line=b'GET ' + target + b' HTTP/1.1')


def post(headers=b'', body=b''):
    """POST /api/send/nobody, by which a body can be told from none."""
    return get(HOST + headers, b'POST /api/send/nobody HTTP/1.1') + body


def length(value, body=b'hello'):
    return post(b'Content-Length: ' + value + b'\r\n', body)


def coding(value, body=b'5\r\nhello\r\n0\r\n\r\n'):
    return post(b'Transfer-Encoding: ' + value + b'\r\n', body)


def chunks(*lines):
    return post(CHUNKED, b''.join(lines))


def size(text):
    """A chunk of five bytes whose size is written like this."""
    return chunks(text, b'\r\nhello\r\n0\r\n\r\n')


# By the section of RFC 9112, or else 9110, that has them refused.
REFUSED = {
    '6.3 a length and chunks, or two lengths': {
        'CL.TE': (400, post(b'Content-Length: 5\r\n' + CHUNKED, b'0\r\n\r\n')),
        'TE.CL': (400, post(CHUNKED + b'Content-Length: 5\r\n', b'0\r\n\r\n')),
        'TE.CL.0': (400, post(CHUNKED + b'Content-Length: 0\r\n', b'0\r\n\r\n')),
        'CL.CL': (400, post(b'Content-Length: 5\r\nContent-Length: 6\r\n', b'hello')),
        'CL.CL of equals': (400, post(b'Content-Length: 5\r\ncontent-length: 5\r\n', b'hello')),
        'CL.0 and another': (400, post(b'Content-Length: 0\r\nContent-Length: 5\r\n', b'hello')),
        'a length beside an unknown coding': (400, post(b'Content-Length: 5\r\nTransfer-Encoding: identity\r\n', b'hello')),
        'chunks in HTTP/1.0': (400, get(CHUNKED, b'POST /api/send/nobody HTTP/1.0') + b'0\r\n\r\n'),
    },
    '8.6 of 9110, a length is digits': {
        f'Content-Length: {value!r}': (400, length(value)) for value in (
            b'+5', b'-5', b'-0', b'0x5', b'5 5', b'5, 5', b'5,', b',5', b'', b'5.0', b'1e1', b'5;', b'"5"', b'five',
            b'5\x0b', b'\x0c5', '５'.encode(), b'5_0', b'18446744073709551616', b'18446744073709551621', b'9' * 40)
    },
    '6.1 a coding that is not exactly chunked': {
        'chunked twice': (400, post(CHUNKED * 2, b'0\r\n\r\n')),
        'identity, then chunked in another line': (400, post(b'Transfer-Encoding: identity\r\n' + CHUNKED, b'0\r\n\r\n')),
        'chunked, then another in another line': (400, post(CHUNKED + b'Transfer-Encoding: x\r\n', b'0\r\n\r\n')),
        'behind a vertical tab': (400, coding(b'\x0bchunked')),
        'before a NUL': (400, coding(b'chunked\0')),
        'before a byte above 127': (501, coding(b'chunked\xa0')),
        **{f'Transfer-Encoding: {value!r}': (501, coding(value)) for value in (
            b'xchunked', b'chunkedx', b'gzip, chunked', b'identity', b'chunked;q=1', b'"chunked"', b"'chunked'", b',chunked', b'chunk ed')},
        **{f'Transfer-Encoding: {value!r}': (400, coding(value)) for value in (
            b'chunked, gzip', b'chunked, identity', b'chunked,', b'chunked, chunked')},
    },
    '5.1 white space before the colon, no name': {
        'a length': (400, post(b'Content-Length : 5\r\n', b'hello')),
        'a coding': (400, post(b'Transfer-Encoding : chunked\r\n', b'0\r\n\r\n')),
        'a tab': (400, post(b'Transfer-Encoding\t: chunked\r\n', b'0\r\n\r\n')),
        'any': (400, get(HOST + b'X : y\r\n')),
        'no name': (400, get(HOST + b': y\r\n')),
        'no colon': (400, get(HOST + b'abc\r\n')),
    },
    '5.2 folded lines': {
        'a value': (400, get(HOST + b'X: y\r\n z\r\n')),
        'by a tab': (400, get(HOST + b'X: y\r\n\tz\r\n')),
        'a coding': (400, post(b'Transfer-Encoding:\r\n chunked\r\n', b'0\r\n\r\n')),
        'a length': (400, post(b'Content-Length:\r\n 5\r\n', b'hello')),
        'the first': (400, get(b' ' + HOST)),
        'a line of white space': (400, get(HOST + b' \r\nX: y\r\n')),
    },
    '5.1 of 9110, names are tokens': {
        f'{name!r}': (400, get(HOST + name + b': y\r\n')) for name in (
            b'X\0', b'X(', b'X/Y', b'"X"', b'X{', b'X\x80', b'X\x7f', b'X\x01', b'X@', b'X,Y', b'X=Y', b'X Y', b'X\x0bY')
    },
    '5.5 of 9110, control bytes in a value': {
        f'{value!r}': (400, get(HOST + b'X: ' + value + b'\r\n')) for value in (b'y\0z', b'y\x01z', b'y\x0bz', b'y\x7fz', b'\x1b', b'y\x08')
    },
    '2.2 lines end in CR LF': {
        'LF all along': (400, get().replace(b'\r\n', b'\n')),
        'LF behind the request line': (400, get().replace(b'\r\n', b'\n', 1)),
        'LF behind a header': (400, get(HOST.replace(b'\r', b''))),
        'LF in a value brings a coding': (400, post(b'X: y\n' + CHUNKED, b'0\r\n\r\n')),
        'CR in a value brings a coding': (400, post(b'X: y\r' + CHUNKED, b'0\r\n\r\n')),
        'CR in a value': (400, get(HOST + b'X: y\rz\r\n')),
        'CR CR LF': (400, get(HOST + b'X: y\r\r\n')),
        'LF CR': (400, get(HOST + b'X: y\n\r')),
        'LF at the end': (400, get()[:-2] + b'\n'),
        'CR at the end': (400, get()[:-2] + b'\r\r\n'),
        'CR in the request line': (400, get(line=b'GET /hello\r HTTP/1.1')),
    },
    '3 request lines': {
        'two spaces': (400, get(line=b'GET  /hello HTTP/1.1')),
        'two spaces behind': (400, get(line=b'GET /hello  HTTP/1.1')),
        'tabs': (400, get(line=b'GET\t/hello\tHTTP/1.1')),
        'a space at the end': (505, get(line=b'GET /hello HTTP/1.1 ')),
        'a space at the beginning': (400, get(line=b' GET /hello HTTP/1.1')),
        'a space in the target': (400, target(b'/a b')),
        'no target': (400, get(line=b'GET HTTP/1.1')),
        'a byte above 127 in the target': (400, target(b'/\xff')),
        'control bytes in the target': (400, target(b'/\x01')),
        'NUL in the target': (400, target(b'/hello\0')),
        'DEL in the target': (400, target(b'/hello\x7f')),
        'a method of 1 KiB': (400, b'A' * 1024 + get()[3:]),
        'a method in small letters': (400, b'get' + get()[3:]),
        'a method with NUL': (400, b'GET\0' + get()[3:]),
        'a method with a tab': (400, b'G\tT' + get()[3:]),
        'no method': (400, get()[3:]),
        'a method longer than one that is known': (400, b'GETS' + get()[3:]),
        'TRACE': (501, b'TRACE' + get()[3:]),
        'CONNECT': (501, get(line=b'CONNECT a:80 HTTP/1.1')),
    },
    '2.3 versions': {
        **{version.decode(): (505, get(line=b'GET /hello ' + version)) for version in (b'HTTP/1.2', b'HTTP/2.0', b'HTTP/0.9', b'HTTP/3.0')},
        **{version.decode(): (505, get(line=b'GET /hello ' + version)) for version in (
            b'HTTP/01.1', b'HTTP/1.10', b'HTTP/1.1.1', b'HTTP/11', b'HTTP/ 1.1', b'HTTP/1', b'HTTP/-1.1')},
        **{version.decode(): (400, get(line=b'GET /hello ' + version)) for version in (b'HTTQ/1.1', b'http/1.1')},
        'HTTP/0.9': (505, b'GET /hello\r\n\r\n'),
        'HTTP/2 by prior knowledge': (505, b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
        'TLS': (400, b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'),
        'an answer': (400, b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'),
    },
    '3.2 one Host': {
        'none': (400, get(b'')),
        'none, the target absolute': (400, get(b'', b'GET http://localhost/hello HTTP/1.1')),
        'two': (400, get(HOST + b'Host: other\r\n')),
        'two equal ones': (400, get(HOST * 2)),
        **{f'Host: {value!r}': (400, get(b'Host: ' + value + b'\r\n')) for value in (
            b'a b', b'a, b', b'a@b', b'a/b', b'a?b', b'a#b', b'a\\b', b'a\tb', b'a\xffb')},
    },
    '3.2 targets': {
        f'{text!r}': (400, target(text)) for text in (b'hello', b'localhost:80', b'http:/hello', b'http://a\\b/hello')
    },
    '7.1 sizes of chunks': {
        f'{text!r}': (400, size(text)) for text in (
            b'+5', b'-5', b'5_0', b'0x5', b'5 ', b' 5', b'5\t', b'5h', b'', b'\x005', b'5\0', b'10000000000000005', b'fffffffffffffffff5', b'"5"', b'5,')
    },
    '7.1 how chunks end': {
        'a size in LF': (400, chunks(b'5\nhello\r\n0\r\n\r\n')),
        'a size in CR': (400, chunks(b'5\rhello\r\n0\r\n\r\n')),
        'a size in CR CR LF': (400, chunks(b'5\r\r\nhello\r\n0\r\n\r\n')),
        'a chunk in LF': (400, chunks(b'5\r\nhello\n0\r\n\r\n')),
        'a chunk in CR': (400, chunks(b'5\r\nhello\r0\r\n\r\n')),
        'not at all': (400, chunks(b'5\r\nhello0\r\n\r\n')),
        'in two other bytes': (400, chunks(b'5\r\nhelloXX0\r\n\r\n')),
        'the last in LF': (400, chunks(b'0\n\n')),
        'the last size in LF': (400, chunks(b'0\n\r\n')),
        'the trailers in LF': (400, chunks(b'0\r\n\n')),
    },
    '7.1.1 extensions of chunks': {
        'that end in LF': (400, size(b'5;a\n')),
        'that end in LF, a size behind': (400, chunks(b'2;\nxx\r\n0\r\n\r\n')),
        'with CR': (400, size(b'5;a\rb')),
        'with NUL': (400, size(b'5;\0')),
        'with a line in quotes': (400, size(b'5;a="b\r\nc"')),
        'of 5000 bytes': (400, size(b'5;' + b'a' * 5000)),
        'of 600 bytes, of the last': (400, chunks(b'5\r\nhello\r\n0;' + b'a' * 600 + b'\r\n\r\n')),
        'of 600 bytes, of the last and only': (400, chunks(b'0;' + b'a' * 600 + b'\r\nX: y\r\n\r\n')),
        'that outweigh the body': (400, chunks((b'1;' + b'a' * 400 + b'\r\nx\r\n') * 60, b'0\r\n\r\n')),
    },
    '7.1.2 trailers': {
        'a length': (400, chunks(b'0\r\nContent-Length: 5\r\n\r\n')),
        'a coding': (400, chunks(b'0\r\nTransfer-Encoding: chunked\r\n\r\n')),
        'a request': (400, chunks(b'0\r\nGET /hello HTTP/1.1\r\n' + HOST + b'\r\n')),
        'folded': (400, chunks(b'0\r\nX: y\r\n z\r\n\r\n')),
        'white space before the colon': (400, chunks(b'0\r\nX : y\r\n\r\n')),
        'NUL': (400, chunks(b'0\r\nX: \0\r\n\r\n')),
        'of 24000 bytes': (431, chunks(b'0\r\n', b'T: ' + b'x' * 24000 + b'\r\n\r\n')),
        'too many': (431, chunks(b'0\r\n', b'T: x\r\n' * 101, b'\r\n')),
    },
    'limits': {
        'a header of 20000 bytes': (431, get(HOST + b'X: ' + b'a' * 20000 + b'\r\n')),
        'a name of 20000 bytes': (431, get(HOST + b'a' * 20000 + b': b\r\n')),
        '101 headers': (431, get(HOST + b'a: b\r\n' * 100)),
        '10000 headers': (431, get(HOST + b'a: b\r\n' * 10000)),
        'a target of 9000 bytes': (414, target(b'/' + b'a' * 9000)),
        'a body announced too large': (413, length(b'1048577', b'')),
        'a chunk announced too large, as far as it comes': (413, chunks(b'fffffff\r\n' + b'a' * 1048577)),
    },
    '10.1.1 of 9110, expectations': {
        'tea': (417, post(b'Expect: tea\r\nContent-Length: 5\r\n', b'hello')),
        'two': (417, post(b'Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n', b'hello')),
    },
}

# Odd or wrong, but of one reading: the request is answered, and the one behind it.
GOOD = {
    'empty lines before': (200, b'\r\n\r\n' + get()),
    'a tab before a coding': (202, coding(b'\tchunked')),
    'white space behind a coding': (202, coding(b'chunked ')),
    'a coding in capitals': (202, post(b'TRANSFER-ENCODING: CHUNKED\r\n', b'5\r\nhello\r\n0\r\n\r\n')),
    'white space around a length': (202, length(b'  5  ')),
    'zeros before a length': (202, length(b'0005')),
    'zeros before a size': (202, size(b'000000000000000000005')),
    'a size in capitals': (202, chunks(b'A\r\nhellohello\r\n0\r\n\r\n')),
    'extensions': (202, size(b'5;a;b=c')),
    'an extension of 500 bytes, of the last': (202, chunks(b'5\r\nhello\r\n0;' + b'a' * 500 + b'\r\n\r\n')),
    'an extension in quotes': (202, size(b'5;a="b"')),
    'trailers': (202, chunks(b'5\r\nhello\r\n0\r\nX: y\r\n\r\n')),
    'a Host as a trailer': (202, chunks(b'5\r\nhello\r\n0\r\nHost: other\r\n\r\n')),
    'another name for a coding': (202, post(b'Transfer_Encoding: chunked\r\nContent-Length: 5\r\n', b'hello')),
    'a body of a GET': (200, get(HOST + b'Content-Length: 5\r\n') + b'GET /'),
    'a body of a GET in chunks': (200, get(HOST + CHUNKED) + b'5\r\nGET /\r\n0\r\n\r\n'),
    'a body that is a request': (202, length(b'%d' % len(BEHIND), BEHIND)),
    'an absolute target': (200, target(b'http://localhost/hello')),
    'an absolute target of another host': (200, target(b'HTTP://elsewhere:1/hello')),
    'an absolute target that ends in the host': (200, target(b'http://localhost')),
    'an absolute target whose query has a slash': (200, target(b'http://localhost?/nothing')),
    **{f'the target {text!r}': (400, target(text)) for text in (
        b'*', b'http:///hello', b'http://a@localhost/hello', b'ftp://localhost/hello', b'http://', b'/hello#x', b'/%', b'/%4', b'/%00', b'/hello%00')},
    'an upgrade to something else': (200, get(HOST + b'Connection: Upgrade\r\nUpgrade: h2c\r\n')),
    'an upgrade with a body': (200, get(HOST + b'Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n') + b'GET /'),
    'an upgrade that is not asked for': (426, get(line=b'GET /ws/ann HTTP/1.1', headers=HOST + b'Upgrade: websocket\r\n')),
    'a hundred headers': (200, get(HOST + b'a: b\r\n' * 99)),
}


# F99, F100
@test
def what_has_two_readings_or_is_too_large_is_refused_and_nothing_behind_it_is_read(server):
    for section, rows in REFUSED.items():
        for name, (status, data) in rows.items():
            with server.peer() as peer:
                peer.send(data + BEHIND)
                answer = peer.answer()
                equal(answer.status, status, f'{section}: {name}')
                equal(answer.headers['connection'], 'close', name)
                assert answer.json()['detail'], name
                assert peer.closed(), name


# F99, F100
@test
def what_has_two_readings_is_refused_byte_by_byte_as_well(server):
    for section, rows in REFUSED.items():
        for name, (status, data) in rows.items():
            if len(data) > 200:
                continue
            with server.peer() as peer:
                peer.send(data, 1)
                equal(peer.answer().status, status, f'{section}: {name}')
                assert peer.closed(), name


# F99
@test
def what_has_one_reading_is_answered_and_so_is_what_comes_behind(server):
    for name, (status, data) in GOOD.items():
        for step in (None, 1):
            with server.peer() as peer:
                peer.send(data + BEHIND, step)
                equal(peer.answer().status, status, name)
                equal(peer.answer().body, b'ok\n', name)
                peer.send(BEHIND)
                equal(peer.answer().body, b'ok\n', f'{name}: and nothing between')


# F99, F100
@test
def a_body_that_is_streamed_is_refused_as_one_that_is_held(server):
    for section, rows in REFUSED.items():
        for name, (status, data) in rows.items():
            if section == 'limits' or not data.startswith(b'POST /api/send/nobody '):
                continue
            with server.peer() as peer:
                peer.send(data.replace(b'/api/send/nobody', b'/api/digest', 1) + BEHIND)
                equal(peer.answer().status, status, f'{section}: {name}')
                assert peer.closed(), name
