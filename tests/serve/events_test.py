# SPDX-License-Identifier: Apache-2.0
"""events_test.py - server-sent events: what happens to jobs, told while it happens"""
import collections
import json
import pathlib
import re
import subprocess
import tempfile

from harness import Server, WAIT_S, equal, test, until


class Feed:
    """A stream of events: a body in chunks, of which each is one event."""

    def __init__(self, server, path, last_id=None, **options):
        self.peer = server.peer(**options)
        self.last_id = last_id
        header = b'Last-Event-ID: ' + last_id.encode() + b'\r\n' if last_id else b''
        self.peer.send(b'GET ' + path + b' HTTP/1.1\r\nHost: x\r\n' + header + b'\r\n')
        self.status, self.headers = self.peer.head()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.peer.socket.close()

    def next(self):
        """(event, data), None at the end of the body; comments are passed over. What happens has an id."""
        while True:
            text = self.peer.chunk()
            match = re.fullmatch(r'(?:id: (\S+)\n)?event: (\w+)\ndata: (.*)\n\n', text.decode())
            if match:
                equal(match[1] is None, match[2] in ('status', 'lost'), text)
                self.last_id = match[1] or self.last_id
                return match[2], json.loads(match[3])
            if not text:
                return None
            equal(text, b':\n\n', 'neither event nor comment')

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
        equal((feed.status, feed.headers['content-type'], feed.headers['transfer-encoding']), (200, 'text/event-stream', 'chunked'))
        assert 'connection' not in feed.headers, feed.headers
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
            equal([feed.peer.chunk() for _ in range(3)], [b':\n\n'] * 3, 'comments keep it open')
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
        equal([feed.next(), feed.next()], [('draining', {}), None])
        assert feed.peer.closed(), 'nothing behind the last chunk'
        equal(server.wait(), 0)


@test
def who_comes_back_hears_what_it_has_missed(server):
    with Feed(server, b'/api/events') as everybody, Feed(server, b'/api/events/back') as feed:
        server.start(key='back', kind='sleep', ms=0)
        feed.until('ended')
        everybody.until('ended')
    for key in ('back', 'other', 'back'):
        server.start(key=key, kind='sleep', ms=0)
        server.finished(key)
    with Feed(server, b'/api/events/back', last_id=feed.last_id) as again:
        # the present state does not come first, for what led to it is heard
        equal([again.next()[0] for _ in range(4)], ['started', 'ended'] * 2)
        server.start(key='back', kind='sleep', ms=0)
        equal([name for name, _ in again.until('ended')], ['started', 'ended'])
    with Feed(server, b'/api/events', last_id=everybody.last_id) as again:
        equal([again.next()[1]['key'] for _ in range(8)], ['back'] * 2 + ['other'] * 2 + ['back'] * 4)
    with Feed(server, b'/api/events', last_id=again.last_id) as nothing_new:
        server.start(key='new', kind='sleep', ms=0)
        equal(nothing_new.next()[1]['key'], 'new')


@test
def who_comes_back_too_late_is_told_what_it_has_lost(_):
    with Server() as server:
        with Feed(server, b'/api/events') as feed:
            server.start(key='first', kind='sleep', ms=0)
            feed.until('ended')
        jobs = [{'key': 'many', 'kind': 'sleep', 'ms': 0, 'mode': 'queue'} for _ in range(600)]
        equal(server.post('/api/batch', {'jobs': jobs, 'all_or_nothing': False}).status, 202)
        until(lambda: server.counts()['jobs'] == 0, 'all have ended')
        with Feed(server, b'/api/events', last_id=feed.last_id) as late:
            name, data = late.next()
            equal((name, data), ('lost', {'events': 2 * 600 - 1024}))
            equal(collections.Counter(late.next()[0] for _ in range(1024)), {'started': 512, 'ended': 512})
        number = int(late.last_id.split('-')[1])
        for unknown in ('0', 'x', late.last_id + 'x', late.last_id + '0', late.last_id.replace('-', '-+'), 'x' * 300,
                        '1' + late.last_id, late.last_id.split('-')[0] + '-0', late.last_id.split('-')[0] + '-'):
            with Feed(server, b'/api/events/many', last_id=unknown) as stranger:
                equal(stranger.next(), ('lost', {}), unknown)
                name, data = stranger.next()
                equal((name, data['key'], data['state']), ('status', 'many', 'success'))
        equal(number, 2 + 2 * 600, 'ids are numbered')


@test
def a_stream_stands_behind_other_answers_and_ends_as_a_body_does(_):
    hello = b'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n'
    with Server() as server, server.peer() as peer, server.peer() as old, tempfile.NamedTemporaryFile() as out:
        server.start(key='held', kind='sleep', ms=3600000)
        peer.send(hello * 2 + hello.replace(b'/hello', b'/api/events'))
        equal([peer.answer().body for _ in range(2)], [b'hello\n'] * 2)
        equal(peer.head()[1]['transfer-encoding'], 'chunked')
        old.send(b'GET /api/events HTTP/1.0\r\n\r\n')
        status, headers = old.head()
        equal((status, headers.get('transfer-encoding'), headers['connection']), (200, None, 'close'))
        curl = subprocess.Popen(['curl', '-sSN', '--max-time', str(WAIT_S), '-o', out.name, f'{server.url}/api/events/held'])
        until(lambda: b'event: status' in pathlib.Path(out.name).read_bytes(), 'curl listens')
        equal(server.delete('/api/cancel/held').status, 200)
        until(lambda: b'ended' in pathlib.Path(out.name).read_bytes(), 'curl has heard of it')
        equal(server.end(), 0)
        equal(curl.wait(WAIT_S), 0, 'curl has got all of the body')
        while old.more():
            pass
        equal(re.findall(rb'^event: (.*)$', old.buffer, re.M)[-2:], [b'ended', b'draining'])


@test
def who_reads_no_events_is_given_up(_):
    key = 'x' * 512
    with Server('--send-ms=50') as server, Feed(server, b'/api/events', receive_bytes=4096):
        # one that ends and begins without end; what is answered is short, for we are as slow as we may
        server.start(key=key, kind='sleep', ms=0, restart={'type': 'permanent', 'delay_ms': 1})
        until(lambda: server.counts()['connections'] == 1, 'only the asking connection is left')
