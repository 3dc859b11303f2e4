# SPDX-License-Identifier: Apache-2.0
"""docs_test.py - what docs/batch.md shows can be copied, and docs/batch.schema.json says what the program takes"""
import json
import pathlib
import re

from harness import Batch, equal, lines, run, test

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPTIONS = ('--dry-run', '--resource=memory=64', '--rate=api=1000')
WITH = {'call': {'path': '.'}, 'path': {'call': 'hash'}, 'text': {'call': 'hash'}, 'pattern': {'call': 'grep', 'path': '.'},
        'ignore_case': {'call': 'grep', 'path': '.', 'pattern': 'x'}, 'ready': {'restart': 'transient'}}


def files():
    """The job files among the indented blocks of the page."""
    page = (ROOT / 'docs/batch.md').read_text()
    blocks = [re.sub('^    ', '', block, flags=re.M) for block in re.findall(r'(?:^    .*\n)+', page, flags=re.M)]
    return [block for block in blocks if block.startswith('{"key"')]


@test
def the_job_files_of_the_page_can_be_copied(folder):
    assert len(files()) >= 4, files()
    for text in files():
        (folder / 'jobs.json').write_text(text)
        done = Batch(folder, 'run', *OPTIONS, 'jobs.json').wait()
        equal((done.code, done.err), (0, ''), text)
    (folder / 'jobs.json').write_text(next(text for text in files() if '"notes"' in text))
    done = Batch(folder, 'run', 'jobs.json').wait()
    equal((done.code, done.out), (0, 'notes are there\nlistening\n'), done)


@test
def the_schema_has_the_fields_that_there_are_and_its_examples_are_taken(folder):
    schema = json.loads((ROOT / 'docs/batch.schema.json').read_text())['$defs']['job']['properties']
    equal(sorted(schema), sorted(re.findall(r'^    { "(\w+)", read_', (ROOT / 'tools/batcher/fields.c').read_text(), flags=re.M)))
    jobs = [{'key': 'first', 'shell': 'true'}]
    for name, field in schema.items():
        for example in field['examples']:
            job = {'key': f'{name} {len(jobs)}', **WITH.get(name, {}), name: example}
            jobs.append(job if {'argv', 'shell', 'call'} & job.keys() else {**job, 'shell': 'true'})
    done = run(folder, jobs, *OPTIONS)
    equal((done.code, done.err), (0, ''), done)
    equal(len(lines(done.out)), len(jobs), done)
