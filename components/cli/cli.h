/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus: what its verbs share. Everything here belongs to the main thread. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include <aico/client.h>

#include "cli/bench_home.h"
#include "common/connect.h"

#define CLI_TIMEOUT_MS 5000
#define CLI_DOCTOR_TIMEOUT_MS 2000
#define CLI_HEADERS_MAX 61
#define CLI_WANTS_MAX 64
#define CLI_BOOKS_MAX 256

struct cli {
    struct connect_options connect;
    struct command command; /* the verb and its arguments */
    struct aico_client *client;

    /* options of the verbs; 0 or NULL: not given, unless said otherwise */
    struct aico_header headers[CLI_HEADERS_MAX]; /* keys are ours, values borrowed from argv */
    size_t header_count;
    const char *wants[2][CLI_WANTS_MAX]; /* doctor: topics to publish on, filters to subscribe to */
    size_t want_counts[2];
    const char *to;
    const char *exec;
    const char *durable;
    bool is_following; /* --durable or --since */
    enum aico_start start;
    int64_t since;
    enum aico_ack ack;
    bool is_mailbox;
    const char *receipt;              /* the file for signed ones */
    const char *ledger;               /* the file for the books of this client */
    const char *books[CLI_BOOKS_MAX]; /* ledger: those of clients */
    size_t book_count;
    uint64_t up_to;
    const char *queue;
    char *will_topic; /* ours */
    uint64_t count;
    uint64_t chunk;
    int64_t for_ms; /* -1: not given */
    int64_t interval_ms;
    const char *sort;
    const char *view;
    int64_t ttl_ms;
    enum aico_slow_policy slow;
    struct {
        struct bench_plan plan;
        struct bench_bus bus; /* as far as given */
        const char *svg;
    } bench;
    bool is_once;
    bool is_retain;
    bool is_lines;
    bool is_raw;
    bool is_wire;
    bool is_echo;
};

/* The verbs: each returns the exit status and has printed why it is not 0. */
int verb_pub(struct cli *cli);
int verb_sub(struct cli *cli);
int verb_request(struct cli *cli);
int verb_reply(struct cli *cli);
int verb_doctor(struct cli *cli);
int verb_query(struct cli *cli); /* status, peers, topics */
int verb_top(struct cli *cli);
int verb_ping(struct cli *cli);
int verb_stream(struct cli *cli); /* stream list, show, purge, forget */
int verb_bench(struct cli *cli);
int verb_kick(struct cli *cli);
int verb_ledger(struct cli *cli);
int verb_reload(struct cli *cli);
int verb_drain(struct cli *cli);

/* Asks the broker and takes its JSON; json_decref() it. 0 or a code with its text in @err. */
int cli_ask(struct cli *cli, const char *what, const char *argument, json_t **ret_answer,
            struct aico_error *err);
void cli_print_line(const json_t *value);

enum cli_form {
    CLI_AS_IT_IS,
    CLI_SIZE, /* bytes as 1.2K, 3.4M */
};
struct cli_column {
    const char *member; /* of the broker's JSON object */
    const char *title;
    enum cli_form form;
};
#define CLI_COLUMNS_MAX 16
/* Rows of an array for people; @columns end with a NULL member. */
void cli_write_table(FILE *to, const json_t *rows, const struct cli_column *columns);
void cli_print_table(const json_t *rows, const struct cli_column *columns); /* to stdout */
/* A line `LABEL VALUE`, the value in the column after @width. */
void cli_print_member(const char *label, int width, const json_t *value);
/* Bytes as 1.2K, 3.4M. */
void cli_size_text(double bytes, char *to, size_t size);

/* Opens cli->client as the options say; 0 or a code with its text in @err. */
int cli_connect(struct cli *cli, struct aico_error *err);
int64_t cli_timeout(const struct cli *cli);
/* Whether --ledger, if it was given, can be written: asked before there is something to lose. */
int cli_may_keep_books(const struct cli *cli, struct aico_error *err);
/* Writes the books of cli->client to --ledger, if it was given. 0 or a code with its text. */
int cli_keep_books(const struct cli *cli, struct aico_error *err);
/* Holds the books of --with against the broker's @answer, which gets "unexplained" and
 * "differences". 0 or AICO_EINVAL. */
int cli_compare_books(const struct cli *cli, json_t *answer, struct aico_error *err);
/* Prints the one line of an error and returns the exit status of @code. */
int cli_fail(const struct cli *cli, int code, const struct aico_error *err);
/* A note for people on stderr; not with --quiet. */
void cli_note(const struct cli *cli, const char *format, ...) AICO_PRINTF(2, 3);
/* Flushes stdout; 0, or the exit status when it cannot be written any more. */
int cli_flush_output(const struct cli *cli);

#endif
