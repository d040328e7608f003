/* SPDX-License-Identifier: Apache-2.0 */
/* How a channel goes on after a restart. Pure, any thread. */
#include "session/resume.h"

#include "base/cleanup.h"
#include "base/reader.h"
#include "crypto/kdf.h"

#define RESUME_MACED 48 /* bytes in front of the MAC */

static const struct bytes nothing = {0};

static void write_head(struct writer *w, uint8_t type, const struct resume_secret *from,
                       const uint8_t *nonce)
{
    writer_u8(w, HANDSHAKE_VERSION);
    writer_u8(w, type);
    writer_u16(w, 0);
    writer_bytes(w, bytes_of(from->id, CHANNEL_ID_SIZE));
    writer_bytes(w, bytes_of(nonce, RESUME_NONCE_SIZE));
}

static int check_head(struct bytes bytes, uint8_t type, const struct resume_secret *from)
{
    struct reader r = reader_over(bytes);

    if (bytes.size != RESUME_SIZE)
        return AICO_ESIZE;
    if (reader_u8(&r) != HANDSHAKE_VERSION)
        return AICO_EVERSION;
    if (reader_u8(&r) != type || reader_u16(&r) != 0)
        return AICO_ETYPE;
    return bytes_equal(reader_bytes(&r, CHANNEL_ID_SIZE), bytes_of(from->id, CHANNEL_ID_SIZE))
               ? 0
               : AICO_ECONTINUATION;
}

/* Resume1 and the front of Resume2 in a row: what the listener's MAC is over. */
static struct bytes both(const uint8_t *resume1, const uint8_t *resume2,
                         uint8_t room[RESUME_SIZE + RESUME_MACED])
{
    memcpy(room, resume1, RESUME_SIZE);
    memcpy(room + RESUME_SIZE, resume2, RESUME_MACED);
    return bytes_of(room, RESUME_SIZE + RESUME_MACED);
}

static void make_keys(const struct resume_secret *from, const uint8_t *resume1,
                      const uint8_t *resume2, bool dialer, struct channel_keys *keys)
{
    CLEANUP(secret_wipe)
    struct secret root = {0};
    struct secret id;
    struct hasher h;
    uint8_t hash[HASH_SIZE];

    hasher_begin(&h, HASH_SIZE);
    hasher_feed(&h, bytes_of(resume1, RESUME_SIZE));
    hasher_feed(&h, bytes_of(resume2, RESUME_SIZE));
    hasher_end(&h, hash, HASH_SIZE);
    kdf(&from->secret, "resume root", bytes_of(hash, HASH_SIZE), &root);
    kdf(&root, "traffic dialer", nothing, dialer ? &keys->send : &keys->receive);
    kdf(&root, "traffic listener", nothing, dialer ? &keys->receive : &keys->send);
    kdf(&root, "channel", nothing, &id);
    memcpy(keys->id, id.at, CHANNEL_ID_SIZE);
    kdf(&root, "resume", nothing, &keys->resume);
    keys->dialer = dialer;
}

void resume_ask(const struct resume_secret *from, const uint8_t nonce[RESUME_NONCE_SIZE],
                uint8_t ret_resume1[RESUME_SIZE])
{
    CLEANUP(secret_wipe)
    struct secret key = {0};
    struct writer w = writer_over(ret_resume1, RESUME_SIZE);

    write_head(&w, HANDSHAKE_RESUME1, from, nonce);
    kdf(&from->secret, "resume dialer", nothing, &key);
    mac(&key, bytes_of(ret_resume1, RESUME_MACED), writer_reserve(&w, HASH_SIZE));
}

const uint8_t *resume_named(struct bytes resume1)
{
    return resume1.size == RESUME_SIZE ? resume1.at + 4 : NULL;
}

int resume_answer(const struct resume_secret *from, struct bytes resume1,
                  const uint8_t nonce[RESUME_NONCE_SIZE], uint8_t ret_resume2[RESUME_SIZE],
                  struct channel_keys *ret_keys)
{
    CLEANUP(secret_wipe)
    struct secret key = {0};
    struct writer w = writer_over(ret_resume2, RESUME_SIZE);
    uint8_t room[RESUME_SIZE + RESUME_MACED];
    int r = check_head(resume1, HANDSHAKE_RESUME1, from);

    if (r < 0)
        return r;
    kdf(&from->secret, "resume dialer", nothing, &key);
    if (!mac_verify(&key, bytes_of(resume1.at, RESUME_MACED), resume1.at + RESUME_MACED))
        return AICO_ECONFIRM;
    write_head(&w, HANDSHAKE_RESUME2, from, nonce);
    kdf(&from->secret, "resume listener", nothing, &key);
    mac(&key, both(resume1.at, ret_resume2, room), writer_reserve(&w, HASH_SIZE));
    make_keys(from, resume1.at, ret_resume2, false, ret_keys);
    return 0;
}

int resume_finish(const struct resume_secret *from, const uint8_t *resume1, struct bytes resume2,
                  struct channel_keys *ret_keys)
{
    CLEANUP(secret_wipe)
    struct secret key = {0};
    uint8_t room[RESUME_SIZE + RESUME_MACED];
    int r = check_head(resume2, HANDSHAKE_RESUME2, from);

    if (r < 0)
        return r;
    kdf(&from->secret, "resume listener", nothing, &key);
    if (!mac_verify(&key, both(resume1, resume2.at, room), resume2.at + RESUME_MACED))
        return AICO_ECONFIRM;
    make_keys(from, resume1, resume2.at, true, ret_keys);
    return 0;
}
