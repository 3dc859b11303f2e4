# SPDX-License-Identifier: Apache-2.0
"""targets.py - what the project has set itself, figure by figure

A target, and the goal that lies further, is a ratio to a peer in the same run. The figures
below are what it meant on the machine and the day on which it was set:
(metric, workers): (target or None, goal, {peer: what it took there}).
"""

# of the throughput of as many workers as processors, with 64 workers
KEPT_GOAL = '70 %'

# of plain hello, with a fiber under a key for each request
KEYED_GOAL = '80 %'

TARGETS = {
    ('yield', 1): (45, 13, {'boost.fiber': 132, 'go': 192, 'tokio': 463}),
    ('spawn+join, one at a time', 1): (200, 47, {'boost.fiber': 678, 'go': 927, 'tokio': 461}),
    ('spawn+join, one at a time', 2): (200, 65, {'go': 746, 'tokio': 842}),
    ('spawn 1000, join all', 1): (180, 44, {'go': 450, 'tokio': 522, 'tbb': 75}),
    ('spawn 1000, join all', 2): (180, 70, {'go': 535, 'tokio': 635, 'tbb': 176}),
    ('fib, per fork', 1): (250, 60, {'tbb': 232, 'tokio': 879}),
    ('fib, per fork', 2): (250, 36, {'tbb': 232, 'tokio': 936}),
    ('skynet', 1): (300, 58, {'tbb': 108, 'tokio': 807, 'go': 1819}),
    ('skynet', 2): (300, 31, {'tbb': 108, 'tokio': 776, 'go': 1439}),
    ('ping-pong, condition', 1): (250, 80, {'boost.fiber': 693, 'go': 642}),
    ('ping-pong, condition', 2): (2000, 1100, {'go': 39800}),
    ('ping-pong, both asleep', 2): (None, 16700, {'go': 39800}),
    ('ping-pong, channel', 1): (250, 80, {'go': 642, 'tokio': 447}),
    ('create cold and wait', 1): (4000, 2500, {'go': 3794}),
    ('create cold and wait', 2): (4000, 2500, {'go': 3429}),
    ('waiting, resident', 1): (5000, 4370, {'go': 2690, 'tokio': 277}),
    ('waiting, resident', 2): (5000, 4370, {'go': 2690, 'tokio': 277}),
    ('queued, not started', 1): (300, 256, {'go': 2690}),
    ('wake all, see them end', 1): (500, 210, {'go': 997, 'tokio': 380}),
    ('wake all, see them end', 2): (500, 150, {'go': 827, 'tokio': 490}),
    ('sleeps, lateness p99', 1): (20000, 2000, {}),
    ('sleeps, lateness p99', 2): (20000, 2000, {'go': 397000, 'tokio': 1290000}),
    ('sleeps, processor time', 1): (None, 1.8, {'go': 6.0, 'tokio': 2.7}),
    ('arm and cancel a timer', 1): (100, 30, {}),
    ('i-seq', 1): (450, 195, {'go': 1906, 'tokio JoinMap': 700, 'effect 4': 2713}),
    ('i-seq', 2): (450, 330, {'go': 2301, 'tokio DashMap': 1672}),
    ('i-batch', 1): (400, 180, {'go': 1499, 'tokio DashMap': 625, 'effect 4': 2617}),
    ('i-batch', 2): (400, 200, {'go': 1642, 'tokio DashMap': 1168}),
    ('ii', 1): (700, 270, {'go': 2181, 'tokio JoinMap': 893, 'effect 4': 4391}),
    ('ii', 2): (700, 325, {'go': 2338, 'tokio DashMap': 1305}),
    ('iii', 1): (60, 14, {'go': 42, 'tokio JoinMap': 28, 'effect 4': 722}),
    ('iii', 2): (60, 14, {'go': 30, 'tokio DashMap': 51}),
    ('iv', 1): (150, 55, {'go': 122, 'tokio JoinMap': 223, 'effect 4': 380}),
    ('iv', 2): (150, 29, {'go': 116, 'tokio DashMap': 366}),
    ('v', 1): (450, 140, {'go': 664, 'effect 4': 2564}),
    ('v', 2): (450, 360, {'go': 841, 'tokio DashMap': 652}),
    ('vi', 1): (1000, 350, {'go': 3099, 'tokio DashMap': 1103, 'effect 4': 3395}),
    ('hello, server CPU', 1): (8.6, 8.6, {'hyper': 9.2, 'nginx': 10.2, 'go': 22.4}),
    ('vi', 2): (1000, 350, {'go': 2020, 'tokio DashMap': 1430}),
}
