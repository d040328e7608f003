/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills the message store of a broker that does not run, through the store itself, in transactions
 * as large as the broker's.
 *
 *   fill-store FILE FILTER COUNT   COUNT messages of 200 bytes on FILTER's topic fill/x
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "store/streams.h"

#define BATCH 4096
#define SIZE 200

static int put(struct streams *s, const char *filter, uint64_t position, struct aico_error *err)
{
    static const uint8_t identity[SIGN_PUBLIC_SIZE] = {0xf1};
    static uint8_t payload[SIZE] = "AICO-MSG";
    uint64_t number;
    struct stored_message m = {
        .stream = bytes_text(filter),
        .topic = bytes_text("fill/x"),
        .identity = identity,
        .sender = bytes_text("filler"),
        .publish_id = position,
        .stored_ms = moment_now().real_ms,
        .count = 1,
        .scope = {1},
        .position = position,
        .payload = bytes_of(payload, sizeof(payload)),
    };

    return streams_put(s, &m, &number, NULL, err);
}

static int fill(const char *path, const char *filter, uint64_t count, struct aico_error *err)
{
    CLEANUP(streams_close)
    struct streams *s = NULL;
    int r = streams_open(path, &s, err);

    for (uint64_t i = 1; r == 0 && i <= count; i++) {
        if (i % BATCH == 1)
            r = streams_begin(s, err);
        if (r == 0)
            r = put(s, filter, i, err);
        if (r == 0 && (i % BATCH == 0 || i == count))
            r = streams_commit(s, err);
    }
    return r;
}

int main(int argc, char **argv)
{
    struct aico_error err = {0};

    if (argc != 4) {
        (void)fprintf(stderr, "usage: fill-store FILE FILTER COUNT\n");
        return 2;
    }
    if (fill(argv[1], argv[2], strtoull(argv[3], NULL, 10), &err) < 0) {
        (void)fprintf(stderr, "fill-store: %s\n", err.text);
        return 1;
    }
    return 0;
}
