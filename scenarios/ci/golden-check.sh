#!/bin/sh
# A step for any CI system: runs what the golden files of a folder name, and leaves golden.xml (JUnit) and golden.md (for the
# merge request) of every check that is made. Its exit code is that of the check: 0 all agree, 1 something differs, 2 something
# cannot be checked, or no check could be made; then there are no reports.
#
#   golden-check.sh [FOLDER] [further arguments of `numashock golden check`, such as --controller new-limits.toml]
#
# NUMASHOCK names the command; without it, it is built from the sources that this lies in.
set -eu

folder=${1:-golden}
[ $# -eq 0 ] || shift

# A report of an earlier run must not be taken for this one's.
rm -f golden.xml golden.md

if [ -z "${NUMASHOCK:-}" ]; then
  sources=$(cd "$(dirname "$0")/../.." && pwd)
  cargo build --locked --release --manifest-path "$sources/Cargo.toml" --package numashock --bin numashock || exit 2
  NUMASHOCK=${CARGO_TARGET_DIR:-$sources/target}/release/numashock
fi

code=0
"$NUMASHOCK" golden check "$folder" --junit golden.xml --markdown golden.md "$@" || code=$?
[ "$code" -le 2 ] || code=2
exit "$code"
