#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""load.py QUESTION [OPTION...] -- SERVER... - one server under load by wrk, a figure a line

    python3 benchmarks/suite/load.py http --who nginx -- peer http

Starts the server on one processor, asks it once and looks at the answer, and lets wrk ask on
another for --seconds after --warmup. The server says `listening on http://ADDRESS:PORT` first,
and is ended afterwards. Prints what figures.py describes:

    requests      answered a second; the one figure of which more is better
    p50, p99      latency, as wrk has seen it
    server CPU    user and system time of the server and its children, by request

http asks for /hello, http_keyed for /hello/keyed: `hello N`, made by a fiber, task or goroutine
of its own under a fresh key, of which it is the N-th. What has come after the run shows that
there was one for each request.
"""
import argparse
import ctypes
import http.client
import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading

START_S = 20  # for a server to listen
PLAIN, KEYED = '/hello', '/hello/keyed'
PATHS = {'http': ('hello', PLAIN), 'http_keyed': ('keyed hello', KEYED)}
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
MICROSECONDS = {'us': 1, 'ms': 1e3, 's': 1e6, 'm': 6e7}


class Failed(Exception):
    """No figure comes of this run."""


def read_options():
    parser = argparse.ArgumentParser(description='One server under load by wrk.')
    parser.add_argument('question', choices=PATHS)
    parser.add_argument('--who', default='server', help='whose figures these are')
    parser.add_argument('--workers', type=int, default=1, help='as the server was told')
    parser.add_argument('--connections', type=int, default=64, metavar='N', help='kept alive (64)')
    parser.add_argument('--seconds', type=int, default=5, metavar='N', help='that count (5)')
    parser.add_argument('--warmup', type=int, default=1, metavar='N', help='seconds before (1)')
    parser.add_argument('server', nargs='+', metavar='SERVER', help='its command line')
    return parser.parse_args()


def processors():
    """One for the server, another for the load."""
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        raise Failed('two processors are needed')
    return mine[0], mine[1]


def start_on(processor):
    """What a child does first: it stays on its processor, and ends with us."""
    def first():
        os.sched_setaffinity(0, [processor])
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    return first


class Server:
    """A server that listens, in a process group of its own."""

    def __init__(self, command, processor):
        # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=start_on(processor), start_new_session=True)
        lines = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line) for line in self.process.stdout],
                         daemon=True).start()
        try:
            first = lines.get(timeout=START_S)
        except queue.Empty:
            first = ''
        found = re.search(r'listening on http://([\d.]+):(\d+)', first)
        if not found:
            self.end()
            raise Failed(f'the server does not say where it listens, but {first.strip()!r}')
        self.address, self.port = found[1], int(found[2])

    def get(self, path):
        """The body of one answer. A server may need a moment between saying and listening."""
        for patience in range(START_S * 10):
            connection = http.client.HTTPConnection(self.address, self.port, timeout=START_S)
            try:
                connection.request('GET', path)
                answer = connection.getresponse()
                body = answer.read().decode()
            except ConnectionRefusedError:
                if patience == START_S * 10 - 1 or self.process.poll() is not None:
                    raise
                threading.Event().wait(0.1)
                continue
            finally:
                connection.close()
            if answer.status != 200:
                raise Failed(f'{path}: {answer.status} {body.strip()!r}')
            return body
        raise Failed('nobody listens')

    def cpu_seconds(self):
        """User and system time of all processes of the group."""
        ticks = 0
        for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
            try:
                # behind the name, which may hold blanks: state ppid pgrp ... utime stime
                fields = stat.read_text(encoding='utf-8').rpartition(')')[2].split()
            except OSError:
                continue  # it has ended meanwhile
            if int(fields[2]) == self.process.pid:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf('SC_CLK_TCK')

    def end(self):
        """Ask it to end, and all that it has started; insist if it does not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(START_S)
                return
            except ProcessLookupError:
                self.process.wait()
                return
            except subprocess.TimeoutExpired:
                continue


def latency_us(text, percent):
    found = re.search(rf'^\s*{percent}%\s+([\d.]+)(us|ms|s|m)\s*$', text, re.M)
    if not found:
        raise Failed(f'wrk prints no {percent} %')
    return float(found[1]) * MICROSECONDS[found[2]]


def load(server, path, options, seconds, processor):
    """What wrk prints, and how many requests it has seen answered in how many seconds."""
    done = subprocess.run(
        ['wrk', '-t1', f'-c{options.connections}', f'-d{seconds}s', '--latency', '--timeout', '30s',
         f'http://{server.address}:{server.port}{path}'],
        capture_output=True, text=True, check=False, preexec_fn=start_on(processor))
    for wrong in ('Socket errors', 'Non-2xx'):
        if wrong in done.stdout:
            line = next(line for line in done.stdout.splitlines() if wrong in line)
            raise Failed(line.strip())
    found = re.search(r'^\s*(\d+) requests in ([\d.]+)(ms|s|m),', done.stdout, re.M)
    if done.returncode or not found or int(found[1]) == 0:
        raise Failed(f'wrk: {(done.stderr or done.stdout).strip()[:200]}')
    return done.stdout, int(found[1]), float(found[2]) * MICROSECONDS[found[3]] / 1e6


def ask(server, path):
    """The answer has the body that it should: for a keyed one, its number."""
    body = server.get(path)
    found = re.fullmatch('hello\n' if path == PLAIN else r'hello (\d+)\n', body)
    if not found:
        raise Failed(f'{path}: another body, {body!r}')
    return int(found[1]) if path == KEYED else 0


def measure(server, options, processor):
    """(metric, unit, value) of one run."""
    what, path = PATHS[options.question]
    ask(server, path)
    if options.warmup:
        load(server, path, options, options.warmup, processor)
    before, first = server.cpu_seconds(), ask(server, path)
    text, count, seconds = load(server, path, options, options.seconds, processor)
    cpu, last = server.cpu_seconds() - before, ask(server, path)
    if path == KEYED and last - first - 1 < count:
        raise Failed(f'{last - first - 1} keyed answers were made for {count} requests')
    yield f'{what}, requests', '1/s', count / seconds
    yield f'{what}, p50', 'us', latency_us(text, 50)
    yield f'{what}, p99', 'us', latency_us(text, 99)
    yield f'{what}, server CPU', 'us', cpu / count * 1e6


def main():
    options = read_options()
    try:
        for_server, for_load = processors()
        server = Server(options.server, for_server)
        try:
            found = list(measure(server, options, for_load))
        finally:
            server.end()
    except (Failed, OSError, http.client.HTTPException) as why:
        print(f'load: {options.who}: {why}', file=sys.stderr)
        return 1
    for metric, unit, value in found:
        print(json.dumps({'who': options.who, 'metric': metric, 'workers': options.workers,
                          'unit': unit, 'median': float(f'{value:.6g}')}))
    return 0


if __name__ == '__main__':
    sys.exit(main())
