#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""suite_test.py ROOT BUILD - test benchmarks/suite, in TAP: our programs, and the report

No peer is needed, and no wrk: those that take part here are made up.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT, BUILD = (pathlib.Path(word).resolve() for word in sys.argv[1:])
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / 'benchmarks/suite'))

import figures
import peers
import questions
import report

LOAD = ROOT / 'benchmarks/suite/load.py'
SERVER = BUILD / 'tools/server/fibermap-serve'
TWO_PROCESSORS = len(os.sched_getaffinity(0)) >= 2

# asks as it is told, over two connections, and prints what wrk prints
WRK = f'''#!{sys.executable}
import http.client, sys, time, urllib.parse
url = urllib.parse.urlsplit(sys.argv[-1])
start = time.monotonic()
wrong = 0
for _ in range(2):
    connection = http.client.HTTPConnection(url.hostname, url.port)
    for _ in range(20):
        connection.request('GET', url.path)
        answer = connection.getresponse()
        answer.read()
        wrong += answer.status != 200
    connection.close()
print('  Latency Distribution\\n     50%  420.00us\\n     99%    1.50s ')
print(f'  40 requests in {{1000 * (time.monotonic() - start):.2f}}ms, 1.00MB read')
if wrong:
    print(f'  Non-2xx or 3xx responses: {{wrong}}')
'''

# a server in a thread for each connection: what it answers to the n-th request is to be put in
SERVE = f'''#!{sys.executable}
import http.server, itertools, threading
numbers = itertools.count(1)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, wbufsize = 'HTTP/1.1', 65536  # an answer leaves whole
    def do_GET(self):
        n = next(numbers)
        status, body = ANSWER
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print('listening on http://127.0.0.1:%d' % server.server_port, flush=True)
server.serve_forever()
'''

FIGURE = '{"who":"fibermap","metric":"yield","workers":1,"unit":"ns","median":5,"values":[4,6]}'


def executable(path, text):
    path.write_text(text, encoding='utf-8')
    path.chmod(0o755)


def path_with_wrk(folder):
    """Where a wrk of our own is found first."""
    (folder / 'bin').mkdir()
    executable(folder / 'bin/wrk', WRK)
    return f'{folder / "bin"}:{os.environ["PATH"]}'


def under_load(folder, question, answer):
    """Load on a server that gives this answer; what came of it."""
    executable(folder / 'serve', SERVE.replace('ANSWER', answer))
    env = dict(os.environ, PATH=path_with_wrk(folder))
    command = [sys.executable, LOAD, question, '--seconds', '1', '--warmup', '0', '--',
               folder / 'serve']
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def suite(folder, *words, build=BUILD, path=None):
    """Run the suite; it leaves its report in folder."""
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE='1')
    if path:
        env['PATH'] = path
    command = [sys.executable, ROOT / 'benchmarks/suite', '--build', build, '--out', folder]
    return subprocess.run([*command, *words], env=env, capture_output=True, text=True,
                          check=False)


def records(folder):
    lines = (folder / 'figures.jsonl').read_text(encoding='utf-8').splitlines()
    return [json.loads(line) for line in lines]


def program(folder, name, script):
    """A build whose one benchmark program is a script."""
    where = folder / 'benchmarks'
    where.mkdir(exist_ok=True)
    executable(where / name, '#!/bin/sh\n' + script)


def taken(**by_who):
    some = figures.Figures()
    for who, values in by_who.items():
        for value in values:
            some.keep('yield', {'who': who, 'metric': 'yield', 'workers': 1, 'unit': 'ns',
                                'median': value}, True)
    return some


def every_question_runs_and_is_reported(folder):
    done = suite(folder, '--short', '--no-peers', path=path_with_wrk(folder))
    assert done.returncode == 0, done.stderr
    header, *found = records(folder)
    assert header['circumstances']['commit'] != '', header
    asked = {record['question'] for record in found}
    served = SERVER.exists() and TWO_PROCESSORS
    assert asked == {question.name for question in questions.QUESTIONS
                     if served or not question.served}, asked
    assert all(record['values'] and record['min'] <= record['median'] <= record['p99']
               for record in found), found
    text = (folder / 'report.md').read_text(encoding='utf-8')
    for part in ('| kernel |', '## Beside the peers', '## Oversubscribed', '## Every figure'):
        assert part in text, part


def parameters_reach_the_program(folder):
    program(folder, 'bench_yield', f"echo \"$*\" >>{folder}/words\necho '{FIGURE}'\n")
    done = suite(folder, '--only', 'yield', '--no-peers', '--rounds', '2', '--workers', '3',
                 '--', '--count', '7', build=folder)
    assert done.returncode == 0, done.stderr
    words = (folder / 'words').read_text(encoding='utf-8').splitlines()
    assert len(words) == 3 and all('--workers 3' in line and '--count 7' in line
                                   for line in words), words


def the_first_round_does_not_count(folder):
    program(folder, 'bench_yield', f"echo '{FIGURE}'\n")
    suite(folder, '--only', 'yield', '--no-peers', '--rounds', '2', build=folder)
    assert [record['values'] for record in records(folder)[1:]] == [[4, 6, 4, 6]]


def a_peer_that_is_not_installed_is_left_out_with_a_line(folder):
    program(folder, 'bench_yield', f"echo '{FIGURE}'\n")
    done = suite(folder, '--only', 'yield', '--peers', 'go', '--rounds', '1', build=folder,
                 path='/nonexistent')
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if 'left out' in line]
    assert said == ['bench: go is left out: no go'], done.stderr
    assert 'go is left out: no go' in (folder / 'report.md').read_text(encoding='utf-8')


def a_program_that_fails_fails_the_run_and_is_asked_once(folder):
    program(folder, 'bench_yield',
            f'echo run >>{folder}/runs\necho "a yield is lost" >&2\nexit 3\n')
    done = suite(folder, '--only', 'yield', '--no-peers', build=folder)
    assert done.returncode == 1, done.stderr
    assert (folder / 'runs').read_text(encoding='utf-8') == 'run\n'
    assert 'ended with 3: a yield is lost' in (folder / 'report.md').read_text(encoding='utf-8')


def a_program_that_prints_nonsense_fails_the_run(folder):
    program(folder, 'bench_yield', 'echo hello\n')
    done = suite(folder, '--only', 'yield', '--no-peers', '--rounds', '1', build=folder)
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr


def a_server_under_load_gives_its_figures(folder):
    if not TWO_PROCESSORS:
        return
    done = under_load(folder, 'http_keyed', r"(200, f'hello {n}\n')")
    assert done.returncode == 0, done.stderr
    found = {record['metric']: record for record in map(json.loads, done.stdout.splitlines())}
    assert set(found) == {'keyed hello, requests', 'keyed hello, p50', 'keyed hello, p99',
                          'keyed hello, server CPU'}, found
    assert found['keyed hello, p50']['median'] == 420, found
    assert found['keyed hello, p99']['median'] == 1500000, found
    assert found['keyed hello, requests']['median'] > 0, found
    assert found['keyed hello, server CPU']['median'] >= 0, found


def a_server_that_answers_wrongly_has_no_figures(folder):
    if not TWO_PROCESSORS:
        return
    for question, answer, complaint in (
            ('http', "(200, 'goodbye')", 'another body'),
            ('http', "(200 if n == 1 else 503, 'hello\\n')", '503'),
            ('http', "(503 if 5 < n < 40 else 200, 'hello\\n')", 'Non-2xx'),
            # not one for each request
            ('http_keyed', r"(200, f'hello {n // 2}\n')", 'keyed answers were made')):
        with tempfile.TemporaryDirectory() as where:
            done = under_load(pathlib.Path(where), question, answer)
        assert done.returncode == 1 and not done.stdout, (answer, done.stdout)
        assert complaint in done.stderr and 'Traceback' not in done.stderr, done.stderr


def a_program_that_is_no_server_has_no_figures(folder):
    if not TWO_PROCESSORS:
        return
    executable(folder / 'serve', '#!/bin/sh\necho "no address"\n')
    done = subprocess.run([sys.executable, LOAD, 'http', '--', folder / 'serve'],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "'no address'" in done.stderr, done.stderr


def a_question_to_servers_is_left_out_with_a_line_where_there_is_none(folder):
    done = suite(folder, '--only', 'http', 'http_keyed', '--no-peers', build=folder)
    assert done.returncode == 0, done.stderr
    for name in ('http', 'http_keyed'):
        assert f'bench: {name} is left out: no fibermap-serve' in done.stderr, done.stderr
    (folder / 'tools/server').mkdir(parents=True)
    executable(folder / 'tools/server/fibermap-serve', '')
    done = suite(folder, '--only', 'http', '--no-peers', build=folder, path='/nonexistent')
    assert 'bench: http is left out: no wrk' in done.stderr, done.stderr


def servers_are_asked_in_turn(folder):
    if not TWO_PROCESSORS:
        return
    (folder / 'tools/server').mkdir(parents=True)
    executable(folder / 'tools/server/fibermap-serve', SERVE.replace('ANSWER', r"(200, 'hello\n')"))
    done = suite(folder, '--only', 'http', '--no-peers', '--rounds', '2', '--', '--seconds', '1',
                 '--warmup', '0', build=folder, path=path_with_wrk(folder))
    assert done.returncode == 0, done.stderr
    assert {record['metric']: len(record['values']) for record in records(folder)[1:]} == {
        'hello, requests': 2, 'hello, p50': 2, 'hello, p99': 2, 'hello, server CPU': 2}


def help_names_every_question(_folder):
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE='1')
    done = subprocess.run([ROOT / 'tools/bench', '--help'], env=env, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    missing = [question.name for question in questions.QUESTIONS if question.name not in words]
    assert not missing, missing
    for option in ('--only', '--rounds', '--peers', '--no-peers', '--short', '--out'):
        assert option in done.stdout, option


def every_peer_of_a_question_is_known(_folder):
    known = {peer.name for peer in peers.PEERS}
    for question in questions.QUESTIONS:
        assert set(question.peers) <= known, question.name


def keyed_hello_stands_beside_plain_hello(_folder):
    some = taken()
    for question, metric, value in (('http', 'hello, server CPU', 8),
                                    ('http_keyed', 'keyed hello, server CPU', 10)):
        some.keep(question, {'who': 'fibermap', 'metric': metric, 'workers': 1, 'unit': 'us',
                             'median': value}, True)
    line, = report.keyed_beside_plain(some)
    assert '80 % of a keyed one' in line, line
    assert not list(report.keyed_beside_plain(taken(fibermap=[1])))


def an_unknown_question_or_peer_is_refused(folder):
    for words in (['--only', 'sandwich'], ['--peers', 'sandwich']):
        done = suite(folder, *words)
        assert done.returncode == 2 and 'sandwich' in done.stderr, done.stderr


def a_word_means_the_whole_name_before_a_part_of_it(_folder):
    assert [q.name for q in questions.chosen(['keyed'])] == ['keyed']
    assert 'keyed_waits' in [q.name for q in questions.chosen(['waits'])]


def ratios_are_ours_over_theirs_beside_the_targets(_folder):
    row = list(report.summary(taken(fibermap=[20, 30, 90], go=[60, 59, 61])))[2]
    assert row == '| yield | 1 | ns | 30 | go 60 | 0.50 | 45 (0.23) | 13 (0.07) |', row


def kept_throughput_counts_a_figure_per_worker_as_such(_folder):
    some = figures.Figures()
    few = next(question.workers[0] for question in questions.QUESTIONS if question.workers)
    for name, metric in (('oversubscribed_yield', 'yield'), ('oversubscribed_fib', 'fib')):
        for workers, value in ((few, 100 * few), (64, 100 * 64)):
            value = value if metric == 'yield' else 100
            some.keep(name, {'who': 'fibermap', 'metric': metric, 'workers': workers,
                             'unit': 'ns', 'median': value}, True)
    if few == 64:
        return
    rows = list(report.oversubscribed(some))[4:]
    assert [row.split('|')[5].strip() for row in rows] == ['100 %', '100 %'], rows


def quantiles_lie_between_two_values(_folder):
    assert figures.quantile([4, 2], 0.5) == 3 and figures.quantile([7], 0.99) == 7


TESTS = [every_question_runs_and_is_reported, parameters_reach_the_program,
         the_first_round_does_not_count, a_peer_that_is_not_installed_is_left_out_with_a_line,
         a_program_that_fails_fails_the_run_and_is_asked_once,
         a_program_that_prints_nonsense_fails_the_run, a_server_under_load_gives_its_figures,
         a_server_that_answers_wrongly_has_no_figures,
         a_program_that_is_no_server_has_no_figures,
         a_question_to_servers_is_left_out_with_a_line_where_there_is_none,
         servers_are_asked_in_turn, help_names_every_question,
         every_peer_of_a_question_is_known, keyed_hello_stands_beside_plain_hello,
         an_unknown_question_or_peer_is_refused,
         a_word_means_the_whole_name_before_a_part_of_it,
         ratios_are_ours_over_theirs_beside_the_targets,
         kept_throughput_counts_a_figure_per_worker_as_such, quantiles_lie_between_two_values]

print(f'1..{len(TESTS)}')
for number, test in enumerate(TESTS, 1):
    with tempfile.TemporaryDirectory() as where:
        try:
            test(pathlib.Path(where))
            print(f'ok {number} - {test.__name__}', flush=True)
        except Exception as failure:  # pylint: disable=broad-except
            print(f'not ok {number} - {test.__name__}\n# {type(failure).__name__}: ' +
                  str(failure).replace('\n', '\n# '), flush=True)
