/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broker that meddles: the real one, but what it delivers on some topics is not what was sent.
 * The linker puts the two functions below between its loop and its ROUTER (--wrap).
 *
 *     hostile-broker --home HOME --ready-fd N
 *
 *   .../forged    one bit of the ciphertext is flipped
 *   .../replayed  everything comes twice
 *   .../stale     everything comes HOLD_MS late
 *   .../nokey     names a key that was never given out
 *
 * Test only; one thread calls everything here.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <aico/broker.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/reader.h"
#include "transport/router.h"
#include "wire/record.h"

#define TOPICS_MAX 64
#define HELD_MAX 16
#define HOLD_MS 4000
#define AT_KEY_ID 8 /* in an envelope: behind the magic, the first of the nonce */

enum mischief { NONE, FORGED, REPLAYED, STALE, NO_KEY };

static enum mischief topics[TOPICS_MAX]; /* by number */
static struct {
    struct link *link;
    uint8_t *frame;
    size_t size;
    int64_t due_ms;
} held[HELD_MAX];
static struct aico_broker *served;

int __real_router_send(struct router *router, struct link *link, struct bytes frame);
int __wrap_router_send(struct router *router, struct link *link, struct bytes frame);
unsigned __real_router_wait(struct router *router, int wake_fd, int64_t timeout_ms);
unsigned __wrap_router_wait(struct router *router, int wake_fd, int64_t timeout_ms);

static bool ends_with(struct bytes text, const char *end)
{
    size_t size = strlen(end);

    return text.size >= size && memcmp(text.at + text.size - size, end, size) == 0;
}

static void learn(struct bytes body)
{
    static const struct {
        const char *end;
        enum mischief what;
    } names[] = {
        {"/forged", FORGED}, {"/replayed", REPLAYED}, {"/stale", STALE}, {"/nokey", NO_KEY}};
    struct reader r = reader_over(body);
    uint32_t number = reader_u32(&r);
    struct bytes topic = reader_lp8(&r);

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (number < TOPICS_MAX && ends_with(topic, names[i].end))
            topics[number] = names[i].what;
}

static void hold(struct link *link, struct bytes record)
{
    for (size_t i = 0; i < HELD_MAX; i++) {
        if (held[i].frame)
            continue;
        held[i].frame = malloc(record.size + 1);
        if (!held[i].frame)
            abort();
        held[i].frame[0] = WIRE_VERSION;
        memcpy(held[i].frame + 1, record.at, record.size);
        held[i].size = record.size + 1;
        held[i].link = link;
        held[i].due_ms = moment_now().boot_ms + HOLD_MS;
        return;
    }
}

/* Appends to @to what comes of one DELIVER. */
static void meddle(struct writer *to, struct link *link, struct bytes whole)
{
    struct reader r =
        reader_over(bytes_of(whole.at + RECORD_HEAD_SIZE, whole.size - RECORD_HEAD_SIZE));
    uint32_t number;
    enum mischief what;
    uint8_t copy[FRAME_SIZE_MAX];

    (void)reader_u64(&r);
    number = reader_u32(&r);
    what = number < TOPICS_MAX ? topics[number] : NONE;
    memcpy(copy, whole.at, whole.size);
    if (what == FORGED)
        copy[whole.size - 1] ^= 1;
    if (what == NO_KEY)
        for (size_t i = RECORD_HEAD_SIZE; i + AT_KEY_ID < whole.size; i++)
            if (memcmp(copy + i, "AICO-MSG", 8) == 0)
                copy[i + AT_KEY_ID] ^= 1;
    if (what == STALE) {
        hold(link, whole);
        return;
    }
    for (int i = what == REPLAYED ? 2 : 1; i > 0; i--)
        writer_bytes(to, bytes_of(copy, whole.size));
}

int __wrap_router_send(struct router *router, struct link *link, struct bytes frame)
{
    static uint8_t storage[2 * FRAME_SIZE_MAX];
    struct writer to = writer_over(storage, sizeof(storage));
    size_t at = 1;

    writer_u8(&to, WIRE_VERSION);
    while (at + RECORD_HEAD_SIZE <= frame.size) {
        const uint8_t *head = frame.at + at;
        struct reader r = reader_over(bytes_of(head + 4, 4));
        struct bytes whole = bytes_of(head, RECORD_HEAD_SIZE + reader_u32(&r));

        if (head[0] == RECORD_TOPIC)
            learn(bytes_of(head + RECORD_HEAD_SIZE, whole.size - RECORD_HEAD_SIZE));
        if (head[0] == RECORD_DELIVER)
            meddle(&to, link, whole);
        else
            writer_bytes(&to, whole);
        at += whole.size;
    }
    if (writer_view(&to).size == 1)
        return 0;
    return __real_router_send(router, link, writer_view(&to));
}

unsigned __wrap_router_wait(struct router *router, int wake_fd, int64_t timeout_ms)
{
    int64_t now_ms = moment_now().boot_ms;

    for (size_t i = 0; i < HELD_MAX; i++) {
        if (!held[i].frame || held[i].due_ms > now_ms)
            continue;
        (void)!__real_router_send(router, held[i].link, bytes_of(held[i].frame, held[i].size));
        free(held[i].frame);
        held[i].frame = NULL;
    }
    return __real_router_wait(router, wake_fd, timeout_ms);
}

static void on_stop(int number UNUSED)
{
    aico_broker_stop(served);
}

static void on_event(void *context UNUSED, const struct aico_broker_event *event)
{
    (void)fprintf(stderr, "%s: %s: %s\n", aico_broker_event_name(event->kind), event->component,
                  event->text);
}

int main(int argc, char **argv)
{
    struct aico_broker_options options = {.log = on_event};
    struct aico_error err = {0};
    int r;

    if (argc != 5 || strcmp(argv[1], "--home") != 0 || strcmp(argv[3], "--ready-fd") != 0) {
        (void)fprintf(stderr, "usage: hostile-broker --home HOME --ready-fd N\n");
        return 2;
    }
    options.home = argv[2];
    r = aico_broker_open(&options, &served, &err);
    if (r == 0) {
        (void)signal(SIGTERM, on_stop);
        if (write(atoi(argv[4]), "\n", 1) != 1)
            return 1;
        (void)close(atoi(argv[4]));
        r = aico_broker_run(served, &err);
    }
    aico_broker_close(&served);
    if (r < 0)
        (void)fprintf(stderr, "hostile-broker: %s\n", err.text);
    return r < 0;
}
