/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrong with an installation, and the command that repairs it: what `aico-bus doctor`
 * shows.
 *
 * The doctor looks at a home, its files, keys, registry, settings, rules, limits, and at the
 * broker, as one component would use them. It changes nothing and runs no repair: that is for a
 * person to read first (docs/decisions/0041).
 *
 * Threads: one call at a time per struct; no global state. Reads the environment (AICO_HOME, HOME,
 * AICO_IDENTITY).
 */
#ifndef AICO_DOCTOR_H
#define AICO_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <aico/error.h>

#ifdef __cplusplus
extern "C" {
#endif

enum aico_finding_level {
    AICO_FINDING_OK,      /* looked at, and in order */
    AICO_FINDING_NOTE,    /* good to know */
    AICO_FINDING_WARNING, /* works, but not as well or as safely as it should */
    AICO_FINDING_ERROR,   /* something does not work because of it */
};

/** Texts are valid during the call only; never NULL. */
struct aico_finding {
    enum aico_finding_level level;
    const char *check;   /* "home", "config", "registry", "keys", "state", "limits", "rules",
                            "broker", "clock" */
    const char *subject; /* the file, component, topic or address */
    int code;            /* 0 or AICO_E... */
    const char *cause;   /* one line for people */
    const char *repair;  /* one line for sh that repairs it as it stands; "" where nothing that can
                            be  typed does */
    bool for_owner; /* @repair is for the home where the owner's key is, which is not this one */
};
typedef void (*aico_finding_function)(void *context, const struct aico_finding *finding);

/** Zero-initialise and set what differs; everything is only read during the call. */
struct aico_doctor_options {
    const char *home;     /* NULL: $AICO_HOME, else ~/.aico */
    const char *identity; /* as which component; NULL: $AICO_IDENTITY, else none in particular */
    const char *broker;   /* NULL: where the component would connect */
    const char *config;   /* security.yaml; NULL: the home's */
    const char *passphrase_file; /* as in struct aico_client_options */
    const char *const *publish; /* topics the component wants to publish on: dry run of the rules */
    size_t publish_count;
    const char *const *subscribe; /* filters it wants to subscribe to */
    size_t subscribe_count;
    aico_finding_function found; /* called for each finding, in the order of their repair */
    void *context;               /* handed to found */
};

/** "ok", "note", "warning", "error"; never NULL. */
AICO_API const char *aico_finding_level_name(enum aico_finding_level level);

/**
 * Looks at everything and reports it. Where one thing is broken, what rests on it is not judged:
 * repair, and ask again.
 *
 * @timeout_ms  for what the broker has to answer
 *
 * Returns 0 when there is no error (warnings are none), else the code of the first one; AICO_EINVAL
 * (no home to be found, or no name of a component) and AICO_ENOMEM with the text in @err.
 */
AICO_API AICO_MUST_USE int aico_doctor(const struct aico_doctor_options *options,
                                       int64_t timeout_ms, struct aico_error *err);

#ifdef __cplusplus
}
#endif
#endif
