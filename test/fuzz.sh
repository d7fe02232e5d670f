#!/usr/bin/env bash
# Runs every fuzz target for the given time.
set -euo pipefail
for dir in $(grep -rlE '^func Fuzz' --include=*_test.go caddymfa | xargs -n1 dirname | sort -u); do
	for target in $(grep -rhoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/func //'); do
		go test "./$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$1"
	done
done
