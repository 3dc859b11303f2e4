#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""coverage.py [--missing] BUILD [FILE...] - which lines and branches of the library have run

Of a build with -Dcoverage=true whose tests have counted into BUILD/counts (tools/check.sh coverage
does both): lines and branches of each file of runtime/ and fibermap/, of each of the two folders, and
of all. What runs under the arbiter counts like the rest. --missing adds what has not run, line by
line; FILEs are the only ones to be shown, the totals are of all.

A line is one on which code begins or goes on, a branch one side of a condition as it is written: of
`a && b` each has two. Left out are the branches of FM_ASSERT and FM_BUG_IF, one side of which would
be a broken library; the code that they stop at counts like any other. Exit code 0 only if at least
LINES and BRANCHES of a hundred have run.
"""
import argparse
import collections
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDERS = ('runtime/', 'fibermap/')
LINES, BRANCHES = 95, 85
POINTS = 'runtime/explore/redirect.h'  # what the arbiter puts before each atomic operation
NEVER = re.compile(r'FM_ASSERT\b|FM_BUG_IF\b')


def export(build):
    """What llvm-cov knows of the two libraries. Most rooms are in both: what has run in one has run."""
    counts = build / 'all.profdata'
    subprocess.run(['llvm-profdata', 'merge', '-o', counts,
                    *sorted((build / 'counts').glob('*.profraw'))], check=True)
    done = subprocess.run(['llvm-cov', 'export', build / 'libfibermap.so', '-object',
                           build / 'libfibermap-explore.so', f'-instr-profile={counts}'],
                          check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)['data'][0]


def name_of(build, path):
    """A file's name from the root, or None where it is none of the library's."""
    path = (build / path).resolve()
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ''
    return name if name.startswith(FOLDERS) else None


def lines_of(segments):
    """How often each line has run, from what begins and ends on it, as llvm-cov counts them."""
    by_line = collections.defaultdict(list)
    for segment in segments:
        by_line[segment[0]].append(segment)
    runs = {}
    around = None
    for line in range(min(by_line), max(by_line) + 1):
        here = by_line.get(line, [])
        begun = [s[2] for s in here if s[3] and s[4] and not s[5]]
        skipped = here and not here[0][3] and here[0][4]
        if not skipped and (begun or (around and around[3])):
            runs[line] = max(begun + ([around[2]] if around and around[3] else []))
        if here:
            around = here[-1]
    return runs


def branches_of(function, text):
    """(position, which, runs) of both sides of each condition of a function."""
    stands = {r[6]: (r[5], r[0], r[1]) for r in function['regions'] if r[7] == 1}
    met = collections.Counter()
    for line, column, _, _, true, false, file, *_ in function['branches']:
        place = (function['filenames'][file], line, column)
        while file in stands:  # in a macro: the place is that of the outermost one
            file, line, column = stands[file]
        here = text(function['filenames'][0], line)[column - 1:]
        if place[0].endswith(POINTS) or NEVER.match(here):
            continue
        met[line, column, place] += 1
        at = (line, column, place, met[line, column, place])
        yield at, 'true', true
        yield at, 'false', false


def count(build):
    """For each file the runs of its lines and of its branches."""
    data = export(build)
    texts = {}

    def text(path, line):
        if path not in texts:
            texts[path] = (build / path).read_text(encoding='utf-8').split('\n')
        return texts[path][line - 1]

    lines, branches = {}, collections.defaultdict(collections.Counter)
    for file in data['files']:
        name = name_of(build, file['filename'])
        if name and file['segments']:
            lines[name] = lines_of(file['segments'])
    for function in data['functions']:
        name = name_of(build, function['filenames'][0])
        if name:
            for at, side, runs in branches_of(function, text):
                branches[name][at, side] += runs
    return lines, branches


def show_missing(name, lines, branches):
    text = (ROOT / name).read_text(encoding='utf-8').split('\n')
    missing = [(line, 'never run') for line, runs in lines.items() if not runs]
    missing += [(at[0], f'never {side}') for (at, side), runs in branches.items()
                if not runs and lines.get(at[0])]
    for line, what in sorted(missing):
        print(f'    {line:4}  {what:11}  {text[line - 1].strip()}')


def share(some, all_):
    return f'{100 * some / all_ if all_ else 100:5.1f} % of {all_:5}'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--missing', action='store_true')
    parser.add_argument('build', type=pathlib.Path)
    parser.add_argument('file', nargs='*')
    options = parser.parse_args()
    lines, branches = count(options.build.resolve())
    folders = {folder: [0, 0, 0, 0] for folder in FOLDERS}
    for name in sorted(lines):
        of_file = [sum(map(bool, lines[name].values())), len(lines[name]),
                   sum(map(bool, branches[name].values())), len(branches[name])]
        folder = name.split('/')[0] + '/'
        folders[folder] = [a + b for a, b in zip(folders[folder], of_file)]
        if not options.file or name in options.file:
            print(f'{name:34} lines {share(*of_file[:2])}   branches {share(*of_file[2:])}')
            if options.missing:
                show_missing(name, lines[name], branches[name])
    sums = [sum(column) for column in zip(*folders.values())]
    for name, figures in {**folders, 'all': sums}.items():
        print(f'{name:34} lines {share(*figures[:2])}   branches {share(*figures[2:])}')
    if sums[0] * 100 < LINES * sums[1] or sums[2] * 100 < BRANCHES * sums[3]:
        print(f'less than {LINES} % of the lines or {BRANCHES} % of the branches')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
