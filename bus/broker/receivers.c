/* SPDX-License-Identifier: Apache-2.0 */
/* To whom a message was routed, or for whom it was stored, for a publisher that waits for their
 * receipts. */
#include <stdlib.h>

#include "broker/stream.h"

/* The next numbers of @topic's readers from *@at on, announced to @publisher, at most
 * RECEIVERS_MAX. AICO_ENOMEM. */
static int take_numbers(struct broker *b, struct broker_peer *publisher, const struct topic *topic,
                        size_t *at, struct writer *to)
{
    int r = 0;

    for (; *at < topic->reader_count && to->size < to->capacity && r == 0; ++*at) {
        const struct recipient *reader = &topic->readers[*at];

        if (!recipient_gets(reader, publisher))
            continue;
        r = announce_member(b, publisher, reader->peer->member);
        writer_u32(to, reader->peer->member->number);
    }
    return r;
}

void receivers_tell(struct broker *b, struct broker_peer *publisher, const struct topic *topic,
                    uint64_t id, size_t count)
{
    uint8_t room[4 * RECEIVERS_MAX];
    struct record_receivers record = {.id = id, .total = (uint32_t)count};
    size_t at = 0, told = 0;

    do {
        struct writer numbers = writer_over(room, sizeof(room));
        struct writer w;

        if (take_numbers(b, publisher, topic, &at, &numbers) < 0) {
            peer_end_later(b, publisher, AICO_ENOMEM, "no memory to name a component");
            return;
        }
        record.numbers = writer_view(&numbers);
        told += numbers.size / 4;
        w = control_begin(b, publisher, RECORD_HEAD_SIZE + 12 + numbers.size);
        record_write_receivers(&w, &record);
        control_end(b, publisher, &w);
    } while (told < count);
}

/* --- of what was stored ----------------------------------------------------------------------- */

/* Numbers of components, which may come several times; 0: a queue group. */
struct receivers {
    struct broker *broker;
    struct broker_peer *publisher;
    const struct rule *rule;
    uint32_t *numbers;
    size_t count, capacity;
};

static int add_number(struct receivers *to, uint32_t number)
{
    if (to->count == to->capacity) {
        size_t capacity = MAX(2 * to->capacity, (size_t)16);
        uint32_t *numbers = realloc(to->numbers, capacity * sizeof(*numbers));

        if (!numbers)
            return AICO_ENOMEM;
        to->numbers = numbers;
        to->capacity = capacity;
    }
    to->numbers[to->count++] = number;
    return 0;
}

/* A durable reader's component, if it may read what it has kept a place for. */
static int add_component(struct receivers *to, struct bytes name)
{
    const struct component *component = registry_find_name(to->broker->registry, name);
    struct member *member;

    if (name.size > 0 && name.at[0] == '$')
        return add_number(to, 0);
    if (!component ||
        !component_is_active(to->broker->registry, component, to->broker->now.real_ms) ||
        !to->rule || !rule_allows(to->rule, component, RIGHT_SUBSCRIBE) ||
        bytes_equal_text(name, to->publisher->member->name))
        return 0;
    member = member_get(to->broker, name, component->identity);
    return member ? add_number(to, member->number) : AICO_ENOMEM;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* Each component once, each group for itself. */
static void sort_numbers(struct receivers *to)
{
    size_t kept = 0;

    if (to->count > 1)
        qsort(to->numbers, to->count, sizeof(*to->numbers), compare);
    for (size_t i = 0; i < to->count; i++)
        if (to->numbers[i] == 0 || kept == 0 || to->numbers[kept - 1] != to->numbers[i])
            to->numbers[kept++] = to->numbers[i];
    to->count = kept;
}

static int collect(struct receivers *to, const struct store_order *order)
{
    const struct topic *topic = order->topic_ref;
    struct reader names = reader_over(buffer_view(&order->out));
    const struct durable *d;
    int r = 0;

    for (size_t i = 0; i < topic->reader_count && r == 0; i++)
        if (order->number > 0 && recipient_gets(&topic->readers[i], to->publisher))
            r = add_number(to, topic->readers[i].peer->member->number);
    /* Who follows without a name is known to nobody else. */
    DL_FOREACH(to->broker->streams.durables, d)
    if (r == 0 && d->peer && d->name_size == 0 && !d->group && !d->is_mailbox &&
        filter_matches(bytes_of(d->filter, d->size), order->topic))
        r = add_component(to, bytes_text(d->component));
    while (r == 0 && names.left > 0)
        r = add_component(to, reader_lp8(&names));
    sort_numbers(to);
    return r;
}

static int tell_numbers(const struct receivers *to, uint64_t id)
{
    size_t at = 0;
    int r = 0;

    do {
        uint8_t room[4 * RECEIVERS_MAX];
        struct writer numbers = writer_over(room, sizeof(room));
        struct record_receivers record = {.id = id, .total = (uint32_t)to->count};
        struct writer w;

        for (; r == 0 && at < to->count && numbers.size < numbers.capacity; at++) {
            if (to->numbers[at] > 0)
                r = announce_member(to->broker, to->publisher,
                                    member_by_number(to->broker, to->numbers[at]));
            writer_u32(&numbers, to->numbers[at]);
        }
        record.numbers = writer_view(&numbers);
        w = control_begin(to->broker, to->publisher, RECORD_HEAD_SIZE + 12 + numbers.size);
        record_write_receivers(&w, &record);
        control_end(to->broker, to->publisher, &w);
    } while (r == 0 && at < to->count);
    return r;
}

void receivers_tell_stored(struct broker *b, struct broker_peer *publisher,
                           const struct store_order *order)
{
    struct receivers to = {
        .broker = b, .publisher = publisher, .rule = topic_rule(b, order->topic_ref)};
    int r = collect(&to, order);

    if (r == 0)
        r = tell_numbers(&to, order->id);
    free(to.numbers);
    if (r < 0)
        peer_end_later(b, publisher, AICO_ENOMEM, "no memory to name a component");
}
