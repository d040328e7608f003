/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client core: one component's side of the bus as a state machine over bytes and time.
 *
 * Owns the broker session (HELLO, credit, acknowledgements, resending), subscriptions, requests and
 * the end-to-end sessions. Does no I/O and knows no threads: runtime/client.c (or the simulator)
 * gives it frames and moments and takes frames, messages and results. One thread owns it.
 *
 * Walk of a publish: client_push() -> publish.c seals at the last moment (so that what waits while
 * a reader is removed is sealed under the next generation) -> client_next_frame().
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include <aico/client.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/fifo.h"
#include "base/keeper.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "session/settings.h"
#include "trust/registry.h"

struct client; /* opaque; client_new() .. client_free() */

struct client_settings {
    struct session_settings session; /* copied; its pointers are borrowed for the client's life */
    uint64_t instance;               /* random, not 0 */
    uint32_t window;                 /* receive window in bytes */
    bool auto_reconnect;             /* a lost link is dialled again */
    bool wait_for_broker;            /* the first link is dialled again too */
    bool seal_none_allowed;          /* security_level standard */
    const char *software;            /* borrowed */
    const struct keeper *replay; /* borrowed; what durable readers have settled; NULL: that is not
                                    known after a restart */
};

/* An answered question: payload or JSON text. */
struct client_answer {
    int code;                     /* 0 or AICO_E... */
    const char *text;             /* cause and repair, "" when there is none; borrowed */
    struct aico_message *message; /* request: the reply, handed over */
    struct bytes json;            /* query; borrowed */
    uint32_t subscription;        /* subscribe */
    int64_t round_trip_ms;        /* ping */
};

/* What the core asks of whoever runs it. Called from inside the functions below; must not call
 * back into the core. */
struct client_host {
    void *context;
    /* The application's next message, or bundle of messages (client/message.h) if the host takes
     * them; ownership passes. */
    void (*deliver)(void *context, struct aico_message *message);
    /* The operation started with @ticket is over. */
    void (*done)(void *context, void *ticket, const struct client_answer *answer);
    /* Must be on disk before this returns 0: the publisher's last generation. */
    int (*persist_generation)(void *context, uint64_t generation);
    /* A newer registry was verified and accepted; borrowed. */
    void (*registry_changed)(void *context, struct registry *registry);
    /* The broker says that its audit log ended with this line; not verified, borrowed. NULL: it is
     * not wanted. What it returns is told to the application, with the text in @err. */
    int (*saw_audit_head)(void *context, struct bytes line, struct aico_error *err);
    /* Must be on disk, sealed, before this returns 0: what opens stored messages, see
     * client_load_chains(). NULL: nothing is kept. */
    int (*persist_chains)(void *context, struct bytes chains);
    bool takes_bundles;
};

/*
 * @self, @host.context: borrowed. @registry: a reference is taken. @last_generation: what
 * persist_generation stored last, 0 if nothing. 0, AICO_ENOMEM, AICO_EREVOKED (the registry no
 * longer names @self as active), AICO_EUNKNOWN.
 */
AICO_MUST_USE int client_new(const struct client_settings *settings, struct identity *self,
                             struct registry *registry, struct random_source random,
                             uint64_t last_generation, const struct client_host *host,
                             struct moment now, struct client **ret_client, struct aico_error *err);
/* What persist_chains() kept last; before the first link. AICO_EFORMAT, AICO_ENOMEM. */
AICO_MUST_USE int client_load_chains(struct client *client, struct moment now, struct bytes chains);
/* Wipes everything; pending operations end with AICO_ECLOSED. */
void client_free(struct client **client);

/* --- the link ------------------------------------------------------------------------------- */

/* Whether the runtime should dial the broker now. True once: client_link_up() or client_link_down()
 * must follow. */
bool client_wants_link(struct client *client, struct moment now);
/* The core takes the link to be up. False while the transport still holds one: the core has ended
 * it (in whichever call), and the transport must close it without telling. */
bool client_has_link(const struct client *client);
void client_link_up(struct client *client, struct moment now);
/* Dialling failed, or the link went down: @code and @text say why. Decides whether and when to dial
 * again (auto_reconnect, connection_retry_limit, back-off with jitter). */
void client_link_down(struct client *client, struct moment now, int code, const char *text);
/* WELCOME was received and the session stands. */
bool client_is_ready(const struct client *client);
/* Over for good: the reason in @ret_code and @ret_text (borrowed). */
bool client_is_ended(const struct client *client, int *ret_code, const char **ret_text);

/* One frame from the broker. A malformed one ends the link with AICO_EPROTO. Returns 0 or the code
 * the runtime must close the link with. */
AICO_MUST_USE int client_receive(struct client *client, struct moment now, struct bytes frame);
/* A registry document from elsewhere (the home's file); verified like the broker's. 0 when it is in
 * force now, AICO_EEXISTS (it was), AICO_EREGISTRYOLD, AICO_EREGISTRYSIGNATURE... */
AICO_MUST_USE int client_offer_registry(struct client *client, struct moment now,
                                        struct bytes document);
/* The next frame for the broker, valid until client_frame_sent(). False: nothing to send now. */
bool client_next_frame(struct client *client, struct moment now, struct bytes *ret_frame);
void client_frame_sent(struct client *client, struct moment now);

/* The boot_ms at which client_tick() must be called next; MOMENT_NEVER. */
int64_t client_deadline(const struct client *client);
void client_tick(struct client *client, struct moment now);

/* --- publishing ----------------------------------------------------------------------------- */

/* One entry of the publish queue, followed by topic, to, header block and payload. */
struct outgoing {
    uint64_t id; /* the application's number of it: rises by 1 */
    uint32_t payload_size;
    uint32_t receipt_ms; /* how long to wait for receipts once it has left */
    uint16_t headers_size;
    uint8_t topic_size;
    uint8_t to_size;    /* 0: to the subscribers */
    uint8_t receipt;    /* enum receipt_level its header block begins with; 0: none is asked for */
    uint8_t delivery;   /* DELIVERY_EVENT, DELIVERY_RETAINED (to subscribers) or DELIVERY_REPLY */
    uint64_t value;     /* retained: which value it is, said again; 0: a new one */
    int64_t expires_ms; /* boot clock: refused when it could not be sent by then; 0: never. The
                           block of an event that is sealed begins with $until then */
    uint64_t request;   /* reply: the id of the request as delivered */
    uint8_t ref[16];    /* reply: key id and sequence of the request */
};
size_t outgoing_size(const struct outgoing *outgoing);
/* Writes the block for a fifo_push() of outgoing_size() bytes. */
void outgoing_write(void *block, const struct outgoing *head, struct bytes topic, struct bytes to,
                    struct bytes headers, struct bytes payload);

/* What the broker is to publish on @topic when this client is gone without a word: sealed and given
 * to it in every session, and anew whenever its key changes. Before the first link; copied. 0,
 * AICO_ENOMEM. */
AICO_MUST_USE int client_set_will(struct client *client, struct bytes topic, struct bytes payload);

/* Takes over everything in @queue, which gets the chunks emptied since. */
void client_push(struct client *client, struct fifo *queue);
/* Queue entries not yet sealed and handed over. */
size_t client_queued(const struct client *client);
/* Bytes of them: the runtime's limit looks at this. */
size_t client_queued_bytes(const struct client *client);
/* Application messages handed over and not yet answered. */
size_t client_unacknowledged(const struct client *client);
/* Every message pushed with a number below this was answered: accepted, or refused and told. */
uint64_t client_answered_before(const struct client *client);
/* The application reads (false) or lets messages pile up (true): then the broker gets no credit
 * back until it reads again. Initially false. */
void client_set_backlogged(struct client *client, bool backlogged);

/* The application has taken every message up to this number of message_kept(). */
void client_taken(struct client *client, struct moment now, uint64_t number);

struct read_note; /* client/message.h */
/* The application has taken the message with this message_note(): its sender hears of it. */
void client_read(struct client *client, struct moment now, const struct read_note *note);
struct missed_place; /* client/message.h */
/* The application has taken the GAP with this message_missed(): the broker need not say it again.
 */
void client_missed_taken(struct client *client, const struct missed_place *place);
/* Receipts that have not left yet. */
bool client_owes_receipts(const struct client *client);

/* --- operations: each ends with host.done(ticket) --------------------------------------------- */

#define CLIENT_QUEUE_MAX 64 /* bytes of the name of a queue group */
/* @queue  the group of which one member gets each message; empty: all come here */
void client_subscribe(struct client *client, struct moment now, struct bytes filter, uint8_t policy,
                      bool serve, struct bytes queue, int64_t timeout_ms, void *ticket);
/* How client_follow() follows; copied. */
struct follow_request {
    struct bytes filter, durable, queue; /* queue: empty, or that of a group; with `durable` only */
    uint8_t start;                       /* enum follow_start */
    uint64_t value;
    uint32_t deadline_ms;
    uint16_t attempts, window;
};
void client_follow(struct client *client, struct moment now, const struct follow_request *request,
                   int64_t timeout_ms, void *ticket);
/* One message of item @number of @subscription: @code 0 done, AICO_ESTATE again, else rejected. */
void client_settle(struct client *client, uint32_t subscription, uint64_t number, int code,
                   struct bytes reason);
void client_unsubscribe(struct client *client, struct moment now, uint32_t subscription,
                        int64_t timeout_ms, void *ticket);
void client_request(struct client *client, struct moment now, struct bytes topic,
                    struct bytes payload, int64_t timeout_ms, void *ticket);
void client_query(struct client *client, struct moment now, struct bytes what,
                  struct bytes argument, int64_t timeout_ms, void *ticket);
/* @peer empty: the broker. */
void client_ping(struct client *client, struct moment now, struct bytes peer, int64_t timeout_ms,
                 void *ticket);
/* Done when everything with id <= @last_id was answered; code of the first refusal since the last
 * flush. */
void client_flush(struct client *client, struct moment now, uint64_t last_id, int64_t timeout_ms,
                  void *ticket);
/* From now on every ACK is waited for: the runtime closes when there is none left. */
void client_finish(struct client *client);
/* Nobody waits for @ticket any more. */
void client_forget(struct client *client, void *ticket);
/* What we published is answered, and we shall be gone: readers without its key are dialled. How
 * many have not answered yet, and the first one's name. See sessions_hand_over(). */
void client_hand_over(struct client *client, struct moment now);
size_t client_keyless(const struct client *client, struct bytes *ret_name);
/* Sends FINAL and HEADS for every session; afterwards the runtime flushes frames and says BYE. */
void client_close(struct client *client, struct moment now);

/* Appends the books as JSON text (docs/library.md): 0 or AICO_ENOMEM. */
AICO_MUST_USE int client_ledger(const struct client *client, struct buffer *ret_json);
void client_get_stats(const struct client *client, struct aico_client_stats *ret_stats);
struct registry *client_registry(const struct client *client); /* borrowed */

#endif
