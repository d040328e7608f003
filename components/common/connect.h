/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every program that talks to the bus has in common: the options for its connection, telling a
 * script that it is ready, and how it reports the error it ends on. main() only.
 */
#ifndef COMMON_CONNECT_H
#define COMMON_CONNECT_H

#include <stdbool.h>
#include <stdint.h>

#include <aico/client.h>

#include "common/log.h"
#include "common/options.h"

struct connect_options {
    struct aico_client_options client; /* borrows from argv */
    int64_t timeout_ms;                /* -1: not given */
    bool is_verbose;
    bool is_quiet;
    bool is_json;
    bool has_log_level, has_log_format; /* whether they were given */
    enum log_level log_level;           /* info */
    enum log_format log_format;         /* text */
    const char *user;                   /* --user; NULL: whoever started us */
    int ready_fd;                       /* -1: none */
    char passphrase_fd[32]; /* "/dev/fd/N", which client.passphrase_file then points at */
    int tries, asked_fd;    /* how often somebody was asked for it, and what holds the answer */
};

#define CONNECT_OPTIONS_INIT                                                                       \
    {                                                                                              \
        .timeout_ms = -1, .ready_fd = -1, .log_level = LOG_INFO                                    \
    }

enum {
    CONNECT_HOME = 1,
    CONNECT_AS,
    CONNECT_BROKER,
    CONNECT_CONFIG,
    CONNECT_PASSPHRASE_FILE,
    CONNECT_PASSPHRASE_FD,
    CONNECT_TIMEOUT,
    CONNECT_VERBOSE,
    CONNECT_QUIET,
    CONNECT_JSON,
    CONNECT_READY_FD,
    CONNECT_LOG_FORMAT,
    CONNECT_LOG_LEVEL,
    CONNECT_LOG_JSON,
    CONNECT_USER,
    CONNECT_END, /* a program's own ids begin here */
};

/* Rows for a program's option table. */
/* clang-format off */
#define CONNECT_OPTION_ENTRIES                                                                     \
    {CONNECT_HOME, NULL, "home", 0, "DIR",                                                         \
     "home of the bus ($AICO_HOME, else ~/.aico)", "Connection", false},                           \
    {CONNECT_AS, NULL, "as", 0, "NAME",                                                            \
     "who we are: identities/NAME.key ($AICO_IDENTITY)", "Connection", false},                     \
    {CONNECT_BROKER, NULL, "broker", 0, "URL",                                                     \
     "tcp://host:port or ipc:///path (the home's socket)", "Connection", false},                   \
    {CONNECT_CONFIG, NULL, "config", 0, "FILE",                                                    \
     "security.yaml (the home's)", "Connection", false},                                           \
    {CONNECT_PASSPHRASE_FILE, NULL, "passphrase-file", 0, "FILE",                                  \
     "its first line opens the key file", "Connection", false},                                    \
    {CONNECT_PASSPHRASE_FD, NULL, "passphrase-fd", 0, "N",                                         \
     "the same from an open descriptor", "Connection", false},                                     \
    {CONNECT_TIMEOUT, NULL, "timeout", 0, "TIME",                                                  \
     "how long to wait: 500ms, 5s, 2m", "Connection", false}
/* clang-format on */

/* And for those that keep a log. */
/* clang-format off */
#define CONNECT_LOG_ENTRIES                                                                        \
    {CONNECT_LOG_FORMAT, NULL, "log-format", 0, "text|json|journal",                               \
     "the log on stderr as text (default) or JSON, or in systemd's journal", "Log", false},        \
    {CONNECT_LOG_LEVEL, NULL, "log-level", 0, "error|warning|info|debug",                          \
     "the least important entries still written (info)", "Log", false},                            \
    {CONNECT_LOG_JSON, NULL, "json", 0, NULL, "the same as --log-format json", "Log", false},      \
    {CONNECT_VERBOSE, NULL, "verbose", 'v', NULL, "the same as --log-level debug", "Log", false},  \
    {CONNECT_QUIET, NULL, "quiet", 'q', NULL, "the same as --log-level warning", "Log", false}

#define CONNECT_USER_ENTRY                                                                         \
    {CONNECT_USER, NULL, "user", 0, "USER",                                                        \
     "started by root: become this user for good before anything is read", "Service", false}
/* clang-format on */

/* Parts of the manual that all of them share. */
#define CONNECT_MANUAL_PARTS                                                                       \
    {"Environment", "  AICO_HOME      home of the bus where --home is not given; else ~/.aico\n"   \
                    "  AICO_IDENTITY  who we are where --as is not given"},                        \
    {                                                                                              \
        "Files", "Below the home:\n"                                                               \
                 "  owner.key broker.key identities/NAME.key   keys\n"                             \
                 "  registry        who takes part, and the owner's rules\n"                       \
                 "  security.yaml   settings\n"                                                    \
                 "  state/ run/ log/  what the programs keep, sockets, logs"                       \
    }

/* Takes an option of the rows above. 0; 1: not one of them; AICO_EINVAL with the mistake. */
int connect_take(struct connect_options *options, int id, const char *value,
                 struct aico_error *err);
/* @fallback_ms where --timeout was not given. */
int64_t connect_timeout(const struct connect_options *options, int64_t fallback_ms);

/*
 * aico_client_open(), and if the key is protected, no option says how it opens and standard input
 * is a terminal, the person there is asked, three times. Returns as that does.
 */
AICO_MUST_USE int connect_open(struct connect_options *options, int64_t timeout_ms,
                               struct aico_client **ret_client, struct aico_error *err);
/* Its parts, for what else needs a key: whether @code is one that asking may help against, and the
 * question, whose answer client.passphrase_file then points at. */
bool connect_may_ask(const struct connect_options *options, int code);
AICO_MUST_USE int connect_ask(struct connect_options *options, const char *whose,
                              struct aico_error *err);

/* Writes a byte to --ready-fd, once, and closes it if it is not one of the standard three. */
void connect_ready(struct connect_options *options);

/*
 * Prints `PROGRAM: VERB: cause (CODE); repair` on stderr, one line, and returns the exit status.
 *
 * @verb  NULL or "" for none
 */
int connect_report(const char *program, const char *verb, int code, const struct aico_error *err);

/* Opens the log as the options say. 0, or AICO_ESYSTEM without a journal. */
AICO_MUST_USE int connect_log(const struct connect_options *options, const char *program,
                              struct aico_error *err);
/* The same as an entry of the log, {"event":"failed","code"}, where it has fields. */
int connect_fail(const char *program, int code, const struct aico_error *err);

#endif
