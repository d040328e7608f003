#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The books of publishers, broker and readers together: a reader that stands still loses messages, others
# expire, some are refused, a reader is killed, and everything is accounted for.
SETTINGS='  outbox_limit: 524288'
. "$(dirname "$0")/lib.sh"
export LIMIT_MS=60000 # nothing here is a matter of time

begin() {
    start "$@" && return
    failed "$1 gets ready" "$WORK/$1.err"
    finish
}
home_new || { failed "a home" "$WORK/init.out"; finish; }
for name in fast slow away doomed valued late; do
    aico-keytool -q new "$name" 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool -q new boss --role admin 2>"$WORK/new.log" </dev/null || failed boss "$WORK/new.log"
rule() { aico-keytool -q rule set "$@" --before 'logs/**' || failed "a rule for $1"; }
rule 'l/**' --publish cli,backend --subscribe fast,slow,doomed
rule 'v/**' --publish valued --subscribe fast,late
rule 'to/**' --publish cli --subscribe away
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }

reads() { begin "$1" aico-bus --as "$1" sub "${@:2}" --json --ledger "$WORK/$1.book"; }
reads fast 'l/**' 'v/**'
FAST=$STARTED
reads slow 'l/**'
SLOW=$STARTED
reads doomed 'l/**'
DOOMED=$STARTED
publish() { timeout 90 aico-bus --as "$1" --timeout 60s pub "$2" --lines --ledger "$WORK/$3.book" "${@:4}" <"$WORK/lines"; }
books() { aico-bus --as boss --timeout 30s --json ledger "$@" </dev/null; }

# Lines of 1 KiB, so that a reader that stands still has more to come than the broker keeps for it.
seq 1 3000 | sed "s/\$/ $(printf '%1000s' '' | tr ' ' x)/" >"$WORK/lines"
mkfifo "$WORK/feed"
timeout 90 aico-bus --as cli --timeout 60s pub l/a --lines --ledger "$WORK/many.book" <"$WORK/feed" >"$WORK/many.out" 2>&1 &
MANY=$!
PIDS+=("$MANY")
exec 7>"$WORK/feed"
echo first >&7
until_true 60 grep -q '"first"' "$WORK/slow.out" && passed "a reader has the publisher's key" || failed "the first message" "$WORK/slow.err"
stand_still "$SLOW"
cat "$WORK/lines" >&7
exec 7>&-
WAIT_S=60 check "and stands still while 3000 messages come" wait_for "$MANY" 0
seq 1 200 >"$WORK/lines"
check "others are good for a moment only" publish backend l/b short --ttl 3s
publish cli to/a refused --to away >"$WORK/refused.out" 2>&1
[ $? -eq 8 ] && passed "some are refused" || failed "some are refused" "$WORK/refused.out"
kill -KILL "$DOOMED"
{ wait "$DOOMED"; } 2>/dev/null
expired() { books | grep -q '"expired":[1-9]'; }
until_true 60 expired && passed "their time is over" || failed "their time is over"
kill -CONT "$SLOW"

# A value: one that listens gets it, one that comes later gets it from the broker, and its key from who said it.
aico-bus --as valued --timeout 60s pub v/x value --retain --for 300s --ledger "$WORK/valued.book" >"$WORK/valued.out" 2>&1 </dev/null &
VALUED=$!
PIDS+=("$VALUED")
knows() { until_true 60 grep -q '"value"' "$WORK/$1.out" && passed "$1 knows the value" || failed "$1 knows the value" "$WORK/$1.err"; }
knows fast
reads late 'v/**'
LATE=$STARTED
knows late

# What the broker says of a reader, delivered or dropped, has come there, or was named missing.
cat >"$WORK/heard.py" <<'PY'
import json, sys
name, path = sys.argv[1:]
ledger = json.load(sys.stdin)
# Rule line 0: what the bus says to itself.
rows = [row for row in ledger["rows"] if row["reader"] == name and row["rule_line"]]
told = sum(row["delivered"] + sum(row["dropped"].values()) for row in rows)
heard = 0
for line in open(path):
    try:
        record = json.loads(line)
    except ValueError:
        break  # it is being written
    told_of = record.get("gap") or record.get("unopened")
    heard += told_of["count"] if told_of else 1
print(name, "told", told, "heard", heard, "queued", ledger["queued"])
sys.exit(not (ledger["queued"] == 0 and told == heard))
PY
heard() { books >"$WORK/broker.book" && python3 "$WORK/heard.py" "$1" "$WORK/$1.out" <"$WORK/broker.book" >"$WORK/heard" 2>&1; }
for name in fast slow; do
    until_true 60 heard $name && passed "$name has heard of everything" || failed "$name has heard of everything" "$WORK/heard"
done
for pid in "$FAST" "$SLOW" "$VALUED" "$LATE"; do
    kill -TERM "$pid"
    wait_for "$pid" 143 || failed "a reader ends"
done
for name in fast slow many short refused valued late; do
    python3 -c 'import json, sys; sys.exit(not json.load(open(sys.argv[1]))["balanced"])' "$WORK/$name.book" &&
        passed "the books of $name balance" || failed "the books of $name" "$WORK/$name.book"
done
has() { python3 -c 'import json, sys; sys.exit(not any(row[sys.argv[2]].get(sys.argv[3]) for row in json.load(open(sys.argv[1]))["rows"]))' "$WORK/$1.book" "$2" "$3"; }
check "what a slow reader missed has its cause" has slow missing E_SLOW
check "what expired, too" has slow missing E_EXPIRED
check "what was refused, too" has refused refused E_PEER_AWAY

WITH=()
for name in fast slow many short refused valued late; do
    WITH+=(--with "$WORK/$name.book")
done
check "together nothing is unexplained" books "${WITH[@]}"
grep -q '"unexplained":0,' "$WORK/check.out" && passed "0 unexplained" || failed "0 unexplained" "$WORK/check.out"
grep -q '"unseen":0,' "$WORK/check.out" && failed "who was killed has no books" "$WORK/check.out" || passed "who was killed has no books"
# Under another rule in one book, and no registry has changed.
cp "$WORK/short.book" "$WORK/kept.book"
sed -i 's,"l/\*\*","l/other",' "$WORK/short.book"
check_exit "what is under another rule is seen" 1 aico-bus --as boss --timeout 30s ledger "${WITH[@]}"
grep -q 'l/other' "$WORK/out" && passed "and which" || failed "and which" "$WORK/out"
cp "$WORK/kept.book" "$WORK/short.book"
# One message less in one book, and it shows.
python3 - "$WORK/fast.book" <<'PY'
import json, sys
book = json.load(open(sys.argv[1]))
next(row for row in book["rows"] if row["received"])["received"] -= 1
json.dump(book, open(sys.argv[1], "w"))
PY
check_exit "one message too few is seen" 1 aico-bus --as boss --timeout 30s ledger "${WITH[@]}"
grep -q 'fast' "$WORK/out" && passed "and whose" || failed "and whose" "$WORK/out"
grep -q '1 message is in some books and not in others.*E_UNEXPLAINED' "$WORK/err" && passed "and that it is the books" ||
    failed "and that it is the books" "$WORK/err"
echo '{}' >"$WORK/empty"
check_exit "a file that holds no books" 2 aico-bus --as boss --timeout 30s ledger --with "$WORK/empty"
finish
