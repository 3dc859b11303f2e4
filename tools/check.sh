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
#   analyse   gcc -fanalyzer, clang-tidy and cppcheck over the library; what is none of a fault
#             stands with its reason in tools/support/analysed.txt, and in .clang-tidy
#   memcheck  chosen programs under Valgrind's memcheck, with few rounds, each line of
#             tools/support/memcheck.txt: no error, nothing lost, nothing suppressed
#   strict    the stress programs, with a tenth of their rounds, and the unit tests of sync under
#             ThreadSanitizer in strict mode (runtime/platform/sanitizer.h): a switch of fibers
#             orders nothing, so that two that never leave one worker are seen to race too
#   coverage  which lines and branches of the library the unit and stress tests run, with few rounds,
#             in a build that counts them, file by file: at least 95 of 100 lines and 85 of 100 branches
#             (tools/support/coverage.py --missing build/coverage FILE... shows the others). Not counted
#             is the side of FM_ASSERT and FM_BUG_IF on which the program stops
#   aarch64   builds for aarch64 and runs the unit tests and, with few rounds, the stress programs there,
#             under qemu-user: an hour (tools/support/aarch64.sh NAME... for some); what qemu cannot do
#             stands with its reason in tools/support/aarch64.txt
#   fuzz      libFuzzer on tests/fuzz/map for FUZZ_SECONDS (60), from the kept inputs on; what
#             fails is left in build/fuzz/found, what reaches more code in build/fuzz/corpus
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

analyse() {
    tools/need check
    tools/support/analyse.py
}

memcheck() {
    tools/support/memcheck.sh
}

strict() {
    tools/need core tests
    build=build/strict
    if [ ! -f $build/build.ninja ]; then
        rm -rf $build
        cache=
        command -v ccache >/dev/null && cache='ccache '
        CC=${cache}clang meson setup $build -Dtests=enabled -Dserver=disabled -Dbatch=disabled \
            -Dexamples=disabled -Db_sanitize=thread -Db_lundef=false -Dstrict_tsan=true \
            -Dwerror=true -Dc_args=-g1
    fi
    ninja -C $build -j "$(nproc)"
    # not the explored ones: under the arbiter, and so instrumented, few schedules fit in
    names=$(meson test -C $build --list --suite stress |
        sed -n '/explored/d; s/.* \(stress_[a-z0-9_]*\)$/\1/p')
    names="same_worker $names $(sed -n "s/^unit_tests += {'\([a-z_]*\)'.*/\1/p" \
        tests/runtime/sync/meson.build)"
    # shellcheck disable=SC2086 # a word for each test
    FM_FEWER=${FM_FEWER:-10} meson test -C $build --no-rebuild \
        --num-processes $(($(nproc) + 1)) $names
}

coverage() {
    tools/need core tests
    build=build/coverage
    if [ ! -f $build/build.ninja ]; then
        rm -rf $build
        CC=clang meson setup $build -Dcoverage=true -Dtests=enabled -Dserver=disabled \
            -Dbatch=disabled -Dbenchmarks=disabled -Dexamples=disabled -Db_lundef=false \
            -Doptimization=0
    fi
    ninja -C $build -j "$(nproc)"
    rm -rf $build/counts
    passed=true
    # Which lines run does not need so many rounds; to count is slow, most of all for many processes.
    COUNTS=$root/$build/counts FM_FEWER=${FM_FEWER:-100} meson test -C $build --no-rebuild \
        --suite unit --suite stress --wrapper "$root/tools/support/counted.sh" \
        --timeout-multiplier 6 --num-processes "$(nproc)" || passed=false
    if grep -q 'Unable to merge profile data' $build/meson-logs/testlog-counted.sh.txt; then
        echo "check: two programs wanted one file for their counts, what the second ran is lost" >&2
        passed=false
    fi
    tools/support/coverage.py $build
    $passed
}

aarch64() {
    tools/support/aarch64.sh
}

fuzz() {
    build=build/fuzz
    if [ ! -f $build/build.ninja ]; then
        rm -rf $build
        CC=clang meson setup $build -Dtests=enabled -Dfuzz=true -Db_lundef=false -Dwerror=true \
            -Db_sanitize=address,undefined -Doptimization=1
    fi
    ninja -C $build -j "$(nproc)" tests/fuzz/map/fuzz_map
    mkdir -p $build/found $build/corpus
    python3 -c 'import sys
for number, line in enumerate(open(sys.argv[1])):
    if not line.startswith("#"):
        open(f"{sys.argv[2]}/kept-{number}", "wb").write(bytes.fromhex(line))
' tests/fuzz/map/corpus.txt $build/corpus
    ASAN_OPTIONS=detect_stack_use_after_return=1:handle_segv=0 \
        UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        $build/tests/fuzz/map/fuzz_map $build/corpus -max_total_time="${FUZZ_SECONDS:-60}" \
        -max_len=200 -len_control=0 -timeout=60 -rss_limit_mb=4096 -verbosity=0 \
        -print_final_stats=1 -artifact_prefix=$build/found/
}

for what in "${@:-headers layers warnings test}"; do
    # shellcheck disable=SC2086 # the default is four words
    set -- $what
    for one; do
        case $one in
        headers | layers | warnings | format | analyse | memcheck | strict | coverage | aarch64 | fuzz) "$one" ;;
        test) tools/test ;;
        *)
            echo "check: no check $one (headers layers warnings test format analyse memcheck" \
                "strict coverage aarch64 fuzz)" >&2
            exit 2
            ;;
        esac
    done
done
