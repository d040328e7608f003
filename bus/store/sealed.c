/* SPDX-License-Identifier: Apache-2.0 */
/* Sealed state of one component. */
#include "store/sealed.h"

#include "base/cleanup.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "crypto/random.h"
#include "store/home.h"

static void key_of(const struct identity *identity, const char *file, struct secret *ret_key)
{
    char label[64];

    (void)snprintf(label, sizeof(label), "state %s", file);
    kdf(&identity->storage, label, bytes_of(NULL, 0), ret_key);
}

/* AICO_EOPEN, or the content of @bytes at @to, which has room for it. */
static int open_as(const struct identity *identity, const char *file, struct bytes bytes,
                   uint8_t *to)
{
    CLEANUP(secret_wipe)
    struct secret key = {0};

    key_of(identity, file, &key);
    return aead_open(&key, bytes.at, bytes_text(file), bytes_of(NULL, 0),
                     bytes_of(bytes.at + AEAD_NONCE_SIZE, bytes.size - AEAD_NONCE_SIZE), to);
}

static int seal_anew(const char *home, const struct identity *identity, const char *file,
                     struct bytes content, struct aico_error *err)
{
    CLEANUP(hedge_wipe)
    struct hedge hedge;

    hedge_init(&hedge, &identity->seed, random_system);
    return sealed_save(home, identity, file, &hedge, content, err);
}

int sealed_load(const char *home, const struct identity *identity, const struct former_keys *former,
                const char *file, struct buffer *ret_content, struct aico_error *err)
{
    CLEANUP(buffer_deinit)
    struct buffer bytes = {0};
    CLEANUP(free_memory)
    char *path = home_path(home, "state/%s/%s", identity->name, file);
    size_t size;
    uint8_t *to;
    int r;

    if (!path)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = file_read(path, FILE_SECRET, SEALED_FILE_MAX, &bytes, err);
    if (r < 0)
        return r;
    if (bytes.size < AEAD_NONCE_SIZE + AEAD_TAG_SIZE)
        return aico_error_set(err, AICO_EOPEN, "%s: cut short; restore it, or remove it", path);
    size = bytes.size - AEAD_NONCE_SIZE - AEAD_TAG_SIZE;
    to = buffer_reserve(ret_content, size > 0 ? size : 1);
    if (!to)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = open_as(identity, file, buffer_view(&bytes), to);
    for (size_t i = 0; r < 0 && former && i < former->count; i++) {
        r = open_as(&former->items[i], file, buffer_view(&bytes), to);
        if (r < 0)
            continue;
        r = seal_anew(home, identity, file, bytes_of(to, size), err);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return aico_error_set(err, r,
                              "%s: damaged, or of another key of %s; restore it, or remove it and "
                              "lose what it opens",
                              path, identity->name);
    ret_content->size += size;
    return 0;
}

int sealed_save(const char *home, const struct identity *identity, const char *file,
                struct hedge *hedge, struct bytes content, struct aico_error *err)
{
    CLEANUP(secret_wipe)
    struct secret key = {0}, nonce = {0};
    CLEANUP(buffer_deinit)
    struct buffer bytes = {0};
    CLEANUP(free_memory)
    char *path = home_path(home, "state/%s/%s", identity->name, file);
    size_t size = AEAD_NONCE_SIZE + content.size + AEAD_TAG_SIZE;
    int r;

    if (!path || !buffer_reserve(&bytes, size))
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = state_folder_make(home, identity->name, err);
    if (r < 0)
        return r;
    fresh(hedge, "nonce", &nonce);
    memcpy(bytes.at, nonce.at, AEAD_NONCE_SIZE);
    key_of(identity, file, &key);
    aead_seal(&key, bytes.at, bytes_text(file), bytes_of(NULL, 0), content,
              bytes.at + AEAD_NONCE_SIZE);
    bytes.size = size;
    r = file_write(path, 0600, true, buffer_view(&bytes), err);
    secret_wipe(&nonce);
    return r;
}
