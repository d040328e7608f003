/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus pub: from the command line or stdin to a topic, until all of it is acknowledged. */
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/receipts.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/moment.h"
#include "common/stop.h"

#define WAIT_SAID_MS 1000 /* so long nobody wonders */
#define CHECK_EVERY 256   /* messages between two looks for refusals */

struct pub {
    struct cli *cli;
    struct aico_publish_options options;
    const char *topic;
    uint64_t published;
    uint64_t refused;
    bool is_wait_said;
    int refusal; /* the first one */
    struct aico_error refusal_err;
    struct receipts receipts;
};

/* Whether the same would be said to whatever comes next: no use in going on. */
static bool is_permanent(int code)
{
    return code < 0 && code != AICO_EFULL && code != AICO_EQUOTA && code != AICO_ERATE;
}

static void remember(struct pub *pub, int code, const char *text)
{
    if (pub->refusal == 0)
        pub->refusal = aico_error_set(&pub->refusal_err, code, "%s", text);
}

static void take(struct pub *pub, const struct aico_message *message)
{
    if (message->kind == AICO_MESSAGE_REFUSED) {
        pub->refused += receipts_are_ours(&pub->receipts, message);
        remember(pub, message->code, message->text);
    } else if (message->kind == AICO_MESSAGE_RECEIPT) {
        receipts_take(&pub->receipts, message);
    } else if (message->kind == AICO_MESSAGE_STATE && message->code == AICO_ENOPREKEY &&
               pub->options.ack == AICO_ACK_STORED && !pub->options.to) {
        cli_note(
            pub->cli,
            "pub: %s has not been connected since it may read this: what is stored now it opens "
            "only while we are here",
            message->sender);
    } else if (message->kind == AICO_MESSAGE_STATE && pub->cli->connect.is_verbose) {
        cli_note(pub->cli, "pub: %s", message->code == 0 ? "connected" : message->text);
    }
}

/* Takes what came back in the meantime. */
static void collect(struct pub *pub)
{
    struct aico_message *message = NULL;

    while (aico_receive(pub->cli->client, 0, &message, NULL) == 0) {
        take(pub, message);
        aico_message_free(&message);
    }
}

/* Names, once, the readers with slow policy block for which the broker makes us wait. */
static void say_waits_for(struct pub *pub)
{
    char *text = NULL;
    json_t *answer, *name;
    char names[400] = "";
    size_t i, used = 0;

    if (pub->is_wait_said ||
        aico_query(pub->cli->client, "status", NULL, WAIT_SAID_MS, &text, NULL) < 0)
        return;
    answer = json_loads(text, 0, NULL);
    free(text);
    json_array_foreach(json_object_get(answer, "waits_for"), i, name)
    {
        if (json_string_length(name) + 3 < sizeof(names) - used)
            used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
                                     used > 0 ? ", " : "", json_string_value(name));
    }
    json_decref(answer);
    pub->is_wait_said = used > 0;
    if (used > 0)
        cli_note(
            pub->cli,
            "pub: waiting for %s, which reads slowly and is to lose nothing (slow policy block)",
            names);
}

static int publish(struct pub *pub, const void *at, size_t size, struct aico_error *err)
{
    struct aico_publish_options options = pub->options;
    uint64_t id = 0;
    bool is_patient = options.wait_ms < 0 || options.wait_ms > WAIT_SAID_MS;
    int r;

    if (is_patient)
        options.wait_ms = WAIT_SAID_MS;
    r = aico_publish(pub->cli->client, pub->topic, at, size, &options, &id, err);
    if (r == AICO_EFULL && is_patient) {
        say_waits_for(pub);
        options.wait_ms = pub->options.wait_ms < 0 ? -1 : pub->options.wait_ms - WAIT_SAID_MS;
        r = aico_publish(pub->cli->client, pub->topic, at, size, &options, &id, err);
    }
    if (r < 0)
        return r;
    if (pub->published++ == 0)
        pub->receipts.first = id;
    if (pub->published % CHECK_EVERY == 0)
        collect(pub);
    return 0;
}

static int publish_text(struct pub *pub, const char *text, struct aico_error *err)
{
    uint64_t count = pub->cli->count > 0 ? pub->cli->count : 1;
    int r = 0;

    while (r == 0 && pub->published < count && !is_permanent(pub->refusal))
        r = publish(pub, text, strlen(text), err);
    return r;
}

/* All of stdin as one message, --count times. */
static int publish_whole(struct pub *pub, struct input *input, struct aico_error *err)
{
    uint64_t count = pub->cli->count > 0 ? pub->cli->count : 1;
    const uint8_t *at = NULL;
    size_t size = 0;
    int r = input_all(input, &at, &size, err);

    if (r < 0)
        return r;
    for (r = 0; r == 0 && pub->published < count && !is_permanent(pub->refusal);)
        r = publish(pub, at, size, err);
    return r;
}

static int publish_stream(struct pub *pub, struct input *input, struct aico_error *err)
{
    struct cli *cli = pub->cli;

    while ((cli->count == 0 || pub->published < cli->count) && !is_permanent(pub->refusal)) {
        const uint8_t *at = NULL;
        size_t size = 0;
        int r = cli->is_lines ? input_line(input, &at, &size, err)
                              : input_piece(input, cli->chunk, &at, &size, err);

        if (r > 0)
            r = publish(pub, at ? at : (const uint8_t *)"", size, err);
        else
            return r;
        if (r < 0)
            return r;
    }
    return 0;
}

/* Waits for the last acknowledgement; the time starts anew whenever one came. */
static int flush(struct pub *pub, struct aico_error *err)
{
    struct aico_client *client = pub->cli->client;
    int64_t timeout_ms = cli_timeout(pub->cli);
    struct aico_client_stats before, now;
    int r;

    aico_client_get_stats(client, &now);
    do {
        before = now;
        r = aico_flush(client, timeout_ms < WAIT_SAID_MS ? timeout_ms : WAIT_SAID_MS, err);
        if (r == AICO_ETIMEOUT && timeout_ms > WAIT_SAID_MS) {
            say_waits_for(pub);
            r = aico_flush(client, timeout_ms - WAIT_SAID_MS, err);
        }
        aico_client_get_stats(client, &now);
    } while (r == AICO_ETIMEOUT &&
             now.acknowledged + now.refused > before.acknowledged + before.refused);
    collect(pub);
    return r;
}

/* Until every reader of every message has said that it has it, or was given up. */
static int wait_for_receipts(struct pub *pub, struct aico_error *err)
{
    struct pollfd fd = {.fd = aico_client_fd(pub->cli->client), .events = POLLIN};

    while (pub->receipts.is_wanted && pub->receipts.complete + pub->refused < pub->published) {
        struct aico_message *message = NULL;
        int r;

        (void)fflush(stdout); /* the next one may be long in coming */
        if (poll(&fd, 1, -1) < 0 && errno != EINTR)
            return aico_error_set(err, AICO_ESYSTEM, "poll: %s", strerror(errno));
        r = aico_receive(pub->cli->client, 0, &message, err);
        if (r == 0)
            take(pub, message);
        else if (r != AICO_ETIMEOUT)
            return r; /* it is over */
        aico_message_free(&message);
    }
    return pub->receipts.code < 0
               ? aico_error_set(err, pub->receipts.code, "%s", pub->receipts.err.text)
               : 0;
}

static void print_summary(const struct pub *pub, int64_t started_ms)
{
    const struct connect_options *connect = &pub->cli->connect;
    double seconds = (double)(steady_ms() - started_ms) / 1000;
    double rate = seconds > 0 ? (double)pub->published / seconds : (double)pub->published * 1000;
    struct aico_client_stats stats;

    aico_client_get_stats(pub->cli->client, &stats);
    if (connect->is_json) {
        (void)printf("{\"published\":%" PRIu64 ",\"acknowledged\":%" PRIu64 ",\"refused\":%" PRIu64,
                     pub->published, stats.acknowledged, stats.refused);
        if (pub->receipts.is_wanted)
            (void)printf(",\"receipts\":%" PRIu64, pub->receipts.count);
        (void)printf(",\"seconds\":%.3f,\"rate\":%.0f}\n", seconds, rate);
    }
    if (connect->is_verbose)
        cli_note(pub->cli,
                 "pub: %" PRIu64 " published, %" PRIu64 " acknowledged, %" PRIu64
                 " refused, %.3f s, %.0f messages/s",
                 pub->published, stats.acknowledged, stats.refused, seconds, rate);
}

static int check_usage(const struct cli *cli, bool is_stdin, struct aico_error *err)
{
    if (cli->is_lines && cli->chunk > 0)
        return aico_error_set(err, AICO_EINVAL, "--lines and --chunk exclude each other");
    if (!is_stdin && (cli->is_lines || cli->chunk > 0))
        return aico_error_set(err, AICO_EINVAL,
                              "--lines and --chunk read stdin, but there is a TEXT");
    if (is_stdin && cli->command.count == 1 && !cli->is_lines && isatty(STDIN_FILENO))
        return aico_error_set(err, AICO_EINVAL, "TEXT is missing; - reads it from the terminal");
    if (cli->connect.client.outbox_limit > 0 && !cli->connect.client.outbox)
        return aico_error_set(err, AICO_EINVAL, "--outbox-limit needs --outbox");
    if (cli->is_mailbox && !cli->to)
        return aico_error_set(err, AICO_EINVAL, "--mailbox needs --to");
    if (cli->for_ms >= 0 && !cli->is_retain)
        return aico_error_set(err, AICO_EINVAL, "--for needs --retain");
    if (cli->receipt && cli->ack != AICO_ACK_SIGNED)
        return aico_error_set(err, AICO_EINVAL, "--receipt needs --ack signed");
    return 0;
}

/* What the outbox keeps for the next time. */
static void say_kept(const struct pub *pub)
{
    struct aico_client_stats stats;

    aico_client_get_stats(pub->cli->client, &stats);
    if (pub->cli->connect.client.outbox && stats.queued + stats.unacknowledged > 0)
        cli_note(pub->cli,
                 "pub: %" PRIu64 " messages stay in the outbox; send them: aico-bus --as %s pub %s "
                 "--lines --outbox </dev/null",
                 stats.queued + stats.unacknowledged, aico_client_name(pub->cli->client),
                 pub->topic);
}

/* Gives the value to who subscribes later. */
static void stay(struct pub *pub)
{
    int64_t end_ms = steady_ms() + pub->cli->for_ms;
    int stop_fd = pub->cli->for_ms > 0 ? stop_open() : -1;
    struct pollfd fd = {.fd = stop_fd, .events = POLLIN};

    while (stop_fd >= 0 && stop_signal() == 0 && steady_ms() < end_ms &&
           (poll(&fd, 1, 500) >= 0 || errno == EINTR))
        collect(pub);
}

int verb_pub(struct cli *cli)
{
    const char *text = cli->command.count > 1 ? cli->command.arguments[1] : "-";
    bool is_stdin = strcmp(text, "-") == 0;
    struct input input = {.fd = STDIN_FILENO};
    struct aico_error err = {0}, flush_err = {0}, kept_err = {0};
    struct pub pub = {
        .cli = cli,
        .topic = cli->command.arguments[0],
        .options = {.to = cli->to,
                    .mailbox = cli->is_mailbox,
                    .headers = cli->headers,
                    .header_count = cli->header_count,
                    .wait_ms = cli->connect.timeout_ms,
                    .ack = cli->ack,
                    .retain = cli->is_retain,
                    .ttl_ms = cli->ttl_ms,
                    .receipt_ms = cli_timeout(cli)},
    };
    int64_t started_ms;
    int r, flushed, kept, books;

    r = check_usage(cli, is_stdin, &err);
    if (r == 0)
        r = receipts_open(&pub.receipts, cli, &err);
    if (r == 0)
        r = cli_may_keep_books(cli, &err);
    if (r == 0)
        r = cli_connect(cli, &err);
    if (r < 0) {
        (void)receipts_close(&pub.receipts, NULL);
        return cli_fail(cli, r, &err);
    }

    started_ms = steady_ms();
    if (!is_stdin)
        r = publish_text(&pub, text, &err);
    else if (cli->is_lines || cli->chunk > 0)
        r = publish_stream(&pub, &input, &err);
    else
        r = publish_whole(&pub, &input, &err);

    /* Also after a mistake: what was taken before it is still on its way. */
    flushed = flush(&pub, &flush_err);
    if (r == 0 && flushed == 0)
        flushed = wait_for_receipts(&pub, &flush_err);
    kept = receipts_close(&pub.receipts, &kept_err); /* what came is proof, whatever did not */
    if (r == 0 && flushed == 0 && kept == 0)
        stay(&pub);
    books = cli_keep_books(cli, kept < 0 ? NULL : &kept_err);
    print_summary(&pub, started_ms);
    if (r == 0)
        say_kept(&pub);
    input_deinit(&input);

    if (r < 0)
        return cli_fail(cli, r, &err);
    if (flushed < 0)
        return cli_fail(cli, flushed, &flush_err);
    if (kept < 0 || books < 0)
        return cli_fail(cli, kept < 0 ? kept : books, &kept_err);
    if (pub.refusal == 0 && stop_signal() != 0)
        return 128 + stop_signal();
    return pub.refusal < 0 ? cli_fail(cli, pub.refusal, &pub.refusal_err) : 0;
}
