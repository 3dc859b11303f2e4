# SPDX-License-Identifier: Apache-2.0
"""each_test.py - one command for each argument, in GNU parallel's meaning"""
import os
import shutil
import subprocess

import harness
from harness import Batch, Skipped, each, equal, lines, test


@test
def the_command_is_run_for_each_argument(folder):
    done = each(folder, '-k', 'echo {} {.} {/} {//} {/.} {#}', ':::', 'a/b.c', "it's", '$(x)')
    equal((done.code, done.err), (0, ''), done)
    equal(lines(done.out), ['a/b.c a/b b.c a b 1', "it's it's it's . it's 2", '$(x) $(x) $(x) . $(x) 3'])
    done = each(folder, '-k', '--', 'echo', '-n', ':::', 'a', 'b')
    equal((done.code, done.out), (0, 'ab'), done)
    done = each(folder, '-k', ':::', 'echo a; echo b', 'exit 1')
    equal((done.code, done.out), (1, 'a\nb\n'), done)


@test
def arguments_come_from_the_standard_input_as_they_are_written(folder):
    batch = Batch(folder, 'each', 'echo {} >> got; echo {}')
    batch.process.stdin.write('one\n')
    batch.process.stdin.flush()
    equal(batch.written('got'), 'one\n')
    batch.stdin = 'two words\n\nlast'
    done = batch.wait()
    equal((done.code, sorted(lines(done.out))), (0, ['', 'last', 'one', 'two words']), done)
    (folder / 'list').write_text('a b\0c\nd\0')
    done = each(folder, '-k', '-0', '-a', 'list', 'echo {}')
    equal((done.code, done.out), (0, 'a b\nc\nd\n'), done)


@test
def outputs_are_whole_and_kept_in_order_where_asked(folder):
    command = 'test {} = 1 && until test -e go; do sleep 0.01; done; echo a{}; echo b{}; test {} != 3 || touch go'
    done = each(folder, '-k', '-j3', command, stdin='1\n2\n3\n4\n')
    equal((done.code, done.out), (0, ''.join(f'a{n}\nb{n}\n' for n in (1, 2, 3, 4))), done)
    done = each(folder, '-j1', 'head -c {} /dev/zero; echo {} >&2', ':::', '300000', '70000', '65536', '1')
    equal((done.code, len(done.out), done.err), (0, 300000 + 70000 + 65536 + 1, '300000\n70000\n65536\n1\n'))


@test
def who_outlives_its_job_may_write_on(folder):
    done = each(folder, '-q', '-j1', ':::', '(until test -e go; do sleep 0.01; done; seq 30000 && touch written) & echo a',
                'touch go; until test -e written; do sleep 0.01; done; echo b')
    equal((done.code, done.out, done.err), (0, 'a\nb\n', ''), done)


@test
def output_that_no_file_takes_is_told_and_the_job_does_not_stand_still(folder):
    done = subprocess.run([harness.BINARY, 'each', '-j1', ':::', 'seq 30000 && touch written', 'echo little'], cwd=folder, text=True,
                          env={**os.environ, 'TMPDIR': '/no/such'}, timeout=harness.WAIT_S, capture_output=True, check=False)
    equal((done.returncode, done.stdout), (1, 'little\n'), done)
    assert 'its output cannot be kept: No such file' in done.stderr and (folder / 'written').exists(), done


@test
def so_many_run_at_once_each_with_its_slot(folder):
    command = ': {}; mkdir slot{%} || exit 9; echo {%}; sleep 0.01; rmdir slot{%}'
    done = each(folder, '-j2', command, stdin=''.join(f'{n}\n' for n in range(12)))
    equal((done.code, len(lines(done.out)), set(lines(done.out)) - {'1', '2'}), (0, 12, set()), done)


@test
def the_exit_code_counts_failures(folder):
    done = each(folder, '-q', 'exit {}', ':::', '0', '1', '2')
    equal((done.code, done.err), (2, ''), done)
    done = each(folder, '-q', 'no-such-program', stdin='x\n' * 102)
    equal(done.code, 101, done)


@test
def it_halts_soon_or_now(folder):
    done = each(folder, '-j1', '--halt=soon,fail=2', 'echo {}; test {} -lt 3 || exit {}', ':::', *'12345')
    equal((done.code, done.out), (2, '1\n2\n3\n4\n'), done)
    assert '2 succeeded, 2 failed, 1 not run' in done.err, done
    done = each(folder, '-j2', '--halt', 'now,success=1', 'test {} = a || exec sleep 600', ':::', 'b', 'a', 'c')
    equal(done.code, 0, done)
    done = each(folder, '-j1', '--halt=now,done=50%', 'echo', ':::', *'1234')
    equal((done.code, done.out), (0, '1\n2\n'), done)


@test
def gnu_parallel_understands_the_same(folder):
    if not shutil.which('parallel') or 'GNU parallel' not in subprocess.run(['parallel', '--version'], capture_output=True, text=True, check=False).stdout:
        raise Skipped('GNU parallel is not here')
    for words in (['-k', 'echo {} {.} {/} {//} {/.} {#}', ':::', 'a/b.c', 'a.b/c', '/x/y.tar.gz', '.rc', 'a/.b', 'dir/', 'a.', '', "it's", '$(x)', 'a b', '/abs', 'a//b'],
                  ['-j1', '--halt=now,fail=40%', 'echo {}; exit {}', ':::', '0', '7', '8', '9', '10']):
        theirs = subprocess.run(['parallel', *words], cwd=folder, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=harness.WAIT_S,
                                env={**os.environ, 'PARALLEL_HOME': str(folder)})
        done = each(folder, *words)
        equal((done.code, done.out), (theirs.returncode, theirs.stdout), theirs)


@test
def results_and_the_joblog_tell_what_was(folder):
    done = each(folder, '-j1', '--results=out', '--joblog=log', 'echo {}; echo err >&2; exit {#}', ':::', 'a/b', '..')
    equal((done.code, done.out), (2, 'a/b\n..\n'), done)
    equal((folder / 'out/1/a\\_b/stdout').read_text(), 'a/b\n')
    equal((folder / 'out/1/a\\_b/stderr').read_text(), 'err\n')
    equal((folder / 'out/1/\\../stdout').read_text(), '..\n')
    equal([(folder / name / 'seq').read_text() for name in ('out/1/a\\_b', 'out/1/\\..')], ['1', '2'])
    head, *rows = [line.split('\t') for line in lines((folder / 'log').read_text())]
    equal(head, ['Seq', 'Host', 'Starttime', 'JobRuntime', 'Send', 'Receive', 'Exitval', 'Signal', 'Command'])
    equal([(row[0], row[1], row[5], row[6], row[7], row[8]) for row in rows],
          [('1', ':', '4', '1', '0', 'echo a/b; echo err >&2; exit 1'), ('2', ':', '3', '2', '0', 'echo ..; echo err >&2; exit 2')])


@test
def a_dry_run_prints_the_commands_and_runs_none(folder):
    done = each(folder, '--dry-run', 'touch {} {#}', ':::', 'a b', 'c')
    equal((done.code, done.out, done.err), (0, "touch 'a b' 1\ntouch c 2\n", ''), done)
    equal(list(folder.iterdir()), [])


@test
def who_stops_reading_ends_it(folder):
    with subprocess.Popen([harness.BINARY, 'each', '-j2', 'echo'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        process.stdin.write('y\n')
        process.stdin.flush()
        equal(process.wait(harness.WAIT_S), 141)


@test
def wrong_options_are_refused(folder):
    for words, text in ((['--jobs=x', 'echo'], 'x is not a number'), (['--halt=now', 'echo'], 'now,fail=1'),
                        (['--timeout=1y', 'echo'], '1y is not a time'), (['echo', ':::', 'a', ':::', 'b'], 'second :::'),
                        (['-a', 'none', 'echo'], 'none: No such file')):
        done = each(folder, *words)
        equal((done.code, done.out), (255, ''), done)
        assert text in done.err, done
    done = Batch(folder, 'what').wait()
    assert done.code == 255 and 'no command what' in done.err and 'usage' in done.err, done
    done = Batch(folder, '--help').wait()
    equal(done.code, 0, done)
    for command in ('run', 'resume', 'each', 'status', 'cancel', 'wait', 'add', 'replace'):
        assert f' {command} ' in done.out, (command, done)
