# SPDX-License-Identifier: Apache-2.0
"""harness.py - run the program on small batches and count what holds

A test is a function marked with @test that takes a fresh folder; its name is the promise. Several run at once, since
most of their time is that of starting programs. Nothing sleeps but to poll, with a deadline.
"""
import concurrent.futures
import contextlib
import ctypes
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import traceback

WAIT_S = 40  # for whatever must happen; only a failure takes so long

BINARY = None  # its whole path
tests = []


def test(function):
    tests.append(function)
    return function


def until(condition, what):
    """Poll until condition() is true; its result."""
    deadline = time.monotonic() + WAIT_S
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f'still not: {what}')
        time.sleep(0.01)
    return result


def equal(got, wanted, what=''):
    assert got == wanted, f'{got!r}, not {wanted!r} {what}'


def lines(text):
    return text.splitlines()


def alive(pid):
    """Is the process there, and no zombie?"""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] not in 'ZX'
    return False


def marked(folder):
    """The processes that were given the folder's name in their environment as MARK."""
    pids = []
    for name in filter(str.isdigit, os.listdir('/proc')):
        with contextlib.suppress(OSError):
            if f'MARK={folder}'.encode() in pathlib.Path(f'/proc/{name}/environ').read_bytes().split(b'\0'):
                pids.append(int(name))
    return pids


def bound_by_modes():
    """To be called before exec: from then on the modes of files hold for root too."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


class Skipped(Exception):
    """What a test raises that cannot be had here; its text says why."""


def with_small_disk(folder, size, script):
    """Run a script of the shell in the folder, where disk/ is a file system of that size; BATCH is the program."""
    (folder / 'disk').mkdir()
    words = ['unshare', '-rm', 'sh', '-c', f'mount -t tmpfs -o size={size} none disk || exit 77\n{script}']
    try:
        done = subprocess.run(words, cwd=folder, text=True, capture_output=True, timeout=WAIT_S, check=False, env={**os.environ, 'BATCH': BINARY})
    except FileNotFoundError:
        raise Skipped('there is no unshare(1)') from None
    if done.returncode == 77 or 'unshare: ' in done.stderr:
        raise Skipped(f'a file system cannot be mounted: {done.stderr.strip()}')
    return Done(done.returncode, done.stdout, done.stderr)


class Done:
    """How a batch went."""

    def __init__(self, code, out, err):
        self.code = code
        self.out = out
        self.err = err

    def __repr__(self):
        return f'<exit code {self.code}\n{self.out}\n{self.err}>'


class Batch:
    """A batch that runs in its folder."""

    def __init__(self, folder, *words, stdin='', jobs=None, env=None, preexec=None):
        self.folder = folder
        if jobs is not None:
            (folder / 'jobs.json').write_text('\n'.join(json.dumps(job) for job in jobs))
        self.process = subprocess.Popen([BINARY, *words], cwd=folder, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **(env or {})}, preexec_fn=preexec)
        self.stdin = stdin

    def wait(self):
        try:
            out, err = self.process.communicate(self.stdin, timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f'does not end: {self.process.communicate()}') from None
        return Done(self.process.returncode, out, err)

    def signal(self, number):
        self.process.send_signal(number)

    def written(self, name):
        """The text of a file of its folder, as soon as it ends with a newline."""
        path = self.folder / name
        return until(lambda: path.exists() and path.read_text().endswith('\n') and path.read_text(), f'{name} is there')


def run(folder, jobs, *options):
    """batch run, to its end."""
    return Batch(folder, 'run', *options, 'jobs.json', jobs=jobs).wait()


def ask(folder, *words):
    """status, cancel and so on, of a batch that runs."""
    return Batch(folder, *words).wait()


def each(folder, *words, stdin=''):
    """batch each, to its end."""
    return Batch(folder, 'each', *words, stdin=stdin).wait()


def report(function):
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='batch-') as folder:
        try:
            function(pathlib.Path(folder))
            failure = None
        except Skipped as why:
            failure = why
        except Exception:  # whatever went wrong is this test's failure, and the next one's chance
            failure = traceback.format_exc().rstrip()
    return failure, time.monotonic() - started


def run_all():
    """Run all tests, in TAP. The exit code."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.environ['TSAN_OPTIONS'] = os.environ.get('TSAN_OPTIONS', '') + ':atexit_sleep_ms=0'
    print(f'1..{len(tests)}', flush=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for number, (function, (failure, seconds)) in enumerate(zip(tests, pool.map(report, tests)), 1):
            skipped = isinstance(failure, Skipped)
            failed += failure is not None and not skipped
            print(f'{"not " if failure and not skipped else ""}ok {number} - {function.__module__}: {function.__name__}'
                  f'{f" # SKIP {failure}" if skipped else ""}\n# {seconds:.2f} s', flush=True)
            if failure and not skipped:
                print(re.sub('^', '# ', failure, flags=re.M), flush=True)
    return 1 if failed else 0
