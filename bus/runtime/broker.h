/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the broker's runtime share: struct aico_broker joins the core (broker/) with
 * sockets (transport/), files (store/) and the clock.
 *
 *   broker.c           the loop and the public functions
 *   broker_start.c     from a home to something that listens
 *   broker_sockets.c   listening sockets that somebody else made
 *   audit_writer.c     the audit log's thread
 *   metrics.c          a thread that answers with the broker's numbers
 *   broker_registry.c  who may open a link, and following the registry's file
 *   broker_store.c     a thread that stores and reads messages; store_orders.c: how
 *   broker_reload.c    the configuration read again
 *
 * The thread in aico_broker_run() owns everything; `lock` is there for aico_broker_status() and is
 * held whenever the loop is not waiting.
 */
#ifndef RUNTIME_BROKER_H
#define RUNTIME_BROKER_H

#include <pthread.h>
#include <stdatomic.h>

#include <aico/broker.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "broker/broker.h"
#include "runtime/audit_writer.h"
#include "runtime/metrics.h"
#include "store/home.h"
#include "transport/router.h"
#include "transport/wake.h"
#include "trust/registry.h"

/* A revocation bites within a second: so often the registry's file is looked at, and so long a
 * link that is to end may be told why. */
#define BROKER_LOOK_MS 200
#define BROKER_BYE_MS 500
_Static_assert(BROKER_LOOK_MS + BROKER_BYE_MS < 1000, "too late");

struct pass;
struct inherited;
struct store_worker;

/* Everything a start reads from the home. */
struct broker_home {
    struct aico_config *config; /* in force */
    char *config_path;          /* --config, for a reload; NULL: the home's */
    struct registry *registry;
    struct identity *identity; /* broker.key; freed once the socket has the transport key */
};

struct aico_broker {
    struct broker_home home;
    struct aico_config *started; /* a reload took the place of what the start had read; or NULL */
    int lock_fd;                 /* run/broker.lock: one broker a home */
    struct router *router;
    struct broker *core;
    struct wake wake;
    struct store_worker *store; /* NULL: this broker stores no messages */
    char **endpoints;           /* as bound; endpoint_count of them */
    size_t endpoint_count;
    struct inherited *inherited; /* sockets that listened before us; inherited_count of them */
    size_t inherited_count;
    pthread_mutex_t lock;
    struct audit_writer *audit; /* NULL until the home is locked */
    struct metrics *metrics;    /* NULL: not wanted */
    aico_broker_log log;
    void *log_context;
    aico_broker_pulse_function pulse;
    void *pulse_context;
    int64_t pulse_ms; /* boot_ms of the next one */

    /* From other threads and signal handlers. */
    atomic_int stops; /* how often aico_broker_stop() was called */
    atomic_bool reload;

    /* broker_registry.c */
    struct pass *passes; /* by User-Id */
    uint32_t next_serial;
    char *registry_path;
    struct file_stamp registry_stamp;
    int64_t look_ms;      /* boot_ms of the next look at the file */
    int64_t stale_say_ms; /* boot_ms at which its age may be mentioned again */
    int64_t refusals_ms;  /* boot_ms at which refused keys may be logged again */
    unsigned refusals_left;
    unsigned long refusals_unsaid;
    uint64_t other_keys; /* connections that expected another key, so far */

    /* broker.c */
    bool is_draining;
    int64_t drain_end_ms;
};

/* Logs one event; component and address may be NULL. */
void broker_say(struct aico_broker *b, enum aico_log_level level, enum aico_broker_event_kind kind,
                const char *component, const char *address, int code, const char *format, ...)
    __attribute__((format(printf, 7, 8)));

/* --- broker_start.c --- */

/* Reads and checks configuration, registry and key; writes nothing. */
AICO_MUST_USE int broker_home_load(const struct aico_broker_options *options,
                                   struct broker_home *ret_home, struct aico_error *err);
void broker_home_deinit(struct broker_home *home);
/* Lock, core, sockets: listening when it returns 0. */
AICO_MUST_USE int broker_start(struct aico_broker *b, struct aico_error *err);
/* Takes away the socket files that broker_start() made. */
void broker_remove_sockets(struct aico_broker *b);

/* --- broker_sockets.c --- */

/* Takes over what the options hand over; owned by the broker also when this fails. */
AICO_MUST_USE int broker_inherit(struct aico_broker *b, const struct aico_broker_options *options,
                                 struct aico_error *err);
/* The socket that listens at @endpoint already, and is taken by that; -1: none. */
int broker_find_inherited(struct aico_broker *b, const char *endpoint);
/* Whether the path of this endpoint is somebody else's affair. */
bool broker_is_inherited(const struct aico_broker *b, const char *endpoint);
/* All of them must have been taken: AICO_EINVAL names the first that was not. */
AICO_MUST_USE int broker_check_inherited(const struct aico_broker *b, struct aico_error *err);
void broker_close_inherited(struct aico_broker *b);
/* --- broker_store.c --- */

/* Opens state/broker/messages.db and starts its thread. A store that cannot be opened is logged,
 * and the broker works without it: what is not stored needs none. */
AICO_MUST_USE int broker_start_store(struct aico_broker *b, struct aico_error *err);
/* What the core wants stored or read goes to the thread; what it has done comes back. Whether
 * anything did. */
bool broker_exchange_orders(struct aico_broker *b, struct moment now);
/* Ends the thread when it has done everything it was given. */
void broker_stop_store(struct aico_broker *b);
/* The limits of the core as a configuration has them. */
void broker_settings_of(const struct aico_config *config, struct broker_settings *ret_settings);

/* --- broker_reload.c --- */

/*
 * Registry and configuration again: all of a good file, nothing of a bad one. Every changed key is
 * logged and, as JSON, appended to @answer. AICO_ECONFIG, AICO_ENOMEM: nothing was changed.
 */
int broker_reload(struct aico_broker *b, struct moment now, struct buffer *answer);

/* --- broker_registry.c --- */

/* Lets in whom the registry in force names. */
AICO_MUST_USE int broker_allow(struct aico_broker *b, struct aico_error *err);
/* The component a User-Id was given to; false when it is none of ours. */
bool broker_find_pass(const struct aico_broker *b, const char *user_id, struct bytes *ret_name,
                      const uint8_t **ret_identity);
void broker_free_passes(struct aico_broker *b);
/* Has the router look at the registry's file before somebody's key is refused. */
void broker_look_before_refusing(struct aico_broker *b);
/* Logs what the registry in force has that @former had not. */
void broker_say_changes(struct aico_broker *b, const struct registry *former);
/* The one that was in force last, also before this start; NULL: not known. The caller owns it. */
struct registry *broker_former_registry(const struct aico_broker *b);
/* Once a turn: looks at the registry's file when it is time, or now. */
void broker_look_at_registry(struct aico_broker *b, struct moment now, bool is_asked);
/* Logs the keys that were not let in. */
void broker_say_refusals(struct aico_broker *b, struct moment now);

#endif
