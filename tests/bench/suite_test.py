#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""suite_test.py ROOT BUILD - test benchmarks/suite, in TAP: our programs, and the report

No peer is needed: those that take part here are made up.
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
import questions
import report

FIGURE = '{"who":"fibermap","metric":"yield","workers":1,"unit":"ns","median":5,"values":[4,6]}'


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
    (where / name).write_text('#!/bin/sh\n' + script, encoding='utf-8')
    (where / name).chmod(0o755)


def taken(**by_who):
    some = figures.Figures()
    for who, values in by_who.items():
        for value in values:
            some.keep('yield', {'who': who, 'metric': 'yield', 'workers': 1, 'unit': 'ns',
                                'median': value}, True)
    return some


def every_question_runs_and_is_reported(folder):
    done = suite(folder, '--short', '--no-peers')
    assert done.returncode == 0, done.stderr
    header, *found = records(folder)
    assert header['circumstances']['commit'] != '', header
    asked = {record['question'] for record in found}
    assert asked == {question.name for question in questions.QUESTIONS}, asked
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
         a_program_that_prints_nonsense_fails_the_run, an_unknown_question_or_peer_is_refused,
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
