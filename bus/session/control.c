/* SPDX-License-Identifier: Apache-2.0 */
/* Control messages, read and written. Pure, any thread. */
#include "session/control.h"
#include "envelope/envelope.h"
#include "envelope/headers.h"

/* @count heads; the reader is failed afterwards if they are not there. Topics are 1..255 bytes. */
static struct bytes take_heads(struct reader *r, uint16_t count)
{
    const uint8_t *from = r->at;

    for (uint16_t i = 0; i < count && !r->failed; i++) {
        struct bytes topic = reader_lp16(r);

        (void)reader_u32(r);
        if (topic.size == 0 || topic.size > UINT8_MAX)
            r->failed = true;
    }
    return r->failed ? bytes_of(NULL, 0) : bytes_of(from, (size_t)(r->at - from));
}

static void parse_group_key(struct reader *r, struct control *c)
{
    uint16_t count;

    c->authenticity = reader_u8(r);
    c->filter = reader_lp16(r);
    c->generation = reader_u64(r);
    c->epoch = reader_u32(r);
    c->chain_key = reader_bytes(r, SECRET_SIZE);
    c->id = reader_bytes(r, CONTROL_ID_SIZE);
    c->slot = reader_u8(r);
    c->reader_key = reader_bytes(r, SECRET_SIZE);
    count = reader_u16(r);
    c->listed = count != CONTROL_NOT_LISTED;
    if (c->listed)
        c->topics = take_heads(r, count);
    if (c->authenticity > ENVELOPE_TRAILER_SIGNATURE)
        r->failed = true;
}

static void parse_heads(struct reader *r, struct control *c)
{
    const uint8_t *from = r->at;

    while (r->left > 0 && !r->failed) {
        (void)reader_u64(r);
        (void)take_heads(r, reader_u16(r));
    }
    if (!r->failed)
        c->topics = bytes_of(from, (size_t)(r->at - from));
}

static void parse_receipts(struct reader *r, struct control *c)
{
    const uint8_t *from = r->at;
    struct control_receipt receipt;

    while (control_next_receipt(r, &receipt))
        ;
    if (!r->failed)
        c->receipts = bytes_of(from, (size_t)(r->at - from));
    if (c->receipts.size == 0 || c->receipts.size > CONTROL_RECEIPTS_MAX)
        r->failed = true;
}

int control_parse(struct bytes content, struct control *ret_control)
{
    struct reader r = reader_over(content);
    struct control c = {.type = (enum control_type)reader_u8(&r)};

    switch (c.type) {
    case CONTROL_GROUP_KEY:
        parse_group_key(&r, &c);
        break;
    case CONTROL_KEY_REQUEST:
        c.filter = reader_lp16(&r);
        c.id = reader_bytes(&r, CONTROL_ID_SIZE);
        c.epoch = reader_u32(&r);
        c.generation = reader_u64(&r);
        break;
    case CONTROL_KEY_REFUSE:
        c.code = reader_u16(&r);
        c.filter = reader_lp16(&r);
        break;
    case CONTROL_REGISTRY:
        c.document = reader_rest(&r);
        break;
    case CONTROL_HEADS:
        parse_heads(&r, &c);
        break;
    case CONTROL_FINAL:
        c.next = reader_u32(&r);
        break;
    case CONTROL_PING:
    case CONTROL_PONG:
        c.id = reader_bytes(&r, CONTROL_ID_SIZE);
        c.next = reader_u32(&r);
        break;
    case CONTROL_RESET:
        c.id = reader_bytes(&r, CONTROL_ID_SIZE);
        break;
    case CONTROL_TIME:
        c.time = reader_u64(&r);
        break;
    case CONTROL_AGAIN:
        c.topic = reader_lp16(&r);
        if (c.topic.size == 0 || c.topic.size > UINT8_MAX)
            r.failed = true;
        break;
    case CONTROL_RECEIPT:
        parse_receipts(&r, &c);
        break;
    default:
        return r.failed ? AICO_EFORMAT : AICO_ETYPE;
    }
    if (!reader_done(&r))
        return AICO_EFORMAT;
    *ret_control = c;
    return 0;
}

bool control_next_head(struct reader *topics, struct bytes *ret_topic, uint32_t *ret_next)
{
    if (topics->left == 0 || topics->failed)
        return false;
    *ret_topic = reader_lp16(topics);
    *ret_next = reader_u32(topics);
    return !topics->failed;
}

bool control_next_receipt(struct reader *receipts, struct control_receipt *ret_receipt)
{
    struct control_receipt receipt = {0};

    if (receipts->left == 0 || receipts->failed)
        return false;
    receipt.level = reader_u8(receipts);
    receipt.run = reader_u64(receipts);
    receipt.number = reader_u64(receipts);
    receipt.taken_ms = (int64_t)reader_u64(receipts);
    if (receipt.level == RECEIPT_SIGNED)
        receipt.signature = reader_bytes(receipts, SIGNATURE_SIZE);
    if ((receipt.level != RECEIPT_DELIVERED && receipt.level != RECEIPT_SIGNED) ||
        receipt.taken_ms < 0)
        receipts->failed = true;
    *ret_receipt = receipt;
    return !receipts->failed;
}

#define NUMBER_HEAD "$n"
#define HEAD_SIZE(topic_size) (2 + (topic_size) + 4)

bool control_next_stand(struct reader *topics, struct control_stand *ret_stand)
{
    struct control_stand stand;
    bool has_number = false;
    uint32_t number = 0;

    while (control_next_head(topics, &stand.topic, &stand.next)) {
        if (!bytes_equal_text(stand.topic, NUMBER_HEAD)) {
            stand.messages = has_number ? number : stand.next;
            *ret_stand = stand;
            return true;
        }
        has_number = true;
        number = stand.next;
    }
    return false;
}

unsigned control_stand_heads(const struct control_stand *stand)
{
    return stand->messages == stand->next ? 1 : 2;
}

size_t control_stand_size(const struct control_stand *stand)
{
    return HEAD_SIZE(stand->topic.size) +
           (stand->messages == stand->next ? 0 : HEAD_SIZE(sizeof(NUMBER_HEAD) - 1));
}

void control_write_stand(struct writer *to, const struct control_stand *stand)
{
    if (stand->messages != stand->next)
        control_write_head(to, bytes_text(NUMBER_HEAD), stand->messages);
    control_write_head(to, stand->topic, stand->next);
}

bool control_next_heads(struct reader *heads, uint64_t *ret_generation, struct reader *ret_topics)
{
    if (heads->left == 0 || heads->failed)
        return false;
    *ret_generation = reader_u64(heads);
    *ret_topics = reader_over(take_heads(heads, reader_u16(heads)));
    return !heads->failed;
}

void control_write_group_key(struct writer *to, const struct control *c, uint16_t count)
{
    writer_u8(to, CONTROL_GROUP_KEY);
    writer_u8(to, c->authenticity);
    writer_lp16(to, c->filter);
    writer_u64(to, c->generation);
    writer_u32(to, c->epoch);
    writer_bytes(to, c->chain_key);
    writer_bytes(to, c->id);
    writer_u8(to, c->slot);
    writer_bytes(to, c->reader_key);
    writer_u16(to, count);
}

void control_write_head(struct writer *to, struct bytes topic, uint32_t next)
{
    writer_lp16(to, topic);
    writer_u32(to, next);
}

void control_write_key_request(struct writer *to, struct bytes filter,
                               const uint8_t id[CONTROL_ID_SIZE], uint32_t epoch,
                               uint64_t generation)
{
    writer_u8(to, CONTROL_KEY_REQUEST);
    writer_lp16(to, filter);
    writer_bytes(to, bytes_of(id, CONTROL_ID_SIZE));
    writer_u32(to, epoch);
    writer_u64(to, generation);
}

void control_write_key_refuse(struct writer *to, int code, struct bytes filter)
{
    writer_u8(to, CONTROL_KEY_REFUSE);
    writer_u16(to, (uint16_t)-code);
    writer_lp16(to, filter);
}

void control_write_registry(struct writer *to, struct bytes document)
{
    writer_u8(to, CONTROL_REGISTRY);
    writer_bytes(to, document);
}

void control_write_heads_section(struct writer *to, uint64_t generation, uint16_t count)
{
    writer_u64(to, generation);
    writer_u16(to, count);
}

void control_write_final(struct writer *to, uint32_t next)
{
    writer_u8(to, CONTROL_FINAL);
    writer_u32(to, next);
}

void control_write_reset(struct writer *to, const uint8_t id[CONTROL_ID_SIZE])
{
    writer_u8(to, CONTROL_RESET);
    writer_bytes(to, bytes_of(id, CONTROL_ID_SIZE));
}

void control_write_ping(struct writer *to, enum control_type type,
                        const uint8_t id[CONTROL_ID_SIZE], uint32_t next)
{
    writer_u8(to, (uint8_t)type);
    writer_bytes(to, bytes_of(id, CONTROL_ID_SIZE));
    writer_u32(to, next);
}

void control_write_time(struct writer *to, uint64_t time)
{
    writer_u8(to, CONTROL_TIME);
    writer_u64(to, time);
}

void control_write_again(struct writer *to, struct bytes topic)
{
    writer_u8(to, CONTROL_AGAIN);
    writer_lp16(to, topic);
}

void control_write_receipt(struct writer *to, const struct control_receipt *receipt)
{
    writer_u8(to, receipt->level);
    writer_u64(to, receipt->run);
    writer_u64(to, receipt->number);
    writer_u64(to, (uint64_t)receipt->taken_ms);
    writer_bytes(to, receipt->signature);
}
