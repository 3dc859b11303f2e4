# SPDX-License-Identifier: Apache-2.0
"""questions.py - what is asked, by which program, and which peers answer it too

One line a question. Peers know a question by the same name. `short` are the parameters of a run
that only shows that the programs work (tools/bench --short).
"""
import collections
import os

# workers: the counts to ask with, None for those of the command line. parameters: always given.
# per_worker: the figure is time x workers / operations. served: the program is a server, which
# load.py puts under load.
Question = collections.namedtuple(
    'Question', 'name program peers short workers parameters per_worker served',
    defaults=[False])


def _question(name, peers, short):
    return Question(name, 'bench_' + name, peers.split(), short.split(), None, [], False)


def _served(name, peers):
    """fibermap-serve and servers of the peers, with one worker, under load."""
    return Question(name, 'fibermap-serve', peers.split(), ['--seconds', '1', '--warmup', '0'],
                    None, [], False, True)


def _oversubscribed(name, short, parameters='', per_worker=False):
    """The same work with as many workers as processors and with 64, ours alone."""
    return Question('oversubscribed_' + name, 'bench_' + name, [], short.split(),
                    [os.cpu_count(), 64], parameters.split(), per_worker)


QUESTIONS = [
    _question('yield', 'go tokio boost_fiber elixir effect', '--count 1000'),
    _question('spawn_join', 'go tokio tbb boost_fiber elixir effect', '--count 2000'),
    _question('fib', 'go tokio tbb boost_fiber elixir', '--count 10'),
    _question('skynet', 'go tokio tbb elixir', '--count 1000'),
    _question('flow', 'go tokio', '--count 1000'),
    _question('pingpong', 'go tokio boost_fiber elixir', '--count 1000'),
    _question('channel', 'go tokio boost_fiber', '--count 1000'),
    _question('keyed', 'go tokio elixir effect', '--count 2000 --entries 2000'),
    _question('parked', 'go tokio elixir', '--count 1000'),
    _question('timers', 'go tokio', '--count 1000'),
    _question('keyed_waits', 'go tokio elixir effect', '--count 2000'),
    _question('compute', 'go tokio tbb', '--queens 6 --size 128'),
    _question('foreign', 'go tokio', '--count 20'),
    _question('fairness', 'go tokio elixir', '--count 20'),
    _served('http', 'epoll hyper nginx go'),
    _served('http_keyed', 'hyper go'),
    _oversubscribed('yield', '--count 20000', per_worker=True),
    _oversubscribed('spawn_join', '--count 2000'),
    _oversubscribed('fib', '--count 10'),
    _oversubscribed('keyed', '--count 2000 --entries 2000'),
]


def chosen(words):
    """The questions that words name, wholly or else in part; all for none. Raises KeyError."""
    if not words:
        return QUESTIONS
    names = []
    for word in words:
        found = ([q.name for q in QUESTIONS if q.name == word] or
                 [q.name for q in QUESTIONS if word in q.name])
        if not found:
            raise KeyError(word)
        names += found
    return [q for q in QUESTIONS if q.name in names]
