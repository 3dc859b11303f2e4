// SPDX-License-Identifier: Apache-2.0

//! jemalloc takes malloc's place, as in our own programs; not in the macros that run in rustc.

fn main() {
    println!("cargo:rustc-link-arg-bins=-Wl,--no-as-needed");
    println!("cargo:rustc-link-arg-bins=-ljemalloc");
}
