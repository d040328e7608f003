/* SPDX-License-Identifier: Apache-2.0 */
/* To whom a message was routed, for a publisher that waits for their receipts. */
#include "broker/internal.h"

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
