/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PROTOCOL 14 row 72 (and 21, 23): after the moment at which a secret is said to be erased, no copy
 * of it is left in any memory of the process, stack and freed heap included.
 *
 * What to look for is computed by a child process, which hands it over masked, so that neither the
 * looking nor the computing leaves the copy that is then found.
 */
#include "memory_scan.h"

#include <link.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/dh.h"
#include "session/channel.h"
#include "session/group.h"
#include "session/ratchet.h"

static struct identity *frontend, *backend;
static struct registry *registry;
static struct session_settings settings;

static struct secrets {
    uint8_t e_d[SECRET_SIZE], e_l[SECRET_SIZE], shared[SECRET_SIZE], root[SECRET_SIZE],
        confirm_d[SECRET_SIZE], confirm_l[SECRET_SIZE], k0[SECRET_SIZE], subkey0[SECRET_SIZE];
    uint8_t group0[SECRET_SIZE], topic0[SECRET_SIZE], topic_subkey0[SECRET_SIZE];
} sought; /* masked */

#define ASSERT_GONE(name)                                                                          \
    do {                                                                                           \
        size_t n_ = copies_of(sought.name);                                                        \
        if (n_ > 0)                                                                                \
            fail_msg("%zu copies of %s are left", n_, #name);                                      \
    } while (0)

/* --- a handshake, a channel and a group whose secrets a child knows before -------------------- */

struct both {
    struct guard *guard;
    struct handshake_random rd, rl;
    struct dialer *dialer;
    struct listener *listener;
    uint8_t hello1[HELLO1_SIZE], hello2[HELLO2_SIZE], hello3[HELLO3_SIZE];
    struct channel_keys *at_d, *at_l;
    struct channel *d, *l;
};

static void meet(void)
{
    struct registry_draft *draft;

    assert_int_equal(crypto_start(), 0);
    frontend = identity_make("frontend");
    backend = identity_make("backend");
    draft = registry_draft_new(NULL, bytes_text(NAMESPACE));
    draft_add(draft, backend, "service");
    draft_add(draft, frontend, "ui");
    registry = registry_make(draft);
    registry_draft_free(&draft);
    settings = session_settings_default();
}

static struct both *both_new(void)
{
    struct both *b = calloc(1, sizeof(*b));
    struct dice dice = {72};
    struct hedge hedge;

    assert_non_null(b);
    b->guard = guard_new(60000);
    b->dialer = guarded_new(sizeof(*b->dialer));
    b->listener = guarded_new(sizeof(*b->listener));
    b->at_d = calloc(2, sizeof(*b->at_d));
    assert_true(b->guard && b->dialer && b->listener && b->at_d);
    b->at_l = b->at_d + 1;
    hedge_init(&hedge, &frontend->seed, dice_source(&dice));
    handshake_random_draw(&hedge, &b->rd);
    handshake_random_draw(&hedge, &b->rl);
    hedge_wipe(&hedge);
    return b;
}

static void both_free(struct both *b)
{
    channel_free(&b->d);
    channel_free(&b->l);
    guarded_free(&b->dialer);
    guarded_free(&b->listener);
    guard_free(&b->guard);
    free(b->at_d);
    free(b);
}

static struct handshake_context context_of(const struct identity *self)
{
    return (struct handshake_context){&settings, self, registry, NULL};
}

static void *dial(void *both)
{
    struct handshake_context d = context_of(frontend);
    struct both *b = both;

    assert_int_equal(dialer_begin(&d, moment_at(START_MS), backend->public, &b->rd, b->dialer), 0);
    memcpy(b->hello1, b->dialer->hello1, HELLO1_SIZE);
    handshake_random_wipe(&b->rd);
    return NULL;
}

static void *answer(void *both)
{
    struct handshake_context l = context_of(backend);
    struct both *b = both;

    assert_int_equal(listener_receive(&l, moment_at(START_MS), b->guard, bytes_text("frontend"), 0,
                                      bytes_of(b->hello1, HELLO1_SIZE), &b->rl, b->listener,
                                      b->hello2),
                     0);
    handshake_random_wipe(&b->rl);
    return NULL;
}

static void *finish(void *both)
{
    struct handshake_context d = context_of(frontend);
    struct both *b = both;

    assert_int_equal(dialer_receive(&d, moment_at(START_MS), b->dialer,
                                    bytes_of(b->hello2, HELLO2_SIZE), b->at_d, b->hello3),
                     0);
    return NULL;
}

static void *confirm(void *both)
{
    struct both *b = both;

    assert_int_equal(listener_confirm(b->listener, moment_at(START_MS),
                                      bytes_of(b->hello3, HELLO3_SIZE), b->at_l),
                     0);
    return NULL;
}

static void *establish(void *both)
{
    struct moment now = moment_at(START_MS);
    struct both *b = both;

    assert_int_equal(channel_new(b->at_d, frontend->public, &settings, now, &b->d), 0);
    assert_int_equal(channel_new(b->at_l, backend->public, &settings, now, &b->l), 0);
    channel_keys_wipe(b->at_d);
    channel_keys_wipe(b->at_l);
    return NULL;
}

static void run_handshake(struct both *b)
{
    (void)dial(b);
    (void)answer(b);
    (void)finish(b);
    (void)confirm(b);
    (void)establish(b);
}

/* One message from D to L at @now. */
static void say(struct both *b, struct moment now)
{
    static const struct gap_sink silent;
    uint8_t wire[256], plain[256];
    struct writer out = writer_over(wire, sizeof(wire));
    struct channel_opened opened;
    struct envelope e;

    assert_int_equal(channel_seal(b->d, now,
                                  &(struct channel_message){.format = ENVELOPE_FORMAT_MESSAGE,
                                                            .topic = bytes_text("a/b"),
                                                            .payload = bytes_text("x")},
                                  &out, NULL),
                     0);
    assert_int_equal(envelope_parse(writer_view(&out), &e), 0);
    assert_int_equal(channel_open(b->l, now, &e, DELIVERY_EVENT, bytes_text("a/b"), NULL, plain,
                                  &silent, &opened),
                     0);
}

static const struct rule rule = {.authenticity = AUTHENTICITY_GROUP};

static struct group *group_begin(void)
{
    struct group_member *member = calloc(1, sizeof(*member));
    struct rule named = rule;
    struct dice dice = {73};
    struct group_seed seed;
    struct group *group = NULL;
    struct hedge hedge;

    assert_non_null(member);
    memcpy(member->identity, frontend->public, SIGN_PUBLIC_SIZE);
    member->slot = ENVELOPE_NO_SLOT;
    named.filter = bytes_text("g/**");
    hedge_init(&hedge, &backend->seed, dice_source(&dice));
    group_seed_draw(&hedge, moment_at(START_MS), 0, &seed);
    hedge_wipe(&hedge);
    assert_int_equal(
        group_new(backend, &settings, &named, &seed, moment_at(START_MS), member, 1, &group), 0);
    group_seed_wipe(&seed);
    return group;
}

static struct group_reader *reader_begin(struct group *group)
{
    struct group_reader *reader = NULL;
    struct buffer message = {0};
    struct control control;
    size_t windows = 0;

    assert_int_equal(group_write_key(group, moment_at(START_MS), &group->members[0], 0, &message),
                     0);
    assert_int_equal(control_parse(buffer_view(&message), &control), 0);
    assert_int_equal(group_reader_new(frontend->public, &settings, backend->public, false, &control,
                                      moment_at(START_MS), &windows, &reader),
                     0);
    buffer_wipe_deinit(&message);
    return reader;
}

static void publish(struct group *group, struct group_reader *reader, struct moment now,
                    const char *topic)
{
    static const struct gap_sink silent;
    static size_t windows;
    uint8_t wire[256], plain[256];
    struct writer out = writer_over(wire, sizeof(wire));
    struct group_opened opened;
    struct envelope e;

    assert_int_equal(group_seal(group, now, ENVELOPE_FORMAT_MESSAGE, DELIVERY_EVENT,
                                bytes_text(topic), false, bytes_of(NULL, 0), bytes_text("x"), &out),
                     0);
    assert_int_equal(envelope_parse(writer_view(&out), &e), 0);
    assert_int_equal(group_open(reader, now, &e, DELIVERY_EVENT, bytes_text(topic), false, &windows,
                                plain, &silent, &opened),
                     0);
}

/* --- the child -------------------------------------------------------------------------------- */

static void compute(struct secrets *s)
{
    const struct bytes nothing = {0};
    struct secret e_d, e_l, shared, root, key;
    struct group *group;
    struct both *b;
    struct hasher h;
    uint8_t transcript[HASH_SIZE];

    meet();
    b = both_new();
    e_d = b->rd.ephemeral;
    e_l = b->rl.ephemeral;
    run_handshake(b);
    assert_int_equal(dh_shared(&e_d, b->hello2 + 72, &shared), 0);
    hasher_begin(&h, HASH_SIZE);
    hasher_tag(&h, "transcript");
    hasher_feed(&h, bytes_of("\4" NAMESPACE, 5));
    hasher_feed(&h, bytes_of(b->hello1, HELLO1_SIZE));
    hasher_feed(&h, bytes_of(b->hello2, 200));
    hasher_end(&h, transcript, HASH_SIZE);
    kdf(&shared, "root", bytes_of(transcript, HASH_SIZE), &root);
    memcpy(s->e_d, e_d.at, SECRET_SIZE);
    memcpy(s->e_l, e_l.at, SECRET_SIZE);
    memcpy(s->shared, shared.at, SECRET_SIZE);
    memcpy(s->root, root.at, SECRET_SIZE);
    kdf(&root, "confirm dialer", nothing, &key);
    memcpy(s->confirm_d, key.at, SECRET_SIZE);
    kdf(&root, "confirm listener", nothing, &key);
    memcpy(s->confirm_l, key.at, SECRET_SIZE);
    /* The computation above must be the protocol's, or nothing would ever be found. */
    kdf(&root, "traffic dialer", nothing, &key);
    assert_memory_equal(key.at, b->d->send.chain.key.at, SECRET_SIZE);
    memcpy(s->k0, key.at, SECRET_SIZE);
    memcpy(s->subkey0, b->d->send.key.subkey.at, SECRET_SIZE);

    group = group_begin();
    memcpy(s->group0, group->secret->chain.key.at, SECRET_SIZE);
    kdf(&group->secret->chain.key, "group topic", bytes_text("g/t"), &key);
    memcpy(s->topic0, key.at, SECRET_SIZE);
    publish(group, reader_begin(group), moment_at(START_MS), "g/t");
    memcpy(s->topic_subkey0, group->topics->secret->key.subkey.at, SECRET_SIZE);
}

/* The same keys are drawn here and there: the generator is seeded. */
static void learn(void)
{
    struct secrets s;
    int ends[2], status;
    pid_t child;

    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        compute(&s);
        for (size_t i = 0; i < sizeof(s); i++)
            ((uint8_t *)&s)[i] ^= MASK;
        _exit(write(ends[1], &s, sizeof(s)) == sizeof(s) ? 0 : 1);
    }
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &sought, sizeof(sought)), sizeof(sought));
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* --- the tests -------------------------------------------------------------------------------- */

static void what_is_kept_is_found(void **state UNUSED)
{
    struct both *b = both_new();

    /* Otherwise the tests below would pass on a search that finds nothing. */
    assert_true(copies_of(sought.e_d) >= 1);
    run_handshake(b);
    assert_true(copies_of(sought.k0) >= 2);
    both_free(b);
}

static void handshake_secrets_are_erased_when_they_have_done_their_work(void **state UNUSED)
{
    struct both *b = both_new();

    apart(dial, b);
    assert_true(copies_of(sought.e_d) == 1); /* the dialer's */
    apart(answer, b);
    ASSERT_GONE(e_l);
    ASSERT_GONE(shared);
    ASSERT_GONE(root);
    ASSERT_GONE(confirm_l);
    apart(finish, b);
    ASSERT_GONE(e_d);
    ASSERT_GONE(shared);
    ASSERT_GONE(root);
    ASSERT_GONE(confirm_l);
    apart(confirm, b);
    ASSERT_GONE(confirm_d);
    apart(establish, b);
    assert_int_equal(copies_of(sought.k0), 2); /* the sender's and the receiver's */
    both_free(b);
}

static void *run_late(void *both)
{
    struct handshake_context d = context_of(frontend);
    struct both *b = both;
    struct channel_keys keys;

    (void)dial(b);
    assert_int_equal(dialer_receive(&d, moment_at(START_MS + 30001), b->dialer,
                                    bytes_of(b->hello2, HELLO2_SIZE), &keys, b->hello3),
                     AICO_EDEADLINE);
    return NULL;
}

static void a_late_handshake_leaves_no_ephemeral(void **state UNUSED)
{
    struct both *b = both_new();

    apart(run_late, b);
    ASSERT_GONE(e_d);
    both_free(b);
}

static void *run_epochs(void *both)
{
    struct both *b = both;

    run_handshake(b);
    say(b, moment_at(START_MS));
    say(b, moment_at(START_MS + 60000));
    return NULL;
}

static void an_epoch_key_is_erased_when_both_ends_left_it(void **state UNUSED)
{
    struct both *b = both_new();

    apart(run_epochs, b);
    assert_int_equal(b->l->receive.chain.epoch, 1);
    ASSERT_GONE(k0);
    ASSERT_GONE(subkey0);
    both_free(b);
}

static void *run_and_kill(void *both)
{
    struct both *b = both;

    run_handshake(b);
    say(b, moment_at(START_MS));
    channel_kill(b->d);
    channel_kill(b->l);
    return NULL;
}

static void a_killed_channel_leaves_no_key(void **state UNUSED)
{
    struct both *b = both_new();

    apart(run_and_kill, b);
    ASSERT_GONE(k0);
    ASSERT_GONE(subkey0);
    both_free(b);
}

struct sides {
    struct group *group;
    struct group_reader *reader;
};

static void *run_group(void *sides)
{
    struct sides *s = sides;

    s->group = group_begin();
    s->reader = reader_begin(s->group);
    publish(s->group, s->reader, moment_at(START_MS), "g/t");
    /* The key of a topic goes with the epoch, not with the next message on that topic. */
    publish(s->group, s->reader, moment_at(START_MS + 60000), "g/u");
    /* Until here late requests may have the key that was left. */
    group_tick(s->group, moment_at(START_MS + 90000));
    return NULL;
}

static void a_group_epoch_key_is_erased_when_it_is_left(void **state UNUSED)
{
    struct sides s = {0};
    size_t windows = 2;

    apart(run_group, &s);
    ASSERT_GONE(topic0);
    ASSERT_GONE(topic_subkey0);
    ASSERT_GONE(group0);
    group_reader_free(&s.reader, &windows);
    group_free(&s.group);
}

/* --- a ratchet -------------------------------------------------------------------------------- */

static struct ring ring;
static struct dice ratchet_dice = {74};

static void draw(struct secret *secret)
{
    dice_bytes(&ratchet_dice, secret->at, SECRET_SIZE);
}

struct ends {
    struct ratchet *at[2];
    int64_t step; /* counts what was sealed and opened */
};

static void see_ratchets(const struct ends *ends)
{
    for (int i = 0; i < 2; i++) {
        const struct ratchet *r = ends->at[i];

        ring_see(&ring, "a root", &r->root, ends->step);
        ring_see(&ring, "a ratchet's secret", &r->secret, ends->step);
        if (r->send.begun)
            ring_see(&ring, "a sending chain", &r->send.key, ends->step);
        if (r->receive.begun)
            ring_see(&ring, "a receiving chain", &r->receive.key, ends->step);
        for (size_t k = 0; k < r->skipped_count; k++)
            ring_see(&ring, "a skipped key", &r->skipped[k].key, ends->step);
    }
}

/* The key of the next message of @ratchet, which nothing keeps. */
static void see_message_key(const struct ratchet *ratchet, int64_t step)
{
    CLEANUP(secret_wipe)
    struct secret key;

    kdf(&ratchet->send.key, "message key", bytes_of(NULL, 0), &key);
    ring_see(&ring, "a message key", &key, step);
}

static void begin_ratchets(struct ends *ends)
{
    CLEANUP(secret_wipe)
    struct secret root, mine;
    uint8_t public[DH_PUBLIC_SIZE];
    struct ratchet_start begin = {frontend->public, backend->public, &root, START_MS, NULL};

    draw(&root);
    draw(&mine);
    dh_public(&mine, public);
    assert_int_equal(ratchet_await(&(struct ratchet_start){backend->public, frontend->public, &root,
                                                           START_MS, NULL},
                                   &mine, &ends->at[1]),
                     0);
    draw(&mine);
    assert_int_equal(ratchet_begin(&begin, public, &mine, &ends->at[0]), 0);
    secret_wipe(&mine);
    see_ratchets(ends);
}

static struct bytes seal_by(struct ends *ends, int from, uint8_t *room, size_t size)
{
    struct ratchet_message message = {.delivery = DELIVERY_MAILBOX, .topic = bytes_text("r/t")};
    struct writer out = writer_over(room, size);

    see_message_key(ends->at[from], ends->step++);
    if (ratchet_needs_reserve(ends->at[from]))
        ratchet_reserve(ends->at[from]);
    assert_int_equal(
        ratchet_seal(ends->at[from], &settings, moment_at(START_MS), &message, &out, NULL), 0);
    see_ratchets(ends);
    return writer_view(&out);
}

static void open_by(struct ends *ends, int to, struct bytes wire)
{
    CLEANUP(secret_wipe)
    struct secret unused;
    struct ratchet_message expected = {.delivery = DELIVERY_MAILBOX, .topic = bytes_text("r/t")};
    struct ratchet_opened opened;
    struct envelope e;
    uint8_t plain[512];

    draw(&unused);
    ends->step++;
    assert_int_equal(envelope_parse(wire, &e), 0);
    assert_int_equal(ratchet_open(ends->at[to], &settings, moment_at(START_MS), &e, &expected, 10,
                                  &unused, plain, &opened),
                     0);
    see_ratchets(ends);
}

/* To and fro, and of three messages the first comes last. */
static void *run_ratchet(void *argument)
{
    struct ends *ends = argument;
    uint8_t room[3][512];
    struct bytes wire[3];

    begin_ratchets(ends);
    for (int turn = 0; turn < 6; turn++) {
        for (int i = 0; i < 3; i++)
            wire[i] = seal_by(ends, turn % 2, room[i], sizeof(room[i]));
        open_by(ends, (turn + 1) % 2, wire[1]);
        open_by(ends, (turn + 1) % 2, wire[2]);
        open_by(ends, (turn + 1) % 2, wire[0]);
    }
    return NULL;
}

static void a_message_key_is_erased_once_it_was_used(void **state UNUSED)
{
    struct ends ends = {0};

    apart(run_ratchet, &ends);
    ring_count(&ring);
    assert_true(ring.count > 30);
    for (size_t i = 1; i <= ring.count; i++) {
        bool is_used = ring.keys[i].seen_ms == ends.step;

        if ((ring.keys[i].copies > 0) != is_used)
            fail_msg("%s, step %lld of %lld: %zu copies", ring.keys[i].what,
                     (long long)ring.keys[i].seen_ms, (long long)ends.step, ring.keys[i].copies);
    }
    ratchet_free(&ends.at[0]);
    ratchet_free(&ends.at[1]);
}

/* --- how it is linked ------------------------------------------------------------------------- */

/* The first call of a function that is bound late saves all vector registers on the stack, and what
 * they have of a key that was copied just before stays there (glibc, _dl_runtime_resolve).
 * Optimized code copies keys so. All objects of ours are linked with the same option. */
static void nothing_is_bound_late(void **state UNUSED)
{
    bool is_now = false;

    for (const ElfW(Dyn) *entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++)
        is_now |= entry->d_tag == DT_BIND_NOW ||
                  (entry->d_tag == DT_FLAGS && entry->d_un.d_val & DF_BIND_NOW) ||
                  (entry->d_tag == DT_FLAGS_1 && entry->d_un.d_val & DF_1_NOW);
    assert_true(is_now);
}

static int start(void **state UNUSED)
{
    learn(); /* first: identities made before a fork are zeros in the child */
    meet();
    return 0;
}

static int stop(void **state UNUSED)
{
    registry_unref(&registry);
    identity_free(&frontend);
    identity_free(&backend);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_is_found),
        cmocka_unit_test(handshake_secrets_are_erased_when_they_have_done_their_work),
        cmocka_unit_test(a_late_handshake_leaves_no_ephemeral),
        cmocka_unit_test(an_epoch_key_is_erased_when_both_ends_left_it),
        cmocka_unit_test(a_killed_channel_leaves_no_key),
        cmocka_unit_test(a_group_epoch_key_is_erased_when_it_is_left),
        cmocka_unit_test(a_message_key_is_erased_once_it_was_used),
        cmocka_unit_test(nothing_is_bound_late),
    };

    return cmocka_run_group_tests_name("session/erase", tests, start, stop);
}
