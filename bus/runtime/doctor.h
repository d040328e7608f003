/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doctor's rounds: one file a subject, each reports what it finds and changes nothing. Owned by
 * one aico_doctor(), one thread.
 */
#ifndef RUNTIME_DOCTOR_H
#define RUNTIME_DOCTOR_H

#include <aico/config.h>
#include <aico/doctor.h>

#include "store/home.h"

struct doctor {
    const struct aico_doctor_options *options;
    int64_t timeout_ms;
    char *home;
    const char *name;           /* as which component; NULL: none in particular */
    bool is_owner_here;         /* the owner's key is in this home */
    char *namespace;            /* of the settings, or what the registry claims */
    struct aico_config *config; /* NULL: it does not load */
    struct registry *registry;  /* in force for us; NULL: there is none that is */
    struct identity *identity;  /* NULL: no name, or its key does not open or is not in force */
    int code;                   /* of the first error; 0: none */
    size_t count;               /* warnings and errors so far */
    bool is_out_of_memory;
};

/*
 * Reports @finding, of which cause and repair are given apart.
 *
 * @repair  from doctor_command() and freed here; NULL: nothing that can be typed helps
 */
void doctor_find(struct doctor *d, const struct aico_finding *finding, char *repair,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));
void doctor_ok(struct doctor *d, const char *check, const char *subject, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/*
 * A line for sh: %s as it stands, %q quoted so that sh sees the very bytes, %d an int64_t. Memory
 * of the caller; NULL without any, which is noted.
 */
char *doctor_command(struct doctor *d, const char *format, ...);
/* The same behind "aico-keytool --home HOME", or without --home where the owner's key is elsewhere.
 */
char *doctor_keytool(struct doctor *d, const char *format, ...);
/* home_path() that notes when there is no memory. */
char *doctor_path(struct doctor *d, const char *name);

/* The rounds, in this order. False: nothing after it can be judged. */
bool doctor_look_at_home(struct doctor *d);
void doctor_look_at_config(struct doctor *d);
void doctor_look_at_registry(struct doctor *d);
void doctor_look_at_keys(struct doctor *d);
void doctor_look_at_state(struct doctor *d);
void doctor_look_at_limits(struct doctor *d);
void doctor_look_at_rules(struct doctor *d);
void doctor_look_at_broker(struct doctor *d);

/* Of what is judged by its file alone: whether @code was the home's round to report. */
static inline bool doctor_is_of_home(int code)
{
    return code == AICO_EMODE || code == AICO_EOWNER || code == AICO_ESYMLINK;
}

/* The process that holds run/broker.lock: its number, 0 if it is held but does not say, -1 if it is
 * not held. */
int64_t doctor_broker_process(struct doctor *d);
/* Whether @endpoint is one the home's own broker listens on. */
bool doctor_is_own_endpoint(const struct doctor *d, const char *endpoint);

#endif
