# SPDX-License-Identifier: Apache-2.0
"""report.py - what a run has found, as Markdown and as JSON lines"""
import json
import statistics

from figures import quantile
from targets import TARGETS

OURS = 'fibermap'


def number(value):
    """Three digits, or all before the point."""
    return f'{value:,.0f}' if abs(value) >= 100 else f'{value:.3g}'


def _row(cells):
    return '| ' + ' | '.join(cells) + ' |'


def summary(figures):
    """Medians: ours, the peers', our ratio to each, and the ratio that was the aim."""
    yield _row(['question', 'workers', 'unit', OURS, 'peers', 'ratio', 'first issue', 'goal'])
    yield '|---|---|---|---|---|---|---|---|'
    for place in figures.places():
        ours = figures.median(place, OURS)
        issue, goal, then = TARGETS.get((place.metric, place.workers), (None, None, {}))
        peers, ratios, issues, goals = [], [], [], []
        for who in sorted(set(figures.values[place]) - {OURS}):
            theirs = figures.median(place, who)
            peers.append(f'{who} {number(theirs)}')
            if ours is not None and theirs > 0:
                ratios.append(f'{ours / theirs:.2f}')
            if who in then:
                issues.append(f'{issue / then[who]:.2f}')
                goals.append(f'{goal / then[who]:.2f}')
        yield _row([
            place.metric, str(place.workers), figures.units[place],
            number(ours) if ours is not None else '-', ', '.join(peers) or '-',
            ', '.join(ratios) or '-',
            (number(issue) if issue else '-') + (f' ({", ".join(issues)})' if issues else ''),
            (number(goal) if goal else '-') + (f' ({", ".join(goals)})' if goals else '')])


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
              'Medians; lower is better. A ratio is ours over theirs, in the order of the '
              'peers. Behind each target stands the ratio that it meant to the same peers on '
              'the day it was set.', '']
    lines += summary(figures)
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
