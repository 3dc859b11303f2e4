#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""history_check.py - is a history of map calls linearizable?

    history_check.py history.jsonl      exit code 0: yes, 1: no (the first key that fails is shown), 2: unreadable
    history_check.py --run map_history [options]      run the program and check what it writes
    history_check.py --self-test        accepts and rejects the histories it must

One JSON object a line, as map_history writes them. Each key is an object of its own, clear and close are checked on each key.

The search follows Wing and Gong, with the memory that Lowe gave it, in the form that walks the calls and returns in time: a
configuration is the state of the entry and what the open calls have done so far; at a return the call must have taken effect.
What changes nothing and fits is taken at once. An exit of unknown result waits while its fiber may still come.

remove, clear and close have two steps: they find a fiber, and it is no more in the entry.
"""
import json
import subprocess
import sys
from collections import defaultdict

STARTS = ("run", "run_await", "run_missing", "run_if", "set")
READS = ("get", "has", "interrupt", "gone", "step", "body")
DONE = ("done",)


class Violation(Exception):
    pass


def outcomes(op, fiber, closing):
    """All that the call may do in this state: (fiber, closing, what it has done: DONE or ("wait", f))."""
    name, arg, result = op["op"], op.get("arg"), op.get("result")
    same = (fiber, closing, DONE)

    def told(*possible):
        return result is None or any(result is p if isinstance(p, bool) or isinstance(result, bool) else result == p
                                     for p in possible)

    if name in STARTS:
        if result == "failed":
            return [same]
        if closing:
            return [same] if told("closed") else []
        if result == "closed":
            return []
    if name in ("run", "run_await"):
        return [(arg, closing, DONE)] if told(fiber) else []
    if name == "run_missing":
        if fiber == 0:
            return [(arg, closing, DONE)] if told(arg, True) else []
        return [same] if told(fiber, False) else []
    if name == "run_if":
        if fiber == op.get("expect", 0):
            return [(arg, closing, DONE)] if told(True) else []
        return [same] if told(False) else []
    if name == "set":
        if fiber == arg:
            return [same]
        return [(arg, closing, DONE)] if told(fiber) else []
    if name in ("get", "interrupt"):
        return [same] if told(fiber) or (closing and told(0)) else []
    if name == "has":
        return [same] if closing or told(fiber != 0) else []
    if name == "detach":
        found = [(0, closing, DONE)] if fiber and told(fiber, True) else []
        missed = [same] if (not fiber or closing) and told(0, False) else []
        return found + missed
    if name == "exit":
        if fiber == arg:
            return [(0, closing, DONE)] if closing or told(True) else []
        return [same] if told(False) else []
    if name == "gone":
        return [same] if fiber != arg else []
    if name == "remove":
        found = [(fiber, closing, ("wait", fiber))] if fiber and told(fiber, True) else []
        missed = [same] if (not fiber or closing) and told(0, False) else []
        return found + missed
    if name == "clear":
        return [(fiber, closing, ("wait", fiber))] if fiber else [same]
    if name == "close":
        return [(fiber, True, ("wait", fiber))] if fiber else [(fiber, True, DONE)]
    if name in ("step", "body"):
        return [same]
    raise Violation("unknown operation %r" % name)


class Search:
    """Depth first over the calls and returns of one key, remembering where it has been."""

    def __init__(self, ops):
        self.ops = ops
        self.events = []
        self.starts = defaultdict(list)
        for index, op in enumerate(ops):
            self.events.append((op["call_ns"], 0, index))
            if op.get("return_ns") is not None:
                self.events.append((op["return_ns"], 1, index))
            if op["op"] in STARTS:
                self.starts[op.get("arg")].append(index)
        self.events.sort()
        self.open_at = []  # before each event, the calls that are open
        now = []
        for _, returns, index in self.events:
            self.open_at.append(tuple(now))
            now = [i for i in now if i != index] if returns else now + [index]
        self.open_at.append(tuple(now))

    def will_start(self, fiber, at, started):
        """Whether some call that puts this fiber in is still to take effect."""
        open_now = self.open_at[at]
        for index in self.starts[fiber]:
            if index in open_now:
                if index not in started:
                    return True
            elif self.ops[index]["call_ns"] >= self.events[at][0] if at < len(self.events) else False:
                return True
        return False

    def early(self, index, fiber, closing, at, started):
        """What the call has done if taking it now loses nothing, else None."""
        op = self.ops[index]
        name, result = op["op"], op.get("result")
        if name == "exit":
            # the fiber is not there and will not be again: later is as good as now
            late = fiber != op.get("arg") and result is not True and not self.will_start(op.get("arg"), at, started)
            return DONE if late else None
        if name not in READS and name not in ("remove", "clear") and (result is None or name == "detach" and result):
            return None
        if name == "set":
            return None  # the same fiber again changes nothing now, but might put it in after it has left
        for effect in outcomes(op, fiber, closing):
            # whoever is found first leaves first: the earlier a removal has found, the earlier it is through
            if effect[:2] == (fiber, closing):
                return effect[2]
        return None

    def settle(self, fiber, closing, started, at):
        """Take all calls that may as well be taken now."""
        for index in self.open_at[at]:
            done = started.get(index)
            if done is None:
                done = self.early(index, fiber, closing, at, started)
                if done is not None:
                    started[index] = done
            if done is not None and done[0] == "wait" and done[1] != fiber:
                started[index] = DONE
        return (fiber, closing, frozenset(started.items()))

    def next(self, at, config):
        """The configurations after this one, each with its event; the likeliest last."""
        fiber, closing, done = config
        started = dict(done)
        _, returns, index = self.events[at]
        if not returns:
            return [(at + 1, self.settle(fiber, closing, started, at + 1))]
        if started.get(index) == DONE:
            del started[index]
            return [(at + 1, self.settle(fiber, closing, started, at + 1))]
        found = []
        for other in sorted(self.open_at[at], key=lambda i: (i == index, -(self.ops[i].get("return_ns") or 1 << 62))):
            op = self.ops[other]
            if other in started:
                continue
            if op["op"] == "exit" and op.get("result") is None and op["arg"] != fiber and other != index:
                continue  # it would change nothing, and may be wanted later
            for effect in outcomes(op, fiber, closing):
                after = dict(started)
                after[other] = effect[2]
                found.append((at, self.settle(effect[0], effect[1], after, at)))
        return found

    def run(self, key):
        """Raise Violation if there is no order. Returns the number of configurations seen."""
        start = (0, (0, False, frozenset()))
        seen, stack, furthest = {start}, [start], start
        while stack:
            at, config = stack.pop()
            if at == len(self.events):
                return len(seen)
            if at > furthest[0]:
                furthest = (at, config)
            for node in self.next(at, config):
                if node not in seen:
                    seen.add(node)
                    stack.append(node)
        at, config = furthest
        raise Violation("key %s: nothing explains %s\n  one entry possible before: %d%s\n  open calls:\n    %s" % (
            key, json.dumps(self.ops[self.events[at][2]]), config[0], " closing" if config[1] else "",
            "\n    ".join(json.dumps(self.ops[i]) for i in self.open_at[at])))


def check_rules(ops):
    """What the fibers say of themselves against what the calls said of them."""
    steps, bodies = defaultdict(list), {}
    for op in ops:
        if op["op"] == "step":
            steps[op["arg"]].append(op)
        elif op["op"] == "body":
            bodies[op["arg"]] = op
    for op in ops:
        result, returned = op.get("result"), op.get("return_ns")
        if not isinstance(result, int) or isinstance(result, bool) or not result or returned is None:
            continue
        if op["op"] not in ("run", "run_await", "set", "interrupt", "remove"):
            continue
        for step in steps[result]:
            if step["call_ns"] > returned and result != op.get("arg"):
                raise Violation("a step after the signal:\n  %s\n  %s" % (json.dumps(op), json.dumps(step)))
        body = bodies.get(result)
        if op["op"] == "remove" and body and (body.get("return_ns") is None or body["return_ns"] > returned):
            raise Violation("a body after its remove:\n  %s\n  %s" % (json.dumps(op), json.dumps(body)))
        if op["op"] == "run_await" and body and op["arg"] in bodies:
            if body.get("return_ns") is None or bodies[op["arg"]]["call_ns"] < body["return_ns"]:
                raise Violation("a body before the end of the one it awaits:\n  %s" % json.dumps(op))


def check(lines):
    """Raise Violation, or return what was checked."""
    by_key, everywhere, ops = defaultdict(list), [], []
    for line in lines:
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        op = json.loads(line)
        ops.append(op)
        if op["op"] in ("clear", "close"):
            everywhere.append(op)
        elif op["op"] not in ("step", "body"):
            by_key[op["key"]].append(op)
    check_rules(ops)
    seen = sum(Search(by_key[key] + everywhere).run(key) for key in sorted(by_key))
    return "%d operations on %d keys are linearizable, %d configurations" % (len(ops), len(by_key), seen)


# ---- self-test: one operation a word, "op arg result call return" ----

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
}


def history_of(text):
    words = {"-": None, "true": True, "false": False, "null": None}
    for line in text.split(";"):
        name, arg, result, call, returned = line.split()
        op = {"client": 0, "op": name, "call_ns": int(call), "return_ns": words.get(returned, returned)}
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
