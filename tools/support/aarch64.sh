#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# aarch64.sh [TEST...] - build for aarch64 and run the unit and stress tests there, under qemu-user
#
# The compiler and qemu are the system's (tools/need cross). Everything else of aarch64 is Debian's,
# fetched by apt and unpacked below build/aarch64.root: nothing of it is installed. Criterion starts
# its own program again, so the kernel must know what to run that with: it is told in a namespace of
# this run alone (unshare; Linux 6.7 or later unless root).
#
# No TEST means all. What qemu cannot do is listed with its reason in aarch64.txt; aarch64.py plays the
# rest, and what is listed too: it must fail. Rounds are few, qemu is slow: FM_FEWER (100). qemu 7.2 is
# too old, a child that was forked there cannot start a thread.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
tools/need core cross
system=$root/build/aarch64.root
fetched=$root/build/aarch64.packages

# apt with nothing of the machine's own: lists, status and cache are in a folder of ours
fetch() {
    mkdir -p "$fetched/lists/partial" "$fetched/archives/partial"
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    echo "deb [arch=arm64] http://deb.debian.org/debian $release main" >"$fetched/sources.list"
    : >"$fetched/status"
    for words in update '-y --no-install-recommends --download-only install
            libc6-dev libboost-context-dev libcriterion-dev'; do
        # shellcheck disable=SC2086 # words
        apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 \
            -o Dir::Etc::SourceList="$fetched/sources.list" -o Dir::Etc::SourceParts=- \
            -o Dir::State::Lists="$fetched/lists" -o Dir::State::status="$fetched/status" \
            -o Dir::Cache::archives="$fetched/archives" -o Dir::Cache::pkgcache= \
            -o Dir::Cache::srcpkgcache= -o Acquire::Retries=3 $words
    done
    rm -rf "$system"
    for package in "$fetched"/archives/*.deb; do
        dpkg-deb -x "$package" "$system.new"
    done
    mv "$system.new" "$system"
}

[ -d "$system" ] || fetch
build=build/aarch64
if [ ! -f $build/build.ninja ]; then
    rm -rf $build
    cache=
    command -v ccache >/dev/null && cache="'ccache', "
    cat >build/aarch64.ini <<END
[binaries]
c = [$cache'aarch64-linux-gnu-gcc', '--sysroot=$system']
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64', '-L', '$system']
[properties]
sys_root = '$system'
pkg_config_libdir = '$system/usr/lib/aarch64-linux-gnu/pkgconfig'
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
END
    meson setup $build --cross-file build/aarch64.ini -Dtests=enabled -Dwerror=true \
        -Dbenchmarks=disabled -Dexamples=disabled -Dserver=disabled -Dbatch=disabled \
        -Djemalloc=disabled -Dvalgrind=disabled
fi

ninja -C $build -j "$(nproc)"
# shellcheck disable=SC2016 # the inner shell expands
FM_FEWER=${FM_FEWER:-100} QEMU_LD_PREFIX=$system unshare -Urm sh -euc '
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    head=:aarch64:M::"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00":
    mask="\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff":
    printf "%s" "$head$mask$(command -v qemu-aarch64):F" >/proc/sys/fs/binfmt_misc/register
    exec tools/support/aarch64.py "$@"' sh $build tools/support/aarch64.txt "$@"
