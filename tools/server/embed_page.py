#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed_page.py C-FILE DEPFILE UPLOT FILE... - the files of the live page as bytes in C: page_entries.h

A file stands there by its name without folders, with a strong entity tag, a digest of it. UPLOT is the folder of
npm's package; what is not there is left out.
"""
import hashlib
import pathlib
import sys

TYPES = {'.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript', '.svg': 'image/svg+xml', '.txt': 'text/plain'}
UPLOT = {'uplot.js': 'dist/uPlot.esm.js', 'uplot.css': 'dist/uPlot.min.css', 'uplot-license.txt': 'LICENSE'}


def c_bytes(content):
    rows = (content[at:at + 16] for at in range(0, len(content), 16))
    return ''.join('    ' + ' '.join(f'0x{byte:02x},' for byte in row) + '\n' for row in rows)


target, depfile, uplot, *own = sys.argv[1:]
foreign = {name: pathlib.Path(uplot, path) for name, path in UPLOT.items()}
sources = {pathlib.Path(path).name: pathlib.Path(path) for path in own}
if all(path.exists() for path in foreign.values()):
    sources.update(foreign)

text, entries = '#include "tools/server/page_entries.h"\n', ''
for number, (name, path) in enumerate(sources.items()):
    content = path.read_bytes()
    kind = TYPES[pathlib.Path(name).suffix]
    tag = hashlib.sha256(content).hexdigest()[:32]
    text += f'\nstatic const unsigned char file_{number}[] = {{ /* {name} */\n{c_bytes(content)}}};\n'
    entries += f'    {{ "{name}", "{kind}; charset=utf-8", "\\"{tag}\\"", file_{number}, sizeof file_{number} }},\n'
text += f'\nconst struct page_entry page_entries[] = {{\n{entries}}};\n'
text += 'const size_t page_entry_count = sizeof page_entries / sizeof page_entries[0];\n'

# unchanged it stays as old as it is, and nothing is compiled
written = pathlib.Path(target)
if not written.exists() or written.read_text(encoding='ascii') != text:
    written.write_text(text, encoding='ascii')
pathlib.Path(depfile).write_text(f'{target}: ' + ' '.join(map(str, foreign.values())) + '\n', encoding='utf-8')
