#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""trace_test.py TRACE_SAMPLE MODE - run a program and look at the trace it has written

What a trace promises: it is JSON that viewers read; on one worker runs and sleeps never overlap; every
arrow has two ends, in order; who wakes is running; what is dropped is counted.
"""
import collections
import decimal
import json
import subprocess
import sys


def check(condition, *words):
    if not condition:
        print('trace_test:', *words, file=sys.stderr)
        sys.exit(1)


def read(program, mode):
    run = subprocess.run([program, mode], stdout=subprocess.PIPE, check=True, timeout=300)
    # decimals: nanoseconds must compare exactly
    return json.loads(run.stdout, parse_float=decimal.Decimal)


def check_form(trace):
    check(trace['displayTimeUnit'] == 'ns', trace['displayTimeUnit'])
    for event in trace['traceEvents']:
        check(event['ph'] in 'XisfM', event)
        check(event['ts'] >= 0 and isinstance(event['tid'], int) and event['name'], event)
        check(event['ph'] != 'X' or event['dur'] >= 0, event)


def spans(trace):
    rows = collections.defaultdict(list)
    for event in trace['traceEvents']:
        if event['ph'] == 'X':
            rows[event['tid']].append(event)
    for row in rows.values():
        row.sort(key=lambda event: (event['ts'], event['ts'] + event['dur']))
    return rows


def check_rows(trace):
    named = {event['tid'] for event in trace['traceEvents'] if event['ph'] == 'M'}
    for row, events in spans(trace).items():
        check(row in named, 'row', row, 'has no name')
        for before, after in zip(events, events[1:]):
            check(before['ts'] + before['dur'] <= after['ts'], 'overlap', before, after)


def check_arrows(trace):
    starts = {event['id']: event for event in trace['traceEvents'] if event['ph'] == 's'}
    ends = {event['id']: event for event in trace['traceEvents'] if event['ph'] == 'f'}
    check(len(starts) > 0 and starts.keys() == ends.keys(), 'arrows without an end')
    for arrow, start in starts.items():
        end = ends[arrow]
        check(start['ts'] <= end['ts'], 'an arrow back in time', start, end)
        check(any(run['ts'] == end['ts'] and run['cat'] == 'run'
                  for run in spans_of[end['tid']]), 'an arrow to nowhere', end)


def check_wakers(trace):
    """Who woke another was running there and then. (A run that has not ended is not in the trace.)"""
    known = {run['args']['fiber'] for row in spans_of.values() for run in row if run['cat'] == 'run'}
    seen = 0
    for event in trace['traceEvents']:
        by = event.get('args', {}).get('by_fiber')
        if by is None or by not in known:
            continue
        seen += 1
        check(any(run['cat'] == 'run' and run['args']['fiber'] == by and
                  run['ts'] <= event['ts'] <= run['ts'] + run['dur']
                  for run in spans_of[event['tid']]), 'woken by one that does not run', event)
    check(seen > 0, 'nobody was woken by a fiber')


def runs_named(name):
    return sorted((run for row in spans_of.values() for run in row if run['name'] == name),
                  key=lambda run: run['ts'])


def moments(trace, name):
    return [event for event in trace['traceEvents'] if event['ph'] == 'i' and event['name'] == name]


def check_mixed(trace, mode):
    check(trace['otherData']['dropped'] == 0, trace['otherData'])
    ping = runs_named('ping "zero"')
    check(len(ping) >= 50, len(ping), 'runs of ping')
    check(all(run['args']['end'] != 'parked' or run['args']['waits_for'] == 'semaphore' for run in ping),
          ping[0])
    # on the real clock a last run may just be about to be recorded when the trace is stopped
    check(mode == 'real' or ping[-1]['args']['end'] == 'ended', ping[-1])
    keyed = runs_named('"user\\x5c7"')
    check(len(keyed) in (1 if mode == 'real' else 2, 2) and 'key' in keyed[0]['args'], keyed)
    check(keyed[0]['args']['end'] == 'parked' and keyed[0]['args']['waits_for'] == 'sleep', keyed)
    sleepers = {run['args']['fiber'] for run in runs_named('sleeper')}
    check(len(sleepers) == 4, sleepers)
    wakes = [wake for wake in moments(trace, 'wake') if wake['args']['fiber'] in sleepers]
    # one whose timer fires before it has left its stack is told so
    check(len(wakes) == 4 and all(wake['args']['by'] in ('timer', 'outside', 'before it had left its stack')
                                  for wake in wakes), wakes)
    spawned = collections.Counter(event['args']['fiber'] for event in moments(trace, 'spawn'))
    check(set(spawned.values()) == {1}, 'spawned twice')
    ran = {run['args']['fiber'] for row in spans_of.values() for run in row if run['cat'] == 'run'}
    check(ran <= set(spawned), 'ran and was never spawned', ran - set(spawned))
    yielded = [run for row in spans_of.values() for run in row
               if run['cat'] == 'run' and run['args']['end'] == 'yielded']
    check(len(yielded) >= 800, len(yielded), 'yields')
    return wakes


def main():
    program, mode = sys.argv[1:]
    trace = read(program, mode)
    global spans_of
    spans_of = spans(trace)
    check_form(trace)
    check_rows(trace)
    check_arrows(trace)
    if mode in ('real', 'virtual'):
        check_wakers(trace)
        wakes = check_mixed(trace, mode)
        check(trace['otherData']['clock'] == ('virtual' if mode == 'virtual' else 'monotonic'), mode)
        if mode == 'virtual':
            # asleep for 5 ms from somewhere in the first: woken at 5 ms and some steps
            check(all(5000 <= wake['ts'] < 5100 for wake in wakes), wakes)
    elif mode == 'flood':
        check(trace['otherData']['dropped'] > 1000, trace['otherData'])
        rows = collections.Counter(event['tid'] for event in trace['traceEvents']
                                   if event['ph'] in 'Xi')
        check(max(rows.values()) <= 64, rows)
    elif mode == 'stall':
        stalls = moments(trace, 'stall')
        check(stalls and stalls[0]['args']['ms'] >= 10, stalls)
        check(any(run['ts'] <= stalls[0]['ts'] <= run['ts'] + run['dur']
                  and run['args']['fiber'] == stalls[0]['args']['fiber']
                  for run in spans_of[stalls[0]['tid']]), stalls[0])


main()
