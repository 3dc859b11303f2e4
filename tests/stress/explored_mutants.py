#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Break the library on purpose, one edit at a time, and see that exploring a race says so.

Reads explored_mutants.txt (its head explains the format), applies each edit to a copy of the real
file, compiles what it touches as libfibermap-explore is compiled, links the program of the races
with it, and runs the race that the entry names. That run must find a failing schedule within its
bound, and the line that it prints to have that schedule again must have it again. Fails too if an
edit no longer matches exactly once. That the unbroken library passes is what the tests
explore_race_... say.
"""
import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "model"))
from mutants import apply, read_list  # noqa: E402  the format and the edits are the models'
from reach import Reach, edited  # noqa: E402


class Builder:
    def __init__(self, options):
        self.options = options
        self.includes = [f"-I{options.root}", f"-I{options.root}/include"]
        self.dependents = {}
        self.reach = None

    def run(self, arguments):
        return subprocess.run([*self.options.cc.split(), *arguments], check=True,
                              capture_output=True, text=True).stdout

    def who_includes(self, header):
        """Sources that a header goes into, by what the compiler says."""
        if not self.dependents:
            for source in self.options.source:
                text = self.run([*self.options.cflag, *self.includes, "-MM",
                                 str(self.options.root / source)])
                for word in text.replace("\\\n", " ").split()[1:]:
                    path = os.path.relpath(word, self.options.root)
                    self.dependents.setdefault(path, []).append(source)
        return self.dependents.get(header, [])

    def sources_of(self, mutant, text):
        """What has to be compiled again for a mutant."""
        if not mutant.file.endswith(".h"):
            return [mutant.file]
        names = edited((self.options.root / mutant.file).read_text(), text)
        if not names:
            return self.who_includes(mutant.file)
        self.reach = self.reach or Reach(self.options.root, self.options.source)
        return self.reach.of(names)

    def build(self, index, mutant):
        folder = self.options.work / f"{index:02}"
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier list: other files
        copy = folder / mutant.file
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = apply(mutant, self.options.root)
        copy.write_text(text)
        objects = []
        for source in self.sources_of(mutant, text):
            path = copy if source == mutant.file else self.options.root / source
            target = folder / (source.replace("/", "_") + ".o")
            self.run([*self.options.cflag, "-w", f"-I{folder}", *self.includes, "-c", str(path),
                      "-o", str(target)])
            objects.append(str(target))
        if not objects:
            raise LookupError(f"nothing uses {mutant.file}")
        program = folder / "program"
        self.run([*objects, *self.options.link, "-o", str(program)])
        return program


def explore(program, arguments, environment=None):
    return subprocess.run([str(program), *arguments], capture_output=True, text=True,
                          timeout=600, check=False, errors="replace",
                          env={**os.environ, **(environment or {})})


def judge(builder, index, mutant, options):
    """Whether the mutant was found and found again, and a line about it."""
    try:
        program = builder.build(index, mutant)
    except LookupError as error:
        return False, f"STALE      {mutant.name}: {error}"
    except subprocess.CalledProcessError as error:
        return False, f"NO BUILD   {mutant.name}\n{error.stderr}"
    bound = mutant.arguments or [f"--schedules={options.schedules}"]
    run = explore(program, [*bound, mutant.model])
    told = re.search(r"^(\S+): schedule (\d+): (.+)$", run.stderr, re.M)
    again = re.search(r"FM_EXPLORE='([^']+)'", run.stderr)
    if run.returncode == 0:
        return False, f"NOT FOUND  {mutant.name}"
    if run.returncode != 1 or not told:
        return False, f"ERROR {run.returncode}    {mutant.name}\n{run.stderr}"
    where = f"{told[1]}, schedule {told[2]}: {told[3]}"
    if not again:
        return False, f"NO REPLAY  {mutant.name}\n           {where}"
    second = explore(program, [mutant.model], {"FM_EXPLORE": again[1]})
    told_again = re.search(r"^(\S+): schedule 1: (.+)$", second.stderr, re.M)
    if not told_again or told_again[2] != told[3]:
        return False, f"NOT AGAIN  {mutant.name}\n           {where}\n{second.stderr[:4000]}"
    return True, f"found      {mutant.name}\n           {where}"


def options_of(doc, schedules):
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--list", required=True, type=Path)
    parser.add_argument("--root", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--cflag", action="append", default=[])
    parser.add_argument("--link", action="append", default=[])
    parser.add_argument("--source", action="append", default=[], help="a room of the library")
    parser.add_argument("--schedules", type=int, default=schedules)
    parser.add_argument("--checker", help="what says whether a history is good")
    parser.add_argument("--only", default="", help="mutants whose name has this in it")
    options = parser.parse_args()

    options.link = [word for link in options.link for word in shlex.split(link)]
    options.source = [os.path.relpath(Path(source).resolve(), options.root.resolve())
                      for source in options.source]
    options.work.mkdir(parents=True, exist_ok=True)
    return options


def wanted(options):
    return [m for m in read_list(options.list) if options.only in m.name]


def judge_all(judge, options, done, *more):
    """Judge each mutant of the list; the exit code says whether all were as they should."""
    mutants = wanted(options)
    builder = Builder(options)
    good = 0
    for index, mutant in enumerate(mutants):
        right, text = judge(builder, index, mutant, *more)
        print(text, flush=True)
        good += right
    print(f"{good} of {len(mutants)} mutants {done}")
    return 0 if mutants and good == len(mutants) else 1


def main():
    options = options_of(__doc__, schedules=6000)
    return judge_all(judge, options, "found and found again", options)


if __name__ == "__main__":
    sys.exit(main())
