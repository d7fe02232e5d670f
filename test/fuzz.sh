#!/usr/bin/env bash
# Runs every fuzz target for the given number of inputs, e.g. 20000x. A number
# and not a time: go test reports the end of the time as a failure now and then.
set -euo pipefail
for dir in $(grep -rlE '^func Fuzz' --include=*_test.go caddymfa | xargs -n1 dirname | sort -u); do
	for target in $(grep -rhoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/func //'); do
		go test "./$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$1"
	done
done
