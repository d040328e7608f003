/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of aico-frontend: its options and what its manual says about them. */
#include "frontend/table.h"

static const struct verb_entry verbs[] = {{"", "", "", 0, 0, NULL}, {0}};

static const struct option_entry options[] = {
    {OPTION_SCRIPT, NULL, "script", 0, "FILE|-",
     "run the commands in FILE, or of stdin, without a terminal", "Frontend", false},
    {OPTION_SUB, NULL, "sub", 0, "FILTER",
     "watch these topics instead of conversation/** and system/**; repeatable", "Frontend", false},
    {CONNECT_READY_FD, NULL, "ready-fd", 0, "N",
     "for scripts: writes a byte to descriptor N when everything is subscribed", "Frontend", false},
    {CONNECT_LOG_FORMAT, NULL, "log-format", 0, "text|json|journal",
     "notes and errors as text (default) or JSON, or in systemd's journal", "Frontend", false},
    {CONNECT_QUIET, NULL, "quiet", 'q', NULL, "no notes on stderr", "Frontend", false},
    CONNECT_OPTION_ENTRIES,
    {0},
};

static const struct manual_part parts[] = {
    {"Exit status",
     "Of a script: 0 all of it ran, 1 a wait or an expect was disappointed, else that of the\n"
     "command that failed, as in aico-bus(1)."},
    CONNECT_MANUAL_PARTS,
    {0},
};

const struct program frontend_program = {
    .name = "aico-frontend",
    .section = '1',
    .summary = "an AICO Bus for a person at a terminal, or for a script",
    .description =
        "Shows who is on the bus and what is said, and lets you speak: a typed line goes to\n"
        "conversation/user/input/v1, a line with / in front is a command (/help lists\n"
        "them). Its identity is \"frontend\" unless --as says otherwise.\n"
        "\n"
        "A script holds one command a line, as /help lists them but without the /; lines\n"
        "that begin with # are comments. \"wait FILTER [SECONDS]\" takes the next message\n"
        "under FILTER (5 s), \"expect TEXT\" demands TEXT in the last result.",
    .verbs = verbs,
    .options = options,
    .parts = parts,
};
