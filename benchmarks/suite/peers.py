# SPDX-License-Identifier: Apache-2.0
"""peers.py - the runtimes we stand beside: how each is built and started

Every peer is a folder under benchmarks/peers, copied to the build folder and built there, so
that nothing it makes lies in the tree. One that is not installed is left out, with one line
that says so; `tools/need peers` installs what they need. All take the same command line:

    PEER QUESTION [--workers N] [--only CASE] [--count N] [--keys N] ...    as bench_QUESTION
    PEER --version                                                          one line

do each case of the question twice, check the result, and print the second (see figures.py).
To the served questions a peer is a server: it says where it listens, and serves (load.py).
"""
import collections
import hashlib
import pathlib
import shutil
import subprocess

SOURCES = pathlib.Path(__file__).resolve().parent.parent / 'peers'

# tools: commands that must be there. build: run in the copy of its folder, one after the other.
# run: how it is started; {here} is the copy. workers: the most it makes use of.
Peer = collections.namedtuple('Peer', 'name tools build run workers')

CXX = 'g++ -std=c++17 -O3 -DNDEBUG -I.. -o peer'
JEMALLOC = '-Wl,--no-as-needed -ljemalloc -lpthread'  # as our own programs have it

PEERS = [
    Peer('go', ['go'], ['go build -o peer .'], '{here}/peer', 64),
    Peer('tokio', ['cargo'], ['./prepare.sh', 'cargo build --release --quiet'],
         '{here}/target/release/peer', 64),
    Peer('hyper', ['cargo'], ['cargo build --release --quiet'],
         '{here}/target/release/peer', 64),
    Peer('epoll', ['gcc'], ['gcc -std=gnu17 -O3 -DNDEBUG -o peer server.c'], '{here}/peer', 1),
    Peer('nginx', ['nginx'], [], '{here}/peer', 64),
    Peer('boost_fiber', ['g++'], [f'{CXX} fibers.cpp -lboost_fiber -lboost_context {JEMALLOC}'],
         '{here}/peer', 64),
    Peer('elixir', ['elixir', 'elixirc'],
         ['elixirc --ignore-module-conflict peer.ex processes.ex fairness.ex '
          'keyed_map.ex keyed.ex keyed_waits.ex'],
         '{here}/peer', 64),
    Peer('effect', ['node', 'npm'],
         ['npm install --prefer-offline --no-audit --no-fund --loglevel=error'],
         'node {here}/peer.mjs', 1),
    Peer('tbb', ['g++'], [f'{CXX} tasks.cpp -ltbb {JEMALLOC}'], '{here}/peer', 64),
]


class NotThere(Exception):
    """This peer cannot take part."""


class Built:
    """A peer that can be started."""

    def __init__(self, peer, folder):
        self.name = peer.name
        self.workers = peer.workers
        self.command = peer.run.format(here=folder / peer.name).split()
        said = subprocess.run(self.command + ['--version'], capture_output=True, text=True,
                              check=False).stdout
        self.version = said.strip() or 'unknown'

    def start(self, question, workers, parameters):
        """The command line that asks it one question."""
        return self.command + [question, '--workers', str(workers), *parameters]


def _digest(peer):
    """Of all that a peer is built from, its packages excepted."""
    digest = hashlib.sha256(repr(peer).encode())
    for top in (SOURCES / 'support', SOURCES / peer.name):
        for file in sorted(path for path in top.rglob('*') if path.is_file()):
            digest.update(str(file.relative_to(SOURCES)).encode() + file.read_bytes())
    return digest.hexdigest()


def build(peer, folder):
    """
    Build one peer in folder/name. Raises NotThere. What has been built from the same sources
    stays as it is: after an update of packages, remove the folder.
    """
    for tool in peer.tools:
        if not shutil.which(tool):
            raise NotThere(f'no {tool}')
    here = folder / peer.name
    digest = _digest(peer)
    stamp = here / 'built-from'
    if stamp.exists() and stamp.read_text(encoding='utf-8') == digest:
        return Built(peer, folder)
    stamp.unlink(missing_ok=True)
    shutil.copytree(SOURCES / 'support', folder / 'support', dirs_exist_ok=True)
    shutil.copytree(SOURCES / peer.name, here, dirs_exist_ok=True)
    for command in peer.build:
        done = subprocess.run(command.split(), cwd=here, capture_output=True, text=True,
                              check=False)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            first = next((line for line in said if 'error' in line.lower()), (said or [''])[-1])
            (here / 'build.log').write_text(done.stdout + done.stderr, encoding='utf-8')
            raise NotThere(f'{first.strip()[:160]} ({here / "build.log"})')
    stamp.write_text(digest, encoding='utf-8')
    return Built(peer, folder)
