/* SPDX-License-Identifier: Apache-2.0 */
/* A broker core with a store in memory, for tests of what is stored; as world.h. */
#ifndef TEST_BROKER_STREAM_WORLD_H
#define TEST_BROKER_STREAM_WORLD_H

#include "world.h"

#include "broker/store.h"
#include "wire/topic.h"

#define STREAM_RULES                                                                               \
    "st/** publish a subscribe b,c seal none| store count=100\n"                                   \
    "open/** publish * subscribe * seal none\n"
#define STORED_MAX 64
#define DEADLINE 5000

/* The store: what a real one would hold on its disk. */
static struct stored {
    uint64_t position;
    uint8_t scope[STORE_SCOPE_SIZE], identity[32];
    char topic[64], payload[64], sender[65];
    bool gone;
} stored[STORED_MAX];
static size_t stored_count;
static bool settled[STORED_MAX + 1], buried[STORED_MAX + 1];
static uint64_t reader_floor;
static bool has_reader;
static struct store_missed missed[4]; /* token 0: none */
static bool noted;                    /* one of them is new */
static char statement[64];            /* the last reading key, and whose it is */
static uint8_t statement_of[32], keys_of[32];
static size_t keys_size; /* of the last KEYS */
static int fails = -1;   /* the kind of order that fails ... */
static int fails_with = AICO_ESTORE;
static int disk; /* 0, or what every transaction ends with */

static inline void put(struct store_order *o)
{
    for (size_t i = 0; i < stored_count; i++)
        if (memcmp(stored[i].scope, o->scope, sizeof(o->scope)) == 0 &&
            bytes_equal_text(o->topic, stored[i].topic) && stored[i].position >= o->position) {
            o->number = 0;
            return;
        }
    assert_true(stored_count < STORED_MAX);
    stored[stored_count] = (struct stored){.position = o->position};
    memcpy(stored[stored_count].scope, o->scope, sizeof(o->scope));
    memcpy(stored[stored_count].identity, o->identity, 32);
    bytes_copy(stored[stored_count].topic, o->topic);
    bytes_copy(stored[stored_count].payload, o->data);
    bytes_copy(stored[stored_count].sender, o->sender);
    o->number = ++stored_count;
}

static const char *const *durable_components; /* ends with NULL; NULL: there are none */

static inline void name_readers(struct store_order *o)
{
    for (const char *const *name = durable_components; name && *name; name++) {
        uint8_t room[80];
        struct writer w = writer_over(room, sizeof(room));

        writer_lp8(&w, bytes_text(*name));
        assert_int_equal(buffer_append(&o->out, writer_view(&w)), 0);
    }
}

static inline void row(struct store_order *o, size_t i)
{
    struct store_row r = {
        .number = i + 1,
        .stored_ms = 1,
        .publish_id = stored[i].position,
        .count = 1,
        .identity = bytes_of(stored[i].identity, 32),
        .sender = bytes_text(stored[i].sender),
        .topic = bytes_text(stored[i].topic),
        .payload = bytes_text(stored[i].payload),
    };

    assert_int_equal(store_row_put(&o->out, &r), 0);
}

static inline void read_all(struct store_order *o)
{
    size_t count = 0;

    for (size_t i = (size_t)o->after; i < stored_count; i++) {
        if (count >= o->count_max) {
            o->more = true;
            return;
        }
        o->after = i + 1;
        if (stored[i].gone || (o->reader && settled[i + 1]) ||
            !filter_matches(o->filter, bytes_text(stored[i].topic)))
            continue;
        row(o, i);
        count++;
    }
}

static inline bool is_among(struct bytes numbers, uint64_t number)
{
    struct reader r = reader_over(numbers);

    while (r.left > 0)
        if (reader_u64(&r) == number)
            return true;
    return false;
}

static inline void tell_missed(struct store_order *o)
{
    for (size_t i = 0; i < COUNT_OF(missed); i++) {
        struct store_missed *m = &missed[i];

        if (m->token == 0 || is_among(o->name, m->token) ||
            (m->one && is_among(o->data, m->number)))
            continue;
        assert_int_equal(store_missed_put(&o->out, m), 0);
        m->told++;
    }
}

/* Message @number is removed, of which nobody has got @count. */
static inline void lose(uint64_t token, uint64_t number, uint64_t count, int code, bool one)
{
    struct stored *s = &stored[number - 1];

    s->gone = noted = true;
    missed[token - 1] = (struct store_missed){
        .token = token,
        .count = count,
        .number = number,
        .publish_id = s->position,
        .code = code,
        .one = one,
        .identity = bytes_of(s->identity, 32),
        .sender = bytes_text(s->sender),
        .topic = bytes_text(s->topic),
    };
}

static inline void carry_out(struct store_order *o)
{
    o->missed = noted;
    noted = false;
    if (disk < 0 && o->kind != STORE_READ && o->kind != STORE_READ_ONE) {
        o->code = disk;
        (void)snprintf(o->text, sizeof(o->text), "the disk says no");
        return;
    }
    if ((int)o->kind == fails) {
        o->code = fails_with;
        return;
    }
    switch (o->kind) {
    case STORE_PUT:
        put(o);
        if (o->names_readers)
            name_readers(o);
        break;
    case STORE_FOLLOW:
        o->reader = o->name.size > 0 ? 1 : 0;
        o->floor = has_reader && o->reader  ? reader_floor
                   : o->start == FOLLOW_ALL ? 0
                                            : stored_count;
        has_reader |= o->reader == 1;
        if (o->reader && reader_floor < o->floor)
            reader_floor = o->floor;
        break;
    case STORE_BURY:
        buried[o->number] = true;
        /* fall through */
    case STORE_SETTLE:
        settled[o->number] = true; /* 0: only the floor moves */
        for (size_t i = 0; i < COUNT_OF(missed); i++)
            if (missed[i].one && missed[i].number == o->number)
                missed[i].token = 0; /* it was got */
        reader_floor = o->floor > reader_floor ? o->floor : reader_floor;
        break;
    case STORE_READ:
        read_all(o);
        break;
    case STORE_READ_ONE:
        if (stored[o->number - 1].gone)
            o->code = AICO_ENOTFOUND;
        else
            row(o, (size_t)o->number - 1);
        break;
    case STORE_LOAD:
        if (statement[0] != '\0')
            assert_int_equal(store_statement_put(&o->out, statement_of, bytes_text(statement)), 0);
        break;
    case STORE_STATEMENT:
        memcpy(statement_of, o->identity, sizeof(statement_of));
        memset(statement, 0, sizeof(statement));
        bytes_copy(statement, o->data);
        break;
    case STORE_KEYS:
        memcpy(keys_of, o->identity, sizeof(keys_of));
        keys_size = o->data.size;
        break;
    case STORE_MISSED:
        tell_missed(o);
        break;
    case STORE_MISSED_TAKE:
        for (size_t i = 0; i < COUNT_OF(missed); i++)
            if (missed[i].token == o->number)
                missed[i].token = 0;
        break;
    default:
        break;
    }
}

/* Carries out what the core has ordered, and brings it back. */
static inline void work(struct world *w)
{
    struct store_order *o, *list;

    while ((o = broker_next_order(w->broker)) != NULL) {
        carry_out(o);
        o->next = NULL;
        o->prev = o;
        list = o;
        broker_orders_done(w->broker, w->now, list);
    }
    pump(w);
}

static inline void begin_with(struct world *w, const char *rules)
{
    struct broker_settings settings;

    broker_settings_default(&settings);
    settings.has_store = true;
    world_init_with(w, &settings, COMPONENTS, rules);
}

static inline void begin(struct world *w)
{
    begin_with(w, STREAM_RULES);
    work(w);
}

static inline void empty_store(void)
{
    memset(stored, 0, sizeof(stored));
    memset(settled, 0, sizeof(settled));
    memset(buried, 0, sizeof(buried));
    memset(missed, 0, sizeof(missed));
    noted = false;
    stored_count = 0;
    reader_floor = 0;
    has_reader = false;
    statement[0] = '\0';
    keys_size = 0;
    disk = 0;
    durable_components = NULL;
}

/* A world with an empty store. */
static inline void begin_empty(struct world *w)
{
    empty_store();
    begin(w);
}

static inline uint64_t store_one(struct client *c, const char *topic, const char *payload)
{
    return send_publish(c, (struct record_publish){.delivery = DELIVERY_STREAM,
                                                   .topic_name = bytes_text(topic),
                                                   .payload = bytes_text(payload)});
}

static inline uint32_t ask_to_follow(struct client *c, const char *name, uint16_t attempts,
                                     uint16_t window)
{
    struct writer frame = frame_begin();
    uint32_t number = ++c->next_subscription;

    record_write_follow(&frame, &(struct record_follow){.id = c->next_id++,
                                                        .subscription = number,
                                                        .start = FOLLOW_ALL,
                                                        .deadline_ms = DEADLINE,
                                                        .attempts = attempts,
                                                        .window = window,
                                                        .name = bytes_text(name),
                                                        .filter = bytes_text("st/**")});
    client_send(c, &frame);
    return number;
}

static inline uint32_t follow_with(struct client *c, const char *name, uint16_t attempts,
                                   uint16_t window)
{
    uint32_t number = ask_to_follow(c, name, attempts, window);

    work(c->world);
    return number;
}

static inline uint32_t follow(struct client *c, const char *name)
{
    uint32_t number = follow_with(c, name, 3, 16);
    struct item *ok = take(c, RECORD_OK);

    assert_non_null(ok);
    assert_int_equal(ok->value, number);
    item_free(ok);
    return number;
}

static inline uint32_t join_with(struct client *c, uint16_t attempts, uint16_t window)
{
    struct writer frame = frame_begin();
    uint32_t number = ++c->next_subscription;
    struct item *ok;

    record_write_follow(&frame, &(struct record_follow){.id = c->next_id++,
                                                        .subscription = number,
                                                        .start = FOLLOW_ALL,
                                                        .deadline_ms = DEADLINE,
                                                        .attempts = attempts,
                                                        .window = window,
                                                        .name = bytes_text("jobs"),
                                                        .filter = bytes_text("st/**"),
                                                        .queue = bytes_text("work")});
    client_send(c, &frame);
    work(c->world);
    ok = take(c, RECORD_OK);
    assert_non_null(ok);
    item_free(ok);
    return number;
}

static inline void settle(struct client *c, uint32_t subscription, uint64_t number, int code,
                          bool retry)
{
    struct writer frame = frame_begin();

    record_write_settle(&frame, &(struct record_settle){.subscription = subscription,
                                                        .number = number,
                                                        .code = (uint16_t)-code,
                                                        .retry = retry});
    client_send(c, &frame);
    work(c->world);
}

/* The next item is @number, for the @attempt-th time. */
static inline void expect_item(struct client *c, uint64_t number, uint64_t attempt)
{
    struct item *item = take(c, RECORD_ITEM);

    if (!item)
        fail_msg("no item, but %llu was expected", (unsigned long long)number);
    assert_int_equal(item->id, number);
    assert_int_equal(item->count, attempt);
    assert_int_equal(item->delivery, DELIVERY_STREAM);
    assert_string_equal(item->sender, "a");
    item_free(item);
}

#endif
