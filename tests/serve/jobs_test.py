# SPDX-License-Identifier: Apache-2.0
"""jobs_test.py - what a job may be asked: modes, waiting together, deadlines, restarts, many at once, cancel by prefix"""
import json
import socket
import struct
from urllib.parse import quote

from harness import Server, equal, test, until

HOUR = 3600000


def problem(answer, status, detail=''):
    """The answer is problem details (RFC 9457) of this status."""
    equal((answer.status, answer.headers['content-type']), (status, 'application/problem+json'), answer)
    told = answer.json()
    equal(told['status'], status)
    assert told['title'] and detail in told['detail'], told
    return told


def live(server, prefix=''):
    jobs = server.get('/api/fibers').json()['jobs']
    return sorted((job['key'], job['state']) for job in jobs if job['key'].startswith(prefix))


def job_request(**job):
    body = json.dumps(job).encode()
    return b'POST /api/process HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body)


@test
def what_goes_wrong_is_told_as_problem_details(server):
    problem(server.get('/api/status/nobody'), 404, 'no such key')
    problem(server.get('/nothing'), 404)
    problem(server.request('PUT', '/hello'), 405)
    problem(server.post('/api/process', '{'), 400)
    equal(problem(server.post('/api/process', {'kind': 'tea'}), 400)['title'], 'Bad Request')


@test
def a_key_that_is_held_can_be_an_error(server):
    server.start(key='held', kind='sleep', ms=HOUR, mode='fail')
    problem(server.post('/api/process', {'key': 'held', 'kind': 'sleep', 'mode': 'fail'}), 409, 'under this key')
    equal(server.delete('/api/cancel/held').status, 200)
    equal(server.start(key='held', kind='sleep', ms=0, mode='fail')['outcome'], 'started')


@test
def a_replacement_may_wait_for_the_end_of_the_replaced(server):
    first = server.start(key='after', kind='primes', below=10**11)
    second = server.start(key='after', kind='hash', text='abc', mode='await-replace')
    equal(second['outcome'], 'replaced')
    assert second['id'] != first['id']
    done = server.finished('after')
    equal((done['id'], done['state'], done['kind']), (second['id'], 'success', 'hash'))


@test
def jobs_that_queue_run_one_after_the_other(server):
    outcomes = [server.start(key='line', kind='sleep', ms=HOUR, mode='queue') for _ in range(4)]
    equal([o['outcome'] for o in outcomes], ['started'] + ['queued'] * 3)
    equal(live(server, 'line'), [('line', 'queued')] * 3 + [('line', 'running')])
    for number, outcome in enumerate(outcomes):
        until(lambda o=outcome: server.status('line').get('id') == o['id'], f'number {number} has its turn')
        equal(server.delete('/api/cancel/line').status, 200)
    until(lambda: server.status('line')['state'] == 'interrupted', 'the line has ended')
    equal(server.status('line')['id'], outcomes[3]['id'])


@test
def who_queues_may_be_late(server):
    server.start(key='busy', kind='sleep', ms=HOUR)
    late = server.start(key='busy', kind='sleep', ms=0, mode='queue', deadline_ms=20)
    equal(late['outcome'], 'queued')
    equal(server.delete('/api/cancel?prefix=busy').status, 200)
    until(lambda: not live(server, 'busy'), 'nobody is left')


@test
def who_joins_waits_for_one_job_together(server):
    """However they come: as many have started as there are jobs, and all of one job get the same."""
    joined = 0

    def once():
        nonlocal joined
        peers = [server.peer() for _ in range(8)]
        for peer in peers:
            peer.send(job_request(key='together', kind='primes', below=300000, mode='join', wait_ms=20000))
        answers = [peer.answer() for peer in peers]
        for peer in peers:
            peer.socket.close()
        equal({a.status for a in answers}, {200})
        told = [a.json() for a in answers]
        equal({(t['state'], t['result']['primes']) for t in told}, {('success', 25997)})
        equal(len({t['id'] for t in told}), sum(t['outcome'] == 'started' for t in told))
        joined += sum(t['outcome'] == 'joined' for t in told)
        return joined > 0

    until(once, 'some have joined')


@test
def who_joins_shares_failures_and_ends_too(server):
    answer = server.post('/api/process', {'key': 'bad', 'kind': 'fail', 'code': 9, 'mode': 'join', 'wait_ms': 20000})
    equal((answer.status, answer.json()['state'], answer.json()['code'], answer.json()['outcome']),
          (200, 'failure', 9, 'started'))
    server.start(key='bad', kind='sleep', ms=HOUR)
    equal(server.start(key='bad', kind='sleep', mode='join')['outcome'], 'joined')
    with server.peer() as peer:
        peer.send(job_request(key='bad', kind='sleep', ms=0, mode='join', wait_ms=20000))
        # joined, or, where the cancel was faster, started anew and done at once
        equal(server.delete('/api/cancel/bad').status, 200)
        told = peer.answer().json()
        assert (told['outcome'], told['state']) in (('joined', 'interrupted'), ('started', 'success')), told


@test
def who_has_waited_long_enough_hears_that_it_runs(server):
    job = {'key': 'slow', 'kind': 'sleep', 'ms': HOUR, 'mode': 'join', 'wait_ms': 10}
    for _ in range(2):
        answer = server.post('/api/process', job)
        equal((answer.status, answer.json()), (202, {'key': 'slow', 'outcome': 'running'}))
    equal(server.status('slow')['state'], 'running')
    server.delete('/api/cancel/slow')


@test
def a_job_may_end_with_its_last_waiter(server):
    job = {'key': 'last', 'kind': 'sleep', 'ms': HOUR, 'mode': 'join', 'wait_ms': 10, 'stop_with_last_waiter': True}
    equal(server.post('/api/process', job).status, 202)
    ended = server.finished('last')
    equal((ended['state'], ended['reason']), ('interrupted', 'last waiter'))


@test
def a_waiter_that_hangs_up_waits_no_more(server):
    for key, linger, more in (('gone', (0, 0), b''), ('reset', (1, 0), b''), ('gone-behind', (0, 0), b'GET'), ('reset-behind', (1, 0), b'GET')):
        with server.peer() as peer:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', *linger))
            peer.send(job_request(key=key, kind='sleep', ms=HOUR, mode='join', wait_ms=600000, stop_with_last_waiter=True))
            until(lambda: live(server, key), 'the job runs')
            peer.send(more)
        ended = server.finished(key)
        equal((ended['state'], ended['reason']), ('interrupted', 'last waiter'), key)


@test
def what_was_asked_before_a_wait_is_answered_before_it(server):
    server.start(key='slow', kind='sleep', ms=HOUR)
    hello = b'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n'
    joining = job_request(key='slow', kind='sleep', mode='join', wait_ms=600000)
    for waiting in (b'GET /api/status/slow?wait_ms=600000 HTTP/1.1\r\nHost: x\r\n\r\n', joining):
        with server.peer() as peer:
            peer.send(hello + waiting)
            equal(peer.answer().body, b'hello\n')
    server.delete('/api/cancel/slow')


@test
def a_status_can_be_waited_for(server):
    server.start(key='soon', kind='sleep', ms=30)
    equal(server.get('/api/status/soon?wait_ms=20000').json()['state'], 'success')
    server.start(key='later', kind='sleep', ms=HOUR)
    equal(server.get('/api/status/later?a=b&wait_ms=10').json()['state'], 'running')
    equal(server.get('/api/status/nobody?wait_ms=20000').status, 404)
    for wrong in ('', 'x', '-1', '1x', '600001', '%', '99999999999999999999'):
        problem(server.get('/api/status/later?wait_ms=' + wrong), 400, 'wait_ms')
    server.delete('/api/cancel/later')


@test
def a_deadline_ends_a_job(server):
    for job in ({'kind': 'sleep', 'ms': HOUR}, {'kind': 'primes', 'below': 10**11}, {'kind': 'hash', 'rounds': 10**9}):
        server.start(key='limited', deadline_ms=20, **job)
        ended = server.finished('limited')
        equal((ended['state'], ended['reason']), ('failure', 'deadline'))
    server.start(key='limited', kind='sleep', ms=0, deadline_ms=20000)
    equal(server.finished('limited')['state'], 'success')
    # restarts have the same deadline, not a new one each
    server.start(key='limited', kind='sleep', ms=HOUR, deadline_ms=20, restart={'type': 'permanent'})
    equal(server.finished('limited')['reason'], 'deadline')


@test
def a_transient_job_is_run_again_when_it_fails(server):
    server.start(key='phoenix', kind='fail', code=7, restart={'type': 'transient', 'times': 2, 'delay_ms': 1, 'factor': 2})
    until(lambda: server.status('phoenix').get('reason') == 'restart limit', 'its times are over')
    equal([server.status('phoenix')[name] for name in ('state', 'code')], ['failure', 7])
    server.start(key='phoenix', kind='fail', code=6, restart={'type': 'transient', 'intensity': 3})
    until(lambda: server.status('phoenix').get('reason') == 'restart limit', 'it has failed too often')
    equal(server.status('phoenix')['code'], 6)
    server.start(key='phoenix', kind='sleep', ms=0, restart={'type': 'transient'})
    equal(server.finished('phoenix')['state'], 'success')
    server.start(key='phoenix', kind='fail', code=8, restart={'type': 'temporary'})
    ended = server.finished('phoenix')
    equal((ended['code'], ended.get('reason')), (8, None))


@test
def a_permanent_job_runs_until_it_is_cancelled(server):
    started = server.start(key='daemon', kind='sleep', ms=0, restart={'type': 'permanent', 'delay_ms': 1})
    until(lambda: server.status('daemon').get('restarts', 0) >= 3, 'it has been restarted')
    equal(server.status('daemon')['id'], started['id'])
    equal(server.delete('/api/cancel/daemon').status, 200)
    until(lambda: server.status('daemon')['state'] == 'interrupted', 'the end is on record')
    equal(server.status('daemon')['reason'], 'remove')


@test
def a_job_that_backs_off_can_be_cancelled(server):
    server.start(key='resting', kind='fail', restart={'type': 'permanent', 'delay_ms': HOUR})
    until(lambda: live(server, 'resting') == [('resting', 'backing off')], 'it backs off')
    equal(server.delete('/api/cancel/resting').status, 200)
    until(lambda: server.status('resting')['state'] == 'interrupted', 'the end is on record')


@test
def a_batch_starts_all_or_none(server):
    jobs = [{'key': f'batch-{n}', 'kind': 'sleep', 'ms': HOUR} for n in range(50)]
    answer = server.post('/api/batch', {'jobs': jobs})
    equal(answer.status, 202)
    told = answer.json()['jobs']
    equal([(t['key'], t['outcome']) for t in told], [(j['key'], 'started') for j in jobs])
    equal(len({t['id'] for t in told}), 50)
    more = [{'key': 'batch-x', 'kind': 'sleep', 'ms': HOUR}, {'key': 'batch-7', 'kind': 'sleep'}, {'kind': 'sleep'}]
    told = problem(server.post('/api/batch', {'jobs': more}), 409)['jobs']
    equal([t['outcome'] for t in told], ['not started', 'refused', 'not started'])
    equal(server.get('/api/status/batch-x').status, 404)
    twice = [{'key': 'twice', 'kind': 'sleep'}] * 2
    problem(server.post('/api/batch', {'jobs': twice}), 409)
    equal(server.get('/api/status/twice').status, 404)
    answer = server.delete('/api/cancel?prefix=batch-')
    equal((answer.status, answer.json()), (200, {'prefix': 'batch-', 'jobs': 50, 'outcome': 'cancelled'}))


@test
def a_batch_may_start_what_it_can(server):
    jobs = [{'key': 'some', 'kind': 'sleep', 'ms': HOUR, 'mode': 'only-if-missing'},
            {'key': 'some', 'kind': 'sleep', 'mode': 'fail'}, {'key': 'some', 'kind': 'sleep', 'mode': 'queue'}]
    answer = server.post('/api/batch', {'jobs': jobs, 'all_or_nothing': False})
    equal((answer.status, [t['outcome'] for t in answer.json()['jobs']]), (200, ['started', 'refused', 'queued']))
    equal(server.delete('/api/cancel?prefix=some').json()['jobs'], 2)


@test
def a_batch_that_is_wrong_starts_nothing(server):
    good = {'key': 'innocent', 'kind': 'sleep', 'ms': HOUR}
    wrong = [{}, {'jobs': []}, {'jobs': {}}, {'jobs': [good] * 1001}, {'jobs': [good, {'kind': 'tea'}]},
             {'jobs': [good, 5]}, {'jobs': [good, {**good, 'mode': 'join', 'wait_ms': 5}], 'all_or_nothing': False},
             {'jobs': [{**good, 'mode': 'queue'}]}, {'jobs': [good], 'all_or_nothing': 1}]
    for batch in wrong:
        problem(server.post('/api/batch', batch), 400)
    assert 'jobs[1]' in server.post('/api/batch', wrong[4]).json()['detail']
    equal(server.get('/api/status/innocent').status, 404)
    with Server('--max-jobs=2') as small:
        problem(small.post('/api/batch', {'jobs': [{'kind': 'sleep', 'ms': HOUR} for _ in range(3)]}), 429)
        equal(live(small), [])
        equal(small.post('/api/batch', {'jobs': [{'kind': 'sleep', 'ms': HOUR} for _ in range(2)]}).status, 202)


@test
def jobs_are_cancelled_by_prefix(server):
    for key in ('é/a', 'é/b', 'ée', 'é/'):
        server.start(key=key, kind='sleep', ms=HOUR)
    equal(server.delete('/api/cancel?prefix=' + quote('é/')).json(), {'prefix': 'é/', 'jobs': 3, 'outcome': 'cancelled'})
    equal(live(server, 'é'), [('ée', 'running')])
    equal(server.status(quote('é/a', safe=''))['reason'], 'clear')
    equal(server.delete('/api/cancel?prefix=nobody').json()['jobs'], 0)
    for query in ('', '?', '?prefix', '?prefix=', '?prefix=%', '?prefix=%00', '?prefix=' + 'x' * 513):
        problem(server.delete('/api/cancel' + query), 400)
    server.delete('/api/cancel/' + quote('ée'))


@test
def what_is_asked_of_a_job_is_checked(server):
    for more in ({'mode': 'tea'}, {'wait_ms': 5}, {'mode': 'join', 'wait_ms': -1}, {'mode': 'join', 'wait_ms': 600001},
                 {'stop_with_last_waiter': True}, {'mode': 'join', 'wait_ms': 5, 'stop_with_last_waiter': 1},
                 {'deadline_ms': 0}, {'deadline_ms': 'x'}, {'restart': 5}, {'restart': {}}, {'restart': {'type': 'tea'}},
                 {'restart': {'type': 'transient', 'delay_ms': -1}}, {'restart': {'type': 'transient', 'factor': 0.5}},
                 {'restart': {'type': 'transient', 'factor': 'x'}}, {'restart': {'type': 'transient', 'times': -1}},
                 {'restart': {'type': 'transient', 'intensity': 65537}}, {'restart': {'type': 'transient', 'period_ms': 0}},
                 {'restart': {'type': 'transient', 'max_delay_ms': 1e9}}):
        problem(server.post('/api/process', {'key': 'strict', 'kind': 'sleep', **more}), 400)
    equal(server.get('/api/status/strict').status, 404)
