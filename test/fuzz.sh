#!/usr/bin/env bash
# Runs every fuzz target of the tree, one after the other, FUZZTIME each.
set -euo pipefail
GO=${GO:-go} FUZZTIME=${FUZZTIME:-30s}
cd "$(dirname "$0")/.."
grep -rlE '^func Fuzz' --include='*_test.go' . | sort | while read -r file; do
  grep -oE '^func Fuzz[A-Za-z0-9_]+' "$file" | sed 's/^func //' | while read -r target; do
    echo "== $(dirname "$file") $target"
    "$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" "./$(dirname "$file")"
  done
done
