#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""layers.py [--dot] - draw who includes whom, and fail on an arrow that goes up

Reads the #include lines of every C file in the tree. Rooms name each other from the root
(#include "runtime/queue/deque.h"), so the line itself says which folder it reaches. MAY below is the
rule: a folder may include itself, include/fm, and what stands after its name. The files directly in
runtime/ put the layers together: they may include any of them, and no layer includes them. Also an error: an
include in quotes that does not name its folder, a header that is not there, a folder without a rule.
Only the examples leave their folder out, since they are built outside of the tree as well.
--dot prints the graph for Graphviz instead of text.
"""
import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

PLATFORM = {'runtime/platform'}
CONTEXT = PLATFORM | {'runtime/context'}
QUEUE = PLATFORM | {'runtime/queue'}
SCHED = CONTEXT | QUEUE | {'runtime/sched'}
FIBER = SCHED | {'runtime/fiber'}
TIME = FIBER | {'runtime/time'}
ROOMS = TIME | {'runtime/explore', 'runtime/sync', 'runtime/io', 'runtime/flow', 'runtime', 'fibermap'}

MAY = {
    'include/fm': set(),
    'runtime/platform': PLATFORM,
    'runtime/context': CONTEXT,
    'runtime/queue': QUEUE,
    'runtime/sched': SCHED,
    'runtime/fiber': FIBER,
    'runtime/time': TIME,
    'runtime/sync': TIME | {'runtime/sync'},
    'runtime/io': TIME | {'runtime/io'},
    'runtime/flow': TIME | {'runtime/sync', 'runtime/flow'},
    'runtime/explore': CONTEXT | {'runtime/explore'},
    'runtime': TIME | {'runtime/sync', 'runtime/io', 'runtime'},
    'fibermap': PLATFORM | {'runtime/fiber', 'fibermap'},
    'tools': {'tools'},
    'benchmarks': {'benchmarks'},
    'examples': {'examples'},
    'tests': ROOMS | {'tests', 'tools'},
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


def folder_of(path):
    """The folder of the rule book that a file belongs to, or None."""
    parts = pathlib.PurePosixPath(path).parts
    name = parts[0]
    if name in ('runtime', 'include') and len(parts) > 2:
        name = '/'.join(parts[:2])
    return name if name in MAY else None


def read_tree():
    """All arrows (from, to) with the lines that draw them, and all errors."""
    arrows = collections.defaultdict(list)
    errors = []
    tops = ['include', 'runtime', 'fibermap', 'tools', 'benchmarks', 'examples', 'tests']
    files = sorted(f for top in tops for f in (ROOT / top).rglob('*.[ch]'))
    for file in files:
        path = file.relative_to(ROOT).as_posix()
        here = folder_of(path)
        if here is None:
            errors.append(f'{path}: no rule for its folder; see MAY in tools/layers.py')
            continue
        text = file.read_text(encoding='utf-8')
        for match in INCLUDE.finditer(text):
            target = match[2]
            if target.startswith('fm/'):
                target = 'include/' + target
            elif match[1] == '<':
                continue
            elif here == 'examples':
                target = 'examples/' + target
            line = text.count('\n', 0, match.start()) + 1
            where = f'{path}:{line}: "{match[2]}"'
            if not (ROOT / target).is_file():
                errors.append(f'{where} is not a file of the tree; name the folder from the root')
                continue
            there = folder_of(target)
            if there is None:
                errors.append(f'{where} lies in a folder without a rule; see MAY in tools/layers.py')
                continue
            if here != there:
                arrows[here, there].append(where)
            if there not in MAY[here] and there not in ('include/fm', here):
                errors.append(f'{where}: {here} may not include {there}')
    return arrows, errors


def main():
    arrows, errors = read_tree()
    if '--dot' in sys.argv[1:]:
        print('digraph layers {\n    rankdir=BT;\n    node [shape=box];')
        for (here, there), lines in sorted(arrows.items()):
            print(f'    "{here}" -> "{there}" [label="{len(lines)}"];')
        print('}')
    else:
        for name in MAY:
            row = [f'{there} ({len(lines)})' for (here, there), lines in sorted(arrows.items())
                   if here == name]
            if row:
                print(f'{name:17} -> ' + '  '.join(row))
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


sys.exit(main())
