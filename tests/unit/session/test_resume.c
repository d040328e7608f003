/* SPDX-License-Identifier: Apache-2.0 */
/* Resume1 and Resume2 (PROTOCOL 4): the vectors, and every bit of them. */
#include "vectors.h"

#include "session/resume.h"

static struct {
    struct resume_secret from;
    uint8_t resume1[RESUME_SIZE], resume2[RESUME_SIZE];
    uint8_t nonce1[RESUME_NONCE_SIZE], nonce2[RESUME_NONCE_SIZE];
} v;

static int load(void **state)
{
    json_t *all = vectors_load("session-v1.json");

    (void)state;
    vectors_hex_into(all, "resume.secret", v.from.secret.at, SECRET_SIZE);
    vectors_hex_into(all, "resume.resume1", v.resume1, RESUME_SIZE);
    vectors_hex_into(all, "resume.resume2", v.resume2, RESUME_SIZE);
    memcpy(v.from.id, v.resume1 + 4, CHANNEL_ID_SIZE);
    memcpy(v.nonce1, v.resume1 + 16, RESUME_NONCE_SIZE);
    memcpy(v.nonce2, v.resume2 + 16, RESUME_NONCE_SIZE);
    json_decref(all);
    return crypto_start();
}

static void check_keys(const struct channel_keys *dialer, const struct channel_keys *listener)
{
    json_t *all = vectors_load("session-v1.json");
    uint8_t id[CHANNEL_ID_SIZE], k_dl[SECRET_SIZE], k_ld[SECRET_SIZE], resume[SECRET_SIZE];

    vectors_hex_into(all, "resume.id", id, sizeof(id));
    vectors_hex_into(all, "resume.k_dl", k_dl, sizeof(k_dl));
    vectors_hex_into(all, "resume.k_ld", k_ld, sizeof(k_ld));
    vectors_hex_into(all, "resume.resume", resume, sizeof(resume));
    json_decref(all);
    assert_memory_equal(dialer->id, id, sizeof(id));
    assert_memory_equal(dialer->send.at, k_dl, sizeof(k_dl));
    assert_memory_equal(dialer->receive.at, k_ld, sizeof(k_ld));
    assert_memory_equal(dialer->resume.at, resume, sizeof(resume));
    assert_true(dialer->dialer);
    assert_memory_equal(listener->id, id, sizeof(id));
    assert_memory_equal(listener->send.at, k_ld, sizeof(k_ld));
    assert_memory_equal(listener->receive.at, k_dl, sizeof(k_dl));
    assert_memory_equal(listener->resume.at, resume, sizeof(resume));
    assert_false(listener->dialer);
}

static void it_is_what_the_vectors_say(void **state)
{
    struct channel_keys dialer = {0}, listener = {0};
    uint8_t resume1[RESUME_SIZE], resume2[RESUME_SIZE];

    (void)state;
    resume_ask(&v.from, v.nonce1, resume1);
    assert_memory_equal(resume1, v.resume1, RESUME_SIZE);
    assert_int_equal(
        resume_answer(&v.from, bytes_of(resume1, RESUME_SIZE), v.nonce2, resume2, &listener), 0);
    assert_memory_equal(resume2, v.resume2, RESUME_SIZE);
    assert_int_equal(resume_finish(&v.from, v.resume1, bytes_of(v.resume2, RESUME_SIZE), &dialer),
                     0);
    check_keys(&dialer, &listener);
}

/* What a change of byte @at is refused with. */
static int expected(size_t at)
{
    return at == 0   ? AICO_EVERSION
           : at < 4  ? AICO_ETYPE
           : at < 16 ? AICO_ECONTINUATION
                     : AICO_ECONFIRM;
}

static void every_changed_bit_is_refused(void **state)
{
    static const struct channel_keys none;

    (void)state;
    for (size_t bit = 0; bit < 8 * RESUME_SIZE; bit++) {
        struct channel_keys keys = {0};
        uint8_t changed[RESUME_SIZE], resume2[RESUME_SIZE];

        memcpy(changed, v.resume1, RESUME_SIZE);
        changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(
            resume_answer(&v.from, bytes_of(changed, RESUME_SIZE), v.nonce2, resume2, &keys),
            expected(bit / 8));
        memcpy(changed, v.resume2, RESUME_SIZE);
        changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(resume_finish(&v.from, v.resume1, bytes_of(changed, RESUME_SIZE), &keys),
                         expected(bit / 8));
        /* The answer to another question. */
        memcpy(changed, v.resume1, RESUME_SIZE);
        changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(resume_finish(&v.from, changed, bytes_of(v.resume2, RESUME_SIZE), &keys),
                         AICO_ECONFIRM);
        assert_memory_equal(&keys, &none, sizeof(keys));
    }
}

static void every_other_size_is_refused(void **state)
{
    struct channel_keys keys = {0};
    uint8_t longer[RESUME_SIZE + 1] = {0}, resume2[RESUME_SIZE];

    (void)state;
    memcpy(longer, v.resume1, RESUME_SIZE);
    for (size_t size = 0; size <= RESUME_SIZE + 1; size++) {
        struct bytes bytes = bytes_of(longer, size);

        if (size == RESUME_SIZE)
            continue;
        assert_null(resume_named(bytes));
        assert_int_equal(resume_answer(&v.from, bytes, v.nonce2, resume2, &keys), AICO_ESIZE);
        assert_int_equal(resume_finish(&v.from, v.resume1, bytes, &keys), AICO_ESIZE);
    }
}

/* A copy of yesterday's secret at either end leads to keys of its own: each end adds a nonce. */
static void the_same_secret_never_gives_the_same_keys(void **state)
{
    struct channel_keys first = {0}, other = {0};
    uint8_t resume1[RESUME_SIZE], resume2[RESUME_SIZE];

    (void)state;
    assert_int_equal(
        resume_answer(&v.from, bytes_of(v.resume1, RESUME_SIZE), v.nonce2, resume2, &first), 0);
    assert_int_equal(
        resume_answer(&v.from, bytes_of(v.resume1, RESUME_SIZE), v.nonce1, resume2, &other), 0);
    assert_memory_not_equal(first.id, other.id, CHANNEL_ID_SIZE);
    assert_memory_not_equal(first.send.at, other.send.at, SECRET_SIZE);
    resume_ask(&v.from, v.nonce2, resume1);
    assert_int_equal(
        resume_answer(&v.from, bytes_of(resume1, RESUME_SIZE), v.nonce2, resume2, &other), 0);
    assert_memory_not_equal(first.id, other.id, CHANNEL_ID_SIZE);
    assert_memory_not_equal(first.receive.at, other.receive.at, SECRET_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_what_the_vectors_say),
        cmocka_unit_test(every_changed_bit_is_refused),
        cmocka_unit_test(every_other_size_is_refused),
        cmocka_unit_test(the_same_secret_never_gives_the_same_keys),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
