/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile broker hands out beside stored messages: Readings and StoredKeys
 * (session/stored.h). Input: u8 what, bytes.
 *
 *   what % 2   0 a Reading, 1 a StoredKey
 *   what & 2   between the right identities, and signed by whoever should have
 *
 * Whatever comes: no crash, nothing that says another's identity, and no key whose group id does
 * not come out of it.
 */
#include "fuzz.h"

#include "crypto/sign.h"
#include "session/group.h"
#include "session/stored.h"

/* Of the identities in a Reading and a StoredKey. */
#define OWNER_AT 16
#define PUBLISHER_AT 30
#define READER_AT (PUBLISHER_AT + SIGN_PUBLIC_SIZE)

static struct identity *self, *publisher;
static struct reading_keys *keys;

static struct bytes ns(void)
{
    return bytes_text("aico");
}

static void start(void)
{
    static const struct secret ours = {{1}}, theirs = {{2}}, reading = {{3}};

    require(crypto_start() == 0);
    require(identity_new("backend", &ours, 0, &self) == 0);
    require(identity_new("cli", &theirs, 0, &publisher) == 0);
    keys = guarded_new(sizeof(*keys));
    require(keys != NULL);
    keys->count = 1;
    keys->items[0] = (struct reading_key){.number = 1, .secret = reading};
}

static void sign_again(const struct identity *by, const char *label, uint8_t *at, size_t size)
{
    uint8_t room[1 + NAMESPACE_MAX];
    struct writer w = writer_over(room, sizeof(room));

    if (size < SIGNATURE_SIZE)
        return;
    writer_lp8(&w, ns());
    require(sign_make(&by->seed, label, writer_view(&w), bytes_of(at, size - SIGNATURE_SIZE),
                      at + size - SIGNATURE_SIZE) == 0);
}

static void try_reading(uint8_t *at, size_t size, bool is_signed)
{
    struct reading reading;

    if (is_signed && size == READING_SIZE)
        memcpy(at + OWNER_AT, publisher->public, SIGN_PUBLIC_SIZE);
    if (is_signed)
        sign_again(publisher, "reading key", at, size);
    if (reading_verify(bytes_of(at, size), publisher->public, ns(), &reading) == 0)
        require(is_signed && size == READING_SIZE);
}

static void try_key(uint8_t *at, size_t size, bool is_signed)
{
    struct stored_generation g;
    struct secret g0;
    uint8_t id[GROUP_ID_SIZE];

    if (is_signed && size >= READER_AT + SIGN_PUBLIC_SIZE) {
        memcpy(at + PUBLISHER_AT, publisher->public, SIGN_PUBLIC_SIZE);
        memcpy(at + READER_AT, self->public, SIGN_PUBLIC_SIZE);
    }
    if (is_signed)
        sign_again(publisher, "stored key", at, size);
    if (stored_key_open(bytes_of(at, size), self->public, ns(), publisher->public, keys, &g, &g0) <
        0)
        return;
    require(is_signed && g.filter.size > 0 && g.filter.size <= TOPIC_SIZE_MAX);
    group_derive_id(&g0, g.generation, publisher->public, g.filter, id);
    require(memcmp(id, g.id, sizeof(id)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (!self)
        start();
    if (size == 0)
        return 0;
    copy = copy_of(bytes_of(data + 1, size - 1));
    if (data[0] % 2 == 0)
        try_reading(copy, size - 1, data[0] & 2);
    else
        try_key(copy, size - 1, data[0] & 2);
    free(copy);
    return 0;
}
