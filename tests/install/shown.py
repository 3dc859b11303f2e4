#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""shown.py [EXAMPLES_FOLDER] - what the pages show is what the examples are, to the letter

On README.md and docs/*.md each block of C (```c) must stand, as whole lines, in one of the examples that
the page links to, and a block with a main() must be all of one. With the folder of the built examples, each
block of output (```text) must stand in what one of those examples prints. So a page is tested by writing
it: link the example, and show pieces of it.

examples/README.md has a heading that links to each example, and below it pieces of what it prints.
"""
import functools
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LINK = re.compile(r'\]\((?:\.\./)?(examples/[a-z0-9_]+\.c)\)')
HEADING = re.compile(r'^### \[(\w+)\.c\]\(\1\.c\)$', re.M)
BLOCK = re.compile(r'^```(\w*)\n(.*?)^```$', re.M | re.S)


def stands_in(block, text):
    return ('\n' + block) in ('\n' + text)


@functools.cache
def output_of(program):
    """What it prints; one that is not built here, for want of what it needs, prints nothing."""
    if not program.exists():
        return ''
    return subprocess.run([program], check=True, timeout=20, text=True, stdout=subprocess.PIPE).stdout


def check(page, built):
    """What is wrong on a page, line by line."""
    text = page.read_text(encoding='utf-8')
    examples = sorted(set(LINK.findall(text)))
    sources = [(ROOT / example).read_text(encoding='utf-8') for example in examples]
    outputs = None
    for match in BLOCK.finditer(text):
        language, block = match[1], match[2]
        where = f'{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}'
        if language == 'c':
            whole = re.search(r'^int main\(', block, re.M)
            if not any(block == source if whole else stands_in(block, source) for source in sources):
                yield f'{where}: this C is in none of: {" ".join(examples) or "(no example linked)"}'
        elif language == 'text' and built:
            if outputs is None:
                programs = [built / f'example_{pathlib.Path(example).stem}' for example in examples]
                outputs = [output_of(program) for program in programs]
            if not any(stands_in(block, output) for output in outputs):
                yield f'{where}: none of these prints it: {" ".join(examples) or "(no example linked)"}'


def check_list(page, built):
    """What is wrong on the list of the examples."""
    text = page.read_text(encoding='utf-8')
    listed = HEADING.split(text)[1:]
    names, sections = listed[::2], listed[1::2]
    there = {path.stem for path in page.parent.glob('*.c')}
    for name in sorted(there.symmetric_difference(names) | {n for n in names if names.count(n) > 1}):
        yield f'{page.relative_to(ROOT)}: {name}.c: exactly one heading for each example'
    for name, section in zip(names, sections):
        blocks = [match[2] for match in BLOCK.finditer(section)]
        output = output_of(built / f'example_{name}') if blocks and built else ''
        if output and not all(stands_in(block, output) for block in blocks):
            yield f'{page.relative_to(ROOT)}: {name}.c does not print that'


def main():
    built = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
    pages = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
    errors = [error for page in pages for error in check(page, built)]
    errors += check_list(ROOT / 'examples/README.md', built)
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


sys.exit(main())
