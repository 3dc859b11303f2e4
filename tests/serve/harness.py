# SPDX-License-Identifier: Apache-2.0
"""harness.py - start a server, talk to it, count what holds

A test is a function marked with @test; its name is the promise. Each module gets one server of its own, which
its tests share, and a test may start more. Nothing sleeps but to poll, with a deadline.
"""
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import traceback

WAIT_S = 20  # for whatever must happen; only a failure takes so long

BINARY = None
tests = []


def test(function):
    tests.append(function)
    return function


def until(condition, what):
    """Poll until condition() is true."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f'still not: {what}')
        time.sleep(0.01)


def equal(got, wanted, what=''):
    assert got == wanted, f'{what}: {got!r}, not {wanted!r}'


class Answer:
    """One HTTP answer."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f'<{self.status} {self.body[:100]!r}>'


class Peer:
    """A socket to the server, for those who mind every byte."""

    def __init__(self, port, receive_bytes=None):
        """port: of 127.0.0.1, or the path of a socket"""
        local = isinstance(port, str)
        self.socket = socket.socket(socket.AF_UNIX if local else socket.AF_INET)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(port if local else ('127.0.0.1', port))
        if not local:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b''

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data, step=None):
        """Send, at most step bytes at a time. A peer that has closed is for receive to find."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for at in range(0, len(data), step or len(data) or 1):
                self.socket.sendall(data[at:at + (step or len(data))])

    def more(self):
        data = self.socket.recv(65536)
        self.buffer += data
        return bool(data)

    def take(self, count):
        while len(self.buffer) < count:
            assert self.more(), f'closed after {self.buffer!r}'
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def answer(self, head=False):
        """The next answer, None at the end of the stream."""
        while b'\r\n\r\n' not in self.buffer:
            if not self.more():
                assert not self.buffer, f'cut off: {self.buffer!r}'
                return None
        text, self.buffer = self.buffer.split(b'\r\n\r\n', 1)
        lines = text.decode().split('\r\n')
        match = re.fullmatch(r'HTTP/1\.1 (\d{3}) .+', lines[0])
        assert match, f'no status line: {lines[0]!r}'
        headers = {k.lower(): v for k, v in (line.split(': ', 1) for line in lines[1:])}
        if headers.get('transfer-encoding') == 'chunked' and not head:
            return Answer(int(match[1]), headers, b''.join(iter(self.chunk, b'')))
        length = 0 if head else int(headers.get('content-length', 0))
        return Answer(int(match[1]), headers, self.take(length))

    def head(self):
        """The head of an answer whose body is taken by chunk(): status and headers."""
        answer = self.answer(head=True)
        return answer.status, answer.headers

    def chunk(self):
        """The next chunk of an answer, b'' if it was the last."""
        while b'\r\n' not in self.buffer:
            assert self.more(), f'closed after {self.buffer!r}'
        size, self.buffer = self.buffer.split(b'\r\n', 1)
        data = self.take(int(size, 16))
        equal(self.take(2), b'\r\n', 'behind a chunk')
        return data

    def closed(self):
        """The server closes now, and has nothing more to say."""
        try:
            return self.answer() is None
        except ConnectionResetError:
            return True


class Server:
    """A running server. Ends it and looks at how it ended."""

    def __init__(self, *options, address='127.0.0.1', scheme='http', launcher=(), **how):
        """address: where it says it listens, None for a path; launcher: what starts it; how: of Popen"""
        # ThreadSanitizer would have each of many servers wait for a second before it exits
        environment = {**os.environ, **how.pop('environment', {}), 'TSAN_OPTIONS': os.environ.get('TSAN_OPTIONS', '') + ':atexit_sleep_ms=0'}
        self.process = subprocess.Popen([*launcher, BINARY, '--port=0', *options], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=environment, **how)
        self.errors = []
        self.reader = threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True)
        self.reader.start()
        first = self.process.stdout.readline()
        where = rf'{scheme}://{re.escape(address)}:(\d+)' if address else 'unix:(/.*)'
        match = re.search(f'listening on {where}$', first.strip())
        assert match, f'no address: {first!r} {self.stderr()}'
        self.port = int(match[1]) if address else match[1]
        self.url = f'{scheme}://127.0.0.1:{self.port}'

    def stderr(self):
        self.reader.join(0.5)
        return ''.join(self.errors)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            code = self.end()
            assert kind or code == 0, f'exit code {code}: {self.stderr()}'

    def end(self, number=signal.SIGTERM):
        """Signal, await, return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        try:
            code = self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f'does not end: {self.stderr()}') from None
        self.process.stdout.close()
        return code

    def peer(self, **options):
        return Peer(self.port, **options)

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=WAIT_S)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.request('GET', path, headers=headers)

    def post(self, path, body, **headers):
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        return self.request('POST', path, body, headers)

    def delete(self, path):
        return self.request('DELETE', path)

    def start(self, **job):
        """POST /api/process, which must succeed."""
        answer = self.post('/api/process', job)
        assert answer.status in (200, 202), answer
        return answer.json()

    def status(self, key):
        return self.get(f'/api/status/{key}').json()

    def finished(self, key):
        """The status of a job once it has ended."""
        until(lambda: self.status(key)['state'] != 'running', f'{key} ended')
        return self.status(key)

    def counts(self):
        return self.get('/api/stats').json()['server']

    def curl(self, *arguments, data=None):
        done = subprocess.run(['curl', '-sS', '--max-time', str(WAIT_S), *arguments], input=data,
                              capture_output=True, check=False)
        assert done.returncode == 0, f'curl {arguments}: {done.returncode} {done.stderr.decode()}'
        return done.stdout


def run(modules, options):
    """Run all tests of all modules, in TAP. The exit code."""
    chosen = [(module, [t for t in tests if t.__module__ == module.__name__]) for module in modules]
    print(f'1..{len(tests) + len(modules)}', flush=True)
    number = failed = 0

    def report(name, function):
        nonlocal number, failed
        number += 1
        started = time.monotonic()
        try:
            function()
            line = f'ok {number} - {name}'
        except Exception:  # whatever went wrong is this test's failure, and the next one's chance
            failed += 1
            line = f'not ok {number} - {name}\n' + re.sub('^', '# ', traceback.format_exc().rstrip(), flags=re.M)
        print(f'{line}\n# {time.monotonic() - started:.2f} s', flush=True)

    for module, functions in chosen:
        server = Server(*options)
        for function in functions:
            report(f'{module.__name__}: {function.__name__}', lambda f=function: f(server))
        report(f'{module.__name__}: ends in good order, nothing leaked', lambda s=server: equal(s.end(), 0, s.stderr()))
    print(f'# {number - failed} passed, {failed} failed')
    return 1 if failed else 0
