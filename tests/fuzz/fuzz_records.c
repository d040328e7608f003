/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames from hostile but authenticated clients: every record parser, and a broker core with three
 * sessions. The input is a row of frames, each u8 who, u16 size, bytes. Whatever comes, the broker
 * must neither crash nor lose count.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/hex.h"
#include "base/reader.h"
#include "broker/broker.h"
#include "crypto/sign.h"
#include "trust/registry.h"
#include "wire/record.h"

#define PEERS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void identity_of(int i, uint8_t identity[SIGN_PUBLIC_SIZE])
{
    memset(identity, i + 1, SIGN_PUBLIC_SIZE);
}

static struct registry *make_registry(void)
{
    static const struct secret owner = {{7}};
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    uint8_t public[SIGN_PUBLIC_SIZE], signature[SIGNATURE_SIZE], identity[SIGN_PUBLIC_SIZE];
    char hex[2 * SIGNATURE_SIZE + 1], other[2 * SIGN_PUBLIC_SIZE + 1];
    struct registry *registry = NULL;

    require(crypto_start() == 0);
    sign_public(&owner, public);
    hex_write(bytes_of(public, sizeof(public)), hex);
    buffer_printf(&text,
                  "aico-registry 1\nnamespace aico\nversion 1\nissued 1\nowner %s\n"
                  "previous %064d\n",
                  hex, 0);
    for (int i = 0; i < PEERS; i++) {
        identity_of(i, identity);
        hex_write(bytes_of(identity, sizeof(identity)), hex);
        identity[0] ^= 0x80;
        hex_write(bytes_of(identity, sizeof(identity)), other);
        buffer_printf(&text, "component %c %s %s active admin 1\n", 'a' + i, hex, other);
    }
    buffer_printf(&text, "rule b/** publish a subscribe b seal group authenticity group "
                         "padding none freshness 0\n"
                         "rule ** publish * subscribe * seal none authenticity group "
                         "padding none freshness 0\n");
    require(sign_make(&owner, "registry", buffer_view(&text), bytes_of(NULL, 0), signature) == 0);
    hex_write(bytes_of(signature, sizeof(signature)), hex);
    buffer_printf(&text, "signature %s\n", hex);
    require(registry_parse(buffer_view(&text), public, bytes_text("aico"), &registry, NULL) == 0);
    return registry;
}

static void parse_everything(struct bytes frame)
{
    struct record record;
    struct reader records;
    union {
        struct record_hello hello;
        struct record_welcome welcome;
        struct record_bye bye;
        struct record_registry registry;
        struct record_component component;
        struct record_refuse refuse;
        struct record_deliver deliver;
        struct record_gap gap;
        struct record_answer answer;
        struct record_will will;
        struct record_receivers receivers;
        struct bytes audit;
    } to;

    if (frame_open(frame, &records) < 0)
        return;
    while (frame_next(&records, &record) == 1) {
        (void)!record_parse_hello(&record, &to.hello);
        (void)!record_parse_welcome(&record, &to.welcome);
        (void)!record_parse_bye(&record, &to.bye);
        (void)!record_parse_registry(&record, &to.registry);
        (void)!record_parse_component(&record, &to.component);
        (void)!record_parse_refuse(&record, &to.refuse);
        (void)!record_parse_deliver(&record, &to.deliver);
        (void)!record_parse_gap(&record, &to.gap);
        (void)!record_parse_answer(&record, &to.answer);
        (void)!record_parse_will(&record, &to.will);
        (void)!record_parse_receivers(&record, &to.receivers);
        (void)!record_parse_audit_head(&record, &to.audit);
    }
}

static struct broker_peer *open_session(struct broker *broker, struct moment now, int i)
{
    char name[2] = {(char)('a' + i), 0};
    uint8_t identity[SIGN_PUBLIC_SIZE], hash[REGISTRY_HASH_SIZE] = {0}, frame[256];
    struct writer w = writer_over(frame, sizeof(frame));
    struct broker_peer *peer;
    int code = 0;

    identity_of(i, identity);
    peer = broker_peer_open(broker, now, bytes_text(name), identity, "fuzz", NULL, &code);
    require(peer != NULL);
    writer_u8(&w, WIRE_VERSION);
    record_write_hello(&w, &(struct record_hello){.version = WIRE_VERSION,
                                                  .instance = (uint64_t)i + 1,
                                                  .registry_version = 1,
                                                  .registry_hash = bytes_of(hash, sizeof(hash)),
                                                  .window = FRAME_SIZE_MAX,
                                                  .name = bytes_text(name)});
    (void)broker_peer_receive(broker, now, peer, writer_view(&w));
    return peer;
}

static void carry(struct broker *broker, struct moment now, struct broker_peer *peers[PEERS],
                  unsigned choice)
{
    struct broker_peer *peer;
    struct bytes frame;
    int code;

    for (unsigned i = 0; i < 64 && broker_next_frame(broker, now, &peer, &frame); i++) {
        if ((choice >> i % 8 & 1) && i % 3 == 0)
            broker_frame_blocked(broker, peer);
        else
            broker_frame_sent(broker, peer);
    }
    while (broker_next_kick(broker, now, &peer, &code))
        for (int i = 0; i < PEERS; i++)
            if (peers[i] == peer) {
                broker_peer_gone(broker, now, peer);
                peers[i] = open_session(broker, now, i);
            }
}

static void check_balance(const struct broker *broker)
{
    struct broker_totals t;

    broker_get_totals(broker, &t);
    require(broker_totals_balance(&t));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct registry *registry;
    struct moment now = {1763668800000, 1000};
    struct reader input = reader_over(bytes_of(data, size));
    struct broker_peer *peers[PEERS];
    struct broker_settings settings;
    struct broker *broker = NULL;

    if (!registry)
        registry = make_registry();
    broker_settings_default(&settings);
    settings.outbox_limit = settings.control_limit = 0; /* the least that works */
    settings.max_topics = 16;
    require(broker_new(&settings, registry, now, &broker) == 0);
    for (int i = 0; i < PEERS; i++)
        peers[i] = open_session(broker, now, i);
    while (input.left > 0 && !input.failed) {
        uint8_t who = reader_u8(&input);
        struct bytes rest = reader_lp16(&input);
        uint8_t *frame = malloc(rest.size + 1);

        require(frame != NULL);
        frame[0] = WIRE_VERSION; /* spare the fuzzer the first byte */
        bytes_copy(frame + 1, rest);
        parse_everything(bytes_of(frame, rest.size + 1));
        (void)broker_peer_receive(broker, now, peers[who % PEERS], bytes_of(frame, rest.size + 1));
        free(frame);
        if (who & 0x08)
            (void)broker_work(broker, now);
        if (who & 0x10)
            carry(broker, now, peers, who);
        if (who & 0x20)
            broker_all_writable(broker);
        if (who & 0x40) {
            now.boot_ms += 10000;
            now.real_ms += 10000;
            broker_tick(broker, now);
        }
        if (who & 0x80)
            broker_set_registry(broker, now, registry);
        check_balance(broker);
    }
    broker_free(&broker);
    return 0;
}
