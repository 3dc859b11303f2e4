# SPDX-License-Identifier: Apache-2.0
"""machine.py - the circumstances of a run: machine, kernel, commit, load"""
import mmap
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


def find_memory(gibibytes):
    """
    Touch that much memory, or half of what there is, and give it back. In a virtual machine the
    host has then found the pages behind it: else the first program to touch much would wait for
    them, and those that come after it would not. Returns how many bytes.
    """
    available = int(_read('/proc/meminfo', r'^MemAvailable:\s+(\d+)', '0')) << 10
    size = min(int(gibibytes * (1 << 30)), available // 2)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    try:
        if size > 0:
            mmap.mmap(-1, size, flags=flags).close()
    except OSError:
        return 0  # where so much is not to be had the program will say so
    return size


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
