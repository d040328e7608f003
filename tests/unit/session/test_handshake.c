/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake against the vectors and against what PROTOCOL 14 lets an attacker change (rows 1 to
 * 24 as far as they concern one handshake; test_peers.c has those that concern several).
 */
#include "world.h"

#include <time.h>

#include "base/hex.h"
#include "crypto/dh.h"

static json_t *vectors;
static struct dice dice = {1};
static struct hedge hedge;

/* D, L and somebody else, all in one registry. */
static struct identity *frontend, *backend, *mallory;
static struct registry *registry;
static struct session_settings settings;
static uint64_t verifications;

static struct handshake_context context_of(const struct identity *self)
{
    return (struct handshake_context){&settings, self, registry, &verifications};
}

/* One handshake, taken apart. */
struct attempt {
    struct handshake_context d, l;
    struct guard *guard;
    struct dialer dialer;
    struct listener listener;
    uint8_t hello2[HELLO2_SIZE], hello3[HELLO3_SIZE];
    struct channel_keys at_d, at_l;
};

static void draw(struct handshake_random *random)
{
    handshake_random_draw(&hedge, random);
}

static void begin(struct attempt *a, int64_t at_ms)
{
    struct handshake_random random;

    draw(&random);
    assert_int_equal(dialer_begin(&a->d, moment_at(at_ms), a->l.self->public, &random, &a->dialer),
                     0);
}

static struct attempt attempt_new(void)
{
    struct attempt a = {.d = context_of(frontend), .l = context_of(backend)};

    a.guard = guard_new(2 * settings.synchrony_bound_ms);
    assert_non_null(a.guard);
    begin(&a, START_MS);
    return a;
}

static void attempt_free(struct attempt *a)
{
    guard_free(&a->guard);
}

/* Hello1 @bytes as L sees it. */
static int give_hello1(struct attempt *a, int64_t at_ms, struct bytes bytes, const char *stamp,
                       size_t half_open)
{
    uint8_t *copy = exact_copy(bytes);
    struct handshake_random random;
    struct listener listener;
    uint8_t hello2[HELLO2_SIZE];
    int r;

    draw(&random);
    r = listener_receive(&a->l, moment_at(at_ms), a->guard, bytes_text(stamp), half_open,
                         bytes_of(copy, bytes.size), &random, &listener, hello2);
    free(copy);
    if (r == 0) {
        a->listener = listener;
        memcpy(a->hello2, hello2, sizeof(hello2));
    }
    return r;
}

static struct bytes hello1_of(const struct attempt *a)
{
    return bytes_of(a->dialer.hello1, HELLO1_SIZE);
}

static int give_hello2(struct attempt *a, int64_t at_ms, struct bytes bytes)
{
    uint8_t *copy = exact_copy(bytes);
    int r = dialer_receive(&a->d, moment_at(at_ms), &a->dialer, bytes_of(copy, bytes.size),
                           &a->at_d, a->hello3);

    free(copy);
    return r;
}

static int give_hello3(struct attempt *a, int64_t at_ms, struct bytes bytes)
{
    uint8_t *copy = exact_copy(bytes);
    int r = listener_confirm(&a->listener, moment_at(at_ms), bytes_of(copy, bytes.size), &a->at_l);

    free(copy);
    return r;
}

static struct bytes hello2_of(const struct attempt *a)
{
    return bytes_of(a->hello2, HELLO2_SIZE);
}

static struct bytes hello3_of(const struct attempt *a)
{
    return bytes_of(a->hello3, HELLO3_SIZE);
}

/* Signs the first @size bytes of @hello again, as @signer with @label. */
static void sign_again(uint8_t *hello, size_t size, const struct identity *signer,
                       const char *label)
{
    uint8_t namespace[] = "\4" NAMESPACE;

    assert_int_equal(sign_make(&signer->seed, label, bytes_of(namespace, 5), bytes_of(hello, size),
                               hello + size),
                     0);
}

static bool is_zero(const void *at, size_t size)
{
    const uint8_t *bytes = at;

    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return false;
    return true;
}

/* --- vectors ------------------------------------------------------------------------------------
 */

static void check_vector(json_t *v, const struct secret *psk)
{
    json_t *base = vectors_at(vectors, "handshake");
    struct handshake_random rd, rl;
    struct session_settings mine = settings;
    struct registry *theirs = registry_of_vectors(vectors);
    struct attempt a = attempt_new();
    uint8_t expected[HELLO1_SIZE], id[CHANNEL_ID_SIZE];

    mine.psk = psk;
    a.d.settings = a.l.settings = &mine;
    a.d.registry = a.l.registry = theirs;
    assert_int_equal(session_policy(&mine), vectors_int(v, "policy"));
    vectors_hex_into(base, "e_d", rd.ephemeral.at, 32);
    vectors_hex_into(base, "challenge_d", rd.challenge, 32);
    vectors_hex_into(base, "e_l", rl.ephemeral.at, 32);
    vectors_hex_into(base, "challenge_l", rl.challenge, 32);

    assert_int_equal(dialer_begin(&a.d, moment_at(START_MS), backend->public, &rd, &a.dialer), 0);
    vectors_hex_into(v, "hello1", expected, HELLO1_SIZE);
    assert_memory_equal(a.dialer.hello1, expected, HELLO1_SIZE);

    assert_int_equal(listener_receive(&a.l, moment_at(vectors_int(base, "listener_time")), a.guard,
                                      bytes_text("frontend"), 0, hello1_of(&a), &rl, &a.listener,
                                      a.hello2),
                     0);
    vectors_hex_into(v, "hello2", expected, HELLO2_SIZE);
    assert_memory_equal(a.hello2, expected, HELLO2_SIZE);

    assert_int_equal(give_hello2(&a, START_MS + 9, hello2_of(&a)), 0);
    vectors_hex_into(v, "hello3", expected, HELLO3_SIZE);
    assert_memory_equal(a.hello3, expected, HELLO3_SIZE);
    assert_int_equal(give_hello3(&a, START_MS + 12, hello3_of(&a)), 0);

    vectors_hex_into(v, "id", id, sizeof(id));
    assert_memory_equal(a.at_d.id, id, sizeof(id));
    assert_memory_equal(a.at_l.id, id, sizeof(id));
    assert_memory_equal(a.at_d.send.at, a.at_l.receive.at, 32);
    assert_memory_equal(a.at_d.receive.at, a.at_l.send.at, 32);
    if (!psk) {
        struct secret key;

        vectors_hex_into(v, "k_dl", key.at, 32);
        assert_memory_equal(a.at_d.send.at, key.at, 32);
        vectors_hex_into(v, "k_ld", key.at, 32);
        assert_memory_equal(a.at_d.receive.at, key.at, 32);
        assert_int_equal(a.at_d.t0_ms, vectors_int(v, "t0"));
        assert_int_equal(a.at_l.t0_ms, vectors_int(v, "t0"));
    }
    attempt_free(&a);
    registry_unref(&theirs);
}

static void the_handshake_vector_is_byte_exact(void **state UNUSED)
{
    check_vector(vectors_at(vectors, "handshake"), NULL);
}

static void the_psk_vector_is_byte_exact(void **state UNUSED)
{
    json_t *v = vectors_at(vectors, "handshake_psk");
    struct secret psk;

    vectors_hex_into(v, "psk", psk.at, 32);
    check_vector(v, &psk);
}

static void each_negative_hello1_vector_gives_its_code(void **state UNUSED)
{
    json_t *cases = vectors_at(vectors, "hello1_negative"), *one;
    size_t i;

    json_array_foreach(cases, i, one)
    {
        struct bytes hello1 = vectors_hex(one, "hello1");
        struct attempt a = attempt_new();
        const char *name = vectors_text(one, "name");
        const char *changed = json_string_value(json_object_get(one, "listener"));
        struct registry *theirs;
        int r;

        theirs = changed ? registry_of_vectors_with(vectors, "frontend", strchr(changed, ' ') + 1)
                         : registry_of_vectors(vectors);
        a.l.registry = theirs;
        r = give_hello1(&a, vectors_int(one, "now"), hello1, vectors_text(one, "stamp"), 0);
        if (strcmp(aico_error_name(r), vectors_text(one, "expect")) != 0 &&
            !(r == 0 && strcmp(vectors_text(one, "expect"), "ok") == 0))
            fail_msg("%s: %s", name, aico_error_name(r));
        free((void *)(uintptr_t)hello1.at);
        registry_unref(&theirs);
        attempt_free(&a);
    }
}

/* A dialer in the state after the vectors' Hello1. */
static struct attempt attempt_of_vectors(struct registry *theirs)
{
    struct attempt a = attempt_new();
    struct handshake_random random;

    a.d.registry = a.l.registry = theirs;
    vectors_hex_into(vectors, "handshake.e_d", random.ephemeral.at, 32);
    vectors_hex_into(vectors, "handshake.challenge_d", random.challenge, 32);
    assert_int_equal(dialer_begin(&a.d, moment_at(START_MS), backend->public, &random, &a.dialer),
                     0);
    return a;
}

static void each_negative_hello2_vector_gives_its_code(void **state UNUSED)
{
    json_t *cases = vectors_at(vectors, "hello2_negative"), *one;
    struct registry *theirs = registry_of_vectors(vectors);
    size_t i;

    json_array_foreach(cases, i, one)
    {
        struct bytes hello2 = vectors_hex(one, "hello2");
        struct attempt a = attempt_of_vectors(theirs);
        const char *expect = vectors_text(one, "expect");
        struct moment now = moment_at(vectors_int(one, "now"));
        int r;

        /* This one means a wall clock that was stepped, not a late answer. */
        if (strcmp(expect, "E_CLOCK") == 0)
            now.boot_ms = moment_at(START_MS + 9).boot_ms;
        r = dialer_receive(&a.d, now, &a.dialer, hello2, &a.at_d, a.hello3);
        if (strcmp(r == 0 ? "ok" : aico_error_name(r), expect) != 0)
            fail_msg("%s: %s", vectors_text(one, "name"), aico_error_name(r));
        free((void *)(uintptr_t)hello2.at);
        attempt_free(&a);
    }
    registry_unref(&theirs);
}

static void each_negative_hello3_vector_gives_its_code(void **state UNUSED)
{
    json_t *cases = vectors_at(vectors, "hello3_negative"), *one;
    struct registry *theirs = registry_of_vectors(vectors);
    struct attempt a = attempt_of_vectors(theirs);
    struct handshake_random random;
    struct bytes hello3;
    size_t i;

    vectors_hex_into(vectors, "handshake.e_l", random.ephemeral.at, 32);
    vectors_hex_into(vectors, "handshake.challenge_l", random.challenge, 32);
    assert_int_equal(listener_receive(&a.l, moment_at(START_MS + 5), a.guard,
                                      bytes_text("frontend"), 0, hello1_of(&a), &random,
                                      &a.listener, a.hello2),
                     0);
    json_array_foreach(cases, i, one)
    {
        int r;

        hello3 = vectors_hex(one, "hello3");
        r = listener_confirm(&a.listener, moment_at(START_MS + 9), hello3, &a.at_l);
        if (strcmp(aico_error_name(r), vectors_text(one, "expect")) != 0)
            fail_msg("%s: %s", vectors_text(one, "name"), aico_error_name(r));
        free((void *)(uintptr_t)hello3.at);
    }
    hello3 = vectors_hex(vectors, "handshake.hello3");
    assert_int_equal(give_hello3(&a, START_MS + 9, hello3), 0);
    free((void *)(uintptr_t)hello3.at);
    attempt_free(&a);
    registry_unref(&theirs);
}

/* --- integrity ----------------------------------------------------------------------------------
 */

static void hello1_every_bit(void **state UNUSED)
{
    struct attempt a = attempt_new();
    uint8_t bytes[HELLO1_SIZE];

    for (size_t bit = 0; bit < 8 * HELLO1_SIZE; bit++) {
        /* A fresh guard now and then, or the buckets would refuse before the checks do. */
        if (bit % 10 == 0) {
            guard_free(&a.guard);
            a.guard = guard_new(60000);
        }
        memcpy(bytes, a.dialer.hello1, HELLO1_SIZE);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(give_hello1(&a, START_MS, bytes_of(bytes, sizeof(bytes)), "frontend", 0) < 0);
    }
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    attempt_free(&a);
}

static void hello2_every_bit(void **state UNUSED)
{
    struct attempt a = attempt_new();
    uint8_t bytes[HELLO2_SIZE];

    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    for (size_t bit = 0; bit < 8 * HELLO2_SIZE; bit++) {
        memcpy(bytes, a.hello2, HELLO2_SIZE);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(give_hello2(&a, START_MS, bytes_of(bytes, sizeof(bytes))) < 0);
    }
    assert_int_equal(give_hello2(&a, START_MS, hello2_of(&a)), 0);
    attempt_free(&a);
}

static void hello3_every_bit(void **state UNUSED)
{
    struct attempt a = attempt_new();
    uint8_t bytes[HELLO3_SIZE];

    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    assert_int_equal(give_hello2(&a, START_MS, hello2_of(&a)), 0);
    for (size_t bit = 0; bit < 8 * HELLO3_SIZE; bit++) {
        memcpy(bytes, a.hello3, HELLO3_SIZE);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(give_hello3(&a, START_MS, bytes_of(bytes, sizeof(bytes))) < 0);
    }
    assert_int_equal(give_hello3(&a, START_MS, hello3_of(&a)), 0);
    attempt_free(&a);
}

static void every_truncation_of_a_hello_is_refused(void **state UNUSED)
{
    struct attempt a = attempt_new();

    for (size_t size = 0; size < HELLO1_SIZE; size++)
        assert_int_equal(give_hello1(&a, START_MS, bytes_of(a.dialer.hello1, size), "frontend", 0),
                         AICO_ESIZE);
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    for (size_t size = 0; size < HELLO2_SIZE; size++)
        assert_int_equal(give_hello2(&a, START_MS, bytes_of(a.hello2, size)), AICO_ESIZE);
    assert_int_equal(give_hello2(&a, START_MS, hello2_of(&a)), 0);
    for (size_t size = 0; size < HELLO3_SIZE; size++)
        assert_int_equal(give_hello3(&a, START_MS, bytes_of(a.hello3, size)), AICO_ESIZE);
    attempt_free(&a);
}

/* --- the right peer, the right handshake
 * ---------------------------------------------------------- */

static void hello1_other_target(void **state UNUSED)
{
    struct attempt a = attempt_new();

    a.l.self = mallory;
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), AICO_ETARGET);
    attempt_free(&a);
}

static void misbinding_resign(void **state UNUSED)
{
    struct attempt a = attempt_new();
    uint8_t stolen[HELLO1_SIZE];

    /* Mallory passes D's Hello1 off as her own and hands D the answer. */
    memcpy(stolen, a.dialer.hello1, HELLO1_SIZE);
    memcpy(stolen + 72, mallory->public, SIGN_PUBLIC_SIZE);
    sign_again(stolen, 168, mallory, "hello1");
    assert_int_equal(give_hello1(&a, START_MS, bytes_of(stolen, sizeof(stolen)), "mallory", 0), 0);
    assert_int_equal(give_hello2(&a, START_MS, hello2_of(&a)), AICO_ECONTINUATION);
    attempt_free(&a);
}

static void hello2_for_other_hello1(void **state UNUSED)
{
    struct attempt a = attempt_new();

    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    begin(&a, START_MS + 1);
    assert_int_equal(give_hello2(&a, START_MS + 1, hello2_of(&a)), AICO_ECONTINUATION);
    attempt_free(&a);
}

static void reflect_hello1_to_dialer(void **state UNUSED)
{
    struct attempt a = attempt_new();

    assert_int_equal(give_hello2(&a, START_MS, hello1_of(&a)), AICO_ETYPE);
    attempt_free(&a);
}

static void hello1_signed_as_hello2(void **state UNUSED)
{
    struct attempt a = attempt_new();

    sign_again(a.dialer.hello1, 168, frontend, "hello2");
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), AICO_ESIGNATURE);
    attempt_free(&a);
}

static void confirm_swapped(void **state UNUSED)
{
    struct attempt a = attempt_new();
    uint8_t bytes[HELLO2_SIZE], copy[HELLO3_SIZE];

    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    memcpy(bytes, a.hello2, sizeof(bytes));
    mac(&a.listener.confirm_dialer, bytes_of(a.listener.transcript, HASH_SIZE), bytes + 200);
    assert_int_equal(give_hello2(&a, START_MS, bytes_of(bytes, sizeof(bytes))), AICO_ECONFIRM);

    assert_int_equal(give_hello2(&a, START_MS, hello2_of(&a)), 0);
    memcpy(copy, a.hello3, sizeof(copy));
    memcpy(copy + 16, a.hello2 + 200, HASH_SIZE);
    assert_int_equal(give_hello3(&a, START_MS, bytes_of(copy, sizeof(copy))), AICO_ECONFIRM);
    assert_int_equal(give_hello3(&a, START_MS, hello3_of(&a)), 0);
    attempt_free(&a);
}

/* --- replay, floods ------------------------------------------------------------------------------
 */

static void hello1_twice(void **state UNUSED)
{
    struct attempt a = attempt_new();

    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    assert_int_equal(give_hello1(&a, START_MS + 1, hello1_of(&a), "frontend", 0), AICO_EREPLAY);
    assert_int_equal(give_hello1(&a, START_MS + 30000, hello1_of(&a), "frontend", 0), AICO_EREPLAY);
    a.l.self = mallory;
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), AICO_ETARGET);
    attempt_free(&a);
}

static void hello1_poison(void **state UNUSED)
{
    struct attempt a = attempt_new();
    uint8_t bad[HELLO1_SIZE];

    memcpy(bad, a.dialer.hello1, sizeof(bad));
    bad[200] ^= 1;
    assert_int_equal(give_hello1(&a, START_MS, bytes_of(bad, sizeof(bad)), "frontend", 0),
                     AICO_ESIGNATURE);
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    attempt_free(&a);
}

static void garbage_flood(void **state UNUSED)
{
    struct attempt a = attempt_new();
    uint8_t variants[10][HELLO1_SIZE];
    static const struct {
        size_t at;
        uint8_t flip;
        int code;
    } steps[] = {
        {0, 1, AICO_EVERSION}, {1, 6, AICO_ETYPE},     {3, 2, AICO_ESUITE},
        {40, 1, AICO_ETARGET}, {72, 1, AICO_EUNKNOWN}, {12, 0x80, AICO_ECLOCK},
        {7, 1, AICO_EPOLICY},
    };
    struct handshake_random random;
    struct timespec before, after;
    uint64_t verified = verifications;
    double ns;
    size_t count = 0;

    draw(&random);
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        memcpy(variants[i], a.dialer.hello1, HELLO1_SIZE);
        variants[i][steps[i].at] ^= steps[i].flip;
    }
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    while (count < 100000)
        for (size_t i = 0; i < COUNT_OF(steps); i++, count++)
            if (listener_receive(&a.l, moment_at(START_MS), a.guard, bytes_text("frontend"), 0,
                                 bytes_of(variants[i], HELLO1_SIZE), &random, &a.listener,
                                 a.hello2) != steps[i].code)
                fail_msg("step %zu", i);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    ns = ((double)(after.tv_sec - before.tv_sec) * 1e9 + (double)(after.tv_nsec - before.tv_nsec)) /
         (double)count;
    assert_int_equal(verifications, verified);
    /* The promise is 1 us; sanitizers get room. */
    print_message("%.0f ns a refused Hello1\n", ns);
    assert_true(ns < 50000);

    /* The bucket: nothing beyond it reaches the signature either. */
    for (count = 0; count < 1000; count++) {
        memcpy(variants[0], a.dialer.hello1, HELLO1_SIZE);
        variants[0][200] ^= (uint8_t)(count + 1);
        (void)give_hello1(&a, START_MS, bytes_of(variants[0], HELLO1_SIZE), "frontend", 0);
    }
    assert_true(verifications - verified <= 20);
    attempt_free(&a);
}

static void half_open_flood(void **state UNUSED)
{
    struct attempt a = attempt_new();
    uint64_t verified = verifications;
    size_t half_open = 0;

    for (size_t i = 0; i < 1000; i++) {
        begin(&a, START_MS + (int64_t)i);
        if (give_hello1(&a, START_MS + (int64_t)i, hello1_of(&a), "frontend", half_open) == 0)
            half_open++;
    }
    assert_true(verifications - verified <= 30);
    assert_int_equal(half_open, HALF_OPEN_MAX);
    attempt_free(&a);
}

/* --- clock, keys, settings, membership
 * ------------------------------------------------------------- */

static void hello_time(void **state UNUSED)
{
    static const struct {
        int64_t apart;
        int code;
    } cases[] = {{-30000, 0}, {30000, 0}, {-30001, AICO_ECLOCK}, {30001, AICO_ECLOCK}};

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct attempt a = attempt_new();
        struct moment now = {START_MS + cases[i].apart, moment_at(START_MS).boot_ms};

        assert_int_equal(give_hello1(&a, now.real_ms, hello1_of(&a), "frontend", 0), cases[i].code);
        begin(&a, START_MS);
        assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
        assert_int_equal(dialer_receive(&a.d, now, &a.dialer, hello2_of(&a), &a.at_d, a.hello3),
                         cases[i].code);
        attempt_free(&a);
    }
}

static void low_order_points(void **state UNUSED)
{
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    };

    for (size_t i = 0; i < COUNT_OF(points); i++) {
        struct attempt a = attempt_new();
        uint8_t hello1[HELLO1_SIZE];

        memcpy(hello1, a.dialer.hello1, sizeof(hello1));
        assert_true(hex_parse(bytes_text(points[i]), hello1 + 104, 32));
        sign_again(hello1, 168, frontend, "hello1");
        assert_int_equal(give_hello1(&a, START_MS, bytes_of(hello1, sizeof(hello1)), "frontend", 0),
                         AICO_EDH);
        assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
        assert_true(hex_parse(bytes_text(points[i]), a.hello2 + 72, 32));
        sign_again(a.hello2, 136, backend, "hello2");
        assert_int_equal(give_hello2(&a, START_MS, hello2_of(&a)), AICO_EDH);
        attempt_free(&a);
    }
}

static void policy_bit(void **state UNUSED)
{
    struct session_settings other = settings;
    struct attempt a = attempt_new();
    char text[200];

    /* On the way: found by the policy check, and by the signature where both ends were changed. */
    a.dialer.hello1[7] ^= POLICY_STRICT;
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), AICO_EPOLICY);
    other.strict_ordering = false;
    a.l.settings = &other;
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), AICO_ESIGNATURE);
    a.dialer.hello1[7] ^= POLICY_STRICT;
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), AICO_EPOLICY);
    session_policy_text(session_policy(&settings) ^ session_policy(&other), text, sizeof(text));
    assert_string_equal(text, "enforce_message_ordering");

    a.l.settings = &settings;
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    a.hello2[7] ^= POLICY_PADDED;
    assert_int_equal(give_hello2(&a, START_MS, hello2_of(&a)), AICO_EPOLICY);
    attempt_free(&a);
}

/* The field at @at of either Hello made 2, signed again as if its sender meant it. */
static void no_other(size_t at, int code)
{
    struct attempt a = attempt_new();
    uint8_t hello1[HELLO1_SIZE];

    memcpy(hello1, a.dialer.hello1, sizeof(hello1));
    hello1[at] = 2;
    sign_again(hello1, 168, frontend, "hello1");
    assert_int_equal(give_hello1(&a, START_MS, bytes_of(hello1, sizeof(hello1)), "frontend", 0),
                     code);
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    a.hello2[at] = 2;
    sign_again(a.hello2, 136, backend, "hello2");
    assert_int_equal(give_hello2(&a, START_MS, hello2_of(&a)), code);
    attempt_free(&a);
}

static void suite_2(void **state UNUSED)
{
    no_other(3, AICO_ESUITE);
}

static void version_2(void **state UNUSED)
{
    no_other(0, AICO_EVERSION);
}

static void other_namespace(void **state UNUSED)
{
    struct session_settings other = settings;
    struct attempt a = attempt_new();

    other.namespace = bytes_text("ocia");
    a.l.settings = &other;
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), AICO_ESIGNATURE);
    attempt_free(&a);
}

static struct registry *with_state(const char *name, enum component_state component_state)
{
    struct registry_draft *draft = registry_draft_new(registry, bytes_of(NULL, 0));
    struct registry *next;

    assert_int_equal(registry_draft_set_state(draft, name, component_state), 0);
    next = registry_make(draft);
    registry_draft_free(&draft);
    return next;
}

static int dial_with(struct registry *theirs)
{
    struct attempt a = attempt_new();
    const struct component *peer;
    int r, meet;

    a.l.registry = theirs;
    r = give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0);
    /* The same from the other side: nobody dials one that is not active. */
    peer = registry_find_name(theirs, bytes_text("frontend"));
    meet = handshake_may_meet(&a.l, moment_at(START_MS), peer);
    assert_int_equal(meet, r);
    attempt_free(&a);
    return r;
}

static void dial_revoked(void **state UNUSED)
{
    struct registry *next = with_state("frontend", COMPONENT_REVOKED);

    assert_int_equal(dial_with(next), AICO_EREVOKED);
    registry_unref(&next);
}

static void dial_retired(void **state UNUSED)
{
    struct registry *next = with_state("frontend", COMPONENT_RETIRED);

    assert_int_equal(dial_with(next), AICO_EREVOKED);
    registry_unref(&next);
}

static void dial_unknown(void **state UNUSED)
{
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text(NAMESPACE));
    struct registry *alone;

    draft_add(draft, backend, "service");
    alone = registry_make(draft);
    assert_int_equal(dial_with(alone), AICO_EUNKNOWN);
    registry_draft_free(&draft);
    registry_unref(&alone);
}

static void stamp_mismatch(void **state UNUSED)
{
    struct attempt a = attempt_new();

    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "mallory", 0), AICO_ESTAMP);
    attempt_free(&a);
}

static void not_in_allowed_components(void **state UNUSED)
{
    static const char *const names[] = {"mallory"};
    struct session_settings narrow = settings;
    struct attempt a = attempt_new();

    narrow.allowed_components = names;
    narrow.allowed_count = 1;
    a.l.settings = &narrow;
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), AICO_ENOTALLOWED);
    a.l.settings = &settings;
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    attempt_free(&a);
}

static void in_allowed_components(void **state UNUSED)
{
    static const char *const names[] = {"mallory", "frontend"};
    struct session_settings narrow = settings;
    struct attempt a = attempt_new();

    narrow.allowed_components = names;
    narrow.allowed_count = 2;
    a.l.settings = &narrow;
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    attempt_free(&a);
}

/* Row 14: every setting that both ends must share is in the policy, under its name. */
static void every_setting_of_the_policy_must_be_equal(void **state UNUSED)
{
    static const struct secret psk = {{1}};
    struct session_settings others[6];
    static const char *const expected[] = {
        "enforce_message_ordering",
        "require_fresh_handshake",
        "allow_key_reuse",
        "padding",
        "psk_file",
        "channel ratchet, security_level",
    };

    for (size_t i = 0; i < COUNT_OF(others); i++)
        others[i] = settings;
    others[0].strict_ordering ^= true;
    others[1].fresh_handshake ^= true;
    others[2].key_reuse ^= true;
    others[3].padding ^= true;
    others[4].psk = &psk;
    others[5].security_level = 2;
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        struct attempt a = attempt_new();
        char text[200];

        a.l.settings = &others[i];
        assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), AICO_EPOLICY);
        session_policy_text(session_policy(&settings) ^ session_policy(&others[i]), text,
                            sizeof(text));
        assert_string_equal(text, expected[i]);
        attempt_free(&a);
    }
}

static void a_registry_past_its_age_refuses_new_handshakes(void **state UNUSED)
{
    struct session_settings strict = settings;
    struct attempt a = attempt_new();

    strict.registry_max_age_ms = 60000;
    a.l.settings = &strict;
    begin(&a, START_MS + 60001);
    assert_int_equal(give_hello1(&a, START_MS + 60001, hello1_of(&a), "frontend", 0),
                     AICO_EREGISTRYSTALE);
    attempt_free(&a);
}

static void registry_equal_version_other_hash(void **state UNUSED)
{
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text(NAMESPACE));
    struct attempt a = attempt_new();
    struct registry *other;

    draft_add(draft, backend, "service");
    draft_add(draft, frontend, "ui");
    draft_add(draft, mallory, "admin");
    other = registry_make(draft);
    assert_int_equal(registry_version(other), registry_version(registry));

    a.l.registry = other;
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), AICO_EEQUIVOCATION);
    /* And back: L answers with a registry that is another one to D. */
    a.l.registry = registry;
    begin(&a, START_MS);
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    a.d.registry = other;
    assert_int_equal(give_hello2(&a, START_MS, hello2_of(&a)), AICO_EEQUIVOCATION);
    registry_draft_free(&draft);
    registry_unref(&other);
    attempt_free(&a);
}

/* --- deadlines and erased secrets
 * ------------------------------------------------------------------ */

static void hello2_late(void **state UNUSED)
{
    struct attempt a = attempt_new();

    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    assert_int_equal(give_hello2(&a, START_MS + 30001, hello2_of(&a)), AICO_EDEADLINE);
    assert_true(is_zero(&a.dialer.ephemeral, sizeof(a.dialer.ephemeral)));
    attempt_free(&a);
}

static void hello3_late(void **state UNUSED)
{
    struct attempt a = attempt_new();

    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    assert_int_equal(give_hello2(&a, START_MS, hello2_of(&a)), 0);
    assert_int_equal(give_hello3(&a, START_MS + 30001, hello3_of(&a)), AICO_EDEADLINE);
    assert_true(is_zero(&a.listener, sizeof(a.listener)));
    attempt_free(&a);
}

static void hello2_and_hello3_at_the_deadline_pass(void **state UNUSED)
{
    struct attempt a = attempt_new();

    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    assert_int_equal(give_hello2(&a, START_MS + 30000, hello2_of(&a)), 0);
    assert_int_equal(give_hello3(&a, START_MS + 30000, hello3_of(&a)), 0);
    attempt_free(&a);
}

static bool contains(const void *hay, size_t size, const void *needle)
{
    return memmem(hay, size, needle, SECRET_SIZE) != NULL;
}

static void fs_seed_theft(void **state UNUSED)
{
    struct attempt a = attempt_new();
    struct secret e_d = a.dialer.ephemeral, traffic;
    uint8_t hello1[HELLO1_SIZE];

    memcpy(hello1, a.dialer.hello1, sizeof(hello1));
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    assert_int_equal(give_hello2(&a, START_MS, hello2_of(&a)), 0);
    assert_int_equal(give_hello3(&a, START_MS, hello3_of(&a)), 0);
    traffic = a.at_d.send;

    /* Nothing of the handshake's secrets is left in what lives on. */
    assert_false(contains(&a, sizeof(a), &e_d));
    assert_true(is_zero(&a.dialer, sizeof(a.dialer)));
    assert_true(is_zero(&a.listener, sizeof(a.listener)));

    /* The thief holds both seeds and every recorded byte. Only ephemeral keys entered the DH: no
     * secret derivable from a seed is one of theirs, and with those it can do the DH of, no key
     * that was used comes out. */
    for (int who = 0; who < 2; who++) {
        const struct identity *victim = who ? backend : frontend;
        const struct secret *have[] = {&victim->seed, &victim->transport_secret, &victim->storage};

        for (size_t i = 0; i < COUNT_OF(have); i++) {
            const uint8_t *publics[] = {hello1 + 104, a.hello2 + 72};

            for (size_t j = 0; j < COUNT_OF(publics); j++) {
                struct secret shared, root, key;
                struct hasher h;
                uint8_t transcript[HASH_SIZE];

                assert_int_equal(dh_shared(have[i], publics[j], &shared), 0);
                hasher_begin(&h, HASH_SIZE);
                hasher_tag(&h, "transcript");
                hasher_feed(&h, bytes_of("\4" NAMESPACE, 5));
                hasher_feed(&h, bytes_of(hello1, HELLO1_SIZE));
                hasher_feed(&h, bytes_of(a.hello2, 200));
                hasher_end(&h, transcript, HASH_SIZE);
                kdf(&shared, "root", bytes_of(transcript, HASH_SIZE), &root);
                kdf(&root, "traffic dialer", bytes_of(NULL, 0), &key);
                assert_memory_not_equal(key.at, traffic.at, SECRET_SIZE);
            }
        }
    }
    attempt_free(&a);
}

static void kci(void **state UNUSED)
{
    struct attempt a = attempt_new();
    uint8_t forged[HELLO2_SIZE];

    /* The thief has D's seed: it can answer D in everything but L's signature. */
    assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
    memcpy(forged, a.hello2, sizeof(forged));
    sign_again(forged, 136, frontend, "hello2");
    assert_int_equal(give_hello2(&a, START_MS, bytes_of(forged, sizeof(forged))), AICO_ESIGNATURE);
    attempt_free(&a);
}

/* Row 64: whoever has a component's transport key can connect as it and do nothing else. Wherever
 * the thief puts that key, it is no seed and no ephemeral of anybody. */
static void transport_key_theft(void **state UNUSED)
{
    const struct identity *victims[] = {frontend, backend};

    for (size_t i = 0; i < COUNT_OF(victims); i++) {
        struct identity *thief = NULL;

        assert_int_equal(identity_new(victims[i]->name, &victims[i]->transport_secret, 0, &thief),
                         0);
        assert_memory_not_equal(thief->public, victims[i]->public, SIGN_PUBLIC_SIZE);
        assert_memory_not_equal(thief->storage.at, victims[i]->storage.at, SECRET_SIZE);

        struct attempt a = attempt_new();

        if (victims[i] == frontend) {
            sign_again(a.dialer.hello1, 168, thief, "hello1");
            assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0),
                             AICO_ESIGNATURE);
        } else {
            assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
            sign_again(a.hello2, 136, thief, "hello2");
            assert_int_equal(give_hello2(&a, START_MS, hello2_of(&a)), AICO_ESIGNATURE);
        }
        attempt_free(&a);
        identity_free(&thief);
    }
}

static void constant_generator_still_gives_two_ephemerals(void **state UNUSED)
{
    struct handshake_random one, two;

    draw(&one);
    draw(&two);
    assert_memory_not_equal(one.ephemeral.at, two.ephemeral.at, SECRET_SIZE);
}

/* --- hints
 * ------------------------------------------------------------------------------------------- */

static void a_refuse_is_read_back_and_every_truncation_refused(void **state UNUSED)
{
    uint8_t bytes[REFUSE_SIZE], about[HASH_SIZE] = {9};
    struct refuse refuse;

    refuse_write(AICO_ECLOCK, moment_at(START_MS), about, bytes);
    assert_int_equal(refuse_parse(bytes_of(bytes, sizeof(bytes)), &refuse), 0);
    assert_int_equal(refuse.code, AICO_ECLOCK);
    assert_int_equal(refuse.time, START_MS);
    assert_memory_equal(refuse.about.at, about, sizeof(about));
    for (size_t size = 0; size < REFUSE_SIZE; size++) {
        uint8_t *copy = exact_copy(bytes_of(bytes, size));

        assert_int_equal(refuse_parse(bytes_of(copy, size), &refuse), AICO_ESIZE);
        free(copy);
    }
}

static void a_forgotten_pair_frees_its_memory(void **state UNUSED)
{
    struct guard *guard = guard_new(60000);
    uint8_t dialer[32] = {1}, ephemeral[32] = {2};

    assert_int_equal(guard_enter(guard, moment_at(START_MS), dialer, ephemeral), 0);
    assert_true(guard_has_seen(guard, moment_at(START_MS + 60000), dialer, ephemeral));
    assert_false(guard_has_seen(guard, moment_at(START_MS + 60001), dialer, ephemeral));
    guard_free(&guard);
}

static int start(void **state UNUSED)
{
    struct registry_draft *draft;

    assert_int_equal(crypto_start(), 0);
    vectors = vectors_load("session-v1.json");
    frontend = identity_make("frontend");
    backend = identity_make("backend");
    mallory = identity_make("mallory");
    draft = registry_draft_new(NULL, bytes_text(NAMESPACE));
    draft_add(draft, backend, "service");
    draft_add(draft, frontend, "ui");
    draft_add(draft, mallory, "ui");
    registry = registry_make(draft);
    registry_draft_free(&draft);
    settings = session_settings_default();
    hedge_init(&hedge, &frontend->seed, dice_source(&dice));
    return 0;
}

static int stop(void **state UNUSED)
{
    registry_unref(&registry);
    identity_free(&frontend);
    identity_free(&backend);
    identity_free(&mallory);
    json_decref(vectors);
    hedge_wipe(&hedge);
    return 0;
}

#define HANDSHAKES 50

/* How long it takes is printed, and only counted: CPU time of both ends together. */
static void each_end_of_a_handshake_verifies_once(void **state UNUSED)
{
    uint64_t before = verifications;
    clock_t begin_at = clock();

    for (int i = 0; i < HANDSHAKES; i++) {
        struct attempt a = attempt_new();

        assert_int_equal(give_hello1(&a, START_MS, hello1_of(&a), "frontend", 0), 0);
        assert_int_equal(give_hello2(&a, START_MS, hello2_of(&a)), 0);
        assert_int_equal(give_hello3(&a, START_MS, hello3_of(&a)), 0);
        attempt_free(&a);
    }
    print_message("%.0f us of CPU a handshake, both ends together\n",
                  (double)(clock() - begin_at) * 1e6 / CLOCKS_PER_SEC / HANDSHAKES);
    assert_int_equal(verifications - before, 2 * HANDSHAKES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_handshake_vector_is_byte_exact),
        cmocka_unit_test(the_psk_vector_is_byte_exact),
        cmocka_unit_test(each_end_of_a_handshake_verifies_once),
        cmocka_unit_test(each_negative_hello1_vector_gives_its_code),
        cmocka_unit_test(each_negative_hello2_vector_gives_its_code),
        cmocka_unit_test(each_negative_hello3_vector_gives_its_code),
        cmocka_unit_test(hello1_every_bit),
        cmocka_unit_test(hello2_every_bit),
        cmocka_unit_test(hello3_every_bit),
        cmocka_unit_test(every_truncation_of_a_hello_is_refused),
        cmocka_unit_test(hello1_other_target),
        cmocka_unit_test(misbinding_resign),
        cmocka_unit_test(hello2_for_other_hello1),
        cmocka_unit_test(reflect_hello1_to_dialer),
        cmocka_unit_test(hello1_signed_as_hello2),
        cmocka_unit_test(confirm_swapped),
        cmocka_unit_test(hello1_twice),
        cmocka_unit_test(hello1_poison),
        cmocka_unit_test(hello_time),
        cmocka_unit_test(low_order_points),
        cmocka_unit_test(policy_bit),
        cmocka_unit_test(suite_2),
        cmocka_unit_test(version_2),
        cmocka_unit_test(other_namespace),
        cmocka_unit_test(dial_revoked),
        cmocka_unit_test(dial_retired),
        cmocka_unit_test(dial_unknown),
        cmocka_unit_test(stamp_mismatch),
        cmocka_unit_test(not_in_allowed_components),
        cmocka_unit_test(in_allowed_components),
        cmocka_unit_test(every_setting_of_the_policy_must_be_equal),
        cmocka_unit_test(a_registry_past_its_age_refuses_new_handshakes),
        cmocka_unit_test(registry_equal_version_other_hash),
        cmocka_unit_test(garbage_flood),
        cmocka_unit_test(half_open_flood),
        cmocka_unit_test(hello2_late),
        cmocka_unit_test(hello3_late),
        cmocka_unit_test(hello2_and_hello3_at_the_deadline_pass),
        cmocka_unit_test(fs_seed_theft),
        cmocka_unit_test(kci),
        cmocka_unit_test(transport_key_theft),
        cmocka_unit_test(constant_generator_still_gives_two_ephemerals),
        cmocka_unit_test(a_refuse_is_read_back_and_every_truncation_refused),
        cmocka_unit_test(a_forgotten_pair_frees_its_memory),
    };

    return cmocka_run_group_tests_name("session/handshake", tests, start, stop);
}
