#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How much of bus/ the suite runs: tools/coverage.sh [CTEST-OPTIONS...] builds with gcov's counters, runs the
# tests, and prints lines and branches by file, the least covered last.
# Branches that only allocation failure takes count as well. Not counted, and nothing else: the branches inside
# the macros of uthash and utlist (buckets, growing, walking), which gcov sees once more at each place that uses
# one, although they are that library's and not ours. Their lines count.
set -eu
cd "$(dirname "$0")/.."
. tools/lib/packages.sh
packages_install "${PACKAGES_BUILD[@]}" "${PACKAGES_TEST[@]}" gcovr

cmake --preset coverage
ninja -C build/coverage
find build/coverage -name '*.gcda' -delete
ctest --test-dir build/coverage -j "$(nproc)" "$@" || echo "some tests failed: the figures are those of the rest"
mkdir -p build/coverage/report
library_macros='^\s*(HASH_(ADD|FIND|DEL|DELETE|ITER|REPLACE|SRT|CLEAR)\w*|(DL|LL|CDL)_\w+)\('
gcovr --root . --filter bus/ --exclude-throw-branches --exclude-branches-by-pattern "$library_macros" --json-summary build/coverage/report/summary.json \
    --html-details build/coverage/report/index.html build/coverage/bus >/dev/null
python3 - build/coverage/report/summary.json <<'PY'
import json, sys
s = json.load(open(sys.argv[1]))
for f in sorted(s["files"], key=lambda f: -f["line_percent"]):
    print("%-44s lines %5.1f %% of %5d   branches %5.1f %% of %5d" % (f["filename"], f["line_percent"], f["line_total"], f["branch_percent"] or 100, f["branch_total"]))
print("bus/: lines %.1f %% of %d, branches %.1f %% of %d; build/coverage/report/index.html shows which not" % (s["line_percent"], s["line_total"], s["branch_percent"], s["branch_total"]))
PY
