#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Books across registries: a rule that is put before others, and one that is taken away, leave every count
# under the rule it was counted by, at the broker and at its clients.
. "$(dirname "$0")/lib.sh"
export LIMIT_MS=60000 # nothing here is a matter of time

begin() {
    start "$@" && return
    failed "$1 gets ready" "$WORK/$1.err"
    finish
}
home_new || { failed "a home" "$WORK/init.out"; finish; }
for name in reader writer; do
    aico-keytool -q new "$name" 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool -q new boss --role admin 2>"$WORK/new.log" </dev/null || failed boss "$WORK/new.log"
rule() { aico-keytool -q rule "$@" >"$WORK/rule.log" 2>&1 || failed "rule $*" "$WORK/rule.log"; }
rule set 'old/**' --publish writer --subscribe reader --before 'logs/**'
rule set 'stays/**' --publish writer --subscribe reader --before 'logs/**'
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }

# One process at each end over the change, with one book.
mkfifo "$WORK/feed"
begin reader aico-bus --as reader sub 'stays/**' 'old/**' --json --ledger "$WORK/reader.book"
READER=$STARTED
heard() { [ "$(grep -c "\"$1\"" "$WORK/reader.out")" -eq "$2" ]; }
aico-bus --as writer --timeout 60s pub old/x gone --ledger "$WORK/gone.book" </dev/null >"$WORK/gone.out" 2>&1 || failed "one under a rule that will go" "$WORK/gone.out"
until_true 60 heard gone 1 && passed "gone arrives" || failed "gone arrives" "$WORK/reader.err"
timeout 120 aico-bus --as writer --timeout 60s pub stays/special/x --lines --ledger "$WORK/writer.book" <"$WORK/feed" >"$WORK/writer.out" 2>&1 &
WRITER=$!
PIDS+=("$WRITER")
exec 7>"$WORK/feed"
says() { # TEXT TIMES
    for _ in $(seq "$2"); do echo "$1" >&7; done
    until_true 60 heard "$1" "$2" && passed "$1 arrives" || failed "$1 arrives" "$WORK/reader.err" "$WORK/writer.out"
}
books() { aico-bus --as boss --timeout 30s --json ledger "$@" </dev/null; }
version() { aico-bus --as boss --timeout 30s --json status </dev/null; }
in_force() { version | grep -q "\"version\":$1[,}]"; }
# published FILE RULE: what writer has said by topic under it.
published() {
    python3 - "$@" <<'PY'
import json, sys
book = json.load(open(sys.argv[1]))
rows = [row for row in book["rows"] if row["sender"] == "writer" and row["rule"] == sys.argv[2] and row["way"] == "topic"]
print(sum(row["published"] for row in rows))
PY
}
counts() { # NAME FILE RULE HOW-MANY
    local is
    is=$(published "$2" "$3" 2>&1)
    [ "$is" = "$4" ] && passed "$1: $4 under $3" || failed "$1: $is under $3 instead of $4"
}

says before 2
V=$(version | grep -o '"version":[0-9][0-9]*' | head -n 1 | cut -d: -f2)
rule set 'other/**' --publish writer --subscribe reader --before 'old/**'
rule set 'stays/special/**' --publish writer --subscribe reader --before 'stays/**'
rule remove 'old/**'
check "the registry is in force" until_true 30 in_force "$((V + 3))"
says after 3

books >"$WORK/broker.book" 2>"$WORK/books.err" || failed "the broker's books" "$WORK/books.err"
grep -q '"balanced":true' "$WORK/broker.book" && passed "the broker's books balance" || failed "the broker's books balance" "$WORK/broker.book"
counts "the broker" "$WORK/broker.book" 'stays/**' 2
counts "the broker" "$WORK/broker.book" 'stays/special/**' 3
counts "the broker" "$WORK/broker.book" 'old/**' 1
counts "the broker" "$WORK/broker.book" 'other/**' 0

# A message is here and there in its own book under the rule in force there; a registry is not everywhere at once.
exec 7>&-
WAIT_S=60 check "the writer ends" wait_for "$WRITER" 0
kill -TERM "$READER"
WAIT_S=60 check "the reader ends" wait_for "$READER" 143
counts "the writer" "$WORK/writer.book" 'stays/special/**' 3
WITH=(--with "$WORK/reader.book" --with "$WORK/writer.book" --with "$WORK/gone.book")
check "together nothing is unexplained" books "${WITH[@]}"
grep -q '"unexplained":0,' "$WORK/check.out" && passed "0 unexplained" || failed "0 unexplained" "$WORK/check.out"
# What was on its way when the registry changed is under another rule here than there: named, and explained.
cp "$WORK/writer.book" "$WORK/kept.book"
python3 - "$WORK/writer.book" <<'PY'
import json, sys
book = json.load(open(sys.argv[1]))
rows = {row["rule"]: row for row in book["rows"] if row["way"] == "topic"}
rows["stays/**"]["acknowledged"] += 1
rows["stays/special/**"]["acknowledged"] -= 1
json.dump(book, open(sys.argv[1], "w"))
PY
check "one under the other rule is explained" books "${WITH[@]}"
grep -q '"unexplained":0,"moved":1,' "$WORK/check.out" && passed "as one that moved" || failed "as one that moved" "$WORK/check.out"
cp "$WORK/kept.book" "$WORK/writer.book"
python3 - "$WORK/reader.book" <<'PY'
import json, sys
book = json.load(open(sys.argv[1]))
next(row for row in book["rows"] if row["rule"] == "old/**")["received"] -= 1
json.dump(book, open(sys.argv[1], "w"))
PY
check_exit "one too few under a rule that is gone is seen" 1 aico-bus --as boss --timeout 30s ledger "${WITH[@]}"
grep -qF 'old/**' "$WORK/out" && passed "and which rule" || failed "and which rule" "$WORK/out"
finish
