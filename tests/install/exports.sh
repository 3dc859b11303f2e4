#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# exports.sh LIBRARY - the shared library exports fm_ names only, and needs nothing but libc
set -eu

names=$(nm -D --defined-only "$1" | awk '{ print $NF }')
stray=$(echo "$names" | grep -E -v '^fm_[a-z0-9]' || :)
if [ -n "$stray" ]; then
    echo "exports that are not public names:" $stray >&2
    exit 1
fi
if [ -z "$names" ]; then
    echo "$1 exports nothing" >&2
    exit 1
fi
needed=$(readelf -d "$1" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | grep -E -v '^(libc|libm|libpthread|ld-linux.*)\.so' || :)
if [ -n "$needed" ]; then
    echo "$1 needs more than libc:" $needed >&2
    exit 1
fi
