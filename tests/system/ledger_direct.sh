#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The books of what goes straight to one component: messages, the copies of a topic sealed by channel,
# requests and their answers; with causes for what was lost, over deaths of a receiver and of the broker.
. "$(dirname "$0")/lib.sh"
export LIMIT_MS=60000 # nothing here is a matter of time

home_new || { failed "a home" "$WORK/init.out"; finish; }
for name in a away doomed asker server mute; do
    aico-keytool -q new "$name" 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool -q new boss --role admin 2>"$WORK/new.log" </dev/null || failed boss "$WORK/new.log"
rule() { aico-keytool -q rule set "$@" --before 'logs/**' || failed "a rule for $1"; }
rule 'd/**' --publish cli --subscribe a,away,doomed
rule 'c/**' --publish cli --subscribe a --seal channel
rule 'ask/**' --publish asker --subscribe server,mute
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }

WITH=()
# run STATUS BOOK NAME ARG...: aico-bus --as NAME, which ends with STATUS and leaves $WORK/BOOK.book.
run() {
    local want=$1 book=$2 name=$3 status
    shift 3
    WITH+=(--with "$WORK/$book.book")
    timeout 90 aico-bus --as "$name" --timeout 60s "$@" --ledger "$WORK/$book.book" >"$WORK/$book.out" 2>"$WORK/$book.err" </dev/null
    status=$?
    [ "$status" -eq "$want" ] || failed "$book: exit $status instead of $want" "$WORK/$book.err"
}
# serve BOOK NAME ARG...: the same, in the background; its id is in $STARTED.
serve() {
    WITH+=(--with "$WORK/$1.book")
    start "$1" aico-bus --as "$2" "${@:3}" --ledger "$WORK/$1.book" || { failed "$1 gets ready" "$WORK/$1.err"; finish; }
}
books() { aico-bus --as boss --timeout 60s --json ledger "$@" </dev/null; }
compared() {
    check "$1: nothing is unexplained" books "${WITH[@]}"
    grep -q '"unexplained":0,' "$WORK/check.out" || failed "$1: 0 unexplained" "$WORK/check.out"
}
# row FILE SENDER WAY PEER MEMBER[/CAUSE]: what the rows of a book or of the broker's ledger have there.
cat >"$WORK/row.py" <<'PY'
import json, sys
path, sender, way, peer, member = sys.argv[1:]
member, _, cause = member.partition("/")
found = 0
for row in json.load(open(path))["rows"]:
    if (row["sender"], row["way"], row.get("reader", row.get("receiver"))) == (sender, way, peer):
        value = row.get(member, {} if cause else 0)
        found += value.get(cause, 0) if cause else value
print(found)
PY
row() { python3 "$WORK/row.py" "$@"; }
of_broker() {
    books >"$WORK/broker.json"
    row "$WORK/broker.json" "$@"
}
broker_has() { local count=$1; shift; [ "$(of_broker "$@")" -ge "$count" ]; }
has_lines() { [ "$(wc -l <"$WORK/$1.out")" -ge "$2" ]; }

# --- messages -----------------------------------------------------------------------------------------
serve a a sub 'd/**' 'c/**' --json
A=$STARTED
run 0 said cli pub d/x hello --to a --count 20
run 8 refused cli pub d/x hello --to away
run 0 copies cli pub c/x hello --count 5
until_true 60 has_lines a 25 && passed "what was said came" || failed "what was said came" "$WORK/a.out" "$WORK/a.err"
check "they are in the broker's rows" broker_has 25 cli direct a delivered
check "who is away is named" [ "$(row "$WORK/refused.book" cli direct away refused/E_PEER_AWAY)" -eq 1 ]
check "by the broker, too: there is no channel" broker_has 1 cli control '' refused_for/E_PEER_AWAY

# --- requests -----------------------------------------------------------------------------------------
serve server server reply 'ask/**' --echo --count 3
SERVER=$STARTED
for n in 1 2 3; do
    run 0 asked$n asker request ask/x "question $n"
done
check "three are answered" wait_for "$SERVER" 0
run 8 nobody asker request ask/x "to nobody"
check "an answered one is in both books" [ "$(row "$WORK/asked1.book" asker request server answered)/$(row "$WORK/asked1.book" server reply asker received)" = 1/1 ]
check "nobody to ask is named" [ "$(row "$WORK/nobody.book" asker request '' refused/E_NO_RESPONDER)" -eq 1 ]
check "by the broker, too" broker_has 1 asker request '' unanswered/E_NO_RESPONDER
kill -TERM "$A"
wait_for "$A" 143 || failed "the reader ends"
compared "messages, copies and requests"
grep -q '"unseen":0' "$WORK/check.out" && passed "all books are there" || failed "all books are there" "$WORK/check.out"

# --- deaths of receivers ------------------------------------------------------------------------------
start mute aico-bus --as mute reply 'ask/**' --exec "echo \$\$ >>$WORK/sleepers; exec sleep 1000" --timeout 100s || failed "one that does not answer" "$WORK/mute.err"
MUTE=$STARTED
run 7 late asker request ask/x "too late" --timeout 2s
check "no answer in time is named" [ "$(row "$WORK/late.book" asker request mute refused/E_TIMEOUT)" -eq 1 ]
until_true 60 broker_has 1 asker request mute unanswered/E_TIMEOUT && passed "by the broker, too" || failed "by the broker, too" "$WORK/broker.json"
timeout 90 aico-bus --as asker --timeout 60s request ask/x "dies" --ledger "$WORK/died.book" >"$WORK/died.out" 2>&1 &
DIED=$!
PIDS+=("$DIED")
WITH+=(--with "$WORK/died.book")
until_true 60 broker_has 1 asker request mute open || failed "a request is open" "$WORK/broker.json"
kill -KILL "$MUTE"
{ wait "$MUTE"; } 2>/dev/null
read -r sleeper <"$WORK/sleepers" && PIDS+=("$sleeper")
check "the asker hears of a killed responder" wait_for "$DIED" 8
check "which is named" broker_has 1 asker request mute unanswered/E_PEER_AWAY
start doomed aico-bus --as doomed sub 'd/**' || failed "a reader" "$WORK/doomed.err"
run 0 killed cli pub d/x hello --to doomed --count 3
kill -KILL "$STARTED"
{ wait "$STARTED"; } 2>/dev/null
compared "receivers that were killed"
grep -q '"unseen":[1-9]' "$WORK/check.out" && passed "they have no books" || failed "they have no books" "$WORK/check.out"
check "and the broker's balance" aico-bus --as boss --timeout 60s ledger
grep -q 'refused E_PEER_AWAY 1' "$WORK/check.out" && passed "as a table, causes" || failed "as a table, causes" "$WORK/check.out"

# One less in one book, and it shows.
cp "$WORK/a.book" "$WORK/a.whole"
less() {
    python3 - "$WORK/$1.book" "$2" "$3" <<'PY'
import json, sys
book = json.load(open(sys.argv[1]))
next(row for row in book["rows"] if row["way"] == sys.argv[2] and row[sys.argv[3]])[sys.argv[3]] -= 1
json.dump(book, open(sys.argv[1], "w"))
PY
}
less a direct received
check_exit "one direct message too few is seen" 1 aico-bus --as boss --timeout 30s ledger "${WITH[@]}"
mv "$WORK/a.whole" "$WORK/a.book"
less asked2 request acknowledged
check_exit "one request too few, too" 1 aico-bus --as boss --timeout 30s ledger "${WITH[@]}"

# --- death of the broker ------------------------------------------------------------------------------
kill -KILL "$BROKER_PID"
{ wait "$BROKER_PID"; } 2>/dev/null
broker_start || { failed "the broker comes back" "$WORK/broker.err"; finish; }
WITH=()
serve again a sub 'd/**' --count 4
AGAIN=$STARTED
run 0 after cli pub d/x hello --to a --count 4
check "after a killed broker messages come" wait_for "$AGAIN" 0
compared "books that begin anew"
finish
