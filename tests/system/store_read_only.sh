#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The message store lies on a file system that can only be read, as a stopped broker has left it, of this
# layout and of earlier ones: what is stored is read, who publishes is told why not, and later it goes on.
. "$(dirname "$0")/lib.sh"
export LIMIT_MS=60000 # nothing here is a matter of time

STATE="$AICO_HOME/state/broker"
mkdir "$WORK/try" && mount --bind "$WORK/try" "$WORK/try" 2>"$WORK/mount.err" || { echo "left out: nothing can be mounted here: $(cat "$WORK/mount.err")"; exit 77; }
umount "$WORK/try"
trap 'umount "$STATE" 2>/dev/null; clean_up' EXIT
bus_up
for name in shop book; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool rule set 's/**' --publish shop --subscribe book --store age=7d --history -q --before 'logs/**' 2>"$WORK/rule.log" </dev/null ||
    failed "a rule that stores" "$WORK/rule.log"
bus() { timeout 90 aico-bus "$@" --timeout 60s </dev/null; }
until_true 20 bus --as book sub 's/**' --for 1s >/dev/null 2>&1 # its reading key is there from now on
check "a message is stored" bus --as shop pub s/x 1 --ack stored
db() { sqlite3 "$STATE/messages.db" "$1"; }
reads() { # WANT: all that is stored, in order
    local got
    got=$(bus --as book sub s/x --since all --raw --count "$(wc -w <<<"$1")" --for 60s 2>"$WORK/reads.err" | tr '\n' ' ')
    [ "$got" = "$1 " ] && passed "$1 is read" || failed "$got is read instead of $1" "$WORK/reads.err"
}

said=1
BEFORE_6="DROP INDEX value_scope; DROP INDEX mark_topic; DROP INDEX mail_topic; DROP INDEX missed_topic; DROP INDEX reader_maker; ALTER TABLE reader DROP COLUMN maker; ALTER TABLE sender DROP COLUMN marks;
    ALTER TABLE sender DROP COLUMN keys; DROP INDEX value_gone; ALTER TABLE value DROP COLUMN gone;"
for older in "" "$BEFORE_6 ALTER TABLE value DROP COLUMN over; PRAGMA user_version=4" \
    "$BEFORE_6 DROP TABLE value; DROP TABLE held; DROP TABLE prekey; DROP TABLE item_end; DROP TABLE missed; DROP TABLE mail; DROP TABLE box; PRAGMA user_version=1"; do
    check "the broker stops" broker_stop
    [ -z "$older" ] || check "an earlier version has written the store" db "$older"
    layout=$(db 'PRAGMA user_version')
    [ -e "$STATE/messages.db-wal" ] && failed "its log is gone" || passed "its log is gone"
    mount --bind "$STATE" "$STATE" && mount -o remount,bind,ro "$STATE" || failed "it can only be read"
    check "the broker starts where layout $layout can only be read" broker_start
    reads "$said"
    check_exit "who publishes is told" 1 aico-bus --as shop --timeout 30s pub s/x no --ack stored
    grep -q E_STORE_READ_ONLY "$WORK/err" && passed "with its own cause" || failed "with its own cause" "$WORK/err"
    check "the broker stops again" broker_stop
    umount "$STATE" || failed "it can be written again"
    check "the broker starts" broker_start
    said="$said $((${said##* } + 1))"
    check "more is stored" until_true 30 bus --as shop pub s/x "${said##* }" --ack stored
    reads "$said"
done
[ "$(db 'PRAGMA user_version')" -gt "$layout" ] && passed "the store is taken over" || failed "the store is taken over"
finish
