# SPDX-License-Identifier: Apache-2.0
"""run_test.py - the jobs of a file"""
from harness import Batch, equal, lines, marked, run, test, until


@test
def a_job_starts_when_all_that_it_needs_have_succeeded(folder):
    note = 'echo {0} >> order; test {0} != b || cat order > seen'
    jobs = [{'key': key, 'shell': note.format(key), 'needs': needs}
            for key, needs in (('d', ['b', 'c']), ('b', ['a']), ('c', ['a']), ('a', []), ('e', ['d']))]
    done = run(folder, jobs, '--jobs=3')
    equal(done.code, 0, done)
    order = lines((folder / 'order').read_text())
    equal((order[0], sorted(order[1:3]), order[3:]), ('a', ['b', 'c'], ['d', 'e']))
    assert '5 jobs: 5 succeeded' in done.err, done


@test
def who_needs_a_failed_job_is_skipped_and_everybody_else_goes_on(folder):
    done = run(folder, [{'key': 'a', 'shell': 'echo whole; echo torn >&2; exit 3'},
                        {'key': 'b', 'shell': 'echo never', 'needs': ['a']},
                        {'key': 'c', 'shell': 'echo never', 'needs': ['b']},
                        {'key': 'd', 'shell': 'kill -9 $$'},
                        {'key': 'e', 'argv': ['no-such-program']},
                        {'key': 'f', 'shell': 'echo on', 'directory': 'no-such-folder'},
                        {'key': 'g', 'shell': 'echo tried', 'needs': ['k']},
                        {'key': 'k', 'shell': 'exit 1', 'on_failure': 'keep-going'}], '-k')
    equal((done.code, done.out), (1, 'whole\ntried\n'), done)
    for line in ('job "a" failed: exit code 3', 'job "b" skipped: it needs "a"', 'job "c" skipped: it needs "b"',
                 'job "d" failed: signal 9 (Killed)', 'job "e" failed: it cannot be started: No such file or directory',
                 'job "f" failed: it cannot be started in its directory: No such file', '1 succeeded, 5 failed, 2 skipped'):
        assert line in done.err, (line, done)


@test
def fail_fast_stops_those_that_run_and_starts_no_other(folder):
    done = run(folder, [{'key': 'slow', 'shell': 'echo > up; exec sleep 600'},
                        {'key': 'bad', 'shell': 'until test -e up; do sleep 0.01; done; exit 4'},
                        {'key': 'late', 'shell': 'echo never', 'needs': ['slow']}], '--on-failure=fail-fast', '-j2')
    equal((done.code, done.out), (1, ''), done)
    assert 'job "slow" cancelled' in done.err and '1 failed, 1 cancelled, 1 not run' in done.err, done


@test
def a_job_has_its_environment_directory_input_and_arguments(folder):
    (folder / 'in').write_text('from a file\n')
    (folder / 'sub').mkdir()
    done = run(folder, [{'key': 'env', 'shell': 'echo "$A-$HOME-$BATCH_KEY-$BATCH_ATTEMPT-$BATCH_SLOT"',
                         'env': {'A': 'b c', 'HOME': '/'}},
                        {'key': 'directory', 'shell': 'basename "$PWD"', 'directory': 'sub'},
                        {'key': 'text', 'argv': ['cat'], 'stdin': 'from here\n'},
                        {'key': 'file', 'argv': ['cat'], 'stdin_file': 'in'},
                        {'key': 'nothing', 'argv': ['cat']},
                        {'key': 'argv', 'argv': ['printf', '%s\n', '$A  "b"']}], '-k', '-j1')
    equal((done.code, done.out), (0, 'b c-/-env-1-1\nsub\nfrom here\nfrom a file\n$A  "b"\n'), done)


@test
def a_timeout_ends_a_job_with_its_children(folder):
    mark = {'MARK': str(folder)}
    done = run(folder, [{'key': 'a', 'shell': 'sleep 600 & wait', 'timeout': 0.2, 'env': mark},
                        {'key': 'b', 'shell': 'trap "" TERM; while :; do sleep 0.05; done', 'timeout': '200ms', 'env': mark}],
               '--grace=50ms', '-j2')
    equal(done.code, 1, done)
    assert '2 timed out' in done.err and 'job "a" timed out: stopped after' in done.err, done
    until(lambda: not marked(folder), 'all of them are gone')


@test
def jobs_share_resources_and_who_waits_for_much_is_not_passed(folder):
    jobs = [{'key': 'a', 'shell': 'echo +a >> log; until test -e two; do sleep 0.01; done; echo -a >> log', 'resources': {'memory': 3}},
            {'key': 'b', 'shell': 'echo +b >> log; echo -b >> log', 'resources': {'memory': 4, 'gpu': 1}},
            {'key': 'c', 'shell': 'echo +c >> log; echo -c >> log', 'resources': {'memory': 1}},
            {'key': 'd', 'shell': 'echo + > two'}]
    done = run(folder, jobs, '-j4', '--resource=memory=4', '--resource=gpu=2')
    equal(done.code, 0, done)
    equal(lines((folder / 'log').read_text()), ['+a', '-a', '+b', '-b', '+c', '-c'])
    for options, words in ((['--resource=memory=4'], 'job "b" wants of "gpu", which there is not'),
                           (['--resource=memory=3', '--resource=gpu=1'], 'job "b" wants 4 of "memory", of which there is 3'),
                           (['--resource=memory'], 'memory is not a new NAME=AMOUNT')):
        done = run(folder, jobs, *options)
        equal(done.code, 255, done)
        assert words in done.err, done


@test
def a_job_that_fails_is_tried_again_as_its_schedule_says(folder):
    done = run(folder, [{'key': 'a', 'shell': 'echo $BATCH_ATTEMPT >> tries; echo says $BATCH_ATTEMPT; test $BATCH_ATTEMPT = 3',
                         'retry': {'times': 5, 'delay': '5ms', 'factor': 2, 'max_delay': '8ms', 'jitter': True}},
                        {'key': 'b', 'shell': 'exit 9', 'retry': 1}], '-v')
    equal((done.code, done.out, (folder / 'tries').read_text()), (1, 'says 3\n', '1\n2\n3\n'), done)
    assert 'job "a": attempt 2: exit code 1; the next in 0.008 s' in done.err, done
    assert 'job "b" failed: exit code 9, at its last attempt' in done.err, done


@test
def a_wrong_file_is_refused_before_anything_is_run(folder):
    good = '{"key": "a", "shell": "touch ran"}'
    for text, words in ((good + '\n{"key": "b", "shel": "x"}', 'jobs.json:2:1: job "b": there is no field "shel"'),
                        (good + '\n {"key": "b", }', 'jobs.json:2:15: malformed JSON'),
                        ('[' + good + ',{"key": "b", "shell": "x", "needs": ["a", "b"]}]',
                         'jobs.json:1:37: these jobs wait for each other: "b" needs "b"')):
        (folder / 'jobs.json').write_text(text)
        done = Batch(folder, 'run', 'jobs.json').wait()
        equal((done.code, done.out), (255, ''), done)
        assert words in done.err, done
    assert not (folder / 'ran').exists()
    done = Batch(folder, 'run', 'none.json').wait()
    assert done.code == 255 and 'none.json: No such file' in done.err, done


@test
def a_file_may_come_from_the_standard_input(folder):
    done = Batch(folder, 'run', '-', '--dry-run', stdin='[{"key": "b", "argv": ["rm", "x"], "needs": ["a"]},'
                 '{"key": "a", "shell": "touch ran"}]').wait()
    equal((done.code, done.out, done.err), (0, 'a: touch ran\nb: rm x\n', ''), done)
    assert not (folder / 'ran').exists()
