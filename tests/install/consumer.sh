#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# consumer.sh BUILD_FOLDER PREFIX LIBDIR - what is installed can be used
#
# Installs into an empty folder and builds one program against it with nothing but pkg-config: as
# C11 and as C++17, with the shared library and with -static, and runs all four. A fifth loads the
# shared library with dlopen, which a thread-local that is too large would forbid. The last two are
# tests under the other library, fibermap-explore.
set -eu

build=$1
libdir=$2/$3
here=$(cd "$(dirname "$0")" && pwd)
dest=$(mktemp -d)
trap 'rm -rf "$dest"' EXIT

DESTDIR=$dest meson install -C "$build" --no-rebuild --quiet

for header in "$here"/../../include/fm/*.h; do
    if [ ! -f "$dest$2/include/fm/${header##*/}" ]; then
        echo "${header##*/} is not installed: add it to include_headers in meson.build" >&2
        exit 1
    fi
done

export PKG_CONFIG_SYSROOT_DIR="$dest" PKG_CONFIG_PATH="$dest$libdir/pkgconfig"
export LD_LIBRARY_PATH="$dest$libdir"

flags=$(pkg-config --cflags --libs fibermap)
static_flags=$(pkg-config --static --cflags --libs fibermap)
case $flags in *-fstack-clash-protection*) ;; *)
    echo "fibermap.pc does not ask for -fstack-clash-protection: $flags" >&2
    exit 1
    ;;
esac

# shellcheck disable=SC2086 # flags are many words
{
    gcc -x c -std=c11 -pedantic -Wall -Wextra -Werror "$here/consumer.c" -x none -o "$dest/c_shared" $flags
    gcc -x c -std=c11 "$here/consumer.c" -x none -static -o "$dest/c_static" $static_flags
    g++ -x c++ -std=c++17 -pedantic -Wall -Wextra -Werror "$here/consumer.c" -x none -o "$dest/cxx_shared" $flags
    g++ -x c++ -std=c++17 "$here/consumer.c" -x none -static -o "$dest/cxx_static" $static_flags
    gcc "$here/loader.c" -o "$dest/loader"
    gcc -std=c11 -pedantic -Wall -Wextra -Werror "$here/explorer.c" -o "$dest/explorer_shared" \
        $(pkg-config --cflags --libs fibermap-explore)
    g++ -x c++ -std=c++17 "$here/explorer.c" -x none -static -o "$dest/explorer_static" \
        $(pkg-config --static --cflags --libs fibermap-explore)
}
for program in c_shared c_static cxx_shared cxx_static explorer_shared explorer_static; do
    "$dest/$program" || {
        echo "$program: exit code $?" >&2
        exit 1
    }
done
"$dest/loader" libfibermap.so.0
