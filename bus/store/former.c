/* SPDX-License-Identifier: Apache-2.0 */
/* The storage keys of a component's former keys. */
#include "store/former.h"

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/reader.h"
#include "base/writer.h"
#include "crypto/random.h"
#include "store/home.h"
#include "store/sealed.h"

#define PREFIX "former-"
#define KEY_BYTES 4
#define ENTRY_SIZE (SIGN_PUBLIC_SIZE + SECRET_SIZE)

struct former_name {
    char text[sizeof(PREFIX) + 2 * KEY_BYTES];
};

static struct former_name name_of(const uint8_t public[SIGN_PUBLIC_SIZE])
{
    struct former_name name = {PREFIX};

    hex_write(bytes_of(public, KEY_BYTES), name.text + strlen(PREFIX));
    return name;
}

int former_load(const char *home, const struct identity *identity, struct former_keys **ret_former,
                struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer content = {0};
    CLEANUP(guarded_free)
    struct former_keys *former = NULL;
    struct former_name file = name_of(identity->public);
    struct reader r;
    int code = sealed_load(home, identity, NULL, file.text, &content, err);

    if (code == AICO_ENOTFOUND) {
        *ret_former = NULL;
        return 0;
    }
    if (code < 0)
        return code;
    former = guarded_new(sizeof(*former));
    if (!former)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = reader_over(buffer_view(&content));
    while (r.left > 0 && former->count < FORMER_KEYS_MAX) {
        struct identity *item = &former->items[former->count++];

        memcpy(item->name, identity->name, sizeof(item->name));
        reader_copy(&r, item->public, SIGN_PUBLIC_SIZE);
        reader_copy(&r, item->storage.at, SECRET_SIZE);
    }
    if (!reader_done(&r))
        return aico_error_set(err, AICO_EFORMAT, "%s/state/%s/%s: does not parse", home,
                              identity->name, file.text);
    *ret_former = STEAL(former);
    return 0;
}

static void put_entry(struct writer *w, const struct identity *identity)
{
    writer_bytes(w, bytes_of(identity->public, SIGN_PUBLIC_SIZE));
    writer_bytes(w, secret_view(&identity->storage));
}

int former_leave(const char *home, const struct identity *identity, const struct identity *renewed,
                 struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer content = {0};
    CLEANUP(guarded_free)
    struct former_keys *former = NULL;
    CLEANUP(hedge_wipe)
    struct hedge hedge;
    struct former_name file = name_of(renewed->public);
    size_t size = FORMER_KEYS_MAX * ENTRY_SIZE;
    struct writer w;
    int r = former_load(home, identity, &former, err);

    if (r < 0)
        return r;
    w = writer_over(buffer_reserve(&content, size), size);
    if (!w.at)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    put_entry(&w, identity);
    for (size_t i = 0; former && i < MIN(former->count, (size_t)FORMER_KEYS_MAX - 1); i++)
        put_entry(&w, &former->items[i]);
    content.size = w.size;
    hedge_init(&hedge, &renewed->seed, random_system);
    return sealed_save(home, renewed, file.text, &hedge, buffer_view(&content), err);
}

int former_erase(const char *home, const char *name, const uint8_t public[SIGN_PUBLIC_SIZE],
                 struct aico_error *err)
{
    struct former_name file = name_of(public);
    CLEANUP(free_memory)
    char *path = home_path(home, "state/%s/%s", name, file.text);

    return path ? file_remove(path, err) : aico_error_set(err, AICO_ENOMEM, "out of memory");
}
