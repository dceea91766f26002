#!/usr/bin/env bash
# Runs fuzz targets, FUZZTIME each and JOBS at once: those named as
# PACKAGE:TARGET, or every one of the tree.
set -euo pipefail
export GO=${GO:-go} FUZZTIME=${FUZZTIME:-30s}
cd "$(dirname "$0")/.."
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  while IFS=: read -r file target; do
    targets+=("$(dirname "$file"):$target")
  done < <(grep -roE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | sed 's/func //' | sort)
fi
# The end of FUZZTIME can fail a target by itself before Go 1.27: the
# coordinator takes its own deadline for an error (golang.org/issue/75804).
# A real failure prints an input, a panic or a hung process besides.
only_the_deadline() {
  grep -q '^    context deadline exceeded$' "$1" &&
    ! grep -qE 'Failing input written|panic:|hung or terminated|_test\.go:[0-9]+:' "$1"
}
one() {
  local package=${1%%:*} target=${1##*:} log note=
  log=$(mktemp)
  # Without a bound, making one interesting input smaller takes up to a minute,
  # and the target tries no new input meanwhile.
  if ! "$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 1s -parallel "$PARALLEL" "./${package#./}" >"$log" 2>&1; then
    if ! only_the_deadline "$log"; then
      echo "FAIL $1"
      cat "$log"
      return 1
    fi
    note=" (ended by its deadline)"
  fi
  echo "ok   $1 $(grep -oE 'execs: [0-9]+' "$log" | tail -1)$note"
  rm -f "$log"
}
export -f only_the_deadline
export -f one
JOBS=${JOBS:-1}
export PARALLEL=$(( $(nproc) / JOBS > 0 ? $(nproc) / JOBS : 1 ))
printf '%s\n' "${targets[@]}" | xargs -P "$JOBS" -I{} bash -c 'one {}'
