/* SPDX-License-Identifier: Apache-2.0 */
/* The Double Ratchet and its start against the vectors and rows 56 to 58, 61 and 70 of PROTOCOL 14.
 */
#include "world.h"

#include "crypto/dh.h"
#include "session/prekey.h"
#include "session/ratchet.h"

#define TOPIC "mail/box"
#define MAX_SKIPPED 1000

static json_t *vectors;
static struct session_settings settings;
static struct dice dice = {62};

static uint8_t sealed[4096];
static uint8_t content[1024];
static size_t content_size;
static struct ratchet_opened opened;
static int64_t seal_ms = START_MS;

struct pair {
    struct ratchet *d, *l;
};

static void draw(struct secret *secret)
{
    dice_bytes(&dice, secret->at, SECRET_SIZE);
}

/* The two ends of the vectors' channel, each with its first ratchet secret. */
static struct pair pair_new(void)
{
    struct pair pair = {0};
    struct secret root, mine;
    uint8_t d[SIGN_PUBLIC_SIZE], l[SIGN_PUBLIC_SIZE], public[DH_PUBLIC_SIZE];
    struct ratchet_start start = {d, l, &root, vectors_int(vectors, "handshake.t0"), NULL};

    vectors_hex_into(vectors, "identity.1.ed25519", d, sizeof(d));
    vectors_hex_into(vectors, "identity.0.ed25519", l, sizeof(l));
    vectors_hex_into(vectors, "ratchet.root", root.at, SECRET_SIZE);
    vectors_hex_into(vectors, "ratchet.listener_secret_0", mine.at, SECRET_SIZE);
    dh_public(&mine, public);
    start = (struct ratchet_start){l, d, &root, start.t0_ms, NULL};
    assert_int_equal(ratchet_await(&start, &mine, &pair.l), 0);
    vectors_hex_into(vectors, "ratchet.dialer_secret_0", mine.at, SECRET_SIZE);
    start = (struct ratchet_start){d, l, &root, start.t0_ms, NULL};
    assert_int_equal(ratchet_begin(&start, public, &mine, &pair.d), 0);
    return pair;
}

static void pair_free(struct pair *pair)
{
    ratchet_free(&pair->d);
    ratchet_free(&pair->l);
}

static struct ratchet_message message_of(const char *payload)
{
    return (struct ratchet_message){
        .delivery = DELIVERY_MAILBOX, .topic = bytes_text(TOPIC), .payload = bytes_text(payload)};
}

/* Into @sealed; as the manager does it, the state is reserved first. */
static struct bytes seal(struct ratchet *ratchet, const char *payload)
{
    struct ratchet_message message = message_of(payload);
    struct writer w = writer_over(sealed, sizeof(sealed));

    if (ratchet_needs_reserve(ratchet))
        ratchet_reserve(ratchet);
    assert_int_equal(ratchet_seal(ratchet, &settings, moment_at(seal_ms), &message, &w, NULL), 0);
    return writer_view(&w);
}

/* @wire from a block of exact size. */
static int open_with(struct ratchet *ratchet, struct bytes wire, const struct secret *fresh_secret)
{
    uint8_t *copy = exact_copy(wire), *plain = malloc(wire.size + 1);
    struct ratchet_message expected = message_of("");
    struct envelope e;
    int r = envelope_parse(bytes_of(copy, wire.size), &e);

    if (r == 0 && (e.format < ENVELOPE_FORMAT_RATCHET ||
                   !bytes_equal(e.key_id, bytes_of(ratchet->id, RATCHET_ID_SIZE))))
        r = AICO_EKEY;
    if (r == 0)
        r = ratchet_open(ratchet, &settings, moment_at(START_MS), &e, &expected, MAX_SKIPPED,
                         fresh_secret, plain, &opened);
    if (r == 0) {
        content_size = opened.content.size;
        bytes_copy(content, opened.content);
    }
    free(copy);
    free(plain);
    return r;
}

static int open_by(struct ratchet *ratchet, struct bytes wire)
{
    struct secret fresh_secret;

    draw(&fresh_secret);
    return open_with(ratchet, wire, &fresh_secret);
}

static void assert_content(const char *text)
{
    assert_int_equal(content_size, strlen(text));
    assert_memory_equal(content, text, content_size);
}

static struct buffer state_of(const struct ratchet *ratchet)
{
    struct buffer state = {0};

    assert_int_equal(ratchet_write(ratchet, &state), 0);
    return state;
}

/* What a thief, or a restart, makes of the stored state. */
static struct ratchet *copy_of(const struct ratchet *ratchet)
{
    struct buffer state = state_of(ratchet);
    uint8_t *exact = exact_copy(buffer_view(&state));
    struct ratchet *copy = NULL;

    assert_int_equal(ratchet_parse(bytes_of(exact, state.size), &copy), 0);
    free(exact);
    buffer_wipe_deinit(&state);
    return copy;
}

/* --- vectors -------------------------------------------------------------------------------- */

static void the_vectors_are_sealed_and_opened_bit_for_bit(void **state UNUSED)
{
    struct pair pair = pair_new();
    json_t *log = vectors_at(vectors, "ratchet.log");

    for (size_t i = 0; i < json_array_size(log); i++) {
        json_t *step = json_array_get(log, i);
        bool dialer = strcmp(vectors_text(step, "from"), "dialer") == 0;
        struct bytes want = vectors_hex(step, "envelope"), text = vectors_hex(step, "content");
        char payload[64] = {0};
        struct secret fresh_secret;
        struct envelope e;
        struct bytes got;

        vectors_hex_into(step, "receiver_secret", fresh_secret.at, SECRET_SIZE);
        memcpy(payload, text.at, text.size);
        assert_int_equal(envelope_parse(want, &e), 0);
        seal_ms = vectors_int(vectors, "handshake.t0") + e.time;
        got = seal(dialer ? pair.d : pair.l, payload);
        assert_int_equal(got.size, want.size);
        assert_memory_equal(got.at, want.at, want.size);
        assert_int_equal(open_with(dialer ? pair.l : pair.d, want, &fresh_secret), 0);
        assert_content(payload);
        free((void *)want.at);
        free((void *)text.at);
    }
    seal_ms = START_MS;
    pair_free(&pair);
}

/* r_l, not e_l: what the listener keeps until the first message gives the channel's root to nobody.
 */
static void r_l_is_of_the_vectors_and_not_the_ephemeral(void **state UNUSED)
{
    struct secret root, r_l, want, e_l;
    uint8_t id[RATCHET_ID_SIZE];

    vectors_hex_into(vectors, "handshake.root", root.at, SECRET_SIZE);
    vectors_hex_into(vectors, "ratchet.listener_secret_0", want.at, SECRET_SIZE);
    vectors_hex_into(vectors, "handshake.e_l", e_l.at, SECRET_SIZE);
    kdf(&root, "ratchet listener", bytes_of(NULL, 0), &r_l);
    assert_memory_equal(r_l.at, want.at, SECRET_SIZE);
    assert_memory_not_equal(r_l.at, e_l.at, SECRET_SIZE);
    kdf(&root, "ratchet", bytes_of(NULL, 0), &root);
    vectors_hex_into(vectors, "ratchet.root", want.at, SECRET_SIZE);
    assert_memory_equal(root.at, want.at, SECRET_SIZE);
    vectors_hex_into(vectors, "ratchet.sid", want.at, RATCHET_ID_SIZE);
    ratchet_id(&root, id);
    assert_memory_equal(id, want.at, RATCHET_ID_SIZE);
}

/* The state of the listener before the first ratchet message holds neither root nor ephemeral. */
static void ratchet_start_state_does_not_hold_the_channel_root(void **state UNUSED)
{
    static const char *const secrets[] = {"handshake.root",   "handshake.e_l",  "handshake.e_d",
                                          "handshake.shared", "handshake.k_dl", "handshake.k_ld"};
    struct pair pair = pair_new();
    struct buffer stored = state_of(pair.l);

    for (size_t i = 0; i < COUNT_OF(secrets); i++) {
        uint8_t secret[SECRET_SIZE];

        vectors_hex_into(vectors, secrets[i], secret, sizeof(secret));
        assert_null(memmem(stored.at, stored.size, secret, sizeof(secret)));
        assert_null(memmem(pair.l, sizeof(*pair.l), secret, sizeof(secret)));
    }
    buffer_wipe_deinit(&stored);
    pair_free(&pair);
}

/* --- row 56 --------------------------------------------------------------------------------- */

static void every_bit_of_an_envelope_leaves_the_state_as_it_was(void **state UNUSED)
{
    struct pair pair = pair_new();
    struct buffer before, after;
    struct bytes wire;

    wire = seal(pair.d, "first");
    assert_int_equal(open_by(pair.l, wire), 0);
    (void)seal(pair.d, "skipped");
    wire = seal(pair.d, "original");
    before = state_of(pair.l);
    for (size_t bit = 0; bit < wire.size * 8; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(open_by(pair.l, wire) < 0);
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        after = state_of(pair.l);
        assert_int_equal(after.size, before.size);
        assert_memory_equal(after.at, before.at, before.size);
        buffer_wipe_deinit(&after);
    }
    assert_int_equal(open_by(pair.l, wire), 0);
    assert_content("original");
    buffer_wipe_deinit(&before);
    pair_free(&pair);
}

static void every_truncation_is_refused(void **state UNUSED)
{
    struct pair pair = pair_new();
    struct bytes wire = seal(pair.d, "whole");

    for (size_t size = 0; size < wire.size; size++)
        assert_true(open_by(pair.l, bytes_of(wire.at, size)) < 0);
    assert_int_equal(open_by(pair.l, wire), 0);
    pair_free(&pair);
}

/* --- row 57 --------------------------------------------------------------------------------- */

static void lose(struct ratchet *from, size_t count)
{
    while (count-- > 0)
        (void)seal(from, "lost");
}

static void a_thousand_skipped_pass_and_one_more_is_refused(void **state UNUSED)
{
    struct pair pair = pair_new();

    lose(pair.d, 1000);
    assert_int_equal(open_by(pair.l, seal(pair.d, "on")), 0);
    assert_int_equal(opened.passed_over, 1000);
    lose(pair.d, 1001);
    assert_int_equal(open_by(pair.l, seal(pair.d, "too far")), AICO_ESKIP);
    assert_int_equal(pair.l->skipped_count, 1000);
    pair_free(&pair);
}

static void no_more_than_two_thousand_are_kept_and_the_oldest_go(void **state UNUSED)
{
    struct pair pair = pair_new();
    struct bytes first, wire;
    uint8_t *kept;

    wire = seal(pair.d, "the oldest");
    kept = exact_copy(wire);
    first = bytes_of(kept, wire.size);
    for (int chain = 0; chain < 3; chain++) {
        lose(pair.d, 999);
        assert_int_equal(open_by(pair.l, seal(pair.d, "on")), 0);
        assert_int_equal(open_by(pair.d, seal(pair.l, "turn")), 0);
        assert_true(pair.l->skipped_count <= 2000);
    }
    assert_int_equal(pair.l->skipped_count, 2000);
    assert_true(open_by(pair.l, first) < 0);
    free(kept);
    pair_free(&pair);
}

static void what_was_skipped_opens_later_once(void **state UNUSED)
{
    struct pair pair = pair_new();
    struct bytes wire = seal(pair.d, "late");
    uint8_t *late = exact_copy(wire);
    size_t size = wire.size;

    assert_int_equal(open_by(pair.l, seal(pair.d, "early")), 0);
    assert_int_equal(open_by(pair.d, seal(pair.l, "turn")), 0);
    assert_int_equal(open_by(pair.l, seal(pair.d, "next chain")), 0);
    assert_int_equal(open_by(pair.l, bytes_of(late, size)), 0);
    assert_content("late");
    assert_int_equal(open_by(pair.l, bytes_of(late, size)), AICO_EREPLAY);
    free(late);
    pair_free(&pair);
}

static void skipped_keys_are_erased_after_seven_days(void **state UNUSED)
{
    struct pair pair = pair_new();

    lose(pair.d, 3);
    assert_int_equal(open_by(pair.l, seal(pair.d, "on")), 0);
    assert_false(ratchet_expire(pair.l, moment_at(START_MS + RATCHET_SKIPPED_KEEP_MS - 1)));
    assert_int_equal(pair.l->skipped_count, 3);
    assert_true(ratchet_expire(pair.l, moment_at(START_MS + RATCHET_SKIPPED_KEEP_MS)));
    assert_int_equal(pair.l->skipped_count, 0);
    for (size_t i = 0; i < sizeof(*pair.l->skipped) * 3; i++)
        assert_int_equal(((const uint8_t *)pair.l->skipped)[i], 0);
    pair_free(&pair);
}

static void a_repetition_is_told_from_a_forgery(void **state UNUSED)
{
    struct pair pair = pair_new();
    struct bytes wire = seal(pair.d, "once");
    uint8_t *again = exact_copy(wire);
    size_t size = wire.size;

    assert_int_equal(open_by(pair.l, wire), 0);
    assert_int_equal(open_by(pair.l, bytes_of(again, size)), AICO_EREPLAY);
    for (int turn = 0; turn < 3; turn++) {
        assert_int_equal(open_by(pair.d, seal(pair.l, "turn")), 0);
        assert_int_equal(open_by(pair.l, seal(pair.d, "turn")), 0);
    }
    assert_int_equal(open_by(pair.l, bytes_of(again, size)), AICO_EREPLAY);
    free(again);
    pair_free(&pair);
}

/* --- row 58 --------------------------------------------------------------------------------- */

/* The thief holds both states as they are in memory and sees every envelope. */
struct thief {
    struct ratchet *d, *l;
};

static int thief_opens(struct thief *thief, bool of_dialer, struct bytes wire)
{
    return open_by(of_dialer ? thief->d : thief->l, wire);
}

static void a_stolen_state_opens_nothing_after_one_round_trip(void **state UNUSED)
{
    struct pair pair = pair_new();
    struct thief thief;
    struct bytes wire;
    uint8_t *earlier;
    size_t earlier_size;

    wire = seal(pair.d, "before");
    earlier = exact_copy(wire);
    earlier_size = wire.size;
    assert_int_equal(open_by(pair.l, wire), 0);
    assert_int_equal(open_by(pair.d, seal(pair.l, "before")), 0);

    /* Everything of the listener at this moment, also what is only in memory. */
    thief = (struct thief){.l = copy_of(pair.l), .d = NULL};
    assert_true(thief_opens(&thief, false, bytes_of(earlier, earlier_size)) < 0);

    /* What was under way with the stolen keys it reads: the sender does not know yet. */
    wire = seal(pair.d, "still readable");
    assert_int_equal(thief_opens(&thief, false, wire), 0);
    assert_int_equal(open_by(pair.l, wire), 0);

    /* One round trip with a key of the listener's the thief does not have. */
    assert_int_equal(open_by(pair.d, seal(pair.l, "fresh")), 0);
    for (int i = 0; i < 50; i++) {
        wire = seal(pair.d, "healed");
        assert_true(thief_opens(&thief, false, wire) < 0);
        assert_int_equal(open_by(pair.l, wire), 0);
        wire = seal(pair.l, "healed");
        assert_true(thief_opens(&thief, false, wire) < 0);
        assert_int_equal(open_by(pair.d, wire), 0);
    }
    free(earlier);
    ratchet_free(&thief.l);
    pair_free(&pair);
}

static void both_stolen_states_heal_too(void **state UNUSED)
{
    struct pair pair = pair_new();
    struct thief thief;
    struct bytes wire;

    assert_int_equal(open_by(pair.l, seal(pair.d, "before")), 0);
    assert_int_equal(open_by(pair.d, seal(pair.l, "before")), 0);
    thief = (struct thief){.d = copy_of(pair.d), .l = copy_of(pair.l)};
    assert_int_equal(open_by(pair.l, seal(pair.d, "one")), 0);
    assert_int_equal(open_by(pair.d, seal(pair.l, "two")), 0);
    assert_int_equal(open_by(pair.l, seal(pair.d, "three")), 0);
    for (int i = 0; i < 50; i++) {
        wire = seal(pair.l, "healed");
        assert_true(thief_opens(&thief, true, wire) < 0);
        assert_int_equal(open_by(pair.d, wire), 0);
        wire = seal(pair.d, "healed");
        assert_true(thief_opens(&thief, false, wire) < 0);
        assert_int_equal(open_by(pair.l, wire), 0);
    }
    ratchet_free(&thief.d);
    ratchet_free(&thief.l);
    pair_free(&pair);
}

/* --- the stored state ----------------------------------------------------------------------- */

static void a_number_is_sealed_only_after_the_stored_state_passed_it(void **state UNUSED)
{
    struct pair pair = pair_new();
    struct ratchet_message message = message_of("x");
    struct writer w = writer_over(sealed, sizeof(sealed));
    struct ratchet *restarted;

    assert_int_equal(ratchet_seal(pair.d, &settings, moment_at(START_MS), &message, &w, NULL),
                     AICO_ESTATE);
    ratchet_reserve(pair.d);
    restarted = copy_of(pair.d); /* stored now, then killed after some were used */
    for (int i = 0; i < RATCHET_RESERVE; i++)
        assert_int_equal(open_by(pair.l, seal(pair.d, "used")), 0);
    w = writer_over(sealed, sizeof(sealed));
    assert_int_equal(ratchet_seal(pair.d, &settings, moment_at(START_MS), &message, &w, NULL),
                     AICO_ESTATE);
    assert_int_equal(restarted->send.next, RATCHET_RESERVE);
    assert_int_equal(open_by(pair.l, seal(restarted, "after the restart")), 0);
    assert_int_equal(opened.number, RATCHET_RESERVE);
    ratchet_free(&restarted);
    pair_free(&pair);
}

static void a_released_state_wastes_no_number(void **state UNUSED)
{
    struct pair pair = pair_new();
    struct ratchet *restarted;

    assert_int_equal(open_by(pair.l, seal(pair.d, "one")), 0);
    ratchet_release(pair.d);
    restarted = copy_of(pair.d);
    assert_int_equal(open_by(pair.l, seal(restarted, "two")), 0);
    assert_int_equal(opened.passed_over, 0);
    ratchet_free(&restarted);
    pair_free(&pair);
}

static void every_truncated_state_is_refused(void **state UNUSED)
{
    struct pair pair = pair_new();
    struct ratchet *parsed = NULL;
    struct buffer stored;

    lose(pair.d, 2);
    assert_int_equal(open_by(pair.l, seal(pair.d, "on")), 0);
    stored = state_of(pair.l);
    for (size_t size = 0; size < stored.size; size++) {
        uint8_t *exact = exact_copy(bytes_of(stored.at, size));

        assert_int_equal(ratchet_parse(bytes_of(exact, size), &parsed), AICO_EFORMAT);
        free(exact);
    }
    buffer_wipe_deinit(&stored);
    pair_free(&pair);
}

static void after_45_days_nothing_is_sealed(void **state UNUSED)
{
    struct pair pair = pair_new();

    assert_true(ratchet_can_seal(pair.d, moment_at(START_MS)));
    assert_false(ratchet_can_seal(pair.l, moment_at(START_MS))); /* it has heard nothing yet */
    assert_false(ratchet_can_seal(pair.d, moment_at(START_MS + RATCHET_LIFE_MS)));
    pair_free(&pair);
}

/* --- prekeys -------------------------------------------------------------------------------- */

struct start {
    struct identity *sender, *receiver;
    struct registry *registry;
    struct handshake_context from, to;
    struct secret spk, opk, ek, r;
    uint8_t statement[PREKEY_STATEMENT_SIZE];
    int64_t time_ms;
};

static struct start start_new(void)
{
    struct start s = {.sender = identity_make("backend"), .receiver = identity_make("frontend")};
    struct bytes init = vectors_hex(vectors, "prekeys.with_one_time.init");
    struct prekey_init i;

    assert_int_equal(prekey_init_parse(init, &i), 0);
    if (memcmp(i.sender, s.sender->public, SIGN_PUBLIC_SIZE) != 0) {
        struct identity *other = s.sender;

        s.sender = s.receiver;
        s.receiver = other;
    }
    s.registry = registry_of_vectors(vectors);
    s.from = (struct handshake_context){&settings, s.sender, s.registry, NULL};
    s.to = (struct handshake_context){&settings, s.receiver, s.registry, NULL};
    vectors_hex_into(vectors, "prekeys.spk_secret", s.spk.at, SECRET_SIZE);
    vectors_hex_into(vectors, "prekeys.opk_secret", s.opk.at, SECRET_SIZE);
    vectors_hex_into(vectors, "prekeys.ek_secret", s.ek.at, SECRET_SIZE);
    vectors_hex_into(vectors, "prekeys.ratchet_secret", s.r.at, SECRET_SIZE);
    vectors_hex_into(vectors, "prekeys.statement", s.statement, sizeof(s.statement));
    s.time_ms = (int64_t)i.time;
    free((void *)init.at);
    return s;
}

static void start_free(struct start *s)
{
    identity_free(&s->sender);
    identity_free(&s->receiver);
    registry_unref(&s->registry);
}

static struct bytes statement_of(const struct start *s)
{
    return bytes_of(s->statement, sizeof(s->statement));
}

/* Starts from both ends and compares every byte with the vectors below @path. */
static void check_start(const char *path, bool one_time)
{
    struct start s = start_new();
    json_t *v = vectors_at(vectors, path);
    struct bytes want_init = vectors_hex(v, "init"), want = vectors_hex(v, "envelope");
    uint8_t init[RATCHET_INIT_SIZE], opk[DH_PUBLIC_SIZE], sid[RATCHET_ID_SIZE];
    struct secret root, mine;
    struct prekey_statement statement;
    struct ratchet *from = NULL, *to = NULL;
    struct ratchet_message message = message_of("");
    struct bytes text = vectors_hex(v, "content");
    struct writer w = writer_over(sealed, sizeof(sealed));
    struct envelope e;
    uint8_t *plain = malloc(want.size);

    dh_public(&s.opk, opk);
    assert_int_equal(prekey_statement_check(&s.from, moment_at(s.time_ms), s.receiver->public,
                                            statement_of(&s), &statement),
                     0);
    assert_int_equal(prekey_start(&s.from, moment_at(s.time_ms), statement_of(&s),
                                  (uint32_t)vectors_int(vectors, "prekeys.opk_number"),
                                  one_time ? opk : NULL, &s.ek, init, &root),
                     0);
    assert_memory_equal(init, want_init.at, sizeof(init));
    ratchet_id(&root, sid);
    assert_int_equal(
        ratchet_begin(&(struct ratchet_start){s.sender->public, s.receiver->public, &root,
                                              prekey_t0_ms((uint64_t)s.time_ms), init},
                      statement.public, &s.r, &from),
        0);
    ratchet_reserve(from);
    message.payload = text;
    message.delivery = DELIVERY_MAILBOX;
    assert_int_equal(ratchet_seal(from, &settings, moment_at(s.time_ms + 1), &message, &w, NULL),
                     0);
    assert_int_equal(w.size, want.size);
    assert_memory_equal(sealed, want.at, want.size);

    assert_int_equal(prekey_init_verify(&s.to, bytes_of(init, sizeof(init))), 0);
    assert_int_equal(prekey_finish(&s.to, statement_of(&s), &s.spk, one_time ? &s.opk : NULL,
                                   bytes_of(init, sizeof(init)), &mine),
                     0);
    assert_memory_equal(mine.at, root.at, SECRET_SIZE);
    assert_int_equal(
        ratchet_await(&(struct ratchet_start){s.receiver->public, s.sender->public, &mine,
                                              prekey_t0_ms((uint64_t)s.time_ms), init},
                      &s.spk, &to),
        0);
    assert_int_equal(envelope_parse(want, &e), 0);
    draw(&mine);
    assert_int_equal(ratchet_open(to, &settings, moment_at(s.time_ms), &e, &message, MAX_SKIPPED,
                                  &mine, plain, &opened),
                     0);
    assert_memory_equal(opened.content.at, text.at, text.size);
    assert_int_equal(opened.sent_ms, s.time_ms + 1);
    free(plain);
    free((void *)want_init.at);
    free((void *)want.at);
    free((void *)text.at);
    ratchet_free(&from);
    ratchet_free(&to);
    start_free(&s);
}

static void a_start_with_a_one_time_key_is_that_of_the_vectors(void **state UNUSED)
{
    check_start("prekeys.with_one_time", true);
}

static void a_start_without_one_is_too(void **state UNUSED)
{
    check_start("prekeys.without_one_time", false);
}

static void every_bit_of_a_statement_is_refused(void **state UNUSED)
{
    struct start s = start_new();
    struct prekey_statement statement;

    for (size_t bit = 0; bit < sizeof(s.statement) * 8; bit++) {
        s.statement[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(prekey_statement_check(&s.from, moment_at(s.time_ms), s.receiver->public,
                                           statement_of(&s), &statement) < 0);
        s.statement[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    start_free(&s);
}

/* Row 61, what the sender sees. */
static void a_foreign_swapped_or_expired_statement_is_named(void **state UNUSED)
{
    struct start s = start_new();
    struct prekey_statement statement;
    uint8_t made[PREKEY_STATEMENT_SIZE];
    struct secret other;
    struct reader r;

    draw(&other);
    assert_int_equal(prekey_statement_make(&s.from, 4, s.time_ms, &other, made), 0);
    assert_int_equal(prekey_statement_check(&s.from, moment_at(s.time_ms), s.receiver->public,
                                            bytes_of(made, sizeof(made)), &statement),
                     AICO_ETARGET);
    memcpy(made, s.statement, sizeof(made));
    dh_public(&other, made + 56);
    assert_int_equal(prekey_statement_check(&s.from, moment_at(s.time_ms), s.receiver->public,
                                            bytes_of(made, sizeof(made)), &statement),
                     AICO_ESIGNATURE);
    r = reader_over(bytes_of(s.statement + 16, 8));
    assert_int_equal(prekey_statement_check(&s.from, moment_at((int64_t)reader_u64(&r) + 1),
                                            s.receiver->public, statement_of(&s), &statement),
                     AICO_EPREKEYOLD);
    start_free(&s);
}

static void a_low_order_prekey_gives_no_secret(void **state UNUSED)
{
    static const uint8_t zero[DH_PUBLIC_SIZE];
    struct start s = start_new();
    uint8_t init[RATCHET_INIT_SIZE];
    struct secret root;

    assert_int_equal(
        prekey_start(&s.from, moment_at(s.time_ms), statement_of(&s), 9, zero, &s.ek, init, &root),
        AICO_EDH);
    start_free(&s);
}

static int setup(void **state UNUSED)
{
    vectors = vectors_load("session-v1.json");
    settings = session_settings_default();
    return crypto_start();
}

static int teardown(void **state UNUSED)
{
    json_decref(vectors);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_are_sealed_and_opened_bit_for_bit),
        cmocka_unit_test(r_l_is_of_the_vectors_and_not_the_ephemeral),
        cmocka_unit_test(ratchet_start_state_does_not_hold_the_channel_root),
        cmocka_unit_test(every_bit_of_an_envelope_leaves_the_state_as_it_was),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(a_thousand_skipped_pass_and_one_more_is_refused),
        cmocka_unit_test(no_more_than_two_thousand_are_kept_and_the_oldest_go),
        cmocka_unit_test(what_was_skipped_opens_later_once),
        cmocka_unit_test(skipped_keys_are_erased_after_seven_days),
        cmocka_unit_test(a_repetition_is_told_from_a_forgery),
        cmocka_unit_test(a_stolen_state_opens_nothing_after_one_round_trip),
        cmocka_unit_test(both_stolen_states_heal_too),
        cmocka_unit_test(a_number_is_sealed_only_after_the_stored_state_passed_it),
        cmocka_unit_test(a_released_state_wastes_no_number),
        cmocka_unit_test(every_truncated_state_is_refused),
        cmocka_unit_test(after_45_days_nothing_is_sealed),
        cmocka_unit_test(a_start_with_a_one_time_key_is_that_of_the_vectors),
        cmocka_unit_test(a_start_without_one_is_too),
        cmocka_unit_test(every_bit_of_a_statement_is_refused),
        cmocka_unit_test(a_foreign_swapped_or_expired_statement_is_named),
        cmocka_unit_test(a_low_order_prekey_gives_no_secret),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
