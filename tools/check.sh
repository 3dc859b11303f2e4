#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check.sh [WHAT...] - every build and check that the code must pass
#
#   headers   each public header compiles alone, twice in a row, as C11 and as C++17, without a
#             warning, with gcc and with clang
#   layers    no include goes up (tools/layers.py)
#   warnings  gcc and clang build everything for release, warnings are errors; the test builds do the
#             same with assertions on
#   test      tools/test
#   format    what clang-format would lay out otherwise (not part of the default)
#
# No WHAT means headers layers warnings test. Stops at the first that fails.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

headers() {
    for header in include/fm/*.h; do
        name=fm/${header##*/}
        for language in 'c -std=c11' 'c++ -std=c++17'; do
            for compiler in gcc clang; do
                # shellcheck disable=SC2086 # language is two words
                printf '#include <%s>\n#include <%s>\n' "$name" "$name" |
                    "$compiler" -x $language -pedantic -Wall -Wextra -Werror \
                        -Iinclude -fsyntax-only - || {
                    echo "check: $name does not stand alone: $compiler -x $language" >&2
                    exit 1
                }
            done
        done
    done
}

layers() {
    python3 tools/layers.py
}

warnings() {
    jobs=$(nproc)
    for compiler in gcc clang; do
        build=build/warnings_$compiler
        if [ ! -f "$build/build.ninja" ]; then
            rm -rf "$build"
            CC=$compiler meson setup "$build" --buildtype=release -Dwerror=true
        fi
        ninja -C "$build" -j "$jobs"
    done
}

format() {
    find include runtime fibermap tools tests benchmarks examples -name '*.[ch]' |
        xargs clang-format --dry-run --Werror
}

for what in "${@:-headers layers warnings test}"; do
    # shellcheck disable=SC2086 # the default is four words
    set -- $what
    for one; do
        case $one in
        headers | layers | warnings | format) "$one" ;;
        test) tools/test ;;
        *)
            echo "check: no check $one (headers layers warnings test format)" >&2
            exit 2
            ;;
        esac
    done
done
