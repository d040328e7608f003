/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus, the everyday tool: its command line, and the way into its verbs. */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/guard.h"
#include "common/text.h"

#define PROGRAM "aico-bus"
#define CLOSE_MS 1000
#define CHUNK_MAX ((uint64_t)24 * 1024 * 1024) /* a message is never larger */

enum {
    OPTION_LINES = CONNECT_END,
    OPTION_CHUNK,
    OPTION_HEADER,
    OPTION_TO,
    OPTION_ACK,
    OPTION_COUNT,
    OPTION_FOR,
    OPTION_SLOW,
    OPTION_RAW,
    OPTION_WIRE,
    OPTION_EXEC,
    OPTION_ECHO,
    OPTION_LATER,
};

static const struct verb_entry verbs[] = {
    {"pub", "TOPIC [TEXT|-]", "publish a message, or every line of stdin", 1, 2,
     "Without TEXT, or with -, the message is read from stdin, byte for byte. Exits 0 only when\n"
     "the broker has acknowledged everything. With --json prints one object at the end:\n"
     "published, acknowledged, refused, seconds, rate."},
    {"sub", "FILTER...", "print messages as they come", 1, -1,
     "Prints `TOPIC SENDER PAYLOAD`, a line each; control characters are escaped. In a filter *\n"
     "stands for one level and ** for any number of trailing levels. '$bus/presence/*' shows who\n"
     "comes and goes. Messages that will not come are reported on stderr, or with --json as\n"
     "{\"gap\":{\"topic\",\"count\",\"cause\"}} on stdout; those that did not open likewise.\n"
     "\n"
     "--json prints {\"topic\",\"sender\",\"seq\",\"time\",\"payload\"}, or \"payload_base64\" "
     "where it is\n"
     "not UTF-8, and \"headers\" where there are any; time is in ms since 1970.\n"
     "\n"
     "Exits 0 when --count messages came, 7 when --for ended before, 9 when it did and messages\n"
     "did not open; without --count the end of --for is exit 0."},
    {"request", "TOPIC [TEXT|-]", "ask whoever serves TOPIC and print the reply", 1, 2,
     "Without TEXT the question is empty; with - it is read from stdin. Exits 8 at once when\n"
     "nobody serves TOPIC."},
    {"reply", "TOPIC", "answer requests with a command or an echo", 1, 1,
     "--exec runs CMD with sh -c for each request: the question on its stdin, AICO_TOPIC and\n"
     "AICO_SENDER in its environment, its stdout is the reply whatever its exit status is. It\n"
     "is killed, and nothing replied, when it takes longer than --timeout (60s) or writes more\n"
     "than 16 MiB."},
    {"status", "", "what the broker has done so far", 0, 0, NULL},
    {"peers", "[FILTER]", "who is connected (role admin)", 0, 1, NULL},
    {"topics", "[FILTER]", "topics seen by the broker (role admin)", 0, 1, NULL},
    {"ping", "[NAME]", "round trip to the broker or a component", 0, 1,
     "To a component the round trip goes through an end-to-end channel. --count times, 3 if not\n"
     "given."},
    {0},
};

static const struct option_entry options[] = {
    {OPTION_LINES, " pub ", "lines", 0, NULL,
     "each line of stdin, without its newline, is a message", "Messages", false},
    {OPTION_CHUNK, " pub ", "chunk", 0, "SIZE",
     "each SIZE bytes of stdin (64KiB, 1M) are a message", "Messages", false},
    {OPTION_HEADER, " pub ", "header", 0, "K=V", "a header, sealed with the message; repeatable",
     "Messages", false},
    {OPTION_TO, " pub ", "to", 0, "NAME", "only this component receives it", "Messages", false},
    {OPTION_ACK, " pub ", "ack", 0, "accepted", "what to wait for: the broker accepted it",
     "Messages", false},
    {OPTION_COUNT, " pub ", "count", 'n', "N",
     "publish TEXT N times, or the first N messages of stdin", "Messages", false},
    {OPTION_COUNT, " sub ", "count", 'n', "N", "end after N messages", "Messages", false},
    {OPTION_COUNT, " reply ", "count", 'n', "N", "end after N replies", "Messages", false},
    {OPTION_COUNT, " ping ", "count", 'n', "N", "ping N times", "Messages", false},
    {OPTION_FOR, " sub ", "for", 0, "TIME", "end after this time: 500ms, 10s, 2m", "Messages",
     false},
    {OPTION_SLOW, " sub ", "slow", 0, "POLICY",
     "when we are too slow: drop-old, drop-new, block, disconnect", "Messages", false},
    {OPTION_EXEC, " reply ", "exec", 0, "CMD", "the reply is what this command prints", "Messages",
     false},
    {OPTION_ECHO, " reply ", "echo", 0, NULL, "the reply is the question", "Messages", false},
    {OPTION_RAW, " sub request ", "raw", 0, NULL,
     "payloads as they are; sub adds a newline to each, request nothing", "Output", false},
    {OPTION_WIRE, " sub ", "wire", 0, NULL,
     "also what the broker saw of each message: size and first bytes", "Output", false},
    {CONNECT_JSON, NULL, "json", 0, NULL, "one JSON object a line on stdout", "Output", false},
    {CONNECT_VERBOSE, NULL, "verbose", 'v', NULL, "say more on stderr", "Output", false},
    {CONNECT_QUIET, NULL, "quiet", 'q', NULL, "only errors on stderr", "Output", false},
    {CONNECT_READY_FD, " sub reply ", "ready-fd", 0, "N",
     "for scripts: writes a byte to descriptor N when the subscriptions are live", "Output", false},
    {OPTION_LATER, " pub ", "retain", 0, NULL, "", NULL, true},
    {OPTION_LATER, " pub ", "ttl", 0, "TIME", "", NULL, true},
    {OPTION_LATER, " sub ", "queue", 0, "GROUP", "", NULL, true},
    {OPTION_LATER, " sub ", "durable", 0, "NAME", "", NULL, true},
    {OPTION_LATER, " sub ", "since", 0, "TIME", "", NULL, true},
    CONNECT_OPTION_ENTRIES,
    {0},
};

static const struct program program = {
    .name = PROGRAM,
    .summary = "Publish, subscribe, ask and look around on an AICO Bus.",
    .verbs = verbs,
    .options = options,
    .details =
        "Exit status: 0 done, 1 error, 2 usage, 3 configuration, 4 denied by a rule, 5 identity "
        "or\n"
        "trust, 6 broker not reachable, 7 timeout, 8 no responder, 9 a message did not open,\n"
        "10 full, 128+n ended by signal n.\n"
        "\n"
        "Examples:\n"
        "  aico-bus --as cli sub 'logs/**'\n"
        "  aico-bus --as cli pub logs/app/v1 'hello'\n"
        "  aico-bus --as cli request logs/query/v1 '{\"text\":\"hello\"}'",
};

static const struct {
    const char *name;
    int (*run)(struct cli *);
} actions[] = {
    {"pub", verb_pub},      {"sub", verb_sub},     {"request", verb_request}, {"reply", verb_reply},
    {"status", verb_query}, {"peers", verb_query}, {"topics", verb_query},    {"ping", verb_ping},
};

int cli_connect(struct cli *cli, struct aico_error *err)
{
    cli->connect.client.software = PROGRAM " " AICO_VERSION;
    return aico_client_open(&cli->connect.client, cli_timeout(cli), &cli->client, err);
}

int64_t cli_timeout(const struct cli *cli)
{
    return connect_timeout(&cli->connect, CLI_TIMEOUT_MS);
}

int cli_fail(const struct cli *cli, int code, const struct aico_error *err)
{
    return connect_report(PROGRAM, cli->command.verb ? cli->command.verb->name : NULL, code, err);
}

void cli_note(const struct cli *cli, const char *format, ...)
{
    char text[600];
    va_list args;

    if (cli->connect.is_quiet)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)fputs(PROGRAM ": ", stderr);
    text_write_escaped(stderr, text, strlen(text));
    (void)fputc('\n', stderr);
}

int cli_flush_output(const struct cli *cli)
{
    struct aico_error err = {0};

    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return cli_fail(cli, aico_error_set(&err, AICO_ESYSTEM, "stdout: %m"), &err);
}

static int take_header(struct cli *cli, const char *value, struct aico_error *err)
{
    size_t size = strcspn(value, "=");
    char *key;

    if (value[size] != '=' || size == 0)
        return aico_error_set(err, AICO_EINVAL, "--header: \"%.40s\" is not KEY=VALUE", value);
    if (cli->header_count == CLI_HEADERS_MAX)
        return aico_error_set(err, AICO_EINVAL, "more than %d headers", CLI_HEADERS_MAX);
    key = strndup(value, size);
    if (!key)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    cli->headers[cli->header_count++] = (struct aico_header){.key = key, .value = value + size + 1};
    return 0;
}

static int take_ack(const char *value, struct aico_error *err)
{
    if (strcmp(value, "accepted") == 0)
        return 0;
    if (strcmp(value, "stored") == 0)
        return aico_error_set(err, AICO_EINVAL, "--ack stored is not available in this version");
    return aico_error_set(err, AICO_EINVAL, "--ack: \"%.40s\" is unknown; write accepted", value);
}

static int take_slow(struct cli *cli, const char *value, struct aico_error *err)
{
    static const char *const names[] = {
        [AICO_SLOW_DROP_OLD] = "drop-old",
        [AICO_SLOW_DROP_NEW] = "drop-new",
        [AICO_SLOW_BLOCK] = "block",
        [AICO_SLOW_DISCONNECT] = "disconnect",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], value) == 0) {
            cli->slow = (enum aico_slow_policy)i;
            return 0;
        }
    }
    return aico_error_set(err, AICO_EINVAL,
                          "--slow: \"%.40s\" is unknown; drop-old, drop-new, block or disconnect",
                          value);
}

/* Options that carry a number or a time. */
static int take_quantity(struct cli *cli, int id, const char *value, struct aico_error *err)
{
    if (id == OPTION_COUNT && !text_number(value, 1, UINT64_MAX / 2, &cli->count))
        return aico_error_set(err, AICO_EINVAL, "--count: \"%.40s\" is no number from 1", value);
    if (id == OPTION_CHUNK && !text_size(value, 1, CHUNK_MAX, &cli->chunk))
        return aico_error_set(err, AICO_EINVAL, "--chunk: \"%.40s\" is no size up to 24MiB", value);
    if (id == OPTION_FOR && !text_duration(value, &cli->for_ms))
        return aico_error_set(err, AICO_EINVAL, "--for: \"%.40s\" is no time; write 500ms or 10s",
                              value);
    return 0;
}

static int take(void *context, int id, const char *value, struct aico_error *err)
{
    struct cli *cli = context;
    int r = connect_take(&cli->connect, id, value, err);

    if (r <= 0)
        return r;
    switch (id) {
    case OPTION_HEADER:
        return take_header(cli, value, err);
    case OPTION_ACK:
        return take_ack(value, err);
    case OPTION_SLOW:
        return take_slow(cli, value, err);
    case OPTION_TO:
        cli->to = value;
        return 0;
    case OPTION_EXEC:
        cli->exec = value;
        return 0;
    case OPTION_LINES:
        cli->is_lines = true;
        return 0;
    case OPTION_RAW:
        cli->is_raw = true;
        return 0;
    case OPTION_WIRE:
        cli->is_wire = true;
        return 0;
    case OPTION_ECHO:
        cli->is_echo = true;
        return 0;
    default:
        return take_quantity(cli, id, value, err);
    }
}

static int run(struct cli *cli)
{
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
        if (strcmp(actions[i].name, cli->command.verb->name) == 0)
            return actions[i].run(cli);
    return cli_fail(cli, AICO_EINTERNAL, NULL);
}

int main(int argc, char **argv)
{
    struct cli cli = {.connect = CONNECT_OPTIONS_INIT, .for_ms = -1};
    struct aico_error err = {0};
    int r, status;

    guard_process();
    r = options_parse(&program, argc, argv, take, &cli, &cli.command, &err);
    if (r > 0)
        return cli_flush_output(&cli);
    if (r < 0) {
        status = cli_fail(&cli, r, &err);
        if (!cli.connect.is_quiet)
            (void)fprintf(stderr, "Try: " PROGRAM " %s%s--help\n",
                          cli.command.verb ? cli.command.verb->name : "",
                          cli.command.verb ? " " : "");
        return status;
    }

    status = run(&cli);
    (void)aico_client_close(&cli.client, CLOSE_MS, NULL);
    for (size_t i = 0; i < cli.header_count; i++)
        free((void *)(uintptr_t)cli.headers[i].key);
    if (status == 0)
        status = cli_flush_output(&cli);
    return status;
}
