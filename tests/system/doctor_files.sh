#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the doctor says of files and settings that are as they should not be. Seeded faults: doctor_lib.sh.
# Not under sanitizers: it judges times.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/doctor_lib.sh"
Y=security.yaml

nothing() { :; }
fault "only the broker is not running" E_UNREACHABLE bus.sock nothing

# --- whose, and who may --------------------------------------------------------------------------------
home_open() { chmod 755 "$AICO_HOME"; }
home_writable() { chmod 777 "$AICO_HOME"; }
run_open() { chmod 755 "$AICO_HOME/run"; }
state_open() { chmod 777 "$AICO_HOME/state"; }
state_own_open() { running; cross; end_broker; chmod 755 "$AICO_HOME/state/cli"; }
run_is_file() { rmdir "$AICO_HOME/run"; : >"$AICO_HOME/run"; }
key_readable() { chmod 644 "$(own)"; }
key_group() { chmod 660 "$AICO_HOME/broker.key"; }
key_link() { mv "$(own)" "$AICO_HOME/elsewhere" && ln -s ../elsewhere "$(own)"; }
owner_readable() { chmod 604 "$AICO_HOME/owner.key"; }
public_writable() { chmod 666 "$AICO_HOME/owner.public"; }
registry_writable() { chmod 664 "$AICO_HOME/registry"; }
yaml_writable() { chmod 646 "$AICO_HOME/$Y"; }
own_yaml_writable() { echo 'auto_reconnect: true' >"$AICO_HOME/config/cli.yaml"; chmod 666 "$AICO_HOME/config/cli.yaml"; }
fault "the home is open" E_KEYFILE_MODE "$AICO_HOME open to others (mode 755)" home_open
fault "others may write to the home" E_KEYFILE_MODE "$AICO_HOME open to others (mode 777)" home_writable
fault "run/ is open" E_KEYFILE_MODE "/run open" run_open
fault "state/ is open" E_KEYFILE_MODE "/state open" state_open
fault "state/cli is open" E_KEYFILE_MODE "/state/cli open" state_own_open
fault "run is a file" E_EXISTS "is not a folder" run_is_file
fault "a key others can read" E_KEYFILE_MODE "cli.key open to others (mode 644)" key_readable
fault "the broker's key is open to its group" E_KEYFILE_MODE "broker.key open" key_group
fault "a key that is a link" E_KEYFILE_SYMLINK "cli.key" key_link
fault "the owner's key is readable" E_KEYFILE_MODE "owner.key open" owner_readable
fault "owner.public is writable" E_KEYFILE_MODE "owner.public open" public_writable
fault "the registry is writable" E_KEYFILE_MODE "/registry open" registry_writable
fault "everybody may change security.yaml" E_CONFIG "every user may change it" yaml_writable
fault "everybody may change a component's file" E_CONFIG "cli.yaml" own_yaml_writable
if [ "$(id -u)" = 0 ]; then
    key_foreign() { chown 12345 "$(own)"; }
    broker_key_foreign() { chown 12345 "$AICO_HOME/broker.key"; }
    registry_foreign() { chown 12345 "$AICO_HOME/registry"; }
    state_foreign() { chown 12345 "$AICO_HOME/state"; }
    home_foreign() { chown -R 12345 "$AICO_HOME"; }
    fault "a key of another user" E_KEYFILE_OWNER "cli.key belongs to user 12345" key_foreign
    fault "the broker's key is another user's" E_KEYFILE_OWNER "broker.key belongs" broker_key_foreign
    fault "the registry is another user's" E_KEYFILE_OWNER "/registry belongs" registry_foreign
    fault "state/ is another user's" E_KEYFILE_OWNER "/state belongs" state_foreign
    hopeless "the whole home is another user's" E_KEYFILE_OWNER "the home belongs" home_foreign
else
    echo "skip  files of other users: needs root"
fi

# --- state ---------------------------------------------------------------------------------------------
STATE=$AICO_HOME/state
overwrite() { printf 'garbage of %d bytes' 4711 | dd of="$1" conv=notrunc bs=1 seek="$2" status=none; } # FILE OFFSET
store_garbage() { running; end_broker; rm -f "$STATE/broker/messages.db-wal"; overwrite "$STATE/broker/messages.db" 0; }
store_page() {
    running
    end_broker
    python3 - "$STATE/broker/messages.db" <<'PY'
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as db:
    db.executemany("INSERT INTO topic(name) VALUES (?)", (("t/%d" % i,) for i in range(3000)))
db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
db.close()
PY
    overwrite "$STATE/broker/messages.db" $(($(stat -c %s "$STATE/broker/messages.db") - 4096))
}
sessions_garbage() { mkdir -p -m 700 "$STATE/cli"; (umask 077; echo garbage >"$STATE/cli/sessions.db"); }
outbox_foreign() {
    mkdir -p -m 700 "$STATE/cli"
    (umask 077; python3 -c 'import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute("CREATE TABLE a(b)")' "$STATE/cli/outbox.db")
}
is_signed() { tail -n 1 "$AICO_HOME/log/audit" | grep -q '^head'; }
audit_changed() { running; cross; until_true 20 is_signed; end_broker; sed -i 's/connected/disconnected/' "$AICO_HOME/log/audit"; }
fault "the message store is no database" E_STORE_DAMAGED "messages.db file is not a database" store_garbage
fault "a page of the message store is damaged" E_STORE_DAMAGED "messages.db" store_page
fault "the ratchets are no database" E_STATE_DAMAGED "cli/sessions.db" sessions_garbage
fault "the outbox is another program's" E_STATE_DAMAGED "cli/outbox.db it is a file of another program" outbox_foreign
fault "the audit log was changed" E_AUDIT "log/audit was changed" audit_changed

# --- settings ----------------------------------------------------------------------------------------------
line() { sed -i "s|^\( *\)$1:.*|\1$2|" "$AICO_HOME/$Y"; }
slip() { line keepalive_interval 'keepalive_intervall: 60'; }
word() { line security_level 'security_level: hihg'; }
range() { line handshake_timeout 'handshake_timeout: 100000'; }
type() { line enforce_message_ordering 'enforce_message_ordering: 3'; }
contradiction() { line allow_key_reuse 'allow_key_reuse: true'; }
tabs() { sed -i 's/^        namespace:/\tnamespace:/' "$AICO_HOME/$Y"; }
garbage() { printf 'a: [1, 2\n{{{\n' >"$AICO_HOME/config/cli.yaml"; }
endpoint() { line endpoints 'endpoints: ["ipx://x"]'; }
own_slip() { echo 'auto_reconect: true' >"$AICO_HOME/config/cli.yaml"; }
broker_slip() { echo 'backend_address: 127.0.0.1:1' >"$AICO_HOME/config/broker.yaml"; }
key_elsewhere() { echo 'identity_file: /nowhere/cli.key' >"$AICO_HOME/config/cli.yaml"; }
address() { echo "backend_address: ipc://$AICO_HOME/run/other.sock" >"$AICO_HOME/config/cli.yaml"; running_as backend; }
running_as() { ( cd / && setsid -f aico-broker --home "$AICO_HOME" </dev/null >/dev/null 2>&1 ); until_true 20 aico-bus --as "$1" ping --count 1 >/dev/null 2>&1; }
psk_open() {
    printf '%064d\n' 7 >"$AICO_HOME/psk" && chmod 644 "$AICO_HOME/psk"
    line psk_file "psk_file: $AICO_HOME/psk"
}
fault "a slip in the name of a setting" E_CONFIG "keepalive_intervall" slip
fault "a slip in a value" E_CONFIG "security_level" word
fault "a value out of range" E_CONFIG "handshake_timeout" range
fault "a value of the wrong kind" E_CONFIG "enforce_message_ordering" type
fault "settings that contradict each other" E_CONFIG "allow_key_reuse" contradiction
fault "tabs" E_CONFIG "a tab" tabs
fault "no YAML at all" E_CONFIG "not valid YAML" garbage
fault "an address of no kind" E_CONFIG "endpoints" endpoint
fault "a slip in a component's file" E_CONFIG "auto_reconect" own_slip
fault "the broker's file has what only components have" E_CONFIG "broker.yaml" broker_slip
fault "identity_file leads nowhere" E_UNKNOWN "identity_file" key_elsewhere
fault "backend_address leads nowhere" E_UNREACHABLE "backend_address" address
fault "psk_file others can read" E_KEYFILE_MODE "psk_file" psk_open
report_times
finish
