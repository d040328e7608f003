#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every bad settings file, key file and registry: exit 3 or 5, one line with cause and place, no crash, and
# nothing is written. And each error of a key file and of a registry is told apart (PROTOCOL 2 and 3).
. "$(dirname "$0")/lib.sh"
HERE=$(cd "$(dirname "$0")/.." && pwd)
WHOLE=$WORK/whole
export AICO_IDENTITY=cli
home_new || { failed "a home" "$WORK/init.out"; finish; }
sed -i 's|^    endpoints:.*|    endpoints: ["ipc://${AICO_HOME}/run/bus.sock"]|' "$AICO_HOME/security.yaml"
mkdir -m 700 "$AICO_HOME/config"
cp -a "$AICO_HOME" "$WHOLE"
KEY=$AICO_HOME/identities/cli.key
R=$AICO_HOME/registry
whole_again() { rm -rf "$AICO_HOME"; cp -a "$WHOLE" "$AICO_HOME"; }
state_of() { find "$AICO_HOME" -type f -exec sha256sum {} + | sort; find "$AICO_HOME" | sort; }

# refused NAME STATUS CODE PLACE CMD...: the home was spoilt before.
refused() {
    local name=$1 want=$2 code=$3 place=$4 before status
    shift 4
    before=$(state_of)
    timeout 30 "$@" >"$WORK/out" 2>"$WORK/err" </dev/null
    status=$?
    if [ "$status" -ne "$want" ]; then
        echo "exit status $status instead of $want" >>"$WORK/err"
    elif ! grep -q "($code)" "$WORK/err"; then
        echo "not $code" >>"$WORK/err"
    elif ! grep -qF -- "$place" "$WORK/err"; then
        echo "does not name $place" >>"$WORK/err"
    elif [ "$(wc -l <"$WORK/err")" -ne 1 ]; then
        echo "the reason is not one line" >>"$WORK/err"
    elif [ "$before" != "$(state_of)" ]; then
        echo "something was written" >>"$WORK/err"
    else
        passed "$name: $code"
        return
    fi
    failed "$name" "$WORK/out" "$WORK/err"
}

# --- key files: PROTOCOL 2 --------------------------------------------------------------------------------
key() { # NAME CODE: what lies at $KEY is refused by who uses it and by who inspects it
    refused "key: $1" 5 "$2" "$KEY" aico-bus status
    refused "key: $1, as the keytool says" 5 "$2" "$KEY" aico-keytool public cli
    whole_again
}
chmod 640 "$KEY"; key "open to its group" E_KEYFILE_MODE
mv "$KEY" "$AICO_HOME/there" && ln -s ../there "$KEY"; key "a link" E_KEYFILE_SYMLINK
if [ "$(id -u)" = 0 ]; then
    chown 12345 "$KEY"; key "another user's" E_KEYFILE_OWNER
fi
sed -i 's/^check ..../check 0000/' "$KEY"; key "its check does not match" E_KEYFILE_DAMAGED
sed -i 's/^public ..../public 0000/' "$KEY"; key "a changed line" E_KEYFILE_DAMAGED
: >"$KEY"; key "empty" E_KEYFILE_FORMAT
head -c 100 "$WHOLE/identities/cli.key" >"$KEY"; key "cut off" E_KEYFILE_DAMAGED
head -c 4000 /dev/zero >"$KEY"; key "zeros" E_KEYFILE_FORMAT
head -c 100000 /dev/zero >"$KEY"; key "large" E_KEYFILE_FORMAT
cp "$WHOLE/identities/backend.key" "$KEY"; key "another's" E_KEYFILE_MISMATCH
resealed() { # SED-SCRIPT: the check says that the changed file is what was written
    sed "$1" "$WHOLE/identities/cli.key" | sed '/^check/d' | python3 -c '
import hashlib, sys
body = sys.stdin.buffer.read()
label = b"aico-bus/1 keyfile check"
check = hashlib.blake2b(bytes([len(label)]) + label + body, digest_size=16).hexdigest()
sys.stdout.buffer.write(body + b"check " + check.encode() + b"\n")' >"$KEY"
}
public=$(sed -n 's/^public //p' "$WHOLE/identities/backend.key")
resealed "s/^public .*/public $public/"; key "a public key of another seed" E_KEYFILE_MISMATCH
zeros=$(printf '%032d' 0)
resealed "s/^protection none/protection argon2id 2 67108864 $zeros\\nverifier $zeros/; s/^secret .*/secret $zeros$zeros$zeros$zeros$(printf '%016d' 0)/"
key "protected, and no passphrase" E_PASSPHRASE
resealed 's/^name cli/name cLi/'; key "no name" E_KEYFILE_FORMAT
resealed 's/^created .*/created today/'; key "no date" E_KEYFILE_FORMAT
for file in "$HERE"/fuzz/corpus/keyfile/{public-own,signature,master} "$HERE"/fuzz/corpus/registry/rules; do
    cp "$file" "$KEY"; chmod 600 "$KEY"; key "${file##*/}" E_KEYFILE_FORMAT
done
rm "$KEY"
refused "key: none" 5 E_UNKNOWN "$KEY" aico-bus status
refused "key: none, as the keytool says" 5 E_UNKNOWN "$KEY" aico-keytool public cli
whole_again
sed -i 's/^public ..../public 0000/' "$AICO_HOME/owner.public"
refused "a pinned owner that was changed" 9 E_SIGNATURE owner.public aico-bus status
whole_again
echo nonsense >"$AICO_HOME/owner.public"
refused "a pinned owner that is none" 5 E_PUBLIC_FORMAT owner.public aico-bus status
whole_again

# --- registries: PROTOCOL 3 -------------------------------------------------------------------------------
registry() { # NAME CODE
    refused "registry: $1" 5 "$2" "$R" aico-bus status
    refused "registry: $1, as the broker says" 5 "$2" "$R" aico-broker --check
    whole_again
}
for file in "$HERE"/fuzz/corpus/registry/*; do
    cp "$file" "$R"; registry "${file##*/}" E_REGISTRY_SIGNATURE
done
sed -i 's/^component backend/component backenD/' "$R"; registry "changed by hand" E_REGISTRY_SIGNATURE
head -c 700 "$WHOLE/registry" >"$R"; registry "cut off" E_REGISTRY_SIGNATURE
tr a-f A-F <"$WHOLE/registry" >"$R"; registry "upper case" E_REGISTRY_SIGNATURE
echo >>"$R"; registry "something behind it" E_REGISTRY_SIGNATURE
echo nonsense >"$R"; registry "too small" E_REGISTRY
head -c 2000000 /dev/zero >"$R"; registry "too large" E_REGISTRY
chmod 666 "$R"; registry "open to all" E_KEYFILE_MODE
sed -i 's/^\( *namespace:\).*/\1 robots/' "$AICO_HOME/security.yaml"; registry "of another product" E_NAMESPACE
aico-keytool --home "$WORK/foreign" init --starter -q 2>/dev/null
cp "$WORK/foreign/registry" "$R"; registry "of another owner" E_REGISTRY_SIGNATURE
aico-keytool -q rule set fork/a --publish cli --subscribe cli
cp "$R" "$WORK/fork"
whole_again
aico-keytool -q rule set fork/b --publish cli --subscribe cli
for name in cli broker; do
    mkdir -m 700 "$AICO_HOME/state/$name"
    cp "$WORK/fork" "$AICO_HOME/state/$name/registry"
done
registry "another of one version" E_EQUIVOCATION
aico-keytool -q revoke cli --reason test
refused "revoked" 5 E_REVOKED cli aico-bus status
whole_again
if /usr/bin/python3 -c 'import nacl.bindings' 2>/dev/null; then
    # Signed by the owner, and wrong all the same.
    for what in 's/^version 1$/version 0/' 's/ active / asleep /' 's/^rule logs/rool logs/' 's/^rule \(logs[^ ]*\) publish/rule \1 pubish/' 's/^issued .*/issued soon/'; do
        sed "$what" "$WHOLE/registry" | sed '/^signature/d' | /usr/bin/python3 -c '
import sys, nacl.bindings
seed = [l.split()[1] for l in open(sys.argv[1]) if l.startswith("secret ")][0]
public, secret = nacl.bindings.crypto_sign_seed_keypair(bytes.fromhex(seed))
body = sys.stdin.buffer.read()
label = b"aico-bus/1 registry"
signature = nacl.bindings.crypto_sign(bytes([len(label)]) + label + body, secret)[:64]
sys.stdout.buffer.write(body + b"signature " + signature.hex().encode() + b"\n")' "$WHOLE/owner.key" >"$R"
        registry "signed, but: $what" E_REGISTRY
    done
fi

# --- settings -----------------------------------------------------------------------------------------------
yaml() { # NAME PLACE
    refused "settings: $1" 3 E_CONFIG "$2" aico-broker --check
    refused "settings: $1, as a component says" 3 E_CONFIG "$2" aico-bus status
    whole_again
}
Y=$AICO_HOME/security.yaml
for text in 'a: 1' 'broker: 3' 'broker: [1]' '- x' 'broker: {io_threads: 99}' 'broker: {endpoints: []}' 'a: &b c' 'a: *b' 'a: !!str c' \
    'broker: {io_threads: "1"}' 'security: {transport: {security_level: low}}' 'security: {transport: {namespace: "a b"}}' 'a: b: c' '? x'; do
    printf '%s\n' "$text" >"$Y"
    yaml "$text" "$Y:1:"
done
for text in '%TAG ! x' '{' '"'; do
    printf '%s\n' "$text" >"$Y"
    yaml "$text" "$Y:2:1: not valid YAML"
done
printf 'broker:\n  io_threads: 1\n  io_threads: 1\n' >"$Y"; yaml "a key twice" "$Y:3:3"
printf 'broker:\n\tio_threads: 1\n' >"$Y"; yaml "a tab" "$Y:2:1"
printf 'broker:\n  io_threads: \xff\n' >"$Y"; yaml "no UTF-8" "$Y:2:"
printf 'broker: {}\n---\nbroker: {}\n' >"$Y"; yaml "two documents" "$Y:"
head -c 300000 /dev/zero | tr '\0' '#' >"$Y"; yaml "too large" "$Y"
rm "$Y"; mkdir "$Y"; yaml "a folder" "$Y"
chmod 666 "$Y"; yaml "everybody may change it" "$Y"
echo 'auto_reconect: true' >"$AICO_HOME/config/cli.yaml"
refused "settings: of a component" 3 E_CONFIG "$AICO_HOME/config/cli.yaml:1:1" aico-bus status
finish
