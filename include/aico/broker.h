/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker of AICO Bus as a library: what the program aico-broker is made of, for those who embed
 * it in a process of their own.
 *
 * A broker serves one home: it listens on the endpoints of security.yaml, lets in whom the home's
 * registry names, follows that file by itself, and holds no key but broker.key.
 *
 * Threads: one thread calls aico_broker_run(); aico_broker_stop(), aico_broker_reload() and
 * aico_broker_status() may be called from any other, the first two from signal handlers too.
 * Everything else belongs to the thread that opened the broker. Several brokers may live in one
 * process. The broker installs no signal handler and writes nowhere but to its home and to the
 * caller's log function. Do not use it in a forked child.
 * Connections take descriptors up to RLIMIT_NOFILE less 64, as it is at aico_broker_open(); who
 * would need a higher one is turned away.
 */
#ifndef AICO_BROKER_H
#define AICO_BROKER_H

#include <stddef.h>

#include <aico/config.h>
#include <aico/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct aico_broker; /* opaque; aico_broker_open() .. aico_broker_close() */

enum aico_broker_event_kind {
    AICO_BROKER_STARTING,  /* which home, registry and key */
    AICO_BROKER_READY,     /* listening; the text names the endpoints */
    AICO_BROKER_CONNECTED, /* a component's session began */
    AICO_BROKER_LEFT,      /* ... and ended in order */
    AICO_BROKER_REFUSED,   /* a link or a key was not let in */
    AICO_BROKER_KICKED,    /* the broker ended a session */
    AICO_BROKER_DENIED,    /* a rule said no */
    AICO_BROKER_SLOW,      /* messages are being dropped for a reader that cannot keep up */
    AICO_BROKER_REGISTRY,  /* another registry is in force, or was not accepted */
    AICO_BROKER_LIMIT,     /* a limit was reached */
    AICO_BROKER_CONFIG,    /* a setting changed in the file, or the file is wrong */
    AICO_BROKER_RELOADED,  /* what aico_broker_reload() asked for is done */
    AICO_BROKER_DRAINING,  /* stopping: what is held is still delivered */
    AICO_BROKER_STOPPED,   /* nobody is connected any more */
    AICO_BROKER_LOST,      /* more happened than could be noted */
    AICO_BROKER_ADMIN,     /* a component with role admin made the broker do something */
    AICO_BROKER_ADDED,     /* the registry in force has a component that the one before had not */
    AICO_BROKER_ROTATED,   /* ... another key of a component */
    AICO_BROKER_REVOKED,   /* ... a component that was revoked */
    AICO_BROKER_RETIRED,   /* ... a key that is out of use */
};
/** One word: "ready", "connected"...; never NULL. */
AICO_API const char *aico_broker_event_name(enum aico_broker_event_kind kind);

/** For a log. Never contains content or secrets. Texts are valid during the call only. */
struct aico_broker_event {
    enum aico_log_level level;
    enum aico_broker_event_kind kind;
    const char *component; /* whom it is about; "" for nobody */
    const char *address;   /* of its link; "" for none */
    int code;              /* 0 or AICO_E... */
    const char *text;      /* one line */
};
/** Called by the thread that opens or runs the broker. It may call aico_broker_stop(),
 * aico_broker_reload(), aico_broker_log_level() and no other function of this broker. */
typedef void (*aico_broker_log)(void *context, const struct aico_broker_event *event);

/** What a running broker has done so far. */
struct aico_broker_pulse {
    size_t components;            /* connected */
    unsigned long long published; /* messages taken, all kinds */
    unsigned long long delivered; /* ... given out */
    unsigned long long queued;    /* ... held for somebody now */
};
/** Called by the loop of aico_broker_run() after a whole turn, about four times a second: for a
 * watchdog, which hears nothing of a loop that hangs. May call what aico_broker_log may. */
typedef void (*aico_broker_pulse_function)(void *context, const struct aico_broker_pulse *pulse);

/** Zero-initialise and set what differs; texts are only read during the call they are given to. */
struct aico_broker_options {
    const char *home;            /* NULL: $AICO_HOME, else ~/.aico */
    const char *config;          /* security.yaml; NULL: the home's, defaults if there is none */
    const char *passphrase_file; /* its first line opens a protected broker.key, "/dev/fd/N": of
                                    that descriptor; NULL: none, or systemd's aico.passphrase */
    aico_broker_log log;         /* NULL: nothing is logged */
    void *log_context;           /* handed to log */
    aico_broker_pulse_function pulse; /* NULL: none */
    void *pulse_context;              /* handed to pulse */
    const int *sockets;  /* listening sockets made by somebody else, socket_count of them; each must
                            be at one of the endpoints, which is then not bound again. The broker
                            closes them, also when it does not start, and leaves the path of an ipc
                            one where it is; only read during the call */
    size_t socket_count; /* at most 64 */
};

/**
 * Reads configuration, registry and key of the home, takes its lock, and listens.
 *
 * @ret_broker  receives a broker the caller owns; untouched on failure
 * @err         receives the cause and its repair; may be NULL
 *
 * Returns 0, AICO_ECONFIG, a key file or registry error (AICO_ENOTFOUND, AICO_EUNKNOWN, AICO_EMODE,
 * AICO_EKEYFILEDAMAGED, AICO_EREGISTRYSIGNATURE...), AICO_EKEYFILEMISMATCH (the registry names
 * another key or none as this bus's broker), AICO_EEXISTS (a broker of this home is running, or an
 * endpoint is in use), AICO_EINVAL (an endpoint that this machine does not have, a socket that
 * does not listen at any of them), AICO_ENOMEM, AICO_ESYSTEM.
 */
AICO_API AICO_MUST_USE int aico_broker_open(const struct aico_broker_options *options,
                                            struct aico_broker **ret_broker,
                                            struct aico_error *err);

/**
 * Does all that aico_broker_open() does up to the point where something would be written, locked or
 * listened on. Returns as it does.
 */
AICO_API AICO_MUST_USE int aico_broker_check(const struct aico_broker_options *options,
                                             struct aico_error *err);

/** Where it listens, with the real port; NULL for @index past the last. As long as the broker. */
AICO_API const char *aico_broker_endpoint(const struct aico_broker *broker, size_t index);

/**
 * Serves until aico_broker_stop(), then delivers what is held and says goodbye to every component,
 * for at most drain_timeout. A new registry of the home is in force within a second.
 *
 * Returns 0 after a stop; AICO_ESYSTEM, AICO_ENOMEM.
 */
AICO_API AICO_MUST_USE int aico_broker_run(struct aico_broker *broker, struct aico_error *err);
/** Makes aico_broker_run() stop; a second call ends the draining at once. From any thread or signal
 * handler, also before aico_broker_run(). */
AICO_API void aico_broker_stop(struct aico_broker *broker);
/** Makes aico_broker_run() look at registry and configuration now. Each changed setting is logged:
 * applied, or in force at the next start (docs/configuration.md says which); a file that is wrong
 * changes nothing. From any thread or signal handler. */
AICO_API void aico_broker_reload(struct aico_broker *broker);
/** The setting log_level that is in force. The thread that runs the broker, or its log function. */
AICO_API enum aico_log_level aico_broker_log_level(const struct aico_broker *broker);

/**
 * What `aico-bus status|peers|topics` show, from inside.
 *
 * @what      "status", "peers", "topics" or "ledger"
 * @filter    a component name ("peers") or topic filter ("topics"); NULL: all
 * @ret_json  receives JSON text the caller frees with free()
 *
 * Returns 0, AICO_EINVAL (unknown @what), AICO_ETOPIC (@filter), AICO_ENOMEM.
 */
AICO_API AICO_MUST_USE int aico_broker_status(struct aico_broker *broker, const char *what,
                                              const char *filter, char **ret_json);

/** Stops listening, ends every link and frees everything, waiting at most half a second for what
 * was sent to leave. NULL inside is allowed; set to NULL. */
AICO_API void aico_broker_close(struct aico_broker **broker);

#ifdef __cplusplus
}
#endif
#endif
