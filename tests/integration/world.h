/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A home in a temporary folder, a broker of it in a thread of its own on an ipc and a tcp endpoint,
 * and clients of both: for tests that need all of it. The test's thread only.
 */
#ifndef INTEGRATION_WORLD_H
#define INTEGRATION_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include <aico/broker.h>
#include <aico/client.h>

#include "crypto/identity.h"
#include "trust/document.h"

#define WAIT_MS 30000 /* only who fails waits so long */

enum person { OWNER, BROKER, ALICE, BOB, CAROL, DAVE, PEOPLE };
extern const char *const names[PEOPLE];

struct world {
    char home[64];
    unsigned port;
    char ipc[128], tcp[64]; /* where the broker listens */
    struct secret seeds[PEOPLE];
    struct identity *identities[PEOPLE];
    struct registry *registry; /* the newest */
    struct aico_broker *broker;
    pthread_t thread;
    bool is_running;
    int run_result;
};

/* cmocka's setup and teardown: *state is a world whose broker runs. All but DAVE are registered;
 * DAVE has a key file. */
int world_new(void **state);
int world_free(void **state);

void world_start(struct world *world);
/* Lets it say goodbye to everybody; @at_once: does not. */
void world_stop(struct world *world, bool at_once);

/* --- the owner --- */

/* Signs what was drafted from world->registry, and puts it in the home. */
void world_publish(struct world *world, struct registry_draft *draft);
void world_revoke(struct world *world, enum person who);
void world_set_rule(struct world *world, const char *filter, const char *publish,
                    const char *subscribe, enum rule_seal seal);
/* @who, not registered so far, is the broker from now on. */
void world_replace_broker(struct world *world, enum person who);
/* Another home beside the first, with the same keys and the registry as it is now; @home gets its
 * path. world_free() removes it. */
void world_copy_home(struct world *world, const char *suffix, char home[80]);
void world_configure(const char *home, const struct world *world, const char *more);
/* A folder with all that is in it. */
void world_remove(const char *folder);
/* Writes a file of @home. */
void world_write(const char *home, const char *name, struct bytes text);

/* --- clients --- */

/* Fails the test when it cannot. */
struct aico_client *join(struct world *world, enum person who);
struct aico_client *join_at(struct world *world, enum person who, const char *endpoint);
int try_join(const char *home, enum person who, const char *endpoint, int64_t timeout_ms,
             struct aico_client **ret_client, struct aico_error *err);
uint32_t subscribe(struct aico_client *client, const char *filter);
void publish(struct aico_client *client, const char *topic, const char *text);
void flush(struct aico_client *client);
/* The next message, which must be of @kind; fails the test when none comes. */
struct aico_message *expect(struct aico_client *client, enum aico_message_kind kind);
/* As expect(), and says what it is. */
void expect_text(struct aico_client *client, const char *topic, const char *sender,
                 const char *text);
/* Nothing is there now. */
void expect_nothing(struct aico_client *client);
void leave(struct aico_client **client);

int64_t clock_ms(void);

#endif
