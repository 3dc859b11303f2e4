# SPDX-License-Identifier: Apache-2.0
"""api_test.py - jobs by key: started once, replaced, kept, interrupted, remembered"""
import hashlib
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from harness import Server, equal, test, until


@test
def the_jobs_are_real(server):
    digest = hashlib.sha256(b'abc').digest()
    for _ in range(4999):
        digest = hashlib.sha256(digest).digest()
    server.start(key='hash', kind='hash', text='abc', rounds=5000)
    equal(server.finished('hash')['result'], {'rounds': 5000, 'sha256': digest.hex()})
    server.start(key='empty', kind='hash')
    equal(server.finished('empty')['result']['sha256'], hashlib.sha256(b'').hexdigest())
    for below, count in ((0, 0), (2, 0), (3, 1), (4, 2), (9, 4), (10, 4), (26, 9), (100, 25), (65536, 6542),
                         (65538, 6543), (65540, 6544), (1000000, 78498),
                         (1000004, 78499)):
        server.start(key='primes', kind='primes', below=below)
        equal(server.finished('primes')['result'], {'below': below, 'primes': count})
    server.start(key='nap', kind='sleep', ms=1)
    equal(server.finished('nap')['result'], {'ms': 1})
    server.start(key='fault', kind='fail', code=7, ms=1)
    fault = server.finished('fault')
    equal((fault['state'], fault['code'], fault['kind']), ('failure', 7, 'fail'))


@test
def a_job_runs_until_it_is_cancelled(server):
    started = server.start(key='nap', kind='sleep', ms=3600000)
    equal((started['key'], started['outcome']), ('nap', 'started'))
    equal(server.status('nap'), {'key': 'nap', 'state': 'running', 'id': started['id'], 'kind': 'sleep'})
    fibers = server.get('/api/fibers').json()
    shown = [job for job in fibers['jobs'] if job['key'] == 'nap']
    equal([(job['id'], job['name'], job['state']) for job in shown], [(started['id'], 'sleep', 'running')])
    answer = server.delete('/api/cancel/nap')
    equal((answer.status, answer.json()), (200, {'key': 'nap', 'outcome': 'cancelled'}))
    status = server.status('nap')
    equal((status['state'], status['reason'], status['id']), ('interrupted', 'remove', started['id']))
    equal(server.delete('/api/cancel/nap').status, 404)


@test
def computing_is_interrupted_and_lets_others_run(_):
    with Server('--workers=1') as server:
        for job in ({'kind': 'primes', 'below': 10**11}, {'kind': 'hash', 'rounds': 10**9}):
            server.start(key='long', **job)
            started = time.monotonic()
            equal(server.get('/hello').status, 200)
            equal(server.delete('/api/cancel/long').status, 200)
            assert time.monotonic() - started < 5, 'one worker is for all'
            equal(server.status('long')['state'], 'interrupted')


@test
def a_key_is_made_if_none_is_given(server):
    keys = {server.start(kind='sleep', ms=0)['key'] for _ in range(10)}
    equal(len(keys), 10)
    for key in keys:
        equal(server.finished(key)['state'], 'success')
    assert server.start(kind='sleep', ms=0, key=None)['key']


@test
def a_job_is_replaced_or_kept(server):
    first = server.start(key='k', kind='sleep', ms=3600000, mode='only-if-missing')
    equal(first['outcome'], 'started')
    kept = server.start(key='k', kind='fail', mode='only-if-missing')
    equal((kept['outcome'], kept['id']), ('kept', first['id']))
    second = server.start(key='k', kind='sleep', ms=3600000)
    equal(second['outcome'], 'replaced')
    assert second['id'] != first['id']
    third = server.start(key='k', kind='primes', below=10, mode='replace')
    equal(third['outcome'], 'replaced')
    equal(server.finished('k')['id'], third['id'])
    equal(server.status('k')['result'], {'below': 10, 'primes': 4})
    equal(server.start(key='k', kind='sleep', ms=0, mode='only-if-missing')['outcome'], 'started')
    server.finished('k')


@test
def of_many_at_once_one_starts(server):
    def start(_):
        return server.start(key='race', kind='sleep', ms=3600000, mode='only-if-missing')

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(start, range(200)))
    outcomes = [a['outcome'] for a in answers]
    equal((outcomes.count('started'), outcomes.count('kept')), (1, 199))
    equal(len({a['id'] for a in answers}), 1)
    server.delete('/api/cancel/race')


@test
def of_many_replaced_the_last_remains(server):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: server.start(key='race', kind='sleep', ms=3600000), range(200)))
    outcomes = [a['outcome'] for a in answers]
    equal((outcomes.count('started'), outcomes.count('replaced')), (1, 199))
    until(lambda: [j['key'] for j in server.get('/api/fibers').json()['jobs']] == ['race'], 'one remains')
    assert server.status('race')['id'] in {a['id'] for a in answers}
    equal(server.delete('/api/cancel/race').status, 200)
    equal(server.status('race')['reason'], 'remove')


@test
def what_is_not_known_is_not_found(server):
    equal(server.get('/api/status/nobody').status, 404)
    equal(server.delete('/api/cancel/nobody').status, 404)


# F108
@test
def json_that_is_none_is_refused(server):
    wrong = [b'', b'{', b'{"kind": "sleep"', b'[]', b'1', b'null', b'"x"', b'{"kind": "sleep"} x', b'{"kind": "sleep"}{}',
             b'{"kind": NaN}', b"{'kind': 'sleep'}", b'{"kind": "\xff"}', b'{"key": "\xed\xa0\x80", "kind": "sleep"}',
             b'[' * 100000, b'{"a":' * 100000, b'{"kind": "sleep", "x": ' + b'[' * 40 + b']' * 40 + b'}',
             b'{"kind": "sleep", "ms": ' + b'9' * 1000000 + b'}',
             {}, {'kind': 'tea'}, {'kind': 5}, {'kind': 'sleep', 'ms': -1}, {'kind': 'sleep', 'ms': '5'},
             {'kind': 'sleep', 'ms': 1.5}, {'kind': 'sleep', 'ms': 1e300}, {'kind': 'sleep', 'ms': 2**63},
             {'kind': 'sleep', 'ms': None}, {'kind': 'hash', 'rounds': 0}, {'kind': 'hash', 'text': 5},
             {'kind': 'hash', 'text': 'x' * 65537}, {'kind': 'primes', 'below': 10**12}, {'kind': 'fail', 'code': 0},
             {'kind': 'fail', 'code': 2**31}, {'kind': 'sleep', 'mode': 'tea'}, {'kind': 'sleep', 'mode': 1},
             {'kind': 'sleep', 'key': ''}, {'kind': 'sleep', 'key': 5}, {'kind': 'sleep', 'key': 'a\nb'},
             {'kind': 'sleep', 'key': 'a\0b'}, {'kind': 'sleep', 'key': 'x' * 513},
             # a NUL ends nothing, neither the body nor a word; what stands in no path is no key
             b'{"kind": "sleep"}\0', b'{"kind": "sleep"}\0tea', {'kind': 'sleep\0tea'}, {'kind': 'sleep', 'mode': 'join\0tea'},
             {'kind': 'sleep', 'restart': {'type': 'transient\0tea'}}, {'kind': 'sleep', 'key': '.'}, {'kind': 'sleep', 'key': '..'}]
    for body in wrong:
        answer = server.post('/api/process', body)
        equal(answer.status, 400, str(body)[:60])
        assert answer.json()['detail'], body
    # the last of equal names counts, white space around is none of ours
    answer = server.post('/api/process', b' {"kind": "tea", "kind": "sleep", "ms": 0}\r\n ')
    equal(answer.status, 202)


# F109
@test
def any_key_comes_back_as_it_was(server):
    keys = ['a b', 'a/b', '../x', '...', '.a', '%', '%41', 'é€𝄞', '"\\', '<>&', '?#', "o'clock", 'x' * 512, '+', ' ']
    for key in keys:
        equal(server.start(key=key, kind='sleep', ms=3600000)['key'], key)
        equal(server.get('/api/status/' + quote(key, safe='')).json()['key'], key)
        equal(server.delete('/api/cancel/' + quote(key, safe='')).json()['key'], key)


# F109
@test
def a_name_in_a_path_is_checked(server):
    for name in ('', '%', '%4', '%zz', '%00', '%0a', '%7f', '%ff', '%c0%80', '%ed%a0%80', 'a/b', 'x' * 513):
        equal(server.get('/api/status/' + name).status, 400, name)
    equal(server.get('/api/status/x?y=/z').status, 404)


@test
def the_last_results_are_kept(_):
    with Server('--results=3') as server:
        for key in 'abcd':
            server.start(key=key, kind='sleep', ms=0)
            server.finished(key)
        equal([server.get(f'/api/status/{key}').status for key in 'abcd'], [404, 200, 200, 200])
        server.start(key='b', kind='fail', code=3)
        until(lambda: server.status('b')['state'] == 'failure', 'b has failed')
        server.start(key='e', kind='sleep', ms=0)
        server.finished('e')
        equal([server.get(f'/api/status/{key}').status for key in 'bcde'], [200, 404, 200, 200])


@test
def jobs_beyond_the_limit_are_refused(_):
    with Server('--max-jobs=2') as server:
        for key in 'ab':
            server.start(key=key, kind='sleep', ms=3600000)
        equal(server.post('/api/process', {'kind': 'sleep'}).status, 429)
        server.delete('/api/cancel/a')
        server.start(kind='sleep', ms=3600000)


@test
def another_site_may_not_use_the_browser(server):
    job = {'kind': 'sleep', 'ms': 0}
    ours = f'http://127.0.0.1:{server.port}'
    equal(server.post('/api/process', job, Origin=ours).status, 202)
    for origin in ('http://example.com', f'http://example.com:{server.port}', 'null', ours + '0'):
        equal(server.post('/api/process', job, Origin=origin).status, 403, origin)
    equal(server.request('DELETE', '/api/cancel/x', headers={'Origin': 'null'}).status, 403)


@test
def a_site_whose_name_leads_here_may_not_use_the_browser_either(server):
    theirs = f'example.com:{server.port}'
    asked = {'GET': ('/hello', '/metrics', '/api/fibers', '/api/dump', '/api/events', '/openapi.json', '/ws/ann'), 'POST': ('/api/process', '/api/digest'),
             'DELETE': ('/api/cancel?prefix=x',)}
    for method, paths in asked.items():
        for path in paths:
            answer = server.request(method, path, headers={'Host': theirs, 'Origin': f'http://{theirs}'})
            equal((path, answer.status, answer.json()['status']), (path, 403, 403))
    for host in ('example.com', 'a.b', 'localhost.example.com', 'xlocalhost.', 'notlocalhost.com:80', '127.0.0.1.example.com', '1.2.3.4x', 'localhost.'):
        equal(server.get('/hello', Host=host).status, 403, host)
    for host in ('localhost', 'LOCALHOST:80', 'x.localhost', 'box', '127.0.0.1', '192.0.2.1:80', '[::1]:80', ''):
        equal(server.get('/hello', Host=host).status, 200, host)
    for path in ('/healthz', '/page/main.js'):
        equal(server.get(path, Host=theirs).status, 200, path)
    with server.peer() as peer:
        peer.send(b'GET http://example.com/hello HTTP/1.1\r\nHost: localhost\r\n\r\nGET http://localhost/hello HTTP/1.1\r\nHost: example.com\r\n\r\n')
        equal([peer.answer().status, peer.answer().status], [403, 200])


@test
def numbers_and_dump_tell_what_runs(server):
    server.start(key='here', kind='sleep', ms=3600000)
    stats = server.get('/api/stats').json()
    assert stats['runtime']['worker_count'] >= 1, stats
    assert stats['runtime']['fibers_live'] >= 2, stats
    assert stats['server']['jobs'] >= 1 and stats['server']['requests'] >= 1, stats
    equal(stats['server']['draining'], False)
    equal(len(stats['workers']), stats['runtime']['worker_count'])
    assert any('running' in worker for worker in stats['workers']), 'one of them runs who answers'
    switches = stats['runtime']['schedule_latency']
    equal(sum(switches['buckets']), switches['count'])
    dump = server.get('/api/dump')
    equal(dump.status, 200)
    assert b'sleep' in dump.body and b'connection' in dump.body, dump.body
    server.delete('/api/cancel/here')
    equal(server.get('/healthz').body, b'ok\n')


@test
def what_jobs_wait_for_is_told(server):
    server.start(key='idle', kind='sleep', ms=3600000)
    server.start(key='idle', kind='sleep', ms=3600000, mode='queue')

    def shown():
        fibers = server.get('/api/fibers').json()
        return fibers, sorted((job['state'], job['fiber'], job.get('waits_for')) for job in fibers['jobs'] if job['key'] == 'idle')

    until(lambda: ('running', 'parked', 'sleep') in shown()[1], 'the job sleeps')
    fibers, jobs = shown()
    equal([state for state, _, _ in jobs], ['queued', 'running'])
    assert fibers['fibers']['waits']['sleep'] >= 1, fibers['fibers']
    states = fibers['fibers']['states']
    assert states['running'] >= 1 and states['parked'] >= 1, states
    server.delete('/api/cancel?prefix=idle')


@test
def a_thousand_jobs_run_side_by_side(server):
    with server.peer() as peer:
        for number in range(1000):
            body = json.dumps({'key': f'many-{number}', 'kind': 'sleep', 'ms': 3600000}).encode()
            peer.send(b'POST /api/process HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
        equal({peer.answer().json()['outcome'] for _ in range(1000)}, {'started'})
        equal(server.counts()['jobs'], 1000)

        def cancel():
            for number in range(1000):
                peer.send(b'DELETE /api/cancel/many-%d HTTP/1.1\r\nHost: x\r\n\r\n' % number)

        sender = threading.Thread(target=cancel)
        sender.start()
        equal({peer.answer().json()['outcome'] for _ in range(1000)}, {'cancelled'})
        sender.join()
    equal(server.counts()['jobs'], 0)


@test
def a_keyed_hello_is_made_by_a_fiber_of_its_own(_):
    def stats(peer):
        peer.send(b'GET /api/stats HTTP/1.1\r\nHost: x\r\n\r\n')
        return peer.answer().json()

    with Server() as server:
        with server.peer() as peer:
            before = stats(peer)
            peer.send(b'GET /hello/keyed HTTP/1.1\r\nHost: x\r\n\r\n' * 300)
            equal([peer.answer().body for _ in range(300)], [b'hello %d\n' % n for n in range(1, 301)])
            after = stats(peer)
        assert after['runtime']['fibers_spawned'] - before['runtime']['fibers_spawned'] >= 300, after
        with ThreadPoolExecutor(8) as pool:
            bodies = list(pool.map(lambda _: server.get('/hello/keyed').body, range(64)))
        equal(sorted(bodies), sorted(b'hello %d\n' % n for n in range(301, 365)))
        equal(server.get('/api/stats').json()['server']['hellos_made'], 364)


@test
def browsers_get_the_page_and_all_others_the_list(server):
    page = server.get('/', Accept='text/html,application/xhtml+xml,*/*;q=0.8')
    equal((page.status, page.headers['content-type'], page.headers['vary']), (200, 'text/html; charset=utf-8', 'Accept'))
    for accept in ({}, {'Accept': '*/*'}, {'Accept': 'text/plain'}):
        equal(server.get('/', **accept).body, server.get('/help').body)
    parts = re.findall(r'(?:href|src)="(/page/[^"]+)"', page.body.decode())
    assert len(parts) >= 4, parts
    kinds = {'css': 'text/css', 'js': 'text/javascript', 'svg': 'image/svg+xml'}
    for path in parts:
        part = server.get(path)
        equal((part.status, part.headers['content-type']), (200, kinds[path.split('.')[-1]] + '; charset=utf-8'), path)
        assert "default-src 'self'" in part.headers['content-security-policy'], part.headers
        equal((part.headers['x-content-type-options'], part.headers['cache-control']), ('nosniff', 'no-cache'))
    for module in re.findall(r'from "[.](/[^"]+)"', server.get('/page/main.js').body.decode()):
        equal(server.get('/page' + module).status, 200, module)
    for name in ('', '..', '.', 'page.c', 'x' * 512):
        assert server.get('/page/' + name).status in (400, 404), name


@test
def what_a_browser_has_is_not_sent_again(server):
    whole = server.get('/page/style.css')
    tag = whole.headers['etag']
    assert re.fullmatch('"[0-9a-f]{32}"', tag), tag
    with server.peer() as peer:
        for known in (tag, f'"x", {tag}', '*'):
            peer.send(f'GET /page/style.css HTTP/1.1\r\nHost: x\r\nIf-None-Match: {known}\r\n\r\n'.encode())
            answer = peer.answer()
            equal((answer.status, answer.headers['etag'], answer.body, 'content-length' in answer.headers), (304, tag, b'', False), known)
        peer.send(b'GET /page/style.css HTTP/1.1\r\nHost: x\r\nIf-None-Match: "x"\r\n\r\n')
        equal(peer.answer().body, whole.body)
        peer.send(b'HEAD /page/style.css HTTP/1.1\r\nHost: x\r\n\r\n')
        answer = peer.answer(head=True)
        equal((answer.status, answer.headers['content-length']), (200, str(len(whole.body))))
