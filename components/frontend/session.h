/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the frontend knows while it is connected: who is here, what has come, what was shown last.
 * Commands of a person and of a script act on it. Owned by the only thread of aico-frontend.
 */
#ifndef FRONTEND_SESSION_H
#define FRONTEND_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <aico/client.h>

#define PEOPLE_MAX 512
#define INBOX_MAX 1024
#define FILTERS_MAX 64
#define NAME_SIZE 256

struct person {
    char name[NAME_SIZE];
    bool is_online;
    int64_t since_ms; /* calendar */
};

struct session {
    struct aico_client *client;
    int64_t timeout_ms;
    int stop_fd;  /* readable: end */
    bool is_live; /* print messages as they come: a person is watching */
    struct person people[PEOPLE_MAX];
    size_t people_count;
    struct aico_message *inbox[INBOX_MAX]; /* not live: kept for "wait", oldest first */
    size_t inbox_count;
    char *filters[FILTERS_MAX];
    size_t filter_count;
    char *result; /* text of the last command, what "expect" looks into; or NULL */
};

/* Subscribes presence; others by session_subscribe(). 0 or a code of aico_subscribe(). */
int session_start(struct session *session, struct aico_error *err);
int session_subscribe(struct session *session, const char *filter, struct aico_error *err);
/* Takes everything that has come. 0, or the code that ended the connection. */
int session_take(struct session *session, struct aico_error *err);
/* Waits until something came or @until_ms (steady, -1: never). 0; AICO_ETIMEOUT; AICO_ECLOSED when
 * a signal asked us to end; AICO_ESYSTEM. */
int session_wait(struct session *session, int64_t until_ms, struct aico_error *err);
/* Frees what the session owns; the client stays. */
void session_deinit(struct session *session);

#endif
