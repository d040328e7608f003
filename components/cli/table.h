/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of aico-bus. To add a verb: a word in CLI_VERBS, its row in table.c, its
 * function, declared in cli.h. An option: its id below, its row in table.c, and who takes it in
 * main.c.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "common/connect.h"

/* X(id, function) in the order of --help. */
/* clang-format off */
#define CLI_VERBS(X)                                                                               \
    X(PUB, verb_pub)                                                                               \
    X(SUB, verb_sub)                                                                               \
    X(REQUEST, verb_request)                                                                       \
    X(REPLY, verb_reply)                                                                           \
    X(DOCTOR, verb_doctor)                                                                         \
    X(STATUS, verb_query)                                                                          \
    X(PEERS, verb_query)                                                                           \
    X(TOPICS, verb_query)                                                                          \
    X(TOP, verb_top)                                                                               \
    X(STREAM_LIST, verb_stream)                                                                    \
    X(STREAM_SHOW, verb_stream)                                                                    \
    X(STREAM_PURGE, verb_stream)                                                                   \
    X(STREAM_FORGET, verb_stream)                                                                  \
    X(PING, verb_ping)                                                                             \
    X(BENCH, verb_bench)                                                                           \
    X(KICK, verb_kick)                                                                             \
    X(LEDGER, verb_ledger)                                                                         \
    X(RELOAD, verb_reload)                                                                         \
    X(DRAIN, verb_drain)
/* clang-format on */

enum cli_verb {
#define CLI_VERB_ID(id, function) VERB_##id,
    CLI_VERBS(CLI_VERB_ID)
#undef CLI_VERB_ID
        VERB_COUNT
};

enum {
    OPTION_LINES = CONNECT_END,
    OPTION_CHUNK,
    OPTION_HEADER,
    OPTION_TO,
    OPTION_MAILBOX,
    OPTION_PUBLISH,
    OPTION_SUBSCRIBE,
    OPTION_TTL,
    OPTION_RETAIN,
    OPTION_ACK,
    OPTION_RECEIPT,
    OPTION_LEDGER,
    OPTION_WITH,
    OPTION_OUTBOX,
    OPTION_OUTBOX_LIMIT,
    OPTION_COUNT,
    OPTION_FOR,
    OPTION_SLOW,
    OPTION_QUEUE,
    OPTION_WILL,
    OPTION_RAW,
    OPTION_WIRE,
    OPTION_EXEC,
    OPTION_ECHO,
    OPTION_DURABLE,
    OPTION_SINCE,
    OPTION_UP_TO,
    OPTION_ONCE,
    OPTION_INTERVAL,
    OPTION_SORT,
    OPTION_VIEW,
    OPTION_SEAL, /* from here on of bench */
    OPTION_LINK,
    OPTION_SVG,
    OPTION_IO_THREADS,
    OPTION_BUSY_POLL,
    OPTION_BUSY_BROKER,
    OPTION_BENCH, /* and the values of enum bench_option */
};

extern const struct program cli_program;

#endif
