/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ratchets of the session manager, between two components with a disk in memory that can fail at
 * every write, and a directory of prekeys: rows 59 to 62 of PROTOCOL 14, RESET, revocation.
 */
#include "disk.h"

#include "base/hash.h"
#include "crypto/dh.h"
#include "envelope/envelope.h"
#include "session/level.h"
#include "session/peers.h"
#include "session/prekey.h"
#include "session/shelf.h"

#define TOPIC "mail/box"
#define SAID_MAX 16384
#ifdef __SANITIZE_ADDRESS__
#define MANY 1500
#else
#define MANY 10000
#endif

/* --- two components --------------------------------------------------------------------------- */

struct end {
    const char *name;
    struct identity *identity;
    struct session_settings settings;
    struct sessions *sessions;
    struct dice dice;
    struct disk disk;
    struct keeper keeper;
    bool broken;
    /* what it left with the broker */
    uint8_t statement[PREKEY_STATEMENT_SIZE];
    struct buffer keys;
    unsigned said_prekeys;
    /* what its application saw */
    unsigned heard, held, gaps, ready, lost, notices;
    int lost_code, notice_code, failed_code;
    unsigned failed;
    char last[256];
    struct header_receipt last_receipt;
    int64_t last_until_ms;
    size_t last_headers;
    uint64_t to_take;
};

struct parcel {
    struct parcel *next;
    int to;
    uint8_t delivery;
    const char *topic;
    bool noted; /* its message key */
    struct buffer bytes;
};

enum { ALICE, BOB };
static struct end ends[2];
static struct registry *registry;
static struct parcel *parcels;
static int64_t now_ms;
static bool no_bundles;
/* By the number a message says: how often it was handed to the application. */
static uint8_t handed[SAID_MAX];

static struct moment now_at(void)
{
    return moment_at(START_MS + now_ms);
}

static unsigned answers; /* of BOB to ALICE */

static void post(int to, const char *topic, uint8_t delivery, struct bytes bytes)
{
    struct parcel *parcel = calloc(1, sizeof(*parcel));

    answers += to == ALICE;
    parcel->to = to;
    parcel->topic = topic;
    parcel->delivery = delivery;
    assert_int_equal(buffer_append(&parcel->bytes, bytes), 0);
    LL_APPEND(parcels, parcel);
}

static void parcel_free(struct parcel *parcel)
{
    buffer_deinit(&parcel->bytes);
    free(parcel);
}

static void start(int at)
{
    struct end *end = &ends[at];
    struct aico_error err = {0};

    end->broken = false;
    if (sessions_new(&end->settings, end->identity, registry, dice_source(&end->dice), 0, now_at(),
                     &end->sessions, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(sessions_subscribed(end->sessions, now_at(), bytes_text("mail/**"), false), 0);
    sessions_link_up(end->sessions, now_at());
}

/* The directory's answer to a BUNDLE for @name. */
static void answer_bundle(struct end *end, const struct end *of)
{
    struct bytes statement = bytes_of(of->statement, sizeof(of->statement));
    struct end *owner = &ends[of - ends];
    uint8_t key[PREKEY_ONE_TIME_SIZE];
    struct reader r;
    uint32_t number;

    if (no_bundles) {
        sessions_bundle_refused(end->sessions, now_at(), bytes_text(of->name), AICO_ENOPREKEY, "");
        return;
    }
    if (of->keys.size == 0) {
        sessions_bundle(end->sessions, now_at(), bytes_text(of->name), statement, 0, NULL);
        return;
    }
    memcpy(key, of->keys.at, sizeof(key));
    owner->keys.size -= sizeof(key);
    memmove(owner->keys.at, owner->keys.at + sizeof(key), owner->keys.size);
    r = reader_over(bytes_of(key, sizeof(key)));
    number = reader_u32(&r);
    sessions_bundle(end->sessions, now_at(), bytes_text(of->name), statement, number, r.at);
}

static void take_prekeys(struct end *end, const struct session_event *event)
{
    if (memcmp(end->statement, event->bytes.at, sizeof(end->statement)) != 0)
        end->keys.size = 0;
    bytes_copy(end->statement, event->bytes);
    assert_int_equal(buffer_append(&end->keys, event->payload), 0);
    end->said_prekeys++;
}

static void take_message(struct end *end, const struct session_event *event)
{
    long number;

    end->heard++;
    end->last_receipt = event->receipt;
    end->last_until_ms = event->until_ms;
    end->last_headers = event->headers.size;
    (void)snprintf(end->last, sizeof(end->last), "%.*s", (int)event->payload.size,
                   (const char *)event->payload.at);
    number = strtol(end->last, NULL, 10);
    assert_true(number >= 0 && number < SAID_MAX);
    handed[number]++;
    end->to_take = MAX(end->to_take, event->kept);
}

static void drain(int at)
{
    struct end *end = &ends[at];
    struct session_event event;

    while (end->sessions && !end->broken && sessions_next(end->sessions, &event)) {
        switch (event.type) {
        case SESSION_SEND:
            post(!at, SESSION_TOPIC_CONTROL, DELIVERY_CONTROL, event.bytes);
            break;
        case SESSION_PREKEYS:
            take_prekeys(end, &event);
            sessions_prekeys_left(end->sessions, now_at(), end->keys.size / PREKEY_ONE_TIME_SIZE);
            break;
        case SESSION_BUNDLE:
            answer_bundle(end, &ends[!at]);
            break;
        case SESSION_MESSAGE:
            if (event.held)
                end->held++;
            else
                take_message(end, &event);
            break;
        case SESSION_FAILED:
            end->failed++;
            end->failed_code = event.code;
            end->to_take = MAX(end->to_take, event.kept);
            break;
        case SESSION_GAP:
            end->gaps++;
            break;
        case SESSION_READY:
            end->ready += event.ratchet;
            break;
        case SESSION_LOST:
            end->lost += event.ratchet;
            end->lost_code = event.code;
            break;
        case SESSION_NOTICE:
            end->notices++;
            end->notice_code = event.code;
            break;
        case SESSION_BROKEN:
            end->broken = true;
            break;
        default:
            break;
        }
    }
}

/* The application takes what it was handed; true when that is on the disk. */
static void take(int at)
{
    struct end *end = &ends[at];
    uint64_t number = end->to_take;

    if (number == 0 || !end->sessions || end->broken)
        return;
    end->to_take = 0;
    sessions_taken(end->sessions, number);
    drain(at);
}

static const uint8_t *said_by; /* the broker says whose it is; NULL: of who has the name */

static void hand(const struct parcel *parcel)
{
    struct end *end = &ends[parcel->to];
    uint8_t *copy = exact_copy(buffer_view(&parcel->bytes));
    int cookie;

    if (end->sessions && !end->broken) {
        sessions_receive_direct(end->sessions, now_at(), bytes_text(ends[!parcel->to].name),
                                said_by, bytes_text(parcel->topic), parcel->delivery,
                                bytes_of(copy, parcel->bytes.size), NULL, &cookie);
        drain(parcel->to);
    }
    free(copy);
}

static void run(void)
{
    struct parcel *parcel;

    drain(ALICE);
    drain(BOB);
    while ((parcel = parcels) != NULL) {
        LL_DELETE(parcels, parcel);
        hand(parcel);
        parcel_free(parcel);
    }
}

static void advance(int64_t ms)
{
    for (int64_t step = 0; step < ms; step += 500) {
        now_ms += 500;
        for (int at = 0; at < 2; at++)
            if (ends[at].sessions && !ends[at].broken) {
                sessions_tick(ends[at].sessions, now_at());
                drain(at);
            }
        run();
    }
}

static void restart(int at)
{
    sessions_free(&ends[at].sessions);
    ends[at].to_take = 0;
    start(at);
    drain(at);
}

/* Seals @text into @room; AICO_ESTATE when no ratchet stands. */
static int seal_as(int from, uint8_t delivery, const char *text, struct writer *w)
{
    return sessions_seal_direct(ends[from].sessions, now_at(), bytes_text(ends[!from].name),
                                bytes_text(TOPIC), delivery, NULL, bytes_of(NULL, 0),
                                bytes_text(text), w, NULL);
}

static int seal(int from, const char *text, struct writer *w)
{
    return seal_as(from, DELIVERY_EVENT, text, w);
}

static int want(int from)
{
    int r = sessions_want(ends[from].sessions, now_at(), bytes_text(ends[!from].name),
                          bytes_text(TOPIC));

    drain(from);
    return r;
}

static uint8_t room[1024];

static struct bytes sealed_by(int from, const char *text)
{
    struct writer w = writer_over(room, sizeof(room));

    if (!sessions_is_ready(ends[from].sessions, now_at(), bytes_text(ends[!from].name),
                           bytes_text(TOPIC)))
        assert_int_equal(want(from), 0);
    assert_int_equal(seal(from, text, &w), 0);
    drain(from);
    return writer_view(&w);
}

/* Says it, and lets everything arrive. */
static void say(int from, const char *text)
{
    post(!from, TOPIC, DELIVERY_EVENT, sealed_by(from, text));
    run();
    take(!from);
}

static void rules(struct registry_draft *draft)
{
    draft_rule(draft, "mail/**", "*", "*", SEAL_RATCHET, AUTHENTICITY_SENDER);
    draft_rule(draft, "talk/**", "*", "*", SEAL_CHANNEL, AUTHENTICITY_SENDER);
}

static int setup(void **state UNUSED)
{
    static const char *const names[] = {"backend", "frontend"};
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text(NAMESPACE));
    struct identity *mallory = identity_make("mallory");

    now_ms = 0;
    no_bundles = false;
    memset(handed, 0, sizeof(handed));
    for (int at = 0; at < 2; at++) {
        struct end *end = &ends[at];

        memset(end, 0, sizeof(*end));
        end->name = names[at];
        end->identity = identity_make(names[at]);
        end->settings = session_settings_default();
        end->keeper = (struct keeper){&end->disk, disk_load, disk_commit};
        end->settings.keeper = &end->keeper;
        end->dice.state = (uint64_t)at + 1;
        draft_add(draft, end->identity, "member");
    }
    draft_add(draft, mallory, "member");
    identity_free(&mallory);
    rules(draft);
    registry = registry_make(draft);
    start(ALICE);
    start(BOB);
    run();
    return 0;
}

static int teardown(void **state UNUSED)
{
    while (parcels) {
        struct parcel *parcel = parcels;

        LL_DELETE(parcels, parcel);
        parcel_free(parcel);
    }
    for (int at = 0; at < 2; at++) {
        sessions_free(&ends[at].sessions);
        identity_free(&ends[at].identity);
        disk_clear(&ends[at].disk);
        buffer_deinit(&ends[at].keys);
    }
    registry_unref(&registry);
    return 0;
}

static uint64_t ratchets_of(int at)
{
    struct sessions_stats stats;

    sessions_get_stats(ends[at].sessions, &stats);
    return stats.ratchets;
}

/* --- the walk ------------------------------------------------------------------------------- */

static void a_first_message_needs_no_answer_and_later_ones_turn(void **state UNUSED)
{
    struct envelope e;
    struct bytes wire;

    assert_int_equal(ends[BOB].said_prekeys, 2); /* the statement, then a hundred keys */
    assert_int_equal(ends[BOB].keys.size / PREKEY_ONE_TIME_SIZE, SHELF_FULL);
    wire = sealed_by(ALICE, "1");
    assert_int_equal(envelope_parse(wire, &e), 0);
    assert_int_equal(e.format, ENVELOPE_FORMAT_INIT);
    post(BOB, TOPIC, DELIVERY_EVENT, wire);
    run();
    assert_string_equal(ends[BOB].last, "1");
    assert_int_equal(ends[BOB].keys.size / PREKEY_ONE_TIME_SIZE, SHELF_FULL - 1);
    advance(1000); /* the answer that makes both ends move */
    assert_int_equal(envelope_parse(sealed_by(ALICE, "2"), &e), 0);
    assert_int_equal(e.format, ENVELOPE_FORMAT_RATCHET);
    assert_int_equal(e.epoch, 1); /* PN: one was sealed with the former key */
    say(BOB, "3");
    assert_string_equal(ends[ALICE].last, "3");
    assert_int_equal(ratchets_of(ALICE), 1);
    assert_int_equal(ratchets_of(BOB), 1);
}

static void runs_follow_each_other_on_one_ratchet(void **state UNUSED)
{
    char text[32];

    for (int i = 0; i < 40; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        say(i % 2, text);
        advance(1500);
        assert_string_equal(ends[!(i % 2)].last, text);
        /* An orderly end: the stored state is the exact one. */
        sessions_close(ends[i % 3 % 2].sessions, now_at());
        drain(i % 3 % 2);
        restart(i % 3 % 2);
        run();
    }
    assert_int_equal(disk_rows(&ends[ALICE].disk, KEEP_RATCHET), 1);
    assert_int_equal(disk_rows(&ends[BOB].disk, KEEP_RATCHET), 1);
    assert_int_equal(ends[ALICE].gaps + ends[BOB].gaps, 0);
    assert_int_equal(ends[ALICE].failed + ends[BOB].failed, 0);
}

static void crossing_starts_end_on_one_ratchet(void **state UNUSED)
{
    struct envelope a, b;
    uint8_t id[RATCHET_ID_SIZE];
    uint8_t *first = exact_copy(sealed_by(ALICE, "1"));
    size_t size = sealed_by(ALICE, "2").size;

    now_ms++;
    post(ALICE, TOPIC, DELIVERY_EVENT, sealed_by(BOB, "3"));
    post(BOB, TOPIC, DELIVERY_EVENT, bytes_of(first, size));
    run();
    free(first);
    assert_int_equal(ends[ALICE].heard, 1);
    assert_int_equal(ends[BOB].heard, 1);
    advance(3000);
    assert_int_equal(envelope_parse(sealed_by(ALICE, "4"), &a), 0);
    memcpy(id, a.key_id.at, sizeof(id));
    assert_int_equal(envelope_parse(sealed_by(BOB, "5"), &b), 0);
    assert_memory_equal(id, b.key_id.at, sizeof(id));
}

static void a_channel_is_not_taken_for_a_ratchet(void **state UNUSED)
{
    struct writer w = writer_over(room, sizeof(room));

    assert_int_equal(sessions_dial(ends[ALICE].sessions, now_at(), bytes_text("frontend")), 0);
    run();
    assert_int_equal(seal(ALICE, "1", &w), AICO_ESTATE);
    w = writer_over(room, sizeof(room));
    assert_int_equal(sessions_seal_direct(ends[ALICE].sessions, now_at(), bytes_text("frontend"),
                                          bytes_text("talk/v1"), DELIVERY_EVENT, NULL,
                                          bytes_of(NULL, 0), bytes_text("1"), &w, NULL),
                     0);
    /* The broker shows it on the ratcheted topic. */
    post(BOB, TOPIC, DELIVERY_EVENT, writer_view(&w));
    run();
    assert_int_equal(ends[BOB].heard, 0);
    assert_int_equal(ends[BOB].failed, 1);
}

/* --- settings ------------------------------------------------------------------------------- */

/* One setting of both ends is changed, and nothing else. */
#define SET_BOTH(field, value)                                                                     \
    do {                                                                                           \
        for (int at_ = ALICE; at_ <= BOB; at_++) {                                                 \
            ends[at_].settings.field = (value);                                                    \
            restart(at_);                                                                          \
        }                                                                                          \
        run();                                                                                     \
    } while (0)

/* The format in which ALICE says something to BOB on `talk/v1`, which the rule seals on channels.
 */
static uint8_t format_of_talk(uint8_t delivery, const uint8_t *ref, uint8_t *ret_ref)
{
    struct writer w = writer_over(room, sizeof(room));
    struct bytes bob = bytes_text(ends[BOB].name), topic = bytes_text("talk/v1");
    struct envelope e;

    assert_int_equal(sessions_want(ends[ALICE].sessions, now_at(), bob, topic), 0);
    run();
    assert_true(sessions_is_ready(ends[ALICE].sessions, now_at(), bob, topic));
    assert_int_equal(sessions_seal_direct(ends[ALICE].sessions, now_at(), bob, topic, delivery, ref,
                                          bytes_of(NULL, 0), bytes_text("1"), &w, ret_ref),
                     0);
    drain(ALICE);
    assert_int_equal(envelope_parse(writer_view(&w), &e), 0);
    post(BOB, "talk/v1", delivery, writer_view(&w));
    run();
    return e.format;
}

static void maximum_ratchets_what_other_levels_seal_on_channels(void **state UNUSED)
{
    uint8_t ref[SESSION_REF_SIZE];

    assert_int_equal(format_of_talk(DELIVERY_EVENT, NULL, NULL), ENVELOPE_FORMAT_MESSAGE);
    assert_int_equal(ends[BOB].heard, 1);
    SET_BOTH(security_level, LEVEL_MAXIMUM);
    assert_int_equal(format_of_talk(DELIVERY_REQUEST, NULL, ref), ENVELOPE_FORMAT_INIT);
    assert_int_equal(ends[BOB].heard, 2);
    advance(2000); /* the answer that turns */
    assert_int_equal(format_of_talk(DELIVERY_EVENT, NULL, NULL), ENVELOPE_FORMAT_RATCHET);
    assert_int_equal(ends[BOB].heard, 3);
    assert_int_equal(ends[BOB].failed, 0);
}

static void maximum_and_another_level_do_not_talk(void **state UNUSED)
{
    ends[ALICE].settings.security_level = LEVEL_MAXIMUM;
    restart(ALICE);
    run();
    assert_int_equal(format_of_talk(DELIVERY_EVENT, NULL, NULL), ENVELOPE_FORMAT_INIT);
    assert_int_equal(ends[BOB].heard, 0);
    assert_int_equal(ends[BOB].failed_code, AICO_EPOLICY);
}

/* ALICE seals @count messages of which only the last arrives. */
static void lose_all_but_the_last(unsigned count)
{
    for (unsigned i = 1; i < count; i++)
        (void)sealed_by(ALICE, "2");
    post(BOB, TOPIC, DELIVERY_EVENT, sealed_by(ALICE, "3"));
    run();
    take(BOB);
}

static void max_skipped_messages_is_how_many_may_be_missing(void **state UNUSED)
{
    say(ALICE, "1");
    lose_all_but_the_last(5);
    assert_int_equal(ends[BOB].heard, 2);
    assert_int_equal(ends[BOB].gaps, 1);
    ends[BOB].settings.max_skipped_messages = 3;
    restart(BOB);
    run();
    lose_all_but_the_last(5);
    assert_int_equal(ends[BOB].heard, 2);
    assert_int_equal(ends[BOB].failed_code, AICO_ESKIP);
}

/* --- row 59 --------------------------------------------------------------------------------- */

/* Every (ratchet key, number) that ever left, as one message key each. */
struct used {
    UT_hash_handle hh;
    uint8_t key[DH_PUBLIC_SIZE + 4];
};
static struct used *all_used;

static void note_used(struct bytes wire)
{
    struct used *used = calloc(1, sizeof(*used)), *twice;
    struct envelope e;

    assert_int_equal(envelope_parse(wire, &e), 0);
    memcpy(used->key, e.metadata.at + e.metadata.size - DH_PUBLIC_SIZE, DH_PUBLIC_SIZE);
    memcpy(used->key + DH_PUBLIC_SIZE, &e.sequence, 4);
    HASH_FIND(hh, all_used, used->key, sizeof(used->key), twice);
    if (twice)
        fail_msg("number %u of a chain was sealed with twice", e.sequence);
    HASH_ADD(hh, all_used, key, sizeof(used->key), used);
}

static void forget_used(void)
{
    struct used *used, *next;

    HASH_ITER(hh, all_used, used, next)
    {
        HASH_DEL(all_used, used);
        free(used);
    }
}

/* Control messages are sealed with message keys too. */
static void note_parcels(void)
{
    struct parcel *parcel;

    LL_FOREACH(parcels, parcel)
    {
        struct envelope e;

        if (parcel->noted)
            continue;
        parcel->noted = true;
        if (envelope_parse(buffer_view(&parcel->bytes), &e) == 0 &&
            e.format >= ENVELOPE_FORMAT_RATCHET)
            note_used(buffer_view(&parcel->bytes));
    }
}

static void revive(void)
{
    for (int at = 0; at < 2; at++)
        if (ends[at].broken) {
            ends[at].disk.kill_at = 0;
            restart(at);
        }
}

/* One message from @from, number @number, with whatever kills the ends on the way: their processes
 * are started again, and the broker hands the same envelope over until it is settled. */
static void say_through_kills(int from, unsigned number)
{
    CLEANUP(buffer_deinit)
    struct buffer wire = {0};
    struct parcel *parcel;
    struct writer w;
    char text[32];
    int r;

    (void)snprintf(text, sizeof(text), "%u", number);
    do {
        revive();
        w = writer_over(room, sizeof(room));
        r = sessions_is_ready(ends[from].sessions, now_at(), bytes_text(ends[!from].name),
                              bytes_text(TOPIC))
                ? 0
                : want(from);
        if (r == 0 && !ends[from].broken)
            r = seal(from, text, &w);
        drain(from);
        note_parcels();
        run();
    } while (r < 0 || ends[from].broken);
    note_used(writer_view(&w));
    assert_int_equal(buffer_append(&wire, writer_view(&w)), 0);
    for (int attempt = 0; attempt < 3; attempt++) {
        note_parcels();
        post(!from, TOPIC, DELIVERY_EVENT, buffer_view(&wire));
        LL_FOREACH(parcels, parcel)
        parcel->noted = true;
        while (parcels) {
            parcel = parcels;
            LL_DELETE(parcels, parcel);
            hand(parcel);
            parcel_free(parcel);
            note_parcels();
        }
        take(!from);
        if (!ends[!from].broken)
            break;
        revive();
        run();
        take(!from);
    }
    revive();
    take(!from);
    now_ms += 300;
    for (int at = 0; at < 2; at++) {
        sessions_tick(ends[at].sessions, now_at());
        drain(at);
        note_parcels();
    }
    run();
    revive();
    take(ALICE);
    take(BOB);
}

static void assert_each_was_delivered(unsigned count)
{
    revive();
    for (unsigned i = 0; i < count; i++)
        if (handed[i] == 0)
            fail_msg("message %u was lost", i);
    assert_int_equal(disk_rows(&ends[ALICE].disk, KEEP_INBOX), 0);
    assert_int_equal(disk_rows(&ends[BOB].disk, KEEP_INBOX), 0);
}

/* Dies at each write there is, once before it is on the disk and once after, in turn at both ends.
 */
static void a_kill_at_every_write_uses_no_key_twice_and_loses_nothing(void **state)
{
    for (int end = 0; end < 2; end++)
        for (int kind = KILL_BEFORE; kind <= KILL_AFTER; kind++)
            for (unsigned at = 1; at <= 40; at++) {
                (void)teardown(state);
                (void)setup(state);
                forget_used();
                ends[end].disk.writes = 0;
                ends[end].disk.kill_at = at;
                ends[end].disk.kill = (enum kill)kind;
                for (unsigned i = 0; i < 12; i++)
                    say_through_kills((int)(i / 3 % 2), i);
                assert_each_was_delivered(12);
                for (unsigned i = 0; i < 12; i++)
                    assert_true(handed[i] <= 2); /* again only when it was not taken for good */
            }
    forget_used();
}

static void ten_thousand_messages_through_kills_at_random(void **state UNUSED)
{
    struct dice dice = {59};
    unsigned kills = 0;

    for (unsigned i = 0; i < MANY; i++) {
        struct end *end = &ends[dice_below(&dice, 2)];

        if (dice_below(&dice, 3) == 0 && end->disk.kill_at <= end->disk.writes) {
            end->disk.kill_at = end->disk.writes + 1 + (unsigned)dice_below(&dice, 4);
            end->disk.kill = dice_below(&dice, 2) ? KILL_BEFORE : KILL_AFTER;
            kills++;
        }
        say_through_kills((int)(dice_below(&dice, 5) == 0), i);
    }
    assert_each_was_delivered(MANY);
    assert_true(kills > MANY / 10);
    forget_used();
}

static void what_was_opened_and_not_taken_is_handed_over_after_a_restart(void **state UNUSED)
{
    uint8_t block[128];
    struct writer headers = writer_over(block, sizeof(block)), w = writer_over(room, sizeof(room));

    header_write_receipt(&headers, &(struct header_receipt){RECEIPT_SIGNED, 1, 2, 3});
    header_write_until(&headers, 4);
    assert_int_equal(want(ALICE), 0);
    assert_int_equal(sessions_seal_direct(ends[ALICE].sessions, now_at(),
                                          bytes_text(ends[BOB].name), bytes_text(TOPIC),
                                          DELIVERY_EVENT, NULL, writer_view(&headers),
                                          bytes_text("7"), &w, NULL),
                     0);
    drain(ALICE);
    post(BOB, TOPIC, DELIVERY_EVENT, writer_view(&w));
    run();
    assert_int_equal(handed[7], 1);
    restart(BOB); /* without taking it */
    assert_int_equal(handed[7], 2);
    /* With what its sender asked, and nothing of that is left among the application's headers. */
    assert_int_equal(ends[BOB].last_receipt.number, 2);
    assert_int_equal(ends[BOB].last_receipt.until_ms, 3);
    assert_int_equal(ends[BOB].last_until_ms, 4);
    assert_int_equal(ends[BOB].last_headers, 0);
    take(BOB);
    restart(BOB);
    assert_int_equal(handed[7], 2);
    assert_int_equal(disk_rows(&ends[BOB].disk, KEEP_INBOX), 0);
}

/* Leaves @text in the mailbox of BOB, which the broker hands over at once. */
static struct bytes mail(const char *text)
{
    struct writer w = writer_over(room, sizeof(room));

    if (!sessions_is_ready(ends[ALICE].sessions, now_at(), bytes_text(ends[BOB].name),
                           bytes_text(TOPIC)))
        assert_int_equal(want(ALICE), 0);
    assert_int_equal(seal_as(ALICE, DELIVERY_MAILBOX, text, &w), 0);
    drain(ALICE);
    post(BOB, TOPIC, DELIVERY_MAILBOX, writer_view(&w));
    run();
    return writer_view(&w);
}

/* The broker forgets mail as soon as it was opened: it must be on our own disk then. */
static void mail_on_its_way_when_nobody_listens_any_more_is_kept(void **state UNUSED)
{
    sessions_unsubscribed(ends[BOB].sessions, bytes_text("mail/**"), false);
    (void)mail("6");
    (void)mail("7");
    assert_int_equal(ends[BOB].heard, 0);
    assert_int_equal(ends[BOB].held, 2);
    take(BOB);
    assert_int_equal(
        sessions_subscribed(ends[BOB].sessions, now_at(), bytes_text("mail/**"), false), 0);
    drain(BOB);
    assert_true(handed[6] == 1 && handed[7] == 1);

    restart(BOB); /* without taking them */
    assert_true(handed[6] == 2 && handed[7] == 2);
    take(BOB);
    assert_int_equal(disk_rows(&ends[BOB].disk, KEEP_INBOX), 0);
}

static void mail_that_cannot_be_kept_is_not_opened_and_comes_again(void **state UNUSED)
{
    struct bytes wire;

    (void)mail("6");
    sessions_free(&ends[BOB].sessions);
    ends[BOB].settings.ratchet_inbox_max = 1; /* and one is there */
    start(BOB);
    drain(BOB);
    handed[6] = ends[BOB].to_take = 0;

    wire = mail("7");
    assert_int_equal(ends[BOB].failed_code, AICO_EFULL);
    assert_int_equal(handed[7], 0);
    ends[BOB].settings.ratchet_inbox_max = 2;
    restart(BOB);
    assert_int_equal(handed[6], 1);
    post(BOB, TOPIC, DELIVERY_MAILBOX, wire);
    run();
    assert_int_equal(handed[7], 1);
}

static void nothing_is_shown_of_what_cannot_be_stored(void **state UNUSED)
{
    struct bytes wire = sealed_by(ALICE, "1");

    ends[BOB].disk.kill_at = ends[BOB].disk.writes + 1;
    ends[BOB].disk.kill = KILL_BEFORE;
    post(BOB, TOPIC, DELIVERY_EVENT, wire);
    run();
    assert_true(ends[BOB].broken);
    assert_int_equal(ends[BOB].heard, 0);
}

static void nothing_is_sealed_that_cannot_be_stored(void **state UNUSED)
{
    struct writer w = writer_over(room, sizeof(room));

    assert_int_equal(want(ALICE), 0);
    ends[ALICE].disk.kill_at = ends[ALICE].disk.writes + 1;
    ends[ALICE].disk.kill = KILL_BEFORE;
    assert_int_equal(seal(ALICE, "1", &w), AICO_ESYSTEM);
    assert_int_equal(w.size, 0);
    assert_int_equal(seal(ALICE, "1", &w), AICO_ESYSTEM);
}

/* --- after a rotation ------------------------------------------------------------------------- */

/* Bob comes with another key and what is on his disk, after so many @rotations; 0: his name was
 * given away again. Returns his former identity. */
static struct identity *change_bob(unsigned rotations)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(registry, bytes_text(NAMESPACE));
    struct identity *former = ends[BOB].identity, *next = NULL;
    struct identity *between[REGISTRY_FORMER_MAX - 1] = {0};
    const struct secret seed = {{99}};

    assert_int_equal(identity_new(ends[BOB].name, &seed, 0, &next), 0);
    if (rotations == 0) {
        assert_int_equal(registry_draft_remove(draft, ends[BOB].name), 0);
        draft_add(draft, next, "member");
    }
    for (unsigned i = 1; i <= rotations; i++) {
        const struct secret other = {{100 + i}};

        if (i < rotations)
            assert_int_equal(identity_new(ends[BOB].name, &other, 0, &between[i - 1]), 0);
        assert_int_equal(registry_draft_rotate(draft, i == 1 ? former : between[i - 2],
                                               i < rotations ? between[i - 1] : next, 1,
                                               START_MS - 1),
                         0);
    }
    for (size_t i = 0; i < COUNT_OF(between); i++)
        identity_free(&between[i]);
    sessions_free(&ends[BOB].sessions);
    registry_unref(&registry);
    registry = registry_make(draft);
    ends[BOB].identity = next;
    ends[BOB].to_take = 0;
    start(BOB);
    drain(BOB);
    return former;
}

static void opens_mail_sealed_before(unsigned rotations)
{
    struct bytes begins = sealed_by(ALICE, "1");
    uint8_t *first = exact_copy(begins);
    struct prekey_statement statement;
    struct identity *former;
    struct writer w;

    former = change_bob(rotations);
    post(BOB, TOPIC, DELIVERY_EVENT, bytes_of(first, begins.size));
    run();
    say(ALICE, "2"); /* she has not heard of it yet */
    assert_true(handed[1] == 1 && handed[2] == 1);
    w = writer_over(room, sizeof(room)); /* but nothing is sealed by the former one */
    assert_int_equal(seal(BOB, "3", &w), AICO_ESTATE);
    advance(5000);
    assert_int_equal(ends[ALICE].heard, 0);
    assert_int_equal(
        prekey_statement_parse(bytes_of(ends[BOB].statement, PREKEY_STATEMENT_SIZE), &statement),
        0);
    assert_memory_equal(statement.identity, ends[BOB].identity->public, SIGN_PUBLIC_SIZE);

    restart(BOB);
    say(ALICE, "4");
    assert_int_equal(handed[4], 1);
    sessions_set_registry(ends[ALICE].sessions, now_at(), registry);
    drain(ALICE);
    say(ALICE, "5"); /* with the next key, from here on */
    say(BOB, "6");
    assert_true(handed[5] == 1 && handed[6] == 1);
    assert_int_equal(ends[BOB].failed + ends[ALICE].failed, 0);
    free(first);
    identity_free(&former);
}

static void mail_sealed_to_a_former_key_opens(void **state UNUSED)
{
    opens_mail_sealed_before(1);
}

static void mail_sealed_some_rotations_ago_opens(void **state UNUSED)
{
    opens_mail_sealed_before(REGISTRY_FORMER_MAX);
}

/* ALICE's name has another key in the registry of BOB, whose process began anew. Hers is valid
 * until
 * @until_ms. */
static void alice_is_replaced(int64_t until_ms, bool is_revoked)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(registry, bytes_text(NAMESPACE));
    CLEANUP(identity_free)
    struct identity *next = NULL;
    const struct secret seed = {{99}};

    assert_int_equal(identity_new(ends[ALICE].name, &seed, 0, &next), 0);
    assert_int_equal(registry_draft_rotate(draft, ends[ALICE].identity, next, 1, until_ms), 0);
    registry_draft_retire_replaced(draft, START_MS + now_ms);
    if (is_revoked)
        assert_int_equal(registry_draft_set_state(draft, ends[ALICE].name, COMPONENT_REVOKED), 0);
    registry_unref(&registry);
    registry = registry_make(draft);
    sessions_set_registry(ends[BOB].sessions, now_at(), registry);
    drain(BOB);
    restart(BOB);
}

/* What ALICE sealed for BOB's mailbox, the first of a ratchet or of one that stands, is handed over
 * after her key was replaced. 0: it opens; else why it does not. */
static int opens_of_former_sender(bool first, uint8_t delivery, int64_t until_ms, bool is_revoked,
                                  int64_t later_ms)
{
    struct writer w = writer_over(room, sizeof(room));
    uint8_t *copy;

    if (!first)
        say(ALICE, "1");
    else
        assert_int_equal(want(ALICE), 0);
    advance(3000);
    assert_int_equal(seal_as(ALICE, delivery, "2", &w), 0);
    drain(ALICE);
    copy = exact_copy(writer_view(&w));
    now_ms += 2000;
    alice_is_replaced(START_MS + now_ms - 1 + until_ms, is_revoked);
    now_ms += later_ms;
    said_by = ends[ALICE].identity->public;
    post(BOB, TOPIC, delivery, bytes_of(copy, w.size));
    answers = 0;
    run();
    advance(3000);
    assert_int_equal(answers, 0); /* none is sealed with it */
    said_by = NULL;
    free(copy);
    assert_int_equal(handed[2], ends[BOB].failed == 0);
    return ends[BOB].failed == 0 ? 0 : ends[BOB].failed_code;
}

static void mail_of_a_former_key_opens_after_the_overlap(void **state UNUSED)
{
    assert_int_equal(opens_of_former_sender(false, DELIVERY_MAILBOX, 0, false, 3 * 86400000), 0);
}

static void mail_that_begins_opens_after_the_overlap_too(void **state UNUSED)
{
    assert_int_equal(opens_of_former_sender(true, DELIVERY_MAILBOX, 0, false, 3 * 86400000), 0);
}

static void mail_of_a_key_that_was_revoked_does_not(void **state UNUSED)
{
    assert_int_equal(opens_of_former_sender(false, DELIVERY_MAILBOX, 0, true, 0), AICO_EREVOKED);
}

static void nor_what_is_older_than_mail_is_kept(void **state UNUSED)
{
    assert_int_equal(
        opens_of_former_sender(false, DELIVERY_MAILBOX, 0, false, PREKEY_INIT_AGE_MS + 1000),
        AICO_EREVOKED);
}

static void nor_what_a_former_key_says_it_sealed_later(void **state UNUSED)
{
    int64_t bound_ms = ends[BOB].settings.synchrony_bound_ms;

    assert_int_equal(opens_of_former_sender(false, DELIVERY_MAILBOX, -bound_ms - 3000, false, 1000),
                     AICO_EREVOKED);
}

/* It was opened, and lies here because nobody listened until BOB started again; meanwhile its
 * sender's key went, @ago_ms before. */
static void hear_what_lies_here(bool is_revoked, int64_t ago_ms)
{
    assert_int_equal(want(ALICE), 0);
    sessions_unsubscribed(ends[BOB].sessions, bytes_text("mail/**"), false);
    (void)mail("7");
    assert_int_equal(ends[BOB].held, 1);
    ends[BOB].failed = 0;
    now_ms += ago_ms;
    alice_is_replaced(START_MS + now_ms - ago_ms, is_revoked);
}

static void what_was_opened_in_time_is_heard_however_late(void **state UNUSED)
{
    hear_what_lies_here(false, 2 * (int64_t)PREKEY_INIT_AGE_MS);
    assert_int_equal(handed[7], 1);
    assert_int_equal(ends[BOB].failed, 0);
}

static void what_was_opened_of_one_that_was_revoked_is_told(void **state UNUSED)
{
    hear_what_lies_here(true, 1000);
    assert_int_equal(handed[7], 0);
    assert_int_equal(ends[BOB].failed, 1);
    assert_int_equal(ends[BOB].failed_code, AICO_EREVOKED);
    take(BOB);
    assert_int_equal(disk_rows(&ends[BOB].disk, KEEP_INBOX), 0);
}

static void nor_what_is_no_mail(void **state UNUSED)
{
    assert_int_equal(opens_of_former_sender(false, DELIVERY_EVENT, 0, false, 1000), AICO_EREVOKED);
}

static void a_name_that_was_given_away_again_opens_nothing_of_before(void **state UNUSED)
{
    struct bytes begins = sealed_by(ALICE, "1");
    uint8_t *first = exact_copy(begins);
    struct identity *former;

    say(ALICE, "2");
    advance(2000);
    assert_int_equal(disk_rows(&ends[BOB].disk, KEEP_RATCHET), 1);
    former = change_bob(0);
    say(ALICE, "3");
    post(BOB, TOPIC, DELIVERY_EVENT, bytes_of(first, begins.size));
    run();
    assert_true(handed[1] == 0 && handed[3] == 0);
    assert_true(ends[BOB].failed > 0);
    advance(2000);
    assert_int_equal(disk_rows(&ends[BOB].disk, KEEP_RATCHET), 0);
    free(first);
    identity_free(&former);
}

/* --- rows 60 and 61 --------------------------------------------------------------------------- */

static void an_init_is_taken_once_also_after_a_restart(void **state UNUSED)
{
    struct bytes wire = sealed_by(ALICE, "1");
    uint8_t *init = exact_copy(wire);
    size_t size = wire.size;

    post(BOB, TOPIC, DELIVERY_EVENT, wire);
    run();
    take(BOB);
    restart(BOB);
    /* Its ratchet is there: a repetition of its message. */
    post(BOB, TOPIC, DELIVERY_EVENT, bytes_of(init, size));
    run();
    assert_int_equal(ends[BOB].failed_code, AICO_EREPLAY);
    /* Its ratchet is gone, as after its life; what was begun is remembered all the same. */
    for (size_t i = 0; i < ends[BOB].disk.count; i++)
        if (ends[BOB].disk.rows[i].key[0] == KEEP_RATCHET) {
            row_free(&ends[BOB].disk.rows[i]);
            ends[BOB].disk.rows[i--] = ends[BOB].disk.rows[--ends[BOB].disk.count];
        }
    restart(BOB);
    post(BOB, TOPIC, DELIVERY_EVENT, bytes_of(init, size));
    run();
    assert_int_equal(ends[BOB].failed_code, AICO_EREPLAY);
    /* Nor is the one-time key there any more. */
    for (size_t i = 0; i < ends[BOB].disk.count; i++)
        if (ends[BOB].disk.rows[i].key[0] == KEEP_SEEN) {
            row_free(&ends[BOB].disk.rows[i]);
            ends[BOB].disk.rows[i--] = ends[BOB].disk.rows[--ends[BOB].disk.count];
        }
    restart(BOB);
    post(BOB, TOPIC, DELIVERY_EVENT, bytes_of(init, size));
    run();
    assert_int_equal(ends[BOB].failed_code, AICO_EPREKEYUSED);
    assert_int_equal(handed[1], 1);
    free(init);
}

static void prekeys_of_another_or_swapped_ones_begin_nothing(void **state UNUSED)
{
    uint8_t own[PREKEY_STATEMENT_SIZE];

    /* M republishes A's: the statement names another identity. */
    memcpy(own, ends[BOB].statement, sizeof(own));
    memcpy(ends[BOB].statement, ends[ALICE].statement, sizeof(own));
    assert_int_equal(want(ALICE), 0);
    assert_int_equal(ends[ALICE].lost_code, AICO_ETARGET);
    /* The broker swaps the signed key. */
    memcpy(ends[BOB].statement, own, sizeof(own));
    ends[BOB].statement[60] ^= 1;
    assert_int_equal(want(ALICE), 0);
    assert_int_equal(ends[ALICE].lost_code, AICO_ESIGNATURE);
    memcpy(ends[BOB].statement, own, sizeof(own));
    /* It gives out an old one. */
    now_ms += PREKEY_VALID_MS + 1000;
    assert_int_equal(want(ALICE), 0);
    assert_int_equal(ends[ALICE].lost_code, AICO_EPREKEYOLD);
    assert_int_equal(ends[ALICE].lost, 3);
    assert_int_equal(ratchets_of(ALICE), 0);
}

static void a_swapped_one_time_key_does_not_open(void **state UNUSED)
{
    ends[BOB].keys.at[10] ^= 1;
    post(BOB, TOPIC, DELIVERY_EVENT, sealed_by(ALICE, "1"));
    run();
    assert_int_equal(ends[BOB].failed_code, AICO_EOPEN);
    assert_int_equal(ends[BOB].heard, 0);
    assert_int_equal(disk_rows(&ends[BOB].disk, KEEP_SEEN), 0);
    assert_int_equal(disk_rows(&ends[BOB].disk, KEEP_ONE_TIME), SHELF_FULL);
}

static void every_bit_of_a_first_message_begins_nothing(void **state UNUSED)
{
    struct bytes wire = sealed_by(ALICE, "1");
    uint8_t *original = exact_copy(wire);
    size_t size = wire.size, rows = ends[BOB].disk.count;

    for (size_t bit = 0; bit < size * 8; bit += 3) {
        uint8_t *copy = exact_copy(bytes_of(original, size));

        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        now_ms += 1500; /* the pauses after failures */
        post(BOB, TOPIC, DELIVERY_EVENT, bytes_of(copy, size));
        {
            struct parcel *parcel = parcels;

            LL_DELETE(parcels, parcel);
            hand(parcel);
            parcel_free(parcel);
        }
        while (parcels) { /* what it says to that goes nowhere */
            struct parcel *parcel = parcels;

            LL_DELETE(parcels, parcel);
            parcel_free(parcel);
        }
        free(copy);
    }
    assert_int_equal(ends[BOB].heard, 0);
    assert_int_equal(ends[BOB].disk.count, rows);
    now_ms += 1500;
    post(BOB, TOPIC, DELIVERY_EVENT, bytes_of(original, size));
    run();
    assert_int_equal(ends[BOB].heard, 1);
    free(original);
}

/* --- row 62 --------------------------------------------------------------------------------- */

static void a_start_without_a_one_time_key_is_flagged(void **state UNUSED)
{
    ends[BOB].keys.size = 0;
    post(BOB, TOPIC, DELIVERY_EVENT, sealed_by(ALICE, "1"));
    run();
    assert_int_equal(ends[ALICE].notice_code, AICO_ENOONETIME);
    assert_int_equal(ends[BOB].heard, 1);
}

static void few_one_time_keys_are_refilled(void **state UNUSED)
{
    ends[BOB].keys.size = (SHELF_LOW - 1) * PREKEY_ONE_TIME_SIZE;
    sessions_prekeys_left(ends[BOB].sessions, now_at(), SHELF_LOW);
    drain(BOB);
    assert_int_equal(ends[BOB].keys.size / PREKEY_ONE_TIME_SIZE, SHELF_LOW - 1);
    sessions_prekeys_left(ends[BOB].sessions, now_at(), SHELF_LOW - 1);
    drain(BOB);
    assert_int_equal(ends[BOB].keys.size / PREKEY_ONE_TIME_SIZE, SHELF_FULL);
    say(ALICE, "1");
    assert_int_equal(ends[BOB].heard, 1);
}

static void nobody_is_asked_for_ever(void **state UNUSED)
{
    no_bundles = true;
    assert_int_equal(want(ALICE), 0);
    assert_int_equal(ends[ALICE].lost, 1);
    assert_int_equal(ends[ALICE].lost_code, AICO_ENOPREKEY);
}

static void a_statement_is_new_every_week_and_erased_in_its_time(void **state UNUSED)
{
    for (int day = 0; day < 60; day++) {
        now_ms += PREKEY_DAY_MS;
        sessions_tick(ends[BOB].sessions, now_at());
        drain(BOB);
        assert_true(disk_rows(&ends[BOB].disk, KEEP_STATEMENT) <= 5);
    }
    assert_true(disk_rows(&ends[BOB].disk, KEEP_STATEMENT) >= 4);
    assert_true(disk_rows(&ends[BOB].disk, KEEP_ONE_TIME) <= 5 * SHELF_FULL);
    sessions_tick(ends[ALICE].sessions, now_at());
    say(ALICE, "1");
    assert_int_equal(ends[BOB].heard, 1);
}

/* --- lost and old states ------------------------------------------------------------------------
 */

static void a_reader_that_lost_its_disk_says_reset(void **state UNUSED)
{
    say(ALICE, "1");
    advance(2000);
    disk_clear(&ends[BOB].disk);
    restart(BOB);
    run();
    say(ALICE, "2");
    assert_int_equal(ends[BOB].failed_code, AICO_ERATCHET);
    advance(1000);
    assert_int_equal(ends[ALICE].notice_code, AICO_ERATCHET);
    say(ALICE, "3");
    assert_int_equal(handed[3], 1);
}

static void a_sender_that_lost_its_disk_begins_anew(void **state UNUSED)
{
    say(ALICE, "1");
    advance(2000);
    say(BOB, "2");
    disk_clear(&ends[ALICE].disk);
    restart(ALICE);
    run();
    now_ms += 10;
    say(ALICE, "3");
    assert_int_equal(handed[3], 1);
    advance(2000);
    say(BOB, "4"); /* with the new one */
    assert_int_equal(handed[4], 1);
}

static void a_home_that_was_put_back_is_noticed_and_repaired(void **state UNUSED)
{
    static struct disk backup;
    char text[16];
    unsigned i;

    say(ALICE, "1");
    advance(2000);
    say(BOB, "2");
    say(ALICE, "3");
    disk_copy(&backup, &ends[ALICE].disk);
    for (i = 4; i < 20; i++) {
        (void)snprintf(text, sizeof(text), "%u", i);
        say(i % 2, text);
    }
    disk_copy(&ends[ALICE].disk, &backup);
    disk_clear(&backup);
    restart(ALICE);
    run();
    for (; i < 40; i++) {
        (void)snprintf(text, sizeof(text), "%u", i);
        say(ALICE, text);
        advance(1000);
        if (handed[i] == 1)
            break;
    }
    assert_true(i < 30);
    say(ALICE, "50");
    say(BOB, "51");
    assert_int_equal(handed[50], 1);
    assert_int_equal(handed[51], 1);
}

static void reset_of_an_unknown_ratchet_changes_nothing(void **state UNUSED)
{
    say(ALICE, "1");
    advance(2000);
    /* A forger at the broker: no channel, no RESET. */
    post(ALICE, SESSION_TOPIC_CONTROL, DELIVERY_CONTROL,
         bytes_text("\x09"
                    "123456789012"));
    run();
    say(ALICE, "2");
    assert_int_equal(handed[2], 1);
    assert_int_equal(ratchets_of(ALICE), 1);
}

static void the_revoked_lose_their_ratchets(void **state UNUSED)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(registry, bytes_text(NAMESPACE));
    struct registry *next;
    struct writer w = writer_over(room, sizeof(room));

    say(ALICE, "1");
    advance(2000);
    assert_int_equal(disk_rows(&ends[ALICE].disk, KEEP_RATCHET), 1);
    assert_int_equal(registry_draft_set_state(draft, "frontend", COMPONENT_REVOKED), 0);
    next = registry_make(draft);
    sessions_set_registry(ends[ALICE].sessions, now_at(), next);
    drain(ALICE);
    assert_int_equal(disk_rows(&ends[ALICE].disk, KEEP_RATCHET), 0);
    assert_int_equal(seal(ALICE, "2", &w), AICO_EPEERUNKNOWN);
    registry_unref(&next);
}

static struct registry *with_state(struct registry *from, const char *name,
                                   enum component_state state)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(from, bytes_text(NAMESPACE));

    assert_int_equal(registry_draft_set_state(draft, name, state), 0);
    return registry_make(draft);
}

/* Alice is revoked and let in again; Bob gives up the ratchet she began. */
static void give_up(bool is_off)
{
    struct registry *revoked = with_state(registry, "backend", COMPONENT_REVOKED);
    struct registry *again = with_state(revoked, "backend", COMPONENT_ACTIVE);

    if (is_off) {
        registry_unref(&registry);
        registry = registry_ref(revoked);
        restart(BOB);
    } else {
        sessions_set_registry(ends[BOB].sessions, now_at(), revoked);
        drain(BOB);
    }
    assert_int_equal(disk_rows(&ends[BOB].disk, KEEP_RATCHET), 0);
    for (int at = 0; at < 2; at++) {
        sessions_set_registry(ends[at].sessions, now_at(), again);
        drain(at);
    }
    registry_unref(&revoked);
    registry_unref(&registry);
    registry = again;
}

/* She goes on with the ratchet she holds, and what began it is spent: that is no repetition. It is
 * told, and to her as well. What was opened before, and comes again, is one. */
static void what_a_ratchet_that_was_given_up_would_have_opened_is_told(void **state UNUSED)
{
    for (int how = 0; how < 3; how++) {
        struct bytes wire;
        uint8_t *copy;

        (void)mail("0");
        wire = mail("1");
        copy = exact_copy(wire);
        take(BOB);
        assert_true(handed[0] == 1 && handed[1] == 1);
        give_up(how == 1);
        if (how == 2)
            restart(BOB);

        (void)mail("2"); /* in the same millisecond */
        assert_int_equal(handed[2], 0);
        assert_int_equal(ends[BOB].failed_code, AICO_ERATCHET);
        post(BOB, TOPIC, DELIVERY_MAILBOX, bytes_of(copy, wire.size));
        run();
        assert_int_equal(ends[BOB].failed_code, AICO_EREPLAY);
        advance(1000);
        assert_int_equal(ends[ALICE].notice_code, AICO_ERATCHET);
        (void)mail("3");
        assert_int_equal(handed[3], 1);
        free(copy);
        (void)teardown(NULL);
        (void)setup(NULL);
    }
}

/* To find that there is no ratchet costs nothing, so it is no reason to stop listening: what lies
 * in a mailbox would come again only with the next session. */
static void of_much_mail_without_a_ratchet_each_is_told(void **state UNUSED)
{
    enum { MUCH = 20 };

    (void)mail("0");
    take(BOB);
    give_up(false);
    for (int i = 0; i < MUCH; i++) {
        struct writer w = writer_over(room, sizeof(room));

        assert_int_equal(seal_as(ALICE, DELIVERY_MAILBOX, "1", &w), 0);
        post(BOB, TOPIC, DELIVERY_MAILBOX, writer_view(&w));
    }
    run();
    assert_int_equal(ends[BOB].failed, MUCH);
    assert_int_equal(ends[BOB].failed_code, AICO_ERATCHET);
    advance(1000);
    (void)mail("2");
    assert_true(handed[1] == 0 && handed[2] == 1);
}

/* Both ends turned: what came with the Init was all of the first chain. A sender whose state is an
 * old one uses numbers of it again, and says so. */
static void of_a_ratchet_that_turned_and_was_given_up_repetitions_are_known(void **state UNUSED)
{
    static struct disk backup;
    struct bytes wire;
    uint8_t *copy;

    (void)mail("0");
    wire = mail("1");
    copy = exact_copy(wire);
    disk_copy(&backup, &ends[ALICE].disk);
    take(BOB);
    advance(2000);
    (void)mail("2");
    advance(2000);
    give_up(false);
    post(BOB, TOPIC, DELIVERY_MAILBOX, bytes_of(copy, wire.size));
    run();
    assert_int_equal(ends[BOB].failed_code, AICO_EREPLAY);
    disk_copy(&ends[ALICE].disk, &backup);
    disk_clear(&backup);
    restart(ALICE);
    (void)mail("3");
    assert_int_equal(ends[BOB].failed_code, AICO_ERATCHET);
    free(copy);
}

/* A mailbox hands over again what was not acknowledged when a link broke. */
static void repeat(const uint8_t *wire, size_t size)
{
    for (int i = 0; i < 20; i++)
        post(BOB, TOPIC, DELIVERY_EVENT, bytes_of(wire, size));
    run();
    assert_int_equal(ends[BOB].failed_code, AICO_EREPLAY);
}

static void a_repetition_costs_neither_ratchet_nor_attention(void **state UNUSED)
{
    struct sessions_stats before, after;
    struct bytes wire = sealed_by(ALICE, "1");
    size_t size = wire.size;
    uint8_t *first = exact_copy(wire);

    sessions_get_stats(ends[BOB].sessions, &before);
    post(BOB, TOPIC, DELIVERY_EVENT, bytes_of(first, size));
    run();
    take(BOB);
    say(ALICE, "2");
    repeat(first, size);
    say(ALICE, "3");
    assert_int_equal(handed[3], 1);
    advance(2000);
    say(BOB, "4"); /* with keys of its own */
    say(ALICE, "5");
    repeat(first, size);
    restart(BOB);
    repeat(first, size);
    say(ALICE, "6");
    assert_int_equal(handed[6], 1);
    sessions_get_stats(ends[BOB].sessions, &after);
    assert_int_equal(after.resets, before.resets);
    assert_int_equal(ratchets_of(ALICE), 1);
    free(first);
}

static void forged_envelopes_are_not_listened_to_for_long(void **state UNUSED)
{
    struct sessions_stats before, after;
    struct bytes wire;
    uint8_t *forged;
    size_t size;

    say(ALICE, "1");
    advance(2000);
    wire = sealed_by(ALICE, "2");
    size = wire.size;
    forged = exact_copy(wire);
    forged[size - 1] ^= 1;
    sessions_get_stats(ends[BOB].sessions, &before);
    for (int i = 0; i < 1000; i++)
        post(BOB, TOPIC, DELIVERY_EVENT, bytes_of(forged, size));
    run();
    assert_int_equal(ends[BOB].failed_code, AICO_ERATE);
    sessions_get_stats(ends[BOB].sessions, &after);
    assert_true(after.resets - before.resets <= 1);
    free(forged);
}

int main(void)
{
#define RATCHET_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        RATCHET_TEST(a_first_message_needs_no_answer_and_later_ones_turn),
        RATCHET_TEST(a_repetition_costs_neither_ratchet_nor_attention),
        RATCHET_TEST(runs_follow_each_other_on_one_ratchet),
        RATCHET_TEST(crossing_starts_end_on_one_ratchet),
        RATCHET_TEST(a_channel_is_not_taken_for_a_ratchet),
        RATCHET_TEST(maximum_ratchets_what_other_levels_seal_on_channels),
        RATCHET_TEST(maximum_and_another_level_do_not_talk),
        RATCHET_TEST(max_skipped_messages_is_how_many_may_be_missing),
        RATCHET_TEST(a_kill_at_every_write_uses_no_key_twice_and_loses_nothing),
        RATCHET_TEST(ten_thousand_messages_through_kills_at_random),
        RATCHET_TEST(what_was_opened_and_not_taken_is_handed_over_after_a_restart),
        RATCHET_TEST(mail_on_its_way_when_nobody_listens_any_more_is_kept),
        RATCHET_TEST(mail_that_cannot_be_kept_is_not_opened_and_comes_again),
        RATCHET_TEST(nothing_is_shown_of_what_cannot_be_stored),
        RATCHET_TEST(nothing_is_sealed_that_cannot_be_stored),
        RATCHET_TEST(mail_sealed_to_a_former_key_opens),
        RATCHET_TEST(mail_sealed_some_rotations_ago_opens),
        RATCHET_TEST(mail_of_a_former_key_opens_after_the_overlap),
        RATCHET_TEST(mail_that_begins_opens_after_the_overlap_too),
        RATCHET_TEST(mail_of_a_key_that_was_revoked_does_not),
        RATCHET_TEST(nor_what_is_older_than_mail_is_kept),
        RATCHET_TEST(nor_what_a_former_key_says_it_sealed_later),
        RATCHET_TEST(nor_what_is_no_mail),
        RATCHET_TEST(what_was_opened_in_time_is_heard_however_late),
        RATCHET_TEST(what_was_opened_of_one_that_was_revoked_is_told),
        RATCHET_TEST(a_name_that_was_given_away_again_opens_nothing_of_before),
        RATCHET_TEST(an_init_is_taken_once_also_after_a_restart),
        RATCHET_TEST(prekeys_of_another_or_swapped_ones_begin_nothing),
        RATCHET_TEST(a_swapped_one_time_key_does_not_open),
        RATCHET_TEST(every_bit_of_a_first_message_begins_nothing),
        RATCHET_TEST(a_start_without_a_one_time_key_is_flagged),
        RATCHET_TEST(few_one_time_keys_are_refilled),
        RATCHET_TEST(nobody_is_asked_for_ever),
        RATCHET_TEST(a_statement_is_new_every_week_and_erased_in_its_time),
        RATCHET_TEST(a_reader_that_lost_its_disk_says_reset),
        RATCHET_TEST(a_sender_that_lost_its_disk_begins_anew),
        RATCHET_TEST(a_home_that_was_put_back_is_noticed_and_repaired),
        RATCHET_TEST(reset_of_an_unknown_ratchet_changes_nothing),
        RATCHET_TEST(the_revoked_lose_their_ratchets),
        RATCHET_TEST(what_a_ratchet_that_was_given_up_would_have_opened_is_told),
        RATCHET_TEST(of_much_mail_without_a_ratchet_each_is_told),
        RATCHET_TEST(of_a_ratchet_that_turned_and_was_given_up_repetitions_are_known),
        RATCHET_TEST(forged_envelopes_are_not_listened_to_for_long),
    };

    if (crypto_start() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
