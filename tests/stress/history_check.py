#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""history_check.py - are histories of map calls linearizable?

    history_check.py history.jsonl      exit code 0: yes, 1: no (the first key that fails is shown), 2: unreadable
    history_check.py --run map_history [options]      run the program and check what it writes
    history_check.py --self-test        accepts and rejects the histories it must

One JSON object a line, as map_history writes them; a line that begins with # begins the next history. Each key is an object of its
own, clear and close are checked on each key.

The search follows Wing and Gong, with the memory that Lowe gave it, in the form that walks the calls and returns in time: a
configuration is the state of the entry and what the open calls have done so far; at a return the call must have taken effect.
What changes nothing and fits is taken at once. An exit of unknown result waits while its fiber may still come.

The state of an entry is
    fiber    who is under the key, or 0
    closing  whether the map is
    shared   how many callers share the run: None where it goes on without them; 0 is one that its last waiter has given up
    queue    who waits to come under the key, the next one first
    last     whose exit is retained, or 0

remove, clear and close have two steps: they find fibers, and these are no more in the entry. So has run_wait, which starts or joins
one first; where it left early its second step is the leaving. A run_if that found whom it expected may come in right after the end of
that one. A fiber that queued has a step of its own, its turn, between its run and the begin of its body; one that never began leaves the
queue first, and ends.
"""
import gc
import json
import subprocess
import sys
from bisect import bisect_left
from collections import defaultdict

from history_cases import ACCEPTED, REJECTED

STARTS = ("run", "run_await", "run_missing", "run_join", "run_wait", "run_queue", "run_if", "set")
READS = ("get", "has", "see", "interrupt", "gone", "step", "body", "last")
DONE = ("done",)
GIVEN_UP = 0


class Violation(Exception):
    pass


class Op:
    """One line. Many of them are kept, so each is small."""

    __slots__ = ("name", "key", "arg", "result", "call", "returned", "client", "expect", "most", "stops", "left", "given_up",
                 "reuses", "reused", "follows", "behind", "retained")

    def __init__(self, line):
        self.name = sys.intern(line["op"])
        self.key = sys.intern(line.get("key", ""))
        self.arg = line.get("arg")
        self.result = line.get("result")
        self.call = line["call_ns"]
        self.returned = line.get("return_ns")
        self.client = line.get("client")
        self.expect = line.get("expect", 0)
        self.stops = line.get("stops", False)
        self.left = line.get("left", False)
        self.given_up = line.get("given_up", False)
        self.most = line.get("most", 0)
        self.reuses = line.get("reuses", False)
        self.reused = line.get("reused", False)
        self.follows = line.get("follows", False)
        self.retained = False  # exit: of a map that retains it
        self.behind = False  # run_queue: somebody may still end who was displaced for another to wait

    def __str__(self):
        return json.dumps({name: getattr(self, name) for name in self.__slots__
                           if getattr(self, name) not in (None, False, "") or name == "result"})


def outcomes(op, state):
    """All that the call may do in this state: (the state after it, what it has done: DONE, or what is left of it)."""
    fiber, closing, shared, queue, last = state
    name, arg, result = op.name, op.arg, op.result
    same = (state, DONE)
    holder = fiber or (queue[0] if queue else 0)

    def told(*possible):
        return result is None or any(result is p if isinstance(p, bool) or isinstance(result, bool) else result == p
                                     for p in possible)

    def puts(new, shared=None):
        return (new, closing, shared, queue, last)

    if name in STARTS:
        if result == "failed":
            return [same]
        if closing:
            return [same] if told("closed") else []
        if result == "closed":
            return []
        if op.reuses and last and not holder:
            if name == "run_wait":  # which does not say whom it met
                return [same] if told(last, False) and not op.left else []
            return [same] if op.reused and told(last) else []
        if op.reused:
            return []
    if name in ("run", "run_await"):
        return [(puts(arg), DONE)] if told(fiber) else []
    if name == "run_missing":
        if not holder:
            return [(puts(arg), DONE)] if told(arg, True) else []
        return [same] if told(holder, False) else []
    if name == "run_join":
        if not holder or (fiber and shared == GIVEN_UP):
            return [(puts(arg), DONE)] if told(arg, True) else []
        return [same] if told(holder, False) else []
    if name == "run_wait":
        if not holder or (fiber and shared == GIVEN_UP):
            after = puts(arg, 1 if op.stops else None) if told(arg, True) else None
        elif fiber:
            after = puts(fiber, None if shared is None else shared + 1) if told(fiber, False) else None
        else:
            after = state if told(holder, False) else None
        if not after:
            return []
        if not op.left:
            return [(after, ("wait", after[0] or holder))]
        return [(after, ("leave", after[0]) if after[0] and after[2] is not None else DONE)]
    if name == "run_queue":
        if result == "full":
            return [same] if len(queue) >= op.most else []
        waits = (fiber, closing, shared, queue + (arg,), last)
        if op.most and len(queue) >= op.most:
            return []
        if holder or op.behind and result == "queued":
            return [(waits, DONE)] if told("queued") else []
        return [(puts(arg), DONE)] if told(0) else []
    if name == "turn":
        return [((arg, closing, None, queue[1:], last), DONE)] if not fiber and queue and queue[0] == arg else []
    if name == "run_if":
        if op.follows:
            return [(state, ("follow", fiber))] if fiber and fiber == op.expect else []
        if fiber == op.expect:
            return [(puts(arg), DONE)] if told(arg, True) else []
        return [same] if told(fiber, False) else []
    if name == "set":
        if holder == arg:
            return [same] if told(arg) else []
        return [(puts(arg), DONE)] if told(fiber) else []
    if name in ("get", "interrupt"):
        return [same] if told(holder) or (closing and told(0)) else []
    if name == "see":
        return [same] if told(fiber) else []
    if name == "has":
        return [same] if closing or told(holder != 0) else []
    if name == "detach":
        found = [(puts(0), DONE)] if fiber and told(fiber, True) else []
        missed = [same] if (not fiber or closing) and told(0, False) else []
        return found + missed
    if name == "exit":
        after = []
        if fiber == arg and not (op.given_up and shared != GIVEN_UP) and (closing or told(True)):
            after.append(((0, closing, None, queue, arg if op.retained else last), DONE))
        if arg in queue and (closing or told(True)):
            left = tuple(f for f in queue if f != arg)
            after.append(((fiber, closing, shared, left, last), ("left", arg)) if op.retained else
                         ((fiber, closing, shared, left, last), DONE))
        if fiber != arg and arg not in queue and told(False):
            after.append(same)
        return after
    if name == "gone":
        return [same] if fiber != arg and arg not in queue else []
    if name == "remove":
        found = [(state, ("wait", holder))] if holder and told(holder, True) else []
        missed = [same] if (not holder or closing) and told(0, False) else []
        return found + missed
    if name in ("clear", "close"):
        after = (fiber, True, shared, queue, last) if name == "close" else state
        all_of_them = (fiber,) * bool(fiber) + queue
        return [(after, ("wait",) + all_of_them if all_of_them else DONE)]
    if name == "last":
        return [same] if told(last, last != 0) and not (last == 0 and result is not None and result is not False) else []
    if name == "forget":
        return [((fiber, closing, shared, queue, 0), DONE)] if told(last != 0) else []
    if name in ("step", "body"):
        return [same]
    raise Violation("unknown operation %r" % name)


class Search:
    """Depth first over the calls and returns of one key, remembering where it has been."""

    CHUNK = 1 << 14  # events whose memory is kept and dropped together

    def __init__(self, ops):
        self.ops = ops
        self.events = []
        self.starts = defaultdict(list)
        for index, op in enumerate(ops):
            self.events.append((op.call, 0, index))
            if op.returned is not None:
                self.events.append((op.returned, 1, index))
            if op.name in STARTS:
                self.starts[op.arg].append(index)
        self.events.sort()
        self.open_at = []  # before each event, the calls that are open
        now = ()
        for _, returns, index in self.events:
            self.open_at.append(now)
            now = tuple(i for i in now if i != index) if returns else now + (index,)
        self.open_at.append(now)

    def will_start(self, fiber, at, started):
        """Whether some call that puts this fiber in is still to take effect."""
        open_now = self.open_at[at]
        for index in self.starts.get(fiber, ()):
            if index in open_now:
                if started.get(index, ("follow",))[0] == "follow":
                    return True
            elif at < len(self.events) and self.ops[index].call >= self.events[at][0]:
                return True
        return False

    def early(self, index, state, at, started):
        """What the call has done if taking it now loses nothing, else None."""
        op = self.ops[index]
        name, result = op.name, op.result
        if name == "exit":
            # the fiber is not there and will not be again: later is as good as now
            late = (state[0] != op.arg and op.arg not in state[3] and result is not True and
                    not self.will_start(op.arg, at, started))
            return DONE if late else None
        if name not in READS and name not in ("remove", "clear") and (result is None or name == "detach" and result):
            return None
        if name == "run_wait" and result is False:
            return None  # joined somebody: it need not be this one, and another's waiters are counted
        if name == "remove" and not state[0] and state[3]:
            return None  # the next in the queue may well outlast who comes before it
        if op.follows:
            return None
        for after, done in outcomes(op, state):
            # whoever is found first leaves first: the earlier a removal has found, the earlier it is through
            if after == state:
                return done
        return None

    def settle(self, state, started, at):
        """Take all calls that may as well be taken now."""
        for index in self.open_at[at]:
            done = started.get(index)
            if done is None:
                done = self.early(index, state, at, started)
                if done is not None:
                    started[index] = done
            if done is not None and done is not DONE and done[0] not in ("follow", "left"):
                left = tuple(f for f in done[1:] if f == state[0] or f in state[3])
                started[index] = done[:1] + left if left else DONE
        return (state, frozenset(started.items()))

    def steps(self, index, state, started):
        """What this open call may do next: (state, what it has done then)."""
        op, done = self.ops[index], started.get(index)
        if done is None:
            return outcomes(op, state)
        if done[0] == "leave":
            return [(state[:2] + (state[2] - 1,) + state[3:], DONE)]
        if done[0] == "left":
            return [(state[:4] + (op.arg,), DONE)]
        if done[0] == "follow" and not state[0]:
            return [((op.arg, state[1], None) + state[3:], DONE)]
        return []

    def next(self, at, config):
        """The configurations after this one, each with its event; the likeliest last."""
        state, done = config
        started = dict(done)
        _, returns, index = self.events[at]
        if not returns:
            return [(at + 1, self.settle(state, started, at + 1))]
        if started.get(index) == DONE:
            del started[index]
            return [(at + 1, self.settle(state, started, at + 1))]
        found = []
        for other in sorted(self.open_at[at], key=lambda i: (i == index, -(self.ops[i].returned or 1 << 62))):
            op = self.ops[other]
            if op.name == "exit" and op.result is None and op.arg != state[0] and op.arg not in state[3] and other != index and other not in started:
                continue  # it would change nothing, and may be wanted later
            for effect in self.steps(other, state, started):
                after = dict(started)
                after[other] = effect[1]
                found.append((at, self.settle(effect[0], after, at)))
        return found

    def run(self, key):
        """Raise Violation if there is no order. Returns the number of configurations seen."""
        start = (0, ((0, False, None, (), 0), frozenset()))
        seen, stack, furthest, count = defaultdict(set), [start], start, 0
        while stack:
            at, config = stack.pop()
            if at == len(self.events):
                return count
            if at > furthest[0]:
                furthest = (at, config)
                # Far behind, memory is worth less than its room: at worst something is searched again.
                seen.pop(at // self.CHUNK - 2, None)
            for node in self.next(at, config):
                chunk = seen[node[0] // self.CHUNK]
                if node not in chunk:
                    chunk.add(node)
                    stack.append(node)
                    count += 1
        at, (state, _) = furthest
        raise Violation("key %s: nothing explains %s\n  one entry possible before: %d%s%s%s%s\n  open calls:\n    %s" % (
            key, self.ops[self.events[at][2]], state[0], " closing" if state[1] else "",
            "" if state[2] is None else " given up" if state[2] == GIVEN_UP else " shared by %d" % state[2],
            " queue %s" % (state[3],) if state[3] else "", " last %d" % state[4] if state[4] else "",
            "\n    ".join(str(self.ops[i]) for i in self.open_at[at])))


def displaced_by(op):
    """Whom the call has displaced or signalled, or 0."""
    if op.name == "run_if":
        return op.expect if op.result == op.arg and not op.follows else 0
    if op.name not in ("run", "run_await", "set", "interrupt", "remove") or op.reused:
        return 0
    return op.result if isinstance(op.result, int) and not isinstance(op.result, bool) else 0


def check_turns(ops, bodies):
    """Who awaits or queues begins after every fiber that was displaced for another to wait."""
    awaited = sorted((op.returned, bodies[op.result].returned, op) for op in ops
                     if op.name == "run_await" and displaced_by(op) in bodies and op.returned is not None)
    ended, until = -1, None
    latest = []
    for returned, end, op in awaited:
        if end is None or end > ended:
            ended, until = float("inf") if end is None else end, op
        latest.append((returned, ended, until))
    returns = [entry[0] for entry in latest]
    for op in ops:
        if op.name not in ("run_await", "run_queue") or op.arg not in bodies or op.result in ("failed", "closed", "full"):
            continue
        at = bisect_left(returns, op.call)
        if at and bodies[op.arg].call < latest[at - 1][1]:
            raise Violation("a body before the end of one that was awaited:\n  %s\n  %s" % (op, latest[at - 1][2]))


def check_rules(ops):
    """What the fibers say of themselves against what the calls said of them."""
    steps, bodies, by_key = defaultdict(list), {}, defaultdict(list)
    for op in ops:
        if op.name == "step":
            steps[op.arg].append(op)
        elif op.name == "body":
            bodies[op.arg] = op
        elif op.name in ("run_await", "run_queue"):
            by_key[op.key].append(op)
    for op in ops:
        displaced = displaced_by(op)
        if not displaced or op.returned is None:
            continue
        for step in steps.get(displaced, ()):
            if step.call > op.returned and displaced != op.arg:
                raise Violation("a step after the signal:\n  %s\n  %s" % (op, step))
        body = bodies.get(displaced)
        if op.name == "remove" and body and (body.returned is None or body.returned > op.returned):
            raise Violation("a body after its remove:\n  %s\n  %s" % (op, body))
        if op.name == "run_await" and body and op.arg in bodies:
            if body.returned is None or bodies[op.arg].call < body.returned:
                raise Violation("a body before the end of the one it awaits:\n  %s" % op)
    for turns in by_key.values():
        check_turns(turns, bodies)


def mark(ops):
    """What the calls on one key say of the map, and of each other."""
    retains = any(op.reuses or op.name in ("last", "forget") for op in ops)
    for op in ops:
        op.retained = retains and op.name == "exit"
    # a run_queue after a run_await may find somebody who still ends where nobody holds the key
    first = min((op.call for op in ops if op.name == "run_await"), default=None)
    for op in ops:
        if op.name == "run_queue" and first is not None:
            op.behind = op.returned is None or op.returned >= first


class Total:
    """What was checked, for the last line."""

    def __init__(self):
        self.histories = self.operations = self.calls = self.keys = self.configurations = self.open = self.told = 0

    def count(self, op):
        self.operations += 1
        if op.name in ("exit", "gone", "step", "body", "see", "turn"):
            return  # what the fibers tell, and one snapshot is one of each key
        self.calls += 1
        if op.name in ("run", "run_await", "set", "interrupt"):
            self.open += op.result is None
            self.told += isinstance(op.result, int)

    def __str__(self):
        return ("%d histories, %d calls (%d operations) on %d keys are linearizable, %d configurations; "
                "of runs, sets and interrupts %d%% say whom they met" % (
                    self.histories, self.calls, self.operations, self.keys, self.configurations,
                    100 * self.told // max(1, self.open + self.told)))


def check_one(ops, total):
    """One history, whole."""
    by_key, everywhere = defaultdict(list), []
    check_rules(ops)
    for op in ops:
        total.count(op)
        if op.name in ("clear", "close"):
            everywhere.append(op)
        elif op.name not in ("step", "body"):
            by_key[op.key].append(op)
    del ops[:]
    total.histories += 1
    total.keys += len(by_key)
    for key in sorted(by_key):
        mark(by_key[key])
        total.configurations += Search(by_key.pop(key) + everywhere).run(key)


def check(lines):
    """Raise Violation, or return what was checked."""
    ops, title, total = [], "", Total()
    try:
        for line in lines:
            if line.startswith("#"):
                if ops:
                    check_one(ops, total)
                title = line[1:].strip()
            elif line.strip():
                ops.append(Op(json.loads(line)))
        if ops:
            check_one(ops, total)
    except Violation as violation:
        raise Violation("%s\n%s" % (title, violation)) from None
    return str(total)


def history_of(text):
    words = {"-": None, "true": True, "false": False, "null": None}
    for line in text.split(";"):
        name, arg, result, call, returned = line.split()
        name, *flags = name.split("+")
        values = {flag: True for flag in flags if "=" not in flag}
        values |= {flag.split("=")[0]: int(flag.split("=")[1]) for flag in flags if "=" in flag}
        op = {"client": 0, "op": name, **values, "call_ns": int(call), "return_ns": words.get(returned, returned)}
        if op["return_ns"] is not None:
            op["return_ns"] = int(returned)
        if name not in ("clear", "close"):
            op["key"] = "k"
        if arg != "-":
            op["arg"] = int(arg)
        if result != "-":
            op["result"] = words[result] if result in words else int(result) if result.isdigit() else result
        yield json.dumps(op)


def self_test():
    wrong = 0
    for name, text, good in [(n, t, True) for n, t in ACCEPTED.items()] + [(n, t, False) for n, t in REJECTED.items()]:
        try:
            check(history_of(text))
            accepted = True
        except Violation:
            accepted = False
        if accepted != good:
            wrong += 1
            print("%s: %s" % (name, "accepted" if accepted else "rejected"))
    print("self-test: %d accepted, %d rejected, %d wrong" % (len(ACCEPTED), len(REJECTED), wrong))
    return 1 if wrong else 0


def main(words):
    gc.disable()  # there are no cycles, and looking for them among millions of operations takes most of the time
    if words == ["--self-test"]:
        return self_test()
    if len(words) >= 2 and words[0] == "--run":
        run = subprocess.run(words[1:], stdout=subprocess.PIPE, check=False, text=True)
        if run.returncode:
            print("%s ended with %d" % (words[1], run.returncode))
            return 2
        lines = run.stdout.splitlines()
    elif len(words) == 1:
        with open(words[0], encoding="utf-8") as file:
            lines = file.readlines()
    else:
        print(__doc__)
        return 2
    try:
        print(check(lines))
    except Violation as violation:
        print(violation)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
