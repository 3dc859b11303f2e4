# SPDX-License-Identifier: Apache-2.0
"""policy_test.py - who may ask, how often, and what is written down of it: token, rate, log, metrics, readiness"""
import http.client
import json
import os
import re
import subprocess
import tempfile
import threading

import harness
from harness import Peer, Server, WAIT_S, equal, test, until
from jobs_test import problem

TOKEN = 'correct-horse-battery-staple'


def token_file(content):
    handle = tempfile.NamedTemporaryFile('w', suffix='.token')
    handle.write(content)
    handle.flush()
    return handle


def refused(*options):
    done = subprocess.run([harness.BINARY, '--port=0', *options], capture_output=True, text=True, timeout=WAIT_S, check=False)
    equal(done.returncode, 1, done.stderr)
    return done.stderr


@test
def only_the_bearer_of_the_token_is_answered(_):
    with token_file(TOKEN + '\n') as file, Server('--token-file=' + file.name) as server:
        for path in ('/', '/hello', '/metrics', '/api/fibers', '/api/events', '/ws/ann'):
            answer = server.get(path)
            problem(answer, 401)
            assert answer.headers['www-authenticate'].startswith('Bearer'), answer.headers
        for header in ('', 'Bearer', 'Bearer ', 'Bearer x', 'Basic ' + TOKEN, TOKEN, 'Bearer ' + TOKEN + 'x', 'Bearer ' + TOKEN[:-1],
                       'Bearer' + TOKEN, f'Bearer {TOKEN} {TOKEN}', 'Bearer ' + 'x' * 4000):
            equal(server.get('/hello', Authorization=header).status, 401, header)
        for scheme in ('Bearer ', 'bearer ', 'BEARER  '):
            equal(server.get('/hello', Authorization=scheme + TOKEN).body, b'hello\n')
        equal(server.get('/hello', Authorization='Bearer ' + TOKEN, Host='example.com').status, 200, 'a token does, whatever the name')
        with server.peer() as peer:
            header = b'Authorization: Bearer ' + TOKEN.encode() + b'\r\n'
            peer.send(b'GET /hello HTTP/1.1\r\nHost: x\r\n' + header * 2 + b'\r\n')
            equal(peer.answer().status, 401, 'two headers are none')
            peer.send(b'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n')
            equal(peer.answer().status, 401)
        for path in ('/healthz', '/readyz'):
            equal(server.get(path).status, 200, path)
        equal(server.request('POST', '/api/process', '{"kind": "sleep"}').status, 401)
        equal((server.get('/', Accept='text/html').status, server.get('/page/main.js').status), (200, 200), 'the page asks for the token itself')
        equal(server.get('/help').status, 401)


@test
def without_a_token_only_this_machine_is_listened_to(_):
    for address in ('0.0.0.0', '::', '192.0.2.1', '::ffff:192.0.2.1'):
        assert 'without --token-file' in refused('--address=' + address)
    with Server('--address=127.0.0.2', address='127.0.0.2'):
        pass
    with token_file(TOKEN) as file, Server('--address=0.0.0.0', '--token-file=' + file.name, address='0.0.0.0') as server:
        equal(server.get('/hello', Authorization='Bearer ' + TOKEN).status, 200)


@test
def a_token_that_is_none_is_refused(_):
    for content in ('', '\n' + TOKEN, 'too-short', 'white space in the token', 'ümläute-in-the-token', 'x' * 201):
        with token_file(content) as file:
            assert 'no token' in refused('--token-file=' + file.name), content
    assert 'No such file' in refused('--token-file=/no/such/file')
    assert 'cannot open the log' in refused('--log=/no/such/directory/log')


@test
def a_client_may_ask_so_often(_):
    # the first burst is free, what comes back within the test is bounded by its own time
    with Server('--rate=1', '--rate-burst=5') as server:
        with server.peer() as peer, server.peer() as other:
            peer.send(b'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n' * 200)
            statuses = [peer.answer() for _ in range(200)]
            other.send(b'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n')
            last = other.answer()
        good = sum(a.status == 200 for a in statuses)
        assert 5 <= good < 5 + WAIT_S, good
        equal([a.status for a in statuses[:5]], [200] * 5)
        limited = [a for a in statuses if a.status != 200]
        problem(limited[0], 429, 'too many requests')
        equal(limited[0].headers['retry-after'], '1')
        assert last.status in (200, 429)


@test
def all_connections_of_a_client_count_together(_):
    with Server('--rate=1', '--rate-burst=5') as server:
        statuses = [server.get('/hello').status for _ in range(5 + WAIT_S)]
        equal(statuses[:5], [200] * 5)
        assert 429 in statuses, statuses
        other = http.client.HTTPConnection('127.0.0.1', server.port, timeout=WAIT_S, source_address=('127.0.0.2', 0))
        other.request('GET', '/hello')
        equal(other.getresponse().status, 200, 'another client has a limit of its own')
        other.close()


@test
def each_request_is_a_line_of_json(_):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'log')
        with Server('--log=' + path) as server:
            server.get('/hello')
            server.post('/api/process', {'key': 'a', 'kind': 'sleep', 'ms': 0})
            server.get('/nothing?x="y\\')
            with server.peer() as peer:
                peer.send(b'nonsense\r\n\r\n')
                equal(peer.answer().status, 400)
            server.post('/api/digest', 'x' * 100)
            server.post('/api/process/lines', '{}\n' * 10)
            with server.peer() as peer:  # the first is sent, and no more in memory, when the second is written down
                for target in (b'/hello', b'/api/status/nobody?wait_ms=1'):
                    peer.send(b'GET ' + target + b' HTTP/1.1\r\nHost: x\r\n\r\n')
                equal([peer.answer().status, peer.answer().status], [200, 404])
            server.finished('a')
        with open(path, encoding='utf-8') as file:
            lines = [json.loads(line) for line in file]
        for line in lines:
            assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z', line['time']), line
        equal([lines[0][name] for name in ('event', 'door', 'port')], ['listening', server.url, server.port])
        requests = [line for line in lines if line['event'] == 'request']
        equal([(r['client'], r['method'], r['target'], r['status']) for r in requests[:3]],
              [('127.0.0.1', 'GET', '/hello', 200), ('127.0.0.1', 'POST', '/api/process', 202),
               ('127.0.0.1', 'GET', '/nothing?x="y\\', 404)])
        equal([(r['target'], r['status'], r['bytes'] > 500) for r in requests[3:5]],
              [('/api/digest', 200, False), ('/api/process/lines', 200, True)])
        equal([(r['target'], r['status'], 100 < r['bytes'] < 500) for r in requests[5:7]],
              [('/hello', 200, True), ('/api/status/nobody?wait_ms=1', 404, True)])
        assert all(r['us'] >= 0 and r['bytes'] > 0 for r in requests), requests
        equal([(r['status'], r['client']) for r in lines if r['event'] == 'refused'], [(400, '127.0.0.1')])
        equal([line['event'] for line in lines[-4:]], ['draining'] + ['drained'] * 3)
        equal([(line['map'], line['stuck']) for line in lines[-3:]], [('jobs', 0), ('users', 0), ('connections', 0)])


@test
def the_log_may_be_standard_output(_):
    process = subprocess.Popen([harness.BINARY, '--port=0', '--log=-'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    listening = json.loads(process.stdout.readline())
    equal(listening['event'], 'listening')
    with Peer(listening['port']) as peer:
        peer.send(b'GET /hello HTTP/1.1\r\nHost: x\r\n\r\n')
        equal(peer.answer().status, 200)
    equal(json.loads(process.stdout.readline())['target'], '/hello')
    process.terminate()
    out, errors = process.communicate(timeout=WAIT_S)
    equal((process.returncode, [json.loads(line)['event'] for line in out.splitlines()]), (0, ['draining'] + ['drained'] * 3))
    assert 'listening on ' + listening['door'] in errors, errors


@test
def a_log_that_nobody_takes_holds_nobody_up_and_says_what_is_missing(_):
    # of 3 MB the pipe takes 64 KB, and a MB may be under way into it when another waits
    count, pad = 1500, 'x' * 2000
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'log')
        os.mkfifo(path)
        log = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), encoding='ascii')
        with Server('--log=' + path) as server, server.peer() as peer:
            sender = threading.Thread(target=peer.send, args=((f'GET /hello?{pad} HTTP/1.1\r\nHost: x\r\n\r\n'.encode()) * count,))
            sender.start()
            equal({peer.answer().status for _ in range(count)}, {200})
            sender.join()
            os.set_blocking(log.fileno(), True)
            taken = []
            reader = threading.Thread(target=lambda: taken.extend(log))
            reader.start()
            asked = 0

            def taken_again():
                nonlocal asked
                asked += server.get('/healthz').status == 200
                return any('/healthz' in line for line in list(taken))

            until(taken_again, 'there is room for lines again')
            equal(server.end(), 0)
            reader.join()
        log.close()
        lines = [json.loads(line) for line in taken]
        dropped = sum(line['lines'] for line in lines if line['event'] == 'dropped')
        assert dropped > 0, 'it has taken more than it may'
        equal(len(lines) - sum(line['event'] == 'dropped' for line in lines) + dropped, count + asked + len(['listening', 'draining']) + 3)


def metrics(server):
    """Name and labels to value; checks the format: a family is its help, its type, and its samples, and stands there once."""
    answer = server.get('/metrics')
    equal((answer.status, answer.headers['content-type']), (200, 'text/plain; version=0.0.4; charset=utf-8'))
    values, types, helped = {}, {}, None
    text = answer.body.decode()
    assert text.endswith('\n'), text[-100:]
    for line in text.split('\n')[:-1]:
        if line.startswith('# HELP '):
            _, _, helped, about = line.split(' ', 3)
            assert about and helped not in types, line
        elif line.startswith('# TYPE '):
            _, _, name, kind = line.split(' ')
            assert kind in ('counter', 'gauge', 'summary'), line
            equal(name, helped, 'help stands before the type')
            types[name] = kind
        else:
            match = re.fullmatch(r'(fibermap_[a-z_]+)(\{quantile="[0-9.]+"\})? (\S+)', line)
            assert match, line
            base = re.sub('_(sum|count)$', '', match[1]) if match[1] not in types else match[1]
            equal(base, helped, 'samples stand behind the type of their family')
            assert (match[2] is None or types[base] == 'summary') and match[1] + (match[2] or '') not in values, line
            equal(match[1].endswith('_total'), types[base] == 'counter', line)
            values[match[1] + (match[2] or '')] = float(match[3])
    return values


@test
def metrics_tell_what_happens(server):
    before = metrics(server)
    server.start(key='counted', kind='sleep', ms=3600000)
    server.start(key='counted', kind='sleep', ms=3600000, mode='queue')
    server.get('/nothing')
    after = metrics(server)
    equal([after[n] - before[n] for n in ('fibermap_requests_total', 'fibermap_jobs_started_total', 'fibermap_problems_total')],
          [4, 2, 1])
    equal(after['fibermap_jobs'] - before['fibermap_jobs'], 2)
    equal((after['fibermap_jobs_queued'], after['fibermap_draining']), (1, 0))
    assert after['fibermap_workers'] >= 1 and after['fibermap_process_resident_memory_bytes'] > 1 << 20, after
    assert after['fibermap_schedule_latency_seconds_count'] >= after['fibermap_schedule_latency_seconds{quantile="0.99"}'] >= 0
    server.delete('/api/cancel?prefix=counted')
    equal(server.get('/readyz').body, b'ready\n')
