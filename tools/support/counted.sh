#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# counted.sh PROGRAM [ARGUMENT...] - run a program that counts which lines and branches run
#
# tools/check.sh coverage puts it before each test; the counts go to the folder $COUNTS. Each program
# has files of its own there: two that were linked of the same rooms in another order have the same
# signature (%m), and whoever came second to the file of such a pair counted nothing.
set -eu

LLVM_PROFILE_FILE=$COUNTS/$(basename "$1")-%m%c.profraw exec "$@"
