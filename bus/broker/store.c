/* SPDX-License-Identifier: Apache-2.0 */
/* Orders to the message store: made, handed out, and their rows. */
#include "base/writer.h"
#include "broker/stream.h"

#define LOOKING_MAX 4 /* the next are there when one is done */

struct store_order *order_new(enum store_order_kind kind, size_t room)
{
    struct store_order *order = calloc(1, sizeof(*order) + room);

    if (order)
        order->kind = kind;
    return order;
}

struct bytes order_keep(struct store_order *order, size_t *used, struct bytes bytes)
{
    uint8_t *at = (uint8_t *)(order + 1) + *used;

    bytes_copy(at, bytes);
    *used += bytes.size;
    return bytes_of(at, bytes.size);
}

void order_read_for(const struct broker *b, struct store_order *order, const struct member *member)
{
    struct writer w = writer_over(order->readers, sizeof(order->readers));
    const struct component *c = member->component;

    writer_bytes(&w, bytes_of(member->identity, SIGN_PUBLIC_SIZE));
    for (c = c ? registry_replaced(b->registry, c) : NULL; c && w.size < sizeof(order->readers);
         c = registry_replaced(b->registry, c))
        writer_bytes(&w, bytes_of(c->identity, SIGN_PUBLIC_SIZE));
    order->readers_size = w.size;
}

void order_forget_answer(struct store_order *order)
{
    order->code = 0;
    order->more = order->missed = false;
    order->count = 0;
    order->out.size = 0;
}

void order_give(struct broker *b, struct store_order *order)
{
    order->now_ms = b->now.real_ms;
    DL_APPEND(b->streams.orders, order);
}

/*
 * What looks at many rows waits behind what does not, and the store has few of it at a time, so
 * whoever stores waits for those few and not for everything that others want to read. They are
 * handed out in the order of their turns, and a component's next turn comes after its former one:
 * one with a thousand of them takes its place once among those that have one (start-time fair
 * queueing, Goyal, Vin and Cheng 1996, each order taken for equally long).
 */
void order_give_in_turn(struct broker *b, struct member *member, struct store_order *order)
{
    struct store_order *before = b->streams.waiting ? b->streams.waiting->prev : NULL;

    order->turn = MAX(b->streams.turn, member->read_turn);
    order->in_turn = true;
    member->read_turn = order->turn + 1;
    while (before && before->turn > order->turn)
        before = before == b->streams.waiting ? NULL : before->prev;
    if (before)
        DL_APPEND_ELEM(b->streams.waiting, before, order);
    else
        DL_PREPEND(b->streams.waiting, order);
}

void order_came_back(struct broker *b, struct store_order *order)
{
    b->streams.looking -= order->in_turn;
    order->in_turn = false;
}

/* Whether deletion @which is on its way; NULL without memory. */
static bool *deletion(struct broker *b, size_t which)
{
    struct stream_state *streams = &b->streams;

    if (streams->deleting_by != b->registry_generation) {
        bool *deleting = calloc(DELETION_RULES + registry_rule_count(b->registry), sizeof(bool));

        if (!deleting)
            return NULL;
        free(streams->deleting);
        streams->deleting = deleting;
        streams->deleting_by = b->registry_generation;
    }
    return &streams->deleting[which];
}

struct store_order *deletion_new(struct broker *b, enum store_order_kind kind, size_t which,
                                 size_t room)
{
    bool *is_on_its_way = deletion(b, which);
    struct store_order *order = is_on_its_way && !*is_on_its_way ? order_new(kind, room) : NULL;

    if (!order)
        return NULL;
    order->id = b->registry_generation;
    order->handle = which;
    *is_on_its_way = true;
    return order;
}

void deletion_done(struct broker *b, const struct store_order *order)
{
    if (order->id == b->registry_generation)
        b->streams.deleting[order->handle] = false;
}

bool orders_withdraw(struct broker *b, bool values, uint64_t whose)
{
    struct store_order *order, *next;
    bool read = false;

    DL_FOREACH_SAFE(b->streams.waiting, order, next)
    {
        bool is_of_values = order->kind == STORE_VALUE_READ;

        if (is_of_values != values || (values ? order->serial : order->handle) != whose)
            continue;
        read |= order->kind != STORE_FOLLOW;
        DL_DELETE(b->streams.waiting, order);
        store_order_free(&order);
    }
    return read;
}

void store_order_free(struct store_order **order)
{
    if (!*order)
        return;
    buffer_deinit(&(*order)->out);
    free(*order);
    *order = NULL;
}

struct store_order *broker_next_order(struct broker *b)
{
    struct store_order *order = b->streams.orders;

    if (order) {
        DL_DELETE(b->streams.orders, order);
        return order;
    }
    order = b->streams.looking < LOOKING_MAX ? b->streams.waiting : NULL;
    if (!order)
        return NULL;
    DL_DELETE(b->streams.waiting, order);
    b->streams.looking++;
    b->streams.turn = order->turn;
    order->now_ms = b->now.real_ms;
    return order;
}

void orders_free(struct broker *b)
{
    struct store_order *order;

    free(b->streams.deleting);
    b->streams.deleting = NULL;
    b->streams.looking = 0;
    while ((order = broker_next_order(b)) != NULL) {
        b->streams.looking = 0;
        if (order->topic_ref)
            topic_unref(order->topic_ref);
        store_order_free(&order);
    }
}

int store_row_put(struct buffer *out, const struct store_row *row)
{
    size_t size = 8 + 8 + 8 + 4 + SIGN_PUBLIC_SIZE + 1 + row->sender.size + 1 + row->topic.size +
                  2 + row->key.size + 4 + row->payload.size;
    struct writer w = writer_over(buffer_reserve(out, size), size);

    if (!w.at)
        return AICO_ENOMEM;
    writer_u64(&w, row->number);
    writer_u64(&w, row->stored_ms);
    writer_u64(&w, row->publish_id);
    writer_u32(&w, row->count);
    writer_bytes(&w, row->identity);
    writer_lp8(&w, row->sender);
    writer_lp8(&w, row->topic);
    writer_lp16(&w, row->key);
    writer_u32(&w, (uint32_t)row->payload.size);
    writer_bytes(&w, row->payload);
    if (w.failed)
        return AICO_ESTOREDAMAGED;
    out->size += w.size;
    return 0;
}

bool store_row_next(struct bytes *rest, struct store_row *ret)
{
    struct reader r = reader_over(*rest);
    struct store_row row = {0};

    if (rest->size == 0)
        return false;
    row.number = reader_u64(&r);
    row.stored_ms = reader_u64(&r);
    row.publish_id = reader_u64(&r);
    row.count = reader_u32(&r);
    row.identity = reader_bytes(&r, SIGN_PUBLIC_SIZE);
    row.sender = reader_lp8(&r);
    row.topic = reader_lp8(&r);
    row.key = reader_lp16(&r);
    row.payload = reader_bytes(&r, reader_u32(&r));
    if (r.failed)
        return false;
    *rest = bytes_of(r.at, r.left);
    *ret = row;
    return true;
}

int store_missed_put(struct buffer *out, const struct store_missed *m)
{
    size_t size = 5 * 8 + 2 + 1 + SIGN_PUBLIC_SIZE + 1 + m->sender.size + 1 + m->topic.size;
    struct writer w = writer_over(buffer_reserve(out, size), size);

    if (!w.at)
        return AICO_ENOMEM;
    writer_u64(&w, m->token);
    writer_u64(&w, m->count);
    writer_u64(&w, m->number);
    writer_u64(&w, m->publish_id);
    writer_u64(&w, m->told);
    writer_u16(&w, (uint16_t)-m->code);
    writer_u8(&w, m->one);
    writer_bytes(&w, m->identity);
    writer_lp8(&w, m->sender);
    writer_lp8(&w, m->topic);
    if (w.failed)
        return AICO_ESTOREDAMAGED;
    out->size += w.size;
    return 0;
}

bool store_missed_next(struct bytes *rest, struct store_missed *ret)
{
    struct reader r = reader_over(*rest);
    struct store_missed m = {0};

    if (rest->size == 0)
        return false;
    m.token = reader_u64(&r);
    m.count = reader_u64(&r);
    m.number = reader_u64(&r);
    m.publish_id = reader_u64(&r);
    m.told = reader_u64(&r);
    m.code = -(int)reader_u16(&r);
    m.one = reader_u8(&r) > 0;
    m.identity = reader_bytes(&r, SIGN_PUBLIC_SIZE);
    m.sender = reader_lp8(&r);
    m.topic = reader_lp8(&r);
    if (r.failed)
        return false;
    *rest = bytes_of(r.at, r.left);
    *ret = m;
    return true;
}

int store_statement_put(struct buffer *out, const uint8_t identity[SIGN_PUBLIC_SIZE],
                        struct bytes statement)
{
    size_t size = SIGN_PUBLIC_SIZE + 2 + statement.size;
    struct writer w = writer_over(buffer_reserve(out, size), size);

    if (!w.at)
        return AICO_ENOMEM;
    writer_bytes(&w, bytes_of(identity, SIGN_PUBLIC_SIZE));
    writer_lp16(&w, statement);
    out->size += w.size;
    return 0;
}

bool store_statement_next(struct bytes *rest, struct bytes *ret_identity,
                          struct bytes *ret_statement)
{
    struct reader r = reader_over(*rest);

    if (rest->size == 0)
        return false;
    *ret_identity = reader_bytes(&r, SIGN_PUBLIC_SIZE);
    *ret_statement = reader_lp16(&r);
    *rest = bytes_of(r.at, r.left);
    return !r.failed;
}
