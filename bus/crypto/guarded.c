/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guarded memory. Any thread.
 *
 * The kernel is asked for regions. A region is a row of places of one size between two pages that
 * nobody may touch, and an object lies at the end of its place:
 *
 *   guard page | place | place | ... | guard page        place: zeros | struct guard | object
 *
 * So a write past an object hits the guard page, or changes what lies before the next one, which is
 * looked at when either is freed; one that begins before it changes its own guard.
 *
 * Objects share a region because a process may have no more than vm.max_map_count mappings, 65530
 * unless somebody raised it, and each region takes two: docs/decisions/0128. sodium_malloc() gives
 * every object a mapping, and has no way to mark it MADV_WIPEONFORK.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utlist.h>

#include "base/cleanup.h"
#include "crypto/crypto.h"

/* The sanitizer sees what is outside of an object as if every object were alone. */
#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifdef IS_SANITIZED
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#define IS_NO_LEAK(at) __lsan_ignore_object(at)
#else
#define IS_SANITIZED false
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define IS_NO_LEAK(at) ((void)(at))
#endif

/* In front of an object. */
struct guard {
    struct region *region;
    size_t check; /* the region and where this lies, folded with GUARD_CHECK */
};

/* What is known of a region lies outside of it: who writes past an object does not change it. */
struct region {
    struct region *prev, *next; /* of its class, while it has room */
    uint8_t *map;               /* begins with the first guard page */
    size_t map_size, place_size;
    uint8_t *places;
    size_t count, taken;
    size_t search;  /* no place before it is free */
    size_t sizes[]; /* of the object in each place, rounded up; 0: none */
};

#define GUARD_ALIGN _Alignof(max_align_t)
#define GUARD_CHECK ((size_t)0x5ec7e70fca11ab1eu)
#define STEP ((size_t)128)     /* places are multiples of it */
#define SHARED_MAX (16 * STEP) /* larger places have a region each */
#define CLASSES (SHARED_MAX / STEP)
/* Pages of a region: the first of a class has one, each next twice that, at most these. */
#define PAGES_MAX ((size_t)32)

_Static_assert(sizeof(struct guard) % GUARD_ALIGN == 0, "the object follows the guard, aligned");
_Static_assert(STEP % GUARD_ALIGN == 0, "so is the end of a place");

/* On a page that is wiped in a child of any kind, which finds a lock that is free and no region. */
struct guarded_state {
    pthread_mutex_t lock;
    bool is_first; /* false: the page was wiped, this is a child */
    struct size_class {
        struct region *with_room;
        size_t regions;
        size_t pages; /* of its next region; 0: one */
    } classes[CLASSES];
};

static struct guarded_state *state;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_state(void)
{
    void *at =
        mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED)
        return;
    if (madvise(at, sizeof(*state), MADV_WIPEONFORK) < 0)
        (void)munmap(at, sizeof(*state));
    else
        state = at;
    if (state)
        state->is_first = true;
}

/* --- regions ---------------------------------------------------------------------------------- */

/* NULL: such places have a region each. */
static struct size_class *class_of(size_t place_size)
{
    return place_size <= SHARED_MAX ? &state->classes[place_size / STEP - 1] : NULL;
}

/* Memory that could be dumped or inherited is refused; memory that could be swapped out is not:
 * RLIMIT_MEMLOCK is small on many machines, and swap may be encrypted. */
static uint8_t *map_between_guards(size_t size, size_t page)
{
    uint8_t *map = mmap(NULL, size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (map == MAP_FAILED)
        return NULL;
    if (mprotect(map + page, size, PROT_READ | PROT_WRITE) < 0 ||
        madvise(map + page, size, MADV_DONTDUMP) < 0 ||
        madvise(map + page, size, MADV_WIPEONFORK) < 0) {
        (void)munmap(map, size + 2 * page);
        return NULL;
    }
    (void)mlock(map + page, size);
    return map;
}

/* At least one place. The last ends where the guard page begins. */
static struct region *region_new(size_t pages, size_t place_size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = MAX(pages * page, (place_size + page - 1) / page * page);
    size_t count = place_size <= SHARED_MAX ? inner / place_size : 1;
    struct region *region = calloc(1, sizeof(*region) + count * sizeof(region->sizes[0]));

    if (!region)
        return NULL;
    region->map = map_between_guards(inner, page);
    if (!region->map) {
        free(region);
        return NULL;
    }
    region->map_size = inner + 2 * page;
    region->place_size = place_size;
    region->count = count;
    region->places = region->map + page + inner - count * place_size;
    ASAN_POISON_MEMORY_REGION(region->places, count * place_size);
    IS_NO_LEAK(region); /* only guarded memory may point at it, which is not looked at */
    return region;
}

static void region_free(struct region *region)
{
    ASAN_UNPOISON_MEMORY_REGION(region->places, region->count * region->place_size);
    (void)munmap(region->map, region->map_size);
    free(region);
}

/* A region that has room. */
static struct region *find_region(size_t place_size)
{
    struct size_class *class = class_of(place_size);
    struct region *region;

    if (!class)
        return region_new(1, place_size);
    if (class->with_room)
        return class->with_room;
    region = region_new(MAX(class->pages, (size_t)1), place_size);
    if (!region)
        return NULL;
    class->pages = MIN(MAX(2 * class->pages, (size_t)2), PAGES_MAX);
    class->regions++;
    DL_PREPEND(class->with_room, region);
    return region;
}

/* Returns where the place ends. */
static uint8_t *take_place(struct region *region, size_t size)
{
    struct size_class *class = class_of(region->place_size);

    while (region->sizes[region->search] != 0)
        region->search++;
    region->sizes[region->search] = size;
    if (++region->taken == region->count && class)
        DL_DELETE(class->with_room, region);
    return region->places + (region->search + 1) * region->place_size;
}

static void give_place(struct region *region, size_t index)
{
    struct size_class *class = class_of(region->place_size);

    region->sizes[index] = 0;
    region->search = MIN(region->search, index);
    if (region->taken-- == region->count && class)
        DL_PREPEND(class->with_room, region);
    if (region->taken > 0)
        return;
    if (class)
        DL_DELETE(class->with_room, region);
    if (class && --class->regions == 0)
        class->pages = 0;
    region_free(region);
}

/* --- objects ---------------------------------------------------------------------------------- */

static size_t guard_check(const struct guard *guard)
{
    return GUARD_CHECK ^ (uintptr_t)guard ^ (uintptr_t)guard->region;
}

static bool is_zero(const uint8_t *at, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (at[i] != 0)
            return false;
    return true;
}

/* Whether nothing was written over what lies in place @index before its object. */
static bool is_start_sound(const struct region *region, size_t index)
{
    const uint8_t *place = region->places + index * region->place_size;
    size_t size = region->sizes[index], unused;

    if (IS_SANITIZED) /* that was seen when it happened, and looking would be, too */
        return true;
    if (size == 0)
        return is_zero(place, region->place_size);
    unused = region->place_size - size - sizeof(struct guard);
    return is_zero(place, unused) &&
           guard_check((const struct guard *)(const void *)(place + unused)) ==
               ((const struct guard *)(const void *)(place + unused))->check;
}

static void *new_object(size_t size)
{
    struct region *region = find_region((size + sizeof(struct guard) + STEP - 1) / STEP * STEP);
    struct guard *guard;
    uint8_t *object;

    if (!region)
        return NULL;
    object = take_place(region, size) - size;
    if (!IS_SANITIZED && !is_zero(object - sizeof(*guard), sizeof(*guard) + size))
        abort(); /* something wrote to an object that it had freed */
    ASAN_UNPOISON_MEMORY_REGION(object - sizeof(*guard), sizeof(*guard) + size);
    guard = (struct guard *)(void *)object - 1;
    guard->region = region;
    guard->check = guard_check(guard);
    ASAN_POISON_MEMORY_REGION(guard, sizeof(*guard));
    return object;
}

void *guarded_new(size_t size)
{
    void *object;

    if (size > SIZE_MAX / 2)
        return NULL;
    size = (MAX(size, (size_t)1) + GUARD_ALIGN - 1) / GUARD_ALIGN * GUARD_ALIGN;
    (void)pthread_once(&once, open_state);
    if (!state)
        return NULL;
    (void)pthread_mutex_lock(&state->lock);
    object = new_object(size);
    (void)pthread_mutex_unlock(&state->lock);
    return object;
}

static void free_object(struct guard *guard)
{
    struct region *region = guard->region;
    uint8_t *object = (uint8_t *)(guard + 1);
    size_t index = (size_t)(object - region->places) / region->place_size;

    if (!is_start_sound(region, index) ||
        (index + 1 < region->count && !is_start_sound(region, index + 1)))
        abort(); /* something wrote outside of its object: secrets may be anywhere */
    memory_wipe(guard, sizeof(*guard) + region->sizes[index]);
    ASAN_POISON_MEMORY_REGION(guard, sizeof(*guard) + region->sizes[index]);
    give_place(region, index);
}

void guarded_free(void *pointer_to_pointer)
{
    void **pointer = pointer_to_pointer;
    struct guard *guard;

    if (!*pointer)
        return;
    guard = (struct guard *)*pointer - 1;
    *pointer = NULL;
    ASAN_UNPOISON_MEMORY_REGION(guard, sizeof(*guard));
    /* After a fork the child finds only zeros, also here. There is nothing left to erase, and
     * its region is no longer known: it goes with the process. */
    if (!guard->region && guard->check == 0 && !state->is_first)
        return;
    if (guard->check != guard_check(guard))
        abort();
    (void)pthread_mutex_lock(&state->lock);
    free_object(guard);
    (void)pthread_mutex_unlock(&state->lock);
}
