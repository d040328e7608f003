/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stack of free blocks for every size. Givers push one block, a taker takes all there are at
 * once: a block that was pushed is never popped alone, so no thread sees a stack that has changed
 * and looks the same.
 *
 * In front of the stacks, each thread keeps the one small block it gave back last. Who frees a
 * message before it receives the next gets the same block again, without an atomic instruction.
 */
#include "base/cleanup.h"
#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define SIZE_FIRST ((size_t)256)
#define KEPT_MAX ((size_t)8 * 1024 * 1024) /* bytes of one size */
#define OWN_MAX 4096                       /* bytes of the one a thread keeps */
#define CLASS_NONE UINT32_MAX

/* In front of what the user gets, which it keeps aligned. */
struct pool_block {
    struct pool_block *next;
    uint32_t class;
    uint32_t size; /* bytes of a block of this class */
};
_Static_assert(sizeof(struct pool_block) == 16, "keeps blocks 16-aligned");
_Static_assert(SIZE_FIRST << (POOL_CLASSES / 4) == POOL_SIZE_MAX, "the last class is the largest");

/* Each on a cache line of its own. */
static struct pool_stack {
    _Alignas(64) _Atomic(struct pool_block *) top;
    atomic_size_t count; /* about; only bounds what is kept */
} stacks[POOL_CLASSES];

/* The sanitizer sees use after free only if it is one. */
#if defined(__SANITIZE_ADDRESS__)
#define POOL_IS_OFF true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_IS_OFF true
#endif
#endif
#ifndef POOL_IS_OFF
#define POOL_IS_OFF false
#endif

/* The class of blocks of @size bytes and more, and their size; CLASS_NONE: too large. */
static uint32_t class_of(size_t size, size_t *ret_size)
{
    size_t quarter;
    unsigned power, step;
    uint32_t class;

    *ret_size = SIZE_FIRST;
    if (size <= SIZE_FIRST)
        return 0;
    if (size > POOL_SIZE_MAX)
        return CLASS_NONE;
    power = 63u - (unsigned)__builtin_clzll((unsigned long long)size - 1);
    quarter = (size_t)1 << (power - 2);
    step = (unsigned)((size - 1) >> (power - 2)) & 3u;
    class = (power - 8) * 4 + step + 1;
    *ret_size = (4 + step + 1) * quarter;
    return class < POOL_CLASSES ? class : CLASS_NONE;
}

/* --- the block that a thread gave back last ------------------------------------------------- */

static pthread_key_t at_exit;
static bool has_exit; /* threads that end are told; the library is never unloaded (-z nodelete) */

/* At a fixed place of a thread's memory, also in a shared library: no call to find it. */
static _Thread_local struct {
    struct pool_block *last; /* NULL: none */
    bool is_told;            /* when this thread ends */
} own __attribute__((tls_model("initial-exec")));

static void push(struct pool_block *block);

static void thread_ends(void *unused UNUSED)
{
    struct pool_block *block = own.last;

    own.last = NULL;
    own.is_told = false; /* what still gives back after this tells anew */
    if (block)
        push(block);
}

__attribute__((constructor)) static void begin(void)
{
    has_exit = pthread_key_create(&at_exit, thread_ends) == 0;
}

static bool is_told_at_exit(void)
{
    if (!own.is_told)
        own.is_told = has_exit && pthread_setspecific(at_exit, &own) == 0;
    return own.is_told;
}

/* --- the stacks ----------------------------------------------------------------------------- */

static struct pool_block *take_all(struct pool_stack *stack)
{
    if (!atomic_load_explicit(&stack->top, memory_order_relaxed))
        return NULL;
    atomic_store_explicit(&stack->count, 0, memory_order_relaxed);
    return atomic_exchange_explicit(&stack->top, NULL, memory_order_acquire);
}

static void push(struct pool_block *block)
{
    struct pool_stack *stack = &stacks[block->class];

    if (atomic_fetch_add_explicit(&stack->count, 1, memory_order_relaxed) >=
        KEPT_MAX / block->size) {
        (void)atomic_fetch_sub_explicit(&stack->count, 1, memory_order_relaxed);
        free(block);
        return;
    }
    block->next = atomic_load_explicit(&stack->top, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&stack->top, &block->next, block,
                                                  memory_order_release, memory_order_relaxed))
        ;
}

/* One that was given back; NULL: there is none. */
static struct pool_block *take_again(struct pool_taker *taker, uint32_t class)
{
    struct pool_block *block = own.last;

    if (block && block->class == class) {
        own.last = NULL;
        return block;
    }
    if (!taker->blocks[class])
        taker->blocks[class] = take_all(&stacks[class]);
    block = taker->blocks[class];
    if (block)
        taker->blocks[class] = block->next;
    return block;
}

void *pool_take(struct pool_taker *taker, size_t size)
{
    size_t real = size;
    uint32_t class = POOL_IS_OFF || !taker ? CLASS_NONE : class_of(size, &real);
    struct pool_block *block = class == CLASS_NONE ? NULL : take_again(taker, class);

    if (block)
        return block + 1;
    if (class == CLASS_NONE)
        real = size;
    if (real > SIZE_MAX - sizeof(*block))
        return NULL;
    block = malloc(sizeof(*block) + real);
    if (!block)
        return NULL;
    block->class = class;
    block->size = (uint32_t)real;
    return block + 1;
}

void pool_give(void *pointer)
{
    struct pool_block *block = pointer, *before;

    if (!block)
        return;
    block--;
    if (block->class == CLASS_NONE) {
        free(block);
        return;
    }
    if (block->size <= OWN_MAX && is_told_at_exit()) {
        before = own.last;
        own.last = block;
        block = before;
    }
    if (block)
        push(block);
}

void pool_taker_deinit(struct pool_taker *taker)
{
    for (size_t i = 0; i < POOL_CLASSES; i++)
        while (taker->blocks[i]) {
            struct pool_block *block = taker->blocks[i];

            taker->blocks[i] = block->next;
            pool_give(block + 1);
        }
}
