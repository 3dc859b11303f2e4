# SPDX-License-Identifier: Apache-2.0
"""frames_test.py - RFC 6455 section by section, frame by frame, over a raw socket

A row is what a peer sends behind its handshake, the frames that come back in their order, and how it ends: with the
code of a close frame, with a close frame without one (None), or not at all (OPEN: a ping is still answered).
"""
import struct

from harness import equal, test, until
from websocket_test import KEY, UPGRADE, VERSION, close, frame, handshake, read_close, read_frame, users

OPEN = 'open'
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
HELLO = frame(TEXT, b'hello')
ECHO = (TEXT, b'hello')


def pieces(payload, cuts, opcode=TEXT, between=b''):
    """A message in frames that end at the cuts."""
    edges = [0, *cuts, len(payload)]
    parts = [payload[a:b] for a, b in zip(edges, edges[1:])]
    return between.join(frame(0 if i else opcode, part, fin=i == len(parts) - 1) for i, part in enumerate(parts))


def broken(data, code=1002):
    """What is good before it is answered, and nothing behind it."""
    return HELLO + data + HELLO, [ECHO], code


FRAMING = {f'{size} bytes of {name}': (frame(opcode, b'x' * size), [(opcode, b'x' * size)], OPEN)
           for name, opcode in (('text', TEXT), ('binary', BINARY)) for size in (0, 1, 125, 126, 127, 128, 65535, 65536)}

MASKS = {
    'a mask of zeros': (b'\x81\x85\0\0\0\0hello', [ECHO], OPEN),
    **{f'opcode {opcode} without a mask': broken(frame(opcode, b'', masked=False)) for opcode in (TEXT, BINARY, CLOSE, PING, PONG)},
    'a continuation without a mask': broken(frame(TEXT, b'x', fin=0) + frame(0, b'x', masked=False)),
}

LENGTHS = {
    '16 bits for 5': broken(b'\x81\xfe\0\5\0\0\0\0hello'),
    '16 bits for 125': broken(b'\x81\xfe\0\x7d\0\0\0\0' + b'x' * 125),
    '64 bits for 5': broken(b'\x81\xff' + struct.pack('>Q', 5) + b'\0\0\0\0hello'),
    '64 bits for 65535': broken(b'\x81\xff' + struct.pack('>Q', 65535) + b'\0\0\0\0'),
    'the highest bit': broken(b'\x82\xff' + struct.pack('>Q', 1 << 63) + b'\0\0\0\0'),
    '16 bits in a ping': broken(b'\x89\xfe\0\x7e\0\0\0\0' + b'x' * 126),
    '64 bits in a close': broken(b'\x88\xff' + struct.pack('>Q', 126) + b'\0\0\0\0' + b'x' * 126),
}

PINGS = {
    'empty': (frame(PING), [(PONG, b'')], OPEN),
    'with text': (frame(PING, b'hello'), [(PONG, b'hello')], OPEN),
    'with any bytes': (frame(PING, bytes(range(125))), [(PONG, bytes(range(125)))], OPEN),
    'of 125 bytes': (frame(PING, b'x' * 125), [(PONG, b'x' * 125)], OPEN),
    'of 126 bytes': broken(frame(PING, b'x' * 126)),
    'a pong of 126 bytes': broken(frame(PONG, b'x' * 126)),
    'a pong that nobody asked for': (frame(PONG, b'x'), [], OPEN),
    'a pong, then a ping': (frame(PONG, b'x') + frame(PING, b'y'), [(PONG, b'y')], OPEN),
    'ten': (b''.join(frame(PING, b'%d' % i) for i in range(10)), [(PONG, b'%d' % i) for i in range(10)], OPEN),
    'between messages': (HELLO + frame(PING, b'x') + HELLO, [ECHO, (PONG, b'x'), ECHO], OPEN),
}

RESERVED = {
    **{f'bits {bits} of a text': broken(frame(TEXT, b'x', reserved=bits)) for bits in range(1, 8)},
    **{f'bits {bits} of a ping': broken(frame(PING, b'x', reserved=bits)) for bits in (1, 4)},
    'of a close': broken(frame(CLOSE, struct.pack('>H', 1000), reserved=2)),
    'of a continuation, as of deflate': broken(frame(TEXT, b'x', fin=0) + frame(0, b'x', reserved=4)),
    **{f'opcode {opcode}': broken(frame(opcode)) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f'opcode {opcode} with a payload': broken(frame(opcode, b'x')) for opcode in (3, 7, 11, 15)},
    'opcode 3 between fragments': broken(frame(TEXT, b'x', fin=0) + frame(3)),
}

FRAGMENTS = {
    'two': (pieces(b'hello', [2]), [ECHO], OPEN),
    'one of each byte': (pieces(b'hello', [1, 2, 3, 4]), [ECHO], OPEN),
    'empty ones': (pieces(b'hello', [0, 0, 5, 5]), [ECHO], OPEN),
    'only empty ones': (pieces(b'', [0, 0]), [(TEXT, b'')], OPEN),
    'binary': (pieces(b'\xff\0', [1], BINARY), [(BINARY, b'\xff\0')], OPEN),
    'with pings between': (pieces(b'hello', [1, 3], between=frame(PING, b'x')), [(PONG, b'x')] * 2 + [ECHO], OPEN),
    'with pongs between': (pieces(b'hello', [1, 3], between=frame(PONG, b'x')), [ECHO], OPEN),
    'with a close between': (pieces(b'hello', [1], between=close(1000)), [], 1000),
    'two messages': (pieces(b'hello', [1]) + pieces(b'\0', [0], BINARY), [ECHO, (BINARY, b'\0')], OPEN),
    'a ping in pieces': broken(frame(PING, b'x', fin=0) + frame(0, b'y')),
    'a pong in pieces': broken(frame(PONG, b'x', fin=0)),
    'a close in pieces': broken(frame(CLOSE, b'\x03\xe8', fin=0)),
    'a continuation of nothing': broken(frame(0, b'x')),
    'a continuation of nothing that goes on': broken(frame(0, b'x', fin=0)),
    'a text within a text': broken(frame(TEXT, b'x', fin=0) + frame(TEXT, b'y')),
    'a binary within a text': broken(frame(TEXT, b'x', fin=0) + frame(BINARY, b'y')),
    'a text within a binary': broken(frame(BINARY, b'x', fin=0) + frame(TEXT, b'y', fin=0)),
    '1024': (pieces(b'', [0] * 1023, BINARY), [(BINARY, b'')], OPEN),
    '1025': broken(pieces(b'', [0] * 1024, BINARY), 1008),
}

# first and last character of each length, what stands beside the surrogates, and one that is no character
GOOD_TEXT = ('κόσμε', '\0', '\x7f\x80', '߿ࠀ', '￿\U00010000', '\U0010ffff', '퟿', '﷐￾')
BAD_TEXT = (b'\x80', b'\xbf\xbf', b'\xc0\x80', b'\xc1\xbf', b'\xc2', b'\xc2\x41', b'\xe0\x80\x80', b'\xe0\x9f\xbf', b'\xe1\x80', b'\xed\xa0\x80',
            b'\xed\xbf\xbf', b'\xed\xa0\x80\xed\xb0\x80', b'\xf0\x80\x80\x80', b'\xf0\x8f\xbf\xbf', b'\xf1\x80\x80', b'\xf4\x90\x80\x80',
            b'\xf5\x80\x80\x80', b'\xf8\x88\x80\x80\x80', b'\xfc\x84\x80\x80\x80\x80', b'\xfe', b'\xff', b'\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80')
UTF8 = {
    **{f'{text!r}': (frame(TEXT, text.encode()), [(TEXT, text.encode())], OPEN) for text in GOOD_TEXT},
    **{f'{text!r} cut at each byte': (pieces(text.encode(), range(1, len(text.encode()))), [(TEXT, text.encode())], OPEN) for text in GOOD_TEXT},
    **{f'{text!r}': broken(frame(TEXT, text), 1007) for text in BAD_TEXT},
    **{f'{text!r} cut at each byte': broken(pieces(text, range(1, len(text))), 1007) for text in BAD_TEXT},
    **{f'{text!r}, and the rest never comes': (HELLO + frame(TEXT, text, fin=0), [ECHO], 1007) for text in (b'\xff', b'\xc0', b'\xed\xa0', b'\xf4\x90', b'a\x80')},
    'bad, and the frame never ends': (HELLO + frame(TEXT, b'\xed\xa0\x80', length=60000), [ECHO], 1007),
    'any bytes in a binary': (frame(BINARY, b''.join(BAD_TEXT)), [(BINARY, b''.join(BAD_TEXT))], OPEN),
    'a ping between the bytes of a character': (pieces('é'.encode(), [1], between=frame(PING, b'\xff')), [(PONG, b'\xff'), (TEXT, 'é'.encode())], OPEN),
}

CLOSES = {
    'without a code': (HELLO + frame(CLOSE) + HELLO, [ECHO], None),
    **{f'{code}': broken(close(code), code) for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)},
    **{f'{code}': broken(close(code)) for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)},
    'half a code': broken(frame(CLOSE, b'\3')),
    'a reason': broken(close(1000, b'bye'), 1000),
    'a reason of 123 bytes': broken(close(1000, b'x' * 123), 1000),
    'a reason of 124 bytes': broken(close(1000, b'x' * 124)),
    'a reason that is not UTF-8': broken(close(1000, b'\xff'), 1007),
    'a reason cut off': broken(close(1000, b'\xe2\x82'), 1007),
    'two': broken(close(1000) + close(1001), 1000),
    'a ping behind': broken(close(1000) + frame(PING, b'x'), 1000),
    'what is broken behind': broken(close(1000) + frame(15), 1000),
}

LIMITS = {
    'a message of 65537 bytes': broken(frame(BINARY, b'x' * 65537), 1009),
    'a message of 65537 bytes, announced': (HELLO + frame(BINARY, b'x', length=65537), [ECHO], 1009),
    'a message of 2^62 bytes, announced': (HELLO + frame(BINARY, b'x', length=1 << 62), [ECHO], 1009),
    'fragments of 65537 bytes': broken(pieces(b'x' * 65537, [30000], BINARY), 1009),
    'fragments of 65536 bytes': (pieces(b'x' * 65536, [30000, 65536], BINARY), [(BINARY, b'x' * 65536)], OPEN),
}


def check(server, rows, section):
    for name, (data, frames, end) in rows.items():
        for step in (None, 1) if len(data) < 600 else (None, 4001):
            what = f'{section}: {name}, step {step}'
            with server.peer() as peer:
                peer.send(handshake())
                equal(peer.answer().status, 101)
                peer.send(data, step)
                for wanted in frames:
                    equal(read_frame(peer), wanted, what)
                if end == OPEN:
                    peer.send(frame(PING, b'still there'))
                    equal(read_frame(peer), (PONG, b'still there'), what)
                    peer.send(close(1000))
                    equal(read_close(peer), 1000, what)
                else:
                    equal(read_frame_close(peer), end, what)
                assert peer.closed(), what


def read_frame_close(peer):
    """The code of the next frame, which is a close."""
    opcode, payload = read_frame(peer)
    equal(opcode, CLOSE, payload)
    return struct.unpack('>H', payload[:2])[0] if payload else None


# F104
@test
def frames_of_every_length_come_back(server):
    check(server, FRAMING, '5.2')


# F105
@test
def a_frame_of_a_client_is_masked(server):
    check(server, MASKS, '5.1')


# F104, F105
@test
def a_length_has_one_spelling(server):
    check(server, LENGTHS, '5.2')


@test
def pings_are_answered_in_their_order(server):
    check(server, PINGS, '5.5')


# F105
@test
def reserved_bits_and_opcodes_are_refused(server):
    check(server, RESERVED, '5.2')


# F105
@test
def messages_come_in_fragments_and_control_frames_between(server):
    check(server, FRAGMENTS, '5.4')


# F105
@test
def text_is_utf8_and_refused_as_soon_as_it_is_not(server):
    check(server, UTF8, '8.1')


# F105
@test
def a_close_is_answered_by_its_code_or_refused(server):
    check(server, CLOSES, '7.4')


# F104
@test
def a_message_has_a_limit_however_it_comes(server):
    check(server, LIMITS, '10.4')
    until(lambda: not users(server), 'nobody is left')


@test
def compression_is_declined_however_it_is_offered(server):
    for offer in (b'permessage-deflate', b'permessage-deflate; client_max_window_bits, x-webkit-deflate-frame', b'permessage-deflate; =', b''):
        with server.peer() as peer:
            peer.send(handshake(headers=UPGRADE + VERSION + KEY + b'Sec-WebSocket-Extensions: ' + offer + b'\r\nSec-WebSocket-Protocol: chat\r\n') + HELLO)
            answer = peer.answer()
            equal((answer.status, [h for h in answer.headers if h.startswith('sec-websocket-') and h != 'sec-websocket-accept']), (101, []), offer)
            equal(read_frame(peer), ECHO)


@test
def a_handshake_is_a_get_of_http_1_1_and_nothing_of_it_is_left_over(server):
    for status, data in ((426, handshake().replace(b'HTTP/1.1', b'HTTP/1.0')), (405, handshake().replace(b'GET', b'POST')),
                         (426, handshake(headers=KEY + VERSION + b'Host: x\r\nUpgrade: websocket\r\n')),
                         (426, handshake(headers=KEY + VERSION + b'Host: x\r\nConnection: Upgrade\r\n')),
                         (426, handshake(headers=UPGRADE.replace(b'websocket', b'websocket2') + KEY + VERSION))):
        with server.peer() as peer:
            peer.send(data)
            equal(peer.answer().status, status, data)
    with server.peer() as peer:  # a body of the handshake is no frame
        peer.send(handshake(headers=UPGRADE + KEY + VERSION + b'Content-Length: 5\r\n') + b'GET /' + HELLO)
        equal(peer.answer().status, 101)
        equal(read_frame(peer), ECHO)
