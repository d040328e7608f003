/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ratchets from a hostile member or broker. Input: u8 what, bytes.
 *
 *   what % 3   0 an envelope for a ratchet that has heard something, 1 a stored state, 2 the same
 * as 0 with the ratchet's id and the peer's own key put right
 *
 * Whatever comes: no crash; an envelope that does not open changes nothing, and an honest one still
 * opens; a state that parses is written again to the same bytes.
 */
#include "fuzz.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "crypto/dh.h"
#include "session/ratchet.h"
#include "wire/record.h"

#define NOW_MS 1763668800000
#define MAX_SKIPPED 50

static const struct moment now = {NOW_MS, 1000};
static const uint8_t a[SIGN_PUBLIC_SIZE] = {1}, b[SIGN_PUBLIC_SIZE] = {2};
static const struct secret root = {{3}}, first = {{4}}, second = {{5}}, third = {{6}};
static struct session_settings settings;

static struct ratchet_message message(void)
{
    return (struct ratchet_message){.delivery = DELIVERY_EVENT,
                                    .topic = bytes_text("mail/box"),
                                    .payload = bytes_text("honest")};
}

static size_t seal(struct ratchet *from, uint8_t *room, size_t size)
{
    struct ratchet_message m = message();
    struct writer w = writer_over(room, size);

    ratchet_reserve(from);
    require(ratchet_seal(from, &settings, now, &m, &w, NULL) == 0);
    return w.size;
}

static int open_by(struct ratchet *to, struct bytes wire)
{
    struct ratchet_message expected = message();
    struct ratchet_opened opened;
    struct envelope e;
    uint8_t *copy = copy_of(wire), *plain = copy_of(wire);
    int r = envelope_parse(bytes_of(copy, wire.size), &e);

    if (r == 0 && e.format != ENVELOPE_FORMAT_RATCHET && e.format != ENVELOPE_FORMAT_INIT)
        r = AICO_EFORMAT;
    if (r == 0)
        r = ratchet_open(to, &settings, now, &e, &expected, MAX_SKIPPED, &third, plain, &opened);
    free(copy);
    free(plain);
    return r;
}

/* Two ends that have spoken once, from the states that they wrote then. */
static void begin(struct ratchet **ret_from, struct ratchet **ret_to)
{
    static struct buffer written[2];

    if (written[0].size == 0) {
        struct ratchet_start start = {a, b, &root, NOW_MS - 1000, NULL};
        uint8_t public[DH_PUBLIC_SIZE], room[256];

        settings = session_settings_default();
        dh_public(&first, public);
        require(ratchet_begin(&start, public, &second, ret_from) == 0);
        start = (struct ratchet_start){b, a, &root, NOW_MS - 1000, NULL};
        require(ratchet_await(&start, &first, ret_to) == 0);
        require(open_by(*ret_to, bytes_of(room, seal(*ret_from, room, sizeof(room)))) == 0);
        ratchet_release(*ret_from); /* the exact state, without numbers to skip */
        require(ratchet_write(*ret_from, &written[0]) == 0);
        require(ratchet_write(*ret_to, &written[1]) == 0);
        ratchet_free(ret_from);
        ratchet_free(ret_to);
    }
    require(ratchet_parse(buffer_view(&written[0]), ret_from) == 0);
    require(ratchet_parse(buffer_view(&written[1]), ret_to) == 0);
}

static void try_envelope(struct bytes input, bool put_right)
{
    CLEANUP(ratchet_free)
    struct ratchet *from = NULL;
    CLEANUP(ratchet_free)
    struct ratchet *to = NULL;
    CLEANUP(buffer_wipe_deinit)
    struct buffer before = {0};
    CLEANUP(buffer_wipe_deinit)
    struct buffer after = {0};
    uint8_t room[256], *forged = copy_of(input);

    begin(&from, &to);
    if (put_right && input.size >= 68) {
        memcpy(forged, "AICO-MSG", 8);
        memcpy(forged + 8, to->id, RATCHET_ID_SIZE);
        memcpy(forged + 36, to->peer_public, DH_PUBLIC_SIZE);
    }
    require(ratchet_write(to, &before) == 0);
    require(open_by(to, bytes_of(forged, input.size)) < 0);
    require(ratchet_write(to, &after) == 0);
    require(bytes_equal(buffer_view(&before), buffer_view(&after)));
    require(open_by(to, bytes_of(room, seal(from, room, sizeof(room)))) == 0);
    free(forged);
}

static void try_state(struct bytes input)
{
    CLEANUP(ratchet_free)
    struct ratchet *ratchet = NULL;
    CLEANUP(buffer_wipe_deinit)
    struct buffer again = {0};

    if (ratchet_parse(input, &ratchet) < 0)
        return;
    require(ratchet_write(ratchet, &again) == 0);
    require(bytes_equal(buffer_view(&again), input));
    (void)ratchet_expire(ratchet, now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (size == 0 || crypto_start() < 0)
        return 0;
    copy = copy_of(bytes_of(data + 1, size - 1));
    if (data[0] % 3 == 1)
        try_state(bytes_of(copy, size - 1));
    else
        try_envelope(bytes_of(copy, size - 1), data[0] % 3 == 2);
    free(copy);
    return 0;
}
