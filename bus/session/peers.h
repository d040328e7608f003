/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session manager: everything one component knows about its peers, end to end. It owns the
 * channels, the half-open handshakes, the groups it publishes and those it reads, and what waits
 * for a key. PROTOCOL 4 to 8 (docs/protocol.md).
 *
 * It does no I/O and asks no clock: bytes and moments go in, events come out of sessions_next().
 * The caller drains the events after every call. It never queues plaintext of the caller's. One
 * owner; not thread-safe.
 *
 * The life of a direct message: sessions_seal_direct() says AICO_ESTATE, sessions_dial(), the
 * handshake runs through SESSION_SEND events and sessions_receive_direct(), SESSION_READY (or
 * SESSION_LOST), sessions_seal_direct() again. Of a published one: sessions_prepare_group() until
 * it says 0 (so that the first envelope finds its readers with their keys), sessions_seal_group().
 */
#ifndef SESSION_PEERS_H
#define SESSION_PEERS_H

#include <aico/error.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/writer.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "envelope/content.h"
#include "envelope/headers.h"
#include "session/settings.h"
#include "trust/registry.h"

/* key id (12) || u32 sequence of an envelope: what a reply is bound to */
#define SESSION_REF_SIZE 16
#define SESSION_TOPIC_CONTROL "$bus/control"
#define SESSION_TOPIC_HEADS "$bus/heads"

struct sessions; /* opaque; sessions_new() .. sessions_free() */

enum session_event_type {
    SESSION_SEND,       /* peer, bytes: one record to that component, topic $bus/control, delivery
                           DELIVERY_CONTROL. In the order given. */
    SESSION_SEND_HEADS, /* topic (the rule's filter), bytes: publish on $bus/heads, delivery
                           DELIVERY_CONTROL, behind what was sealed for that rule before */
    SESSION_MESSAGE,    /* peer, identity, topic, delivery, sent_ms, sequence, index, more, direct,
                           headers, payload, ref, cookie */
    SESSION_GAP,        /* peer, topic ("" for a channel), first, last or unknown, code */
    SESSION_FAILED, /* peer, topic, code, cookie: this envelope will never be opened. cookie NULL:
                       it was, by a former run, and may not be shown any more */
    SESSION_READY,  /* peer, ratchet: a channel (or a ratchet) became usable,
                       sessions_seal_direct() works */
    SESSION_LOST,   /* peer, ratchet, code, text: dialling ended, or the last channel did; or
                       no ratchet could be begun */
    SESSION_GROUP_READY, /* topic (the rule's filter): sessions_prepare_group() would now say 0 */
    SESSION_PERSIST_GEN, /* generation: must be on disk before anything sealed for a group later
                            than this event leaves */
    SESSION_PERSIST_CHAINS, /* bytes: the chains of stored messages we were given, for
                               sessions_load_chains(); secret, to be kept sealed */
    SESSION_STORE_KEYS, /* bytes: the body of a KEYS record (wire/stream_record.h), which must leave
                           before anything sealed for a group later than this event */
    SESSION_PONG,       /* peer, sequence: the PING of that number (sessions_ping()) was answered */
    SESSION_REGISTRY,   /* peer, bytes: a newer document by a peer's word. The caller verifies it
                           (registry_parse) and calls sessions_set_registry() */
    SESSION_PREKEYS, /* bytes: our statement, payload: one-time keys (u32 number || key each). For
                        the broker's directory, which answers with sessions_prekeys_left() */
    SESSION_BUNDLE,  /* peer: ask the broker for prekeys of that component; sessions_bundle() or
                        sessions_bundle_refused() must follow, or the link be lost */
    SESSION_BROKEN,  /* code, text: what must be kept cannot be. Nothing comes after this and
                        nothing is sealed any more; the caller ends */
    SESSION_AGAIN,   /* peer, topic: it wants our last value of that topic, sealed for it */
    SESSION_RECEIPT, /* peer, identity, bytes: its receipts for our messages, for
                        control_next_receipt() */
    SESSION_NOTICE,  /* peer, code, text: something odd that costs nobody a message */
};

/* What a gap is due to. */
enum session_gap_cause {
    SESSION_GAP_SEQUENCE, /* a later envelope arrived */
    SESSION_GAP_HEADS,    /* the sender's own count (HEADS, FINAL, PING) is ahead of what arrived */
    SESSION_GAP_FINAL,    /* a channel ended without its FINAL: how many is unknown */
};

/* One event. Every pointer is borrowed until the next sessions_next() or sessions_free(). */
struct session_event {
    enum session_event_type type;
    struct bytes peer;       /* component name; empty where there is none */
    const uint8_t *identity; /* its identity (32); NULL where there is none */
    struct bytes topic;
    struct bytes bytes;
    uint8_t delivery;
    bool direct;       /* came over a channel; false: of a group */
    bool ratchet;      /* READY, LOST: it is about topics whose rule says ratchet */
    bool will;         /* MESSAGE: its sender left it to be said when it is gone; unnumbered */
    bool more;         /* further messages of the same envelope (a batch) follow */
    bool unknown;      /* GAP: how many is not known; first and last are 0 */
    int64_t sent_ms;   /* the sender's clock, ms since 1970 */
    uint64_t sequence; /* of the envelope in its direction (direct), of the message on its topic;
                          format 0, which has none: how many opened before it */
    uint32_t index;    /* of the message in its envelope */
    struct bytes headers, payload;
    struct bytes batch;   /* MESSAGE, the first of several of a group of which none has headers: the
                             batch (envelope/content.h); who takes it says sessions_take_batch() */
    uint32_t batch_count; /* messages in it */
    bool batch_headers;   /* of content_split() */
    uint64_t value;       /* MESSAGE: which value of its topic, rises; 0: none is said */
    uint64_t once;        /* MESSAGE: its number in the sender's outbox; 0: it was in none */
    struct header_receipt receipt; /* MESSAGE: what its sender wants to hear; level 0: nothing */
    int64_t until_ms; /* MESSAGE: void later than that, by the sender's clock; 0: never */
    uint8_t ref[SESSION_REF_SIZE]; /* of the envelope: a reply to it is bound to this */
    uint64_t first, last;          /* GAP: the missing envelopes, both included */
    uint64_t count;                /* GAP: messages in them, at least */
    enum session_gap_cause cause;  /* GAP */
    uint64_t generation;           /* PERSIST_GEN; MESSAGE of a group: its generation */
    int code;                      /* FAILED, LOST, NOTICE, GAP: AICO_E... */
    const char *text;              /* the same for people; "" where there is none */
    uint64_t kept; /* MESSAGE, FAILED: not 0: it is kept until sessions_taken() with this number */
    bool held;     /* MESSAGE: of the mailbox, while nobody listens: not to be shown, it comes again
                      with sessions_subscribed() */
    void *cookie;  /* the caller's, as given with the envelope; NULL: of a former run */
};

/* Counters; they only rise. */
struct sessions_stats {
    uint64_t handshakes;      /* channels established */
    uint64_t resumed;         /* channels that went on from one before a restart */
    uint64_t verified_hellos; /* signatures of Hello1 checked */
    uint64_t refused_hellos;
    uint64_t sealed, opened, failed;
    uint64_t late;       /* opened more than 60 s after they were sealed */
    uint64_t key_asked;  /* KEY_REQUEST sent */
    uint64_t key_given;  /* GROUP_KEY sent */
    uint64_t key_denied; /* KEY_REFUSE sent */
    uint64_t hints;      /* Refuse received */
    uint64_t ratchets;   /* begun or accepted */
    uint64_t resets;     /* RESET sent */
};

/*
 * @settings         copied; its pointers are borrowed
 * @self             borrowed
 * @registry         a reference is taken; must name @self as active
 * @last_generation  what SESSION_PERSIST_GEN said last, ever; 0 if nothing
 *
 * 0, AICO_EUNKNOWN or AICO_EREVOKED (@self in @registry), AICO_ENOMEM.
 */
AICO_MUST_USE int sessions_new(const struct session_settings *settings, const struct identity *self,
                               struct registry *registry, struct random_source random,
                               uint64_t last_generation, struct moment now,
                               struct sessions **ret_sessions, struct aico_error *err);
/* Wipes every key; events not drained are lost. */
void sessions_free(struct sessions **sessions);

/* The next event; false when there is none. */
bool sessions_next(struct sessions *sessions, struct session_event *ret_event);
/* The caller takes all of `batch` of the event it has: sessions_next() leaves the others out. What
 * it returns is the caller's, a block of the pool (base/pool.h) in which `batch` lies, and behind
 * it at least a byte. NULL: it is few bytes or very many, and stays only until sessions_next(). */
void *sessions_take_batch(struct sessions *sessions);

/* --- input ---------------------------------------------------------------------------------- */

/*
 * A record addressed to this component: handshake bytes, control and application envelopes.
 *
 * @name      the sender as the broker stamped it; its identity is looked up in the registry
 * @identity  the identity the broker names for it; NULL: the registry's
 * @bytes     borrowed
 * @ref       for DELIVERY_REPLY: what the request was sealed with (SESSION_REF_SIZE), NULL: no such
 *            request is waiting, the reply fails as AICO_ENOREQUEST
 * @cookie    comes back with SESSION_MESSAGE or SESSION_FAILED
 *
 * Every application envelope ends in exactly one of: its SESSION_MESSAGEs (the last one with more =
 * false), one SESSION_FAILED. Handshake and control bytes end in neither.
 */
void sessions_receive_direct(struct sessions *sessions, struct moment now, struct bytes name,
                             const uint8_t *identity, struct bytes topic, uint8_t delivery,
                             struct bytes bytes, const uint8_t *ref, void *cookie);
/*
 * An envelope published on @topic, or HEADS on $bus/heads (which end without an event). Of an
 * unknown key it is kept (WAITING_MAX of a publisher) while the key is asked for; then as above.
 */
void sessions_receive_group(struct sessions *sessions, struct moment now, struct bytes name,
                            const uint8_t *identity, struct bytes topic, uint8_t delivery,
                            struct bytes bytes, void *cookie);

/*
 * Envelopes that will be given to sessions_receive_group(), as there but for @identity, which is
 * not NULL: their trailers are hashed together, which takes less time than one by one. They may
 * come or not, their bytes stay as they are until sessions_forget_ahead(). False: not
 * taken; its key is not in use here, it was read already, or HASHES_AT_ONCE (crypto/kdf.h) are
 * there.
 */
bool sessions_look_ahead(struct sessions *sessions, struct bytes name, const uint8_t *identity,
                         struct bytes topic, uint8_t delivery, struct bytes bytes);
void sessions_hash_ahead(struct sessions *sessions);
void sessions_forget_ahead(struct sessions *sessions);

/* --- stored messages (session/stored.h) ------------------------------------------------------- */

/* Whether what opens the group envelope @bytes of @identity was left for us, or kept. */
bool sessions_can_open_stored(const struct sessions *sessions, const uint8_t *identity,
                              struct bytes bytes);
/*
 * A stored envelope that the broker delivers to us as a reader. Unlike sessions_receive_group() it
 * may come in any order and again; who settled what is between the caller and the broker. Ends as
 * there.
 */
void sessions_receive_stored(struct sessions *sessions, struct moment now, struct bytes name,
                             const uint8_t *identity, struct bytes topic, uint8_t delivery,
                             struct bytes bytes, void *cookie);
/* What SESSION_PERSIST_CHAINS said last, ever: messages stored without `history` open for who had
 * their chain, also after a restart. AICO_EFORMAT, AICO_ENOMEM. */
AICO_MUST_USE int sessions_load_chains(struct sessions *sessions, struct moment now,
                                       struct bytes chains);
/* What opens a generation of @identity for us, as it left it at the broker. One that does not
 * verify is told as a SESSION_NOTICE. */
void sessions_take_stored_key(struct sessions *sessions, struct bytes name,
                              const uint8_t identity[SIGN_PUBLIC_SIZE], struct bytes key);
/* The reading key of another component, by the broker's word; one that does not verify changes
 * nothing. Empty: all there are were told. */
void sessions_take_reading(struct sessions *sessions, struct moment now,
                           const uint8_t identity[SIGN_PUBLIC_SIZE], struct bytes statement);
/* What we seal for stored rules waits until the reading keys of its readers are known. */
bool sessions_may_store(const struct sessions *sessions, struct bytes topic);

/* --- output --------------------------------------------------------------------------------- */

/* Bytes an envelope around this content takes at most, whoever seals it. */
size_t sessions_envelope_size(const struct sessions *sessions, size_t headers_size,
                              size_t payload_size);
/* The same for a batch of @count messages with so many bytes of headers and payload together. */
size_t sessions_batch_size(size_t count, size_t bytes);

/* The same for a message to @peer alone. */
size_t sessions_direct_size(struct sessions *sessions, struct moment now, struct bytes peer,
                            size_t headers_size, size_t payload_size);

/*
 * Seals one message for the readers of @topic straight into @out. Does not allocate once a topic is
 * known.
 *
 * @headers  a header block (envelope/headers.h); empty: none
 *
 * 0; AICO_EDENIED (no rule for the topic, or the rule does not let us publish), AICO_EINVAL
 * (the rule seals by channel, by ratchet or not at all), AICO_ETOOLARGE,
 * AICO_EFORMAT (@headers), AICO_ESIZE (no room), AICO_ELIMIT (topics), AICO_EFORKED, AICO_ENOMEM.
 * On failure @out holds what it held.
 */
AICO_MUST_USE int sessions_seal_group(struct sessions *sessions, struct moment now,
                                      struct bytes topic, uint8_t delivery, struct bytes headers,
                                      struct bytes payload, struct writer *out);
/* The same for @count messages (1..65535) that travel as one: one sealing, one count in the
 * sequence. Room: sessions_batch_size(). Also AICO_ETOOLARGE: together they are above
 * max_message_size. @later: it lacks its proof until sessions_prove(), which is called for all that
 * were sealed so before anything else is; they are proven at once, and stay where they are until
 * then. */
AICO_MUST_USE int sessions_seal_batch(struct sessions *sessions, struct moment now,
                                      struct bytes topic, uint8_t delivery,
                                      const struct content_item *items, size_t count, bool later,
                                      struct writer *out);
void sessions_prove(struct sessions *sessions, struct moment now, struct bytes topic);
/* Seals a will on @topic: what the broker is to publish when we are gone without a word. It must be
 * sealed anew whenever sessions_group_stamp() says another thing. As sessions_seal_group(). */
AICO_MUST_USE int sessions_seal_will(struct sessions *sessions, struct moment now,
                                     struct bytes topic, struct bytes payload, struct writer *out);
/* What a will on @topic is sealed for: generation and epoch. False: there is no group. */
struct group_stamp {
    uint64_t generation;
    uint32_t epoch;
};
bool sessions_group_stamp(const struct sessions *sessions, struct bytes topic,
                          struct group_stamp *ret_stamp);
/*
 * Whether the readers of @topic have what they need to open what is sealed now. The first call
 * starts handshakes with all readers the registry entitles (when they are at most 16) and sends
 * them the key; those who are away, or do not answer within two seconds, are not waited for. 0:
 * seal. AICO_ESTATE: wait for SESSION_GROUP_READY (it comes by sessions_deadline()). Else the error
 * sessions_seal_group() would give. Sealing without it works; the first messages are then read
 * only as far as the readers' hold reaches.
 */
AICO_MUST_USE int sessions_prepare_group(struct sessions *sessions, struct moment now,
                                         struct bytes topic);

/* What decides how much is best sealed together. */
struct group_form {
    bool is_padded; /* an envelope grows by up to an eighth */
    bool is_hashed; /* by its sender and each reader, for the vector that names the sender: several
                       that are not long take less than one that is, they are hashed at once (by the
                       readers, whether we can or not) */
};
void sessions_get_form(struct sessions *sessions, struct moment now, struct bytes topic,
                       struct group_form *ret_form);

/*
 * Seals one message for @peer alone (event, request, reply). If the registry marks one of the two
 * `peer aico` it is of format 0, which needs no channel: sessions_has_channel() is then true and
 * sessions_dial() answers at once. Nothing binds its reply to the request but the broker's word.
 *
 * @ref      reply: the request's ref (SESSION_REF_SIZE), else NULL
 * @ret_ref  SESSION_REF_SIZE: this envelope's; may be NULL
 *
 * On a topic whose rule says ratchet it is sealed with a ratchet; what that needs is on the disk
 * when this returns.
 *
 * 0; AICO_ESTATE (no channel or ratchet: sessions_want()), AICO_EPEERUNKNOWN (no active component
 * of that name), AICO_EDENIED (@ref is NULL and the topic's rule does not let us publish or @peer
 * subscribe), AICO_ETOOLARGE, AICO_EFORMAT (@headers; format 0 has none), AICO_ESIZE, AICO_EFORKED;
 * of format 0 also what sessions_dial() says, AICO_EDH and AICO_ENOMEM. On failure @out holds what
 * it held.
 */
AICO_MUST_USE int sessions_seal_direct(struct sessions *sessions, struct moment now,
                                       struct bytes peer, struct bytes topic, uint8_t delivery,
                                       const uint8_t *ref, struct bytes headers,
                                       struct bytes payload, struct writer *out, uint8_t *ret_ref);
/* Wants a channel with @peer: 0, and SESSION_READY or SESSION_LOST follows (at once if one stands).
 * Or, and then nothing follows: AICO_EPEERUNKNOWN, AICO_EREVOKED, AICO_ENOTALLOWED, AICO_ESELF,
 * AICO_EREGISTRYSTALE, AICO_ENOMEM. Calling it again while dialling changes nothing. */
AICO_MUST_USE int sessions_dial(struct sessions *sessions, struct moment now, struct bytes peer);
/*
 * The same for a message on @topic: where its rule says ratchet, a ratchet is what is needed. With
 * none, sessions_want() asks for the peer's prekeys (SESSION_BUNDLE); also AICO_ENOTYET (no
 * keeper).
 */
bool sessions_is_ready(struct sessions *sessions, struct moment now, struct bytes peer,
                       struct bytes topic);
AICO_MUST_USE int sessions_want(struct sessions *sessions, struct moment now, struct bytes peer,
                                struct bytes topic);
/* Sends PING to @peer over its channel; SESSION_PONG with *ret_number answers it. 0 or AICO_ESTATE
 * (no channel stands: sessions_dial()) or AICO_EFORMAT (format 0 has no PING), or
 * AICO_ERATE (more than 1000 a second). */
AICO_MUST_USE int sessions_ping(struct sessions *sessions, struct moment now, struct bytes peer,
                                uint64_t *ret_number);
/* Asks @peer to seal its last value of @topic for us: it comes as a direct message. 0 or
 * AICO_ESTATE (no channel stands: sessions_dial()). */
AICO_MUST_USE int sessions_ask_again(struct sessions *sessions, struct moment now,
                                     struct bytes peer, struct bytes topic);
/* Sends receipts (control_write_receipt() each) over the channel with @name: AICO_ESTATE without
 * one. */
AICO_MUST_USE int sessions_send_receipts(struct sessions *sessions, struct moment now,
                                         struct bytes name, struct bytes receipts);
/* Whether sessions_seal_direct() would find a channel. */
bool sessions_has_channel(struct sessions *sessions, struct moment now, struct bytes peer);

/* --- ratchets ------------------------------------------------------------------------------------
 */

/* The broker has so many one-time keys of ours: it gets more when they are few. */
void sessions_prekeys_left(struct sessions *sessions, struct moment now, size_t count);
/* The broker's answer to SESSION_BUNDLE: a statement, and a one-time key (DH_PUBLIC_SIZE) or NULL.
 * Checked here; SESSION_READY or SESSION_LOST follows. */
void sessions_bundle(struct sessions *sessions, struct moment now, struct bytes peer,
                     struct bytes statement, uint32_t number, const uint8_t *one_time);
/* It gave none; after AICO_ERATE it is asked again. */
void sessions_bundle_refused(struct sessions *sessions, struct moment now, struct bytes peer,
                             int code, const char *text);
/* The application has taken every message with event.kept up to @number. */
void sessions_taken(struct sessions *sessions, uint64_t number);

/* --- the world outside ------------------------------------------------------------------------ */

/* The broker says @peer is not connected (@code AICO_EPEERAWAY, or why it does not take records for
 * it): dialling it ends at once with SESSION_LOST. */
void sessions_peer_away(struct sessions *sessions, struct moment now, struct bytes peer, int code);
/* The broker says it is: back-off starts anew, and it gets the keys of our live groups. */
void sessions_peer_present(struct sessions *sessions, struct moment now, struct bytes peer);
/* The broker says it is another process now: what it knew is gone with the former one, so the next
 * message dials; at once if it must have the key of a will. Untrue, this costs a handshake. */
void sessions_peer_renewed(struct sessions *sessions, struct moment now, struct bytes peer);
/* The broker says with which of its keys @peer is connected: during a rotation there are two. It is
 * dialled by that one, and what stands with the other is not sealed with any more; an unknown key
 * changes nothing. Untrue, this costs a handshake. */
void sessions_peer_identity(struct sessions *sessions, struct moment now, struct bytes peer,
                            const uint8_t identity[SIGN_PUBLIC_SIZE]);
/* The link to the broker; what happened on it before is over. Initially up. */
void sessions_link_lost(struct sessions *sessions, struct moment now);
void sessions_link_up(struct sessions *sessions, struct moment now);
/*
 * From here on everything published on topics @filter matches reaches us (the broker said so), or
 * no more. Without it a topic somebody else publishes looks like loss as soon as it is subscribed
 * late. A client that never says it is taken to receive all from the start. AICO_ENOMEM, or
 * AICO_ETOPIC: @filter is none. `+` and `*` are one, and `#` and `**`.
 *
 * @shared  as one of a queue group: what does not come went to another member, and what comes may
 *          be out of order (one left, and what waited for it came here)
 */
AICO_MUST_USE int sessions_subscribed(struct sessions *sessions, struct moment now,
                                      struct bytes filter, bool shared);
void sessions_unsubscribed(struct sessions *sessions, struct bytes filter, bool shared);
/* The application does not read: envelopes wait at the broker, so no reader's key is erased by
 * idleness. Initially false. */
void sessions_set_backlogged(struct sessions *sessions, bool backlogged);

/* A verified registry of at least the current version; a reference is taken. Channels with the
 * revoked are wiped and groups react before this returns. */
void sessions_set_registry(struct sessions *sessions, struct moment now, struct registry *registry);

/* The boot_ms at which sessions_tick() must be called next; MOMENT_NEVER. */
int64_t sessions_deadline(const struct sessions *sessions);
void sessions_tick(struct sessions *sessions, struct moment now);
/*
 * We shall be gone: dials every reader that lacks the key of what we published, has it from nobody
 * but us, and is not known to be away; its key follows by itself. sessions_keyless() is how many
 * of them have not answered yet, one for each rule, and the name of the first (borrowed until the
 * next call) in @ret_name, which is left alone where there is none.
 */
void sessions_hand_over(struct sessions *sessions, struct moment now);
size_t sessions_keyless(struct sessions *sessions, struct bytes *ret_name);
/* Says FINAL on every channel and HEADS for every group; nothing can be sealed afterwards. */
void sessions_close(struct sessions *sessions, struct moment now);

void sessions_get_stats(const struct sessions *sessions, struct sessions_stats *ret_stats);

#endif
