/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus, the everyday tool: its command line, and the way into its verbs. */
#include "cli/cli.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/guard.h"
#include "common/memory.h"
#include "common/text.h"

#define PROGRAM "aico-bus"
#define CLOSE_MS 1000
#define HAND_OVER_MS 5000 /* what was published has arrived, but a reader lacks its key */
#define CHUNK_MAX ((uint64_t)24 * 1024 * 1024) /* a message is never larger */

static int (*const functions[])(struct cli *) = {
#define FUNCTION(id, function) [VERB_##id] = function,
    CLI_VERBS(FUNCTION)
#undef FUNCTION
};

int cli_connect(struct cli *cli, struct aico_error *err)
{
    cli->connect.client.software = PROGRAM " " AICO_VERSION;
    return connect_open(&cli->connect, cli_timeout(cli), &cli->client, err);
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

static int take_want(struct cli *cli, int which, const char *value, struct aico_error *err)
{
    if (cli->want_counts[which] == CLI_WANTS_MAX)
        return aico_error_set(err, AICO_EINVAL, "more than %d topics", CLI_WANTS_MAX);
    cli->wants[which][cli->want_counts[which]++] = value;
    return 0;
}

static int take_will(struct cli *cli, const char *value, struct aico_error *err)
{
    size_t size = strcspn(value, "=");

    if (value[size] != '=' || size == 0)
        return aico_error_set(err, AICO_EINVAL, "--will: \"%.40s\" is not TOPIC=TEXT", value);
    free(cli->will_topic);
    cli->will_topic = strndup(value, size);
    if (!cli->will_topic)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    cli->connect.client.will_topic = cli->will_topic;
    cli->connect.client.will = value + size + 1;
    cli->connect.client.will_size = strlen(value + size + 1);
    return 0;
}

static int take_ack(struct cli *cli, const char *value, struct aico_error *err)
{
    if (strcmp(value, "accepted") == 0)
        cli->ack = AICO_ACK_ACCEPTED;
    else if (strcmp(value, "stored") == 0)
        cli->ack = AICO_ACK_STORED;
    else if (strcmp(value, "delivered") == 0)
        cli->ack = AICO_ACK_DELIVERED;
    else if (strcmp(value, "signed") == 0)
        cli->ack = AICO_ACK_SIGNED;
    else
        return aico_error_set(err, AICO_EINVAL,
                              "--ack: \"%.40s\" is unknown; accepted, stored, delivered or signed",
                              value);
    return 0;
}

static int take_since(struct cli *cli, const char *value, struct aico_error *err)
{
    uint64_t number;

    cli->is_following = true;
    if (strcmp(value, "all") == 0)
        cli->start = AICO_START_ALL;
    else if (strcmp(value, "last") == 0)
        cli->start = AICO_START_LAST;
    else if (strcmp(value, "new") == 0)
        cli->start = AICO_START_NEW;
    else if (strncmp(value, "seq:", 4) == 0 && text_number(value + 4, 1, INT64_MAX, &number)) {
        cli->start = AICO_START_NUMBER;
        cli->since = (int64_t)number;
    } else if (text_moment(value, &cli->since)) {
        cli->start = AICO_START_TIME;
    } else {
        return aico_error_set(err, AICO_EINVAL,
                              "--since: \"%.40s\" is no place to begin; all, last, new, 10m, "
                              "2026-11-28T12:00:00Z or seq:N",
                              value);
    }
    return 0;
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
    if (id == OPTION_UP_TO && !text_number(value, 1, INT64_MAX, &cli->up_to))
        return aico_error_set(err, AICO_EINVAL, "--up-to: \"%.40s\" is no number from 1", value);
    if (id == OPTION_CHUNK && !text_size(value, 1, CHUNK_MAX, &cli->chunk))
        return aico_error_set(err, AICO_EINVAL, "--chunk: \"%.40s\" is no size up to 24MiB", value);
    if (id == OPTION_TTL && (!text_duration(value, &cli->ttl_ms) || cli->ttl_ms < 1))
        return aico_error_set(err, AICO_EINVAL, "--ttl: \"%.40s\" is no time; write 500ms or 10s",
                              value);
    if (id == OPTION_INTERVAL && (!text_duration(value, &cli->interval_ms) || cli->interval_ms < 1))
        return aico_error_set(err, AICO_EINVAL,
                              "--interval: \"%.40s\" is no time; write 500ms or 10s", value);
    if (id == OPTION_FOR && !text_duration(value, &cli->for_ms))
        return aico_error_set(err, AICO_EINVAL, "--for: \"%.40s\" is no time; write 500ms or 10s",
                              value);
    return 0;
}

static int take_outbox_limit(struct cli *cli, const char *value, struct aico_error *err)
{
    uint64_t bytes;

    if (!text_size(value, 1024, (uint64_t)1 << 30, &bytes))
        return aico_error_set(err, AICO_EINVAL,
                              "--outbox-limit: \"%.40s\" is no size from 1KiB to 1GiB", value);
    cli->connect.client.outbox_limit = (size_t)bytes;
    return 0;
}

static int take_number(const char *name, const char *value, uint64_t min, uint64_t max,
                       struct aico_error *err)
{
    uint64_t number;

    return text_number(value, min, max, &number)
               ? 0
               : aico_error_set(err, AICO_EINVAL,
                                "--%s: \"%.40s\" is no number from %" PRIu64 " to %" PRIu64, name,
                                value, min, max);
}

static int take_bench(struct cli *cli, int id, const char *value, struct aico_error *err)
{
    switch (id) {
    case OPTION_SEAL:
        cli->bench.bus.seal = value;
        return 0;
    case OPTION_SVG:
        cli->bench.svg = value;
        return 0;
    case OPTION_LINK:
        cli->bench.bus.link = value;
        if (strcmp(value, "ipc") == 0 || strcmp(value, "tcp") == 0)
            return 0;
        return aico_error_set(err, AICO_EINVAL, "--link: \"%.40s\" is unknown; ipc or tcp", value);
    case OPTION_IO_THREADS:
        cli->bench.bus.io_threads = value;
        return take_number("io-threads", value, 1, 16, err);
    case OPTION_BUSY_POLL:
        cli->bench.bus.busy_poll = value;
        return take_number("busy-poll", value, 0, 1000000, err);
    case OPTION_BUSY_BROKER:
        cli->bench.bus.busy_broker = value;
        return take_number("busy-broker", value, 0, 1000000, err);
    default:
        return bench_plan_take(&cli->bench.plan, (enum bench_option)(id - OPTION_BENCH), value,
                               err);
    }
}

static int take(void *context, int id, const char *value, struct aico_error *err)
{
    struct cli *cli = context;
    int r = connect_take(&cli->connect, id, value, err);

    if (r <= 0)
        return r;
    if (id >= OPTION_SEAL)
        return take_bench(cli, id, value, err);
    switch (id) {
    case OPTION_HEADER:
        return take_header(cli, value, err);
    case OPTION_ACK:
        return take_ack(cli, value, err);
    case OPTION_MAILBOX:
        cli->is_mailbox = true;
        return 0;
    case OPTION_RECEIPT:
        cli->receipt = value;
        return 0;
    case OPTION_LEDGER:
        cli->ledger = value;
        return 0;
    case OPTION_WITH:
        if (cli->book_count == CLI_BOOKS_MAX)
            return aico_error_set(err, AICO_EINVAL, "--with: at most %d files", CLI_BOOKS_MAX);
        cli->books[cli->book_count++] = value;
        return 0;
    case OPTION_SLOW:
        return take_slow(cli, value, err);
    case OPTION_SINCE:
        return take_since(cli, value, err);
    case OPTION_DURABLE:
        cli->durable = value;
        cli->is_following = true;
        return 0;
    case OPTION_PUBLISH:
    case OPTION_SUBSCRIBE:
        return take_want(cli, id == OPTION_SUBSCRIBE, value, err);
    case OPTION_TO:
        cli->to = value;
        return 0;
    case OPTION_WILL:
        return take_will(cli, value, err);
    case OPTION_RETAIN:
        cli->is_retain = true;
        return 0;
    case OPTION_OUTBOX:
        cli->connect.client.outbox = true;
        return 0;
    case OPTION_OUTBOX_LIMIT:
        return take_outbox_limit(cli, value, err);
    case OPTION_QUEUE:
        cli->queue = value;
        return 0;
    case OPTION_SORT:
        cli->sort = value;
        return 0;
    case OPTION_VIEW:
        cli->view = value;
        return 0;
    case OPTION_ONCE:
        cli->is_once = true;
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

/* After an error nothing is waited for longer, and its reason is the one line there is. */
static void disconnect(struct cli *cli, int status)
{
    struct aico_unsent unsent = {0};

    (void)aico_client_close(&cli->client, status == 0 ? HAND_OVER_MS : CLOSE_MS, &unsent);
    if (status != 0)
        return;
    if (unsent.keyless == 1)
        cli_note(cli,
                 "%s is connected but did not take the key of what was published: it may not "
                 "be able to open it",
                 unsent.keyless_name);
    else if (unsent.keyless > 1)
        cli_note(cli,
                 "%s and %" PRIu64 " other readers are connected but did not take the key of "
                 "what was published: they may not be able to open it",
                 unsent.keyless_name, unsent.keyless - 1);
}

int main(int argc, char **argv)
{
    struct cli cli = {.connect = CONNECT_OPTIONS_INIT, .for_ms = -1};
    struct aico_error err = {0};
    int r, status;

    memory_keep_freed(MEMORY_OF_MESSAGES);
    guard_process();
    r = options_parse(&cli_program, argc, argv, take, &cli, &cli.command, &err);
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

    status = functions[cli.command.verb - cli_program.verbs](&cli);
    disconnect(&cli, status);
    free(cli.will_topic);
    for (size_t i = 0; i < cli.header_count; i++)
        free((void *)(uintptr_t)cli.headers[i].key);
    if (status == 0)
        status = cli_flush_output(&cli);
    return status;
}
