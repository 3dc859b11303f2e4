#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# probes.sh LIBRARY PAGE - the library's notes tell of each probe that the page lists, and of no other
set -eu

noted=$(readelf -n "$1" | awk '/Provider: fibermap/ { getline; print $2 }' | sort -u)
listed=$(sed -n '/^## Probes/,$s/^| \([a-z_]*\) | .*/\1/p' "$2" | grep -v '^probe$' | sort -u)
if [ -z "$noted" ] || [ "$noted" != "$listed" ]; then
    echo "probes in $1:" $noted >&2
    echo "listed in $2:" $listed >&2
    exit 1
fi
# an argument must be told where to find: a register, a place in memory or a number
readelf -n "$1" | awk '/Provider: fibermap/ { getline; getline; getline; if (!/@/) { print "a probe without arguments"; exit 1 } }'
