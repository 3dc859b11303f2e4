# SPDX-License-Identifier: Apache-2.0
"""journal_test.py - what is on disk when the program is killed, and going on from there"""
import json
import resource
import signal
import sqlite3
import subprocess

import harness
from harness import Batch, equal, lines, marked, test, until, with_small_disk

SUCCEEDED = 3


def ended(folder):
    """The keys of the jobs that have succeeded as the journal has it."""
    with sqlite3.connect(folder / 'journal') as db:
        keys = [row[0] for row in db.execute('SELECT key FROM jobs WHERE state = ?', (SUCCEEDED,))]
    db.close()
    return set(keys)


def resume(folder, *options):
    return Batch(folder, 'resume', *options, 'journal').wait()


@test
def after_a_kill_the_rest_is_run_and_no_finished_job_again(folder):
    (folder / 'ran').write_text('')
    jobs = [{'key': str(n), 'shell': f'echo {n} >> ran', 'env': {'MARK': str(folder)},
             'needs': [str(m) for m in (n - 3, n - 4) if m >= 0]} for n in range(40)]
    batch = Batch(folder, 'run', '-j2', '--journal=journal', 'jobs.json', jobs=jobs)
    known = set()
    for kill_after in (5, 15, 25):
        until(lambda n=kill_after: len(lines((folder / 'ran').read_text())) > n or batch.process.poll() is not None, 'some have run')
        batch.signal(signal.SIGKILL)
        batch.wait()
        until(lambda: not marked(folder), 'the jobs that ran are gone')
        now = ended(folder)
        assert known <= now, (known, now)
        known = now
        before = lines((folder / 'ran').read_text())
        batch = Batch(folder, 'resume', 'journal')
    done = batch.wait()
    equal(done.code, 0, done)
    equal(len(ended(folder)), 40)
    after = lines((folder / 'ran').read_text())
    equal(set(after), {str(n) for n in range(40)})
    for key in known:
        equal(after.count(key), before.count(key), f'job {key} had ended')
    done = resume(folder)
    equal((done.code, lines((folder / 'ran').read_text())), (0, after), done)


@test
def who_was_running_is_named_and_options_and_directory_stay(folder):
    batch = Batch(folder, 'run', '-k', '-j1', '--journal=journal', 'jobs.json', jobs=[
        {'key': 'a', 'shell': 'echo a'}, {'key': 'b', 'shell': 'exit 3'},
        {'key': 'c', 'shell': 'echo up > up; test -e go || exec sleep 600; echo c'},
        {'key': 'd', 'shell': 'echo d $BATCH_ATTEMPT', 'needs': ['a', 'c']}, {'key': 'e', 'shell': 'echo e', 'needs': ['b']}])
    batch.written('up')
    batch.signal(signal.SIGKILL)
    equal(batch.wait().out, 'a\n')
    (folder / 'go').touch()
    elsewhere = folder / 'elsewhere'
    elsewhere.mkdir()
    done = Batch(elsewhere, 'resume', '../journal').wait()
    equal((done.code, done.out), (1, 'c\nd 1\n'), done)
    assert 'job "c" was running (attempt 1); it is run again' in done.err, done
    assert '3 succeeded, 1 failed, 1 skipped' in done.err, done
    done = Batch(folder, 'resume', '--retry-failed', 'journal').wait()
    equal((done.code, done.out), (1, ''), done)
    assert 'job "b" failed: exit code 3, at its last attempt' in done.err and 'was running' not in done.err, done


@test
def after_a_kill_each_goes_on_with_the_rest_of_its_arguments(folder):
    (folder / 'ran').write_text('')
    (folder / 'list').write_text(''.join(f'{n}\n' for n in range(40)))
    batch = Batch(folder, 'each', '-j2', '--journal=journal', '-a', 'list', 'echo {} >> ran', env={'MARK': str(folder)})
    known = set()
    for kill_after in (5, 20):
        until(lambda n=kill_after: len(lines((folder / 'ran').read_text())) > n or batch.process.poll() is not None, 'some have run')
        batch.signal(signal.SIGKILL)
        batch.wait()
        until(lambda: not marked(folder), 'the jobs that ran are gone')
        now = ended(folder)
        assert known <= now, (known, now)
        known = now
        before = lines((folder / 'ran').read_text())
        batch = Batch(folder, 'resume', 'journal', env={'MARK': str(folder)})
    done = batch.wait()
    equal((done.code, len(ended(folder))), (0, 40), done)
    after = lines((folder / 'ran').read_text())
    equal(set(after), {str(n) for n in range(40)})
    for key in known:
        argument = str(int(key) - 1)
        equal(after.count(argument), before.count(argument), f'number {key} had ended')
    (folder / 'list').unlink()
    done = resume(folder)
    equal((done.code, lines((folder / 'ran').read_text())), (0, after), done)


@test
def arguments_of_a_pipe_are_given_again_and_must_be_the_same(folder):
    command = 'echo {} >> ran; test {} != b || test -e go || { echo > up; exec sleep 600; }; echo {}'
    batch = Batch(folder, 'each', '-j1', '-k', '--journal=journal', command, env={'MARK': str(folder)})
    batch.process.stdin.write('a\nb\nc\nd\n')
    batch.process.stdin.flush()
    batch.written('up')
    batch.signal(signal.SIGKILL)
    batch.wait()
    until(lambda: not marked(folder), 'b is gone')
    (folder / 'go').touch()
    for again, words in (('', 'there are 0, the journal has 2: give it all of them again'), ('a\nx\nc\n', 'number 2 was "b", and now is "x"')):
        done = Batch(folder, 'resume', 'journal', stdin=again).wait()
        assert done.code == 255 and f'cannot read the arguments: {words}' in done.err, done
    equal((folder / 'ran').read_text(), 'a\nb\n')
    done = Batch(folder, 'resume', 'journal', stdin='a\nb\nc\nd\n').wait()
    equal((done.code, done.out, (folder / 'ran').read_text()), (0, 'b\nc\nd\n', 'a\nb\nb\nc\nd\n'), done)
    done = resume(folder)
    equal((done.code, done.out), (0, ''), done)


@test
def what_had_failed_of_each_counts_and_is_run_again_where_asked(folder):
    batch = Batch(folder, 'each', '-j1', '--journal=journal', 'test {} != 2 || test -e go || { echo up > up; exec sleep 600; }; exit {}', ':::', *'01203')
    batch.written('up')
    batch.signal(signal.SIGKILL)
    batch.wait()
    (folder / 'go').touch()
    done = resume(folder)
    equal(done.code, 3, done)
    assert 'job 3 (2) was running (attempt 1); it is run again' in done.err and '5 jobs: 2 succeeded, 3 failed' in done.err and 'job 2' not in done.err, done
    done = resume(folder, '--retry-failed')
    equal(done.code, 3, done)
    assert 'job 2 (1) failed: exit code 1' in done.err and '5 jobs: 2 succeeded, 3 failed' in done.err, done


@test
def what_a_signal_stopped_is_run_again(folder):
    batch = Batch(folder, 'run', '--journal=journal', '-j1', 'jobs.json',
                  jobs=[{'key': 'a', 'shell': 'echo up > up; test -e go || exec sleep 600', 'retry': 3}, {'key': 'b', 'shell': 'echo b'}])
    batch.written('up')
    busy = resume(folder)
    assert busy.code == 255 and 'journal: somebody is running it' in busy.err, busy
    batch.signal(signal.SIGINT)
    equal(batch.wait().code, 130)
    (folder / 'go').touch()
    done = resume(folder)
    equal((done.code, done.out), (0, 'b\n'), done)
    assert '2 jobs: 2 succeeded' in done.err and 'was running' not in done.err, done


@test
def a_journal_that_is_there_or_is_none_is_left_alone(folder):
    (folder / 'journal').write_text('some text, longer than the head of a database would be' * 4)
    done = Batch(folder, 'run', '--journal=journal', 'jobs.json', jobs=[{'key': 'a', 'shell': 'touch ran'}]).wait()
    assert done.code == 255 and 'journal is there already' in done.err, done
    done = resume(folder)
    assert done.code == 255 and 'journal: ' in done.err, done
    done = Batch(folder, 'resume', 'none').wait()
    assert done.code == 255 and 'none: No such file' in done.err, done
    assert not (folder / 'ran').exists() and (folder / 'journal').read_text().startswith('some text')


@test
def when_the_journal_cannot_be_written_nothing_more_starts(folder):
    (folder / 'jobs.json').write_text('\n'.join(json.dumps({'key': str(n), 'shell': f'echo {n}'}) for n in range(400)))
    done = subprocess.run([harness.BINARY, 'run', '-j2', '--journal=journal', 'jobs.json'], cwd=folder, text=True, timeout=harness.WAIT_S,
                          capture_output=True, check=False,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (128 << 10, 128 << 10)))
    equal(done.returncode, 255, done)
    assert 'batch: cannot write the journal (' in done.stderr, done
    equal(ended(folder) - set(lines(done.stdout)), set(), 'what has ended was printed')
    assert len(lines(done.stdout)) < 400, done
    done = resume(folder)
    equal((done.code, len(ended(folder))), (0, 400), done)


@test
def on_a_full_disk_nothing_is_lost_and_with_room_it_goes_on(folder):
    (folder / 'jobs.json').write_text('\n'.join(json.dumps({'key': str(n), 'shell': f'echo {n} >> ran; echo {n}'}) for n in range(80)))
    done = with_small_disk(folder, '512k', """
        head -c 300000 /dev/zero > disk/filler
        "$BATCH" run -j2 --journal=disk/journal jobs.json > out1; echo $?
        cp ran ran1
        "$BATCH" resume disk/journal > out2; echo $?
        rm disk/filler; mount -o remount,size=4m disk
        "$BATCH" resume disk/journal > out3; echo $?
        "$BATCH" resume disk/journal; echo $?""")
    equal(lines(done.out), ['255', '255', '0', '0'], done)
    assert 'batch: cannot write the journal (database or disk is full): No space left on device\n' in done.err, done
    equal(done.err.count('database or disk is full'), 2, done)
    printed = [line for name in ('out1', 'out2', 'out3') for line in lines((folder / name).read_text())]
    equal(sorted(printed, key=int), [str(n) for n in range(80)], 'each is printed once, when its end is written')
    ran, first = lines((folder / 'ran').read_text()), lines((folder / 'ran1').read_text())
    equal(set(ran), {str(n) for n in range(80)})
    for key in lines((folder / 'out1').read_text()):
        equal(ran.count(key), 1, 'it had ended')
    assert 0 < len(first) < 80, first
