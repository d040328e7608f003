# SPDX-License-Identifier: Apache-2.0
# Language, warnings, sanitizers and the libraries of Debian 12.
# Debian's folder for libraries also outside of /usr: then a tree can be packaged as it was configured.
if(CMAKE_LIBRARY_ARCHITECTURE AND EXISTS /etc/debian_version)
    set(CMAKE_INSTALL_LIBDIR lib/${CMAKE_LIBRARY_ARCHITECTURE} CACHE PATH "folder for libraries")
endif()
include(GNUInstallDirs)
find_package(PkgConfig REQUIRED)

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON) # statement expressions and cleanup attributes
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()

# Installed programs find the library beside them, wherever the tree is put; packages need no such help.
set(AICO_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}" CACHE STRING "where installed programs look for the library")
set(CMAKE_INSTALL_RPATH "${AICO_RPATH}")

option(AICO_TESTS "build the tests" ON)
option(AICO_WERROR "treat warnings as errors" ON)
set(AICO_SANITIZE "" CACHE STRING "sanitizers, e.g. address,undefined or thread")
option(AICO_FUZZ "build the libFuzzer targets (clang)" OFF)
option(AICO_COVERAGE "measure coverage" OFF)

add_compile_definitions(_GNU_SOURCE)
add_compile_options(-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
    -Wcast-align -Wwrite-strings -Wvla -Wundef -Wformat=2 -Wno-missing-field-initializers
    -fno-common -fstack-protector-strong)
# GCC clears and copies structs by `rep stos` and `rep movs`, which take thirty cycles to begin
# (docs/decisions/0135).
include(CheckCCompilerFlag)
foreach(CALL memset memcpy)
    set(STRATEGY -m${CALL}-strategy=unrolled_loop:512:noalign,libcall:-1:noalign)
    check_c_compiler_flag(${STRATEGY} AICO_HAS_${CALL}_STRATEGY)
    if(AICO_HAS_${CALL}_STRATEGY)
        add_compile_options(${STRATEGY})
    endif()
endforeach()
# What is bound at its first call leaves the vector registers, and with them keys, on the stack.
add_link_options(LINKER:-z,relro,-z,now)
if(AICO_WERROR)
    add_compile_options(-Werror)
endif()
if(AICO_SANITIZE)
    add_compile_options(-fsanitize=${AICO_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${AICO_SANITIZE})
elseif(CMAKE_BUILD_TYPE MATCHES "Rel")
    add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(AICO_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(AICO_COVERAGE)
    add_compile_options(--coverage -fprofile-update=atomic) # threads count, too
    add_link_options(--coverage)
endif()

find_package(Threads REQUIRED)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(LIBCRYPTO REQUIRED IMPORTED_TARGET libcrypto>=3.0)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(NCURSES REQUIRED IMPORTED_TARGET ncursesw)
