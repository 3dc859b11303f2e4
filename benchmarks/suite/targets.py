#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py [--build DIR] [--rounds N] [--only WORD...] [--json FILE] - all benchmarks beside their peers

Runs each benchmark program once a round, and after it the peers that answer the same question, so that a
slow moment of the machine hits them alike (A B C A B C ...). Prints a Markdown table of medians over
the rounds: the figure, the best peer's, their ratio, and the ratio that the project has set itself.
Peers are built into DIR/peers; one that cannot be built is left out, with a line that says why
(`tools/need peers` installs what they need). Every program does its work twice in a round and reports
the second time; the first round is not counted.
"""
import argparse
import collections
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent

# Programs of ours, and the peers that answer the same questions: a round is one run of each.
QUESTIONS = [
    (['bench_yield', 'bench_spawn_join', 'bench_pingpong', 'bench_channel', 'bench_flow'],
     ['go', 'boost']),
    (['bench_fib'], []),
    (['bench_skynet'], []),
    (['bench_keyed'], ['go_keyed']),
    (['bench_timers'], []),
    (['bench_parked'], []),
]

PEERS = {
    'go': ('go', ['go', 'build', '-o', '{out}', str(HERE / 'peers/go/fibers.go')], (1, 2)),
    'go_keyed': ('go', ['go', 'build', '-o', '{out}', str(HERE / 'peers/go/keyed.go')], (1, 2)),
    'boost': ('g++', ['g++', '-O2', '-DNDEBUG', '-o', '{out}',
                      str(HERE / 'peers/boost_fiber/fibers.cpp'),
                      '-lboost_fiber', '-lboost_context', '-lpthread'], (1,)),
}

# metric, workers: (first issue, goal), nanoseconds on the machine on which they were set, and what these peers took there.
TARGETS = {
    ('yield', 1): (45, 13, {'boost.fiber': 132, 'go': 192}),
    ('spawn+join, one at a time', 1): (200, 47, {'boost.fiber': 678, 'go': 927}),
    ('spawn+join, one at a time', 2): (200, 65, {'go': 746}),
    ('spawn 1000, join all', 1): (180, 44, {'go': 450}),
    ('spawn 1000, join all', 2): (180, 70, {'go': 535}),
    ('fib, per fork', 1): (250, 60, {}),
    ('fib, per fork', 2): (250, 36, {}),
    ('skynet', 1): (300, 58, {}),
    ('skynet', 2): (300, 31, {}),
    ('ping-pong, condition', 1): (250, 80, {'boost.fiber': 693, 'go': 642}),
    ('ping-pong, condition', 2): (2000, 1100, {'go': 39800}),
    ('ping-pong, channel', 1): (250, 80, {'go': 642}),
    ('create cold and wait', 1): (4000, 2500, {}),
    ('create cold and wait', 2): (4000, 2500, {}),
    ('waiting, resident', 1): (5000, 4370, {}),
    ('waiting, resident', 2): (5000, 4370, {}),
    ('queued, not started', 1): (300, 256, {}),
    ('wake all, see them end', 1): (500, 210, {}),
    ('wake all, see them end', 2): (500, 150, {}),
    ('sleeps, lateness p99', 1): (20000, 2000, {}),
    ('sleeps, lateness p99', 2): (20000, 2000, {}),
    ('arm and cancel a timer', 1): (100, 30, {}),
    ('i-seq', 1): (450, 195, {'go': 1906}),
    ('i-seq', 2): (450, 330, {'go': 2301}),
    ('i-batch', 1): (400, 180, {'go': 1499}),
    ('i-batch', 2): (400, 200, {'go': 1642}),
    ('ii', 1): (700, 270, {'go': 2181}),
    ('ii', 2): (700, 325, {'go': 2338}),
    ('iii', 1): (60, 14, {'go': 42}),
    ('iii', 2): (60, 14, {'go': 30}),
    ('iv', 1): (150, 55, {'go': 122}),
    ('iv', 2): (150, 29, {'go': 116}),
    ('v', 1): (450, 140, {'go': 664}),
    ('v', 2): (450, 360, {'go': 841}),
    ('vi', 1): (1000, 350, {'go': 3099}),
    ('vi', 2): (1000, 350, {'go': 2020}),
}


def build_peers(folder):
    """{name: path} of the peers that are there."""
    built = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, (tool, command, _) in PEERS.items():
        if not shutil.which(tool):
            print(f'run: no {tool}: {name} is left out', file=sys.stderr)
            continue
        out = folder / name
        done = subprocess.run([word.format(out=out) for word in command], capture_output=True,
                              text=True, check=False)
        if done.returncode:
            print(f'run: {name} does not build and is left out: {done.stderr.strip()[-200:]}',
                  file=sys.stderr)
            continue
        built[name] = out
    return built


def take(command, env, figures, units):
    """Run one program, keep its figures."""
    done = subprocess.run([str(word) for word in command], env=env, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        print(f'run: {command[0]} failed with {done.returncode}: {done.stderr.strip()[-400:]}',
              file=sys.stderr)
    for line in done.stdout.splitlines():
        try:
            figure = json.loads(line)
        except ValueError:
            print(f'run: {command[0]} was cut short', file=sys.stderr)
            continue
        place = figure['metric'], figure['workers']
        units[place] = figure['unit']
        if figures is not None:
            figures[place][figure['who']].append(figure['median'])


def number(value):
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def table(figures, units):
    print('| question | workers | unit | fibermap | peers | ratio | first issue | goal |')
    print('|---|---|---|---|---|---|---|---|')
    for (metric, workers), by in figures.items():
        medians = {who: statistics.median(values) for who, values in by.items()}
        ours = medians.pop('fibermap', None)
        issue, goal, then = TARGETS.get((metric, workers), (None, None, {}))
        peers, ratios, issues, goals = [], [], [], []
        for who, theirs in sorted(medians.items()):
            peers.append(f'{who} {number(theirs)}')
            if ours is not None:
                ratios.append(f'{ours / theirs:.2f}')
            if who in then:
                issues.append(f'{issue / then[who]:.2f}')
                goals.append(f'{goal / then[who]:.2f}')
        print('| ' + ' | '.join([
            metric, str(workers), units[metric, workers], number(ours) if ours is not None else '-',
            ', '.join(peers) or '-', ', '.join(ratios) or '-',
            (number(issue) if issue else '-') + (f' ({", ".join(issues)})' if issues else ''),
            (number(goal) if goal else '-') + (f' ({", ".join(goals)})' if goals else ''),
        ]) + ' |')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', default='build/bench', help='a release build (build/bench)')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--only', nargs='*', help='words that a program\'s name must contain one of')
    parser.add_argument('--no-peers', action='store_true')
    parser.add_argument('--json', help='also write every figure here')
    options = parser.parse_args()

    build = pathlib.Path(options.build)
    programs = build / 'benchmarks'
    peers = {} if options.no_peers else build_peers(build / 'peers')
    figures = collections.defaultdict(lambda: collections.defaultdict(list))
    units = {}
    for names, rivals in QUESTIONS:
        names = [name for name in names
                 if not options.only or any(word in name for word in options.only)]
        missing = [name for name in names if not (programs / name).exists()]
        if missing or not names:
            for name in missing:
                print(f'run: no {programs / name}', file=sys.stderr)
            continue
        for turn in range(options.rounds + 1):
            kept = figures if turn else None
            for name in names:
                take([programs / name, '--runs', '1', '--warmup', '1', '--json'], os.environ, kept,
                     units)
            for rival in rivals:
                for workers in PEERS[rival][2]:
                    if rival in peers:
                        take([peers[rival]], {**os.environ, 'GOMAXPROCS': str(workers)}, kept, units)
            print(f'run: {" ".join(names)}: {turn} of {options.rounds}', file=sys.stderr)
    table(figures, units)
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as out:
            for (metric, workers), by in figures.items():
                for who, values in by.items():
                    out.write(json.dumps({'metric': metric, 'workers': workers, 'who': who,
                                          'unit': units[metric, workers], 'values': values}) + '\n')


main()
