#!/bin/sh
# readme.sh README EXAMPLE: the program that README shows is the example, to the letter.
set -eu
shown=$(sed -n '/^```c$/,/^```$/p' "$1" | sed '1d;$d')
[ "$shown" = "$(cat "$2")" ] || { echo "the program in $1 is not $2" >&2; exit 1; }
