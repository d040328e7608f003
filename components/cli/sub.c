/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus sub: messages of some topics on stdout. */
#include "cli/cli.h"
#include "cli/print.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "common/moment.h"
#include "common/stop.h"

#define OUTPUT_BUFFER ((size_t)256 * 1024)
#define UNSETTLED_MAX 256
#define CHECK_EVERY 64 /* messages between two looks at the clock */

struct sub {
    struct cli *cli;
    int stop_fd;
    int64_t end_ms; /* steady; -1: never */
    uint64_t received;
    uint64_t missing;
    uint64_t gaps; /* reports, also those without a number */
    uint64_t unopened;
    struct aico_message *unsettled[UNSETTLED_MAX]; /* printed, and not flushed */
    size_t unsettled_count;
};

static bool is_enough(const struct sub *sub)
{
    return sub->cli->count > 0 && sub->received >= sub->cli->count;
}

static bool is_late(const struct sub *sub)
{
    return sub->end_ms >= 0 && steady_ms() >= sub->end_ms;
}

/* What was written out is done with. */
static int settle_all(struct sub *sub, struct aico_error *err)
{
    int r = 0;

    for (size_t i = 0; i < sub->unsettled_count; i++) {
        if (r == 0)
            r = aico_settle(sub->cli->client, sub->unsettled[i], AICO_DONE, NULL, err);
        aico_message_free(&sub->unsettled[i]);
    }
    sub->unsettled_count = 0;
    return r;
}

static void take_message(struct sub *sub, const struct aico_message *message)
{
    switch (message->kind) {
    case AICO_MESSAGE_EVENT:
    case AICO_MESSAGE_RETAINED:
        sub->received++;
        print_message(sub->cli, message);
        return;
    case AICO_MESSAGE_GAP:
        sub->gaps++;
        sub->missing += message->count;
        break;
    case AICO_MESSAGE_UNOPENED:
        sub->unopened += message->count;
        break;
    default:
        break;
    }
    print_notice(sub->cli, message);
}

/* Prints what has come. 0 when input ran dry, the count is reached or it is time to end. */
static int take_all(struct sub *sub, struct aico_error *err)
{
    for (unsigned n = 1; !is_enough(sub) && stop_signal() == 0; n++) {
        struct aico_message *message = NULL;
        int r = aico_receive(sub->cli->client, 0, &message, err);

        if (r == AICO_ETIMEOUT)
            return 0;
        if (r < 0)
            return r;
        take_message(sub, message);
        if (message->number > 0) {
            sub->unsettled[sub->unsettled_count++] = message;
            if (sub->unsettled_count == UNSETTLED_MAX)
                return 0;
        } else {
            aico_message_free(&message);
        }
        if (n % CHECK_EVERY == 0 && is_late(sub))
            return 0;
    }
    return 0;
}

static int wait_for_more(const struct sub *sub)
{
    struct pollfd fds[] = {
        {.fd = aico_client_fd(sub->cli->client), .events = POLLIN},
        {.fd = sub->stop_fd, .events = POLLIN},
    };
    int64_t left = sub->end_ms < 0 ? -1 : sub->end_ms - steady_ms();

    if (sub->end_ms >= 0 && left < 0)
        left = 0;
    if (poll(fds, 2, left > 1000000 ? 1000000 : (int)left) < 0 && errno != EINTR)
        return AICO_ESYSTEM;
    return 0;
}

static int follow_all(struct sub *sub, struct aico_error *err)
{
    struct cli *cli = sub->cli;
    struct aico_follow_options options = {
        .durable = cli->durable, .start = cli->start, .since = cli->since, .queue = cli->queue};

    if (cli->queue && !cli->durable)
        return aico_error_set(err, AICO_EINVAL,
                              "--queue with --since needs --durable: the name of the place the "
                              "group shares");
    if (cli->durable && cli->command.count > 1)
        return aico_error_set(err, AICO_EINVAL, "--durable keeps the place in one filter");
    for (int i = 0; i < cli->command.count; i++) {
        int r = aico_follow(cli->client, cli->command.arguments[i], &options, cli_timeout(cli),
                            NULL, err);

        if (r < 0)
            return r;
    }
    return 0;
}

static int subscribe_all(struct sub *sub, struct aico_error *err)
{
    struct cli *cli = sub->cli;
    struct aico_subscribe_options options = {.slow_policy = cli->slow, .queue = cli->queue};

    for (int i = 0; i < cli->command.count; i++) {
        uint32_t subscription;
        int r = aico_subscribe(cli->client, cli->command.arguments[i], &options, cli_timeout(cli),
                               &subscription, err);

        if (r < 0)
            return r;
    }
    return 0;
}

static void summarise(const struct sub *sub)
{
    if (sub->cli->connect.is_verbose || stop_signal() != 0)
        cli_note(sub->cli,
                 "sub: %" PRIu64 " received, %" PRIu64 " missing in %" PRIu64
                 " gap reports, %" PRIu64 " not opened",
                 sub->received, sub->missing, sub->gaps, sub->unopened);
}

/* How it ended, when nothing failed. */
static int status_of(const struct sub *sub)
{
    struct aico_error err = {0};
    int code;

    if (is_enough(sub))
        return 0;
    if (stop_signal() != 0)
        return 128 + stop_signal();
    if (sub->cli->count == 0)
        return 0;
    code = sub->unopened > 0 ? AICO_EKEY : AICO_ETIMEOUT;
    return cli_fail(sub->cli,
                    aico_error_set(&err, code,
                                   "%" PRIu64 " of %" PRIu64 " messages came, %" PRIu64
                                   " did not open; give them more time with --for",
                                   sub->received, sub->cli->count, sub->unopened),
                    &err);
}

int verb_sub(struct cli *cli)
{
    struct sub sub = {.cli = cli, .stop_fd = -1, .end_ms = -1};
    struct aico_error err = {0};
    int r, status = 0;

    (void)setvbuf(stdout, NULL, _IOFBF, OUTPUT_BUFFER);
    r = cli_may_keep_books(cli, &err);
    if (r == 0)
        r = cli_connect(cli, &err);
    if (r == 0)
        r = sub.stop_fd = stop_open();
    if (r >= 0)
        r = cli->is_following ? follow_all(&sub, &err) : subscribe_all(&sub, &err);
    if (r < 0)
        return cli_fail(cli, r, &err);
    if (cli->for_ms >= 0)
        sub.end_ms = steady_ms() + cli->for_ms;
    connect_ready(&cli->connect);

    for (;;) {
        r = take_all(&sub, &err);
        status = cli_flush_output(cli);
        if (r == 0 && status == 0)
            r = settle_all(&sub, &err);
        if (r < 0 || status != 0 || is_enough(&sub) || stop_signal() != 0 || is_late(&sub))
            break;
        r = wait_for_more(&sub);
        if (r < 0)
            break;
    }

    summarise(&sub);
    if (r >= 0)
        r = cli_keep_books(cli, &err);
    if (status != 0)
        return status;
    return r < 0 ? cli_fail(cli, r, &err) : status_of(&sub);
}
