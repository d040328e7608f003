#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The books of what is stored: durable readers that come later, leave in the middle and are given
# messages again, readers that begin anew, and mailboxes, held against the broker's.
. "$(dirname "$0")/lib.sh"
export LIMIT_MS=90000 # nothing here is a matter of time

home_new || { failed "a home" "$WORK/init.out"; finish; }
for name in a b; do
    aico-keytool -q new "$name" 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool -q new boss --role admin 2>"$WORK/new.log" </dev/null || failed boss "$WORK/new.log"
rule() { aico-keytool -q rule set "$@" --before 'logs/**' || failed "a rule for $1"; }
rule 's/**' --publish cli --subscribe a,b --store age=7d --history
rule 'mail/**' --publish cli --subscribe a,b --seal ratchet
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }
for name in a b; do # their keys are there from now on
    start once aico-bus --as "$name" sub '**' || failed "$name was there" "$WORK/once.err"
    kill -TERM "$STARTED"
    wait "$STARTED"
done

WITH=()
# run BOOK NAME ARG...: aico-bus --as NAME, which leaves $WORK/BOOK.book.
run() {
    local book=$1 name=$2
    shift 2
    WITH+=(--with "$WORK/$book.book")
    timeout 90 aico-bus --as "$name" --json --timeout 60s "$@" --ledger "$WORK/$book.book" >"$WORK/$book.out" 2>"$WORK/$book.err" </dev/null
}
books() { aico-bus --as boss --timeout 60s --json ledger "$@" </dev/null; }
compared() {
    check "$1: nothing is unexplained" books "${WITH[@]}"
    grep -q '"unexplained":0,' "$WORK/check.out" || failed "$1: 0 unexplained" "$WORK/check.out"
}
sum() { python3 -c 'import json, sys; print(sum(row[sys.argv[2]] for row in json.load(open(sys.argv[1]))["rows"]))' "$WORK/$1.book" "$2"; }

run said cli pub s/x hello --count 30 --ack stored || failed "30 messages are stored" "$WORK/said.err"
compared "before anybody read"
run first a sub 's/**' --durable d --since all --count 4 --for 60s || failed "a reader takes 4" "$WORK/first.err"
compared "a reader that left in the middle"
run rest a sub 's/**' --durable d --count 26 --for 60s || failed "it takes the rest" "$WORK/rest.err"
compared "and came back"
[ "$(sum rest received)" -ge 26 ] && passed "what was stored before it came is in its books" || failed "it is in its books" "$WORK/rest.book"
for n in 1 2; do
    run "replay$n" b sub 's/**' --since all --count 30 --for 60s || failed "a replay" "$WORK/replay$n.err"
done
compared "everything twice, without a name"

run mailed cli pub mail/x hello --count 5 --to a --ack stored || failed "5 messages lie in a mailbox" "$WORK/mailed.err"
compared "a mailbox whose owner is away"
run fetched a sub 'mail/**' --count 5 --for 60s || failed "its owner fetches them" "$WORK/fetched.err"
compared "and comes"
[ "$(sum fetched received)" -eq 5 ] && passed "they are in its books" || failed "they are in its books" "$WORK/fetched.book"

# A message less in one book, and it shows.
for book in said fetched; do
    cp "$WORK/$book.book" "$WORK/kept"
    python3 - "$WORK/$book.book" <<'PY'
import json, sys
book = json.load(open(sys.argv[1]))
row = next(row for row in book["rows"] if row["received"] or row["acknowledged"])
row["received" if row["received"] else "acknowledged"] -= 1
json.dump(book, open(sys.argv[1], "w"))
PY
    check_exit "one too few in the book $book is seen" 1 aico-bus --as boss --timeout 60s ledger "${WITH[@]}"
    cp "$WORK/kept" "$WORK/$book.book"
done
finish
