# SPDX-License-Identifier: Apache-2.0
"""door_test.py - where it listens besides TCP: at a path, on a socket that was handed over; what a manager is told"""
import os
import socket
import subprocess
import sys
import tempfile

import harness
from harness import Peer, Server, WAIT_S, equal, test

HELLO = b'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n'
# As a service manager does: the socket is descriptor 3, and the variables name this very process.
HANDING_OVER = """
import os, sys
count, fds, rest = sys.argv[1], sys.argv[2].split(','), sys.argv[3:]
for at, fd in enumerate(fds):
    os.dup2(int(fd), 3 + at)
os.execve(rest[0], rest, {**os.environ, 'LISTEN_FDS': count, 'LISTEN_PID': str(os.getpid())})
"""


def launcher(*sockets):
    return [sys.executable, '-c', HANDING_OVER, str(len(sockets)), ','.join(str(s.fileno()) for s in sockets)]


def hello_at(where):
    with Peer(where) as peer:
        peer.send(HELLO)
        equal(peer.answer().body, b'hello\n')


@test
def a_path_is_listened_on_and_removed(_):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'serve')
        for _ in range(2):
            with Server('--unix=' + path, '--rate=1000', address=None) as server:
                equal(server.port, path)
                hello_at(path)
                server.curl('--fail', '--unix-socket', path, 'http://example.com/hello')
                done = subprocess.run([harness.BINARY, '--unix=' + path], capture_output=True, text=True, timeout=WAIT_S,
                                      check=False)
                equal(done.returncode, 1)
                assert 'in use' in done.stderr, done.stderr
                hello_at(path)
            assert not os.path.exists(path), 'it is still there'


@test
def a_path_that_nobody_listens_on_gives_way(_):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'serve')
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        with Server('--unix=' + path, address=None):
            hello_at(path)
        with open(path, 'w', encoding='ascii') as file:
            file.write('precious')
        for where in (path, os.path.join(directory, 'no', 'such'), os.path.join(directory, 'x' * 200)):
            done = subprocess.run([harness.BINARY, '--unix=' + where], capture_output=True, text=True, timeout=WAIT_S, check=False)
            equal(done.returncode, 1, where)
            assert 'cannot listen on ' + where in done.stderr, done.stderr
        with open(path, encoding='ascii') as file:
            equal(file.read(), 'precious')


@test
def a_socket_that_is_handed_over_is_listened_on(_):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'handed')
        with socket.create_server(('127.0.0.1', 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
            local.bind(path)
            local.listen()
            with Server(launcher=launcher(tcp), pass_fds=[tcp.fileno()]) as server:
                equal(server.port, tcp.getsockname()[1])
                equal(server.get('/hello').body, b'hello\n')
            with Server(launcher=launcher(local), pass_fds=[local.fileno()], address=None) as server:
                equal(server.port, path)
                hello_at(path)
            assert os.path.exists(path), 'who handed it over may hand it over again'


@test
def a_socket_that_cannot_be_listened_on_is_refused(_):
    with socket.create_server(('127.0.0.1', 0)) as tcp, socket.create_server(('0.0.0.0', 0)) as public, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as closed:
        for sockets, word in (([tcp, tcp], 'handed over'), ([datagrams], 'handed over'), ([closed], 'handed over'),
                              ([public], 'without --token-file')):
            done = subprocess.run([*launcher(*sockets), harness.BINARY], capture_output=True, text=True, timeout=WAIT_S,
                                  check=False, pass_fds=[s.fileno() for s in sockets])
            equal(done.returncode, 1, word)
            assert word in done.stderr, done.stderr


@test
def variables_of_another_process_are_not_ours(_):
    with Server(environment={'LISTEN_FDS': '1', 'LISTEN_PID': '1'}) as server:
        equal(server.get('/hello').status, 200)


@test
def a_manager_is_told_when_it_is_ready_and_when_it_stops(_):
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(WAIT_S)
        manager.bind(os.path.join(directory, 'notify'))
        with Server(environment={'NOTIFY_SOCKET': manager.getsockname()}):
            equal(manager.recv(100), b'READY=1')
        equal(manager.recv(100), b'STOPPING=1')
    with Server(environment={'NOTIFY_SOCKET': '/no/such/socket'}):
        pass
