# SPDX-License-Identifier: Apache-2.0
"""report_test.py - what is said at the end, and what a job may say and take"""
import json
import xml.etree.ElementTree as xml

from harness import each, equal, lines, run, test


@test
def the_reports_tell_of_every_attempt(folder):
    (folder / 'out').mkdir()
    done = run(folder, [{'key': 'a', 'shell': 'echo a'}, {'key': 'b<&>', 'shell': 'test $BATCH_ATTEMPT = 2', 'retry': 2, 'needs': ['a']},
                        {'key': 'c', 'shell': 'exit 3', 'needs': ['b<&>']}, {'key': 'd', 'shell': 'true', 'needs': ['c']}],
               '-j1', '--report=out/r.json', '--report=out/r.xml', '--report=out/r.svg', '--report=-', '-q')
    equal((done.code, done.err), (1, ''), done)
    report = json.loads((folder / 'out/r.json').read_text())
    whole = report['whole']
    equal((whole['succeeded'], whole['failed'], whole['skipped'], whole['attempts'], whole['exit_code'], whole['slots']), (2, 1, 1, 4, 1, 1))
    equal((whole['critical_path'], set(whole['slowest'])), (['a', 'b<&>', 'c'], {'a', 'b<&>', 'c'}))
    assert whole['max_rss_bytes'] > 0 and whole['ms'] >= whole['critical_path_ms'] > 0, whole
    equal([(job['key'], job['state'], [(run['attempt'], run['state'], run['code']) for run in job['attempts']]) for job in report['jobs']],
          [('a', 'succeeded', [(1, 'succeeded', 0)]), ('b<&>', 'succeeded', [(1, 'failed', 1), (2, 'succeeded', 0)]), ('c', 'failed', [(1, 'failed', 3)]),
           ('d', 'skipped', [])])
    equal(report['jobs'][3]['because'], 'c')
    first = report['jobs'][0]['attempts'][0]
    assert first['max_rss_bytes'] > 0 and first['user_ms'] >= 0 and first['system_ms'] >= 0 and first['out_bytes'] == 2, first
    suite = xml.parse(folder / 'out/r.xml').getroot()
    equal((suite.get('tests'), suite.get('failures'), suite.get('skipped')), ('4', '1', '1'))
    equal([(case.get('name'), [(child.tag, child.get('message')) for child in case]) for case in suite],
          [('a', []), ('b<&>', []), ('c', [('failure', 'failed: exit code 3')]), ('d', [('skipped', 'skipped: it needs c')])])
    bars = [bar for bar in xml.parse(folder / 'out/r.svg').getroot() if bar.tag.endswith('rect')]
    equal(len(bars), 4)
    assert any(bar[0].text.startswith('b<&>, attempt 2: exit code 0') for bar in bars), done
    table = lines(done.out)
    equal([line.split()[0] for line in table[2:7]], ['succeeded', 'failed', 'succeeded', 'failed', 'skipped'], done)
    assert 'critical path, ' in done.out and '2 succeeded, 1 failed, 1 skipped, 4 attempts' in done.out, done
    refused = run(folder, [{'key': 'a', 'shell': 'touch ran'}], '--report=none/r.json')
    assert refused.code == 255 and 'none/r.json: No such file' in refused.err and not (folder / 'ran').exists(), refused


@test
def in_junit_a_stopped_service_has_passed_and_who_was_ended_by_others_is_an_error(folder):
    done = run(folder, [{'key': 's', 'shell': 'exec sleep 600', 'restart': 'transient'}, {'key': 'a', 'shell': 'echo > up; exec sleep 600', 'needs': ['s']},
                        {'key': 'b', 'shell': 'until test -e up; do sleep 0.01; done; kill -9 $$'}, {'key': 'c', 'shell': 'true', 'needs': ['a']},
                        {'key': 'd', 'shell': 'true', 'needs': ['b']}],
               '-j2', '--on-failure=fail-fast', '--report=r.xml')
    equal(done.code, 1, done)
    suite = xml.parse(folder / 'r.xml').getroot()
    equal([suite.get(name) for name in ('tests', 'failures', 'errors', 'skipped')], ['5', '1', '1', '2'])
    equal([(case.get('name'), [(child.tag, child.get('message').split(', ')[0]) for child in case]) for case in suite],
          [('s', []), ('a', [('error', 'cancelled: signal 15 (Terminated)')]), ('b', [('failure', 'failed: signal 9 (Killed)')]),
           ('c', [('skipped', 'not run')]), ('d', [('skipped', 'skipped: it needs b')])])


@test
def a_report_of_each_names_the_arguments(folder):
    done = each(folder, '-j1', '--report=r.json', 'exit {}', ':::', '0', '2')
    equal(done.code, 1, done)
    jobs = json.loads((folder / 'r.json').read_text())['jobs']
    equal([(job['number'], job['argument'], job['state']) for job in jobs], [(1, '0', 'succeeded'), (2, '2', 'failed')])


@test
def of_much_output_beginning_and_end_are_kept(folder):
    done = run(folder, [{'key': 'a', 'shell': 'seq 100000; echo short >&2; exit 1', 'output_limit': 64}, {'key': 'b', 'shell': 'echo all'}],
               '-k', '-j2', '--output-limit=16', '--results=out', '--report=r.json')
    numbers = ''.join(f'{n}\n' for n in range(1, 100001))
    note = f'\n[... {len(numbers) - 64} bytes are left out ...]\n'
    equal((done.code, done.out), (1, numbers[:32] + note + numbers[-32:] + 'all\n'), done)
    equal((folder / 'out/a/stdout').read_text() + 'all\n', done.out)
    assert 'short\n' in done.err and f'job "a": {len(numbers) - 64} bytes of its output are left out' in done.err, done
    equal(json.loads((folder / 'r.json').read_text())['jobs'][0]['attempts'][0]['cut_bytes'], len(numbers) - 64)
    done = run(folder, [{'key': 'a', 'shell': 'sleep 600 & echo said'}], '--output-limit=1000')
    equal((done.code, done.out), (0, 'said\n'), 'who holds the pipe is not waited for')


@test
def limits_hold_for_each_process_of_a_job(folder):
    done = run(folder, [{'key': 'a', 'shell': 'cat /proc/self/limits', 'limits': {'nofile': 50, 'as': 1 << 30, 'fsize': 4096, 'nproc': 5000}},
                        {'key': 'b', 'argv': ['cat', '/proc/self/limits']}, {'key': 'c', 'shell': 'head -c 10000 /dev/zero > big', 'limits': {'fsize': 4096}}],
               '-k', '-j1', '--limit=nofile=60', '--limit=core=0', '--limit=cpu=100')
    found = [(line[:25].strip(), *line[25:].split()[:2]) for line in lines(done.out)]
    a, b = found[:len(found) // 2], found[len(found) // 2:]
    for limit in (('Max open files', '50', '50'), ('Max address space', str(1 << 30), str(1 << 30)), ('Max file size', '4096', '4096'),
                  ('Max processes', '5000', '5000'), ('Max core file size', '0', '0'), ('Max cpu time', '100', '101')):
        assert limit in a, (limit, a)
    assert ('Max open files', '60', '60') in b and ('Max file size', '4096', '4096') not in b, b
    assert 'job "c" failed: ' in done.err and (folder / 'big').stat().st_size == 4096, done
    for words, text in ((['--limit=nofile'], 'nofile is not cpu, as'), (['--output-limit=1'], '1 is not a number from 16')):
        done = run(folder, [], *words)
        assert done.code == 255 and text in done.err, done
