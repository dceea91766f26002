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
one() {
  local package=${1%%:*} target=${1##*:} log
  log=$(mktemp)
  if "$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -parallel "$PARALLEL" "./${package#./}" >"$log" 2>&1; then
    echo "ok   $1 $(grep -oE 'execs: [0-9]+' "$log" | tail -1)"
    rm -f "$log"
  else
    echo "FAIL $1"
    cat "$log"
    return 1
  fi
}
export -f one
JOBS=${JOBS:-1}
export PARALLEL=$(( $(nproc) / JOBS > 0 ? $(nproc) / JOBS : 1 ))
printf '%s\n' "${targets[@]}" | xargs -P "$JOBS" -I{} bash -c 'one {}'
