#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed.py FILE C-FILE NAME - a file as bytes in C: const unsigned char NAME[], const size_t NAME_len"""
import sys

source, target, name = sys.argv[1:]
with open(source, 'rb') as file:
    content = file.read()
rows = (content[at:at + 16] for at in range(0, len(content), 16))
with open(target, 'w', encoding='ascii') as file:
    file.write('#include <stddef.h>\n\n')
    file.write(f'extern const unsigned char {name}[];\nextern const size_t {name}_len;\n\n')
    file.write(f'const unsigned char {name}[] = {{\n')
    file.writelines('    ' + ' '.join(f'0x{byte:02x},' for byte in row) + '\n' for row in rows)
    file.write(f'}};\nconst size_t {name}_len = sizeof {name};\n')
