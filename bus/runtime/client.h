/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the client's runtime share: struct aico_client joins the core (client/) with a
 * socket (transport/), the home's files (store/), the clock and the application's threads.
 *
 *   client.c          opening and closing
 *   client_home.c     what is read from the home
 *   client_reading.c  the keys that stored messages are sealed for
 *   client_thread.c   the thread that owns core and socket, and what a turn of it does
 *   client_drive.c    application threads that do its turns while they wait
 *   client_publish.c  the application's messages into the queue
 *   client_outbox.c   accepted messages that outlive the process
 *   client_inbox.c    received messages to the application
 *   client_call.c     questions an application thread waits on
 *
 * The driver owns everything under `core`: the thread, or an application thread in its place.
 * Application threads meet it only in what `lock` guards, which is held for short copies and never
 * while something is sealed, sent, read or written. The driver takes it once a turn: it hands out
 * what the turn brought and takes what was asked since.
 */
#ifndef RUNTIME_CLIENT_H
#define RUNTIME_CLIENT_H

#include <pthread.h>

#include <aico/client.h>
#include <aico/config.h>

#include "base/clock.h"
#include "base/pool.h"
#include "client/client.h"
#include "client/message.h"
#include "runtime/client_outbox.h"
#include "store/home.h"
#include "store/kept.h"
#include "transport/dealer.h"
#include "transport/wake.h"

#define CLIENT_RECEIVE_WINDOW (4u * 1024 * 1024)     /* bytes the broker may send ahead */
#define CLIENT_INBOX_LIMIT ((size_t)8 * 1024 * 1024) /* unread bytes: no further credit */
#define CLIENT_INBOX_HARD ((size_t)64 * 1024 * 1024) /* unread bytes: see inbox_put() */
#define CLIENT_QUEUE_LIMIT ((size_t)2 * 1024 * 1024) /* queued bytes: no room */
#define CLIENT_OUTBOX_LIMIT                                                                        \
    ((size_t)64 * 1024 * 1024) /* of the file, unless the application says */
#define CLIENT_VERDICTS 32     /* topics whose rule is remembered */
#define CLIENT_BUSY_COUNT 4    /* so many messages of one turn keep the application busy, */
#define CLIENT_BUSY_BYTES ((size_t)32 * 1024) /* and so much memory of them */
#define CLIENT_TURN_FRAMES_IN 64 /* of the link, at most, before others have their turn */
#define CLIENT_CALM_TURNS 8      /* so many turns with no more than those: it is not busy */

/* Everything an opening reads from the home. */
struct client_home {
    struct aico_config *config;
    struct identity *identity;
    struct registry *registry;         /* what the component starts with */
    struct secret *psk;                /* guarded; NULL: none */
    struct former_keys *former;        /* guarded; NULL: none */
    struct reading_keys *reading_keys; /* guarded; perhaps none */
    uint64_t generation;               /* the last one a message was sealed under */
    char *endpoint;
    char *software;
};

/* What the local registry says about our publishing on a topic. */
struct verdict {
    uint64_t registry_version; /* 0: an empty place */
    const struct rule *rule;   /* NULL: none decides */
    bool is_allowed;
    uint8_t topic_size;
    char topic[255];
};

/* One aico_settle(). */
struct verdict_given {
    uint64_t number;
    uint32_t subscription;
    int code;
    uint8_t reason_size;
    char reason[255];
};

struct inbox {
    struct aico_message *head, *tail; /* linked by message_link() */
    size_t bytes;
    uint64_t messages; /* without reports */
    uint64_t dropped;  /* direct messages, ever */
};

enum call_kind {
    CALL_SUBSCRIBE,
    CALL_FOLLOW,
    CALL_UNSUBSCRIBE,
    CALL_REQUEST,
    CALL_QUERY,
    CALL_PING,
    CALL_FLUSH,
    CALL_LEDGER
};

/* A question; lives on the stack of the thread that waits for it. */
struct call {
    struct call *next; /* in client->asked, then in client->answered */
    enum call_kind kind;
    int64_t timeout_ms;
    struct bytes subject; /* filter, topic, what, peer: the caller's */
    struct bytes body;    /* payload, argument */
    uint8_t policy;
    bool serve;
    struct bytes queue; /* the caller's */
    uint32_t subscription;
    uint64_t last_id; /* flush */
    struct follow_request follow;

    int64_t started_us; /* when the core got it */
    pthread_cond_t is_done_cond;
    bool is_done; /* everything below is the answer */
    int code;
    char text[301];
    struct aico_message *message;
    char *json;
    int64_t took_us;
};

/* Who does the turns: client_drive.c. */
struct drive {
    bool is_taken;               /* by the thread, or by an application thread */
    bool is_parked;              /* the thread leaves them to others */
    bool is_possible;            /* as of the last turn: the session stands */
    bool is_asleep;              /* the thread has taken it, sleeps and lends it */
    bool is_lent;                /* ... to an application thread that sends */
    bool is_due;                 /* something waits for the next turn that may wait for GRACE_MS */
    bool has_more;               /* the last turn had more to do */
    bool is_armed;               /* timer_fd */
    bool is_paced;               /* who drove last waited for longer than the timer */
    unsigned calm;               /* turns in a row that brought few messages */
    unsigned alone;              /* turns in a row that had one message to send */
    int timer_fd;                /* when the parked thread looks again */
    struct wake wake;            /* for the parked thread */
    int64_t left_ms;             /* wait_clock_ms() at which somebody drove last */
    int64_t sent_us;             /* wait_clock_us() at which a turn that sent was over */
    int64_t taken_ms;            /* wait_clock_ms() at which an application thread took it */
    struct candidate *candidate; /* an application thread that would drive; NULL: none */
};

struct aico_client {
    /* Never changes after aico_client_open(). */
    struct client_home home;
    uint64_t instance; /* of this run: its receipts name it */
    pthread_t thread;
    bool has_thread;
    struct outbox *outbox; /* NULL: there is none */
    size_t outbox_limit;
    struct wake wake;  /* for the driver */
    struct wake ready; /* aico_client_fd(): readable while the inbox is not empty or it is over */

    pthread_mutex_t lock;
    /* --- guarded by lock --- */
    pthread_cond_t changed;  /* the connection: ready, ended */
    pthread_cond_t arrived;  /* the inbox, or the end */
    pthread_cond_t has_room; /* the publish queue, or the end */
    pthread_cond_t left;     /* callers is 0 */
    pthread_cond_t returned; /* drive.is_lent is over */
    unsigned callers;        /* application threads that wait inside */
    struct drive drive;
    unsigned waiters;    /* of the callers: for a message or an answer, without driving */
    bool is_woken;       /* who drives, or must, was woken and has not looked yet */
    bool is_watched;     /* aico_client_fd() was asked for: `ready` is kept up to date */
    struct fifo queue;   /* struct outgoing: what the driver has not taken */
    size_t core_bytes;   /* queued in the core, as of its last turn */
    size_t outbox_bytes; /* in the outbox, or about to be */
    unsigned room_waiters;
    uint64_t next_id;    /* of the next message */
    uint64_t receipts;   /* asked for so far: the number of the last one */
    struct fifo read;    /* struct read_note: what the driver has not taken */
    struct fifo missed;  /* struct missed_place: the same of what cannot come */
    struct fifo settled; /* struct verdict_given: what the driver has not taken */
    struct inbox inbox;
    struct pool_taker messages; /* taken out of their bundles */
    bool is_backlogged;
    struct call *asked; /* in the order of asking */
    struct call **asked_end;
    struct registry *registry; /* in force */
    struct verdict verdicts[CLIENT_VERDICTS];
    struct verdict *last_verdict; /* one of them; NULL: none yet */
    bool is_ready;                /* the session has stood at least once */
    bool is_over;                 /* the thread serves no longer: why */
    int over_code;
    char over_text[301];
    int down_code; /* why the last attempt to connect failed; 0: none did */
    char down_text[496];
    bool is_closing; /* aico_client_close() was called: until when it waits */
    int64_t close_ms;
    struct aico_client_stats stats;
    uint64_t unsent, unacknowledged; /* in the core, as of its last turn */
    uint64_t taken;                  /* message_kept() of what the application took last */

    /* --- the driver's own --- */
    struct client *core;
    int64_t due_ms;        /* boot_ms of the next turn, if nothing happens before */
    struct fifo orders;    /* of `queue`, and its emptied chunks on their way back */
    struct dealer *dealer; /* NULL: no link */
    bool is_linked;        /* the core knows of the link */
    bool is_blocked;       /* the dealer has no room */
    bool has_sent;         /* in this turn */
    size_t keyless;        /* as struct aico_unsent says, and the first one's name */
    char keyless_name[COMPONENT_NAME_MAX + 1];
    struct inbox delivered;    /* by this turn */
    struct call *answered;     /* by this turn */
    struct registry *accepted; /* by this turn; NULL: none */
    uint64_t told_taken;       /* of `taken`, to the core */
    bool is_last_turn;         /* it closes, and all that was asked before has been taken */
    struct kept *kept;         /* what the core's sessions keep */
    struct keeper keeper;      /* over it */
    struct kept *replay;       /* what its durable readers have settled */
    struct keeper replay_keeper;
    struct file_stamp registry_stamp;
    char *registry_path;
};

/* --- client_home.c --- */

AICO_MUST_USE int client_home_load(const struct aico_client_options *options,
                                   struct client_home *ret_home, struct aico_error *err);
void client_home_deinit(struct client_home *home);
/* The settings of the core; what they point to is @home's. */
struct client_settings client_home_settings(const struct client_home *home, bool wait_for_broker);

/* --- client_reading.c --- */

/* Loads home->reading_keys, and makes a new key when one is due: some rule that leaves keys lets us
 * read. Errors of sealed_load() and sealed_save(). */
AICO_MUST_USE int client_reading_load(struct client_home *home, const struct registry *registry,
                                      struct aico_error *err);

/* What opens messages stored without `history`: kept, and given to a new core. Errors of
 * sealed_save() and sealed_load(), AICO_EFORMAT. */
AICO_MUST_USE int client_chains_keep(const struct client_home *home, struct bytes chains,
                                     struct aico_error *err);
AICO_MUST_USE int client_chains_load(const struct client_home *home, struct client *core,
                                     struct moment now, struct aico_error *err);

/* Of a former key of ours, they are sealed for this one from now on. Errors as above. */
AICO_MUST_USE int client_chains_follow(const struct client_home *home);

/* --- client_thread.c --- */

/* Waits for link and orders, at most @limit_ms and until the next turn is due, and for @busy_us of
 * it without sleeping; what happened. */
unsigned client_wait_for_events(struct aico_client *c, int64_t limit_ms, int64_t busy_us);
/* The same by the thread, which meanwhile lends what it owns to who sends: client_send(). */
unsigned client_wait_lending(struct aico_client *c, int64_t limit_ms);
/* One turn by an application thread that drives: it neither dials nor closes. */
void client_turn(struct aico_client *c, unsigned events, int frames_max);
/* Makes the core; aico_client_open() starts client_thread() then. */
AICO_MUST_USE int client_thread_prepare(struct aico_client *c,
                                        const struct aico_client_options *options,
                                        struct aico_error *err);
void *client_thread(void *client);
/* Frees what the thread owns, after it has ended. */
void client_thread_deinit(struct aico_client *c);

/* --- client_drive.c --- */

AICO_MUST_USE int drive_open(struct drive *ret_drive);
void drive_close(struct drive *drive);
/* By the thread, between two turns: makes room for an application thread that would drive, and
 * returns when it has to take over again. Whether it was away. */
bool client_park(struct aico_client *c);
/*
 * With the lock held, which is free meanwhile, by a caller that has entered: waits until @call is
 * answered (NULL: until there is a message), until @deadline_ms, or until the client ends; and
 * drives if it can. It may return early.
 *
 * @cond  what the driver signals
 * False when @deadline_ms (MOMENT_NEVER) of wait_clock_ms() is past.
 */
bool client_await(struct aico_client *c, const struct call *call, pthread_cond_t *cond,
                  int64_t deadline_ms);
/* With the lock held, which is free meanwhile, by a caller that has entered and queued something:
 * sends it, if nobody does a turn and nothing was sent just before; else wakes who drives. */
void client_send(struct aico_client *c);
/* With the lock held: as client_wake(), for what may wait until the caller waits, or 2 ms. */
void client_wake_later(struct aico_client *c);
/* With the lock held, before the caller waits for what only a driver does. */
void client_wake_driver(struct aico_client *c);
/* With the lock held: what wakes who drives, or must. */
const struct wake *client_who_drives(const struct aico_client *c);

/* --- client_inbox.c --- */

/* Appends @message, which is the inbox's from then on. */
void inbox_put(struct inbox *inbox, struct aico_message *message);
/* Moves all of @from behind what is in @to. */
void inbox_splice(struct inbox *to, struct inbox *from);
void inbox_deinit(struct inbox *inbox);

/* --- client_publish.c --- */

/* What aico_publish() checks before it queues: AICO_ETOPIC, AICO_ETOOLARGE, AICO_EDENIED... */
AICO_MUST_USE int client_may_publish(struct aico_client *c, struct bytes topic, size_t headers_size,
                                     size_t size, struct aico_error *err);

/* --- client.c: with the lock held ----------------------------------------------------------- */

void client_lock(struct aico_client *c);
void client_unlock(struct aico_client *c);
/* Makes the driver look at what was asked. */
void client_wake(struct aico_client *c);
/* Whether the client serves; else the reason, in @err and as result. */
AICO_MUST_USE int client_check(const struct aico_client *c, struct aico_error *err);
/* An application thread begins and ends to wait inside: it must not be freed meanwhile. */
void client_enter(struct aico_client *c);
void client_leave(struct aico_client *c);
/* Waits on @cond until @deadline_ms (MOMENT_NEVER) of wait_clock_ms(); false when it is past. */
bool client_wait(struct aico_client *c, pthread_cond_t *cond, int64_t deadline_ms);
int64_t wait_clock_ms(void); /* CLOCK_MONOTONIC */
int64_t wait_clock_us(void);
/* The deadline a timeout of the public functions means. */
int64_t wait_deadline(int64_t timeout_ms);
AICO_MUST_USE int wait_cond_init(pthread_cond_t *cond);

#endif
