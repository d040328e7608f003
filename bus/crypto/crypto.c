/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up, comparison and guarded memory. Any thread. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sodium.h>

#include "crypto/crypto.h"

int crypto_start(void)
{
    return sodium_init() < 0 ? AICO_EINTERNAL : 0;
}

bool secret_equal(const void *a, const void *b, size_t size)
{
    return sodium_memcmp(a, b, size) == 0;
}

/*
 * One guarded object:
 *
 *   guard page | ... unused ... | struct guard | object, its end on the page's end | guard page
 *
 * so a write past the object hits the guard page and one before it is found by guarded_free().
 * sodium_malloc() has no way to mark its pages MADV_WIPEONFORK, hence our own mapping.
 */
struct guard {
    void *map;
    size_t map_size;
    size_t size;  /* of the object, rounded up */
    size_t check; /* the others, folded with GUARD_CHECK */
};

#define GUARD_ALIGN _Alignof(max_align_t)
#define GUARD_CHECK ((size_t)0x5ec7e70fca11ab1eu)

_Static_assert(sizeof(struct guard) % GUARD_ALIGN == 0, "the object follows the guard, aligned");

static size_t guard_check(const struct guard *guard)
{
    return GUARD_CHECK ^ (uintptr_t)guard->map ^ guard->map_size ^ guard->size;
}

void *guarded_new(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct guard *guard;
    size_t inner;
    uint8_t *map;

    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + GUARD_ALIGN - 1) / GUARD_ALIGN * GUARD_ALIGN;
    inner = (size + sizeof(*guard) + page - 1) / page * page;
    map = mmap(NULL, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    /* Memory that could be dumped or inherited is refused; memory that could be swapped out is
     * not: RLIMIT_MEMLOCK is small on many machines, and swap may be encrypted. */
    if (mprotect(map + page, inner, PROT_READ | PROT_WRITE) < 0 ||
        madvise(map + page, inner, MADV_DONTDUMP) < 0 ||
        madvise(map + page, inner, MADV_WIPEONFORK) < 0) {
        (void)munmap(map, inner + 2 * page);
        return NULL;
    }
    (void)mlock(map + page, inner);

    guard = (struct guard *)(void *)(map + page + inner - size - sizeof(*guard));
    *guard = (struct guard){.map = map, .map_size = inner + 2 * page, .size = size};
    guard->check = guard_check(guard);
    return guard + 1;
}

void guarded_free(void *pointer_to_pointer)
{
    void **pointer = pointer_to_pointer;
    struct guard *guard;

    if (!*pointer)
        return;
    guard = (struct guard *)*pointer - 1;
    *pointer = NULL;
    /* After a fork the child finds only zeros, also here. There is nothing left to erase, and
     * where the mapping begins is no longer known: it goes with the process. */
    if (!guard->map && guard->check == 0)
        return;
    if (guard->check != guard_check(guard))
        abort(); /* something wrote before the object: secrets may be anywhere */
    memory_wipe(guard + 1, guard->size);
    (void)munmap(guard->map, guard->map_size);
}
