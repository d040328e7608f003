/* SPDX-License-Identifier: Apache-2.0 */
/* Random inputs from a seed that is printed, and that AICO_TEST_SEED repeats. Include it behind
 * <cmocka.h>; one thread. */
#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <stdint.h>
#include <stdlib.h>

static uint64_t random_state = 20261130;

static inline uint64_t random_u64(void)
{
    /* splitmix64 */
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline void random_fill(void *to, size_t size)
{
    uint8_t *at = to;

    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)random_u64();
}

static inline void random_start(void)
{
    const char *text = getenv("AICO_TEST_SEED");

    if (text)
        random_state = strtoull(text, NULL, 0);
    print_message("AICO_TEST_SEED=%llu\n", (unsigned long long)random_state);
}

#endif
