/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of aico-broker: its options and what its manual says about them. */
#include "broker/table.h"

static const struct verb_entry verbs[] = {{"", "", "", 0, 0, NULL}, {0}};

static const struct option_entry options[] = {
    {CONNECT_HOME, NULL, "home", 0, "DIR", "home of the bus ($AICO_HOME, else ~/.aico)", NULL,
     false},
    {CONNECT_CONFIG, NULL, "config", 0, "FILE", "security.yaml (the home's)", NULL, false},
    {CONNECT_PASSPHRASE_FILE, NULL, "passphrase-file", 0, "FILE",
     "its first line opens the key file", NULL, false},
    {CONNECT_PASSPHRASE_FD, NULL, "passphrase-fd", 0, "N", "the same from an open descriptor", NULL,
     false},
    {OPTION_CHECK, NULL, "check", 0, NULL,
     "check configuration, registry and key, write nothing, and end", NULL, false},
    {OPTION_PRINT_CONFIG, NULL, "print-config", 0, NULL,
     "print every setting, its meaning and where it comes from, and end", NULL, false},
    {CONNECT_READY_FD, NULL, "ready-fd", 0, "N",
     "for scripts: writes a byte to descriptor N when it listens", NULL, false},
    CONNECT_USER_ENTRY,
    CONNECT_LOG_ENTRIES,
    {0},
};

static const struct manual_part parts[] = {
    {"Exit status", "0 stopped in order, 1 in use or system error, 2 usage, 3 configuration,\n"
                    "5 key or registry."},
    CONNECT_MANUAL_PARTS,
    {"Signals",
     "HUP reads registry and configuration again and says for each changed key whether it\n"
     "is applied. TERM and INT deliver what is held and end it; a second one ends it at\n"
     "once."},
    {0},
};

const struct program broker_program = {
    .name = "aico-broker",
    .section = '8',
    .summary = "the broker of one AICO Bus",
    .description =
        "Connects the components of one home: routes their sealed messages and enforces the\n"
        "owner's rules. Runs in the foreground and logs on stderr. HUP looks at registry\n"
        "and configuration again, TERM delivers what is held and ends with exit 0.\n"
        "\n"
        "A new registry in the home is in force within a second, without HUP. Settings\n"
        "are described in docs/configuration.md; --print-config shows them all. Tells\n"
        "systemd when it is ready, reloads and stops, and serves its watchdog from the\n"
        "main loop; takes listening sockets that systemd hands over.",
    .verbs = verbs,
    .options = options,
    .parts = parts,
};
