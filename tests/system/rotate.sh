#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Keys change while the bus runs: of a component with overlap, of the broker's transport, of the owner.
# Nothing is lost, and what must be refused is.
. "$(dirname "$0")/lib.sh"

# Lines N..M of the ledger, into the descriptor a publisher reads from.
say_lines() { seq "$1" "$2" | sed 's/^/n /' >&"$3"; }
# The reader has all of them, once each and in order, and was told of no gap.
has_all() { # FILE FROM TO
    sed -n 's/.*"payload":"n \([0-9]*\)".*/\1/p' "$1" | cmp -s - <(seq "$2" "$3") && ! grep -q '"gap"' "$1"
}
states_of() { aico-keytool list | awk -v n="$1" '$1 == n { print $2 }' | sort | tr '\n' ' '; }
version() { aico-keytool inspect --json "$AICO_HOME/registry" | sed 's/.*"version":"\([0-9]*\)".*/\1/'; }
# publisher N: aico-bus pub --lines as backend, reading what is written to descriptor N.
publisher() {
    rm -f "$WORK/lines.$1"
    mkfifo "$WORK/lines.$1"
    aico-bus --as backend pub logs/n/v1 --lines <"$WORK/lines.$1" >"$WORK/pub.$1.out" 2>"$WORK/pub.$1.err" &
    PUB=$!
    PIDS+=("$PUB")
    eval "exec $1>'$WORK/lines.$1'"
}

home_new || { failed "aico-keytool init --starter" "$WORK/init.out"; finish; }
for name in watcher asker other third; do
    aico-keytool -q new "$name" --role admin || failed "aico-keytool new $name"
done
check "a rule" aico-keytool -q rule set 'ask/**' --publish '*' --subscribe '*' --seal channel
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }

# --- a component, while it publishes ---------------------------------------------------------------------
start early aico-bus --as cli sub 'logs/**' --json
publisher 7
OLD=$PUB
say_lines 1 100 7
check "a component publishes" until_true 10 has_all "$WORK/early.out" 1 100
cp "$AICO_HOME/identities/backend.key" "$WORK/former.key"
OVERLAP_ENDS=$(($(now_ms) + 40000)) # not before
check "its key is rotated meanwhile" aico-keytool rotate backend --overlap 40s
check "both keys are registered" test "$(states_of backend)" = "active replaced "
say_lines 101 200 7
check "it goes on with its former key" until_true 10 has_all "$WORK/early.out" 1 200
start late aico-bus --as watcher sub 'logs/**' --json 7>&- # or it would hold the ledger open
say_lines 201 300 7
check "a reader that comes during the overlap reads it" until_true 10 has_all "$WORK/late.out" 201 300
exec 7>&-
check "all was acknowledged" wait_for "$OLD" 0

publisher 7
say_lines 301 400 7
exec 7>&-
check "it restarts with its new key" wait_for "$PUB" 0
check "the reader from before lost nothing" until_true 10 has_all "$WORK/early.out" 1 400
check "nor did the later one" until_true 10 has_all "$WORK/late.out" 201 400

# --- a server that still runs with its former key -----------------------------------------------------------
start old_server aico-bus --as frontend reply ask/echo/v1 --echo
OLD=$STARTED
check_exit "a server answers" 0 aico-bus --as asker request ask/echo/v1 before --timeout 5s
check "its key is rotated meanwhile" aico-keytool rotate frontend
check_exit "who asks finds it with its former key" 0 aico-bus --as asker request ask/echo/v1 after --timeout 5s
check "  and gets its answer" test "$(cat "$WORK/out")" = after
kill -TERM "$OLD"
check "it ends" wait_for "$OLD" 143
start new_server aico-bus --as frontend reply ask/echo/v1 --echo
check_exit "and with its new key once it was restarted" 0 \
    aico-bus --as asker request ask/echo/v1 again --timeout 5s

# --- the end of the overlap -----------------------------------------------------------------------------------
# A home with the former key, as a thief has it, or somebody who forgot to restart.
cp -r "$AICO_HOME" "$WORK/former"
cp "$WORK/former.key" "$WORK/former/identities/backend.key"
FORMER_HOME=(--home "$WORK/former" --broker "ipc://$AICO_HOME/run/bus.sock" --as backend)
check_exit "within the overlap the former key connects" 0 aico-bus status "${FORMER_HOME[@]}"
start former aico-bus sub 'logs/**' "${FORMER_HOME[@]}"
FORMER=$STARTED
LEFT=$((OVERLAP_ENDS - $(now_ms)))
check "the overlap was long enough for this test" test "$LEFT" -gt 0
WAIT_S=$((LEFT / 1000 + 3))
check "it is cut when the overlap ends" wait_for "$FORMER" 5
WAIT_S=60
check "not before" test "$(now_ms)" -ge "$OVERLAP_ENDS"
check "and told why" grep -q 'E_REVOKED' "$WORK/former.err"
check_exit "then the former key is refused" 5 aico-bus status "${FORMER_HOME[@]}"
check_exit "and the new one is not" 0 aico-bus --as backend status

# --- the broker's transport key ---------------------------------------------------------------------------------
publisher 8
say_lines 401 450 8
check "before the broker's key changes" until_true 10 has_all "$WORK/early.out" 1 450
check "its transport key is rotated" aico-keytool rotate broker
until_true 5 grep -q "registry version $(version) is in force" "$WORK/broker.err"
check "the broker says that it has to be restarted" until_true 5 grep -q 'restart' "$WORK/broker.err"
say_lines 451 500 8
check "what is connected goes on" until_true 10 has_all "$WORK/early.out" 1 500
check "the broker is stopped" broker_stop
broker_start 8>&- || failed "and started again" "$WORK/broker.err"
are_back() { # events are not kept for who is away, so the readers have to be there
    aico-bus --as other peers >"$WORK/peers" 2>&1
    grep -q '^cli ' "$WORK/peers" && grep -q '^watcher ' "$WORK/peers"
}
check "the readers are back" until_true 20 are_back
say_lines 501 550 8
check "everybody finds it by its new key and nothing is lost" until_true 30 has_all "$WORK/early.out" 1 550
check "nor for the other reader" until_true 10 has_all "$WORK/late.out" 201 550
check_exit "who comes now does as well" 0 aico-bus --as other status
exec 8>&-
check "all was acknowledged" wait_for "$PUB" 0

# --- the owner ------------------------------------------------------------------------------------------------------
cp -r "$AICO_HOME" "$WORK/away" # another machine, off from here on
publisher 7
say_lines 551 600 7
check "before the owner changes" until_true 10 has_all "$WORK/early.out" 1 600
check "the next owner is announced" aico-keytool rotate owner --prepare
check "and signs" aico-keytool rotate owner --switch
check "a change by the new owner" aico-keytool -q new newcomer --role admin
check "is in force" until_true 5 grep -q "registry version $(version) is in force" "$WORK/broker.err"
say_lines 601 650 7
check "nothing is lost meanwhile" until_true 10 has_all "$WORK/early.out" 1 650
check_exit "what the new owner let in publishes" 0 aico-bus --as newcomer pub logs/n/v1 'n 651'
check "and is read by who was here before" until_true 10 has_all "$WORK/early.out" 1 651
check_exit "who was off in this home finds the way" 0 aico-bus --as third status
check_exit "and so does another machine, by the broker" 0 \
    aico-bus --home "$WORK/away" --broker "ipc://$AICO_HOME/run/bus.sock" --as asker status
check "which then follows the new owner" cmp "$AICO_HOME/registry" "$WORK/away/state/asker/registry"
check "the broker restarts under the new owner" broker_stop
broker_start 7>&- || failed "the broker" "$WORK/broker.err"
check "with everybody" until_true 20 are_back
say_lines 652 700 7
exec 7>&-
check "all was acknowledged" wait_for "$PUB" 0
check "and nothing was lost" until_true 20 has_all "$WORK/early.out" 1 700

# --- programs open protected keys -------------------------------------------------------------------------------
printf 'open sesame\n' >"$WORK/words" && chmod 600 "$WORK/words"
for name in broker other; do
    check "a passphrase for $name" aico-keytool -q passwd "$name" --new-passphrase-file "$WORK/words"
done
check_exit "a protected key does not open without it" 5 aico-bus --as other status
check "  and says how" grep -q -e '--passphrase-fd' "$WORK/err"
check_exit "it opens by a file" 0 aico-bus --as other status --passphrase-file "$WORK/words"
check_exit "by a descriptor" 0 bash -c "aico-bus --as other status --passphrase-fd 3 3<'$WORK/words'"
mkdir -m 700 "$WORK/credentials"
cp "$WORK/words" "$WORK/credentials/aico.passphrase"
check_exit "by a credential of systemd" 0 env CREDENTIALS_DIRECTORY="$WORK/credentials" aico-bus --as other status
check_exit "the broker's does not open without" 5 aico-broker --check
check_exit "it opens by a descriptor" 0 bash -c "aico-broker --check --passphrase-fd 3 3<'$WORK/words'"
finish
