/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker core: bytes and the time in, bytes out. It has no sockets, clocks, threads or files;
 * runtime and the simulator give it frames and moments and carry its frames away.
 *
 * One thread owns a struct broker and everything it hands out. What it knows of the outside: a link
 * is a struct broker_peer, opened when the transport has authenticated it. It never holds a key
 * that opens an envelope, and nothing a peer sends is believed, kept without a limit, or able to
 * stop it.
 *
 * The loop of its owner:
 *
 *   for each frame that arrived     broker_peer_receive()
 *   broker_work()                   true: another turn is due at once
 *   while broker_next_frame()       send; then broker_frame_sent() or broker_frame_blocked()
 *   while broker_next_kick()        cut the link; then broker_peer_gone()
 *   while broker_next_event()       log
 *   wait until broker_deadline()    broker_tick()
 */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include <aico/error.h>

#include "base/bytes.h"
#include "base/clock.h"

struct broker;
struct broker_peer;
struct buffer;
struct registry;

#define BROKER_KICK_GRACE_MS 200 /* how long a BYE may wait for a link that takes nothing */
#define BROKER_INSTANCE_KEPT_MS (10 * 60 * 1000) /* after its link was lost */

struct broker_settings {
    const char *name;     /* of the broker, shown in WELCOME; NULL: the registry's broker; copied */
    const char *software; /* shown in WELCOME and status; copied */
    size_t max_connections; /* links at once, HELLO or not */
    size_t max_connections_per_component;
    size_t max_topics;        /* topics that get a number; others go by name */
    size_t max_subscriptions; /* per link */
    size_t max_requests;      /* unanswered, per requester */
    size_t publish_rate;      /* PUBLISH records a second and component; 0: no limit */
    size_t max_retained;      /* topics whose last value is kept */
    size_t retained_limit;    /* bytes of all those values */
    size_t max_message_size;  /* bytes of content; envelopes may be larger by what sealing adds */
    size_t outbox_limit;      /* bytes by subscription that may wait for one reader */
    size_t mailbox_limit;     /* bytes kept for one component that is away */
    size_t value_limit;       /* bytes of stored values of one component */
    size_t direct_limit;     /* bytes addressed by name that may wait for one reader, + 1 message */
    size_t control_limit;    /* bytes of the broker's own records that may wait for one reader */
    uint32_t publish_window; /* bytes of PUBLISH a client may have in flight */
    bool has_store;          /* whoever runs it carries out store orders: broker/store.h */
    int64_t hello_timeout_ms;      /* HELLO must come within this time of the link */
    int64_t keepalive_interval_ms; /* silence after which a PING is sent */
    int64_t ack_delay_ms; /* an ACK nobody asked for waits at most so long for a frame; 0: not */
};
/* What an unconfigured broker uses. */
void broker_settings_default(struct broker_settings *ret_settings);

/*
 * @settings  copied; limits too small to work with are raised to the least that works
 * @registry  a reference is taken
 * Returns 0, AICO_ENOMEM.
 */
AICO_MUST_USE int broker_new(const struct broker_settings *settings, struct registry *registry,
                             struct moment now, struct broker **ret_broker);
/* Frees every peer too: their pointers are dead afterwards. */
void broker_free(struct broker **broker);

/* --- links ---------------------------------------------------------------------------------- */

/*
 * A link the transport has authenticated.
 *
 * @name      component name of its User-Id; @identity: the Ed25519 key the registry gives its CURVE
 *            key; @address: for people; all copied. @cookie: the caller's, never looked at
 * @ret_code  why there is no peer
 *
 * Returns a peer that lives until broker_peer_gone(), or NULL with AICO_EREVOKED, AICO_EUNKNOWN
 * (the registry in force does not name it), AICO_EQUOTA (max_connections, or that of one
 * component), AICO_ERATE (it comes again and again), AICO_EDRAIN, AICO_ENOMEM.
 */
struct broker_peer *broker_peer_open(struct broker *broker, struct moment now, struct bytes name,
                                     const uint8_t identity[32], const char *address, void *cookie,
                                     int *ret_code);
/*
 * One frame from @peer. A breach of the protocol queues a BYE and marks the peer for
 * broker_next_kick(); the code it was told is returned, else 0. Frames of a peer that is being
 * kicked are ignored. What costs more than a slice of work is copied and left to broker_work().
 */
int broker_peer_receive(struct broker *broker, struct moment now, struct broker_peer *peer,
                        struct bytes frame);
/*
 * Goes on with what peers had sent and their slices did not reach, each in turn, for a bounded
 * time: whoever sends without end does not make the others wait. Call it once a turn. True: more is
 * left.
 */
bool broker_work(struct broker *broker, struct moment now);
/* The link is lost or was cut: @peer is no longer the caller's. What waited for it is counted as
 * dropped; what it had sent is still worked off. */
void broker_peer_gone(struct broker *broker, struct moment now, struct broker_peer *peer);

void *broker_peer_cookie(const struct broker_peer *peer);
const char *broker_peer_name(const struct broker_peer *peer);
const char *broker_peer_address(const struct broker_peer *peer);
/* HELLO was accepted and the peer is not being kicked. */
bool broker_peer_is_ready(const struct broker_peer *peer);

/* --- output --------------------------------------------------------------------------------- */

/*
 * The next frame somebody can be sent. Peers take turns. @ret_frame is valid until the next call of
 * any broker function, which must be broker_frame_sent() or broker_frame_blocked() of @ret_peer
 * (anything else counts as blocked for this turn, and the frame is built again later).
 */
bool broker_next_frame(struct broker *broker, struct moment now, struct broker_peer **ret_peer,
                       struct bytes *ret_frame);
/* The transport took the frame. */
void broker_frame_sent(struct broker *broker, struct broker_peer *peer);
/* The transport has no room: nothing of the frame is lost, and @peer gets no further turn until
 * broker_peer_writable() or broker_all_writable(). */
void broker_frame_blocked(struct broker *broker, struct broker_peer *peer);
void broker_peer_writable(struct broker *broker, struct broker_peer *peer);
void broker_all_writable(struct broker *broker);

/*
 * A link the transport must cut now: its BYE was handed over, or could not be for
 * BROKER_KICK_GRACE_MS. Each peer is named once; broker_peer_gone() must follow. *ret_code: why
 * (negative), 0 after a BYE of its own.
 */
bool broker_next_kick(struct broker *broker, struct moment now, struct broker_peer **ret_peer,
                      int *ret_code);

/* --- rules and life ------------------------------------------------------------------------- */

/*
 * A new registry is in force, verified by the caller; a reference is taken. Peers it no longer
 * names as active are told BYE E_REVOKED and cut; what they published and is not yet delivered,
 * and what is no longer allowed to its reader, is dropped and reported by GAP; subscriptions are
 * checked again; everybody else is sent the document. The former one is kept if it names a
 * successor.
 */
/* The newest head of the audit log, a line of at most AUDIT_HEAD_MAX bytes: told to everybody who
 * connects, and to the others at most once a minute. */
void broker_set_audit_head(struct broker *broker, struct moment now, struct bytes line);
void broker_set_registry(struct broker *broker, struct moment now, struct registry *registry);
/*
 * A former registry that names a successor of its owner (others are ignored); a reference is taken.
 * Whoever comes with an older version is sent these one after the other before the one in force,
 * which it could not verify otherwise. In rising order of their versions. 0 or AICO_ENOMEM.
 */
AICO_MUST_USE int broker_keep_succession(struct broker *broker, struct registry *registry);

/* Ends the session of every link of @name; false when there is none. @code: negative. */
bool broker_kick(struct broker *broker, struct moment now, struct bytes name, int code,
                 const char *text);

/* What a component with role admin asks for and only the owner of the core can do. */
enum broker_act { BROKER_RELOAD, BROKER_DRAIN };
struct broker_ask {
    enum broker_act act;
    uint64_t session, id; /* whom to answer */
    char name[65];        /* who asked */
};
/* The next one; each must be answered by broker_answer_ask(). */
bool broker_next_ask(struct broker *broker, struct broker_ask *ret_ask);
/* @json: the answer; whoever has gone meanwhile gets none. */
void broker_answer_ask(struct broker *broker, struct moment now, const struct broker_ask *ask,
                       struct bytes json);

/*
 * Other limits from now on: those of new links, topics and messages at once, publish_window for
 * sessions that begin later. `name` and `software` are not looked at.
 */
void broker_set_settings(struct broker *broker, struct moment now,
                         const struct broker_settings *settings);

/* Takes no further messages; every peer gets BYE E_DRAIN once what waits for it was sent, or after
 * @timeout_ms. */
void broker_drain(struct broker *broker, struct moment now, int64_t timeout_ms);
/* Draining, and no link is left. */
bool broker_is_drained(const struct broker *broker);

/* The boot_ms at which broker_tick() must be called next; MOMENT_NEVER. */
int64_t broker_deadline(const struct broker *broker);
void broker_tick(struct broker *broker, struct moment now);

/* --- what happened -------------------------------------------------------------------------- */

enum broker_event_level { BROKER_ERROR, BROKER_WARNING, BROKER_NOTICE, BROKER_INFO, BROKER_DEBUG };

enum broker_event_kind {
    BROKER_EVENT_CONNECTED,   /* HELLO accepted */
    BROKER_EVENT_LEFT,        /* a session ended in order */
    BROKER_EVENT_REFUSED,     /* a link or HELLO was not accepted */
    BROKER_EVENT_KICKED,      /* the broker ended a session */
    BROKER_EVENT_DENIED,      /* a rule said no */
    BROKER_EVENT_SLOW,        /* a reader cannot keep up: messages are being dropped */
    BROKER_EVENT_REGISTRY,    /* another registry is in force, or a peer has another */
    BROKER_EVENT_LIMIT,       /* a limit of the broker was reached */
    BROKER_EVENT_ADMIN,       /* a component with role admin made the broker do something */
    BROKER_EVENT_EVENTS_LOST, /* more happened than was asked for in time */
};

/* For the log; never contains content. */
struct broker_event {
    enum broker_event_level level;
    enum broker_event_kind kind;
    int code; /* 0 or negative */
    char name[65];
    char address[96];
    char text[256];
};
bool broker_next_event(struct broker *broker, struct broker_event *ret_event);

/*
 * Appends one JSON value to @out: "status" (object), "peers", "topics", "ledger" (arrays).
 * @filter: "peers": a name, "topics": a topic filter; empty for all. 0, AICO_EINVAL (unknown
 * @what), AICO_ETOPIC (@filter), AICO_ENOMEM; then @out is as it was.
 */
AICO_MUST_USE int broker_status_json(const struct broker *broker, struct moment now,
                                     struct bytes what, struct bytes filter, struct buffer *out);

/* Why a routed message did not reach its reader. */
enum broker_drop {
    DROP_SLOW_OLD,   /* drop-old reader */
    DROP_SLOW_NEW,   /* drop-new reader */
    DROP_LINK_LOST,  /* waited when the reader's link ended */
    DROP_REVOKED,    /* the sender was revoked while it waited */
    DROP_DENIED,     /* a new registry forbids it */
    DROP_INCOMPLETE, /* the sender left in the middle of a message in fragments */
    DROP_MEMORY,     /* no memory to keep it */
    DROP_EXPIRED,    /* it waited longer than its publisher wanted */
    DROP_RETENTION,  /* stored: its rule keeps no more, or no longer */
    DROP_PURGED,     /* stored: an administrator removed it */
    DROP_DEAD,       /* stored: in the dead letters of its reader */
    DROP_CAUSES
};
/* "drop-old", ... as in status. */
const char *broker_drop_name(enum broker_drop cause);

/*
 * Of every pair of a message and a reader exactly one of delivered, dropped or queued holds: routed
 * = delivered + sum(dropped) + queued. A message is delivered when its last record was handed to
 * the transport.
 */
struct broker_flow {
    uint64_t routed, delivered, queued, dropped[DROP_CAUSES];
};
/* Of all causes. */
uint64_t broker_flow_dropped(const struct broker_flow *flow);

/* asked = answered + unanswered + open. */
struct broker_requests {
    uint64_t asked;      /* accepted, and those nobody was found for (RESOLVE) */
    uint64_t answered;   /* the reply was accepted */
    uint64_t unanswered; /* it never will be */
    uint64_t open;
};

struct broker_totals {
    uint64_t published;                  /* accepted by subscription */
    uint64_t direct;                     /* accepted for one component */
    uint64_t refused;                    /* PUBLISH refused */
    uint64_t repeated;                   /* PUBLISH seen before: acknowledged, not routed again */
    struct broker_flow by_topic, to_one; /* to_one: besides, the broker's own messages */
    struct broker_requests requests;
    uint64_t stored;      /* of the published: committed by the store */
    uint64_t expired;     /* stored messages that retention or their end took */
    uint64_t settled;     /* acknowledged by durable readers */
    uint64_t buried;      /* given to dead letters */
    uint64_t redelivered; /* deliveries beyond the first */
    uint64_t gaps;        /* GAP records made */
    uint64_t wills_lost;  /* last wills nobody got: no memory when they were due */
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t handshakes; /* handshake records that passed */
    size_t peers;
    size_t subscriptions;
    size_t topics;
};
void broker_get_totals(const struct broker *broker, struct broker_totals *ret_totals);
/* Whether nothing is in none of the places where it can be, or in two. */
bool broker_totals_balance(const struct broker_totals *totals);

/*
 * The broker's numbers as Prometheus text, format 0.0.4 (docs/operating.md names them), appended to
 * @out; components beyond the first METRICS_COMPONENTS_MAX are counted only. 0 or AICO_ENOMEM.
 */
#define METRICS_COMPONENTS_MAX 1000
AICO_MUST_USE int broker_metrics(const struct broker *broker, struct moment now,
                                 struct buffer *out);

#endif
