/* SPDX-License-Identifier: Apache-2.0 */
/* Making and checking the messages of a benchmark. */
#include "bench/payload.h"

#include <stdlib.h>
#include <string.h>

#define SHIFTS 256 /* places a body may begin at */

_Static_assert(sizeof(struct payload) + sizeof(uint64_t) == PAYLOAD_SIZE_MIN, "no padding");

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t check_of(const struct payload *p, size_t size)
{
    return mix(mix(mix((uint64_t)p->publisher << 32 | p->kind) + p->number) + p->time_ns) + size;
}

int payload_pattern_init(struct payload_pattern *ret_pattern, size_t size_max)
{
    size_t size = size_max + SHIFTS;
    uint8_t *at = malloc(size);
    uint64_t state = 0;

    if (!at)
        return AICO_ENOMEM;
    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)mix(++state);
    *ret_pattern = (struct payload_pattern){.at = at, .size_max = size_max};
    return 0;
}

void payload_pattern_deinit(struct payload_pattern *pattern)
{
    free(pattern->at);
    *pattern = (struct payload_pattern){0};
}

void payload_write(const struct payload_pattern *pattern, const struct payload *payload, void *to,
                   size_t size)
{
    uint64_t check = check_of(payload, size);
    uint8_t *at = to;

    memcpy(at, payload, sizeof(*payload));
    memcpy(at + sizeof(*payload), &check, sizeof(check));
    memcpy(at + PAYLOAD_SIZE_MIN, pattern->at + payload->number % SHIFTS, size - PAYLOAD_SIZE_MIN);
}

bool payload_read(const struct payload_pattern *pattern, const void *at, size_t got, size_t size,
                  struct payload *ret_payload)
{
    const uint8_t *bytes = at;
    struct payload p;
    uint64_t check;

    if (got != size || size < PAYLOAD_SIZE_MIN || size > pattern->size_max)
        return false;
    memcpy(&p, bytes, sizeof(p));
    memcpy(&check, bytes + sizeof(p), sizeof(check));
    if (check != check_of(&p, size) ||
        memcmp(bytes + PAYLOAD_SIZE_MIN, pattern->at + p.number % SHIFTS,
               size - PAYLOAD_SIZE_MIN) != 0)
        return false;
    *ret_payload = p;
    return true;
}
