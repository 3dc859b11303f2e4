# SPDX-License-Identifier: Apache-2.0
"""Which sources can an edit of a header change?

A header goes into a hundred sources, and a few of them call the inline function that an edit
breaks; the others compile to what they were. What reaches the edited function or macro is found
by name: other functions and macros of headers that mention it, and so on, then the sources that
mention any of these. Too many is harmless, and one too few shows: its mutant is not found.
"""
import re

FUNCTION = re.compile(r"^(?P<head>[A-Za-z_][^;{}#]*\([^;{}]*\))\n\{\n.*?^\}$", re.M | re.S)
MACRO = re.compile(r"^#[ \t]*define[ \t]+(?P<name>\w+)(?:.*\\\n)*.*$", re.M)
WORD = re.compile(r"\w+")


def definitions(text):
    """(its names, where it begins, where it ends) of each function and macro of a header."""
    for found in FUNCTION.finditer(text):
        names = set(re.findall(r"(\w+)\(", found["head"])) - {"__attribute__"}
        yield names, found.start(), found.end()
    for found in MACRO.finditer(text):
        yield {found["name"]}, found.start(), found.end()


def edited(before, after):
    """The names of what an edit is in; none if it is in nothing that has one."""
    start = next(i for i, (a, b) in enumerate(zip(before, after)) if a != b)
    for names, begin, end in definitions(before):
        if begin <= start < end:
            return names
    return set()


class Reach:
    def __init__(self, root, sources):
        self.pieces = []  # of headers: names, and the words in it
        for header in [h for top in ("runtime", "fibermap") for h in (root / top).rglob("*.h")]:
            text = header.read_text()
            self.pieces += [(names, set(WORD.findall(text[begin:end])))
                            for names, begin, end in definitions(text)]
        self.words = {source: set(WORD.findall((root / source).read_text())) for source in sources}

    def of(self, names):
        """The sources that reach one of the names."""
        names = set(names)
        while new := set().union(*(n for n, words in self.pieces if words & names)) - names:
            names |= new
        return [source for source, words in self.words.items() if words & names]
