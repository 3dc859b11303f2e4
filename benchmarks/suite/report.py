# SPDX-License-Identifier: Apache-2.0
"""report.py - what a run has found, as Markdown and as JSON lines"""
import json
import statistics

import questions
from figures import quantile
from targets import KEPT_GOAL, KEYED_GOAL, TARGETS

OURS = 'fibermap'


def number(value):
    """Three digits, or all before the point."""
    return f'{value:,.0f}' if abs(value) >= 100 else f'{value:.3g}'


def _row(cells):
    return '| ' + ' | '.join(cells) + ' |'


def _aim(value, ratios):
    return (number(value) if value else '-') + (f' ({", ".join(ratios)})' if ratios else '')


def summary(figures):
    """Medians: ours, the peers', our ratio to each, the target and the goal behind it."""
    yield _row(['question', 'workers', 'unit', OURS, 'peers', 'ratio', 'target', 'goal'])
    yield '|---|---|---|---|---|---|---|---|'
    more_workers = {question.name for question in questions.QUESTIONS if question.workers}
    for place in figures.places():
        if place.question in more_workers:
            continue
        ours = figures.median(place, OURS)
        target, goal, then = TARGETS.get((place.metric, place.workers), (None, None, {}))
        peers, ratios, targets, goals = [], [], [], []
        for who in sorted(set(figures.values[place]) - {OURS}):
            theirs = figures.median(place, who)
            peers.append(f'{who} {number(theirs)}')
            if ours is not None and theirs > 0:
                ratios.append(f'{ours / theirs:.2f}')
            if who in then:
                if target:
                    targets.append(f'{target / then[who]:.2f}')
                goals.append(f'{goal / then[who]:.2f}')
        yield _row([
            place.metric, str(place.workers), figures.units[place],
            number(ours) if ours is not None else '-', ', '.join(peers) or '-',
            ', '.join(ratios) or '-',
            _aim(target, targets), _aim(goal, goals)])


def oversubscribed(figures):
    """What 64 workers keep of the throughput of as many as there are processors."""
    rows = []
    for question in questions.QUESTIONS:
        if not question.workers:
            continue
        few, many = question.workers
        for place in figures.places(question.name):
            with_many = place._replace(workers=many)
            if place.workers != few or with_many not in figures.values:
                continue
            ours, theirs = figures.median(place, OURS), figures.median(with_many, OURS)
            kept = ours / theirs * (many / few if question.per_worker else 1)
            rows.append(_row([place.metric, figures.units[place], number(ours), number(theirs),
                              f'{100 * kept:.0f} %']))
    if rows:
        yield f'More workers than processors: {KEPT_GOAL} of the throughput is to be kept.'
        yield ''
        yield _row(['question', 'unit', f'{few} workers', f'{many} workers', 'throughput kept'])
        yield '|---|---|---|---|---|'
        yield from rows


def keyed_beside_plain(figures):
    """What is left of plain hello when a fiber under a key answers, by processor time."""
    plain = figures.median_of('hello, server CPU', OURS)
    keyed = figures.median_of('keyed hello, server CPU', OURS)
    if plain and keyed:
        yield (f'In the processor time of a plain hello the server makes '
               f'{100 * plain / keyed:.0f} % of a keyed one: {KEYED_GOAL} is the goal.')


def every_figure(figures):
    """Least, median and p99 of everybody."""
    yield _row(['question', 'workers', 'unit', 'who', 'min', 'median', 'p99', 'values'])
    yield '|---|---|---|---|---|---|---|---|'
    for place in figures.places():
        by_who = figures.values[place]
        for who, values in sorted(by_who.items(), key=lambda each: each[0] != OURS):
            yield _row([place.metric, str(place.workers), figures.units[place], who,
                        number(min(values)), number(statistics.median(values)),
                        number(quantile(values, 0.99)), str(len(values))])


def write(folder, circumstances, figures, left_out, plots):
    """report.md and figures.jsonl in folder."""
    lines = [f'# Benchmarks, {circumstances["commit"]}, {circumstances["time"]}', '']
    lines += ['| circumstance | |', '|---|---|']
    lines += [_row([name, value]) for name, value in circumstances.items()]
    lines += ['', '## Beside the peers', '',
              'Medians; lower is better, but for what is counted by the second. A ratio is ours '
              'over theirs, in the order of the peers. Behind each target stands the ratio that '
              'it meant to the same peers on the day it was set.', '']
    lines += summary(figures)
    more_workers = list(oversubscribed(figures))
    if more_workers:
        lines += ['', '## Oversubscribed', ''] + more_workers
    beside = list(keyed_beside_plain(figures))
    if beside:
        lines += ['', '## HTTP', ''] + beside
    if plots:
        lines += ['', '## Plots', '']
        lines += [f'![{plot.stem}]({plot.relative_to(folder).as_posix()})' for plot in plots]
    lines += ['', '## Every figure', '']
    lines += every_figure(figures)
    if left_out or figures.complaints:
        lines += ['', '## Left out', '']
        lines += [f'- {line}' for line in left_out + figures.complaints]
    (folder / 'report.md').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    with open(folder / 'figures.jsonl', 'w', encoding='utf-8') as out:
        out.write(json.dumps({'circumstances': circumstances}) + '\n')
        for record in figures.records():
            out.write(json.dumps(record) + '\n')
