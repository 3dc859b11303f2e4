#!/bin/sh
# shown.sh PAGE EXAMPLE: the program that a page shows (its ```c block) is the example, to the letter.
set -eu
shown=$(sed -n '/^```c$/,/^```$/p' "$1" | sed '1d;$d')
[ "$shown" = "$(cat "$2")" ] || { echo "the program in $1 is not $2" >&2; exit 1; }
