/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may open a broker link: the handler of ZeroMQ's authentication protocol (ZAP, RFC 27), a CZMQ
 * actor with a thread of its own. It knows a directory of X25519 keys and answers 200 with the
 * User-Id found there, 500 to a key that was valid once and is no more, or 400 to one it does not
 * know. Who gets that far has proven that it holds the secret of the key.
 *
 * Its socket lies in the context of the broker's ROUTER, where libzmq looks for it; only the pipe
 * that starts and stops the actor lies in CZMQ's own context, which is one for the process. So
 * several brokers may live in one process, and clients never touch CZMQ.
 *
 * zap_start(), zap_set_look() and zap_stop() by the broker's thread; the rest from any thread.
 */
#ifndef TRANSPORT_ZAP_H
#define TRANSPORT_ZAP_H

#include <aico/error.h>

#include "base/bytes.h"
#include "transport/context.h"

#define ZAP_DOMAIN "aico"
#define ZAP_KEY_SIZE 32
#define ZAP_USER_ID_MAX 95
#define ZAP_ADDRESS_MAX 95

struct zap;           /* opaque; zap_start() .. zap_stop() */
struct zap_directory; /* opaque; a snapshot that is built once and then handed over */

/* NULL without memory. */
struct zap_directory *zap_directory_new(void);
void zap_directory_free(struct zap_directory **directory);
/*
 * Lets the owner of @key in as @user_id.
 *
 * @until_ms  real_ms at which that ends; INT64_MAX: never
 * 0, AICO_EINVAL (user_id empty or too long), AICO_EEXISTS (@key is there), AICO_ENOMEM.
 */
AICO_MUST_USE int zap_directory_add(struct zap_directory *directory,
                                    const uint8_t key[ZAP_KEY_SIZE], const char *user_id,
                                    int64_t until_ms);

/* Knows @key as one that is valid no more. 0, AICO_EEXISTS (@key is there), AICO_ENOMEM. */
AICO_MUST_USE int zap_directory_add_former(struct zap_directory *directory,
                                           const uint8_t key[ZAP_KEY_SIZE]);

/*
 * Starts the handler; it must run before the ROUTER binds. Until a directory is set nobody is let
 * in. One per context: AICO_EEXISTS. 0, AICO_ENOMEM, AICO_ESYSTEM.
 */
AICO_MUST_USE int zap_start(struct transport *transport, struct zap **ret_zap,
                            struct aico_error *err);
/* After the ROUTER was closed. NULL inside is allowed; set to NULL. */
void zap_stop(struct zap **zap);

/* From now on @directory decides (handed over; set to NULL); the former one is freed. */
void zap_set_directory(struct zap *zap, struct zap_directory **directory);

/*
 * What is asked before a key is refused: is there a newer directory? @ask, called by the handler's
 * thread, must not block; whoever it wakes calls zap_set_directory() if there is, then
 * zap_looked(). The handler waits ZAP_LOOK_MS for that at most, and asks ZAP_LOOKS_RATE times a
 * second, so strangers cannot make the others wait. Before anybody can connect.
 */
#define ZAP_LOOK_MS 1000
#define ZAP_LOOKS_RATE 20
void zap_set_look(struct zap *zap, void (*ask)(void *context), void *context);
bool zap_wants_look(struct zap *zap);
void zap_looked(struct zap *zap);

/* A key that was not let in, for the log. */
struct zap_refusal {
    uint8_t key[ZAP_KEY_SIZE]; /* zeros if it was no CURVE key at all */
    char address[ZAP_ADDRESS_MAX + 1];
    unsigned long more; /* refusals since the last call that found no room to be remembered */
};
bool zap_next_refusal(struct zap *zap, struct zap_refusal *ret_refusal);

#endif
