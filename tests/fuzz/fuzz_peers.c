/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session manager, a member that hates it and a broker that helps. Input: a row of steps, each u8
 * what, u16 size, bytes.
 *
 *   what % 8   0 handshake or control bytes as they stand, by name
 *              1 content of a control message, sealed by the member over their channel
 *              2 an envelope published by the member (payload: the bytes), changed at bytes[0..1]
 *              3 an application envelope as it stands, by name
 *              4 an envelope as it stands, published
 *              5 time passes: u16 x 10 ms
 *              6 what the two really want to say to each other is handed on
 *              7 the link, the registry, subscriptions: by bytes[0]
 *
 * Every application envelope must end in exactly one word, and what is shown as said by the member
 * must have been sealed by it.
 */
#include "fuzz.h"

#include "base/hex.h"
#include "crypto/sign.h"
#include "session/peers_internal.h"
#include "trust/document.h"

#define NOW_MS 1763668800000
#define STEPS_MAX 64

enum { VICTIM, MEMBER, BOTH };

static struct identity *identities[BOTH];
static struct registry *registry;
static struct session_settings settings;
static const char *const names[BOTH] = {"victim", "member"};

static struct world {
    struct sessions *at[BOTH];
    struct moment now;
    uint64_t random;
    size_t given, ended;      /* application envelopes at the victim */
    struct buffer mail[BOTH]; /* u8 delivery, lp16 bytes: waits for VICTIM, MEMBER */
} w;

static void draw(void *context, void *to, size_t size)
{
    uint64_t *state = context;
    uint8_t *at = to;

    for (size_t i = 0; i < size; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        at[i] = (uint8_t)(*state >> 56);
    }
}

static void no_times(void *context, uint64_t *ret_real_ns, uint64_t *ret_boot_ns, uint64_t *ret_pid)
{
    (void)context;
    *ret_real_ns = *ret_boot_ns = *ret_pid = 1;
}

static void start(void)
{
    static const struct secret owner_seed = {{7}};
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text("aico"));
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    uint8_t owner[SIGN_PUBLIC_SIZE];

    require(crypto_start() == 0 && draft != NULL);
    settings = session_settings_default();
    for (int i = 0; i < BOTH; i++) {
        const struct secret seed = {{(uint8_t)(i + 1)}};

        require(identity_new(names[i], &seed, 0, &identities[i]) == 0);
        require(registry_draft_add(draft, &(struct component_line){names[i], identities[i]->public,
                                                                   identities[i]->transport_public,
                                                                   "ui", NOW_MS}) == 0);
    }
    require(registry_draft_set_rule(draft,
                                    &(struct rule_line){.filter = bytes_text("a/**"),
                                                        .publish = "member",
                                                        .subscribe = "victim",
                                                        .seal = SEAL_GROUP,
                                                        .authenticity = AUTHENTICITY_GROUP},
                                    NULL) == 0);
    require(registry_draft_set_rule(draft,
                                    &(struct rule_line){.filter = bytes_text("b/**"),
                                                        .publish = "*",
                                                        .subscribe = "*",
                                                        .seal = SEAL_CHANNEL},
                                    NULL) == 0);
    sign_public(&owner_seed, owner);
    require(registry_draft_sign(draft, &owner_seed, NOW_MS, &text) == 0);
    require(registry_parse(buffer_view(&text), owner, bytes_text("aico"), &registry, NULL) == 0);
}

/* --- mail between the two --------------------------------------------------------------------- */

static void post(int to, uint8_t delivery, struct bytes bytes)
{
    uint8_t head[3] = {delivery, (uint8_t)(bytes.size >> 8), (uint8_t)bytes.size};

    if (bytes.size > UINT16_MAX || w.mail[to].size > 1 << 20)
        return;
    require(buffer_append(&w.mail[to], bytes_of(head, 3)) == 0);
    require(buffer_append(&w.mail[to], bytes) == 0);
}

static void drain(int at)
{
    struct session_event event;

    while (sessions_next(w.at[at], &event)) {
        if (event.type == SESSION_SEND)
            post(!at, DELIVERY_CONTROL, event.bytes);
        if (at != VICTIM)
            continue;
        if (event.type == SESSION_FAILED)
            w.ended++;
        if (event.type == SESSION_MESSAGE) {
            require(event.identity && memcmp(event.identity, identities[MEMBER]->public, 32) == 0);
            w.ended += !event.more;
        }
        if (event.type == SESSION_GAP && !event.unknown)
            require(event.first <= event.last);
        require(w.ended <= w.given);
    }
}

static void direct(int to, uint8_t delivery, struct bytes topic, struct bytes bytes)
{
    uint8_t *copy = copy_of(bytes);

    w.given += to == VICTIM && !bytes_equal_text(topic, SESSION_TOPIC_CONTROL);
    sessions_receive_direct(w.at[to], w.now, bytes_text(names[!to]), NULL, topic, delivery,
                            bytes_of(copy, bytes.size), NULL, NULL);
    free(copy);
    drain(to);
}

static void published(struct bytes topic, struct bytes bytes)
{
    uint8_t *copy = copy_of(bytes);

    w.given += !bytes_equal_text(topic, SESSION_TOPIC_HEADS);
    sessions_receive_group(w.at[VICTIM], w.now, bytes_text(names[MEMBER]), NULL, topic,
                           bytes_equal_text(topic, SESSION_TOPIC_HEADS) ? DELIVERY_CONTROL
                                                                        : DELIVERY_EVENT,
                           bytes_of(copy, bytes.size), NULL);
    free(copy);
    drain(VICTIM);
}

static void hand_on(void)
{
    for (int rounds = 0; rounds < 8; rounds++)
        for (int to = 0; to < BOTH; to++) {
            struct buffer mail = w.mail[to];
            struct reader r = reader_over(buffer_view(&mail));

            w.mail[to] = (struct buffer){0};
            while (r.left > 0) {
                uint8_t delivery = reader_u8(&r);

                direct(to, delivery, bytes_text(SESSION_TOPIC_CONTROL), reader_lp16(&r));
            }
            buffer_deinit(&mail);
        }
}

static void pass(int64_t ms)
{
    w.now.real_ms += ms;
    w.now.boot_ms += ms;
    for (int i = 0; i < BOTH; i++) {
        sessions_tick(w.at[i], w.now);
        drain(i);
    }
}

/* --- steps ------------------------------------------------------------------------------------ */

static void seal_control(struct bytes content)
{
    struct peer *peer = peer_find(w.at[MEMBER], bytes_text(names[VICTIM]), true);

    if (content.size == 0 || control_send(w.at[MEMBER], w.now, peer, content) < 0)
        return;
    drain(MEMBER);
}

static void publish(struct bytes payload)
{
    size_t size = sessions_envelope_size(w.at[MEMBER], 0, payload.size);
    uint8_t *room = malloc(size);
    struct writer out = writer_over(room, size);
    struct bytes topic = bytes_text(payload.size % 2 ? "a/b" : "a/c");

    require(room != NULL);
    if (sessions_seal_group(w.at[MEMBER], w.now, topic, DELIVERY_EVENT, bytes_of(NULL, 0), payload,
                            &out) == 0) {
        drain(MEMBER);
        if (payload.size >= 2)
            room[payload.at[0] % out.size] ^= payload.at[1];
        published(topic, writer_view(&out));
    }
    free(room);
}

static void outside(struct bytes how)
{
    switch (how.size > 0 ? how.at[0] % 8 : 0) {
    case 0:
        sessions_link_lost(w.at[VICTIM], w.now);
        sessions_link_up(w.at[VICTIM], w.now);
        break;
    case 1:
        sessions_peer_away(w.at[VICTIM], w.now, bytes_text("member"), AICO_EPEERAWAY);
        break;
    case 2:
        sessions_peer_present(w.at[VICTIM], w.now, bytes_text("member"));
        break;
    case 3:
        sessions_peer_renewed(w.at[VICTIM], w.now, bytes_text("member"));
        break;
    case 4:
        require(sessions_subscribed(w.at[VICTIM], w.now, bytes_text("a/**"), false) == 0);
        break;
    case 5:
        sessions_unsubscribed(w.at[VICTIM], bytes_text("a/**"), false);
        break;
    case 6:
        sessions_set_registry(w.at[VICTIM], w.now, registry);
        break;
    default:
        (void)!sessions_dial(w.at[VICTIM], w.now, bytes_text("member"));
        break;
    }
    drain(VICTIM);
}

static void step(uint8_t what, struct bytes bytes)
{
    struct reader r = reader_over(bytes);

    switch (what % 8) {
    case 0:
        direct(VICTIM, DELIVERY_CONTROL, bytes_text(SESSION_TOPIC_CONTROL), bytes);
        break;
    case 1:
        seal_control(bytes);
        break;
    case 2:
        publish(bytes);
        break;
    case 3:
        direct(VICTIM, what >> 3 & 7, bytes_text("b/c"), bytes);
        break;
    case 4:
        published(bytes_text(what & 8 ? SESSION_TOPIC_HEADS : "a/b"), bytes);
        break;
    case 5:
        pass(10 * (int64_t)reader_u16(&r));
        break;
    case 6:
        hand_on();
        break;
    default:
        outside(bytes);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_over(bytes_of(data, size));

    if (!registry)
        start();
    memset(&w, 0, sizeof(w));
    w.now = (struct moment){NOW_MS, 1000000};
    for (int i = 0; i < BOTH; i++)
        require(sessions_new(&settings, identities[i], registry,
                             (struct random_source){draw, no_times, &w.random}, 0, w.now, &w.at[i],
                             NULL) == 0);
    require(sessions_dial(w.at[MEMBER], w.now, bytes_text("victim")) == 0);
    drain(MEMBER);
    hand_on();
    require(sessions_has_channel(w.at[VICTIM], w.now, bytes_text("member")));
    for (int i = 0; i < STEPS_MAX && r.left > 0 && !r.failed; i++) {
        uint8_t what = reader_u8(&r);
        struct bytes bytes = reader_lp16(&r);

        if (!r.failed)
            step(what, bytes);
    }
    /* What waits is given up in the end. */
    for (int i = 0; i < 20; i++)
        pass(10000);
    require(w.ended == w.given);
    for (int i = 0; i < BOTH; i++) {
        sessions_free(&w.at[i]);
        buffer_deinit(&w.mail[i]);
    }
    return 0;
}
