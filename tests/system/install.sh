#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts somewhere else works from there: the library shows its public functions and
# nothing more, its headers stand alone, and others build against it in every way that is offered.
# AICO_BIN: bin/ of a build tree. Ends with "N passed, N failed".
# Not under sanitizers: it builds other programs against the installed library without those flags.
. "$(dirname "$0")/lib.sh"

SOURCE=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(dirname "$AICO_BIN")
PREFIX=$WORK/prefix
CC=$(sed -n 's/^CMAKE_C_COMPILER:[^=]*=//p' "$BUILD/CMakeCache.txt")

check "the tree installs" cmake --install "$BUILD" --prefix "$PREFIX"
LIB=$(dirname "$(find "$PREFIX" -name libaicobus.a)")
check "no installed file names the build tree" bash -c "! grep -rlF '$BUILD' '$PREFIX' --include='*.cmake' --include='*.pc'"

# --- symbols ------------------------------------------------------------------------------------------
for header in "$PREFIX"/include/aico/*.h; do
    "$CC" -E -P -I "$PREFIX/include" "$header" | tr '\n' ' ' | tr ';' '\n' | grep 'visibility' |
        sed -E 's/__attribute__ *\(\([^)]*(\([^)]*\))?\)\)//g' | grep -oE 'aico_[a-z0-9_]+ *\(' | tr -d ' ('
done | sort -u >"$WORK/declared"
nm -D --defined-only "$LIB/libaicobus.so" | awk '$2 != "A" {sub(/@.*/, "", $3); print $3}' | sort >"$WORK/shared"
nm -g --defined-only "$LIB/libaicobus.a" | awk 'NF == 3 {print $3}' | sort >"$WORK/static"
check "headers declare functions" test "$(wc -l <"$WORK/declared")" -gt 10
check "the shared library exports them, all of them, and nothing else" diff "$WORK/declared" "$WORK/shared"
check "so does the static one" diff "$WORK/declared" "$WORK/static"
check "each export has a version" bash -c "! nm -D --defined-only '$LIB/libaicobus.so' | grep -v '@@AICO_' | grep -q ' T '"
check "the soname is libaicobus.so.0" \
    bash -c "readelf -d '$LIB/libaicobus.so' | grep -q 'SONAME.*\[libaicobus.so.0\]'"

# --- headers ------------------------------------------------------------------------------------------
for header in "$PREFIX"/include/aico/*.h; do
    name=aico/$(basename "$header")
    printf '#include <%s>\n' "$name" >"$WORK/alone.c"
    check "<$name> compiles alone as C11" "$CC" -std=c11 -pedantic -Wall -Wextra -Werror -fsyntax-only \
        -I "$PREFIX/include" "$WORK/alone.c"
    for cxx in c++ clang++; do
        command -v $cxx >/dev/null || continue
        check "<$name> compiles alone as C++" $cxx -x c++ -std=c++11 -Wall -Wextra -Werror -fsyntax-only \
            -I "$PREFIX/include" "$WORK/alone.c"
        break
    done
done

# --- programs -----------------------------------------------------------------------------------------
for program in "$PREFIX"/bin/*; do
    check "${program##*/} runs where it was put" "$program" --version
done

# --- building against it ------------------------------------------------------------------------------
mkdir "$WORK/user"
cat >"$WORK/user/errors.c" <<'END'
#include <stdio.h>
#include <aico/error.h>

int main(void)
{
    return puts(aico_error_name(AICO_EDENIED)) < 0;
}
END
[ -f "$PREFIX/include/aico/client.h" ] && cp "$SOURCE"/docs/examples/*.c "$WORK/user/"
export PKG_CONFIG_PATH=$LIB/pkgconfig

for file in "$WORK"/user/*.c; do
    name=$(basename "$file" .c)
    check "$name.c builds with pkg-config" \
        bash -c "'$CC' -o '$WORK/$name-shared' '$file' \$(pkg-config --cflags --libs aicobus) -Wl,-rpath,'$LIB'"
    check "$name.c builds with pkg-config --static" \
        bash -c "'$CC' -o '$WORK/$name-static' '$file' \$(pkg-config --cflags aicobus) -Wl,-Bstatic -L'$LIB' \
            -laicobus -Wl,-Bdynamic \$(pkg-config --static --libs aicobus | sed 's/-laicobus //')"
    cat >>"$WORK/user/programs.cmake" <<END
add_executable($name $name.c)
target_link_libraries($name AicoBus::aicobus)
add_executable($name-static $name.c)
target_link_libraries($name-static AicoBus::aicobus_static)
END
done
cat >"$WORK/user/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C)
find_package(AicoBus 0.1 REQUIRED COMPONENTS static)
include(programs.cmake)
END
check "find_package finds it" cmake -S "$WORK/user" -B "$WORK/user/build" -DCMAKE_C_COMPILER="$CC" \
    -DCMAKE_PREFIX_PATH="$PREFIX"
check "and programs build with it" cmake --build "$WORK/user/build"

for program in "$WORK/errors-shared" "$WORK/errors-static" "$WORK/user/build/errors" \
    "$WORK/user/build/errors-static"; do
    check "${program#"$WORK"/} runs" test "$("$program")" = E_DENIED
done
check "the static program needs no libaicobus.so" bash -c "! readelf -d '$WORK/errors-static' | grep -q aicobus"

# --- and away -----------------------------------------------------------------------------------------
mv "$PREFIX" "$WORK/moved"
check "an installed tree can be moved" "$WORK/moved/bin/aico-keytool" --version
check "pkg-config follows" test "$(PKG_CONFIG_PATH=${LIB/#"$PREFIX"/"$WORK/moved"}/pkgconfig \
    pkg-config --variable=libdir aicobus | xargs realpath)" = "$(realpath "${LIB/#"$PREFIX"/"$WORK/moved"}")"
finish
