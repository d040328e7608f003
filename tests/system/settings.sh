#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Settings on a bus that runs: each test changes one key and sees what that does. Which test stands for
# which key, bus/config/schema.c says (shown_by); tools/docs.sh sees to it that each is here.
. "$(dirname "$0")/lib.sh"

export AICO_IDENTITY=cli LIMIT_MS=60000
BUS="ipc://$AICO_HOME/run/bus.sock"

# yaml SECTION LINE...: a security.yaml with these keys of `broker` or `transport`, and beside those of
# `broker` the one of $BASE.
yaml() {
    local section=$1
    shift
    printf '%s\n' 'broker:' "  endpoints: [\"$BUS\"]"
    if [ "$section" = broker ]; then
        printf '  %s\n' "$@"
        [ -z "${BASE-}" ] || printf '%s\n' 'security:' '  transport:' "    $BASE"
    else
        printf '%s\n' 'security:' '  transport:'
        printf '    %s\n' "$@"
    fi
}
# own NAME LINE...: the file of one component; without lines there is none.
own() {
    local file="$AICO_HOME/config/$1.yaml"
    shift
    mkdir -p -m 700 "$AICO_HOME/config"
    rm -f "$file"
    [ $# -eq 0 ] || printf '%s\n' "$@" >"$file"
}
begin() { start "$@" || { failed "$1 gets ready" "$WORK/$1.err"; finish; }; }
# up SECTION LINE...: a broker of that file, whatever ran before.
up() {
    down
    yaml "$@" >"$AICO_HOME/security.yaml"
    begin broker aico-broker
    BROKER_PID=$STARTED
}
down() {
    [ -z "$BROKER_PID" ] || { kill -TERM "$BROKER_PID" && wait_for "$BROKER_PID" 0; }
    BROKER_PID=
}
# other LINE...: a file for one component, whose keys of transport differ from the bus; its path.
other() {
    yaml transport "$@" >"$WORK/other.yaml"
    echo "$WORK/other.yaml"
}
says() { grep -qE "$1" "$WORK/broker.err"; }
end() { kill -CONT "$1" 2>/dev/null; kill -TERM "$1" 2>/dev/null; wait "$1" 2>/dev/null; }
dropped() { aico-bus status | awk '$1 ~ /^dropped\.drop/ { n += $2 } END { print n + 0 }'; }

# --- security.transport ---------------------------------------------------------------------------------
algorithms_are_asserted() {
    local key
    for key in 'encryption: aes256gcm' 'key_exchange: x448' 'authentication: rsa'; do
        yaml transport "$key" >"$AICO_HOME/security.yaml"
        check_exit "$key stops the start" 3 aico-broker
        check "  with its place" grep -q "security.yaml:5:.*security.transport.${key%%:*}" "$WORK/err"
    done
}

another_namespace_meets_nobody() {
    up broker 'io_threads: 1'
    check_exit "a component of namespace other is exit 5" 5 aico-bus --config "$(other 'namespace: other')" ping
    check "  for the registry is of another" grep -q E_NAMESPACE "$WORK/err"
}

standard_lets_a_rule_say_none() {
    up transport 'security_level: high'
    check_exit "high: nothing goes in clear" 5 aico-bus pub clear/a/v1 hello
    up transport 'security_level: standard'
    begin clear aico-bus --as backend sub 'clear/**' --wire --count 1
    local reader=$STARTED
    check_exit "standard: it goes where a rule says so" 0 aico-bus pub clear/a/v1 hello
    check "  and comes" wait_for "$reader" 0
    check "  in clear" bash -c "! grep -q 'sealed' <(grep 'broker saw' '$WORK/clear.out' | grep -v 'not sealed\|in clear')"
}

# wire_flags: byte 32 of a direct message and of a group's as the broker saw them: trailer, padding, format.
wire_flags() {
    local reader
    begin wire aico-bus --as backend sub 'conversation/**' 'logs/**' --wire --count 2
    reader=$STARTED
    check_exit "a direct message" 0 aico-bus --as frontend pub conversation/user/input/v1 hello --to backend
    check_exit "a message to a group" 0 aico-bus pub logs/t/v1 hello
    check "both come" wait_for "$reader" 0
    FLAGS=$(sed -n 's/.*broker saw: .* sealed, [0-9a-f]\{64\}\(..\).*/\1/p' "$WORK/wire.out" | sort | tr '\n' ' ')
}
maximum_ratchets_signs_and_pads() {
    local answer
    up transport 'security_level: high'
    wire_flags
    check "high: a channel's format, nothing signed or padded" test "$FLAGS" = "01 01 "
    up transport 'security_level: maximum'
    wire_flags
    check "maximum: a ratchet's first format, a signature, both padded" test "$FLAGS" = "24 a1 "
    begin answer aico-bus --as backend reply logs/query/v1 --echo
    answer=$STARTED
    check_exit "  a request is answered" 0 aico-bus request logs/query/v1 x
    check_exit "  another level at one end: none" 5 aico-bus --config "$(other 'security_level: high')" request logs/query/v1 x --timeout 5s
    check "  with the reason" grep -q 'E_POLICY' "$WORK/err"
    end "$answer"
}

# wire_sizes: what the broker saw of two direct messages of 1001 and 1010 bytes.
wire_sizes() {
    local reader
    begin padded aico-bus --as backend sub 'conversation/**' --wire --count 2
    reader=$STARTED
    for size in 1001 1010; do
        check_exit "a direct message of $size bytes" 0 bash -c \
            "head -c $size /dev/zero | tr '\\0' x | aico-bus --as frontend pub conversation/user/input/v1 --to backend"
    done
    wait_for "$reader" 0
    SIZES=$(grep -oE '[0-9]+ bytes' "$WORK/padded.out" | sort -u | wc -l)
}
padding_hides_the_size_on_channels() {
    up transport 'padding: none'
    wire_sizes
    check "none: two sizes show" test "$SIZES" = 2
    up transport 'padding: padme'
    wire_sizes
    check "padme: they do not" test "$SIZES" = 1
}

both_ends_of_a_channel_must_agree() {
    local key answer
    up broker 'io_threads: 1'
    begin answer aico-bus --as backend reply logs/query/v1 --echo
    answer=$STARTED
    check_exit "equal settings: an answer" 0 aico-bus request logs/query/v1 x
    printf '%064d\n' 7 >"$WORK/psk"
    chmod 600 "$WORK/psk"
    for key in 'require_fresh_handshake: false' 'enforce_message_ordering: false' "psk_file: $WORK/psk"; do
        # A refusal is a hint of the broker, so it is believed only when the time is over.
        check_exit "$key at one end: none" 5 aico-bus --config "$(other "$key")" request logs/query/v1 x --timeout 5s
        check "  with the reason" grep -q 'E_POLICY' "$WORK/err"
    done
    end "$answer"
    yaml transport "psk_file: $WORK/psk" >"$WORK/psk.yaml"
    begin answer aico-bus --as backend --config "$WORK/psk.yaml" reply logs/query/v1 --echo
    answer=$STARTED
    check_exit "the same psk_file at both ends: an answer" 0 aico-bus --config "$WORK/psk.yaml" request logs/query/v1 x
    end "$answer"
}

# What it is good for is unit/session/test_peers_resume; here, that it is kept by processes and read again.
allow_key_reuse_keeps_what_channels_go_on_from() {
    local answer kept=$AICO_HOME/state/cli/sessions.db
    up transport 'require_fresh_handshake: false'
    begin answer aico-bus --as backend reply logs/query/v1 --echo
    answer=$STARTED
    rm -f "$kept"
    check_exit "by default: an answer" 0 aico-bus request logs/query/v1 x
    check "  and nothing of the channel on the disk" test ! -e "$kept"
    end "$answer"
    up transport 'require_fresh_handshake: false' 'allow_key_reuse: true'
    begin answer aico-bus --as backend reply logs/query/v1 --echo
    answer=$STARTED
    for _ in 1 2 3; do check_exit "allow_key_reuse: an answer" 0 aico-bus request logs/query/v1 x; done
    check "  and what the channel goes on from is kept" test -s "$kept"
    end "$answer"
    begin answer aico-bus --as backend reply logs/query/v1 --echo
    answer=$STARTED
    check_exit "  an answer of who started again" 0 aico-bus request logs/query/v1 x
    end "$answer"
    rm -f "$kept"
}

keepalive_interval_finds_who_is_silent() {
    local silent
    up transport 'keepalive_interval: 1'
    begin silent aico-bus --as backend sub 'logs/**'
    silent=$STARTED
    kill -STOP "$silent"
    # By default it would be three minutes.
    check "keepalive_interval 1: a stopped component is let go" until_true 40 says 'backend.*E_PEER_SILENT'
    end "$silent"
}

connection_retry_limit_ends_the_waiting() {
    local once ever
    up transport 'handshake_timeout: 5' 'connection_retry_limit: 0'
    yaml transport 'handshake_timeout: 5' 'connection_retry_limit: 1' >"$WORK/once.yaml"
    begin once aico-bus --as frontend --config "$WORK/once.yaml" sub 'conversation/**'
    once=$STARTED
    begin ever aico-bus --as backend sub 'logs/**' --count 1
    ever=$STARTED
    kill -KILL "$BROKER_PID"
    { wait "$BROKER_PID"; } 2>/dev/null
    BROKER_PID=
    WAIT_S=60 check "connection_retry_limit 1: it gives up" wait_for "$once" 6
    check "connection_retry_limit 0: it does not" kill -0 "$ever"
    up transport 'handshake_timeout: 5' 'connection_retry_limit: 0'
    heard() { aico-bus pub logs/t/v1 hello >/dev/null 2>&1; ! kill -0 "$ever" 2>/dev/null; }
    check "  and is there when the broker is" until_true 60 heard
    check "  with the message" wait_for "$ever" 0
}

max_message_size_refuses_at_the_publisher() {
    up broker 'io_threads: 1'
    check_exit "2000 bytes go" 0 bash -c 'head -c 2000 /dev/zero | aico-bus pub logs/t/v1'
    check_exit "max_message_size 1024: they do not" 1 bash -c \
        "head -c 2000 /dev/zero | aico-bus --config '$(other 'max_message_size: 1024')' pub logs/t/v1"
    check "  for they are too large" grep -q E_TOO_LARGE "$WORK/err"
}

# --- broker ---------------------------------------------------------------------------------------------
endpoints_are_where_it_listens() {
    local second="ipc://$AICO_HOME/run/second.sock"
    up broker 'io_threads: 1'
    check_exit "nobody listens on a second socket" 6 aico-bus --broker "$second" ping --count 1
    down
    printf '%s\n' 'broker:' "  endpoints: [\"$BUS\", \"$second\"]" >"$AICO_HOME/security.yaml"
    begin broker aico-broker
    BROKER_PID=$STARTED
    check_exit "endpoints with a second one: it does" 0 aico-bus --broker "$second" ping --count 1
}

# held_back: eight MiB for a reader that is stopped; in clear, so that it needs no key of a publisher
# that has gone.
held_back() {
    begin stopped aico-bus --as backend sub 'clear/**' --raw
    STOPPED=$STARTED
    kill -STOP "$STOPPED"
    check_exit "8 MiB are published" 0 bash -c 'head -c 8388608 /dev/zero | aico-bus pub clear/t/v1 --chunk 64KiB'
}
outbox_limit_bounds_what_waits() {
    local BASE='security_level: standard'
    up broker 'outbox_limit: 67108864'
    held_back
    check "outbox_limit 64 MiB: all of it waits" test "$(dropped)" -eq 0
    end "$STOPPED"
    up broker 'outbox_limit: 131072'
    held_back
    check "outbox_limit 128 KiB: the oldest are dropped" test "$(dropped)" -gt 0
    end "$STOPPED"
}

max_connections_bounds_links() {
    local first
    up broker 'max_connections: 1'
    begin first aico-bus --as backend sub 'logs/**'
    first=$STARTED
    check_exit "max_connections 1: the second is refused" 10 aico-bus ping --count 1
    check "  by its name" grep -q E_QUOTA "$WORK/err"
    end "$first"
    left() { aico-bus ping --count 1 >/dev/null 2>&1; }
    check "  when the first is gone it is let in" until_true 60 left
}

max_topics_bounds_counters() {
    up broker 'max_topics: 100'
    for topic in a b c; do aico-bus pub "logs/$topic/v1" x; done
    check "max_topics 100: three topics are no limit" bash -c "! grep -q ' limit: .*topics' '$WORK/broker.err'"
    up broker 'max_topics: 3'
    for topic in a b c; do aico-bus pub "logs/$topic/v1" x; done
    check "max_topics 3, two of them the bus's: the limit is told" until_true 60 says ' limit: .*topics'
}

max_retained_bounds_topics_with_a_value() {
    up broker 'max_retained: 2'
    for topic in a b; do check_exit "max_retained 2: a value of logs/$topic/v1" 0 aico-bus pub "logs/$topic/v1" x --retain; done
    check_exit "  of a third topic is exit 10" 10 aico-bus pub logs/c/v1 x --retain
    check "  with the number" grep -q 'values of 2 topics and no more.*E_FULL' "$WORK/err"
    check_exit "  another value of the first" 0 aico-bus pub logs/a/v1 y --retain
    up broker 'max_retained: 0'
    check_exit "max_retained 0: none is kept" 10 aico-bus pub logs/a/v1 x --retain
}

retained_limit_bounds_bytes_of_values() {
    head -c 50000 /dev/zero | tr '\0' x >"$WORK/value"
    up broker 'retained_limit: 1MiB'
    for topic in a b; do
        check_exit "retained_limit 1MiB: 50 kB of logs/$topic/v1" 0 bash -c "aico-bus pub logs/$topic/v1 - --retain <'$WORK/value'"
    done
    up broker 'retained_limit: 64KiB'
    check_exit "retained_limit 64KiB: the first" 0 bash -c "aico-bus pub logs/a/v1 - --retain <'$WORK/value'"
    check_exit "  another 50 kB are exit 10" 10 bash -c "aico-bus pub logs/b/v1 - --retain <'$WORK/value'"
    check "  with the bytes" grep -q 'it has room for 65536.*E_FULL' "$WORK/err"
}

io_threads_are_that_many() {
    local one
    threads() { find "/proc/$BROKER_PID/task" -mindepth 1 -maxdepth 1 | wc -l; }
    up broker 'io_threads: 1'
    one=$(threads)
    up broker 'io_threads: 3'
    check "io_threads 3: two threads more than with 1" test "$(threads)" -eq $((one + 2))
}

log_level_leaves_out_what_is_less() {
    up broker 'log_level: info'
    aico-bus ping --count 1 >/dev/null
    check "info: who connects is logged" until_true 60 says 'connected: cli'
    up broker 'log_level: warning'
    aico-bus ping --count 1 >/dev/null
    check "warning: only warnings are" bash -c "! grep -q 'connected: cli' '$WORK/broker.err'"
}

drain_timeout_is_how_long_it_delivers() {
    local BASE='security_level: standard'
    up broker 'drain_timeout: 300'
    held_back
    kill -TERM "$BROKER_PID"
    check "drain_timeout 300: it waits for who is slow" until_true 60 says draining
    check "  is still there" kill -0 "$BROKER_PID"
    kill -CONT "$STOPPED"
    check "  and ends when that has all" wait_for "$BROKER_PID" 0
    has_all() { [ "$(stat -c %s "$WORK/stopped.out")" -eq $((8388608 + 128)) ]; }
    check "  of it" until_true 60 has_all
    end "$STOPPED"
    BROKER_PID=
    up broker 'drain_timeout: 0'
    held_back
    kill -TERM "$BROKER_PID"
    check "drain_timeout 0: it does not" wait_for "$BROKER_PID" 0
    end "$STOPPED"
    BROKER_PID=
}

# --- config/NAME.yaml -----------------------------------------------------------------------------------
identity_file_is_the_key() {
    up broker 'io_threads: 1'
    mv "$AICO_HOME/identities/cli.key" "$AICO_HOME/moved.key"
    check_exit "the key is not where it was" 5 aico-bus ping --count 1
    own cli 'identity_file: ../moved.key'
    check_exit "identity_file names it" 0 aico-bus ping --count 1
    own cli
    mv "$AICO_HOME/moved.key" "$AICO_HOME/identities/cli.key"
}

listen_address_takes_the_place_of_its_kind() {
    local port
    down
    rm -f "$AICO_HOME/security.yaml"
    for _ in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 30000))
        own broker "listen_address: 127.0.0.1:$port"
        start broker aico-broker && break
    done
    BROKER_PID=$STARTED
    check_exit "listen_address: it listens there" 0 aico-bus --broker "tcp://127.0.0.1:$port" ping --count 1
    check_exit "  and on the socket of the other kind" 0 aico-bus --broker "$BUS" ping --count 1
    own broker
}

backend_address_is_where_the_bus_is() {
    up broker 'io_threads: 1'
    own cli 'backend_address: 127.0.0.1:1'
    check_exit "backend_address: nobody is there" 6 aico-bus ping --count 1
    check "  it is named" grep -q 'tcp://127.0.0.1:1' "$WORK/err"
    own cli
    check_exit "without it the bus is" 0 aico-bus ping --count 1
}

allowed_components_are_who_may_open_a_channel() {
    local answer
    up broker 'io_threads: 1'
    own backend 'allowed_components: [frontend]'
    begin answer aico-bus --as backend reply logs/query/v1 --echo
    answer=$STARTED
    check_exit "allowed_components: who is named gets an answer" 0 aico-bus --as frontend request logs/query/v1 x
    check_exit "  who is not gets none" 5 aico-bus request logs/query/v1 x --timeout 5s
    check "  with the reason" grep -q E_NOT_ALLOWED "$WORK/err"
    end "$answer"
    own backend
}

security_level_may_be_raised_by_a_component() {
    up transport 'security_level: standard'
    check_exit "as the bus has it: in clear" 0 aico-bus pub clear/a/v1 hello
    own cli 'security_level: high'
    check_exit "raised by the component: not" 5 aico-bus pub clear/a/v1 hello
    own cli
}

auto_reconnect_false_ends_with_the_link() {
    local ends stays
    up broker 'io_threads: 1'
    own frontend 'auto_reconnect: false'
    begin ends aico-bus --as frontend sub 'conversation/**'
    ends=$STARTED
    begin stays aico-bus --as backend sub 'logs/**'
    stays=$STARTED
    kill -KILL "$BROKER_PID"
    { wait "$BROKER_PID"; } 2>/dev/null
    BROKER_PID=
    check "auto_reconnect false: it ends with the broker" wait_for "$ends" 1
    check "the others wait for the next one" kill -0 "$stays"
    end "$stays"
    own frontend
}

home_new || { failed "aico-keytool init --starter" "$WORK/init.out"; finish; }
aico-keytool rule set 'clear/**' --publish cli --subscribe backend --seal none -q 2>"$WORK/rule.log" </dev/null ||
    failed "a rule" "$WORK/rule.log"
TESTS=(
    algorithms_are_asserted
    another_namespace_meets_nobody
    standard_lets_a_rule_say_none
    maximum_ratchets_signs_and_pads
    padding_hides_the_size_on_channels
    both_ends_of_a_channel_must_agree
    allow_key_reuse_keeps_what_channels_go_on_from
    keepalive_interval_finds_who_is_silent
    connection_retry_limit_ends_the_waiting
    max_message_size_refuses_at_the_publisher
    endpoints_are_where_it_listens
    outbox_limit_bounds_what_waits
    max_connections_bounds_links
    max_topics_bounds_counters
    max_retained_bounds_topics_with_a_value
    retained_limit_bounds_bytes_of_values
    io_threads_are_that_many
    log_level_leaves_out_what_is_less
    drain_timeout_is_how_long_it_delivers
    identity_file_is_the_key
    listen_address_takes_the_place_of_its_kind
    backend_address_is_where_the_bus_is
    allowed_components_are_who_may_open_a_channel
    security_level_may_be_raised_by_a_component
    auto_reconnect_false_ends_with_the_link
)
[ $# -eq 0 ] || TESTS=("$@")
for test in "${TESTS[@]}"; do
    printf "%s (%s s)\n" "$test" "$SECONDS"
    "$test"
done
finish
