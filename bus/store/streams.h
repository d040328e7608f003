/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The message store of a broker: one SQLite file in WAL mode with synchronous=FULL. It holds what
 * the broker was given, envelopes: no key that opens one. Layout: docs/streams.md.
 *
 * Every message has a number; numbers rise over all streams and are never used again. A stream is
 * what one rule of the registry stores, named by the rule's filter.
 *
 * Writing happens between streams_begin() and streams_commit(): when that has returned 0, a power
 * cut loses nothing of it. After any failure the caller rolls back; nothing of the transaction is
 * kept then, and what was stored before stays readable.
 *
 * One connection, used by one thread at a time. Failures: AICO_ESTOREFULL (disk full or a limit of
 * the process), AICO_ESTOREREADONLY (of the file or its file system), AICO_ESTOREDAMAGED (not our
 * file, or a page that is not what was written), AICO_ESTORE (everything else: I/O error), each
 * with the path and cause in @err. When the cause is gone it goes on with what is open.
 */
#ifndef STORE_STREAMS_H
#define STORE_STREAMS_H

#include <aico/error.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "crypto/crypto.h"
#include "trust/registry.h"

#define STREAMS_SCOPE_SIZE 16  /* of a sender's count: group id and zeros, or its instance */
#define STREAMS_KEY_ID_SIZE 12 /* of a group */
#define STREAMS_READERS_MAX 256
#define STREAMS_MARKS_MAX 1000000
#define STREAMS_KEYS_MAX ((uint64_t)64 * 1024 * 1024)

struct streams; /* opaque; streams_open() .. streams_close() */

/* What retention did. */
struct streams_removed {
    uint64_t count;  /* messages that went */
    uint64_t missed; /* readers and senders for which streams_missed() has something new */
};

/* What one component may have of rows that no other limit counts. */
struct streams_limits {
    uint64_t readers; /* durable readers it has named, its own and those of queue groups */
    uint64_t marks;   /* its topics, each as often as its publisher began anew, of a day and of what
                         is stored */
    uint64_t keys;    /* bytes of the keys it left for readers, and 64 for each */
};

/* Opens or makes the file (mode 0600). Also AICO_EVERSION: a later program's layout. */
AICO_MUST_USE int streams_open(const char *path, struct streams **ret_streams,
                               struct aico_error *err);
/* Other limits than STREAMS_..._MAX. Copied. */
void streams_limit(struct streams *streams, const struct streams_limits *limits);
void streams_close(struct streams **streams);

/* After a sync that failed it first brings all that was committed into the file, and fails as long
 * as that fails. */
AICO_MUST_USE int streams_begin(struct streams *streams, struct aico_error *err);
AICO_MUST_USE int streams_commit(struct streams *streams, struct aico_error *err);
void streams_rollback(struct streams *streams);

/* The highest number ever given, 0: none. */
AICO_MUST_USE int streams_last(struct streams *streams, uint64_t *ret_number,
                               struct aico_error *err);

/* --- messages ------------------------------------------------------------------------------- */

/* One message, or a sealed batch of them. Everything is borrowed. */
struct stored_message {
    uint64_t number;     /* read: its own */
    struct bytes stream; /* filter of the rule; put only */
    struct bytes topic;
    const uint8_t *identity; /* of the sender, SIGN_PUBLIC_SIZE */
    struct bytes sender;     /* its name */
    uint64_t publish_id;
    int64_t stored_ms;  /* the broker's clock; put: never lower than the one before */
    uint32_t count;     /* messages in it */
    int64_t expires_ms; /* put: void then, the clock of stored_ms; 0: never */
    uint8_t scope[STREAMS_SCOPE_SIZE]; /* put: a sender's messages on a topic rise in `position`
                                          within a scope; what does not rise is there already */
    uint64_t position;
    struct bytes payload;
    struct bytes key; /* read: what opens it for the reader asked for; empty: nothing is stored */
};
/* Appends. *ret_number: 0 when it was stored before (sent again, by whatever run of the broker).
 * *ret_marks (may be NULL): with it its sender has so many (see streams_limits), 0: as many as
 * before. AICO_EQUOTA, with nothing done: too many. */
AICO_MUST_USE int streams_put(struct streams *streams, const struct stored_message *message,
                              uint64_t *ret_number, uint64_t *ret_marks, struct aico_error *err);

struct streams_query {
    uint64_t after;              /* numbers above this */
    struct bytes filter;         /* topics, canonical */
    uint64_t reader;             /* leaves out what it has settled; 0: nothing */
    struct bytes identities;     /* whose keys are looked up, SIGN_PUBLIC_SIZE each: what the first
                                    of them has; mail: whose mailbox */
    int64_t now_ms;              /* what is void then is left out */
    size_t count_max, bytes_max; /* one message is read however large it is */
};
/* Where a message is read to; false stops. */
typedef bool (*streams_sink)(void *context, const struct stored_message *message);
/* Messages in the order of their numbers. *ret_after: everything up to there was looked at;
 * *ret_more: there is something behind it. */
AICO_MUST_USE int streams_read(struct streams *streams, const struct streams_query *query,
                               streams_sink sink, void *context, uint64_t *ret_after,
                               bool *ret_more, struct aico_error *err);
/* One message by its number; AICO_ENOTFOUND: it was removed, or is void at @now_ms. */
AICO_MUST_USE int streams_read_one(struct streams *streams, uint64_t number, int64_t now_ms,
                                   struct bytes identities, streams_sink sink, void *context,
                                   struct aico_error *err);

/* --- readers -------------------------------------------------------------------------------- */

enum streams_start {
    STREAMS_NEW,    /* what is stored from now on */
    STREAMS_ALL,    /* everything there is */
    STREAMS_TIME,   /* stored at or after a time */
    STREAMS_NUMBER, /* from this number on */
    STREAMS_LAST,   /* from the last message there is */
};
#define STREAMS_START_MAX STREAMS_LAST

struct streams_reader {
    uint64_t id;     /* 0: has no name and is not kept */
    uint64_t floor;  /* everything up to there is settled */
    bool existed;    /* it goes on where it was, wherever it would have started */
    uint64_t count;  /* it did not: readers its maker has with it */
    uint64_t handed; /* up to there messages were handed out, settled or not */
    uint64_t below;  /* not 0: the last message was not found yet, call again with this and floor */
};
/*
 * The durable reader @name (empty: none is kept, only the place is found) of @component. A new one
 * begins at @start, @value: ms since 1970, or the number, and is counted as one of @maker's, a
 * component. To look for the last message may take several calls: with STREAMS_LAST @reader is
 * zero in the first, and in those that follow what the one before has left.
 *
 * Within a transaction if @name is not empty. Also AICO_EEXISTS: it reads another filter, which
 * @err names; AICO_EQUOTA: @maker has too many.
 */
AICO_MUST_USE int streams_follow(struct streams *streams, struct bytes component,
                                 struct bytes maker, struct bytes name, struct bytes filter,
                                 enum streams_start start, uint64_t value,
                                 struct streams_reader *reader, struct aico_error *err);
/* Messages up to @number are about to be handed out. Outside of a transaction; it outlives the
 * process, but is not waited for: after a power cut it may be forgotten. */
AICO_MUST_USE int streams_note_handed(struct streams *streams, uint64_t reader, uint64_t number,
                                      struct aico_error *err);
/* @number is done with; everything up to @floor is. */
AICO_MUST_USE int streams_settle(struct streams *streams, uint64_t reader, uint64_t number,
                                 uint64_t floor, struct aico_error *err);
/* @number goes to the dead letters of @reader: after @attempts deliveries, because of @code. It
 * stays there as long as the message is stored. */
AICO_MUST_USE int streams_bury(struct streams *streams, uint64_t reader, uint64_t number, int code,
                               uint32_t attempts, struct bytes reason, int64_t now_ms,
                               struct aico_error *err);
/* The same where @reader has not rejected it itself: it is told, see streams_missed(). */
AICO_MUST_USE int streams_bury_untold(struct streams *streams, uint64_t reader, uint64_t number,
                                      int code, struct aico_error *err);
/* The components whose durable readers match @topic, "$GROUP" for a queue group; one comes as often
 * as it has readers. @sink: 0 or AICO_ENOMEM. */
typedef int (*streams_component_sink)(void *context, struct bytes component);
AICO_MUST_USE int streams_readers_of(struct streams *streams, struct bytes topic,
                                     streams_component_sink sink, void *context,
                                     struct aico_error *err);
/* Forgets a durable reader. AICO_ENOTFOUND. */
AICO_MUST_USE int streams_forget(struct streams *streams, struct bytes component, struct bytes name,
                                 struct aico_error *err);

/* --- keys, as the broker was given them ------------------------------------------------------ */

/* What opens the messages of (@sender, @key_id) for @reader. Replaces an earlier one. @name: the
 * sender's; a key comes before its first message. *ret_used (may be NULL): what its keys take
 * with it (see streams_limits). AICO_EQUOTA: too much; then it is not there. */
AICO_MUST_USE int streams_put_key(struct streams *streams, const uint8_t sender[SIGN_PUBLIC_SIZE],
                                  struct bytes name, const uint8_t key_id[STREAMS_KEY_ID_SIZE],
                                  const uint8_t reader[SIGN_PUBLIC_SIZE], struct bytes key,
                                  int64_t now_ms, uint64_t *ret_used, struct aico_error *err);
/* The reading key of @identity, as it signed it. Replaces an earlier one. */
AICO_MUST_USE int streams_put_statement(struct streams *streams,
                                        const uint8_t identity[SIGN_PUBLIC_SIZE],
                                        struct bytes statement, struct aico_error *err);
typedef int (*streams_statement_sink)(void *context, const uint8_t identity[SIGN_PUBLIC_SIZE],
                                      struct bytes statement);
AICO_MUST_USE int streams_statements(struct streams *streams, streams_statement_sink sink,
                                     void *context, struct aico_error *err);

/* The prekey statement of @identity, as it signed it; empty: none any more. Replaces an earlier
 * one. */
AICO_MUST_USE int streams_put_prekey(struct streams *streams,
                                     const uint8_t identity[SIGN_PUBLIC_SIZE],
                                     struct bytes statement, struct aico_error *err);
AICO_MUST_USE int streams_prekeys(struct streams *streams, streams_statement_sink sink,
                                  void *context, struct aico_error *err);

/* --- mailboxes ------------------------------------------------------------------------------ */

struct stored_mail {
    struct stored_message message; /* without stream, count and key */
    const uint8_t *receiver;       /* SIGN_PUBLIC_SIZE; borrowed */
    int64_t expires_ms;            /* ms since 1970, the clock of stored_ms */
};
/* Appends to the mailbox of its receiver. *ret_number: 0 when it was stored before. *ret_used:
 * bytes in that mailbox with it; 0 when it was stored before. Within a transaction. */
AICO_MUST_USE int streams_mail_put(struct streams *streams, const struct stored_mail *mail,
                                   uint64_t *ret_number, uint64_t *ret_used,
                                   struct aico_error *err);
/* Bytes in the mailbox of @receiver. */
AICO_MUST_USE int streams_mail_used(struct streams *streams,
                                    const uint8_t receiver[SIGN_PUBLIC_SIZE], uint64_t *ret_used,
                                    struct aico_error *err);
/* What lies in the mailbox of query->identities above query->after and is not void at @now_ms;
 * filter and reader are not looked at. As streams_read(). */
AICO_MUST_USE int streams_mail_read(struct streams *streams, const struct streams_query *query,
                                    int64_t now_ms, streams_sink sink, void *context,
                                    uint64_t *ret_after, bool *ret_more, struct aico_error *err);
/* @number is taken out; 0 also when it is not there. Within a transaction. */
AICO_MUST_USE int streams_mail_take(struct streams *streams,
                                    const uint8_t receiver[SIGN_PUBLIC_SIZE], uint64_t number,
                                    struct aico_error *err);
/* The same unread, because of @code: its owner is told, see streams_missed(). *ret_missed: it was
 * there. */
AICO_MUST_USE int streams_mail_bury(struct streams *streams,
                                    const uint8_t receiver[SIGN_PUBLIC_SIZE], uint64_t number,
                                    int code, bool *ret_missed, struct aico_error *err);
/* What lies in the mailbox of @former, and what its owner has not been told yet, is @receiver's
 * from now on. Within a transaction. */
AICO_MUST_USE int streams_mail_inherit(struct streams *streams,
                                       const uint8_t receiver[SIGN_PUBLIC_SIZE],
                                       const uint8_t former[SIGN_PUBLIC_SIZE],
                                       struct aico_error *err);
/* How far a trim of the mailboxes is: mail goes in the order in which it expires. */
struct streams_mail_place {
    int64_t expires_ms;
    uint64_t number;
};
/* Deletes what is void at @now_ms; not from the mailboxes of @spared (SIGN_PUBLIC_SIZE each), whose
 * owners may have it at this moment. Looks at @rows_max of what is void behind @place ({0}: all),
 * which moves there, so that what is spared is passed over once. What it took is told to its
 * receivers, see streams_missed(). Within a transaction. */
AICO_MUST_USE int streams_mail_expire(struct streams *streams, int64_t now_ms, size_t rows_max,
                                      struct bytes spared, struct streams_mail_place *place,
                                      struct streams_removed *ret, bool *ret_more,
                                      struct aico_error *err);

/* --- retained values ------------------------------------------------------------------------ */

/* The last value of a topic. */
struct stored_value {
    struct stored_message message; /* without count and key */
    int64_t expires_ms;            /* ms since 1970, the clock of stored_ms */
    uint64_t limit;                /* bytes of all values of its sender, topics included */
    bool again; /* said again: it does not replace one of another sender, nor one that is gone and
                   was in the place of another sender's */
};
/* Replaces the value of its topic. *ret_number: 0 when this one was there before, or a later one.
 * *ret_used: bytes of all values of its sender with it; 0 when it was there. AICO_EQUOTA: that
 * would be more than the limit (*ret_used: what there is), nothing has changed. Within a
 * transaction. */
AICO_MUST_USE int streams_value_put(struct streams *streams, const struct stored_value *value,
                                    uint64_t *ret_number, uint64_t *ret_used,
                                    struct aico_error *err);
/* Values of the topics query->filter matches, numbers above query->after, which are not void at
 * @now_ms; with the keys for query->identities. As streams_read(). */
AICO_MUST_USE int streams_value_read(struct streams *streams, const struct streams_query *query,
                                     int64_t now_ms, streams_sink sink, void *context,
                                     uint64_t *ret_after, bool *ret_more, struct aico_error *err);
/* Deletes what is void at @now_ms, at most @rows_max. Within a transaction. */
AICO_MUST_USE int streams_value_expire(struct streams *streams, int64_t now_ms, size_t rows_max,
                                       uint64_t *ret_removed, bool *ret_more,
                                       struct aico_error *err);
/* Deletes every value of @sender. Within a transaction. */
AICO_MUST_USE int streams_value_drop(struct streams *streams,
                                     const uint8_t sender[SIGN_PUBLIC_SIZE], uint64_t *ret_removed,
                                     struct aico_error *err);

/* --- what a reader will not get ------------------------------------------------------------- */

/*
 * What was removed before a durable reader, or the owner of a mailbox, had got it is kept as counts
 * by sender, topic and cause until the reader says that it has been told. A message that was handed
 * out before it was removed stands by itself: it may still be settled, and is not missing then.
 */
struct missed {
    uint64_t token; /* of this report, for streams_missed_take(); never used again */
    const uint8_t *identity;
    struct bytes sender, topic;
    int code;            /* negative */
    bool one;            /* of message `number` alone, which was handed out */
    uint64_t count;      /* messages */
    uint64_t number;     /* the last one of them */
    uint64_t publish_id; /* its */
    uint64_t told;       /* how often before */
};
typedef bool (*streams_missed_sink)(void *context, const struct missed *missed);
/* What @reader, or if that is 0 the owner @box of a mailbox, has to be told, at most @count_max.
 * Left out are messages in @out, which it has at this moment, and tokens in @open, which it has not
 * answered (u64 each, rising, big endian). What was said does not grow any more. Within a
 * transaction. */
AICO_MUST_USE int streams_missed(struct streams *streams, uint64_t reader, const uint8_t *box,
                                 struct bytes out, struct bytes open, size_t count_max,
                                 streams_missed_sink sink, void *context, bool *ret_more,
                                 struct aico_error *err);
/* It has been told. Within a transaction. */
AICO_MUST_USE int streams_missed_take(struct streams *streams, uint64_t reader, const uint8_t *box,
                                      uint64_t token, struct aico_error *err);

/* --- retention ------------------------------------------------------------------------------ */

/* Whether something is void at @now_ms and not removed yet. */
AICO_MUST_USE int streams_has_void(struct streams *streams, int64_t now_ms, bool *ret_has,
                                   struct aico_error *err);
/* Removes messages that are void at @now_ms, at most @rows_max. Within a transaction. */
AICO_MUST_USE int streams_expire(struct streams *streams, int64_t now_ms, size_t rows_max,
                                 struct streams_removed *ret, bool *ret_more,
                                 struct aico_error *err);
/* Deletes from the front of @stream what is beyond @limits, at most @rows_max; *ret_more: there is
 * more to do. Within a transaction. */
AICO_MUST_USE int streams_trim(struct streams *streams, struct bytes stream,
                               const struct rule_store *limits, int64_t now_ms, size_t rows_max,
                               struct streams_removed *ret, bool *ret_more, struct aico_error *err);
/* Deletes everything of @stream up to @up_to (0: all of it, and its values). AICO_ENOTFOUND: no
 * such stream. Within a transaction. */
AICO_MUST_USE int streams_purge(struct streams *streams, struct bytes stream, uint64_t up_to,
                                struct streams_removed *ret, struct aico_error *err);
/* Keys and counts whose messages are all gone, for a day at least, and what nothing names: looks at
 * @rows_max rows, and at the next of them with each call. *ret_more false: those were the last, the
 * next call begins anew. Within a transaction. */
AICO_MUST_USE int streams_sweep(struct streams *streams, int64_t now_ms, size_t rows_max,
                                bool *ret_more, struct aico_error *err);

/* Appends a JSON array: streams with count, bytes, first, last; with a @stream also its readers and
 * dead letters. AICO_ENOTFOUND: no such stream. */
AICO_MUST_USE int streams_json(struct streams *streams, struct bytes stream, struct buffer *out,
                               struct aico_error *err);

#endif
