#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails when the documents and the source say different numbers: error codes and exit statuses, record types, delivery
# kinds, control messages, the layout of the store; when docs/threats.md, docs/guards.md or docs/configuration.md names a test
# that is not in its file, or a setting has none; when a link between documents leads nowhere.
set -u
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

# same WHAT DOCUMENT: $work/source against $work/document, one line an entry.
same() {
    if [ ! -s "$work/source" ] || ! diff "$work/source" "$work/document" >"$work/diff"; then
        echo "docs: $1 differ, < is the source, > is $2" >&2
        sed -n '/^[<>]/p' "$work/diff" >&2
        bad=$((bad + 1))
    fi
}

# section FILE "## Title": its lines up to the next one of that rank.
section() { awk -v title="$2" '$0 == title {on = 1; next} /^## / {on = 0} on' "$1"; }

# X(ESYSTEM, 1, "E_SYSTEM", 1, "system error") -> 1 E_SYSTEM system error
tr -d '\\\n' <include/aico/error.h | grep -oE 'X\(E[A-Z0-9]+, *[0-9]+, *"[^"]*", *[0-9]+, *"[^"]*"\)' |
    sed -E 's/^X\([^,]*, *([0-9]+), *"([^"]*)", *[0-9]+, *"([^"]*)"\)$/\1 \2 \3/' >"$work/source"
section docs/protocol.md "## Error codes" |
    sed -nE 's/^\| ([0-9]+) \| ([A-Z_]+) \| (.*) \|$/\1 \2 \3/p' >"$work/document"
same "error codes" docs/protocol.md

# docs/errors.md: every code with the exit status of a program that ends on it.
tr -d '\\\n' <include/aico/error.h | grep -oE 'X\(E[A-Z0-9]+, *[0-9]+, *"[^"]*", *[0-9]+, *"[^"]*"\)' |
    sed -E 's/^X\([^,]*, *[0-9]+, *"([^"]*)", *([0-9]+), .*$/\1 \2/' | sort >"$work/source"
section docs/errors.md "## All codes" | sed -nE 's/^\| ([A-Z_0-9]+) \| ([0-9]+) \| .+ \|$/\1 \2/p' | sort >"$work/document"
comm -23 "$work/source" "$work/document" >"$work/missing"
if [ -s "$work/missing" ]; then
    echo "docs: without a row of their own in docs/errors.md:" >&2
    cat "$work/missing" >&2
    bad=$((bad + 1))
fi
if [ ! -s "$work/document" ] || comm -13 "$work/source" "$work/document" | grep .; then
    echo "docs: the rows above of docs/errors.md have no such code, or another exit status, in the source" >&2
    bad=$((bad + 1))
fi
section docs/errors.md "## What people ask" | sed -nE 's/^\| [^|]* \| ([A-Z_]+) \| ([0-9]+)[^|]* \|.*/\1 \2/p' | sort >"$work/asked"
if [ "$(wc -l <"$work/asked")" -lt 15 ] || comm -13 "$work/source" "$work/asked" | grep .; then
    echo "docs: the rows above of docs/errors.md, What people ask, have another exit status in the source" >&2
    bad=$((bad + 1))
fi

# enum_of FILE PREFIX: "number NAME" of each PREFIX_NAME = number.
enum_of() { sed -nE "s/^    $2_([A-Z_]+) = ([0-9]+),.*/\2 \1/p" "$1"; }

enum_of bus/wire/record.h RECORD >"$work/source"
section docs/protocol.md "## Record types" | sed -nE 's/^\| ([0-9]+) \| ([A-Z]+) \|.*/\1 \2/p' >"$work/document"
same "record types" docs/protocol.md
section docs/protocol-broker.md "## Records" | sed -nE 's/^\| ([0-9]+) \| ([A-Z]+) \|.*/\1 \2/p' >"$work/document"
same "record types" docs/protocol-broker.md

enum_of bus/wire/record.h DELIVERY | tr 'A-Z' 'a-z' >"$work/source"
section docs/protocol-broker.md "## Fixed numbers" |
    sed -nE 's/^\| ([a-z]+) \| ([0-6]) \|.*/\2 \1/p' >"$work/document"
same "delivery kinds" docs/protocol-broker.md

enum_of bus/session/control.h CONTROL >"$work/source"
section docs/protocol.md "## 6 Channel" | sed -nE 's/^\| ([0-9]+) \| ([A-Z_]+) \|.*/\1 \2/p' >"$work/document"
same "control messages" docs/protocol.md

# The command that repairs a store makes one of the layout that the broker knows.
sed -nE 's/^#define LAYOUT ([0-9]+)$/\1/p' bus/store/streams_db.c >"$work/source"
sed -nE 's/.*PRAGMA user_version=([0-9]+);.*/\1/p' docs/streams.md >"$work/document"
same "layouts of the message store" docs/streams.md

# docs/threats.md: | row | attack | promise | `test`, "check" | file, file | not prevented |
grep -E '^\| [A-Z]?[0-9]+ \|' docs/threats.md >"$work/rows"
seq 1 72 >"$work/source"
sed -nE 's/^\| ([0-9]+) \|.*/\1/p' "$work/rows" | sort -nu >"$work/document"
same "rows of threats" docs/threats.md
while IFS='|' read -r _ row _ _ tests files _; do
    case $tests in " none: "*) continue ;; esac
    for file in $(echo "$files" | tr -d '`,'); do
        [ -f "$file" ] || { echo "docs: threats row $row: no file $file" >&2 && bad=$((bad + 1)); }
    done
    grep -oE '`[^`]+`|"[^"]+"' <<<"$tests" >"$work/tests" ||
        { echo "docs: threats row $row names no test" >&2 && bad=$((bad + 1)); }
    while read -r test; do
        # shellcheck disable=SC2046
        grep -qwF -- "${test:1:-1}" $(echo "$files" | tr -d '`,') /dev/null ||
            { echo "docs: threats row $row: no test $test in$files" >&2 && bad=$((bad + 1)); }
    done <"$work/tests"
done <"$work/rows"

# docs/guards.md: | trap | guard | where | test, test | file, file | ...
while IFS='|' read -r _ trap _ where tests files _; do
    for file in $(echo "$where $files" | tr -d '`,'); do
        [ -f "$file" ] || { echo "docs: guards,$trap: no file $file" >&2 && bad=$((bad + 1)); }
    done
    for test in $(echo "$tests" | tr -d '`,'); do
        # shellcheck disable=SC2046
        grep -qwE "$test" $(echo "$files" | tr -d '`,') /dev/null ||
            { echo "docs: guards,$trap: no test $test in$files" >&2 && bad=$((bad + 1)); }
    done
done < <(grep -E '^\| .*`tests/' docs/guards.md)

# docs/configuration.md: | `key` | FILE:test FILE:test |, files below tests/. A test is named where it
# is written and where it is run.
while IFS='|' read -r _ key tests _; do
    [ -n "${tests// /}" ] || { echo "docs: no test shows the setting$key" >&2 && bad=$((bad + 1)); }
    for test in $tests; do
        [ "$(grep -cw -- "${test#*:}" "tests/${test%%:*}" 2>/dev/null)" -ge 2 ] 2>/dev/null ||
            { echo "docs: the setting$key is shown by $test, which is not there" >&2 && bad=$((bad + 1)); }
    done
done < <(section docs/configuration.md "## The tests" | grep '^| .*`')

while IFS=: read -r file link; do
    target=$(dirname "$file")/${link%%#*}
    [ -e "$target" ] || { echo "docs: $file links to $link, which is not there" >&2 && bad=$((bad + 1)); }
done < <(grep -noE '\]\([^)#: ]+(#[^)]*)?\)' ./*.md docs/*.md docs/decisions/*.md bus/*.md |
    sed -E 's/:[0-9]+:\]\(/:/; s/\)$//')

[ "$bad" -eq 0 ] || exit 1
echo "docs: numbers, tests and links are those of the source"
