# SPDX-License-Identifier: Apache-2.0
"""machine.py - the circumstances of a run: machine, kernel, commit, load"""
import os
import pathlib
import platform
import re
import subprocess
import time


def _git(root, *words):
    """What git says of the tree; nothing where there is no git, or no repository."""
    try:
        return subprocess.run(['git', *words], cwd=root, capture_output=True, text=True,
                              check=False).stdout.strip()
    except OSError:
        return ''


def _read(path, pattern, default='unknown'):
    try:
        found = re.search(pattern, pathlib.Path(path).read_text(encoding='utf-8'), re.M)
    except OSError:
        found = None
    return found[1] if found else default


def circumstances(root):
    """A dict of text. Compiler and flags our programs print with their figures."""
    memory_kib = int(_read('/proc/meminfo', r'^MemTotal:\s+(\d+)', '0'))
    changed = _git(root, 'status', '--porcelain', '--untracked-files=no')
    return {
        'time': time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime()),
        'processor': _read('/proc/cpuinfo', r'^model name\s*: (.*)'),
        'processors': str(os.cpu_count()),
        'memory': f'{memory_kib // 1024} MiB',
        'kernel': f'{platform.system()} {platform.release()} {platform.machine()}',
        'huge pages': _read('/sys/kernel/mm/transparent_hugepage/enabled', r'\[(\w+)\]'),
        'load': ' '.join(f'{load:.2f}' for load in os.getloadavg()),
        'niceness': str(os.nice(0)),
        'commit': (_git(root, 'rev-parse', '--short=12', 'HEAD') or 'unknown') +
                  (' and changes that are not committed' if changed else ''),
    }
