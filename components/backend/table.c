/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of aico-backend: its options and what its manual says about them. */
#include "backend/table.h"

static const struct verb_entry verbs[] = {{"", "", "", 0, 0, NULL}, {0}};

static const struct option_entry options[] = {
    {OPTION_DB, NULL, "db", 0, "FILE", "the database (state/NAME/logs.db of the home)", "Service",
     false},
    {CONNECT_READY_FD, NULL, "ready-fd", 0, "N",
     "for scripts: writes a byte to descriptor N when everything is subscribed", "Service", false},
    CONNECT_USER_ENTRY,
    CONNECT_LOG_ENTRIES,
    CONNECT_OPTION_ENTRIES,
    {0},
};

static const struct manual_part parts[] = {
    {"Exit status",
     "0 stopped in order, 1 other error, 2 usage, 3 configuration, 4 denied by a rule,\n"
     "5 identity or trust, 6 broker not reachable."},
    CONNECT_MANUAL_PARTS,
    {0},
};

const struct program backend_program = {
    .name = "aico-backend",
    .section = '8',
    .summary = "collects the logs of an AICO Bus and answers questions about them",
    .description =
        "Collects logs/** into SQLite, answers logs/query/v1 and system/status/v1, and takes\n"
        "part in conversation/**. Runs in the foreground, logs on stderr; TERM commits and\n"
        "ends with exit 0. Its identity is \"backend\" unless --as says otherwise.\n"
        "\n"
        "logs/query/v1 takes {\"text\",\"sender\",\"topic\",\"since_ms\",\"after_id\",\n"
        "\"limit\",\"count_only\"}, all optional, and answers {\"count\": rows that match,\n"
        "\"total\": rows stored, \"rows\":[...]} or {\"error\"}. Without after_id the newest\n"
        "rows come first; with it, rows of larger id in order, so the last id of one page\n"
        "asks for the next.",
    .verbs = verbs,
    .options = options,
    .parts = parts,
};
