/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend's log messages in SQLite, with full text search. Owned by the backend's only thread.
 *
 * Rows are written in transactions: they become durable, and visible to others, at
 * log_store_commit(), which the backend calls after LOG_BATCH_ROWS rows or LOG_BATCH_MS and before
 * every question, so an answer counts everything received before it.
 */
#ifndef BACKEND_LOG_STORE_H
#define BACKEND_LOG_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <aico/client.h>

#define LOG_BATCH_ROWS 500
#define LOG_BATCH_MS 200
#define LOG_TEXT_MAX 1000 /* bytes of a searched text */
#define LOG_LIMIT_MAX 1000

struct log_store; /* opaque; log_store_open() .. log_store_close() */

/**
 * Opens or makes the database (mode 0600 by umask); missing folders above it are made too.
 *
 * Returns 0, AICO_ECONFIG (not a database of ours, or one of a newer version), AICO_ESYSTEM,
 * AICO_EFULL (disk full), AICO_ENOMEM.
 */
int log_store_open(const char *path, struct log_store **ret_store, struct aico_error *err);
/* Rows not committed are lost: commit first. NULL inside is allowed. */
void log_store_close(struct log_store **store);

/**
 * Adds one message to the current transaction, beginning one if there is none. A message already
 * stored (same sender, topic, time, sequence) is counted as a duplicate and not stored again.
 *
 * Returns 0, AICO_EFULL (disk full) or AICO_ESYSTEM; after a failure the transaction is void.
 */
int log_store_add(struct log_store *store, const struct aico_message *message, int64_t received_ms,
                  struct aico_error *err);
/* Records that messages are missing (AICO_MESSAGE_GAP) or did not open (AICO_MESSAGE_UNOPENED). */
int log_store_add_loss(struct log_store *store, const struct aico_message *message,
                       int64_t received_ms, struct aico_error *err);
/* Ends the current transaction, if any. Errors as log_store_add(). */
int log_store_commit(struct log_store *store, struct aico_error *err);

struct log_counters {
    uint64_t stored;     /* rows committed, of all time */
    uint64_t pending;    /* rows in the open transaction */
    uint64_t duplicates; /* since the store was opened */
    uint64_t gaps;       /* messages reported missing, of all time */
    uint64_t unopened;   /* messages that did not open, of all time */
    int64_t bytes;       /* of the database file */
};
struct log_counters log_store_counters(const struct log_store *store);
/* Rows in the open transaction, or lost with the one that failed; asked after every row. */
uint64_t log_store_pending(const struct log_store *store);

/* What is asked; NULL or 0: not restricted. Borrowed. */
struct log_query {
    const char *text; /* words that must all occur; no operators: every word is taken literally */
    const char *sender;
    const char *topic; /* a topic, or one ending in a level of two stars for all below it */
    int64_t since_ms;  /* received at or after */
    int64_t after_id;  /* pages: rows with a larger id, oldest first; 0: the newest, newest first */
    int limit;         /* rows, 0..LOG_LIMIT_MAX */
};

struct log_row {
    int64_t id;
    const char *sender;
    const char *topic;
    int64_t sequence;
    int64_t sent_ms;
    int64_t received_ms;
    const void *payload;
    size_t size;
};
/* Called for each row, whose pointers are valid only during the call; false ends the query. */
typedef bool log_row_function(void *context, const struct log_row *row);

/**
 * Commits, then counts the rows that match (without regard to after_id and limit), then hands the
 * first ones to @each.
 *
 * Returns 0, AICO_EINVAL (text longer than LOG_TEXT_MAX), or as log_store_add().
 */
int log_store_query(struct log_store *store, const struct log_query *query, log_row_function *each,
                    void *context, uint64_t *ret_count, struct aico_error *err);

#endif
