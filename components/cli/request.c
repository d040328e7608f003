/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus request and reply: one question and its answer, from either side. */
#include "cli/cli.h"
#include "cli/exec.h"
#include "cli/input.h"
#include "cli/print.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/stop.h"
#include "common/text.h"

#define EXEC_TIMEOUT_MS 60000

/* On a terminal, control characters of a stranger are not executed. */
static void print_reply(const struct cli *cli, const struct aico_message *reply)
{
    const char *payload = reply->payload;
    bool ends_line = reply->size > 0 && payload[reply->size - 1] == '\n';

    if (cli->connect.is_json) {
        print_message(cli, reply);
        return;
    }
    if (!cli->is_raw && isatty(STDOUT_FILENO))
        text_write_escaped(stdout, payload, ends_line ? reply->size - 1 : reply->size);
    else
        (void)fwrite(payload, 1, reply->size, stdout);
    if (!cli->is_raw && (!ends_line || isatty(STDOUT_FILENO)))
        (void)putchar('\n');
}

/* The books say what the broker has answered: it is asked to. */
static int keep_books(struct cli *cli, struct aico_error *err)
{
    if (cli->ledger && aico_flush(cli->client, cli_timeout(cli), NULL) == AICO_ETIMEOUT)
        cli_note(cli, "the broker has not acknowledged everything: --ledger says what waits");
    return cli_keep_books(cli, err);
}

int verb_request(struct cli *cli)
{
    const char *text = cli->command.count > 1 ? cli->command.arguments[1] : "";
    struct input input = {.fd = STDIN_FILENO};
    const uint8_t *at = (const uint8_t *)text;
    size_t size = strlen(text);
    struct aico_message *reply = NULL;
    struct aico_error err = {0}, books_err = {0};
    int r = strcmp(text, "-") == 0 ? input_all(&input, &at, &size, &err) : 0, books;

    if (r >= 0)
        r = cli_may_keep_books(cli, &err);
    if (r >= 0)
        r = cli_connect(cli, &err);
    if (r < 0) {
        input_deinit(&input);
        return cli_fail(cli, r, &err);
    }
    r = aico_request(cli->client, cli->command.arguments[0], at, size, cli_timeout(cli), &reply,
                     &err);
    input_deinit(&input);
    books = keep_books(cli, &books_err);
    if (r < 0)
        return cli_fail(cli, r, &err);

    print_reply(cli, reply);
    aico_message_free(&reply);
    return books < 0 ? cli_fail(cli, books, &books_err) : 0;
}

/* With --json the question that got this reply is printed. */
static int send_reply(struct cli *cli, const struct aico_message *request, const void *at,
                      size_t size, struct aico_error *err)
{
    int r = aico_reply(cli->client, request, at, size, err);

    if (r < 0 || !cli->connect.is_json)
        return r;
    print_message(cli, request);
    if (fflush(stdout) != 0)
        return aico_error_set(err, AICO_ESYSTEM, "stdout: %m");
    return 0;
}

/* Answers one request. A command that fails to answer is noted; the next request is served. */
static int answer(struct cli *cli, const struct aico_message *request, int stop_fd,
                  struct aico_error *err)
{
    uint8_t *output = NULL;
    size_t size = 0;
    int status = 0, r;

    if (cli->is_echo)
        return send_reply(cli, request, request->payload, request->size, err);

    r = exec_run(cli->exec, request, connect_timeout(&cli->connect, EXEC_TIMEOUT_MS), stop_fd,
                 &output, &size, &status, err);
    if (r == AICO_ETIMEOUT || r == AICO_ETOOLARGE) {
        cli_note(cli, "reply: %s; %s gets no answer", err->text, request->sender);
        return 0;
    }
    if (r < 0)
        return r;
    if (status != 0)
        cli_note(cli, "reply: the command ended with status %d", status);
    r = send_reply(cli, request, output ? output : (uint8_t *)"", size, err);
    free(output);
    return r;
}

/* 0 when input ran dry, the count is reached or a signal came. */
static int serve(struct cli *cli, int stop_fd, uint64_t *done, struct aico_error *err)
{
    while (stop_signal() == 0 && (cli->count == 0 || *done < cli->count)) {
        struct aico_message *message = NULL;
        int r = aico_receive(cli->client, 0, &message, err);

        if (r == AICO_ETIMEOUT)
            return 0;
        if (r < 0)
            return r;
        if (message->kind == AICO_MESSAGE_REQUEST) {
            r = answer(cli, message, stop_fd, err);
            *done += 1;
        } else if (message->kind == AICO_MESSAGE_REFUSED) {
            cli_note(cli, "reply: an answer was refused: %s (%s)", message->text,
                     aico_error_name(message->code));
        } else {
            print_notice(cli, message);
        }
        aico_message_free(&message);
        if (r < 0)
            return r;
    }
    return 0;
}

/* A request that cannot be answered any more (its sender left) is no reason to stop. */
static bool is_fatal(int code)
{
    return code < 0 && code != AICO_ENOREQUEST && code != AICO_EPEERAWAY;
}

int verb_reply(struct cli *cli)
{
    struct aico_subscribe_options options = {.serve = true};
    struct aico_error err = {0};
    uint32_t subscription;
    uint64_t done = 0;
    int stop_fd = -1, r = 0;

    if (!cli->exec == !cli->is_echo)
        r = aico_error_set(&err, AICO_EINVAL, "either --exec CMD or --echo");
    (void)signal(SIGPIPE, SIG_IGN); /* a command need not read its question */
    if (r == 0)
        r = cli_may_keep_books(cli, &err);
    if (r == 0)
        r = cli_connect(cli, &err);
    if (r == 0)
        r = stop_fd = stop_open();
    if (r >= 0)
        r = aico_subscribe(cli->client, cli->command.arguments[0], &options, cli_timeout(cli),
                           &subscription, &err);
    if (r < 0)
        return cli_fail(cli, r, &err);
    connect_ready(&cli->connect);

    for (;;) {
        struct pollfd fds[] = {{.fd = aico_client_fd(cli->client), .events = POLLIN},
                               {.fd = stop_fd, .events = POLLIN}};

        r = serve(cli, stop_fd, &done, &err);
        if (is_fatal(r) || stop_signal() != 0 || (cli->count > 0 && done >= cli->count))
            break;
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            r = aico_error_set(&err, AICO_ESYSTEM, "poll: %s", strerror(errno));
            break;
        }
    }
    if (is_fatal(r) && stop_signal() == 0)
        return cli_fail(cli, r, &err);
    r = keep_books(cli, &err);
    if (r < 0)
        return cli_fail(cli, r, &err);
    return stop_signal() != 0 ? 128 + stop_signal() : 0;
}
