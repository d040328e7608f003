/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our end of the exchange with seed_reader.py, which starts this program:
 *
 *   format0 write COUNT SEED   prints COUNT lines "ENVELOPE PAYLOAD", in hex
 *   format0 read               reads lines "ENVELOPE PAYLOAD TIMESTAMP-MS" and says how many opened
 *
 * The key is the same everywhere: 32 bytes 0x03.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "random_metadata.h"

#include "base/hex.h"
#include "envelope/format0.h"

#define PAYLOAD_MAX 200
#define WIRE_MAX (METADATA_SIZE_MAX + ENVELOPE_OVERHEAD + PAYLOAD_MAX)

static struct secret key;
static uint8_t wire[WIRE_MAX], plain[WIRE_MAX], storage[METADATA_SIZE_MAX];
static char line[2 * WIRE_MAX + 2 * PAYLOAD_MAX + 64], text[2 * WIRE_MAX + 1];

static int fail(const char *what, size_t number)
{
    fprintf(stderr, "format0: %s (line %zu)\n", what, number);
    return 1;
}

static void print_hex(struct bytes bytes, char end)
{
    hex_write(bytes, text);
    printf("%s%c", text, end);
}

static int write_all(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t topic[TOPIC_SIZE_MAX], payload[PAYLOAD_MAX], nonce[ENVELOPE_NONCE_SIZE];
        struct bytes name = random_text(topic, below(60)), metadata;
        struct writer w = writer_over(wire, sizeof(wire));
        size_t size = below(PAYLOAD_MAX + 1);

        for (size_t n = 0; n < sizeof(nonce); n++)
            nonce[n] = (uint8_t)random_u64();
        for (size_t n = 0; n < size; n++)
            payload[n] = (uint8_t)random_u64();
        if (random_metadata(storage, sizeof(storage), (int64_t)below(4102444800000), name,
                            &metadata) < 0 ||
            format0_seal(&key, nonce, metadata, bytes_of(payload, size), PAYLOAD_MAX, &w) < 0)
            return fail("cannot seal", i);
        print_hex(writer_view(&w), ' ');
        print_hex(bytes_of(payload, size), '\n');
    }
    return 0;
}

/* The next word of @*at in hex; false when it is none, or longer than @max bytes. */
static bool take(char **at, uint8_t *to, size_t max, size_t *ret_size)
{
    struct bytes word = bytes_of(*at, strcspn(*at, " \n"));

    if (word.size % 2 || word.size / 2 > max || !hex_parse(word, to, word.size / 2))
        return false;
    *at += word.size + 1;
    *ret_size = word.size / 2;
    return true;
}

static int read_all(void)
{
    size_t count = 0;

    for (; fgets(line, sizeof(line), stdin); count++) {
        uint8_t expected[PAYLOAD_MAX];
        size_t wire_size, size;
        struct metadata_facts facts;
        struct bytes payload;
        struct envelope e;
        char *at = line;

        if (!take(&at, wire, sizeof(wire), &wire_size) ||
            !take(&at, expected, sizeof(expected), &size))
            return fail("not a line of ours", count);
        if (envelope_parse(bytes_of(wire, wire_size), &e) < 0)
            return fail("does not parse", count);
        if (format0_open(&e, &key, plain, &payload) < 0)
            return fail("does not open", count);
        if (!bytes_equal(payload, bytes_of(expected, size)))
            return fail("opens to something else", count);
        if (metadata_parse(e.metadata, &facts) < 0 || !facts.has_timestamp)
            return fail("metadata refused", count);
        if (facts.timestamp_ms != strtoll(at, NULL, 10))
            return fail("another timestamp", count);
    }
    printf("%zu\n", count);
    return 0;
}

int main(int argc, char **argv)
{
    memset(key.at, 3, sizeof(key.at));
    if (crypto_start() < 0)
        return fail("no crypto", 0);
    if (argc == 4 && strcmp(argv[1], "write") == 0) {
        state_of_random = strtoull(argv[3], NULL, 10);
        return write_all(strtoull(argv[2], NULL, 10));
    }
    if (argc == 2 && strcmp(argv[1], "read") == 0)
        return read_all();
    fprintf(stderr, "usage: format0 write COUNT SEED | format0 read\n");
    return 2;
}
