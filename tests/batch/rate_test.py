# SPDX-License-Identifier: Apache-2.0
"""rate_test.py - so many starts in a time: never sooner; how much later is for the machine to say"""
import json
import time

from harness import Batch, ask, each, equal, run, test, until


@test
def attempts_that_share_a_rate_do_not_start_sooner(folder):
    started = time.monotonic()
    done = run(folder, [{'key': str(n), 'shell': 'true', 'rate': 'api'} for n in range(4)] +
               [{'key': 'again', 'shell': 'test $BATCH_ATTEMPT = 2', 'retry': 1, 'rate': 'api'}], '-j5', '--rate=api=50/1s:3')
    equal(done.code, 0, done)
    assert time.monotonic() - started >= 3 * 0.02, 'six attempts, three of them at once'
    started = time.monotonic()
    done = each(folder, '-j3', '--delay=20ms', 'true', ':::', '1', '2', '3')
    equal(done.code, 0, done)
    assert time.monotonic() - started >= 2 * 0.02


@test
def who_waits_for_a_rate_is_passed_by_others_and_can_be_cancelled(folder):
    batch = Batch(folder, 'run', '--socket=socket', '-j1', '--rate=api=1/1h', '--rate=1000:9', 'jobs.json', jobs=[
        {'key': 'a', 'shell': 'echo never', 'rate': 'api'}, {'key': 'b', 'shell': 'echo never', 'rate': 'api'},
        {'key': 's', 'shell': 'echo s > s; exit 1', 'rate': 'api', 'restart': 'transient'}, {'key': 'c', 'shell': 'until test -e s; do sleep 0.01; done'}])
    until(lambda: json.loads(ask(folder, 'status', 'socket').out or '{"succeeded": 0}')['succeeded'] == 1, 'c has ended')
    rates = json.loads(ask(folder, 'status', 'socket').out)['rates']
    equal([(rate['name'], rate['free'], rate['wanted']) for rate in rates if rate['name']], [('api', 0, True)])
    for key in ('s', 'a', 'b'):
        equal(ask(folder, 'cancel', 'socket', key).code, 0)
    done = batch.wait()
    equal((done.code, done.out, (folder / 's').read_text()), (1, '', 's\n'), done)
    assert '1 succeeded, 3 cancelled' in done.err, done


@test
def rates_that_are_none_are_refused(folder):
    for text in ('', 'x', '0', '-1', '=1', '1/', '1/0', '1/1y', '1:', '1:0', '1:x', 'a=1/1s:2:3', '1e-300'):
        done = each(folder, f'--rate={text}', 'echo', ':::', 'a')
        assert done.code == 255 and 'is not a new rate' in done.err, (text, done)
    done = each(folder, '--rate=1', '--delay=1', 'echo', ':::', 'a')
    assert done.code == 255 and 'one of them' in done.err, done
    done = run(folder, [{'key': 'a', 'shell': 'touch ran', 'rate': 'b'}], '--rate=api=1')
    assert done.code == 255 and 'job "a" has the rate "b", which there is not' in done.err and not (folder / 'ran').exists(), done
