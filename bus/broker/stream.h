/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stored messages in the broker core: what stream.c (publishers), durable.c (readers) and
 * statement.c (reading keys) share. Not included outside bus/broker.
 */
#ifndef BROKER_STREAM_H
#define BROKER_STREAM_H

#include "broker/internal.h"
#include "broker/store.h"
#include "wire/stream_record.h"

#define DURABLES_MAX 64 /* that one component follows at a time */
#define DEADLINE_MIN_MS 100
#define KEYS_STORING_MAX (ROWS_KEYS_MAX + ROWS_KEYS_MAX / 2) /* of one component on their way */
#define READ_BYTES ((size_t)256 * 1024)
#define LOSSES_OPEN_MAX 64
#define STREAMS_SWEEP_MS 60000
#define STREAMS_TIDY_MS 3600000
#define STREAMS_SAY_MS 1000

/* A message handed to a reader and not settled; or, in the list of a group, given back by one of
 * its members and not handed to another yet. */
struct handed {
    UT_hash_handle hh;          /* by number */
    struct handed *prev, *next; /* in the order of their numbers */
    uint64_t number;
    uint32_t attempts;
    uint64_t last;          /* handle of the member of its group it was with last */
    int64_t deadline_ms;    /* boot clock; MOMENT_NEVER: not sent in this session, or being read */
    bool former;            /* of a former session, and not sent in this one */
    struct ledger_row *row; /* it was sent in this session, and is counted there; else NULL */
    uint32_t count;         /* messages in it */
};

/* How far a reader is. */
struct durable_place {
    uint64_t reader;    /* id in the store */
    uint64_t position;  /* read up to there */
    uint64_t handed_to; /* a broker before us has handed out up to there */
    bool known;         /* the store has answered */
    bool reading, more;
    struct durable_losses { /* what it will not get: missed.c */
        uint64_t to;        /* handle of whom they were told */
        size_t open;        /* of them not answered */
        struct durable_loss {
            uint64_t token, count;
            struct ledger_row *row;
            enum broker_drop cause;
        } losses[LOSSES_OPEN_MAX];
        bool reading, more;
    } losses;
};

/*
 * One who follows stored messages. A named one outlives its session. A queue group (group.c) is one
 * that nobody follows by itself: its members do, each with its own session, window and messages,
 * and share its place.
 */
struct durable {
    struct durable *prev, *next;            /* broker.streams.durables */
    uint64_t handle;                        /* of orders: it may be gone when they come back */
    char component[COMPONENT_NAME_MAX + 2]; /* of a group: $ and its name */
    uint8_t name_size;
    char name[DURABLE_NAME_MAX];
    struct broker_peer *peer; /* NULL: away */
    uint64_t follow_id;
    uint32_t subscription;
    uint32_t session; /* rises when it comes or goes: what was read before is not for it */
    struct durable_place own, *at; /* its own, or its group's */
    struct durable *group;         /* it is a member of; NULL: none */
    bool is_group, is_member;      /* member: the store has answered, it takes part */
    uint64_t turn;                 /* member: when it was chosen last; group: how often one was */
    bool is_mailbox;               /* of its component, for as long as that is there: mailbox.c */
    uint32_t deadline_ms;
    uint16_t attempts_max, window;
    struct handed *handed, *handed_first;
    size_t former; /* of them: only attempts are remembered, the reader does not have them */
    uint8_t size;
    char filter[TOPIC_SIZE_MAX + 1]; /* canonical */
};

/* store.c */
/* An order with room for @room bytes of what it needs; NULL without memory. */
struct store_order *order_new(enum store_order_kind kind, size_t room);
/* Copies @bytes into the order's room; *used counts. */
struct bytes order_keep(struct store_order *order, size_t *used, struct bytes bytes);
/* It reads for @member: with what was left for it, and for the key it had before. */
void order_read_for(const struct broker *b, struct store_order *order, const struct member *member);
/* Before @order is given again: what came of it the last time. */
void order_forget_answer(struct store_order *order);
void order_give(struct broker *broker, struct store_order *order);
/* The same of one that looks at many rows, for @member. */
void order_give_in_turn(struct broker *broker, struct member *member, struct store_order *order);
void order_came_back(struct broker *broker, struct store_order *order);
/*
 * What deletes some, and is given again until nothing is left: one order of each of these is on its
 * way at a time, since others beside it would only make everybody wait longer. Another registry has
 * other rules, and does not wait for what the former one has on its way.
 */
enum deletion {
    DELETION_VOID,
    DELETION_MAIL,
    DELETION_VALUES,
    DELETION_SWEEP,
    DELETION_RULES, /* the first of them, by number */
};
/* The same as order_new() of deletion @which; NULL as well where one is on its way. */
struct store_order *deletion_new(struct broker *broker, enum store_order_kind kind, size_t which,
                                 size_t room);
/* @order is not given again. */
void deletion_done(struct broker *broker, const struct store_order *order);
/* What waits for its turn is not carried out: the reads of values of the session with serial
 * @whose, else those of the durable with handle @whose and its FOLLOW. Whether a read was among
 * them. */
bool orders_withdraw(struct broker *broker, bool values, uint64_t whose);
/* Those that were not handed out. */
void orders_free(struct broker *broker);

/* stream.c */
/* Takes a PUBLISH of delivery stream or retained by subscription, the rule of its topic stores; or
 * of delivery mailbox, for @receiver. Returns true when the credit it took is given back later. */
bool stream_publish(struct broker *broker, struct broker_peer *peer, const struct rule *rule,
                    struct topic *topic, struct member *receiver,
                    const struct record_publish *publish, uint32_t charge);
void stream_put_done(struct broker *broker, struct store_order *order);
/* The last number that was stored is told to who waits for it. */
void durables_stored(struct broker *broker, struct bytes topic);

/* durable.c */
/* True: it was given again, to go on. */
bool durable_followed(struct broker *broker, struct store_order *order);
void durable_read(struct broker *broker, struct store_order *order);
void durable_pump(struct broker *broker, struct durable *durable);

/* As the reader of an order of its own. NULL without memory. */
struct durable *durable_new(struct broker *broker, struct bytes component, struct bytes name,
                            struct bytes filter);
struct durable *durable_by_name(struct broker *broker, struct bytes component, struct bytes name);
void durable_free(struct broker *broker, struct durable *durable);
/* Message @number is read for @durable, which gets it once more. */
void durable_ask_again(struct broker *broker, struct durable *durable, struct handed *handed);
/* Asks for what follows for @durable, @count_max at most. */
void durable_read_on(struct broker *broker, struct durable *durable, size_t count_max);
/* @handed, which belongs to nobody, is @durable's; false without memory. */
bool handed_insert(struct durable *durable, struct handed *handed);
/* The opposite. */
void handed_take(struct durable *durable, struct handed *handed);

/* missed.c */
/* Something is new for readers that miss something. */
void missed_noted(struct broker *broker);
/* Tells @durable, or its group, what it has not been told. */
void missed_pump(struct broker *broker, struct durable *durable);
void missed_read(struct broker *broker, struct store_order *order);
/* @durable says that it has been told @token. */
void missed_told(struct broker *broker, struct durable *durable, uint64_t token);
/* @durable goes, with what it has not answered. */
void missed_left(struct durable *durable);

/* group.c */
/* The group of @follow, made if need be; NULL: refused. */
struct durable *group_get(struct broker *broker, struct broker_peer *peer,
                          const struct record_follow *follow, struct bytes filter);
/* @handed of @member is for another one. */
void group_return(struct broker *broker, struct durable *member, struct handed *handed);
void group_pump(struct broker *broker, struct durable *group);
/* Everything up to there is settled. */
uint64_t group_floor(struct broker *broker, const struct durable *group);
size_t group_members(struct broker *broker, const struct durable *group);
/* A member has left @group. False: with it, since the store does not know of @group, nor is anybody
 * waiting to hear that it does. */
bool group_left(struct broker *broker, struct durable *group);

/* mailbox.c */
#define MAIL_KEPT_MS ((int64_t)14 * 24 * 3600 * 1000) /* prekeys are erased then: PROTOCOL 9 */
void mailbox_stored(struct broker *broker, struct store_order *order);
/* Whether a message of @topic is to be handed to @durable, a mailbox's, now. */
bool mailbox_wants(struct broker *broker, const struct durable *durable, struct topic *topic,
                   uint64_t number);
/* @number leaves it; @code not 0: unread, and its owner is to be told why. */
void mailbox_take(struct broker *broker, const struct durable *durable, uint64_t number, int code);
/* What is void goes; where @former (NULL: none) was not done it goes on. */
void mailboxes_trim(struct broker *broker, const struct store_order *former);

/* durable.c, for missed.c */
struct durable *durable_by_handle(struct broker *broker, uint64_t handle);
/* Forgets message @number, which does not exist any more, if it is with @durable. */
void durable_gone(struct broker *broker, struct durable *durable, uint64_t number);

/* values.c */
/* What the store keeps of a value: until when. */
int64_t value_expires_ms(const struct broker *broker, const struct rule *rule, uint32_t ttl_ms);
void value_stored(struct broker *broker, struct store_order *order);
void values_read(struct broker *broker, struct store_order *order);
void values_trim(struct broker *broker);

/* durable.c, for whoever hands out what is stored */
/* Why what @sender said on @topic may not go to @peer, 0: it may. */
int stored_forbidden(struct broker *broker, const struct broker_peer *peer, struct topic *topic,
                     const struct member *sender, const char **ret_reason);
/* What opens @row goes to @peer before it. */
void stored_give_key(struct broker *broker, struct broker_peer *peer, const struct store_row *row,
                     const struct member *sender);

/* statement.c */
void statements_loaded(struct broker *broker, struct store_order *order);

#endif
