# SPDX-License-Identifier: Apache-2.0
# Sourced: packages_install NAME... installs the Debian packages that are missing and says which.
packages_install() {
    local missing=() name sudo=()
    for name in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    echo "installing: ${missing[*]}"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >/dev/null
}

PACKAGES_BUILD=(gcc libc6-dev cmake ninja-build pkg-config libsodium-dev libssl-dev
    libyaml-dev libsqlite3-dev libjansson-dev libncurses-dev uthash-dev)
PACKAGES_TEST=(clang clang-format clang-tidy cppcheck libclang-rt-14-dev libcmocka-dev libzmq3-dev valgrind gdb tcpdump git
    python3 python3-nacl python3-zmq zsh fish mandoc systemd dpkg-dev sqlite3)
