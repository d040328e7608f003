/* SPDX-License-Identifier: Apache-2.0 */
/* Random metadata of format 0 from a seed, for the unit test and for the other implementation's
 * reader. Tests only; one thread. */
#ifndef TEST_RANDOM_METADATA_H
#define TEST_RANDOM_METADATA_H

#include <stdio.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "envelope/metadata.h"

static uint64_t state_of_random;

static inline uint64_t random_u64(void)
{
    /* splitmix64 */
    uint64_t z = (state_of_random += 0x9e3779b97f4a7c15u);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline uint64_t below(uint64_t bound)
{
    return random_u64() % bound;
}

/* Random UTF-8, rich in what has to be escaped. */
static inline struct bytes random_text(uint8_t *to, size_t characters)
{
    static const uint32_t edges[] = {0,    0x1f, 0x20,  '"',   '\\',   '/',     0x7e,
                                     0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000,  0xffff,
                                     '\n', '\r', '\t',  '\b',  '\f',   0x10000, 0x10ffff};
    size_t size = 0;

    for (size_t i = 0; i < characters; i++) {
        uint32_t code = below(3) ? (uint32_t)(' ' + below(95)) : edges[below(COUNT_OF(edges))];

        size += utf8_write(code, to + size);
    }
    return bytes_of(to, size);
}

static inline void random_value(struct metadata_writer *m, const char *key, unsigned depth)
{
    uint8_t text[200];
    char number[40], name[32];
    size_t count = below(4);

    switch (below(depth < 4 ? 8 : 6)) {
    case 0:
        metadata_text(m, key, random_text(text, below(30)));
        break;
    case 1:
        metadata_int(m, key, (int64_t)random_u64() >> below(64));
        break;
    case 2:
        (void)snprintf(number, sizeof(number), "%s%d.%d", below(2) ? "-" : "", (int)below(1000000),
                       (int)(below(100) * 10 + 1 + below(9)));
        metadata_number(m, key, number);
        break;
    case 3:
        metadata_bool(m, key, below(2));
        break;
    case 4:
        metadata_null(m, key);
        break;
    case 5:
        metadata_seconds(m, key, (int64_t)below(2000000000000));
        break;
    case 6:
        metadata_object(m, key);
        for (size_t i = 0; i < count; i++) {
            (void)snprintf(name, sizeof(name), "k%zu", i);
            random_value(m, name, depth + 1);
        }
        metadata_end_object(m);
        break;
    default:
        metadata_array(m, key);
        for (size_t i = 0; i < count; i++)
            random_value(m, NULL, depth + 1);
        metadata_end_array(m);
        break;
    }
}

/* An object with `timestamp` (@ms), `topic` and up to five random members, in @storage. */
static inline int random_metadata(void *storage, size_t size, int64_t ms, struct bytes topic,
                                  struct bytes *ret_metadata)
{
    size_t count = below(6);
    struct metadata_writer m;
    char name[32];

    metadata_begin(&m, storage, size);
    metadata_seconds(&m, "timestamp", ms);
    metadata_text(&m, "topic", topic);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "m\xc3\xa9%zu", i);
        random_value(&m, name, 1);
    }
    return metadata_end(&m, ret_metadata);
}

#endif
