/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts texts into blocks: a vector unit's code hashes them. */
#include "cipher/blake2b.h"

#include <assert.h>
#include <string.h>

#include <sodium.h>

#include "base/cleanup.h"
#include "base/secret.h"
#include "cipher/blake2b_lanes.h"

const uint64_t blake2b_iv[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

#define ALL_BITS UINT64_MAX
/* Digest of 32 bytes, no key, one leaf: the first word of the parameters (RFC 7693, 2.5). */
#define PARAMETERS (UINT64_C(0x01010000) ^ BLAKE2B_256_SIZE)

/* One of them does it; none: libsodium. */
static const struct unit {
    bool (*is_there)(void);
    void (*compress)(struct blake2b_lanes *lanes, size_t blocks);
    void (*wipe)(void);
} units[] = {
    {blake2b_avx512_is_there, blake2b_avx512_compress, blake2b_avx512_wipe},
    {blake2b_avx2_is_there, blake2b_avx2_compress, blake2b_avx2_wipe},
};

static const struct unit *unit;

bool blake2b_is_fast(void)
{
    return unit != NULL;
}

/* What is left of one text: its first block, whole ones of the body, and the last. */
struct cut {
    uint8_t first[BLAKE2B_BLOCK_SIZE], last[BLAKE2B_BLOCK_SIZE];
    const uint8_t *body;
    size_t body_blocks;
    uint64_t size;
    enum { FIRST, BODY, LAST, OVER } next;
};

/* The last block is never empty unless the text is. */
static void cut_begin(struct cut *cut, const struct blake2b_text *text)
{
    size_t begin = MIN(text->body_size, (size_t)BLAKE2B_BLOCK_SIZE - text->head_size);
    size_t rest = text->body_size - begin, end;

    assert(text->head_size <= BLAKE2B_BLOCK_SIZE);
    memset(cut, 0, sizeof(*cut));
    cut->size = text->head_size + text->body_size;
    memcpy(cut->first, text->head, text->head_size);
    if (begin > 0)
        memcpy(cut->first + text->head_size, text->body, begin);
    if (rest == 0) {
        memcpy(cut->last, cut->first, sizeof(cut->last));
        cut->next = LAST;
        return;
    }
    cut->body = text->body + begin;
    cut->body_blocks = (rest - 1) / BLAKE2B_BLOCK_SIZE;
    end = rest - cut->body_blocks * BLAKE2B_BLOCK_SIZE;
    memcpy(cut->last, cut->body + rest - end, end);
}

/* Points lane @i at what comes next of @cut; how many blocks that is. */
static size_t cut_point(struct cut *cut, struct blake2b_lanes *lanes, size_t i)
{
    if (cut->next == BODY && cut->body_blocks == 0)
        cut->next = LAST;
    switch (cut->next) {
    case FIRST:
        lanes->at[i] = cut->first;
        lanes->size[i] = BLAKE2B_BLOCK_SIZE;
        return 1;
    case BODY:
        lanes->at[i] = cut->body;
        lanes->step[i] = BLAKE2B_BLOCK_SIZE;
        lanes->size[i] += BLAKE2B_BLOCK_SIZE;
        return cut->body_blocks;
    case LAST:
        lanes->at[i] = cut->last;
        lanes->step[i] = 0;
        lanes->size[i] = cut->size;
        lanes->last[i] = ALL_BITS;
        return 1;
    case OVER:
        lanes->live[i] = 0;
        break;
    }
    return SIZE_MAX;
}

/* @blocks of it were hashed. */
static void cut_advance(struct cut *cut, size_t blocks)
{
    switch (cut->next) {
    case FIRST:
        cut->next = BODY;
        return;
    case BODY:
        cut->body += blocks * BLAKE2B_BLOCK_SIZE;
        cut->body_blocks -= blocks;
        return;
    case LAST:
    case OVER:
        cut->next = OVER;
        return;
    }
}

static void hash_lanes(const struct unit *by, const struct blake2b_text *texts, size_t count,
                       uint8_t ret[BLAKE2B_LANES][BLAKE2B_256_SIZE])
{
    struct cut cuts[BLAKE2B_LANES];
    struct blake2b_lanes lanes = {0};

    for (size_t i = 0; i < BLAKE2B_LANES; i++) {
        for (size_t word = 0; word < 8; word++)
            lanes.h[word][i] = blake2b_iv[word] ^ (word == 0 ? PARAMETERS : 0);
        lanes.live[i] = ALL_BITS;
        if (i < count)
            cut_begin(&cuts[i], &texts[i]);
        else
            cuts[i] = (struct cut){.next = OVER};
        lanes.at[i] = cuts[i].last;
    }
    for (;;) {
        size_t blocks = SIZE_MAX;

        for (size_t i = 0; i < BLAKE2B_LANES; i++) {
            size_t left = cut_point(&cuts[i], &lanes, i);

            blocks = MIN(blocks, left);
        }
        if (blocks == SIZE_MAX)
            break;
        by->compress(&lanes, blocks);
        for (size_t i = 0; i < BLAKE2B_LANES; i++)
            cut_advance(&cuts[i], blocks);
    }
    by->wipe();
    for (size_t i = 0; i < count; i++)
        for (size_t word = 0; word < BLAKE2B_256_SIZE / 8; word++)
            memcpy(ret[i] + 8 * word, &lanes.h[word][i], 8); /* x86 is little-endian, as it is */
    memory_wipe(cuts, sizeof(cuts));
    memory_wipe(&lanes, sizeof(lanes));
}

static void hash_by_libsodium(const struct blake2b_text *text, uint8_t ret[BLAKE2B_256_SIZE])
{
    crypto_generichash_state state;

    (void)crypto_generichash_init(&state, NULL, 0, BLAKE2B_256_SIZE);
    (void)crypto_generichash_update(&state, text->head, text->head_size);
    if (text->body_size > 0)
        (void)crypto_generichash_update(&state, text->body, text->body_size);
    (void)crypto_generichash_final(&state, ret, BLAKE2B_256_SIZE);
    memory_wipe(&state, sizeof(state));
}

void blake2b_256(struct blake2b_text *texts, size_t count,
                 uint8_t ret[BLAKE2B_LANES][BLAKE2B_256_SIZE])
{
    assert(count > 0 && count <= BLAKE2B_LANES);
    if (unit)
        hash_lanes(unit, texts, count, ret);
    for (size_t i = 0; i < count; i++) {
        if (!unit)
            hash_by_libsodium(&texts[i], ret[i]);
        memory_wipe(texts[i].head, sizeof(texts[i].head));
    }
}

/* Texts of one block and of several, the last of them full and not, beside libsodium. */
static bool is_equal(const struct unit *by)
{
    static const size_t sizes[BLAKE2B_LANES] = {700, 38, 37 + 4 * BLAKE2B_BLOCK_SIZE, 0};
    struct blake2b_text texts[BLAKE2B_LANES];
    uint8_t body[700], expected[BLAKE2B_256_SIZE], hashes[BLAKE2B_LANES][BLAKE2B_256_SIZE];
    bool equal = true;

    randombytes_buf(body, sizeof(body));
    for (size_t i = 0; i < BLAKE2B_LANES; i++) {
        texts[i] =
            (struct blake2b_text){.head_size = 91 - 7 * i, .body = body, .body_size = sizes[i]};
        randombytes_buf(texts[i].head, sizeof(texts[i].head));
    }
    hash_lanes(by, texts, BLAKE2B_LANES, hashes);
    for (size_t i = 0; i < BLAKE2B_LANES; i++) {
        hash_by_libsodium(&texts[i], expected);
        equal &= memcmp(hashes[i], expected, sizeof(expected)) == 0;
    }
    return equal;
}

void blake2b_start(void)
{
    for (size_t i = 0; i < COUNT_OF(units) && !unit; i++)
        if (units[i].is_there() && is_equal(&units[i]))
            unit = &units[i];
}
