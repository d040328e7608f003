/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control messages. Input: one message. What parses must be written again to the same bytes; a
 * GROUP_KEY makes a reader, which is then told HEADS and handed an envelope.
 */
#include "fuzz.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "crypto/kdf.h"
#include "session/control.h"
#include "session/group.h"

static const uint8_t self[SIGN_PUBLIC_SIZE] = {1}, publisher[SIGN_PUBLIC_SIZE] = {2};
static const struct moment now = {1763668800000, 1000};

static void ignore(void *context, uint64_t first, uint64_t last)
{
    (void)context;
    require(first <= last);
}

static void write_heads(struct writer *w, const struct control *c)
{
    struct reader heads = reader_over(c->topics), topics;
    struct bytes name;
    uint64_t generation;
    uint32_t next;

    writer_u8(w, CONTROL_HEADS);
    while (control_next_heads(&heads, &generation, &topics)) {
        struct reader count = topics;
        uint16_t n = 0;

        while (control_next_head(&count, &name, &next))
            n++;
        writer_u64(w, generation);
        writer_u16(w, n);
        while (control_next_head(&topics, &name, &next))
            control_write_head(w, name, next);
    }
}

static void write_receipts(struct writer *w, const struct control *c)
{
    struct reader list = reader_over(c->receipts);
    struct control_receipt receipt;

    writer_u8(w, CONTROL_RECEIPT);
    while (control_next_receipt(&list, &receipt))
        control_write_receipt(w, &receipt);
}

static void write_group_key(struct writer *w, const struct control *c)
{
    struct reader topics = reader_over(c->topics), count = topics;
    struct bytes name;
    uint32_t next;
    uint16_t n = 0;

    while (control_next_head(&count, &name, &next))
        n++;
    control_write_group_key(w, c, c->listed ? n : CONTROL_NOT_LISTED);
    while (control_next_head(&topics, &name, &next))
        control_write_head(w, name, next);
}

static void write_again(const struct control *c, struct bytes message)
{
    uint8_t *again = malloc(message.size + 1);
    struct writer w = writer_over(again, message.size + 1);

    require(again != NULL);
    switch (c->type) {
    case CONTROL_GROUP_KEY:
        write_group_key(&w, c);
        break;
    case CONTROL_KEY_REQUEST:
        control_write_key_request(&w, c->filter, c->id.at, c->epoch, c->generation);
        break;
    case CONTROL_KEY_REFUSE:
        control_write_key_refuse(&w, -(int)c->code, c->filter);
        break;
    case CONTROL_REGISTRY:
        control_write_registry(&w, c->document);
        break;
    case CONTROL_HEADS:
        write_heads(&w, c);
        break;
    case CONTROL_FINAL:
        control_write_final(&w, c->next);
        break;
    case CONTROL_PING:
    case CONTROL_PONG:
        control_write_ping(&w, c->type, c->id.at, c->next);
        break;
    case CONTROL_RESET: /* nobody writes it yet */
        writer_bytes(&w, message);
        break;
    case CONTROL_TIME:
        control_write_time(&w, c->time);
        break;
    case CONTROL_AGAIN:
        control_write_again(&w, c->topic);
        break;
    case CONTROL_RECEIPT:
        write_receipts(&w, c);
        break;
    }
    require(!w.failed && bytes_equal(writer_view(&w), message));
    free(again);
}

/* An envelope under the group's own key, which the attacker has who sent it. */
static void open_one(struct group_reader *reader, const struct control *key, size_t *windows)
{
    static const struct gap_sink sink = {ignore, NULL};
    struct secret chain, topic, commit, reader_key = {0};
    struct aead_key aead;
    struct envelope_seal_input in = {0};
    struct group_opened opened;
    struct envelope e;
    uint8_t wire[1024], plain[1024], context[HASH_SIZE];
    struct writer out = writer_over(wire, sizeof(wire));
    struct bytes name = bytes_text("a/b");

    bytes_copy(chain.at, key->chain_key);
    kdf(&chain, "group topic", name, &topic);
    envelope_key_init(&aead, &topic, key->id.at, key->epoch);
    envelope_commit(&topic, &commit);
    envelope_context_hash(&(struct envelope_context){.kind = ENVELOPE_CONTEXT_GROUP,
                                                     .sender = publisher,
                                                     .topic = name,
                                                     .namespace = bytes_text("aico")},
                          context);
    in.key = &aead;
    in.time = UINT32_MAX;
    in.sequence = UINT32_MAX;
    in.format = ENVELOPE_FORMAT_MESSAGE;
    in.context = context;
    in.payload = bytes_text("x");
    in.content_max = 100;
    in.trailer_kind = key->authenticity == ENVELOPE_TRAILER_VECTOR ? ENVELOPE_TRAILER_VECTOR : 0;
    in.commit = &commit;
    in.reader_keys = &reader_key;
    in.reader_count = 1;
    require(envelope_seal(&in, &out) == 0);
    require(envelope_parse(writer_view(&out), &e) == 0);
    (void)!group_open(reader, now, &e, 0, name, true, windows, plain, &sink, &opened);
}

static void read_with(const struct control *key)
{
    static const struct gap_sink sink = {ignore, NULL};
    struct session_settings settings = session_settings_default();
    struct group_reader *reader = NULL;
    size_t windows = 0;

    for (int strict = 0; strict < 2; strict++) {
        settings.strict_ordering = strict;
        if (group_reader_new(self, &settings, publisher, false, key, now, &windows, &reader) < 0)
            continue;
        open_one(reader, key, &windows);
        group_reader_announce(reader, &(struct control_stand){bytes_text("a/b"), key->epoch, 7},
                              true, &windows, &sink);
        group_reader_announce(reader,
                              &(struct control_stand){bytes_text("a/c"), UINT32_MAX, UINT32_MAX},
                              true, &windows, &sink);
        group_reader_renew(reader, key);
        (void)group_reader_deadline(reader, false);
        group_reader_tick(reader, (struct moment){now.real_ms, 1000000}, false);
        group_reader_free(&reader, &windows);
    }
    require(windows == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = copy_of(bytes_of(data, size));
    struct bytes message = {copy, size};
    struct control control;

    require(crypto_start() == 0);
    if (control_parse(message, &control) == 0) {
        write_again(&control, message);
        if (control.type == CONTROL_GROUP_KEY)
            read_with(&control);
    }
    free(copy);
    return 0;
}
