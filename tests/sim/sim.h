/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator: one broker core and several client cores in one thread, under a seeded scheduler
 * that owns the clock, the network and the random numbers. A seed decides everything, so a seed
 * that fails, fails again.
 *
 *   schedule.c  what may happen now, and which of it does; time moves when nothing may
 *   network.c   links of frames that are late, full, cut
 *   node.c      a component: its client core, what its application does and is told
 *   owner.c     the registries
 *   workload.c  what the applications do, and what goes wrong
 *   oracle.c    the promises, checked at every step and at the end
 *   later.c     those of retained values, last wills and queue groups
 *   book.c      those of stored messages, and who reads them
 *   mail.c      those of mailboxes
 *   values.c    those of stored retained values
 *   store.c     the broker's store and its disk
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/keeper.h"
#include "broker/broker.h"
#include "client/client.h"
#include "session/settings.h"
#include "trust/registry.h"
#include "wire/record.h"

#define NODES 6
#define TOPICS 25
#define TOPICS_STORED 6 /* the last: of worlds with a store */
#define WORKERS 3       /* the first nodes: who reads q/... among them is of one queue group */
#define SUBSCRIPTIONS 12
#define SUBSCRIPTION_DURABLE (SUBSCRIPTIONS - 2) /* the one of stored messages */
#define SUBSCRIPTION_MAIL (SUBSCRIPTIONS - 1)    /* the one of mailboxes */
#define VERSIONS_MAX 256
#define START_MS 1763668800000
#define NUMBERS_MAX 512
#define PAYLOAD_MAX 200000

/* --- a seeded generator (SplitMix64) ---------------------------------------------------------- */

struct dice {
    uint64_t state;
};

static inline uint64_t dice_next(struct dice *dice)
{
    uint64_t z = dice->state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline uint64_t dice_below(struct dice *dice, uint64_t bound)
{
    return dice_next(dice) % bound;
}

/* One time in @of. */
static inline bool dice_one(struct dice *dice, uint64_t of)
{
    return dice_below(dice, of) == 0;
}

/* --- what is there ---------------------------------------------------------------------------- */

enum lane {
    LANE_BY_GROUP,   /* published, sealed for a group */
    LANE_IN_CLEAR,   /* published, not sealed */
    LANE_TO_READERS, /* published, a copy for each reader over its channel */
    LANE_TO_ONE,     /* addressed to one component */
    LANE_REQUEST,
    LANE_REPLY,
    LANE_VALUE,   /* published, sealed for a group, the last one kept for who comes later */
    LANE_WILL,    /* left with the broker */
    LANE_QUEUE,   /* published, sealed for a group, of which workers get one each */
    LANE_STORED,  /* published, sealed for a group, stored; in seeds with a store */
    LANE_MAIL,    /* addressed to one component's mailbox; in seeds with a store */
    LANE_KEPT,    /* as LANE_VALUE, stored; in seeds with a store */
    LANE_NOWHERE, /* no rule: to be refused */
};

struct sim_topic {
    const char *name;
    enum lane lane;
};
extern const struct sim_topic sim_topics[TOPICS];
int topic_index(const char *name);

/* A promise that is broken on purpose, between the cores and the oracle. */
enum breakage {
    BREAK_NOTHING,
    BREAK_DUPLICATE, /* one message is delivered twice */
    BREAK_LOSS,      /* one message is lost unsaid */
    BREAK_SWAP,      /* two messages change places */
    BREAK_LEAK,      /* one message reaches a component the rules exclude */
    BREAK_SENDER,    /* one message shows another sender */
    BREAK_PAYLOAD,   /* one byte of a message is changed */
    BREAK_TOPIC,     /* one message shows another topic */
    BREAK_GAP,       /* one report of a loss is not given */
    BREAK_DOUBLE,    /* one report of a loss is given twice */
    BREAK_REFUSAL,   /* one refusal is not told */
    BREAK_HANG,      /* one operation never ends */
    BREAK_REPLY,     /* one reply goes to another request */
    BREAK_VALUE,     /* one retained value is not shown */
    BREAK_AGAIN,     /* one retained value is shown again */
    BREAK_JOB,       /* one message for a queue group is lost unsaid */
    BREAK_JOBS,      /* one message for a queue group reaches two of it */
    BREAK_WILL,      /* one will is not told */
    BREAK_WILLS,     /* one will is told again */
    BREAK_UNMARKED,  /* one will looks like a message of the living */
    BREAK_DENIED,    /* one retained value is shown although it was refused */
    BREAK_UNSTORED,  /* one message is called stored, and is not */
    BREAK_FORGOTTEN, /* one stored message is not shown, and settled */
    BREAK_REPEAT,    /* one stored message is shown again without the mark */
    BREAK_BOOKS,     /* one stored message is left out of the books */
    BREAK_MAIL,      /* one message of a mailbox is taken, and not shown */
    BREAK_MAILS,     /* one message of a mailbox is shown again, which was taken */
    BREAK_MAILBOX,   /* mailboxes take more than they may */
    BREAK_LATE,      /* one stored value is not shown to who comes later */
    BREAK_OLDER,     /* one stored value is shown after a later one */
    BREAK_DELETED,   /* one empty stored value is shown to who comes later */
    BREAK_REVIVED,   /* one stored value is shown to who comes later after another's later one */
    BREAKAGES
};
extern const char *const breakage_names[BREAKAGES];

/* One application message of the whole run. */
struct sim_message {
    uint8_t sender, topic, lane;
    int8_t to; /* -1: by subscription */
    uint32_t incarnation;
    uint64_t app_id;
    uint32_t size;
    uint64_t pushed_step, settled_step; /* 0: not known to be answered */
    int64_t pushed_ms;
    int64_t expires_ms;       /* of the world; 0: never */
    int64_t skew_ms;          /* of its publisher's clock when it was pushed */
    uint64_t version;         /* of the publisher's registry when it was pushed */
    uint64_t settled_version; /* ... and when it was answered */
    bool has_headers, closing;
    bool refused;
    int refused_code;
    bool copy_refused[NODES];
    uint32_t delivered_to[NODES]; /* incarnation it was delivered to, 0: none */
    uint32_t answers;             /* reply: number of the request + 1 */
    uint32_t sessions;            /* will: links it was left on, and did not take back */
    uint8_t wills_told[NODES];    /* will: how often */
    bool has_worker;              /* a worker got it */
    bool unanswered;              /* when a broker died: the next one may get it again */
    struct stored_fate *stored;   /* of LANE_STORED */
    uint64_t kept;                /* mail: under which number its receiver has it on its disk */
    bool taken;                   /* mail: for good */
};

enum ticket_kind { TICKET_SUBSCRIBE, TICKET_UNSUBSCRIBE, TICKET_REQUEST, TICKET_OTHER };

/* An operation somebody waits for. */
struct ticket {
    struct ticket *next;
    struct node *node;
    enum ticket_kind kind;
    int64_t deadline_ms; /* of the world */
    bool done;
    int code;
    int subscription; /* index in node->subscriptions */
    uint32_t number;  /* request: of its message */
    uint32_t incarnation;
};

struct subscription {
    bool used, live, serve, durable;
    uint8_t policy;
    uint32_t number;
    uint64_t asked_step, live_step;
    char filter[64];
};

/* What one reader was told of one sender's losses. */
struct told {
    uint64_t gaps, unopened;
    uint64_t step; /* of the last */
    bool unknown;  /* a gap of unknown size */
};

struct pending_reply {
    struct pending_reply *next;
    int64_t due_ms;
    uint64_t request_id;
    uint8_t reference[16];
    uint32_t number;
    int to, topic;
};

struct node {
    struct world *world;
    int index;
    const char *name;
    struct identity *identity;
    struct dice dice;
    int64_t skew_ms, boot_ms;

    struct client *client; /* NULL: not running */
    uint32_t incarnation;  /* from 1 */
    uint64_t instance, next_app_id;
    struct registry *registry; /* on its disk */
    uint64_t generation;       /* on its disk */
    struct link *link;
    bool dialing, dirty, backlogged, over;
    bool unanswered;     /* something it pushed is not known to be */
    bool touched;        /* its core was called since @deadline_ms was asked */
    int64_t deadline_ms; /* of the core, by its boot clock */
    int64_t connect_ms, backlog_until_ms, restart_ms;
    uint64_t link_lost_step; /* of either side */
    int64_t ready_ms;        /* since when its session stands; MOMENT_NEVER: it does not */
    struct subscription subscriptions[SUBSCRIPTIONS];
    struct pending_reply *replies;
    struct inbox {
        struct inbox *next;
        struct aico_message *message;
    } * inbox, **inbox_end;
    bool answering; /* while the client is being freed, what it says no longer counts */

    /* Of its durable reader; these outlive it. */
    bool is_durable, stored_unopened; /* told of one that did not open */
    int64_t follow_ms, follow_deadline_ms;
    uint64_t settles, kept_settles; /* how often; up to which they are on its disk */
    struct pending_settle *settling;
    struct book_item *items;
    struct keeper keeper;
    struct kept_row *kept;
    struct buffer chains;

    /* Of its mailbox; on its disk. */
    struct reading_keys reading;
    struct keeper sessions_keeper;
    struct kept_row *sessions;
    uint64_t mail_told[NODES]; /* how many of whose messages it was told that it will not get */
    uint32_t mail_order[NODES][TOPICS]; /* number + 1 of the last */
    int64_t listen_ms, take_ms;
    int64_t unheard_ms;                 /* when it unsubscribed from its mailbox last; 0: never */
    uint64_t got;                       /* message_kept() of what came last */
    uint32_t kept_shown[NODES][TOPICS]; /* number + 1 of the last stored value, ever */
    uint32_t late[TOPICS]; /* number + 1 of the stored value shown since it subscribed at last */

    /* of this incarnation */
    struct told told[NODES][TOPICS], told_channel[NODES];
    uint32_t shown[NODES][TOPICS]; /* number + 1 of the last value since it subscribed */
    uint32_t will;                 /* number + 1; 0: it leaves none, or was refused it */
    uint64_t tally_received, tally_gaps, tally_refused, tally_unopened;
    uint32_t last_order[NODES][TOPICS][2]; /* number + 1 of the last message: published, over the
                                              channel */
    bool published_on[TOPICS];
    bool listened[NODES][TOPICS]; /* it was handed a stored value that had just been said */
    uint64_t asked_step[TOPICS];  /* when it first wanted to read it; 0: never */
};

struct frame {
    struct frame *next;
    int64_t due_ms;
    size_t size;
    uint8_t data[];
};

struct pipe {
    struct frame *head, *tail;
    size_t bytes, capacity;
    int64_t last_due_ms;
};

struct link {
    struct link *next;
    struct node *node;
    struct broker_peer *peer;
    bool client_side, broker_side; /* who still holds it */
    bool cut, ended;               /* ended: by the broker, which may not have told yet */
    int64_t client_notices_ms, broker_notices_ms; /* MOMENT_NEVER: does not */
    bool broker_blocked;
    struct pipe up, down;
    char *topics[NUMBERS_MAX], *components[NUMBERS_MAX]; /* as the broker numbered them */
};

struct options {
    uint64_t steps;       /* actions of the applications */
    bool verbose, stores; /* stores: the broker has a store */
    enum breakage breakage;
};

struct world {
    struct options options;
    uint64_t seed, step, trace;
    struct dice dice;
    int64_t now_ms;        /* since START_MS */
    struct broker *broker; /* NULL: it is down */
    int64_t broker_start_ms;
    uint64_t broker_lost_step;
    struct broker_settings broker_settings;
    bool stores;             /* the broker has one */
    uint64_t values_step;    /* when values_late() began; 0: not yet */
    struct sim_store *store; /* while it runs */
    uint64_t power_lost_step, counted_stored;
    uint64_t stored_deliveries, stored_again, stored_owed;
    uint64_t mail_owed, mail_named, values_owed, values_named;
    uint64_t broker_kills, power_cuts, node_kills;
    bool broker_dirty, draining;
    struct session_settings session; /* what all components have in common */
    bool rotates;                    /* generations also end by their age */
    struct node nodes[NODES];
    struct told crew_told[NODES][TOPICS]; /* what all runs of all workers were told */
    struct link *links;
    struct registry *versions[VERSIONS_MAX]; /* [v] */
    uint64_t version;                        /* the newest: what the broker has, or will have */
    struct sim_message *messages;
    size_t message_count, message_capacity;
    struct ticket *tickets;
    int64_t delay_max_ms;
    unsigned shrink; /* messages and limits are this many powers of two smaller */
    bool calm;
    int64_t next_action_ms;
    uint64_t actions;
    uint64_t deliveries, losses, refusals, requests, replies, reconnects;
    bool broke;                /* the breakage has happened */
    struct aico_message *held; /* BREAK_SWAP */
    int held_by;
    bool failed;
    char failure[512];
};

/* What a run found; @ret_failure is untouched when nothing was. */
struct run_result {
    bool failed, broke;
    uint64_t trace, deliveries, losses, refusals, requests, replies, messages, reconnects;
    uint64_t broker_kills, power_cuts, node_kills, stored_deliveries, stored_again, stored_owed;
    uint64_t mail_owed, mail_named, values_owed, values_named;
    int64_t virtual_ms;
    char failure[512];
};
void sim_run(uint64_t seed, const struct options *options, struct run_result *ret_result);

void sim_fail(struct world *w, const char *text, ...) __attribute__((format(printf, 2, 3)));
/* One line of the trace, which -v prints; else it counts for the hash of the run. Takes %s, %d, %u,
 * %zu, %llu and %lld. */
void sim_note(struct world *w, const char *text, ...) __attribute__((format(printf, 2, 3)));

/* cheap.c */
/* Before the first identity is made; there is no way back. */
void cheap_begin(void);

/* schedule.c */
/* Until @until_ms, or the actions are used up when @until_ms is MOMENT_NEVER. */
void schedule_run(struct world *w, int64_t until_ms);
struct moment node_moment(const struct node *node);
/* The wall clock steps, forwards or back: any two are never more than 29 s apart, since who is
 * further off than the bound is refused. */
void node_set_clock(struct node *node);
struct moment broker_moment(const struct world *w);

/* network.c */
void link_connect(struct node *node);
void link_cut(struct world *w, struct link *link);
void link_close_client(struct link *link);
void link_close_broker(struct world *w, struct link *link);
void links_sweep(struct world *w);
void links_free(struct world *w);
void pipe_down_deliver(struct world *w, struct link *link);
void pipe_up_deliver(struct world *w, struct link *link);
void client_output(struct node *node);
void broker_output(struct world *w);
/* What happened in the broker since. */
void broker_events(struct world *w);
void broker_start(struct world *w);
enum store_end { STORE_END_ORDERLY, STORE_END_KILLED, STORE_END_POWER };
void broker_stop(struct world *w, enum store_end end);

/* node.c */
void node_start(struct node *node);
/* @orderly: it says goodbye. */
void node_stop(struct node *node, bool orderly);
/* After every call into the core. */
void node_settle(struct node *node);
void node_publish(struct node *node, int topic, int to, size_t size, bool closing);
void node_reply(struct node *node, struct pending_reply *reply);
void node_request(struct node *node, int topic, size_t size, int64_t timeout_ms);
void node_subscribe(struct node *node, const char *filter, uint8_t policy, bool serve);
void node_unsubscribe(struct node *node, int index);
struct ticket *ticket_new(struct node *node, enum ticket_kind kind, int64_t timeout_ms);
struct subscription *node_find_subscription(struct node *node, const char *topic, bool live);

/* owner.c */
void owner_begin(struct world *w);
void owner_change(struct world *w);
void owner_end(struct world *w);
/* The process's identities; made once. */
struct identity *owner_identity(int node);
const char *owner_node_name(int node);
void owner_identities_free(void);
bool owner_allows(const struct world *w, uint64_t version, int sender, int reader, int topic);
bool owner_is_active(const struct world *w, uint64_t version, int node);

bool owner_may_read(const struct world *w, int reader, int topic);

/* store.c; nothing where the seed has no store */
enum store_stage { STORE_STAGE_WORK, STORE_STAGE_ANSWER };
bool store_is_due(const struct world *w, enum store_stage stage, int64_t *ret_due_ms);
void store_format(struct world *w);
void store_start(struct world *w);
void store_take(struct world *w);
void store_work(struct world *w);
void store_answer(struct world *w);
void store_stop(struct world *w, enum store_end end);

/* book.c */
const struct keeper *book_keeper(struct node *node);
int book_keep_chains(void *context, struct bytes chains);
void book_follow(struct node *node);
/* The subscription did not come about, or ended. */
void book_lost(struct node *node);
int64_t book_settle_due(const struct node *node);
void book_settle(struct node *node);
/* Its process ended. */
void book_ended(struct node *node);
void book_free(struct node *node);
void book_new(struct sim_message *m);
void book_delivered(struct node *reader, const struct aico_message *message, struct sim_message *m);
bool book_break(struct node *node, struct aico_message *message);
void book_check_books(struct world *w, const struct broker_totals *totals);
void book_accounts(struct world *w);
/* Rows on a disk, in the order of their keys. */
void rows_set(struct kept_row **rows, const struct keep_change *change);
bool rows_have(const struct kept_row *rows, struct bytes key);
int rows_read(const struct kept_row *rows,
              int (*take)(void *to, struct bytes key, struct bytes value), void *to);
void rows_free(struct kept_row **rows);

/* mail.c */
void mail_begin(struct world *w);
/* What a process finds on its disk. */
void mail_settings(struct node *node, struct session_settings *settings);
/* Its application listens, or takes what came. */
void mail_listen(struct node *node);
void mail_take(struct node *node);
/* The subscription did not come about, or ended. */
void mail_lost(struct node *node);
/* Its process ended. */
void mail_ended(struct node *node);
void mail_free(struct node *node);
void mail_publish(struct node *node, int topic, int to, size_t size, bool closing);
void mail_delivered(struct node *node, struct aico_message *message, struct sim_message *m);
void mail_loss(struct node *node, int sender, int topic, uint64_t count);
/* A publisher was answered @m. */
void mail_answered(struct world *w, const struct sim_message *m);
/* Whether @message, which came, is shown as it is. */
bool mail_break(struct node *node, struct aico_message *message, const struct sim_message *m);
/* In calm everybody writes to somebody. */
void mail_close(struct world *w);
void mail_accounts(struct world *w);

/* values.c */
void values_handed_out(struct node *node, int sender, int topic,
                       const struct record_deliver *deliver);
void values_delivered(struct node *node, const struct aico_message *message,
                      const struct sim_message *m);
void values_answered(struct world *w, const struct sim_message *m);
bool values_break(struct node *node, struct aico_message *message, const struct sim_message *m);
/* Whether @message was taken over, not to be shown by the caller. */
bool values_hold(struct node *node, struct aico_message *message, const struct sim_message *m);
/* Near the end: values are published, the broker or their publishers may die, and who comes later
 * has the last ones. */
void values_late(struct world *w);

/* workload.c */
void workload_begin(struct node *node);
void workload_act(struct world *w);
void workload_calm(struct world *w);
void workload_close(struct world *w);

/* later.c */
void later_subscribed(struct node *node, const char *filter);
void later_value(struct node *reader, const struct aico_message *message,
                 const struct sim_message *m);
void later_will(struct node *reader, const struct aico_message *message, struct sim_message *m);
void later_job(struct node *reader, struct sim_message *m);
/* @topic may be no one's (-1); @count 0: not known. */
void later_loss(struct node *reader, int sender, int topic, uint64_t count);
/* Whether @message, which came, is shown as it is. */
bool later_break(struct node *node, struct aico_message *message, const struct sim_message *m);
void later_accounts(struct world *w);
/* The last act: somebody who left a will dies. */
void later_death(struct world *w);
bool is_worker(const struct node *node);

/* oracle.c */
void oracle_tell(struct node *node, struct aico_message *message);
bool oracle_allowed_throughout(const struct world *w, const struct sim_message *m, int reader);
bool oracle_was_away(const struct node *reader, const struct sim_message *m);
void oracle_delivered(struct node *reader, struct aico_message *message);
void oracle_handed_out(struct world *w, const struct link *link, const char *sender,
                       const char *topic, const struct record_deliver *deliver);
void oracle_done(struct ticket *ticket, const struct client_answer *answer);
void oracle_step(struct world *w);
void oracle_node(struct node *node);
void oracle_calm(struct world *w);
void oracle_accounts(struct world *w);
/* Writes the payload of message @number, at most PAYLOAD_MAX bytes; no two messages of a run have
 * the same. */
void payload_write(uint32_t number, uint8_t *to, size_t size);
bool payload_is(uint32_t number, const uint8_t *at, size_t size);

#endif
