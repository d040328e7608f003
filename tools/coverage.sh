#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How much of bus/ the tests run: tools/coverage.sh [--layers | CTEST-OPTIONS...] builds with gcov's counters, runs
# the suite, and prints lines and branches by file, the least covered last (tools/lib/coverage.py says what counts).
# Fails below what CONTRIBUTING.md promises. A process that SIGKILL ends takes its counters with it.
#
#   --layers   what CI does: only the tests of the layers, their corpora and tests/integration, at the small
#              scale and without those that repeat one thing very often. No program is built or run, so
#              that reload and sockets handed over count as not run; its floor is lower.
set -eu
cd "$(dirname "$0")/.."
. tools/lib/packages.sh
packages_install "${PACKAGES_BUILD[@]}" "${PACKAGES_TEST[@]}"

dir=${BUILD_DIR:-build}/coverage
targets=(all)
floor=(90 80) # per cent of lines, of branches
if [ "${1-}" = --layers ]; then
    targets=(layer_tests integration_tests)
    floor=(91 79)
    layers=$(cd bus && printf '%s|' */)
    set -- -R "^(unit/(${layers//\//}-)|fuzz|integration)/" \
        -E 'test_(peers_attacks|erase|erase_peers|timing|power|secrets)$'
    export AICO_TEST_SCALE=small
fi

cmake -S . -B "$dir" -G Ninja -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Debug -DAICO_COVERAGE=ON
ninja -C "$dir" "${targets[@]}"
find "$dir" -name '*.gcda' -delete
ctest --test-dir "$dir" -j "$(nproc)" "$@" || echo "some tests failed: the figures are those of the rest"
python3 tools/lib/coverage.py "$dir" "${floor[@]}"
