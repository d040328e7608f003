#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# aico-bus as a user and a script meet it: verbs, exit codes within 2 s, JSON shapes, signals.
. "$(dirname "$0")/lib.sh"

export AICO_IDENTITY=cli

# --- without a broker ------------------------------------------------------------------------------
check_exit "no command is a usage error" 2 aico-bus
check_exit "an unknown option is a usage error" 2 aico-bus sub --cuont 5 x
check "and the nearest option is named" grep -q 'did you mean --count' "$WORK/err"
check_exit "--help is exit 0" 0 aico-bus pub --help
check_exit "--version is exit 0" 0 aico-bus --version

home_new || { failed "aico-keytool init --starter" "$WORK/init.out"; finish; }
check_exit "no broker is exit 6" 6 aico-bus pub logs/t/v1 hello
check "  and says what to do" grep -q 'aico-broker' "$WORK/err"
check_exit "no broker on tcp is exit 6" 6 aico-bus pub logs/t/v1 hello --broker tcp://127.0.0.1:9
check_exit "an identity that does not exist is exit 5 or 1" 5 aico-bus --as nobody status

broker_start || { failed "a broker" "$WORK/broker.err"; finish; }

# --- publish and subscribe -------------------------------------------------------------------------
start sub aico-bus sub 'logs/t/**' --count 3
SUB=$STARTED
check_exit "pub TEXT" 0 aico-bus --as backend pub logs/t/v1 'hello world'
check "pub from stdin is one message" bash -c "printf 'a\nb' | aico-bus --as backend pub logs/t/v1"
check "pub an empty message" bash -c "aico-bus --as backend pub logs/t/v1 - </dev/null"
check "sub --count ends with 0" wait_for "$SUB" 0
check "sub prints TOPIC SENDER PAYLOAD" test "$(head -n 1 "$WORK/sub.out")" = 'logs/t/v1 backend hello world'
check "control characters are escaped" grep -qxF 'logs/t/v1 backend a\nb' "$WORK/sub.out"

seq 1 1000 | sed 's/^/line /' >"$WORK/lines"
start sub aico-bus sub 'logs/t/v1' --raw --count 1000
SUB=$STARTED
check "pub --lines exits 0 when all is acknowledged" \
    bash -c "aico-bus --as backend pub logs/t/v1 --lines --json <'$WORK/lines' >'$WORK/pub.json'"
check "pub --json counts" \
    grep -Eq '^\{"published":1000,"acknowledged":1000,"refused":0,"seconds":[0-9.]+,"rate":[0-9]+\}$' "$WORK/pub.json"
check "sub --raw ends" wait_for "$SUB" 0
check "every line arrives, in order, unchanged" cmp "$WORK/lines" "$WORK/sub.out"

head -c 300000 /dev/urandom >"$WORK/binary"
start sub aico-bus sub logs/t/v1 --json --count 5
SUB=$STARTED
check "pub --chunk cuts stdin" bash -c "aico-bus --as backend pub logs/t/v1 --chunk 64KiB <'$WORK/binary'"
check "sub --json ends" wait_for "$SUB" 0
sed 's/.*"payload_base64":"\([^"]*\)".*/\1/' "$WORK/sub.out" |
    while read -r part; do base64 -d <<<"$part"; done >"$WORK/binary.out"
check "binary payloads come back whole" cmp "$WORK/binary" "$WORK/binary.out"

start sub aico-bus sub 'logs/t/**' --json --count 1 --wire
SUB=$STARTED
check_exit "pub with headers" 0 aico-bus --as backend pub logs/t/v1 'text "quoted"' --header a=1 --header b==2
check "it arrives" wait_for "$SUB" 0
check "sub --json has exactly its keys" grep -Eq \
    '^\{"topic":"logs/t/v1","sender":"backend","seq":[0-9]+,"time":[0-9]+,"payload":"text \\"quoted\\"","headers":\{"a":"1","b":"=2"\},"wire":\{"size":[0-9]+,"sealed":true,"prefix":"[0-9a-f]+"\}\}$' \
    "$WORK/sub.out"
check "the broker saw none of the text" bash -c "! grep -o '\"prefix\":.*' '$WORK/sub.out' | grep -q $(printf 'text' | od -An -tx1 | tr -d ' ')"

start sub aico-bus sub 'logs/**' --json --count 1
SUB=$STARTED
check_exit "pub --count repeats" 0 aico-bus --as backend pub logs/t/v1 again --count 5
check "it ends after the first" wait_for "$SUB" 0
check "without headers there is no such key" bash -c "! grep -q headers '$WORK/sub.out'"

check_exit "sub --for without --count is exit 0" 0 aico-bus sub 'logs/**' --for 200ms
check_exit "sub --for before --count is exit 7" 7 aico-bus sub 'logs/**' --for 200ms --count 1

start sub aico-bus sub 'logs/**'
kill -TERM "$STARTED"
check "TERM ends sub with 143" wait_for "$STARTED" 143
check "after a summary" grep -q '0 received' "$WORK/sub.err"
start sub aico-bus sub 'logs/**'
kill -HUP "$STARTED"
check "HUP ends sub with 129" wait_for "$STARTED" 129

start sub aico-bus sub 'conversation/**' --count 1
SUB=$STARTED
check_exit "pub --to a component" 0 aico-bus --as frontend pub conversation/user/input/v1 'for you' --to cli
check "it arrives" wait_for "$SUB" 0
check "and says who sent it" grep -q ' frontend for you' "$WORK/sub.out"

# --- request and reply -----------------------------------------------------------------------------
start reply aico-bus --as backend reply system/echo/v1 --echo --count 1 --json
REPLY=$STARTED
check_exit "request prints the reply" 0 aico-bus request system/echo/v1 'same words'
check "  the words" test "$(cat "$WORK/out")" = 'same words'
check "reply --count ends" wait_for "$REPLY" 0
check "reply --json prints the question" grep -q '"topic":"system/echo/v1","sender":"cli",.*"payload":"same words"' "$WORK/reply.out"
start reply aico-bus --as backend reply system/upper/v1 --exec 'tr a-z A-Z; echo " $AICO_TOPIC $AICO_SENDER"' --count 1
REPLY=$STARTED
check_exit "reply --exec answers with a command" 0 aico-bus request system/upper/v1 'loud'
check "  with topic and sender around it" test "$(cat "$WORK/out")" = 'LOUD system/upper/v1 cli'
check "reply ends" wait_for "$REPLY" 0
check_exit "nobody serves it: exit 8" 8 aico-bus request system/echo/v1 hello
start reply aico-bus --as backend reply system/slow/v1 --exec 'exec tail -f /dev/null' --timeout 10s
REPLY=$STARTED
check_exit "no answer in time: exit 7" 7 aico-bus request system/slow/v1 hello --timeout 500ms
kill -TERM "$REPLY"
check "a reply that hangs can be ended" wait_for "$REPLY" 143
check_exit "reply needs --exec or --echo" 2 aico-bus reply system/echo/v1

# --- refusals --------------------------------------------------------------------------------------
check_exit "a topic without a rule is exit 4" 4 aico-bus pub nowhere/v1 hello
check_exit "subscribing without a right is exit 4" 4 aico-bus --as frontend sub 'logs/**' --for 1s
check_exit "a request without a right is exit 4" 4 aico-bus --as backend request logs/query/v1 x
check_exit "an invalid topic is exit 2" 2 aico-bus pub 'a//b' hello
check_exit "a wildcard is no topic: exit 2" 2 aico-bus pub 'logs/*' hello
check_exit "a component that does not exist is exit 5" 5 aico-bus pub logs/t/v1 hello --to nobody

# --- who is here -----------------------------------------------------------------------------------
start other aico-bus --as frontend sub 'conversation/**'
OTHER=$STARTED
start sub aico-bus sub '$bus/presence/*' --count 2 --json
check "presence shows who is here" wait_for "$STARTED" 0
check "  as JSON" grep -q '"topic":"$bus/presence/' "$WORK/sub.out"

# --- looking around --------------------------------------------------------------------------------
check_exit "status" 0 aico-bus status
check_exit "status --json is one object" 0 aico-bus status --json
check "  on one line" bash -c "[ \$(wc -l <'$WORK/out') = 1 ] && grep -q '^{.*\"uptime_s\".*}\$' '$WORK/out'"
check_exit "peers" 0 aico-bus peers
check "  name us" grep -q '^cli ' "$WORK/out"
check_exit "peers --json is an object a line" 0 aico-bus peers --json
check "  with a name" grep -q '"name":"cli"' "$WORK/out"
check_exit "peers need role admin: exit 4" 4 aico-bus --as backend peers
check_exit "topics" 0 aico-bus topics
check "  name what was published" grep -q '^logs/t/v1 ' "$WORK/out"
check_exit "ping the broker" 0 aico-bus ping --count 2
check "  two times in microseconds" bash -c "[ \$(grep -Ec '^broker [0-9]+ us\$' '$WORK/out') = 2 ]"
check_exit "ping a component over its channel" 0 aico-bus ping frontend --count 1 --json
check "  as JSON" grep -Eq '^\{"peer":"frontend","us":[0-9]+\}$' "$WORK/out"
check_exit "ping one that is not connected is exit 8" 8 aico-bus ping backend --count 1
check_exit "over tcp too" 0 aico-bus ping --count 1 --broker "tcp://127.0.0.1:$PORT"

# --- trust -----------------------------------------------------------------------------------------
check_exit "a second process of one identity is exit 5" 5 aico-bus --as frontend status
check "  and says so" grep -q 'E_DUPLICATE' "$WORK/err"
check "revoking" aico-keytool revoke frontend --reason test --home "$AICO_HOME"
check "  cuts off the connected one within seconds, with 5" wait_for "$OTHER" 5
check_exit "a revoked identity is exit 5" 5 aico-bus --as frontend status
check_exit "  the others go on" 0 aico-bus pub logs/t/v1 hello

check "the broker drains on TERM" broker_stop
check_exit "and then is not reachable: exit 6" 6 aico-bus status
finish
