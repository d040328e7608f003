/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our own prekeys, PROTOCOL 9: statements and their one-time keys with their secrets, and which
 * (sender, EK) were seen. A statement is new every 7 days, expires after 14, and is erased with all
 * that belongs to it 14 days later. Every change goes into the caller's struct keep_batch. Secrets
 * live in guarded memory. One owner.
 */
#ifndef SESSION_SHELF_H
#define SESSION_SHELF_H

#include "session/keep.h"
#include "session/prekey.h"

#define SHELF_FULL 100         /* one-time keys of ours the broker has after a refill */
#define SHELF_LOW 25           /* refilled below */
#define SHELF_KEPT_MAX 1024    /* secrets of one statement: the oldest go */
#define SHELF_SEEN_MAX 65536   /* (sender, EK); then no further start is taken */
#define SHELF_STATEMENTS_MAX 8 /* 4 of a week each live at a time; a clock may have jumped */

struct shelf; /* opaque; shelf_new() .. shelf_free() */

struct shelf *shelf_new(void);
void shelf_free(struct shelf **shelf);
/* A stored row of kind 's', 'o' or 'e': 0, AICO_EFORMAT, AICO_ENOMEM. Statements come last. */
AICO_MUST_USE int shelf_take_row(struct shelf *shelf, struct bytes key, struct bytes value);

/* Makes a statement when there is none or the newest is a week old, and erases what is over; 1 when
 * there is a new one, 0, AICO_ENOMEM. */
AICO_MUST_USE int shelf_renew(struct shelf *shelf, const struct handshake_context *context,
                              struct hedge *hedge, struct moment now, struct keep_batch *batch);
/* The ms since 1970 at which shelf_renew() has something to do; INT64_MAX. */
int64_t shelf_deadline(const struct shelf *shelf);
/* The newest statement (PREKEY_STATEMENT_SIZE, borrowed) and its number; NULL: none yet. */
const uint8_t *shelf_statement(const struct shelf *shelf, uint32_t *ret_number);
/* Makes @count one-time keys of the newest statement and appends their public parts
 * (PREKEY_ONE_TIME_SIZE each) to @to. 0 or AICO_ENOMEM. */
AICO_MUST_USE int shelf_refill(struct shelf *shelf, struct hedge *hedge, size_t count,
                               struct keep_batch *batch, struct buffer *to);

/* What an Init names. */
struct shelf_found {
    const uint8_t *statement; /* PREKEY_STATEMENT_SIZE */
    const struct secret *secret;
    const struct secret *one_time; /* NULL: it names none */
};
/* 0, AICO_EPREKEYOLD (no such statement, or another one), AICO_EPREKEYUSED (the one-time key is
 * gone), AICO_EREPLAY ((sender, EK) was seen), AICO_ELIMIT. */
AICO_MUST_USE int shelf_find(const struct shelf *shelf, const struct prekey_init *init,
                             struct shelf_found *ret_found);
/* What was opened with an Init, or passed over: numbers below @next, sealed until @newest_ms
 * (sender's clock). */
struct shelf_opened {
    uint32_t next;
    int64_t newest_ms;
};
/* The start named by @init succeeded: its one-time key is erased, (sender, EK) is seen. */
AICO_MUST_USE int shelf_spend(struct shelf *shelf, const struct prekey_init *init,
                              const struct shelf_opened *opened, struct keep_batch *batch);
/* The ratchet it began is given up, after it has opened @opened. */
void shelf_give_up(struct shelf *shelf, const struct prekey_init *init,
                   const struct shelf_opened *opened, struct keep_batch *batch);
/* Whether @number, sealed with @init at @sent_ms, is among what was opened. */
bool shelf_has_opened(const struct shelf *shelf, const struct prekey_init *init, uint32_t number,
                      int64_t sent_ms);

#endif
