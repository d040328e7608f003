/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the backend says: answers to requests as JSON, and lines of the conversation. Bytes in,
 * text out; the store is asked, nothing is sent. The backend's only thread.
 */
#ifndef BACKEND_ANSWERS_H
#define BACKEND_ANSWERS_H

#include "backend/log_store.h"

#define TOPIC_LOGS "logs/**"
#define TOPIC_LOG_QUERY "logs/query/v1"
#define TOPIC_STATUS "system/status/v1"
#define TOPIC_CONVERSATION_INPUT "conversation/user/input/v1"
#define TOPIC_CONVERSATION_OUTPUT "conversation/ai/output/v1"

/*
 * Answers a log query. The question is a JSON object, every member optional:
 *
 *   text        words that must all occur            sender, topic   exact ("logs/app/" and two
 *   since_ms    received at or after, ms since 1970                  stars: all below)
 *   after_id    rows after this id, oldest first     limit           rows, 0..1000, default 20
 *   count_only  no rows
 *
 * and the answer {"count": rows that match, "total": rows stored, "rows": [{"id", "sender",
 * "topic", "sequence", "sent_ms", "received_ms", "payload" or "payload_base64"}]}, with
 * "truncated": true when the rows would not fit in one answer (go on with after_id), or {"error":
 * text}.
 *
 * Returns 0 (also for a question that was answered with an error) and text the caller frees, or the
 * failure of the store, after which the backend cannot go on.
 */
int answer_log_query(struct log_store *store, const void *question, size_t size, char **ret_json,
                     struct aico_error *err);

/* The backend's own numbers, for system/status/v1. */
struct backend_numbers {
    const char *name;   /* our component name; borrowed */
    int64_t started_ms; /* since 1970 */
    uint64_t uptime_ms;
    uint64_t received;   /* log messages since start */
    uint64_t questions;  /* requests answered since start */
    uint64_t reconnects; /* of the bus connection */
};
/* Text the caller frees; NULL when out of memory. */
char *answer_status(const struct log_store *store, const struct backend_numbers *numbers);

/*
 * Answers a line of the conversation: /count, /find WORDS, /help, or words to look for.
 *
 * Returns 0 and text the caller frees, or the failure of the store.
 */
int answer_conversation(struct log_store *store, const void *line, size_t size, char **ret_text,
                        struct aico_error *err);

#endif
