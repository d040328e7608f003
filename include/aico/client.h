/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client library of AICO Bus: one component's connection to its broker.
 *
 * Everything an application says here is sealed end to end by the rules of the registry before it
 * leaves the process; every message received comes with the verified name of its sender.
 *
 * Threads: every function may be called from any thread; one client may be shared by many.
 * Messages are received on the caller's thread. The library runs one thread of its own per client,
 * which always drains the socket; a thread that waits in a call does that work meanwhile, and one
 * that publishes sends its message itself while the library's sleeps. It never aborts the host
 * process, never writes to stdout or stderr, installs no signal handler and keeps no global state
 * but registries, which never change and are shared by the clients that hold the same. Do not use a
 * client in a forked child. aico_client_close() ends calls that wait in other threads with
 * AICO_ECLOSED; no call may begin after it.
 *
 * Once a connection has ended for good, every function returns the code that ended it (AICO_ECLOSED
 * below stands for it: AICO_EREVOKED, AICO_EUNREACHABLE...), with its text in @err.
 */
#ifndef AICO_CLIENT_H
#define AICO_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <aico/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AICO_VERSION "0.1.0"

struct aico_client; /* opaque; aico_client_open() .. aico_client_close() */
struct aico_message;

/** How to connect. Zero-initialise and set what differs; every pointer is copied or only read
 * during aico_client_open(). */
struct aico_client_options {
    const char *home;     /* NULL: $AICO_HOME, else ~/.aico */
    const char *identity; /* component name; NULL: $AICO_IDENTITY. Its key: identities/NAME.key */
    const char *broker;   /* "tcp://host:port" or "ipc:///path"; NULL: the component file's address,
                             else the home's socket run/bus.sock */
    const char *config;   /* security.yaml; NULL: the home's, defaults if there is none */
    const char *software; /* shown in `aico-bus peers`; NULL: the library's version */
    const char *passphrase_file; /* first line opens a protected key file, "/dev/fd/N": of that
                                    descriptor; NULL: none, or systemd's aico.passphrase */
    const char *will_topic; /* NULL: no will. Else the broker publishes this message there when the
                               client is gone without aico_client_close(): killed, unreachable,
                               kicked. Sealed beforehand, by a rule of seal group (or none);
                               refused: REFUSED with id 0. At most 12 KiB */
    const void *will;
    size_t will_size;
    bool outbox; /* what aico_publish() accepts is in a file, state/NAME/outbox.db, sealed, until
                    the broker has answered for it; a message of a client that died, or had no
                    broker, is sent by the next one with an outbox, in order, and its readers show
                    it once. For events to subscribers of rules with seal group. The broker need not
                    be there: opening ends well when it does not answer within the timeout */
    size_t outbox_limit;  /* bytes it may hold; 0: 64 MiB */
    bool wait_for_broker; /* keep trying until timeout instead of failing on the first refusal of
                             the connection (a named refusal of the key still fails at once) */
};

/**
 * Loads the identity and the registry of the home, connects, and completes HELLO.
 *
 * @timeout_ms  to connect, once the identity is open, in milliseconds; -1: handshake_timeout of the
 *              configuration. A passphrase takes time of its own (Argon2id, 1.3 s on an idle core).
 * @ret_client  receives a client the caller owns; untouched on failure
 *
 * Returns 0, AICO_ECONFIG, a key file or registry error (AICO_EMODE, AICO_EKEYFILEDAMAGED,
 * AICO_EREGISTRY...), AICO_EUNREACHABLE, AICO_ENOTBROKER, AICO_EBROKERKEY, AICO_EREVOKED
 * (or replaced), AICO_EUNKNOWN (no such key file, or not in the registry), AICO_EDUPLICATE,
 * AICO_EINVAL (no identity was named, or a wrong address), AICO_ETIMEOUT, AICO_ENOMEM,
 * AICO_ESYSTEM; with an outbox: AICO_EKEPTLOCKED, AICO_EKEPTDAMAGED, AICO_EOPEN (it holds messages
 * sealed with a former key), AICO_EFULL.
 */
AICO_API AICO_MUST_USE int aico_client_open(const struct aico_client_options *options,
                                            int64_t timeout_ms, struct aico_client **ret_client,
                                            struct aico_error *err);

/** What aico_client_close() could not get rid of. */
struct aico_unsent {
    uint64_t unsent;         /* messages never handed to the broker */
    uint64_t unacknowledged; /* handed over, but the broker had not answered */
    uint64_t unread;         /* received, but not taken by aico_receive() */
    uint64_t keyless;        /* readers that were to be handed a key and did not answer, by rule */
    char keyless_name[65];   /* the first of them; "" when there is none */
};

/**
 * Sends what is queued, hands the key of what was published to every connected reader that does not
 * have it yet (nobody else can, unless the topic is stored), says goodbye and frees everything,
 * within @timeout_ms (0: at once, and no key is handed over).
 *
 * @client      NULL inside is allowed; set to NULL
 * @ret_unsent  receives what was lost; may be NULL
 *
 * Returns 0 when nothing was left unsent or unacknowledged and no reader without a key, else
 * AICO_ETIMEOUT.
 */
AICO_API int aico_client_close(struct aico_client **client, int64_t timeout_ms,
                               struct aico_unsent *ret_unsent);

/** One header of a message; sealed with its payload. */
struct aico_header {
    const char *key;   /* 1..64 printable ASCII characters without '=', not beginning with '$' */
    const char *value; /* UTF-8, at most 4096 bytes */
};

/** What must have happened before a message counts as acknowledged. */
enum aico_ack {
    AICO_ACK_ACCEPTED, /* the broker has it (and has stored it, if its rule says so) */
    AICO_ACK_STORED, /* the broker has stored it, fsynced; refused at once where no rule stores, or,
                        to one component, where the rule has no seal ratchet */
    AICO_ACK_DELIVERED, /* each reader says that its application has taken it: AICO_MESSAGE_RECEIPT.
                           For events (to subscribers or one component) of rules that seal; where
                           the rule stores, of all that have a durable reader, there or not. Not
                           with retain: AICO_EINVAL. With an outbox of what is sent, by this client
                           or, under the same numbers, by the next one */
    AICO_ACK_SIGNED,    /* the same, signed by the reader: the receipt can be kept and checked by
                           whoever has the registry, `aico-keytool receipt` */
};

struct aico_publish_options {
    const char *to;                    /* a component's name: only it receives; NULL: subscribers */
    const struct aico_header *headers; /* header_count of them; copied */
    size_t header_count;               /* at most 61 */
    int64_t wait_ms;                   /* how long to wait for room in the queue: 0 not at all,
                                          -1 for ever */
    enum aico_ack ack;
    bool retain; /* it is the topic's value: who subscribes later is sent it as long as this client
                    and the broker live (decision 43); up to 56 KiB, by subscription, not where a
                    rule says `seal channel` */
    int64_t ttl_ms; /* void when it has not reached its readers by then; 0: never, at most 49 days.
                       Whoever would have got it is told (GAP, AICO_EEXPIRED); one that could not
                       be sent at all comes back as REFUSED with the same code */
    bool mailbox; /* with `to`: it is stored for that component while it is away, as STORED has it;
                     so that STORED need not be all that is waited for */
    int64_t receipt_ms; /* with DELIVERED and SIGNED: how long to wait for receipts once it has been
                           sent, or of what is stored since this call; 0: 30000, at most 49 days */
};

/**
 * Queues one message for @topic; the library seals and sends it. Thread-safe, copies. With an
 * outbox it returns when the message is on the disk: some milliseconds.
 *
 * @options  NULL: defaults (to subscribers, no headers, no waiting)
 * @ret_id   receives its number, which rises by 1 a message; may be NULL
 *
 * A refusal of the broker or a failure to seal arrives later: as an AICO_MESSAGE_REFUSED by
 * aico_receive() and as the result of aico_flush(). Nothing is dropped in between.
 *
 * Returns 0, AICO_ETOPIC, AICO_EDENIED (the local registry already forbids it: rule in @err),
 * AICO_ENOTSTORED (AICO_ACK_STORED, and the rule does not store),
 * AICO_ETOOLARGE, AICO_EINVAL (an option; not for an outbox), AICO_EFULL (no room within wait_ms;
 * the disk of the outbox is full), AICO_EPEERUNKNOWN, AICO_ENOMEM, AICO_ESYSTEM (the outbox cannot
 * be written), or the code that ended the connection (see above).
 */
AICO_API AICO_MUST_USE int aico_publish(struct aico_client *client, const char *topic,
                                        const void *payload, size_t size,
                                        const struct aico_publish_options *options,
                                        uint64_t *ret_id, struct aico_error *err);

/**
 * Waits until the broker has answered for everything published before the call.
 *
 * Returns 0 when all of it was accepted; the code of the first refusal since the last flush (rule
 * and hint in @err); AICO_ETIMEOUT; AICO_EUNREACHABLE (the same, and no broker was met so far);
 * AICO_ECLOSED.
 */
AICO_API AICO_MUST_USE int aico_flush(struct aico_client *client, int64_t timeout_ms,
                                      struct aico_error *err);

/** What the broker does when this reader cannot keep up. */
enum aico_slow_policy {
    AICO_SLOW_DROP_OLD = 0, /* drop the oldest waiting message and report a gap */
    AICO_SLOW_DROP_NEW = 1, /* drop the new message and report a gap */
    AICO_SLOW_BLOCK = 2,    /* slow the publishers down instead: nothing is dropped */
    AICO_SLOW_DISCONNECT = 3,
};

struct aico_subscribe_options {
    enum aico_slow_policy slow_policy;
    bool serve;        /* answer requests on these topics: they arrive as AICO_MESSAGE_REQUEST */
    const char *queue; /* 1..64 bytes: each message goes to one of all who subscribe under this
                          name, whichever has the least waiting; NULL: all messages come here. Not
                          for topics of a rule `seal channel` (AICO_EINVAL). What others get is no
                          gap; AICO_EPEERAWAY in a gap: lost, or not, with a member that left */
};

/**
 * Subscribes and returns when the broker has answered, so nothing published afterwards is missed.
 * Held through reconnects until aico_unsubscribe().
 *
 * @filter  a topic, or with `*`/`+` (one level) and `**`/`#` (any number of trailing levels)
 *
 * Returns 0, AICO_ETOPIC, AICO_EDENIED (rule in @err), AICO_EQUOTA, AICO_ETIMEOUT, AICO_ECLOSED.
 */
AICO_API AICO_MUST_USE int aico_subscribe(struct aico_client *client, const char *filter,
                                          const struct aico_subscribe_options *options,
                                          int64_t timeout_ms, uint32_t *ret_subscription,
                                          struct aico_error *err);
AICO_API AICO_MUST_USE int aico_unsubscribe(struct aico_client *client, uint32_t subscription,
                                            int64_t timeout_ms, struct aico_error *err);

/** Where a reader of stored messages begins that the broker does not know yet. */
enum aico_start {
    AICO_START_NEW,    /* what is stored from now on */
    AICO_START_ALL,    /* everything that is still there */
    AICO_START_TIME,   /* what was stored at or after `since`, ms since 1970 */
    AICO_START_NUMBER, /* from message number `since` on */
    AICO_START_LAST,   /* the last message there is, and on */
};

struct aico_follow_options {
    const char *durable;   /* 1..64 bytes: the broker keeps under this name, and for this component,
                              how far it has settled; NULL: nothing is kept */
    enum aico_start start; /* where it begins; a durable reader that exists goes on where it was */
    int64_t since;         /* with TIME and NUMBER */
    int64_t deadline_ms;   /* a message not settled so long after it was sent comes again;
                              0: 30000; at least 100 */
    uint32_t attempts;     /* deliveries of one message at most, then it goes to the dead letters;
                              0: 10 */
    uint32_t window;       /* messages that may be out unsettled, 1..4096; 0: 256, in a group 16 */
    const char *queue;     /* 1..64 bytes, with `durable`: the place is shared by all who follow the
                              filter under both names, whatever component they are; each message goes
                              to one of them, and to another one when its deadline passes, when it is
                              wanted again, or when who has it goes away; NULL: not shared */
};

/**
 * Follows stored messages (rules with `store`): what is there, and what comes. They arrive as
 * AICO_MESSAGE_EVENT with a number, in the order of their numbers unless one has to come again.
 * Each must be settled with aico_settle(). Ended by aico_unsubscribe(); held through reconnects.
 *
 * @options  NULL: not durable, from now on
 *
 * Returns what aico_subscribe() returns, or AICO_EEXISTS (the durable name is in use: by another
 * process, or for another filter), AICO_ESTORE (the broker stores no messages), AICO_EINVAL.
 */
AICO_API AICO_MUST_USE int aico_follow(struct aico_client *client, const char *filter,
                                       const struct aico_follow_options *options,
                                       int64_t timeout_ms, uint32_t *ret_subscription,
                                       struct aico_error *err);

enum aico_verdict {
    AICO_DONE,   /* it need not come again */
    AICO_RETRY,  /* it comes again, soon */
    AICO_REJECT, /* it will never do: to the dead letters, with the reason */
};

/**
 * Says what became of a message that was followed. Every message of a batch counts by itself; the
 * broker is told when all of them are settled. Until then a crash brings it again. Does not wait;
 * thread-safe.
 *
 * @reason  with REJECT: at most 255 bytes, for people; else NULL
 *
 * Returns 0, AICO_EINVAL (@message has no number, @verdict or @reason cannot be), AICO_ENOMEM, or
 * the code that ended the connection.
 */
AICO_API AICO_MUST_USE int aico_settle(struct aico_client *client,
                                       const struct aico_message *message,
                                       enum aico_verdict verdict, const char *reason,
                                       struct aico_error *err);

enum aico_message_kind {
    AICO_MESSAGE_EVENT,    /* a published or direct message */
    AICO_MESSAGE_RETAINED, /* the last value of its topic; $bus/presence and $bus/stats are the
                              broker's (sealed false) */
    AICO_MESSAGE_REQUEST,  /* answer with aico_reply() */
    AICO_MESSAGE_REPLY,    /* only as the result of aico_request() */
    AICO_MESSAGE_GAP,      /* messages that will not come: sender, topic, count, code */
    AICO_MESSAGE_REFUSED,  /* a message of ours was refused: id, topic, code, text */
    AICO_MESSAGE_UNOPENED, /* something came that did not open: sender, topic, count, code */
    AICO_MESSAGE_RECEIPT,  /* a reader (sender) of our message (id, topic) has taken it, at sent_ms
                              by its clock: code 0; signed: payload is the receipt as text. Or one
                              that was sent it did not say so in time: AICO_ENORECEIPT; or nobody was
                              there: AICO_ENORECEIVER, without sender; or what it signed is not
                              right: AICO_ESIGNATURE. `count` are still awaited; 0: this is the last
                              one of that message */
    AICO_MESSAGE_STATE,    /* the connection changed: code 0 connected, else why it was lost */
};

/** One thing received; owns everything it points to; aico_message_free(). */
struct aico_message {
    enum aico_message_kind kind;
    const char *topic;  /* "" where there is none */
    const char *sender; /* verified component name; "" where there is none */
    const void *payload;
    size_t size;
    const struct aico_header *headers;
    size_t header_count;
    int64_t sent_ms;    /* sender's clock, ms since 1970; 0 unknown */
    int64_t expires_ms; /* sender's clock: void later than that; 0: never */
    uint64_t sequence;  /* of the sender on this topic; gaps are reported, never silent */
    bool sealed;        /* opened from an envelope (false: came in clear inside the broker link) */
    bool will;          /* its sender left it to be said when it is gone; sent_ms: when it did */
    bool direct;        /* addressed to this component by name */
    size_t wire_size;   /* bytes of the envelope as the broker saw it */
    const void *wire;   /* the first wire_prefix bytes of that envelope */
    size_t wire_prefix; /* at most 64 */
    uint64_t number;    /* of a stored message that was followed; else 0. aico_settle() it */
    uint32_t subscription; /* with a number: the one of aico_follow() */
    uint32_t attempt;      /* with a number: 1 the first time it is delivered to this reader;
                              of a GAP of stored messages: the first time it is told */
    int64_t stored_ms;     /* with a number: when the broker stored it, by its clock */
    uint64_t id;    /* REFUSED, RECEIPT: what aico_publish() returned; REQUEST: for aico_reply() */
    uint64_t count; /* GAP, UNOPENED: how many messages; 0: unknown. RECEIPT: see there */
    int code;       /* GAP, REFUSED, UNOPENED, RECEIPT, STATE: AICO_E... */
    const char *text;      /* the same for people: rule, cause, repair; "" where there is none */
    uint8_t reference[64]; /* REQUEST: what binds the reply to it; opaque */
};

/**
 * Takes the next message.
 *
 * @timeout_ms   0: do not wait; -1: for ever
 * @ret_message  receives a message the caller owns
 *
 * Returns 0, AICO_ETIMEOUT, or, after everything received was taken, the code that ended the
 * connection for good (AICO_ECLOSED, AICO_EREVOKED, AICO_EUNREACHABLE...; text in @err).
 */
AICO_API AICO_MUST_USE int aico_receive(struct aico_client *client, int64_t timeout_ms,
                                        struct aico_message **ret_message, struct aico_error *err);
AICO_API void aico_message_free(struct aico_message **message);

/** A descriptor that is readable while aico_receive() has something: for epoll, libuv, asyncio,
 * GLib. Owned by the client; only poll it. Who has asked for it leaves the client's work to the
 * library's thread from then on. */
AICO_API int aico_client_fd(const struct aico_client *client);

/**
 * Asks the component that serves @topic and waits for its answer.
 *
 * Returns 0 and the reply (sender, payload), AICO_ENORESPONDER at once when nobody serves it,
 * AICO_EDENIED, AICO_EPEERAWAY (the responder left meanwhile), AICO_ETIMEOUT, AICO_ETOOLARGE,
 * AICO_ECLOSED.
 */
AICO_API AICO_MUST_USE int aico_request(struct aico_client *client, const char *topic,
                                        const void *payload, size_t size, int64_t timeout_ms,
                                        struct aico_message **ret_reply, struct aico_error *err);
/** Answers a request received from this client; may be called later, from any thread. Queues like
 * aico_publish(); a refusal arrives as AICO_MESSAGE_REFUSED. */
AICO_API AICO_MUST_USE int aico_reply(struct aico_client *client,
                                      const struct aico_message *request, const void *payload,
                                      size_t size, struct aico_error *err);

/**
 * Asks the broker: "status", and with role admin "peers", "topics", "ledger"; or, with that role,
 * makes it do something: "kick" (@argument "NAME" or "NAME REASON"), "reload", "drain". The latter
 * are never done twice: when the link is lost before the answer, that is the error.
 *
 * @argument   a filter for the names, or NULL
 * @ret_json   receives JSON text the caller frees with free()
 *
 * Returns 0, AICO_EDENIED, AICO_EINVAL (unknown question), AICO_EPEERUNKNOWN and AICO_EPEERAWAY
 * ("kick"), AICO_ETIMEOUT, AICO_ECLOSED.
 */
AICO_API AICO_MUST_USE int aico_query(struct aico_client *client, const char *what,
                                      const char *argument, int64_t timeout_ms, char **ret_json,
                                      struct aico_error *err);

/**
 * Round trip to the broker (@peer NULL) or, over an end-to-end channel, to a component; the first
 * one to a component includes making the channel.
 *
 * @ret_us  receives microseconds; may be NULL
 *
 * Returns 0, AICO_EPEERUNKNOWN, AICO_EPEERAWAY, AICO_ESELF, AICO_ERATE (to one component at most
 * 1000 a second), AICO_ETIMEOUT, AICO_ECLOSED.
 */
AICO_API AICO_MUST_USE int aico_ping(struct aico_client *client, const char *peer,
                                     int64_t timeout_ms, int64_t *ret_us, struct aico_error *err);

/** Counters since the client was opened. */
struct aico_client_stats {
    uint64_t published;      /* accepted by aico_publish() */
    uint64_t acknowledged;   /* accepted by the broker */
    uint64_t refused;        /* by the broker or while sealing */
    uint64_t queued;         /* waiting to be sealed and sent */
    uint64_t unacknowledged; /* sent, not yet answered */
    uint64_t received;       /* messages handed to the application */
    uint64_t gaps;           /* messages reported missing */
    uint64_t unopened;       /* messages that did not open */
    uint64_t reconnects;
    uint64_t registry_version;
};
AICO_API void aico_client_get_stats(struct aico_client *client,
                                    struct aico_client_stats *ret_stats);
/**
 * The books of this client since it was opened: by sender, rule and receiver what became of each
 * message, and what did not for which cause. docs/library.md has their form; `aico-bus ledger
 * --with` holds them against those of the broker.
 *
 * @ret_json  receives JSON text the caller frees with free()
 *
 * Returns 0, AICO_ENOMEM, AICO_ECLOSED.
 */
AICO_API AICO_MUST_USE int aico_client_ledger(struct aico_client *client, char **ret_json,
                                              struct aico_error *err);
/** Our own component name; valid as long as the client. */
AICO_API const char *aico_client_name(const struct aico_client *client);

#ifdef __cplusplus
}
#endif
#endif
