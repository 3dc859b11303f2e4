#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catalogue.py [--check] - which test shows what becomes of each fault that can be foreseen

Reads the faults from catalogue.txt and the marks from the tests, and writes CATALOGUE.md. With
--check it writes nothing and fails unless the page is as it would be written. Fails either way
if a fault has neither a test nor a reason, has both, is unknown, or if a mark stands over no
test.

A mark is the number of the fault in the comment just above what shows it, with or without more
words. What shows it is

    C         a TEST, in whatever form (the comment may also end its line); a scenario of a
              model; a row { "name", ... of a table of races; a program, by the file's head
    Python    what is decorated with @test
    .txt      an entry of a list of mutants, "model: what is wrong"
"""
import dataclasses
import pathlib
import re
import sys

TESTS = pathlib.Path(__file__).resolve().parent
PAGE = TESTS / 'CATALOGUE.md'
MARK = re.compile(r'\bF(\d{1,3})\b')
COMMENT = re.compile(r'/\*.*?\*/', re.S)
UNIT = re.compile(r'^[A-Z_]*TEST[A-Z_]*\(\s*(?:\w+,\s*)?([a-z]\w+)[^;{]*?\)'
                  r'(?=\s*(?:/\*.*?\*/\s*)?\{)', re.M)
ROW = re.compile(r'^[ \t]*\{ "(\w+)",', re.M)
FUNCTION = re.compile(r'^static void (\w+)\(void\)$', re.M)
SCENARIO = re.compile(r'\bSCENARIO\((\w+)')
PYTHON_TEST = re.compile(r'^@test\n(?:@\w+\n)*(?:async )?def (\w+)', re.M)
PYTHON_COMMENT = re.compile(r'(?:^#[^\n]*\n)+|""".*?"""', re.M | re.S)
ENTRY = re.compile(r'^(\w+: .+)$', re.M)

HEAD = '''\
# The catalogue of faults

What can go wrong, and the tests that show what becomes of it then. `tests/catalogue.py` writes
this from `catalogue.txt` and the marks over the tests; the test `catalogue` fails where a fault
has no test, where a mark stands over no test, and where this page is old.
'''


@dataclasses.dataclass
class Fault:
    number: int
    title: str
    part: str
    reason: str = ''
    shown: list = dataclasses.field(default_factory=list)


def read_faults(path):
    faults, part = {}, ''
    for line in path.read_text(encoding='utf-8').splitlines():
        if line.startswith('= '):
            part = line[2:]
        elif match := re.fullmatch(r'F(\d+) (.+)', line):
            number = int(match[1])
            if number != len(faults) + 1:
                sys.exit(f'{path.name}: F{number} does not follow F{len(faults)}')
            faults[number] = Fault(number, match[2], part)
        elif match := re.fullmatch(r'  here: (.+)', line):
            faults[len(faults)].reason += match[1]
        elif line and not line.startswith('#'):
            sys.exit(f'{path.name}: not understood: {line}')
    return faults


def tests_of_c(path, text):
    """(first character, last character of its first line, name) of each test in a file."""
    for match in UNIT.finditer(text):
        yield match.start(), text.index('\n', match.end()), match[1]
    for match in ROW.finditer(text):
        yield match.start(), match.end(), match[1]
    scenarios = set(SCENARIO.findall(text))
    for match in FUNCTION.finditer(text):
        if match[1] in scenarios:
            yield match.start(), match.end(), match[1]
    if re.search(r'^int main\(', text, re.M):
        head = COMMENT.search(text, text.index('*/') + 2)
        yield head.end() + 1, head.end() + 1, path.stem


def marks_of_c(path, text):
    """(position, number, name of the test or None) of each mark in a file."""
    tests = list(tests_of_c(path, text))
    for comment in COMMENT.finditer(text):
        for mark in MARK.finditer(comment[0]):
            over = [name for start, end, name in tests
                    if start <= comment.start() < end or text[comment.end():start].strip() == ''
                    and comment.end() < start and '\n\n' not in text[comment.end():start]]
            yield comment.start() + mark.start(), int(mark[1]), over[0] if over else None


def marks_of(pattern, comments, text):
    tests = [(match.start(), match[1]) for match in pattern.finditer(text)]
    for comment in comments.finditer(text):
        for mark in MARK.finditer(comment[0]):
            over = [name for start, name in tests if start == comment.end()]
            yield comment.start() + mark.start(), int(mark[1]), over[0] if over else None


def marks_in(path, text):
    if path.suffix == '.py':
        return marks_of(PYTHON_TEST, PYTHON_COMMENT, text)
    if path.suffix == '.txt':
        return marks_of(ENTRY, re.compile(r'(?:^#.*\n)+', re.M), text)
    return marks_of_c(path, text)


def collect(faults):
    """Put the tests to the faults; what is wrong with the marks, line by line."""
    for path in sorted(TESTS.rglob('*')):
        if path.suffix not in ('.c', '.h', '.py', '.txt') or path.stem == 'catalogue' or \
                'node_modules' in path.parts:
            continue
        text = path.read_text(encoding='utf-8')
        file = path.relative_to(TESTS).as_posix()
        for position, number, name in marks_in(path, text):
            where = f'tests/{file}:{text.count(chr(10), 0, position) + 1}: F{number}'
            if number not in faults:
                yield f'{where}: there is no such fault'
            elif name is None:
                yield f'{where}: stands over no test'
            elif (file, name) not in faults[number].shown:
                faults[number].shown.append((file, name))
    for fault in faults.values():
        if not fault.shown and not fault.reason:
            yield f'F{fault.number}: no test, and no reason: {fault.title}'
        elif fault.shown and fault.reason:
            yield f'F{fault.number}: a test, and a reason why there is none'


def row(fault):
    cells = {}
    for file, name in fault.shown:
        said = f'mutant "{name}"' if file.endswith('.txt') else f'`{name}`'
        cells.setdefault(file, []).append(said)
    text = '<br>'.join(f'[{file}]({file}): {", ".join(names)}' for file, names in cells.items())
    return f'| F{fault.number} | {fault.title} | {text or fault.reason} |\n'


def page(faults):
    text = HEAD
    part = ''
    for fault in faults.values():
        if fault.part != part:
            part = fault.part
            text += f'\n## {part}\n\n| | what goes wrong | shown by |\n|---|---|---|\n'
        text += row(fault)
    return text


def main():
    faults = read_faults(TESTS / 'catalogue.txt')
    errors = list(collect(faults))
    text = page(faults)
    if '--check' not in sys.argv[1:]:
        PAGE.write_text(text, encoding='utf-8')
    elif not PAGE.exists() or PAGE.read_text(encoding='utf-8') != text:
        errors.append('tests/CATALOGUE.md is old: run tests/catalogue.py')
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


sys.exit(main())
