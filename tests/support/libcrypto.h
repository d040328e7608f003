/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of the code over libcrypto need: its memory runs out, and is looked through. */
#ifndef TESTS_LIBCRYPTO_H
#define TESTS_LIBCRYPTO_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/cleanup.h"

static bool libcrypto_is_starved; /* it gets no memory */
static size_t libcrypto_asked;    /* so often it wanted some */

static void *libcrypto_allocate(size_t size, const char *file UNUSED, int line UNUSED)
{
    libcrypto_asked++;
    return libcrypto_is_starved ? NULL : malloc(size);
}

static void *libcrypto_reallocate(void *at, size_t size, const char *file UNUSED, int line UNUSED)
{
    return libcrypto_is_starved ? NULL : realloc(at, size);
}

static void libcrypto_release(void *at, const char *file UNUSED, int line UNUSED)
{
    free(at);
}

/* Before anything calls libcrypto. False: too late. */
static inline bool libcrypto_take_memory(void)
{
    return CRYPTO_set_mem_functions(libcrypto_allocate, libcrypto_reallocate, libcrypto_release) ==
           1;
}

static inline void close_file(FILE **file)
{
    if (*file)
        (void)fclose(*file);
}

static inline bool heap_has(const void *what, size_t size)
{
    CLEANUP(close_file)
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];

    while (maps && fgets(line, sizeof(line), maps)) {
        unsigned long from, to;

        if (strstr(line, "[heap]") && sscanf(line, "%lx-%lx", &from, &to) == 2 &&
            memmem((const void *)from, to - from, what, size)) // NOLINT(performance-no-int-to-ptr)
            return true;
    }
    return false;
}

/* Whether @what is anywhere in the allocator's memory, of which libcrypto's is, used or freed. A
 * sanitizer's allocator has its memory elsewhere: nothing is found then. */
static inline bool is_in_heap(const void *what, size_t size)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    char *known = strdup("this is found");

    if (!known || !heap_has(known, strlen(known)))
        abort();
    free(known);
#endif
    return heap_has(what, size);
}

#endif
