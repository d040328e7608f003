/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PROTOCOL 14 row 67, the measured half (tools/secrets.sh is the other): how long a refusal takes
 * does not tell where a tag, a slot or a MAC is wrong. As dudect does it: two kinds of input in
 * random order, Welch's t over the times, the slowest tenth cropped. A leak shows whenever it is
 * measured, the noise of a busy machine does not, so the best of several runs counts.
 */
#include "vectors.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "crypto/kdf.h"
#include "envelope/envelope.h"

#define SAMPLES 20000 /* of each kind */
#define REPEAT 16     /* operations timed as one sample */
#define RUNS 8
#define T_MAX 4.5 /* dudect's own bound is 10 for "definitely leaking", 4.5 for suspicion */

static double times[2][SAMPLES];

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int compare_times(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void moments(double *at, double *ret_mean, double *ret_variance)
{
    size_t count = SAMPLES * 9 / 10;
    double mean = 0, variance = 0;

    qsort(at, SAMPLES, sizeof(*at), compare_times);
    for (size_t i = 0; i < count; i++)
        mean += at[i];
    mean /= (double)count;
    for (size_t i = 0; i < count; i++)
        variance += (at[i] - mean) * (at[i] - mean);
    *ret_mean = mean;
    *ret_variance = variance / (double)(count - 1) / (double)count;
}

/*
 * What is timed. Both kinds of its input (0: wrong at the first byte, 1: at the last) are put into
 * the same place before, since addresses take their time too.
 */
struct operation {
    void (*run)(void);
    uint8_t *place;
    const uint8_t *kinds[2];
    size_t size;
};

/* |t| of one run. */
static double run_once(const struct operation *operation)
{
    double mean[2], variance[2];
    size_t count[2] = {0, 0};
    uint64_t state = 0x9e3779b97f4a7c15u;

    while (count[0] < SAMPLES || count[1] < SAMPLES) {
        int kind;
        uint64_t begin;

        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        kind = (int)(state >> 40 & 1);
        if (count[kind] == SAMPLES)
            kind = !kind;
        memcpy(operation->place, operation->kinds[kind], operation->size);
        begin = now_ns();
        for (int i = 0; i < REPEAT; i++)
            operation->run();
        times[kind][count[kind]++] = (double)(now_ns() - begin);
    }
    for (int kind = 0; kind < 2; kind++)
        moments(times[kind], &mean[kind], &variance[kind]);
    return fabs(mean[0] - mean[1]) / sqrt(variance[0] + variance[1] + 1e-9);
}

static double least_t(const struct operation *operation)
{
    double least = INFINITY;

    for (int i = 0; i < RUNS && least > T_MAX; i++) {
        double t = run_once(operation);

        least = t < least ? t : least;
    }
    return least;
}

static void assert_constant(const char *what, const struct operation *operation)
{
    double t = least_t(operation);

    print_message("%s: t = %.1f\n", what, t);
    assert_true(t <= T_MAX);
}

/* --- what is timed ---------------------------------------------------------------------------- */

static uint8_t right[HASH_SIZE], wrong[2][HASH_SIZE], macs[2][HASH_SIZE], given[HASH_SIZE];
static const struct secret key = {{7}};
static volatile int sink;

static void naive(void)
{
    const volatile uint8_t *a = right, *b = given;
    int i = 0;

    while (i < HASH_SIZE && a[i] == b[i])
        i++;
    sink = i;
}

static void compare_secrets(void)
{
    sink = secret_equal(right, given, HASH_SIZE);
}

static void verify_mac(void)
{
    sink = mac_verify(&key, bytes_of(right, HASH_SIZE), given);
}

static uint8_t wires[2][256], wire[256];
static struct envelope envelope;
static struct envelope_open_input input;
static struct aead_key aead;
static uint8_t context[HASH_SIZE];
static struct secret commit, readers[2];

static void open_envelope(void)
{
    uint8_t plain[256];
    struct bytes content;

    sink = envelope_open(&envelope, &input, plain, &content);
}

/* Two copies of one envelope, wrong at the byte @from_end and at the one 15 further on. */
static struct operation opening(uint8_t trailer, size_t from_end)
{
    struct envelope_seal_input in = {.key = &aead,
                                     .format = ENVELOPE_FORMAT_MESSAGE,
                                     .context = context,
                                     .payload = bytes_text("some sixty bytes of a message as "
                                                           "long as most of them are"),
                                     .content_max = 1000,
                                     .trailer_kind = trailer,
                                     .commit = &commit,
                                     .reader_keys = readers,
                                     .reader_count = 2};
    struct writer out;

    for (int kind = 0; kind < 2; kind++) {
        out = writer_over(wires[kind], sizeof(wires[kind]));
        assert_int_equal(envelope_seal(&in, &out), 0);
        wires[kind][out.size - from_end + (kind == 0 ? 0 : 15)] ^= 1;
    }
    memcpy(wire, wires[0], out.size);
    assert_int_equal(envelope_parse(bytes_of(wire, out.size), &envelope), 0);
    input = (struct envelope_open_input){
        .key = &aead,
        .context = context,
        .rule = {ENVELOPE_ALLOW(ENVELOPE_FORMAT_MESSAGE), false, trailer},
        .commit = &commit,
        .reader_key = &readers[1],
        .slot = 1,
    };
    return (struct operation){open_envelope, wire, {wires[0], wires[1]}, out.size};
}

/* --- the tests -------------------------------------------------------------------------------- */

static void the_measure_finds_an_early_exit(void **state)
{
    double t = run_once(&(struct operation){naive, given, {wrong[0], wrong[1]}, HASH_SIZE});

    (void)state;
    print_message("a comparison that stops at the first difference: t = %.1f\n", t);
    assert_true(t > T_MAX * 4);
}

static void comparing_secrets_takes_the_same_time(void **state)
{
    (void)state;
    assert_constant("secret_equal",
                    &(struct operation){compare_secrets, given, {wrong[0], wrong[1]}, HASH_SIZE});
}

static void verifying_a_mac_takes_the_same_time(void **state)
{
    (void)state;
    assert_constant("mac_verify",
                    &(struct operation){verify_mac, given, {macs[0], macs[1]}, HASH_SIZE});
}

static void opening_with_a_wrong_tag_takes_the_same_time(void **state)
{
    struct operation operation = opening(ENVELOPE_TRAILER_NONE, AEAD_TAG_SIZE);

    (void)state;
    open_envelope();
    assert_int_equal(sink, AICO_EOPEN);
    assert_constant("envelope_open, tag", &operation);
}

static void opening_with_a_wrong_slot_takes_the_same_time(void **state)
{
    struct operation operation = opening(ENVELOPE_TRAILER_VECTOR, 1 + ENVELOPE_SLOT_SIZE);

    (void)state;
    open_envelope();
    assert_int_equal(sink, AICO_ESIGNATURE);
    assert_constant("envelope_open, slot", &operation);
}

static int start(void **state)
{
    static const uint8_t id[ENVELOPE_KEY_ID_SIZE] = {5};

    (void)state;
    assert_int_equal(crypto_start(), 0);
    memset(right, 9, sizeof(right));
    memcpy(wrong[0], right, sizeof(right));
    memcpy(wrong[1], right, sizeof(right));
    wrong[0][0] ^= 1;
    wrong[1][HASH_SIZE - 1] ^= 1;
    for (int kind = 0; kind < 2; kind++) {
        mac(&key, bytes_of(right, HASH_SIZE), macs[kind]);
        macs[kind][kind == 0 ? 0 : HASH_SIZE - 1] ^= 1;
    }
    envelope_key_init(&aead, &key, id, 0);
    envelope_commit(&key, &commit);
    readers[1].at[0] = 1;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_measure_finds_an_early_exit),
        cmocka_unit_test(comparing_secrets_takes_the_same_time),
        cmocka_unit_test(verifying_a_mac_takes_the_same_time),
        cmocka_unit_test(opening_with_a_wrong_tag_takes_the_same_time),
        cmocka_unit_test(opening_with_a_wrong_slot_takes_the_same_time),
    };

    return cmocka_run_group_tests_name("envelope/timing", tests, start, NULL);
}
