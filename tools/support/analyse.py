#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""analyse.py [SOURCE...] - what gcc -fanalyzer, clang-tidy and cppcheck say of the library

Without a source: of all of runtime/ and fibermap/. What is known to be none of a fault stands in
analysed.txt, each with its reason; what is not there is printed, and so is what stands there and
is found no more. Exit code 0 only if there is neither. Takes some minutes.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LIST = pathlib.Path(__file__).with_name('analysed.txt')
FLAGS = ['-std=gnu17', '-D_GNU_SOURCE', '-DFM_BUILD_VERSION="0"', '-I.', '-Iinclude']
SAID = re.compile(r'^(?P<file>[^\s:]+):(?P<line>\d+):\d+: (?:warning|error|portability|performance|'
                  r'style): (?P<text>.*) \[(?P<what>[^]]+)\]$', re.M)


def gcc(source):
    return ['gcc', *FLAGS, '-O1', '-fanalyzer', '-fdiagnostics-plain-output', '-S', '-o',
            '/dev/null', source]


def tidy(source):
    return ['clang-tidy', '--quiet', source, '--', *FLAGS]


def cppcheck(source):
    return ['cppcheck', '--quiet', '--std=c11', '--enable=warning,performance,portability',
            '--template={file}:{line}:{column}: {severity}: {message} [{id}]',
            '-D_GNU_SOURCE', '-D__x86_64__', '-DFM_BUILD_VERSION="0"', '-I.', '-Iinclude', source]


TOOLS = {'gcc': gcc, 'clang-tidy': tidy, 'cppcheck': cppcheck}


def findings(job):
    """What one tool says of one source: (tool, file, what) and where and how, for each."""
    tool, source = job
    done = subprocess.run(TOOLS[tool](source), cwd=ROOT, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = {}
    for match in SAID.finditer(done.stdout):
        path = os.path.relpath(match['file'], ROOT) if match['file'][0] == '/' else match['file']
        what = re.sub(r'^(CWE-\d+\] \[)?-?W?', '', match['what'])
        found[tool, path, what] = f"{path}:{match['line']}: {match['text']}"
    if done.returncode and not found:
        found[tool, source, 'failed'] = done.stdout[-2000:]
    return found


def known():
    """(tool, file, what) of each line of the list, with its reason."""
    listed = {}
    for line in LIST.read_text(encoding='utf-8').splitlines():
        if line.strip() and not line.startswith('#'):
            tool, path, what, reason = line.split(maxsplit=3)
            listed[tool, path, what] = reason
    return listed


def main():
    sources = sys.argv[1:] or sorted(path.relative_to(ROOT).as_posix() for folder in
                                     ('runtime', 'fibermap') for path in (ROOT / folder).rglob('*.c'))
    found = {}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for some in pool.map(findings, [(tool, s) for s in sources for tool in TOOLS]):
            found |= some
    listed = known()
    for key in sorted(found.keys() - listed.keys()):
        print(f'{found[key]} [{key[0]} {key[2]}]')
    stale = [] if sys.argv[1:] else sorted(listed.keys() - found.keys())
    for key in stale:
        print('analysed.txt: not found any more:', *key)
    print(f'{len(sources)} sources, {len(found)} findings, {len(found.keys() - listed.keys())} new')
    return 1 if stale or found.keys() - listed.keys() else 0


if __name__ == '__main__':
    sys.exit(main())
