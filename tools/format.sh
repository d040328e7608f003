#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/format.sh [--check]: lays out all C files by .clang-format, or only says which differ.
set -eu
cd "$(dirname "$0")/.."
mapfile -t files < <(git ls-files '*.c' '*.h')
case ${1-} in
--check) clang-format --dry-run --Werror "${files[@]}" && echo "format: ${#files[@]} files as they should be" ;;
"") clang-format -i "${files[@]}" ;;
*)
    echo "usage: tools/format.sh [--check]" >&2
    exit 2
    ;;
esac
