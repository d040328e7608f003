/* SPDX-License-Identifier: Apache-2.0 */
/* The outbox as a file: what was accepted is there again, in order; what was answered is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "client/client.h"
#include "crypto/crypto.h"
#include "envelope/headers.h"
#include "runtime/client_outbox.h"
#include "store/file.h"

static char home[64], path[128];
static struct identity *identity;
static const struct moment start = {.real_ms = 1763668800000, .boot_ms = 1000};

static int setup(void **state UNUSED)
{
    const struct secret seed = {{1}};

    assert_int_equal(crypto_start(), 0);
    (void)snprintf(home, sizeof(home), "/tmp/aico-outbox-XXXXXX");
    assert_non_null(mkdtemp(home));
    (void)snprintf(path, sizeof(path), "%s/state", home);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/state/shop/outbox.db", home);
    assert_int_equal(identity_new("shop", &seed, 0, &identity), 0);
    return 0;
}

static int teardown(void **state UNUSED)
{
    char command[128];

    identity_free(&identity);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", home);
    return system(command) == 0 ? 0 : -1;
}

static struct outbox *open_at(struct moment now, uint64_t generation, struct fifo *queue)
{
    struct outbox *outbox = NULL;
    struct aico_error err = {0};

    if (outbox_open(home, identity, NULL, generation, now, queue, &outbox, &err) < 0)
        fail_msg("%s", err.text);
    return outbox;
}

/* Returns its number. */
static uint64_t accept_until(struct outbox *outbox, uint64_t id, const char *text, int64_t until_ms)
{
    uint64_t number = outbox_begin(outbox);

    assert_int_equal(outbox_put(outbox, number, until_ms, bytes_text("s/a"), bytes_of(NULL, 0),
                                bytes_text(text), NULL),
                     0);
    outbox_end(outbox, number, id, outbox_cost(3, 0, strlen(text)));
    return number;
}

static uint64_t accept(struct outbox *outbox, uint64_t id, const char *text)
{
    return accept_until(outbox, id, text, 0);
}

/* Takes the first of @queue and compares. */
static void assert_next(struct fifo *queue, uint64_t id, const char *text, int64_t expires_ms)
{
    const struct outgoing *out = fifo_front(queue, NULL);
    const char *at = (const char *)(out + 1);

    assert_non_null(out);
    assert_int_equal(out->id, id);
    assert_int_equal(out->topic_size, 3);
    assert_memory_equal(at, "s/a", 3);
    assert_int_equal(out->payload_size, strlen(text));
    assert_memory_equal(at + 3, text, strlen(text));
    assert_int_equal(out->expires_ms, expires_ms);
    fifo_pop(queue);
}

static void what_was_accepted_and_not_answered_is_there_again_in_order(void **state UNUSED)
{
    struct fifo queue = {0};
    struct outbox *outbox = open_at(start, 0, &queue);
    size_t bytes;

    assert_int_equal(queue.count, 0);
    for (uint64_t id = 1; id <= 4; id++)
        (void)accept(outbox, id, id == 1 ? "one" : id == 2 ? "two" : id == 3 ? "three" : "four");
    assert_int_equal(outbox_answered(outbox, 3, false), 2 * outbox_cost(3, 0, 3));
    outbox_close(&outbox);

    outbox = open_at(start, 0, &queue);
    assert_int_equal(outbox_restored(outbox, &bytes), 2);
    assert_int_equal(bytes, outbox_cost(3, 0, 5) + outbox_cost(3, 0, 4));
    assert_next(&queue, 1, "three", 0);
    assert_next(&queue, 2, "four", 0);
    assert_int_equal(outbox_answered(outbox, 3, true), bytes);
    outbox_close(&outbox);
    outbox = open_at(start, 0, &queue);
    assert_int_equal(queue.count, 0);
    outbox_close(&outbox);
    fifo_deinit(&queue);
}

/* A process that is killed closes nothing. */
static void nothing_has_to_be_closed(void **state UNUSED)
{
    char command[300];
    struct fifo queue = {0};
    struct outbox *outbox = open_at(start, 0, &queue);

    (void)accept(outbox, 1, "one");
    (void)snprintf(command, sizeof(command), "cp -a '%s/state' '%s/killed'", home, home);
    assert_int_equal(system(command), 0);
    outbox_close(&outbox);
    (void)snprintf(command, sizeof(command), "rm -rf '%s/state'; mv '%s/killed' '%s/state'", home,
                   home, home);
    assert_int_equal(system(command), 0);
    outbox = open_at(start, 0, &queue);
    assert_next(&queue, 1, "one", 0);
    outbox_close(&outbox);
    fifo_deinit(&queue);
}

/* Whatever becomes of file and clock, as long as not both go back. */
static void no_number_is_given_twice(void **state UNUSED)
{
    char command[200];
    struct fifo queue = {0};
    struct outbox *outbox = open_at(start, 0, &queue);
    uint64_t first = accept(outbox, 1, "one"), last = accept(outbox, 2, "two"), next;
    struct moment earlier = start, later = start;

    assert_true(last > first);
    (void)outbox_answered(outbox, 3, true);
    outbox_close(&outbox);
    earlier.real_ms -= 86400000;
    later.real_ms += 5;
    outbox = open_at(later, 0, &queue); /* empty: only the clock tells */
    next = accept(outbox, 1, "three");
    assert_true(next > last);
    outbox_close(&outbox);
    outbox = open_at(earlier, 0, &queue); /* what it holds tells */
    assert_true(accept(outbox, 2, "four") > next);
    outbox_close(&outbox);
    (void)snprintf(command, sizeof(command), "rm '%s'", path);
    assert_int_equal(system(command), 0);
    fifo_deinit(&queue);
    outbox = open_at(earlier, (uint64_t)later.real_ms + 1, &queue); /* the last generation tells */
    assert_int_equal(queue.count, 0);
    assert_true(accept(outbox, 1, "five") > next + 1);
    outbox_close(&outbox);
    fifo_deinit(&queue);
}

static void a_message_that_is_void_stays_so(void **state UNUSED)
{
    struct fifo queue = {0};
    struct outbox *outbox = open_at(start, 0, &queue);
    struct moment later = {.real_ms = start.real_ms + 4000, .boot_ms = 50};

    (void)accept_until(outbox, 1, "void", start.real_ms + 3000);
    (void)accept_until(outbox, 2, "good", start.real_ms + 6000);
    outbox_close(&outbox);
    outbox = open_at(later, 0, &queue);
    assert_next(&queue, 1, "void", 1);
    assert_next(&queue, 2, "good", 2050);
    outbox_close(&outbox);
    fifo_deinit(&queue);
}

static void the_file_shows_nothing(void **state UNUSED)
{
    static const char canary[] = "a canary in the outbox";
    struct fifo queue = {0};
    struct outbox *outbox = open_at(start, 0, &queue);
    struct buffer content = {0};

    (void)accept(outbox, 1, canary);
    outbox_close(&outbox);
    assert_int_equal(file_read(path, FILE_SECRET, 1 << 24, &content, NULL), 0);
    assert_null(memmem(content.at, content.size, canary, strlen(canary)));
    assert_null(memmem(content.at, content.size, "s/a", 3));
    buffer_deinit(&content);
    fifo_deinit(&queue);
}

static void rows_of_a_former_key_are_not_thrown_away(void **state UNUSED)
{
    const struct secret seed = {{2}};
    struct fifo queue = {0};
    struct outbox *outbox = open_at(start, 0, &queue);
    struct aico_error err = {0};

    (void)accept(outbox, 1, "one");
    outbox_close(&outbox);
    identity_free(&identity);
    assert_int_equal(identity_new("shop", &seed, 0, &identity), 0);
    assert_int_equal(outbox_open(home, identity, NULL, 0, start, &queue, &outbox, &err),
                     AICO_EOPEN);
    assert_non_null(strstr(err.text, "former key"));
    assert_null(outbox);
    fifo_deinit(&queue);
}

static void an_empty_one_takes_the_next_key(void **state UNUSED)
{
    const struct secret seed = {{2}};
    struct fifo queue = {0};
    struct outbox *outbox = open_at(start, 0, &queue);

    (void)accept(outbox, 1, "one");
    (void)outbox_answered(outbox, 2, true);
    outbox_close(&outbox);
    identity_free(&identity);
    assert_int_equal(identity_new("shop", &seed, 0, &identity), 0);
    outbox = open_at(start, 0, &queue);
    (void)accept(outbox, 1, "two");
    outbox_close(&outbox);
    outbox = open_at(start, 0, &queue);
    assert_next(&queue, 1, "two", 0);
    outbox_close(&outbox);
    fifo_deinit(&queue);
}

/* The first of @queue asks for @level and leaves it. */
static void assert_asks(struct fifo *queue, enum receipt_level level)
{
    const struct outgoing *out = fifo_front(queue, NULL);

    assert_non_null(out);
    assert_int_equal(out->receipt, level);
    assert_true(level == RECEIPT_NONE || out->receipt_ms > 0);
    fifo_pop(queue);
}

/* Who sends it waits for the receipts, unless the time that was given is over. */
static void what_wanted_receipts_wants_them_still(void **state UNUSED)
{
    const struct header_receipt wants[] = {
        {RECEIPT_DELIVERED, 5, 1, 0},
        {RECEIPT_SIGNED, 5, 2, start.real_ms + 10000},
        {RECEIPT_SIGNED, 5, 3, start.real_ms + 1000},
    };
    struct fifo queue = {0};
    struct outbox *outbox = open_at(start, 0, &queue);

    assert_int_equal(queue.count, 0);
    for (size_t i = 0; i < COUNT_OF(wants); i++) {
        uint64_t number = outbox_begin(outbox);
        uint8_t block[120];
        struct writer h = writer_over(block, sizeof(block));

        header_write_once(&h, number);
        header_write_receipt(&h, &wants[i]);
        assert_int_equal(outbox_put(outbox, number, 0, bytes_text("s/a"), writer_view(&h),
                                    bytes_text("text"), NULL),
                         0);
        outbox_end(outbox, number, i + 1, outbox_cost(3, h.size, 4));
    }
    outbox_close(&outbox);
    outbox = open_at((struct moment){.real_ms = start.real_ms + 5000, .boot_ms = 1}, 0, &queue);
    assert_asks(&queue, RECEIPT_DELIVERED);
    assert_asks(&queue, RECEIPT_SIGNED);
    assert_asks(&queue, RECEIPT_NONE);
    (void)outbox_answered(outbox, 4, true);
    outbox_close(&outbox);
    fifo_deinit(&queue);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_accepted_and_not_answered_is_there_again_in_order),
        TEST(nothing_has_to_be_closed),
        TEST(no_number_is_given_twice),
        TEST(a_message_that_is_void_stays_so),
        TEST(the_file_shows_nothing),
        TEST(rows_of_a_former_key_are_not_thrown_away),
        TEST(an_empty_one_takes_the_next_key),
        TEST(what_wanted_receipts_wants_them_still),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
