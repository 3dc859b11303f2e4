# SPDX-License-Identifier: Apache-2.0
"""load_test.py - the server under load

serve_clients holds the connections, a fiber for each, checks every byte that comes, and measures; here we look at
the server between two of its steps: nobody is missing while all are there, and nothing is left when they have gone.
"""
import json
import os
import re
import resource
import shutil
import subprocess
import types

import harness
import overload_test
from harness import Peer, Server, equal, test, until

ROOMY = ('--max-connections=20100', '--idle-ms=600000', '--ping-ms=60000', '--pong-ms=60000')
FIBERS = 2  # of a server that has one connection: the door is the other
SIDE_BY_SIDE = 64  # of those that come and go
# What is not given back of a connection is a page at the least, 5 MB of the fewest that come and go in a round. Less than
# this is what the allocator and the pool of stacks, which give back what has not been used for a while, may hold after
# the second round and not after the first: 16 KB for each of three times as many as are there side by side.
SMALL_BYTES = 3 << 20

# Of one that waits, where there are a thousand. A release build has 11 and 28 KB: serve.md says of what.
CONNECTION_BYTES = 16 << 10
USER_BYTES = 40 << 10

plan = types.SimpleNamespace()


def note(text):
    print(f'# {text}', flush=True)


def allow_descriptors(count):
    """Descriptors for us and whom we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise AssertionError(f'{count} descriptors are needed, and {hard} are the hard limit: raise it (ulimit -Hn {count})')
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Crowd:
    """serve_clients at work: says what its clients have done, and waits for the word."""

    def __init__(self, server, *words):
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen([plan.clients, words[0], str(server.port), *map(str, words[1:])],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.process.kill()
        code = self.process.wait(10 * harness.WAIT_S)
        self.process.stdin.close()
        self.process.stdout.close()
        assert kind or code == 0, f'the clients end with {code}'

    def hear(self, expected=None):
        line = self.process.stdout.readline().strip()
        assert line, 'the clients say nothing more'
        assert expected in (None, line), line
        return line

    def say(self, word):
        self.process.stdin.write(word + '\n')
        self.process.stdin.flush()


class Watched(Server):
    """A server, one connection that looks at it all along, and how it was before anybody else came."""

    def __init__(self, *options):
        super().__init__(*ROOMY, *options)
        self.eye = Peer(self.port)
        until(lambda: self.look()['fibers'] == FIBERS, 'nobody but the door and this connection')
        self.first = self.look()

    def __exit__(self, *how):
        self.eye.socket.close()
        super().__exit__(*how)

    def ask(self, path, body=None):
        method, length = ('GET', '') if body is None else ('POST', f'Content-Length: {len(body)}\r\n')
        self.eye.send(f'{method} {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n{body or ""}'.encode())
        answer = self.eye.answer()
        equal(answer.status, 200, path)
        return answer.json()

    def stats(self):
        return self.ask('/api/stats')

    def look(self):
        stats = self.stats()
        return {'connections': stats['server']['connections'], 'users': stats['server']['users'],
                'fibers': stats['runtime']['fibers_live'],
                'descriptors': len(os.listdir(f'/proc/{self.process.pid}/fd'))}

    def resident(self):
        with open(f'/proc/{self.process.pid}/smaps_rollup', encoding='ascii') as rollup:
            return int(re.search(r'^Rss: +(\d+) kB', rollup.read(), re.M)[1]) << 10

    def has_connections(self, count):
        """Besides the one that looks. Who has left may take a moment to be gone."""
        until(lambda: self.look()['connections'] == count + 1, f'{count} connections')

    def is_as_before(self):
        """All have left, and nothing of them is left."""
        try:
            until(lambda: self.look() == self.first, '')
        except AssertionError:
            equal(self.look(), self.first)


def is_small(each, count, most):
    """What is resident for each. It is not told apart from what there is besides where there are few."""
    assert plan.sanitized or count < 1000 or each < most, f'{each:,.0f} bytes for each of {count}'


def p99_us(server, count, seconds):
    """Of a crowd that asks, and of which nobody else looks at anything."""
    with Crowd(server, 'ask', count, 1, seconds) as crowd:
        crowd.hear('connected')
        crowd.say('ask')
        told = json.loads(crowd.hear())
        crowd.say('leave')
    return told['p99_us']


def ask(server, count, requests, seconds):
    """A crowd that asks."""
    before = server.resident()
    with Crowd(server, 'ask', count, requests, seconds) as crowd:
        crowd.hear('connected')
        server.has_connections(count)
        each = (server.resident() - before) / count
        is_small(each, count, CONNECTION_BYTES)
        crowd.say('ask')
        told = json.loads(crowd.hear())
        equal(server.look()['connections'], count + 1, 'none is lost')
        assert told['requests'] >= count * requests, told
        crowd.say('leave')
    server.is_as_before()
    equal(server.stats()['server']['refused'], 0, 'refused')
    note(f'{count} connections: {told["requests"]:,} requests, {told["per_second"]:,} a second, p50 {told["p50_us"]:,} us, '
         f'p99 {told["p99_us"]:,} us, p99.9 {told["p999_us"]:,} us; resident {each:,.0f} bytes for each that waits, '
         f'{before:,} before and {server.resident():,} after')


def come_and_go(server, turns):
    """Connections one after the other; what is resident when they have gone."""
    with Crowd(server, 'turns', SIDE_BY_SIDE, turns) as crowd:
        crowd.hear('connected')
        crowd.say('ask')
        equal(json.loads(crowd.hear())['requests'], 2 * SIDE_BY_SIDE * turns)
        crowd.say('leave')
    server.is_as_before()
    return server.resident()


def leave_no_memory(turns):
    with Watched('--workers=1') as server:
        ask(server, 4 * SIDE_BY_SIDE, 1, 0)  # more at once than there will be
        first, second = come_and_go(server, turns), come_and_go(server, turns)
        note(f'{SIDE_BY_SIDE * turns} connections come and go: {first:,} bytes are resident; as many more: {second:,}')
        # a sanitizer keeps for a while what was freed; its leak checker looks at the end
        assert plan.sanitized or second < first + SMALL_BYTES, (first, second)


def users_are(server, count):
    """The list of who is there is right."""
    listed = server.ask('/api/users')
    equal(listed['connected'], count)
    equal(listed['users'], [{'user': f'user-{number:05}', 'connected': True, 'waiting': 0}
                            for number in range(min(count, 1000))])


def meet(server, count, messages):
    """Users come, replace each other, listen and leave."""
    before = server.resident()
    with Crowd(server, 'meet', count, messages) as crowd:
        crowd.hear('come')
        users_are(server, count)
        each = (server.resident() - before) / count
        is_small(each, count, USER_BYTES)
        crowd.say('replace')
        crowd.hear('replaced')
        users_are(server, count)
        server.has_connections(count)
        crowd.say('listen')
        for number in range(messages):
            equal(server.ask('/api/send', f'message {number}'), {'delivered': count, 'full': 0})
        crowd.hear('told')
        crowd.say('leave')
    server.is_as_before()
    note(f'{count} users: resident {each:,.0f} bytes for each, {before:,} before and {server.resident():,} after')


def wrk(server, count, seconds):
    """It counts what it has seen answered, the server what it has answered."""
    before = server.stats()['server']['requests']
    done = subprocess.run(['wrk', '-t1', f'-c{count}', f'-d{seconds}s', '--latency', '--timeout', '30s',
                           f'{server.url}/hello'], capture_output=True, text=True, check=True).stdout
    for line in done.splitlines():
        note(line.strip())
    assert 'Socket errors' not in done and 'Non-2xx' not in done, done
    server.is_as_before()
    counted = int(re.search(r'(\d+) requests in', done)[1])
    answered = server.stats()['server']['requests'] - before
    assert 0 < counted <= answered, (counted, answered)
    equal(server.stats()['server']['refused'], 0, 'refused')


def promise(name, descriptors, function, *arguments):
    """A test; of the descriptors each side has its own."""
    def run(_):
        allow_descriptors(descriptors + 200)
        function(*arguments)
    run.__name__ = name
    test(run)


def twice(options, function, *arguments):
    with Watched(*options) as server:
        for _ in range(2):
            function(server, *arguments)


def once(options, function, *arguments):
    with Watched(*options) as server:
        function(server, *arguments)


def prepare(clients, sanitized, long):
    """Which tests there are. Of a long run each takes a minute."""
    plan.clients, plan.sanitized = clients, sanitized
    asking = ((64, 10, 0), (200, 3, 0)) if sanitized else ((64, 50, 0), (1000, 5, 0))
    users, messages, turns = (50, 5, 2) if sanitized else (200, 10, 20)
    if long:
        harness.WAIT_S = 200
        asking = ((64, 1, 30), (1000, 1, 30), (4000 if sanitized else 10000, 1, 30))
        users, messages, turns = 2000 if sanitized else 5000, 50, 300
    for size in asking:
        promise(f'{size[0]}_connections_are_all_answered_and_leave_nothing', size[0], twice, (), ask, *size)
    promise('connections_that_come_and_go_leave_no_memory', 4 * SIDE_BY_SIDE, leave_no_memory, turns)
    promise(f'{users}_users_come_replace_each_other_listen_and_leave', 2 * users, twice, (), meet, users, messages)
    if long and not sanitized:
        promise('slow_clients_do_not_double_the_p99_of_the_others', 2000, once, overload_test.PATIENT, overload_test.slow_clients, p99_us, note)
        promise('without_descriptors_it_waits_at_no_cost_and_is_back_at_once', 500, once, (), overload_test.descriptors, note)
    if long and shutil.which('wrk'):
        for size in asking:
            promise(f'wrk_sees_no_error_with_{size[0]}_connections', size[0], once, (), wrk, size[0], 60)
    elif long:
        note('wrk is left out: tools/need bench')
