# SPDX-License-Identifier: Apache-2.0
"""machine.py - the circumstances of a run: machine, kernel, commit, load"""
import os
import pathlib
import platform
import re
import subprocess
import time


def _first(command, cwd=None):
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError:
        return 'unknown'
    return (done.stdout.strip().splitlines() or ['unknown'])[0]


def _read(path, pattern, default='unknown'):
    try:
        found = re.search(pattern, pathlib.Path(path).read_text(encoding='utf-8'), re.M)
    except OSError:
        found = None
    return found[1] if found else default


def circumstances(root):
    """A dict of text. Compiler and flags our programs print with their figures."""
    memory_kib = int(_read('/proc/meminfo', r'^MemTotal:\s+(\d+)', '0'))
    dirty = subprocess.run(['git', 'status', '--porcelain', '--untracked-files=no'], cwd=root,
                           capture_output=True, text=True, check=False).stdout.strip()
    return {
        'time': time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime()),
        'processor': _read('/proc/cpuinfo', r'^model name\s*: (.*)'),
        'processors': str(os.cpu_count()),
        'memory': f'{memory_kib // 1024} MiB',
        'kernel': f'{platform.system()} {platform.release()} {platform.machine()}',
        'huge pages': _read('/sys/kernel/mm/transparent_hugepage/enabled', r'\[(\w+)\]'),
        'load': ' '.join(f'{load:.2f}' for load in os.getloadavg()),
        'niceness': str(os.nice(0)),
        'commit': _first(['git', 'rev-parse', '--short=12', 'HEAD'], root) +
                  (' and changes that are not committed' if dirty else ''),
    }
