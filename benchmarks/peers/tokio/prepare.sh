#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# prepare - Debian's tokio-util beside us, with a JoinMap that its tokio can build
#
# Debian 12 pairs tokio-util 0.7.3 with tokio 1.24, in which join_one has become join_next; the
# JoinMap of 0.7.3 builds again, and is called like later ones, under that name. Later pairs
# have no such line and are copied as they are.
set -eu

[ -d tokio-util ] && exit 0
for crate in /usr/share/cargo/registry/tokio-util-0.7.*; do
    cp -r "$crate" tokio-util.new
done
sed -i 's/join_one/join_next/g' tokio-util.new/src/task/join_map.rs
mv tokio-util.new tokio-util
