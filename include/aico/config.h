/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: security.yaml and the file of one component, read, checked and completed.
 *
 * The schema table of the library is the only place where keys, defaults and ranges stand; the
 * parser, aico_config_print(), the commented example and docs/configuration.md all come from it.
 * An unknown key, a wrong type or a value out of range stops the start and names
 * FILE:LINE:COLUMN, the key, what is allowed and the nearest known key.
 *
 * Threads: no global state. A loaded struct aico_config never changes and may be read from any
 * thread. Loading reads the environment (HOME, AICO_HOME), so not while another thread sets it.
 */
#ifndef AICO_CONFIG_H
#define AICO_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <aico/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AICO_CONFIG_FILE_MAX 262144 /* bytes in a configuration file; more is refused */
#define AICO_CONFIG_PROBLEMS_MAX 20

/* The numbers are those of the handshake's policy word. */
enum aico_security_level {
    AICO_SECURITY_STANDARD = 0,
    AICO_SECURITY_HIGH = 1,
    AICO_SECURITY_MAXIMUM = 2
};

enum aico_padding { AICO_PADDING_NONE = 0, AICO_PADDING_PADME = 1 };

enum aico_log_level { AICO_LOG_ERROR, AICO_LOG_WARNING, AICO_LOG_INFO, AICO_LOG_DEBUG };
enum aico_log_format { AICO_LOG_TEXT, AICO_LOG_JSON, AICO_LOG_JOURNAL };

/** Texts in the order of the file; owned by the configuration they stand in. */
struct aico_config_list {
    char **items;
    size_t count;
};

/**
 * The effective settings of one process. Every text is owned by this struct; paths are absolute,
 * `~` and ${AICO_HOME} are expanded. The meaning of each key stands in docs/configuration.md.
 */
struct aico_config {
    char *home;          /* the home of this installation */
    char *component;     /* the name whose file was read; NULL: none */
    char *security_file; /* where security.yaml is or would be */

    /* security.transport; of encryption, key_exchange and authentication one value each exists */
    char *bus_namespace;         /* key `namespace`: 1..64 bytes */
    int security_level;          /* enum aico_security_level; raised by the component file */
    int padding;                 /* enum aico_padding, for channels */
    int64_t registry_max_age_ms; /* 0: off */
    bool require_fresh_handshake;
    bool allow_key_reuse;
    bool enforce_message_ordering;
    int64_t session_timeout_ms;
    int64_t key_rotation_interval_ms;
    int64_t handshake_timeout_ms;
    int64_t keepalive_interval_ms;
    int64_t connection_retry_limit; /* attempts; 0: for ever */
    int64_t max_message_size;       /* bytes of content */
    int64_t synchrony_bound_ms;
    int64_t group_epoch_ms;
    int64_t max_skipped_messages; /* messages */
    char *psk_file;               /* path; NULL: no pre-shared key. Not for the broker */

    /* broker */
    struct aico_config_list endpoints; /* "ipc:///path" and "tcp://host:port"; at least one */
    int64_t outbox_limit_bytes;        /* queued for one peer */
    int64_t publish_window_bytes;      /* publish credit of one client */
    int64_t max_connections;
    int64_t max_connections_per_component;
    int64_t max_subscriptions; /* of one component, as the next two */
    int64_t max_requests;
    int64_t mailbox_limit_bytes;
    int64_t value_limit_bytes;
    int64_t publish_rate; /* records a second; 0: no limit */
    int64_t max_topics;
    int64_t max_retained;         /* topics whose last value is kept */
    int64_t retained_limit_bytes; /* of all those values */
    char *metrics_socket;         /* path; NULL: none */
    int64_t io_threads;
    int log_level;  /* enum aico_log_level */
    int log_format; /* enum aico_log_format */
    int64_t drain_timeout_ms;

    /* the component file */
    char *identity_file;   /* always set; default: identities/NAME.key, the broker's broker.key;
                              NULL only when no component was named */
    char *listen_address;  /* as an endpoint; NULL: not given */
    char *backend_address; /* as an endpoint; NULL: not given */
    bool has_allowed_components; /* false: every registered component may open a channel to us */
    struct aico_config_list allowed_components; /* true and an empty list: nobody may */
    bool auto_reconnect;
    int64_t busy_poll_us; /* who waits asks again and again for so long before it sleeps */

    /* Where this component finds the bus: backend_address, else listen_address, else the first of
     * `endpoints`. A wildcard host has become the loopback address. Always set. */
    char *connect_endpoint;

    struct aico_config_origins *origins; /* private: where each value came from */
};

/** Everything that is wrong, in the order of the files; texts as in struct aico_error. */
struct aico_config_problems {
    size_t count; /* entries in use */
    size_t more;  /* further problems that found no room */
    struct aico_error problems[AICO_CONFIG_PROBLEMS_MAX];
};

/**
 * Reads security.yaml and the component's file, and checks both.
 *
 * A missing HOME/security.yaml or HOME/config/COMPONENT.yaml means defaults; a @config_file that
 * was named must be there.
 *
 * @home         NULL: $AICO_HOME, else ~/.aico; copied
 * @config_file  instead of HOME/security.yaml; may be NULL; copied
 * @component    whose file config/COMPONENT.yaml to read; NULL: none; copied
 * @ret_config   receives a configuration the caller frees; untouched on failure
 * @err          receives the first problem on failure; may be NULL
 *
 * Returns 0, AICO_ECONFIG (also for a setting that this version does not offer), AICO_EINVAL (bad
 * component name, no home to be found), AICO_ESYSTEM or AICO_ENOMEM.
 */
AICO_API AICO_MUST_USE int aico_config_load(const char *home, const char *config_file,
                                            const char *component, struct aico_config **ret_config,
                                            struct aico_error *err);

/**
 * As aico_config_load(), but says everything that is wrong instead of the first thing.
 *
 * @ret_problems  overwritten; with count 0 when the result is 0
 *
 * Returns 0 or the code of the first problem.
 */
AICO_API int aico_config_check(const char *home, const char *config_file, const char *component,
                               struct aico_config_problems *ret_problems);

/** Frees @config and sets it to NULL; NULL inside is allowed. */
AICO_API void aico_config_free(struct aico_config **config);

/**
 * Writes the effective configuration as YAML: each key with its meaning, value and origin
 * ("default" or FILE:LINE). Both documents of the output can be loaded again.
 *
 * Returns 0 or AICO_ESYSTEM when @out does not take it.
 */
AICO_API int aico_config_print(const struct aico_config *config, FILE *out);

/** One setting that differs. The texts are as in the file and live during the call only. */
typedef void (*aico_config_change)(void *context, const char *key, const char *before,
                                   const char *after);

/** Calls @changed for every key whose effective value differs, e.g. after HUP.
 * Returns 0 or AICO_ENOMEM. */
AICO_API AICO_MUST_USE int aico_config_compare(const struct aico_config *before,
                                               const struct aico_config *after,
                                               aico_config_change changed, void *context);

#ifdef __cplusplus
}
#endif
#endif
