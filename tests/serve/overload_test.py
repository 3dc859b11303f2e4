# SPDX-License-Identifier: Apache-2.0
"""overload_test.py - figures of a server that more is asked of than it can give

Clients that are slow, and descriptors that are out. Times and processor time are measured, several times in turns, so
this is for long runs alone; that it goes on at all is shown by http_test.
"""
import contextlib
import os
import resource
import statistics
import threading
import time

from harness import equal, until

HELLO = b'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n'
SLOW, HEALTHY = 1000, 16
PATIENT = ('--header-ms=600000', '--send-ms=600000')  # slow clients are not given up while we look
ROUNDS = 9
TICKS = os.sysconf('SC_CLK_TCK')


class SlowClients:
    """Half of them send a byte of a head a second, the others ask for a lot and never read it."""

    def __init__(self, server, count):
        self.peers = [server.peer(receive_bytes=4096) for _ in range(count)]
        self.left = threading.Event()
        self.thread = threading.Thread(target=self.drip, daemon=True)
        for peer in self.peers:
            peer.socket.setblocking(False)

    def drip(self):
        head = b'GET /hello HTTP/1.1\r\nX: ' + b'y' * 10000
        reading, asking = self.peers[::2], self.peers[1::2]
        for peer in asking:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                peer.socket.send(HELLO.replace(b'/hello', b'/') * 1000)
        for byte in head:
            for peer in reading:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    peer.socket.send(bytes([byte]))
            if self.left.wait(1):
                return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.left.set()
        self.thread.join()
        for peer in self.peers:
            peer.socket.close()


def processor_s(server):
    with open(f'/proc/{server.process.pid}/stat', encoding='ascii') as stat:
        fields = stat.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def slow_clients(server, p99_us, note):
    """p99_us(server, clients, seconds): of healthy clients."""
    alone, among = [], []
    for _ in range(ROUNDS):
        alone.append(p99_us(server, HEALTHY, 2))
        with SlowClients(server, SLOW):
            server.has_connections(SLOW)
            among.append(p99_us(server, HEALTHY, 2))
            server.has_connections(SLOW)
        server.is_as_before()
    note(f'p99 of {HEALTHY} healthy clients: median {statistics.median(alone):,} us (least {min(alone):,}), '
         f'among {SLOW} slow ones {statistics.median(among):,} us (least {min(among):,})')
    assert min(among) < 2 * statistics.median(alone), (alone, among)


@contextlib.contextmanager
def descriptors_out(server, waiting):
    """None is left for clients that wait; those that are here stay. At the end there are some again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir(f'/proc/{server.process.pid}/fd'))
    said = ''.join(server.errors).count('cannot accept for now')
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + 1, hard))
    peers = [server.peer() for _ in range(waiting)]
    for peer in peers:
        peer.send(HELLO)
    until(lambda: ''.join(server.errors).count('cannot accept for now') > said, 'descriptors are out')
    yield peers
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
    begin = time.monotonic()
    for peer in peers:
        equal(peer.answer().status, 200)
    peers[:] = [time.monotonic() - begin]


def descriptors(server, note):
    used, back = [], []
    for _ in range(5):
        with descriptors_out(server, 100) as waiting:
            peers = list(waiting)
            begin, before = time.monotonic(), processor_s(server)
            time.sleep(3)
            used.append((processor_s(server) - before) / (time.monotonic() - begin))
            equal(server.look()['connections'] > 1, True, 'who is here is answered')
        back += waiting
        for peer in peers:
            peer.socket.close()
        server.is_as_before()
    note(f'descriptors are out: {max(used):.2%} of a processor at most, all are answered {statistics.median(back):.2f} s after '
         f'there are some again (at most {max(back):.2f} s)')
    assert max(used) < 0.05, used
    assert statistics.median(back) < 1, back
