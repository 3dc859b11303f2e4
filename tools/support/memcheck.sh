#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# memcheck.sh [LINE...] - run programs under Valgrind's memcheck: no error, and nothing is lost
#
# It sees what the sanitizers do not: a value that was never written and decides something, in the
# library as it is built for use. Fiber stacks are registered (runtime/platform/sanitizer.h), and
# nothing is suppressed. LINE is a program below build/memcheck with its arguments; no LINE means
# those of memcheck.txt. Rounds are fewer: each takes some fifty times as long.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
tools/need core tests
build=build/memcheck
if [ ! -f $build/build.ninja ]; then
    rm -rf $build
    cache=
    command -v ccache >/dev/null && cache='ccache '
    CC=${cache}gcc meson setup $build -Dtests=enabled -Dvalgrind=enabled -Dwerror=true \
        -Djemalloc=disabled -Dbenchmarks=disabled -Dserver=disabled -Dbatch=disabled
fi

list=$(mktemp)
trap 'rm -f "$list"' EXIT
if [ $# -eq 0 ]; then
    sed 's/ *#.*//; /^$/d' tools/support/memcheck.txt >"$list"
else
    printf '%s\n' "$@" >"$list"
fi
# shellcheck disable=SC2046 # a word for each program
ninja -C $build -j "$(nproc)" $(cut -d ' ' -f 1 "$list" | sort -u)
passed=0
failed=0
while read -r line; do
    start=$(date +%s)
    # shellcheck disable=SC2086 # a program and its arguments
    if FM_FEWER=${FM_FEWER:-200} timeout 1800 valgrind --quiet --fair-sched=yes --num-callers=24 \
        --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
        --error-exitcode=99 $build/$line </dev/null; then
        passed=$((passed + 1))
        echo "memcheck: $line: clean, $(($(date +%s) - start)) s"
    else
        failed=$((failed + 1))
        echo "memcheck: $line: not clean" >&2
    fi
done <"$list"
echo "memcheck: $passed programs clean, $failed not"
[ "$failed" -eq 0 ]
