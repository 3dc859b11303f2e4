# SPDX-License-Identifier: Apache-2.0
"""output_test.py - what jobs say where that has a limit, rotates, or finds no room"""
import json

from harness import each, equal, lines, run, test, with_small_disk

NUMBERS = ''.join(f'{n}\n' for n in range(1, 1001))


def texts(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@test
def outputs_go_to_files_that_rotate_and_what_they_have_is_printed(folder):
    done = run(folder, [{'key': 'a', 'shell': 'seq 1000; echo err >&2'}, {'key': 'b', 'shell': 'echo try $BATCH_ATTEMPT; test $BATCH_ATTEMPT = 3', 'retry': 2, 'rotate': '16:1'},
                        {'key': 'c', 'call': 'grep', 'pattern': '[0-9]', 'text': NUMBERS[:-1]}], '-k', '-j2', '--results=out', '--rotate=1k:2')
    kept = NUMBERS[1024:]
    called = ''.join(f'{n}:{n}\n' for n in range(1, 1001))
    cut = (len(called) - 1) // 1024 * 1024 - 2048
    equal((done.code, done.out), (0, f'[... 1024 bytes are left out ...]\n{kept}try 3\n[... {cut} bytes are left out ...]\n{called[cut:]}'), done)
    equal(texts(folder / 'out/a'), {'stdout.2': kept[:1024], 'stdout.1': kept[1024:2048], 'stdout': kept[2048:], 'stderr': 'err\n'})
    equal(texts(folder / 'out/b'), {'stdout': 'try 3\n', 'stdout.1': 'try 2\n', 'stderr': '', 'stderr.1': ''})
    equal(texts(folder / 'out/c')['stdout'], called[cut + 2048:])
    assert 'job "a": 1024 bytes of its output are left out' in done.err, done
    done = each(folder, '--rotate=2k:0', 'seq 1000; : {}', ':::', 'x')
    equal((done.code, done.out), (0, f'[... 2048 bytes are left out ...]\n{NUMBERS[2048:]}'), done)
    for text in ('', '15', 'x', '1x', '1k:', '1k:101', '1k:1:1', '-1k'):
        done = each(folder, f'--rotate={text}', 'echo', ':::', 'a')
        assert done.code == 255 and 'is not a size such as 10M' in done.err, (text, done)


@test
def a_service_that_never_stops_talking_has_its_limits(folder):
    done = run(folder, [{'key': 's', 'shell': 'echo up; while :; do echo something; done', 'restart': 'transient', 'ready': {'line': '^up$', 'interval': '5ms'}, 'rotate': '4k:1', 'output_limit': 64},
                        {'key': 't', 'shell': 'seq 100; echo up; exec sleep 600', 'restart': 'transient', 'ready': {'line': '^up$', 'interval': '5ms'}, 'output_limit': 16},
                        {'key': 'a', 'shell': 'until test -e out/s/stdout.1; do sleep 0.01; done', 'needs': ['s', 't']}], '--results=out')
    equal(done.code, 0, done)
    files = texts(folder / 'out/s')
    equal((sorted(files), len(files['stdout.1'])), (['stderr', 'stdout', 'stdout.1'], 4096))
    assert len(files['stdout']) <= 4096 and 'up\nsomething' in done.out and done.out.count('bytes are left out') == 2, done
    assert len(done.out) < 300 and len(texts(folder / 'out/t')['stdout']) < 100, done


@test
def a_call_has_its_limit(folder):
    done = run(folder, [{'key': 'a', 'call': 'grep', 'pattern': 'x', 'text': 'x\n' * 1000, 'output_limit': 20}, {'key': 'b', 'call': 'grep', 'pattern': 'x', 'text': 'x'}],
               '-k', '--results=out', '--report=r.json')
    said = ''.join(f'{n}:x\n' for n in range(1, 1001))
    kept = f'{said[:10]}\n[... {len(said) - 20} bytes are left out ...]\n{said[-10:]}'
    equal((done.code, done.out, (folder / 'out/a/stdout').read_text()), (0, kept + '1:x\n', kept), done)
    equal(json.loads((folder / 'r.json').read_text())['jobs'][0]['attempts'][0]['cut_bytes'], len(said) - 20)


@test
def outputs_that_find_the_disk_full_are_made_again_when_there_is_room(folder):
    (folder / 'jobs.json').write_text('\n'.join(json.dumps({'key': str(n), 'shell': 'head -c 100000 /dev/zero; true'}) for n in range(9)))
    (folder / 'large.json').write_text('{"key": "large", "shell": "head -c 3000000 /dev/zero; true"}\n{"key": "after", "shell": "echo after", "needs": ["large"]}')
    done = with_small_disk(folder, '400k', """
        "$BATCH" run -j2 --journal=journal --results=disk/out jobs.json > out1; echo $?
        TMPDIR=disk "$BATCH" run --journal=second large.json > out2; echo $?
        mount -o remount,size=8m disk
        "$BATCH" resume journal > out3; echo $?
        cat disk/out/*/stdout | wc -c; ls disk/out | wc -l
        TMPDIR=disk "$BATCH" resume second > out4; echo $?""")
    equal(lines(done.out), ['255', '255', '0', '900000', '9', '0'], done)
    equal(done.err.count('batch: cannot keep what the jobs say: No space left on device\n'), 2, done)
    printed = [(folder / name).stat().st_size for name in ('out1', 'out3', 'out4')]
    equal((printed[0] + printed[1], printed[2]), (900000, 3000006), 'each is printed whole, once')
    assert 'job "large" cancelled: its output cannot be kept: No space left on device' in done.err and 0 < printed[0] < 900000, done
