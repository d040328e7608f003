/* SPDX-License-Identifier: Apache-2.0 */
/* The byte queue of the client against a plain model, and the layout of a message. */
#include "vectors.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/fifo.h"
#include "base/pool.h"
#include "client/message.h"

static void blocks_come_out_as_they_went_in(void **state UNUSED)
{
    enum { COUNT = 20000 };
    CLEANUP(fifo_deinit)
    struct fifo fifo = {0};
    uint32_t pushed = 0, popped = 0;

    srand(3);
    while (popped < COUNT) {
        size_t size = 8 + (size_t)(rand() % (rand() % 50 == 0 ? 400000 : 200));

        if (pushed < COUNT && rand() % 2 == 0) {
            uint8_t *block = fifo_push(&fifo, size);

            assert_non_null(block);
            assert_int_equal((uintptr_t)block % 8, 0);
            memset(block, (int)(pushed & 0xff), size);
            memcpy(block, &pushed, sizeof(pushed));
            if (rand() % 3 == 0)
                fifo_shrink_last(&fifo, block, 8);
            pushed++;
        } else if (pushed > popped) {
            size_t got;
            uint8_t *block = fifo_front(&fifo, &got);
            uint32_t number;

            memcpy(&number, block, sizeof(number));
            assert_int_equal(number, popped);
            assert_int_equal(block[got - 1], got == 8 ? block[7] : (uint8_t)(popped & 0xff));
            fifo_pop(&fifo);
            popped++;
        }
        assert_int_equal(fifo.count, pushed - popped);
    }
    assert_int_equal(fifo.bytes, 0);
    assert_null(fifo_front(&fifo, NULL));
}

static void a_cursor_visits_all_and_sees_what_comes(void **state UNUSED)
{
    CLEANUP(fifo_deinit)
    struct fifo fifo = {0}, more = {0};
    struct fifo_cursor cursor = {0};
    uint32_t *block;

    for (uint32_t i = 0; i < 100; i++) {
        block = fifo_push(i < 50 ? &fifo : &more, 10000);
        assert_non_null(block);
        *block = i;
    }
    for (uint32_t i = 0; i < 50; i++)
        assert_int_equal(*(uint32_t *)fifo_next(&fifo, &cursor), i);
    assert_null(fifo_next(&fifo, &cursor));
    fifo_splice(&fifo, &more);
    assert_int_equal(more.count, 0);
    for (uint32_t i = 50; i < 100; i++)
        assert_int_equal(*(uint32_t *)fifo_next(&fifo, &cursor), i);
    assert_null(fifo_next(&fifo, &cursor));
    assert_int_equal(fifo.count, 100);
}

static void many_are_popped_across_chunks_and_none_too_many(void **state UNUSED)
{
    CLEANUP(fifo_deinit)
    struct fifo fifo = {0};

    for (uint32_t i = 0; i < 100; i++) {
        uint32_t *block = fifo_push(&fifo, 10000);

        assert_non_null(block);
        *block = i;
    }
    fifo_pop_many(&fifo, 0);
    assert_int_equal(*(uint32_t *)fifo_front(&fifo, NULL), 0);
    fifo_pop_many(&fifo, 60); /* a chunk has fewer */
    assert_int_equal(*(uint32_t *)fifo_front(&fifo, NULL), 60);
    assert_int_equal(fifo.count, 40);
    assert_int_equal(fifo.bytes, 400000);
    fifo_pop_many(&fifo, 41);
    assert_null(fifo_front(&fifo, NULL));
    assert_int_equal(fifo.count, 0);
    assert_int_equal(fifo.bytes, 0);
    assert_non_null(fifo_push(&fifo, 8));
    assert_non_null(fifo_front(&fifo, NULL));
}

static void a_message_owns_all_it_points_to(void **state UNUSED)
{
    const uint8_t block[] = {1, 'k', 0, 2, 'v', 'w', 1, 'x', 0, 0};
    uint8_t *headers = exact_copy(bytes_of(block, sizeof(block)));
    uint8_t *payload = exact_copy(bytes_text("hello"));
    struct aico_message *m =
        client_message_new(NULL, &(struct message_parts){
                                     .kind = AICO_MESSAGE_EVENT,
                                     .topic = bytes_text("a/b"),
                                     .sender = bytes_text("cli"),
                                     .payload = bytes_of(payload, 5),
                                     .headers = bytes_of(headers, sizeof(block)),
                                     .wire = bytes_of(payload, 5),
                                     .text = "because",
                                 });

    free(headers);
    free(payload);
    assert_non_null(m);
    assert_string_equal(m->topic, "a/b");
    assert_string_equal(m->sender, "cli");
    assert_string_equal(m->text, "because");
    assert_int_equal(m->size, 5);
    assert_memory_equal(m->payload, "hello", 6);
    assert_memory_equal(m->wire, "hello", 5);
    assert_int_equal(m->header_count, 2);
    assert_string_equal(m->headers[0].key, "k");
    assert_string_equal(m->headers[0].value, "vw");
    assert_string_equal(m->headers[1].key, "x");
    assert_string_equal(m->headers[1].value, "");
    assert_true(message_cost(m) >= 5);
    aico_message_free(&m);
    assert_null(m);
    aico_message_free(&m);
}

static void a_header_block_that_does_not_parse_makes_no_message(void **state UNUSED)
{
    const uint8_t block[] = {1, 'k', 0, 9, 'v'};

    assert_null(client_message_new(
        NULL, &(struct message_parts){.headers = bytes_of(block, sizeof(block))}));
}

/* A batch of @count messages "0", "1"... of a publisher that counts them: the first has a header.
 */
static struct bytes batch_of(uint8_t *room, size_t size, int count)
{
    struct writer w = writer_over(room, size);
    const uint8_t header[] = {2, '$', 'n', 0, 1, '7'};
    char text[16];

    for (int i = 0; i < count; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        assert_int_equal(content_batch_add(&w, true, bytes_of(header, i == 0 ? sizeof(header) : 0),
                                           bytes_text(text), 100),
                         0);
    }
    return writer_view(&w);
}

#define MANY 300

/* Copied, or handed over in a block of which it is not all. */
static struct aico_message *bundle_of(struct pool_taker *taker, struct message_parts parts,
                                      bool is_handed, uint32_t count)
{
    size_t size = parts.payload.size;
    uint8_t *at = is_handed ? pool_take(taker, 4 + size + 1) : malloc(size);
    struct aico_message *bundle;

    assert_non_null(at);
    if (is_handed)
        memset(at, 0xff, 4 + size + 1);
    memcpy(at + (is_handed ? 4 : 0), parts.payload.at, size);
    parts.payload.at = at + (is_handed ? 4 : 0);
    bundle = client_bundle_new(taker, &parts, is_handed ? at : NULL, true, count);
    if (!is_handed)
        free(at);
    return bundle;
}

static void check_bundle(bool is_handed)
{
    struct pool_taker taker = {0};
    uint8_t room[8000];
    struct bytes batch = batch_of(room, sizeof(room), MANY);
    struct aico_message *bundle, *m;
    char text[16];

    assert_true(content_batch_is_plain(batch, true));
    bundle = bundle_of(&taker,
                       (struct message_parts){.kind = AICO_MESSAGE_EVENT,
                                              .topic = bytes_text("a/b"),
                                              .sender = bytes_text("cli"),
                                              .payload = batch,
                                              .wire = bytes_text("wire")},
                       is_handed, MANY);
    assert_non_null(bundle);
    assert_true(message_cost(bundle) > batch.size); /* wherever it lies */
    bundle->sequence = 7;
    bundle->sent_ms = 99;
    bundle->sealed = true;
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        assert_int_equal(message_count(bundle), MANY - i);
        if (i < MANY - 1) {
            m = message_split(&taker, bundle);
        } else {
            m = bundle;
            message_settle(m);
            message_settle(m); /* once is enough */
        }
        assert_non_null(m);
        assert_string_equal(m->payload, text);
        assert_int_equal(m->size, strlen(text));
        assert_int_equal(m->sequence, 7 + i);
        assert_int_equal(m->sent_ms, 99);
        assert_true(m->sealed);
        assert_string_equal(m->topic, "a/b");
        assert_string_equal(m->sender, "cli");
        assert_string_equal(m->text, "");
        assert_int_equal(m->header_count, 0);
        assert_memory_equal(m->wire, "wire", 4);
        aico_message_free(&m);
    }
    pool_taker_deinit(&taker);
}

static void a_bundle_becomes_its_messages(void **state UNUSED)
{
    check_bundle(false);
    check_bundle(true);
}

/* An application may keep one message of a batch for ever: it holds nothing of the others. */
static void check_outlives(bool is_handed)
{
    struct pool_taker taker = {0};
    uint8_t room[400];
    struct bytes batch = batch_of(room, sizeof(room), 3);
    struct message_parts parts = {.kind = AICO_MESSAGE_EVENT,
                                  .topic = bytes_text("a/b"),
                                  .sender = bytes_text("cli"),
                                  .payload = batch,
                                  .wire = bytes_text("wire")};
    struct aico_message *bundle = bundle_of(&taker, parts, is_handed, 3), *m, *other;

    assert_non_null(bundle);
    *message_kept(bundle) = 5;
    m = message_split(&taker, bundle);
    assert_non_null(m);
    aico_message_free(&bundle);
    parts.topic = bytes_text("c/d"); /* of the same size, so it may get the same block */
    parts.sender = bytes_text("eve");
    parts.wire = bytes_text("none");
    other = bundle_of(&taker, parts, is_handed, 3);
    assert_non_null(other);
    assert_string_equal(m->topic, "a/b");
    assert_string_equal(m->sender, "cli");
    assert_string_equal(m->text, "");
    assert_string_equal(m->payload, "0");
    assert_memory_equal(m->wire, "wire", 4);
    assert_int_equal(m->wire_prefix, 4);
    assert_int_equal(message_count(m), 1);
    assert_int_equal(*message_kept(m), 0);
    assert_null(*message_link(m));
    message_settle(m); /* it is no bundle */
    assert_int_equal(m->size, 1);
    aico_message_free(&m);
    aico_message_free(&other);
    pool_taker_deinit(&taker);
}

static void a_message_of_a_bundle_outlives_it(void **state UNUSED)
{
    check_outlives(false);
    check_outlives(true);
}

static void a_batch_with_headers_is_not_plain(void **state UNUSED)
{
    const uint8_t header[] = {1, 'k', 0, 1, 'v'};
    uint8_t room[100];
    struct writer w = writer_over(room, sizeof(room));

    assert_int_equal(content_batch_add(&w, true, bytes_of(NULL, 0), bytes_text("a"), 100), 0);
    assert_true(content_batch_is_plain(writer_view(&w), true));
    assert_int_equal(
        content_batch_add(&w, true, bytes_of(header, sizeof(header)), bytes_text("b"), 100), 0);
    assert_false(content_batch_is_plain(writer_view(&w), true));
}

/* What one thread fills and another empties is filled again, not asked for anew. */
static void emptied_chunks_go_back_to_who_fills(void **state UNUSED)
{
    CLEANUP(fifo_deinit)
    struct fifo filled = {0}, emptied = {.more_spares = 3};
    CLEANUP(fifo_deinit)
    struct fifo other = {0};
    void *first = fifo_push(&filled, 100);

    fifo_splice(&emptied, &filled);
    assert_null(filled.spares);
    fifo_pop(&emptied);
    assert_int_equal(emptied.spare_count, 1);
    assert_non_null(fifo_push(&filled, 100));
    fifo_splice(&emptied, &filled);
    assert_int_equal(filled.spare_count, 1);
    assert_int_equal(emptied.spare_count, 0);
    assert_ptr_equal(fifo_push(&filled, 100), first);
    for (int i = 0; i < 10; i++)
        assert_non_null(fifo_push(&other, 50000)); /* each in a chunk of its own */
    fifo_splice(&emptied, &other);
    while (fifo_front(&emptied, NULL))
        fifo_pop(&emptied);
    assert_int_equal(emptied.spare_count, 4);
    fifo_deinit(&filled);
    fifo_deinit(&emptied);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_come_out_as_they_went_in),
        cmocka_unit_test(a_cursor_visits_all_and_sees_what_comes),
        cmocka_unit_test(many_are_popped_across_chunks_and_none_too_many),
        cmocka_unit_test(a_message_owns_all_it_points_to),
        cmocka_unit_test(a_bundle_becomes_its_messages),
        cmocka_unit_test(a_message_of_a_bundle_outlives_it),
        cmocka_unit_test(a_batch_with_headers_is_not_plain),
        cmocka_unit_test(emptied_chunks_go_back_to_who_fills),
        cmocka_unit_test(a_header_block_that_does_not_parse_makes_no_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
