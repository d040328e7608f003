/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prekeys from a hostile broker, member or disk. Input: u8 what, bytes.
 *
 *   what % 3   0 a statement, 1 an Init, 2 stored rows: (u8 key size, u16 value size, key,
 * value)... what & 4   statement and Init: signed by whoever should have
 *
 * Whatever comes: no crash, no statement of another identity than the one that is asked for, and a
 * shelf loaded with anything still makes a statement and keys.
 */
#include "fuzz.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "crypto/sign.h"
#include "session/shelf.h"

static const struct moment now = {1763668800000, 1000};
static struct identity *self;
static struct session_settings settings;
static struct handshake_context context;

static void start(void)
{
    static const struct secret seed = {{1}};

    require(crypto_start() == 0);
    require(identity_new("backend", &seed, 0, &self) == 0);
    settings = session_settings_default();
    context = (struct handshake_context){&settings, self, NULL, NULL};
}

/* The signature over all but the last 64 bytes. */
static void sign_again(const char *label, uint8_t *at, size_t size)
{
    uint8_t namespace[1 + NAMESPACE_MAX];
    struct writer w = writer_over(namespace, sizeof(namespace));

    writer_lp8(&w, settings.namespace);
    require(sign_make(&self->seed, label, writer_view(&w), bytes_of(at, size - SIGNATURE_SIZE),
                      at + size - SIGNATURE_SIZE) == 0);
}

static void try_statement(uint8_t *at, size_t size, bool is_signed)
{
    struct prekey_statement s;

    if (is_signed && size == PREKEY_STATEMENT_SIZE)
        sign_again("prekey", at, size);
    if (prekey_statement_check(&context, now, self->public, bytes_of(at, size), &s) < 0)
        return;
    require(memcmp(s.identity, self->public, SIGN_PUBLIC_SIZE) == 0);
    require(s.expires_ms >= now.real_ms && s.created_ms <= s.expires_ms);
}

static void try_init(uint8_t *at, size_t size, bool is_signed)
{
    static const struct secret secret = {{9}};
    uint8_t statement[PREKEY_STATEMENT_SIZE];
    struct shelf_found found;
    struct prekey_init init;
    struct secret root;
    struct shelf *shelf;

    if (is_signed && size == RATCHET_INIT_SIZE)
        sign_again("prekey init", at, size);
    if (prekey_init_parse(bytes_of(at, size), &init) < 0)
        return;
    (void)!prekey_init_verify(&context, bytes_of(at, size));
    require(prekey_statement_make(&context, 1, now.real_ms, &secret, statement) == 0);
    (void)!prekey_finish(&context, bytes_of(statement, sizeof(statement)), &secret, NULL,
                         bytes_of(at, size), &root);
    shelf = shelf_new();
    require(shelf && shelf_find(shelf, &init, &found) < 0);
    shelf_free(&shelf);
}

static uint64_t zero_times;

static void some_bytes(void *with, void *to, size_t size)
{
    (void)with;
    memset(to, 1, size);
}

static void some_times(void *with, uint64_t *ret_real, uint64_t *ret_boot, uint64_t *ret_pid)
{
    (void)with;
    *ret_real = *ret_boot = *ret_pid = ++zero_times;
}

static void try_rows(struct bytes input)
{
    const struct random_source source = {some_bytes, some_times, NULL};
    struct reader r = reader_over(input);
    struct shelf *shelf = shelf_new();
    struct keep_batch batch = {0};
    CLEANUP(buffer_deinit)
    struct buffer keys = {0};
    struct hedge hedge;
    uint32_t number;
    int renewed;

    require(shelf != NULL);
    while (r.left > 0 && !r.failed) {
        size_t key_size = reader_u8(&r), value_size = reader_u16(&r);
        struct bytes key = reader_bytes(&r, key_size), value = reader_bytes(&r, value_size);

        if (!r.failed)
            (void)!shelf_take_row(shelf, key, value);
    }
    hedge_init(&hedge, &self->seed, source);
    renewed = shelf_renew(shelf, &context, &hedge, now, &batch);
    require(renewed >= 0);
    if (shelf_statement(shelf, &number))
        require(shelf_refill(shelf, &hedge, 3, &batch, &keys) == 0);
    hedge_wipe(&hedge);
    keep_batch_deinit(&batch);
    shelf_free(&shelf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (size == 0)
        return 0;
    if (!self)
        start();
    copy = copy_of(bytes_of(data + 1, size - 1));
    if (data[0] % 3 == 0)
        try_statement(copy, size - 1, data[0] & 4);
    else if (data[0] % 3 == 1)
        try_init(copy, size - 1, data[0] & 4);
    else
        try_rows(bytes_of(copy, size - 1));
    free(copy);
    return 0;
}
