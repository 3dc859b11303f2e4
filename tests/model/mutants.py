#!/usr/bin/env python3
"""Break a room on purpose, one edit at a time, and see that its model says so.

Reads mutants.txt (its head explains the format), applies each edit of one model to a copy of
the real file, builds the model with the copy and runs it. Fails if an edit no longer matches
exactly once, if a broken room passes, or if one listed as out of reach is found after all.
"""
import argparse
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Mutant:
    line: int
    model: str
    name: str
    file: str = ""
    old: list = field(default_factory=list)
    new: list = field(default_factory=list)
    survives: str = ""
    arguments: list = field(default_factory=list)


def read_list(path):
    mutants = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if head := re.fullmatch(r"(\w+): (.+)", line):
            mutants.append(Mutant(number, *head.groups()))
            continue
        word, _, rest = line.partition(" ")
        if not mutants or word not in ("file", "-", "+", "survives", "run"):
            sys.exit(f"{path}:{number}: not understood: {line}")
        mutant = mutants[-1]
        if word == "file":
            mutant.file = rest
        elif word == "-":
            mutant.old.append(rest)
        elif word == "+":
            mutant.new.append(rest)
        elif word == "survives":
            mutant.survives = rest
        else:
            mutant.arguments = rest.split()
    return mutants


def pattern_of(lines):
    """Blanks, line breaks and the edges of comments need not agree: layout is not the text."""
    between = r"(?:\s|/\*|\*/|\*(?=\s))+"
    words = " ".join(lines).split()
    first = r"/\*\s+(?:\*\s+)?" if words[0] == "/*" else ""
    last = r"\s*\*/" if words[-1] == "*/" else ""
    words = [re.escape(word) for word in words if word not in ("/*", "*", "*/")]
    return first + between.join(words) + last


def apply(mutant, root):
    """The file with the edit."""
    text = (root / mutant.file).read_text()
    pattern = pattern_of(mutant.old)
    found = re.findall(pattern, text)
    if len(found) != 1:
        raise LookupError(f"line {mutant.line}: matches {len(found)} times in {mutant.file}")
    return re.sub(pattern, lambda _: "\n".join(mutant.new), text)


class Builder:
    def __init__(self, options):
        self.options = options
        self.flags = options.cflag
        self.includes = [f"-I{options.root}", f"-I{options.root}/include"]

    def compile(self, source, target, first_include=None):
        first = [f"-I{first_include}"] if first_include else []
        subprocess.run([*self.options.cc.split(), *self.flags, "-w", *first, *self.includes,
                        "-c", str(source), "-o", str(target)],
                       check=True, capture_output=True, text=True)
        return target

    def base(self):
        """Objects of the unbroken sources, for the edits that leave them alone."""
        self.objects = {}
        for source in self.options.source:
            target = self.options.work / (Path(source).stem + ".o")
            self.objects[source] = self.compile(self.options.root / source, target)

    def link(self, objects, program):
        subprocess.run([*self.options.cc.split(), "-no-pie", *map(str, objects),
                        *self.options.link, "-o", str(program)],
                       check=True, capture_output=True, text=True)
        return program

    def mutant(self, index, mutant):
        folder = self.options.work / f"{index:03}"
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier list: other files
        copy = folder / mutant.file
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(apply(mutant, self.options.root))
        included = mutant.file not in self.options.source
        objects = []
        for source in self.options.source:
            if included or source == mutant.file:
                path = copy if source == mutant.file else self.options.root / source
                target = folder / (Path(source).stem + ".o")
                objects.append(self.compile(path, target, folder))
            else:
                objects.append(self.objects[source])
        return self.link(objects, folder / "model")


def execute(program, arguments):
    return subprocess.run([str(program), *arguments], timeout=300, capture_output=True,
                          text=True, check=False)


def judge(builder, index, mutant, arguments):
    """Returns whether all is as it should be, and a line that says what happened."""
    arguments = mutant.arguments or arguments
    try:
        program = builder.mutant(index, mutant)
        # Most faults need one preemption, and what one finds is found by more, much later.
        run = execute(program, [re.sub(r"^dfs=\d+$", "dfs=1", word) for word in arguments])
        if run.returncode == 0:
            run = execute(program, arguments)
    except LookupError as error:
        return False, f"STALE     {mutant.name}: {error}"
    except subprocess.CalledProcessError as error:
        return False, f"NO BUILD  {mutant.name}\n{error.stderr}"
    except subprocess.TimeoutExpired:
        return False, f"NO END    {mutant.name}"
    if run.returncode == 1 and "FAULT" in run.stdout:
        tail = run.stdout.split("FAULT\n")[1].splitlines()
        count = re.search(r"(\S+) +(\d+) executions[^\n]*FAULT", run.stdout)
        where = f"{count[1]}, execution {count[2]}: " if count else ""
        reason = where + tail[0].strip()
        return not mutant.survives, f"rejected  {mutant.name}\n          {reason}"
    if run.returncode == 0:
        return bool(mutant.survives), f"survives  {mutant.name}\n          {mutant.survives}"
    return False, f"ERROR {run.returncode}   {mutant.name}\n{run.stdout}{run.stderr}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--list", required=True, type=Path)
    parser.add_argument("--root", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--cc", default="gcc", help="may have a launcher before it")
    parser.add_argument("--cflag", action="append", default=[])
    parser.add_argument("--link", action="append", default=[])
    parser.add_argument("--source", action="append", default=[], help="from the root")
    parser.add_argument("--only", default="", help="mutants whose name has this in it")
    parser.add_argument("--passes", action="store_true",
                        help="the unbroken model passes: another test says so")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("arguments", nargs="*", help="for the model, such as dfs=2")
    options = parser.parse_args()

    options.work.mkdir(parents=True, exist_ok=True)
    mutants = [m for m in read_list(options.list)
               if m.model == options.model and options.only in m.name]
    if not mutants:
        sys.exit(f"{options.list}: no mutants of {options.model}")
    builder = Builder(options)
    arguments = options.arguments or ["dfs=2"]
    try:
        builder.base()
        unbroken = builder.link(builder.objects.values(), options.work / "model")
    except subprocess.CalledProcessError as error:
        sys.exit(f"the unbroken model does not build\n{error.stderr}")
    # Where the room itself is rejected, it says nothing that its mutants are.
    if not options.passes:
        run = execute(unbroken, arguments)
        if run.returncode != 0:
            sys.exit(f"the unbroken model does not pass\n{run.stdout}{run.stderr}")

    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(
            lambda pair: judge(builder, pair[0], pair[1], arguments),
            enumerate(mutants)))
    for _, text in results:
        print(text)
    wrong = [text for good, text in results if not good]
    rejected = sum(text.startswith("rejected") for _, text in results)
    print(f"{options.model}: {rejected} rejected, {len(results) - rejected} not, "
          f"{len(wrong)} against expectation")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
