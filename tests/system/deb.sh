#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The Debian packages: what is in them, and that they install, run and go away without leaving anything but
# the home of the bus.
#
#   deb.sh               packages the tree of AICO_BIN and installs it into a root of its own
#   deb.sh --bare ROOT   builds the real packages and installs them with apt in the chroot at ROOT, as
#                        `debootstrap --variant=minbase bookworm ROOT` makes it (root, a mirror)
#
# Not under sanitizers: their libraries are not in the packages.
. "$(dirname "$0")/lib.sh"

SOURCE=$(cd "$(dirname "$0")/../.." && pwd)
DEBS=$WORK/debs
PACKAGES=(libaicobus libaicobus-dev aico-bus aico-broker)
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

deb() { ls "$DEBS/$1"_*.deb; }
field() { dpkg-deb -f "$(deb "$1")" "$2"; }
has_file() { dpkg-deb -c "$(deb "$1")" | awk '{print $6}' | grep -qE "^\./$2\$"; }
control_file() { dpkg-deb --ctrl-tarfile "$(deb "$1")" | tar -xO "./$2"; }

contents() {
    local name
    for name in "${PACKAGES[@]}"; do
        check "$name: is there, of a form that dpkg reads" dpkg-deb -I "$(deb "$name")"
        check "$name: has its copyright" has_file "$name" "usr/share/doc/$name/copyright"
        check "$name: everything belongs to root and nobody else may write it" bash -c \
            "! dpkg-deb -c '$(deb "$name")' | grep -v '^l' | grep -vE '^[d-]rw[x-]r-[x-]r-[x-] root/root'"
    done
    check "libaicobus: the library by its soname" has_file libaicobus 'usr/lib/(.*/)?libaicobus\.so\.0'
    check "libaicobus: tells others what to depend on" \
        bash -c "grep -qx 'libaicobus 0 libaicobus (>= .*)' <<<'$(control_file libaicobus shlibs)'"
    check "libaicobus: needs what it links" grep -q 'libsodium23.*' <<<"$(field libaicobus Depends)"
    check "aico-bus: needs the screen of top" grep -q 'libncursesw6' <<<"$(field aico-bus Depends)"
    check "libaicobus-dev: header" has_file libaicobus-dev usr/include/aico/client.h
    check "libaicobus-dev: pkg-config" has_file libaicobus-dev 'usr/lib/(.*/)?pkgconfig/aicobus\.pc'
    check "libaicobus-dev: CMake" has_file libaicobus-dev 'usr/lib/(.*/)?cmake/AicoBus/AicoBusConfig\.cmake'
    for name in aico-bus aico-keytool aico-frontend; do
        check "aico-bus: $name with manual and completion" bash -c "$(declare -f has_file deb); DEBS=$DEBS
            has_file aico-bus usr/bin/$name && has_file aico-bus usr/share/man/man1/$name.1 &&
            has_file aico-bus usr/share/bash-completion/completions/$name"
    done
    for name in aico-broker aico-backend; do
        check "aico-broker: $name with manual and unit" bash -c "$(declare -f has_file deb); DEBS=$DEBS
            has_file aico-broker usr/bin/$name && has_file aico-broker usr/share/man/man8/$name.8 &&
            has_file aico-broker usr/lib/systemd/system/$name.service"
        check "aico-broker: /etc/default/$name is a conffile" \
            grep -qx "/etc/default/$name" <<<"$(control_file aico-broker conffiles)"
    done
}

# --- a root of its own ---------------------------------------------------------------------------------
ROOT=$WORK/root
in_root() { dpkg --root="$ROOT" --force-script-chrootless --force-depends --log=/dev/null "$@"; }
# Files and links, without dpkg's own and what useradd keeps of former versions.
tree() {
    (cd "$ROOT" && find . \( -path ./var/lib/dpkg -o -path ./var/lib/aico-bus \) -prune -o ! -type d -print |
        grep -vE '^\./etc/((passwd|group|shadow|gshadow|subuid|subgid)-?|\.pwd\.lock)$' | sort)
}
empty_root() {
    mkdir -p "$ROOT"/{etc,tmp,var/lib/dpkg/{info,updates,triggers}}
    touch "$ROOT"/var/lib/dpkg/{status,available}
    echo 'root:x:0:0:root:/root:/bin/sh' >"$ROOT/etc/passwd"
    echo 'root:x:0:' >"$ROOT/etc/group"
    echo 'root:*:19000:0:99999:7:::' >"$ROOT/etc/shadow"
    echo 'root:*::' >"$ROOT/etc/gshadow"
}

own_root() {
    # Users and owners are root's affair; dpkg wants to find ldconfig.
    [ "$(id -u)" -eq 0 ] || { echo "not root: nothing is installed"; return; }
    PATH=$PATH:/usr/sbin:/sbin
    empty_root
    tree >"$WORK/tree.before"
    getent passwd aico-bus >"$WORK/user.before"
    check "the packages install" in_root -i "$DEBS"/*.deb
    check "the user of the services is made" grep -q '^aico-bus:.*:/var/lib/aico-bus:/usr/sbin/nologin$' "$ROOT/etc/passwd"
    check "  in that root, not here" bash -c "getent passwd aico-bus | cmp - '$WORK/user.before'"
    check "  with a folder that is closed to others" \
        test "$(stat -c '%a %u' "$ROOT/var/lib/aico-bus")" = "700 $(sed -n 's/^aico-bus:[^:]*:\([0-9]*\):.*/\1/p' "$ROOT/etc/passwd")"
    if command -v systemctl >/dev/null; then
        check "the units can be enabled" systemctl --root="$ROOT" enable aico-broker.service \
            aico-broker.socket aico-backend.service
        check "  and are" test -L "$ROOT/etc/systemd/system/multi-user.target.wants/aico-broker.service"
    fi

    PATH=$ROOT/usr/bin:$PATH
    hash -r
    for program in aico-bus aico-keytool aico-frontend aico-broker aico-backend; do
        check "$program is the installed one" test "$(command -v $program)" = "$ROOT/usr/bin/$program"
    done
    AICO_HOME=$ROOT/var/lib/aico-bus/home
    export AICO_IDENTITY=cli
    check "a home is made" home_new
    check "the broker runs" broker_start
    start reader aico-bus --as backend sub 'logs/**' --count 1 || failed "a reader" "$WORK/reader.err"
    READER=$STARTED
    check "a message is published" aico-bus pub logs/deb/v1 hello
    check "  and comes" wait_for "$READER" 0
    check "  as it was" grep -qx 'logs/deb/v1 cli hello' "$WORK/reader.out"
    check "the broker stops" broker_stop

    check "an upgrade goes through" in_root -i "$DEBS"/*.deb
    echo 'OPTIONS=--quiet' >"$ROOT/etc/default/aico-broker"
    check "the packages are removed" in_root -r "${PACKAGES[@]}"
    tree >"$WORK/tree.removed"
    check "  changed configuration stays, nothing else" diff <(comm -13 "$WORK/tree.before" "$WORK/tree.removed") \
        <(printf './etc/default/aico-b%s\n' ackend roker)
    check "  the keys stay" test -s "$AICO_HOME/owner.key"
    check "they are purged" in_root -P "${PACKAGES[@]}"
    tree >"$WORK/tree.purged"
    check "  nothing stays" diff "$WORK/tree.before" "$WORK/tree.purged"
    check "  but the keys, and whose they are" bash -c "[ -s '$AICO_HOME/owner.key' ] && grep -q ^aico-bus: '$ROOT/etc/passwd'"
    rm -rf "$AICO_HOME"
    in_root -i "$DEBS"/*.deb >"$WORK/again" 2>&1
    check "without a home they are purged" in_root -P "${PACKAGES[@]}"
    check "  with folder and user" bash -c "[ ! -e '$ROOT/var/lib/aico-bus' ] && ! grep ^aico-bus: '$ROOT/etc/passwd'"
}

# --- a bare Debian --------------------------------------------------------------------------------------
bare() { # ROOT
    local root=$1
    inside() { chroot "$root" "$@"; }
    as_user() { inside runuser -u aico-bus -- "$@"; }
    grep -q '^12' "$root/etc/debian_version" || { failed "$root is no Debian 12"; finish; }
    mkdir -p "$root/tmp/debs"
    cp "$DEBS"/*.deb "$root/tmp/debs/"
    check "apt finds its lists" inside apt-get update -q
    inside sh -c 'dpkg-query -W | sort' >"$WORK/packages.before"
    check "apt installs the packages with what they need" inside sh -c \
        'apt-get install -y -q --no-install-recommends /tmp/debs/*.deb'
    check "the linker knows the library" inside sh -c 'ldconfig -p | grep -q libaicobus.so.0'
    for program in aico-bus aico-keytool aico-frontend aico-broker aico-backend; do
        check "$program runs" inside "$program" --version
    done
    local home=/var/lib/aico-bus/home
    check "a home is made by its user" as_user aico-keytool init --starter --home $home
    check "the broker is content with it" as_user aico-broker --home $home --check
    # No function here: its shell would be what is stopped.
    chroot "$root" aico-broker --user aico-bus --home $home >"$WORK/bare.err" 2>&1 &
    BROKER_PID=$!
    PIDS+=("$BROKER_PID")
    check "the broker listens" until_true 60 test -S "$root$home/run/bus.sock"
    chroot "$root" runuser -u aico-bus -- timeout 60 aico-bus --home $home --as backend sub 'logs/**' \
        --count 1 >"$WORK/bare.out" &
    READER=$!
    check "a message is published until it is read" until_true 60 bash -c \
        "chroot '$root' runuser -u aico-bus -- aico-bus --home $home --as cli pub logs/bare/v1 hello; [ -s '$WORK/bare.out' ]"
    check "  as it was" grep -q 'logs/bare/v1 cli hello' "$WORK/bare.out"
    check "the reader ends" wait_for "$READER" 0
    check "the broker stops" broker_stop
    check "apt removes them" inside apt-get remove -y -q "${PACKAGES[@]}"
    check "the keys stay" inside test -s $home/owner.key
    check "they are purged" inside dpkg --purge "${PACKAGES[@]}"
    check "nothing of ours is left but the home" bash -c "! chroot '$root' find / -xdev -name '*aico*' \
        ! -path '/tmp/debs/*' ! -path '/var/lib/aico-bus*' ! -path '/var/log/*' ! -path '/proc/*' | grep ."
    check "the keys stay" inside test -s $home/owner.key
    inside apt-get autoremove --purge -y -q >/dev/null 2>&1
    inside sh -c 'dpkg-query -W | sort' >"$WORK/packages.after"
    check "the system has the packages it had" diff "$WORK/packages.before" "$WORK/packages.after"
    rm -r "$root/tmp/debs" "$root/var/lib/aico-bus"
}

if [ "${1-}" = --bare ]; then
    check "the packages are built without a warning" "$SOURCE/tools/deb" "$DEBS"
    contents
    bare "$2"
else
    check "the tree is packaged" "$SOURCE/tools/deb" --tree "$(dirname "$AICO_BIN")" "$DEBS"
    contents
    own_root
fi
finish
