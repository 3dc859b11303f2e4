#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fuzz.py - compile a target for libFuzzer and let it look for inputs that break it

The kept inputs are where it starts from. What breaks it is printed as a line for corpus/, where the program that
replays them finds it ever after; --keep prints the new inputs that reach more of the code, as such lines, too.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys


def decode(line):
    named = {b'r': b'\r', b'n': b'\n', b'\\': b'\\'}
    return re.sub(rb'\\(x(..)|.)', lambda m: bytes([int(m[2], 16)]) if m[2] else named[m[1]], line)


def encode(data):
    named = {0x0d: '\\r', 0x0a: '\\n', 0x5c: '\\\\'}
    text = ''.join(named.get(byte) or (chr(byte) if 0x20 <= byte < 0x7f else f'\\x{byte:02x}') for byte in data)
    return '\\x23' + text[1:] if text.startswith('#') else text


def kept(path):
    return [decode(line) for line in path.read_bytes().split(b'\n')[:-1] if not line.startswith(b'#')]


def unpack(inputs, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, data in enumerate(inputs):
        (folder / f'{number:04}').write_bytes(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--cc', required=True)
    parser.add_argument('--cflag', action='append', default=[])
    parser.add_argument('--link', action='append', default=[], help='behind the sources')
    parser.add_argument('--work', type=pathlib.Path, required=True, help='a folder of its own')
    parser.add_argument('--corpus', type=pathlib.Path, required=True)
    parser.add_argument('--seconds', type=int, default=60)
    parser.add_argument('--keep', action='store_true')
    parser.add_argument('source', nargs='+')
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    program = args.work / 'target'
    subprocess.run([*args.cc.split(), '-fsanitize=fuzzer,address,undefined', '-fno-sanitize-recover=all', '-g1', '-O1', '-w',
                    '-std=gnu17', '-D_GNU_SOURCE', *args.cflag, *args.source, *args.link, '-o', str(program)], check=True)
    found, known = args.work / 'found', args.work / 'known'
    unpack([], found)
    unpack(kept(args.corpus), known)
    for old in args.work.glob('broken-*'):
        old.unlink()
    done = subprocess.run([str(program), f'-max_total_time={args.seconds}', '-max_len=4096', '-timeout=10', '-rss_limit_mb=2000',
                           '-verbosity=1', f'-artifact_prefix={args.work}/broken-', str(found), str(known)], check=False)
    for path in args.work.glob('broken-*'):
        print(f'{path.name}: {encode(path.read_bytes())}')
    if args.keep:
        merged = args.work / 'merged'
        unpack([], merged)
        subprocess.run([str(program), '-set_cover_merge=1', str(merged), str(known), str(found)], check=True, capture_output=True)
        new = {path.read_bytes() for path in merged.iterdir()} - set(kept(args.corpus))
        print(*sorted(map(encode, new), key=len), sep='\n')
    return 1 if done.returncode else 0


if __name__ == '__main__':
    sys.exit(main())
