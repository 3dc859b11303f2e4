# SPDX-License-Identifier: Apache-2.0
"""builtin_test.py - hash, grep and count, in fibers and without a process"""
import hashlib
import os
import signal

from harness import Batch, equal, run, test, until


def tree(folder):
    """A few files, one of them larger than what is read at a time, with a line across it."""
    (folder / 'tree/sub').mkdir(parents=True)
    (folder / 'tree/a').write_text('hello world\nfoo  bar\tbaz\n')
    (folder / 'tree/empty').touch()
    (folder / 'tree/link').symlink_to('a')
    (folder / 'tree/sub/b').write_text('no newline')
    (folder / 'tree/sub/c').write_text(('ab cd ' * 100 + '\n') * 436 + 'needle' * 40 + 'x' * 4000 + ' end of a long line\nlast\n')
    return [(path, path.read_bytes()) for path in (folder / 'tree/a', folder / 'tree/empty', folder / 'tree/sub/b', folder / 'tree/sub/c')]


@test
def hash_grep_and_count_take_files_and_all_below_folders(folder):
    files = tree(folder)
    done = run(folder, [{'key': 'hash', 'call': 'hash', 'path': 'tree'}, {'key': 'text', 'call': 'hash', 'text': 'abc'},
                        {'key': 'count', 'call': 'count', 'path': ['tree', 'a', 'a'], 'directory': '.'},
                        {'key': 'grep', 'call': 'grep', 'pattern': '^(NO|l)|e{2}dle.*line$', 'ignore_case': True, 'path': 'tree'},
                        {'key': 'number', 'call': 'grep', 'pattern': 'b$', 'text': 'a\nb'}], '-k', '-j2', '--results=out')
    os.symlink('tree/a', folder / 'a')
    equal(done.code, 1, 'a is not there yet')
    sums = ''.join(f'{hashlib.sha256(data).hexdigest()}  {path.relative_to(folder)}\n' for path, data in files)
    long = files[3][1].split(b'\n')[436].decode()
    assert done.out.startswith(sums + hashlib.sha256(b'abc').hexdigest() + '  -\n'), done.out[:600]
    equal(done.out.split('total\n')[1], f'tree/sub/b:1:no newline\ntree/sub/c:437:{long}\ntree/sub/c:438:last\n2:b\n')
    equal((folder / 'out/hash/stdout').read_text(), sums)
    done = run(folder, [{'key': 'count', 'call': 'count', 'path': ['tree', 'a']}])
    lines, words, size = (sum(of(data) for _, data in files) for of in (lambda data: data.count(b'\n'), lambda data: len(data.split()), len))
    equal((done.code, done.out), (0, f'{lines} {words} {size} tree\n2 5 25 a\n{lines + 2} {words + 5} {size + 25} total\n'), done)


@test
def what_cannot_be_read_is_said_and_the_rest_is_done(folder):
    (folder / 'tree/shut').mkdir(parents=True)
    (folder / 'tree/a').write_text('a b\n')
    (folder / 'loop').symlink_to('loop')
    (folder / 'tree/shut').chmod(0)
    done = run(folder, [{'key': 'c', 'call': 'count', 'path': ['none', 'tree', '/dev/null']}, {'key': 'h', 'call': 'hash', 'path': ['loop', 'tree/a']},
                        {'key': 'g', 'call': 'grep', 'pattern': 'c', 'path': 'tree/a'}], '-k', '-j1')
    (folder / 'tree/shut').chmod(0o700)
    equal((done.code, done.out), (1, '0 0 0 none\n1 2 4 tree\n0 0 0 /dev/null\n1 2 4 total\n'
                                  f'{hashlib.sha256(b"a b" + bytes([10])).hexdigest()}  tree/a\n'), done)
    for line in ('none: No such file or directory', '/dev/null: Operation not supported', 'loop: Too many levels of symbolic links',
                 'job "c" failed: exit code 2', 'job "h" failed: exit code 2', 'job "g" failed: exit code 1'):
        assert line in done.err, (line, done)
    equal('tree/shut: Permission denied' in done.err, os.geteuid() != 0, done)


@test
def a_call_ends_at_its_timeout_and_by_a_signal(folder):
    with open(folder / 'endless', 'w') as file:
        file.truncate(1 << 38)
    done = run(folder, [{'key': 'a', 'call': 'hash', 'path': 'endless', 'timeout': '20ms'}, {'key': 'b', 'call': 'count', 'text': 'x', 'needs': ['a']}])
    equal((done.code, done.out), (1, ''), done)
    assert 'job "a" timed out: stopped after' in done.err and 'job "b" skipped' in done.err, done
    batch = Batch(folder, 'run', '--json=events', 'jobs.json', jobs=[{'key': 'a', 'call': 'hash', 'path': 'endless'}])
    until(lambda: '"start"' in batch.written('events'), 'it runs')
    batch.signal(signal.SIGTERM)
    done = batch.wait()
    equal((done.code, done.out), (143, ''), done)
    assert 'job "a" cancelled: ' in done.err, done
