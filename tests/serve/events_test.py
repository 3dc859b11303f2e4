# SPDX-License-Identifier: Apache-2.0
"""events_test.py - server-sent events: what happens to jobs, told while it happens"""
import json
import re

from harness import Server, equal, test, until


class Feed:
    """A stream of events."""

    def __init__(self, server, path, **options):
        self.peer = server.peer(**options)
        self.peer.send(b'GET ' + path + b' HTTP/1.1\r\nHost: x\r\n\r\n')
        while b'\r\n\r\n' not in self.peer.buffer:
            assert self.peer.more(), f'cut off: {self.peer.buffer!r}'
        self.head, self.peer.buffer = self.peer.buffer.split(b'\r\n\r\n', 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.peer.socket.close()

    def next(self):
        """(event, data), None at the end of the stream; comments are passed over."""
        while True:
            while b'\n\n' not in self.peer.buffer:
                if not self.peer.more():
                    return None
            text, self.peer.buffer = self.peer.buffer.split(b'\n\n', 1)
            match = re.fullmatch(r'event: (\w+)\ndata: (.*)', text.decode())
            if match:
                return match[1], json.loads(match[2])
            equal(text, b':', 'neither event nor comment')

    def until(self, event):
        """The events up to the next of this name, included."""
        seen = []
        while not seen or seen[-1][0] != event:
            seen.append(self.next())
            assert seen[-1], f'ended after {seen}'
        return seen


@test
def a_job_tells_how_far_it_has_come(server):
    with Feed(server, b'/api/events/told') as feed:
        assert b'200 OK' in feed.head and b'Content-Type: text/event-stream' in feed.head, feed.head
        for job in ({'kind': 'sleep', 'ms': 40}, {'kind': 'primes', 'below': 2000000}, {'kind': 'hash', 'rounds': 20000}):
            started = server.start(key='told', **job)
            server.start(key='else', kind='sleep', ms=0)
            server.finished('else')
            seen = feed.until('ended')
            equal([name for name, _ in seen], ['started'] + ['progress'] * (len(seen) - 2) + ['ended'])
            equal({(data['key'], data['id'], data['kind']) for _, data in seen}, {('told', started['id'], job['kind'])})
            percents = [data['percent'] for name, data in seen if name == 'progress']
            assert percents and percents == sorted(set(percents)) and percents[-1] <= 100, percents
            equal(seen[-1][1]['state'], 'success')
            equal(seen[-1][1], server.finished('told'))


@test
def all_jobs_are_heard_where_no_key_is_named(server):
    with Feed(server, b'/api/events') as feed:
        for key in 'ab':
            server.start(key=key, kind='sleep', ms=0)
            equal([(name, data['key']) for name, data in feed.until('ended')], [('started', key), ('ended', key)])


@test
def a_stream_begins_with_what_is_known_of_the_key(server):
    with Feed(server, b'/api/events/known') as early:
        started = server.start(key='known', kind='sleep', ms=3600000)
        equal(early.next()[0], 'started')
    with Feed(server, b'/api/events/known') as feed:
        equal(feed.next(), ('status', {'key': 'known', 'state': 'running', 'id': started['id'], 'kind': 'sleep'}))
        server.start(key='known', kind='sleep', ms=3600000)
        equal(sorted(feed.next()[0] for _ in range(2)), ['replaced', 'started'])
        server.delete('/api/cancel/known')
        name, data = feed.next()
        equal((name, data['state'], data['reason']), ('ended', 'interrupted', 'remove'))


@test
def restarts_are_heard(server):
    with Feed(server, b'/api/events/again') as feed:
        server.start(key='again', kind='fail', code=5, restart={'type': 'transient', 'times': 1})
        seen = [feed.next() for _ in range(5)]
        equal([name for name, _ in seen], ['started', 'ended', 'started', 'ended', 'ended'])
        equal([data['restarts'] for name, data in seen if name == 'started'], [0, 1])
        equal(seen[-1][1]['reason'], 'restart limit')


@test
def who_hears_nothing_is_kept_and_who_leaves_is_forgotten(_):
    with Server('--ping-ms=20') as server:
        with Feed(server, b'/api/events') as feed:
            until(lambda: feed.peer.more() and feed.peer.buffer.count(b':\n\n') >= 2, 'comments keep it open')
            equal(server.counts()['connections'], 2)
        until(lambda: server.counts()['connections'] == 1, 'the stream has ended')
        server.start(kind='sleep', ms=0)


@test
def who_reads_too_slowly_is_told_what_it_has_lost(_):
    key = 'x' * 512
    with Server('--workers=1') as server, Feed(server, b'/api/events/' + key.encode(), receive_bytes=4096) as feed:
        jobs = [{'key': key, 'kind': 'sleep', 'ms': 0, 'mode': 'queue'} for _ in range(600)]
        equal(server.post('/api/batch', {'jobs': jobs, 'all_or_nothing': False}).status, 202)
        until(lambda: server.counts()['jobs'] == 0, 'all have ended')
        assert feed.until('lost')[-1][1]['events'] > 0
        name, data = feed.next()
        equal((name, data['key'], data['state']), ('status', key, 'success'))


@test
def a_stream_ends_when_the_server_does(_):
    with Server() as server, Feed(server, b'/api/events/x') as feed:
        server.process.terminate()
        last = feed.next()
        if last is not None:  # where its end does not overtake what it is told
            equal(last, ('draining', {}))
            equal(feed.next(), None)
        equal(server.wait(), 0)
