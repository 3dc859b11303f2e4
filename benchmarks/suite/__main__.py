# SPDX-License-Identifier: Apache-2.0
"""The suite: every question, we and the peers in turn, round by round; see tools/bench."""
import argparse
import os
import pathlib
import shutil
import sys
import time

import figures
import machine
import peers
import plots
import questions
import report

SUITE = pathlib.Path(__file__).resolve().parent
ROOT = SUITE.parent.parent


def read_options():
    """Our own options, and behind -- the parameters of the programs."""
    words = sys.argv[1:]
    parameters = []
    if '--' in words:
        parameters = words[words.index('--') + 1:]
        words = words[:words.index('--')]
    parser = argparse.ArgumentParser(
        prog='tools/bench', formatter_class=argparse.RawDescriptionHelpFormatter,
        description='The benchmarks beside their peers, in turn; writes a report.',
        epilog='What stands behind -- goes to every program that is run, ours and theirs:\n'
               '    tools/bench --only keyed --rounds 3 -- --only ii --keys 100\n'
               'Questions: ' + ' '.join(question.name for question in questions.QUESTIONS))
    parser.add_argument('--only', nargs='+', metavar='WORD',
                        help='these questions, by name or a part of it')
    parser.add_argument('--rounds', type=int, default=5, metavar='N', help='that count (5)')
    parser.add_argument('--warmup', type=int, default=1, metavar='N', help='rounds before (1)')
    parser.add_argument('--workers', default='1,2', metavar='LIST', help='worker counts (1,2)')
    parser.add_argument('--peers', metavar='LIST', help='these peers, with commas')
    parser.add_argument('--no-peers', action='store_true', help='ours alone')
    parser.add_argument('--short', action='store_true',
                        help='tiny work, one round: shows that all works, measures nothing')
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build/bench',
                        metavar='DIR', help='the release build (build/bench)')
    parser.add_argument('--out', type=pathlib.Path, metavar='DIR',
                        help='the report (BUILD/reports/TIME)')
    parser.add_argument('--timeout', type=float, default=600, metavar='S',
                        help='seconds that one program may take (600)')
    options = parser.parse_args(words)
    try:
        options.questions = questions.chosen(options.only)
        options.workers = [int(word) for word in options.workers.split(',')]
    except KeyError as word:
        parser.error(f'no question {word}')
    except ValueError:
        parser.error('--workers takes numbers with commas between')
    names = [peer.name for peer in peers.PEERS]
    options.peers = [] if options.no_peers else (options.peers or ','.join(names)).split(',')
    for name in options.peers:
        if name not in names:
            parser.error(f'no peer {name} ({" ".join(names)})')
    if options.short:
        options.rounds, options.warmup = 1, 0
    options.parameters = parameters
    return options


def serve_program(options):
    return options.build / 'tools/server/fibermap-serve'


def leave_out_what_cannot_be_asked(options):
    """Served questions need a server, a load and a place for each: a line for each that goes."""
    why = None
    if not serve_program(options).exists():
        why = f'no fibermap-serve (tools/need server, and then remove {options.build})'
    elif not shutil.which('wrk'):
        why = 'no wrk (tools/need bench)'
    elif len(os.sched_getaffinity(0)) < 2:
        why = 'two processors are needed'
    if not why:
        return []
    left_out = [f'{question.name} is left out: {why}'
                for question in options.questions if question.served]
    for line in left_out:
        print(f'bench: {line}', file=sys.stderr)
    options.questions = [question for question in options.questions if not question.served]
    return left_out


def build_peers(options):
    """{name: peer} of those that are there and asked for, and a line for each that is not."""
    built, left_out = {}, []
    wanted = {name for question in options.questions for name in question.peers}
    for peer in peers.PEERS:
        if peer.name not in options.peers or peer.name not in wanted:
            continue
        print(f'bench: building {peer.name}', file=sys.stderr)
        try:
            built[peer.name] = peers.build(peer, options.build / 'peers')
        except peers.NotThere as why:
            left_out.append(f'{peer.name} is left out: {why}')
            print(f'bench: {left_out[-1]}', file=sys.stderr)
    return built, left_out


def plan_served(options, built, question):
    """The same of a question to servers, each under load in its turn."""
    parameters = (question.short if options.short else []) + options.parameters
    servers = {report.OURS: [serve_program(options), '--port=0', '--workers=1']}
    for name in question.peers:
        if name in built:
            servers[name] = built[name].start(question.name, 1, [])
    for turn in range(-options.warmup, options.rounds):
        for who, server in servers.items():
            yield (question.name, turn, who,
                   [sys.executable, SUITE / 'load.py', question.name, '--who', who, *parameters,
                    '--', *server])


def plan(options, built):
    """(question, round, who, command) of every program that will run, in order."""
    for question in options.questions:
        if question.served:
            yield from plan_served(options, built, question)
            continue
        parameters = (question.parameters + (question.short if options.short else []) +
                      options.parameters)
        workers_of = question.workers or options.workers
        ours = [options.build / 'benchmarks' / question.program,
                '--workers', ','.join(map(str, workers_of)),
                '--runs', '1', '--warmup', '1', '--json', *parameters]
        for turn in range(-options.warmup, options.rounds):
            yield question.name, turn, report.OURS, ours
            for name in question.peers:
                if name not in built:
                    continue
                for workers in workers_of:
                    if workers <= built[name].workers:
                        yield (question.name, turn, f'{name} with {workers}',
                               built[name].start(question.name, workers, parameters))


class Progress:
    """One line a program, with an estimate of what is left."""

    def __init__(self, total):
        self.total = total
        self.done = 0
        self.started = time.monotonic()

    def __call__(self, question, turn, who):
        left = ''
        if self.done:
            seconds = (time.monotonic() - self.started) / self.done * (self.total - self.done)
            left = f', about {seconds / 60:.0f} min left' if seconds >= 60 else ''
        self.done += 1
        turn = f'round {turn + 1}' if turn >= 0 else 'warm-up'
        print(f'bench: [{self.done}/{self.total}] {question}, {turn}: {who}{left}',
              file=sys.stderr, flush=True)


def main():
    options = read_options()
    left_out = leave_out_what_cannot_be_asked(options)
    built, peers_left_out = build_peers(options)
    left_out += peers_left_out
    steps = list(plan(options, built))
    progress = Progress(len(steps))
    taken = figures.Figures()
    broken = set()
    around = machine.circumstances(ROOT)
    for question, turn, who, command in steps:
        progress(question, turn, who)
        if (question, who) in broken:
            continue  # it will not work the next time either
        if not taken.take(question, command, options.timeout, turn >= 0):
            broken.add((question, who))
            print(f'bench: {taken.complaints[-1]}', file=sys.stderr)
    around.update({
        **taken.built_with,
        'rounds': f'{options.rounds} after {options.warmup} of warm-up',
        'parameters': ' '.join(options.parameters) or ('short' if options.short else '-'),
        **{peer.name: peer.version for peer in built.values()}})

    now = time.strftime('%Y-%m-%d_%H%M%S', time.gmtime())
    folder = options.out or options.build / 'reports' / now
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    if plots.available():
        drawn = plots.draw(taken, folder)
    else:
        left_out.append('plots: no gnuplot (tools/need bench)')
    report.write(folder, around, taken, left_out, drawn)
    print('\n'.join([*report.summary(taken), '', *report.oversubscribed(taken),
                     *report.keyed_beside_plain(taken)]).rstrip())
    print(f'bench: {os.path.relpath(folder)}/report.md', file=sys.stderr)
    return 1 if any(who == report.OURS for _, who in broken) else 0


sys.exit(main())
