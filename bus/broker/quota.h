/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one component may take of the broker. A quota belongs to an identity, not to a link: who
 * connects again has used up what it had. Each is warned about in the log and in the statistics
 * when 80 % of it are in use, and only then refused, by the name of its key.
 */
#ifndef BROKER_QUOTA_H
#define BROKER_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bucket.h"

struct broker;
struct broker_peer;
struct json;
struct member;
struct rule;

enum quota {
    QUOTA_CONNECTIONS,   /* links at once */
    QUOTA_SUBSCRIPTIONS, /* at once */
    QUOTA_REQUESTS,      /* that wait for a reply */
    QUOTA_PUBLISH_RATE,  /* PUBLISH records a second, control messages aside */
    QUOTA_OUTBOX,        /* bytes by subscription that wait for it: the slow policy decides then */
    QUOTA_MAILBOX,       /* bytes kept for it until it has taken them */
    QUOTA_VALUES,        /* bytes of its stored values */
    QUOTAS
};

/* What a component changes once in days, each change with work for others: SCARCE_BURST at once,
 * and one a second. */
enum scarce {
    SCARCE_READING, /* its reading key */
    SCARCE_PREKEYS, /* its prekey statement */
    SCARCES
};
#define SCARCE_BURST 20

/* Rows of the store that no key of security.yaml bounds: the store itself does. */
enum rows {
    ROWS_READERS, /* durable readers, by number */
    ROWS_TOPICS,  /* topics with stored messages, by number */
    ROWS_KEYS,    /* keys left for readers, by bytes */
    ROW_KINDS
};
#define ROWS_READERS_MAX 256
#define ROWS_TOPICS_MAX 1000000
#define ROWS_KEYS_MAX ((uint64_t)64 * 1024 * 1024)

/* Of one member; zero-initialised. */
struct quotas {
    size_t links;
    struct bucket publish; /* QUOTA_PUBLISH_RATE */
    struct bucket control; /* control messages and questions: fixed, see TOKENS_PER_SECOND */
    struct bucket links_opened;
    struct scarce_state {
        struct bucket bucket;
        int64_t warned_ms; /* as in quota_state */
    } scarce[SCARCES];
    int64_t rows_warned_ms[ROW_KINDS], rows_refused_ms[ROW_KINDS];
    struct quota_state {
        bool was_warned, was_refused;  /* since the broker started */
        int64_t warned_ms, refused_ms; /* boot_ms of the last line in the log about it */
        uint64_t refused;
    } states[QUOTAS];
};

/* The key in security.yaml, section broker; never NULL. */
const char *quota_key(enum quota quota);
/* 0: none. */
uint64_t quota_limit(const struct broker *broker, enum quota quota);
/*
 * Whether @member, which uses @used, may take one more; else that is counted and logged, and the
 * caller refuses with quota_hint(). @peer: for the log, may be NULL.
 */
bool quota_allows(struct broker *broker, struct member *member, const struct broker_peer *peer,
                  enum quota quota, uint64_t used);
/* The same for QUOTA_PUBLISH_RATE, and the token is taken. */
bool quota_take_publish(struct broker *broker, struct broker_peer *peer);
/* The same for a change by @peer of what is scarce, as @rule (NULL: none) lets it; else its session
 * ends, for such records are not answered. */
bool quota_take_scarce(struct broker *broker, struct broker_peer *peer, enum scarce scarce,
                       const struct rule *rule);
/* @member has so many of @kind now, or (@is_refused) was refused more: a line in the log if it is
 * near the limit. */
void quota_watch_rows(struct broker *broker, struct member *member, enum rows kind, uint64_t used,
                      bool is_refused);
/* @used is in use now: warns if that is near the limit. For what is not refused. */
void quota_watch(struct broker *broker, struct member *member, const struct broker_peer *peer,
                 enum quota quota, uint64_t used);
/* All links of the broker together. */
void quota_watch_links(struct broker *broker);

#define QUOTA_HINT_SIZE 200
/* "max_requests: 4096 for one component, all in use; raise broker.max_requests in security.yaml":
 * written to @to, which is returned. */
const char *quota_hint(const struct broker *broker, enum quota quota, char to[QUOTA_HINT_SIZE]);

/* Two objects: "quota_warnings" and "quota_refusals", by key. */
void quota_put_totals(const struct broker *broker, struct json *json);
/* "limits": for every quota that is in force what is used of it. */
void quota_put_peer(const struct broker *broker, struct json *json, const struct broker_peer *peer);

#endif
