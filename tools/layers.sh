#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails when an include points upwards: a folder of bus/ may include only the layers listed for it,
# a third-party header has one home, and programs see only <aico/...>, common/ and their own folder.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0

offence() { # FILE:LINE text
    printf '%s: %s\n' "$1" "$2" >&2
    bad=$((bad + 1))
}

# What each layer may include besides itself.
allowed() {
    case $1 in
    base) echo "" ;;
    wire | cipher | config) echo "base" ;;
    crypto) echo "base cipher" ;;
    transport) echo "base cipher crypto" ;;
    trust | envelope) echo "base wire crypto" ;;
    store) echo "base wire crypto trust" ;;
    session) echo "base wire crypto trust envelope" ;;
    broker) echo "base wire crypto trust" ;;
    client) echo "base wire crypto trust envelope session store" ;;
    runtime) echo "base wire crypto trust envelope session store config broker client transport" ;;
    peers) echo "bench common crypto cipher" ;;
    keytool) echo "base wire crypto trust envelope store common" ;;
    *) echo "" ;;
    esac
}

check_folder() { # FOLDER NAME
    local name=$2 ok place header target line
    ok=" $(allowed "$name") $name "
    while IFS=: read -r place line header; do
        target=${header%%/*}
        [ "$target" = "$header" ] && continue # same folder, by plain name
        case $ok in
        *" $target "*) ;;
        *) offence "$place:$line" "$name may not include \"$header\"" ;;
        esac
    done < <(grep -rnoE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"[^"]+"' "$1" --include='*.[ch]' |
        sed -E 's/#[[:space:]]*include[[:space:]]+"([^"]+)"/\1/; s/:[[:space:]]+/:/')
}

for folder in bus/*/; do
    check_folder "$folder" "$(basename "$folder")"
done
[ -d tools/keytool ] && check_folder tools/keytool keytool

[ -d tools/bench ] && check_folder tools/bench peers

# HEADER-PATTERN HOME...: included nowhere but in these folders.
while read -r pattern homes; do
    while IFS=: read -r file line _; do
        home=
        for folder in $homes; do
            case $file in "$folder"*) home=$folder ;; esac
        done
        [ -n "$home" ] || offence "$file:$line" "<$pattern> belongs to $homes"
    done < <(grep -rnE "^[[:space:]]*#[[:space:]]*include[[:space:]]+[<\"]$pattern" bus components tools \
        include --include='*.[ch]')
done <<'HOMES'
sodium bus/cipher/ bus/crypto/ tools/bench/
openssl bus/cipher/poly1305.c
zmq tools/bench/
sqlite3 bus/store/ components/backend/
yaml bus/config/
HOMES

# A public header needs nothing but libc and other public headers.
while IFS=: read -r file line _; do
    offence "$file:$line" "a public header may include libc and <aico/...> only"
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]+("|<[a-z0-9_]+/)' include --include='*.h' |
    grep -vE '<(aico|sys)/')

while IFS=: read -r file line header; do
    folder=$(echo "$file" | cut -d/ -f2)
    case $header in
    common/* | "$folder"/*) ;;
    bench/*) [ "$folder" = cli ] || offence "$file:$line" "only aico-bus may include \"$header\"" ;;
    */*) offence "$file:$line" "a program may not include \"$header\"" ;;
    esac
done < <(grep -rnoE '#[[:space:]]*include[[:space:]]+"[^"]+"' components --include='*.[ch]' |
    sed -E 's/#[[:space:]]*include[[:space:]]+"([^"]+)"/\1/')

if [ "$bad" -gt 0 ]; then
    echo "layers: $bad includes point the wrong way" >&2
    exit 1
fi
echo "layers: every include points downwards"
