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

The state of an entry is the fiber, whether the map is closing, and how many callers share the run: None where it goes on
without them, else their number; 0 is a run that its last waiter has given up.

remove, clear and close have two steps: they find a fiber, and it is no more in the entry. So has run_wait, which starts or joins
one first; where it left early its second step is the leaving.
"""
import gc
import json
import subprocess
import sys
from collections import defaultdict

STARTS = ("run", "run_await", "run_missing", "run_join", "run_wait", "run_if", "set")
READS = ("get", "has", "see", "interrupt", "gone", "step", "body")
DONE = ("done",)
GIVEN_UP = 0


class Violation(Exception):
    pass


class Op:
    """One line. Many of them are kept, so each is small."""

    __slots__ = ("name", "key", "arg", "result", "call", "returned", "client", "expect", "stops", "left", "given_up")

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

    def __str__(self):
        return json.dumps({name: getattr(self, name) for name in self.__slots__
                           if getattr(self, name) not in (None, False, "") or name == "result"})


def outcomes(op, state):
    """All that the call may do in this state: (the state after it, what it has done: DONE, or what is left of it)."""
    fiber, closing, shared = state
    name, arg, result = op.name, op.arg, op.result
    same = (state, DONE)

    def told(*possible):
        return result is None or any(result is p if isinstance(p, bool) or isinstance(result, bool) else result == p
                                     for p in possible)

    def puts(new, shared=None):
        return (new, closing, shared)

    if name in STARTS:
        if result == "failed":
            return [same]
        if closing:
            return [same] if told("closed") else []
        if result == "closed":
            return []
    if name in ("run", "run_await"):
        return [(puts(arg), DONE)] if told(fiber) else []
    if name == "run_missing":
        if fiber == 0:
            return [(puts(arg), DONE)] if told(arg, True) else []
        return [same] if told(fiber, False) else []
    if name == "run_join":
        if fiber == 0 or shared == GIVEN_UP:
            return [(puts(arg), DONE)] if told(arg, True) else []
        return [same] if told(fiber, False) else []
    if name == "run_wait":
        if fiber == 0 or shared == GIVEN_UP:
            after = puts(arg, 1 if op.stops else None) if told(arg, True) else None
        else:
            after = puts(fiber, None if shared is None else shared + 1) if told(fiber, False) else None
        if not after:
            return []
        if not op.left:
            return [(after, ("wait", after[0]))]
        return [(after, DONE if after[2] is None else ("leave", after[0]))]
    if name == "run_if":
        if fiber == op.expect:
            return [(puts(arg), DONE)] if told(True) else []
        return [same] if told(False) else []
    if name == "set":
        if not told(fiber):
            return []
        return [same] if fiber == arg else [(puts(arg), DONE)]
    if name in ("get", "interrupt"):
        return [same] if told(fiber) or (closing and told(0)) else []
    if name == "see":
        return [same] if told(fiber) else []
    if name == "has":
        return [same] if closing or told(fiber != 0) else []
    if name == "detach":
        found = [(puts(0), DONE)] if fiber and told(fiber, True) else []
        missed = [same] if (not fiber or closing) and told(0, False) else []
        return found + missed
    if name == "exit":
        if fiber == arg and op.given_up and shared != GIVEN_UP:
            return []
        if fiber == arg:
            return [(puts(0), DONE)] if closing or told(True) else []
        return [same] if told(False) else []
    if name == "gone":
        return [same] if fiber != arg else []
    if name == "remove":
        found = [(state, ("wait", fiber))] if fiber and told(fiber, True) else []
        missed = [same] if (not fiber or closing) and told(0, False) else []
        return found + missed
    if name == "clear":
        return [(state, ("wait", fiber))] if fiber else [same]
    if name == "close":
        return [((fiber, True, shared), ("wait", fiber) if fiber else DONE)]
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
                if index not in started:
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
            late = state[0] != op.arg and result is not True and not self.will_start(op.arg, at, started)
            return DONE if late else None
        if name not in READS and name not in ("remove", "clear") and (result is None or name == "detach" and result):
            return None
        if name == "run_wait" and result is False:
            return None  # joined somebody: it need not be this one, and another's waiters are counted
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
            if done is not None and done is not DONE and done[1] != state[0]:
                started[index] = DONE
        return (state, frozenset(started.items()))

    def steps(self, index, state, started):
        """What this open call may do next: (state, what it has done then)."""
        op, done = self.ops[index], started.get(index)
        if done is None:
            return outcomes(op, state)
        if done[0] == "leave":
            return [((state[0], state[1], state[2] - 1), DONE)]
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
            if op.name == "exit" and op.result is None and op.arg != state[0] and other != index:
                continue  # it would change nothing, and may be wanted later
            for effect in self.steps(other, state, started):
                after = dict(started)
                after[other] = effect[1]
                found.append((at, self.settle(effect[0], after, at)))
        return found

    def run(self, key):
        """Raise Violation if there is no order. Returns the number of configurations seen."""
        start = (0, ((0, False, None), frozenset()))
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
        raise Violation("key %s: nothing explains %s\n  one entry possible before: %d%s%s\n  open calls:\n    %s" % (
            key, self.ops[self.events[at][2]], state[0], " closing" if state[1] else "",
            "" if state[2] is None else " given up" if state[2] == GIVEN_UP else " shared by %d" % state[2],
            "\n    ".join(str(self.ops[i]) for i in self.open_at[at])))


def check_rules(ops):
    """What the fibers say of themselves against what the calls said of them."""
    steps, bodies = defaultdict(list), {}
    for op in ops:
        if op.name == "step":
            steps[op.arg].append(op)
        elif op.name == "body":
            bodies[op.arg] = op
    for op in ops:
        if not isinstance(op.result, int) or isinstance(op.result, bool) or not op.result or op.returned is None:
            continue
        if op.name not in ("run", "run_await", "set", "interrupt", "remove"):
            continue
        for step in steps.get(op.result, ()):
            if step.call > op.returned and op.result != op.arg:
                raise Violation("a step after the signal:\n  %s\n  %s" % (op, step))
        body = bodies.get(op.result)
        if op.name == "remove" and body and (body.returned is None or body.returned > op.returned):
            raise Violation("a body after its remove:\n  %s\n  %s" % (op, body))
        if op.name == "run_await" and body and op.arg in bodies:
            if body.returned is None or bodies[op.arg].call < body.returned:
                raise Violation("a body before the end of the one it awaits:\n  %s" % op)


class Total:
    """What was checked, for the last line."""

    def __init__(self):
        self.histories = self.operations = self.calls = self.keys = self.configurations = self.open = self.told = 0

    def count(self, op):
        self.operations += 1
        if op.name in ("exit", "gone", "step", "body", "see"):
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


# ---- self-test: one operation a word, "op+flags arg result call return" ----

ACCEPTED = {
    "a plain life": "run 1 0 0 1; get - 1 2 3; exit 1 true 4 5; gone 1 - 5 5; get - 0 6 7",
    "overlapping runs": "run 1 - 0 9; run 2 - 0 9; get - 1 10 11; exit 2 false 12 13; exit 1 true 14 15",
    "kept": "run_missing 1 1 0 1; run_missing 2 1 2 3; exit 1 true 3 4; run_missing 3 3 5 6",
    "remove waits": "run 1 0 0 1; remove - true 2 9; get - 1 3 4; exit 1 true 5 6; has - false 7 8",
    "exit unknown": "run 1 0 0 1; run 2 - 2 3; exit 1 - 2 8; exit 2 - 4 9; get - 0 10 11",
    "close": "run 1 0 0 1; close - - 2 9; run 2 closed 4 5; exit 1 true 6 7; get - 0 10 11",
    "set of an ended one": "run 1 0 0 1; exit 1 true 2 3; set 1 0 4 5; exit 1 - 4 6; get - 0 7 8",
    "never returned": "run 1 0 0 1; run 2 - 2 null; get - 2 5 6; get - 2 7 8",
    "failed": "run 1 0 0 1; run 2 failed 2 3; get - 1 4 5",
    "a shared run": "run_wait 1 1 0 9; run_wait 2 1 2 9; get - 1 3 4; exit 1 true 5 6; get - 0 7 8",
    "one waiter of two leaves": "run_wait+stops 1 1 0 9; run_wait+left 2 1 2 3; run_join 3 1 4 5; exit 1 true 6 7",
    "the last waiter leaves": "run_wait+stops+left 1 1 0 1; run_join 2 2 2 3; exit 1 false 4 5; get - 2 6 7",
    "the last waiter of two leaves": "run_wait+stops+left 1 1 0 3; run_wait+left 2 1 1 4; exit+given_up 1 true 5 6",
    "joined the second of two": "run 1 0 0 1; exit 1 true 2 9; run_wait+stops+left 2 2 3 9; "
                                "run_wait+left 9 false 4 15; run_join 8 2 10 11; exit 2 true 16 17",
    "no one stops who goes on": "run_wait+left 1 1 0 1; run_join 2 1 2 3; exit 1 true 4 5",
    "a closing map still shows who ends": "run 1 0 0 1; close - - 2 9; get - 0 3 4; see - 1 5 6; exit 1 true 7 8",
}
REJECTED = {
    "two only-if-missing starts": "run_missing 1 1 0 5; run_missing 2 2 0 5; exit 1 true 8 9; exit 2 - 8 9",
    "a gap in a replacement": "run 1 0 0 1; run 2 1 2 9; get - 0 3 4; exit 1 false 10 11; exit 2 true 12 13",
    "the exit takes the successor": "run 1 0 0 1; run 2 1 2 3; exit 1 true 4 5; get - 0 6 7",
    "gone, and still found": "run 1 0 0 1; gone 1 - 5 5; get - 1 6 7; exit 1 true 8 9",
    "remove came back too early": "run 1 0 0 1; remove - true 2 3; exit 1 true 5 6; get - 1 7 8",
    "remove did not wait": "run 1 0 0 1; remove - true 2 3; get - 1 4 5; exit 1 true 6 7",
    "run behind close": "run 1 0 0 1; exit 1 true 2 3; close - - 4 5; run 2 0 6 7",
    "back from the dead": "run 1 0 0 1; exit 1 true 2 3; get - 0 4 5; get - 1 6 7",
    "clear left one": "run 1 0 0 1; clear - - 2 3; get - 1 4 5; exit 1 true 6 7",
    "one displaced twice": "run 1 0 0 1; run 2 1 2 5; run 3 1 2 5",
    "a failure that changed something": "run 1 0 0 1; run 2 failed 2 3; get - 2 4 5",
    "a step after the signal": "run 1 0 0 1; run 2 1 2 3; step 1 - 4 5",
    "a body after its remove": "run 1 0 0 1; remove - 1 2 5; exit 1 true 3 4; body 1 - 1 6",
    "detached, and still found": "run 1 0 0 1; detach - 1 2 3; get - 1 4 5",
    "detached, and its exit takes out": "run 1 0 0 1; detach - 1 2 3; run 2 0 4 5; exit 1 true 6 7",
    "two starts by those who share": "run_wait 1 1 0 9; run_wait 2 2 0 9; exit 1 true 10 11; exit 2 true 10 11",
    "a waiter that came back too early": "run_wait 1 1 0 2; get - 1 3 4; exit 1 true 5 6",
    "given up, and joined": "run_wait+stops+left 1 1 0 1; run_join 2 1 2 3; exit 1 true 4 5",
    "stopped although somebody waits": "run_wait+stops 1 1 0 9; run_wait+left 2 1 2 3; exit+given_up 1 true 5 6",
    "fresh although somebody waits": "run_wait+stops 1 1 0 9; run_wait+left 2 1 2 3; run_join 3 3 4 5; exit 1 - 6 7",
    "stopped although nobody asked for it": "run_wait+left 1 1 0 1; run_join 2 2 2 3; exit 1 - 4 5; exit 2 - 6 7",
    "a snapshot of who was replaced": "run 1 0 0 1; run 2 1 2 3; see - 1 4 5",
    "a snapshot shows a key twice": "run 1 0 0 1; see - 1 2 3; see - 0 2 3; exit 1 true 4 5",
    "an empty key in a snapshot of a closing map": "run 1 0 0 1; close - - 2 9; see - 0 3 4; exit 1 true 5 6",
}


def history_of(text):
    words = {"-": None, "true": True, "false": False, "null": None}
    for line in text.split(";"):
        name, arg, result, call, returned = line.split()
        name, *flags = name.split("+")
        op = {"client": 0, "op": name, **dict.fromkeys(flags, True), "call_ns": int(call), "return_ns": words.get(returned, returned)}
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
