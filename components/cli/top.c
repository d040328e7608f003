/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus top: peers, topics, slow readers and losses, again and again or once. */
#include "cli/top.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "common/moment.h"
#include "common/stop.h"

#define INTERVAL_MS 1000
#define INTERVAL_MIN_MS 250 /* the broker answers about three rounds of questions a second */

/* --- samples -------------------------------------------------------------------------------- */

bool top_may_come_back(int code)
{
    int status = aico_error_exit_status(code);

    return status == aico_error_exit_status(AICO_EUNREACHABLE) ||
           status == aico_error_exit_status(AICO_ETIMEOUT) || code == AICO_ERATE ||
           code == AICO_EFULL;
}

int top_take_sample(struct top *top, struct aico_error *err)
{
    static const char *const questions[] = {"status", "peers", "topics"};
    json_t *answers[3] = {NULL};
    struct top_sample sample;
    int r = 0;

    for (size_t i = 0; r == 0 && i < 3; i++)
        r = cli_ask(top->cli, questions[i], NULL, &answers[i], err);
    if (r < 0) {
        for (size_t i = 0; i < 3; i++)
            json_decref(answers[i]);
        return r;
    }
    r = top_sample_init(&sample, answers[0], answers[1], answers[2], steady_ms(), &top->samples[0]);
    if (r < 0)
        return aico_error_set(err, r, "the broker's answer: %s", aico_error_string(r));
    top_sample_deinit(&top->samples[1]);
    top->samples[1] = top->samples[0];
    top->samples[0] = sample;
    return 0;
}

/* --- plain ---------------------------------------------------------------------------------- */

static int print_plain(const struct top *top, struct aico_error *err)
{
    const struct top_sample *sample = &top->samples[0];

    top_write_head(stdout, sample);
    for (int i = 0; i < TOP_VIEWS; i++) {
        enum top_view_id view = (enum top_view_id)i;
        json_t *rows;

        if ((top->cli->view && view != top->view) || json_array_size(sample->rows[i]) == 0)
            continue;
        rows = top_sorted(sample, view, &top->orders[i]);
        if (!rows)
            return aico_error_set(err, AICO_ENOMEM, "out of memory");
        (void)printf("\n%s\n", top_views[i].title);
        cli_print_table(rows, top_views[i].columns);
        json_decref(rows);
    }
    return 0;
}

static int print_json(const struct top *top, struct aico_error *err)
{
    const struct top_sample *sample = &top->samples[0];
    json_t *object = json_pack("{s:I, s:f, s:O}", "time", (json_int_t)calendar_ms(), "seconds",
                               sample->seconds, "status", sample->status);

    for (int i = 0; object && i < TOP_VIEWS; i++) {
        enum top_view_id view = (enum top_view_id)i;

        if (!top->cli->view || view == top->view)
            (void)json_object_set_new(object, top_views[i].name,
                                      top_sorted(sample, view, &top->orders[i]));
    }
    if (!object)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    cli_print_line(object);
    json_decref(object);
    return 0;
}

/* Until the next sample is due; false: a signal came before. */
static bool wait_interval(const struct top *top)
{
    struct pollfd fd = {.fd = top->stop_fd, .events = POLLIN};
    int64_t until = top->samples[0].at_ms + top->interval_ms, left;

    while ((left = until - steady_ms()) > 0 && stop_signal() == 0)
        if (poll(&fd, 1, left > 60000 ? 60000 : (int)left) < 0 && errno != EINTR)
            break;
    return stop_signal() == 0;
}

/* A rate needs two samples, so the first one is not printed. */
static int run_plain(struct top *top, struct aico_error *err)
{
    uint64_t count = top->cli->count > 0 ? top->cli->count : 1;
    int r = top_take_sample(top, err);

    for (uint64_t i = 0; r == 0 && i < count && wait_interval(top); i++) {
        r = top_take_sample(top, err);
        if (r == 0 && i > 0 && !top->cli->connect.is_json)
            (void)putchar('\n');
        if (r == 0)
            r = top->cli->connect.is_json ? print_json(top, err) : print_plain(top, err);
        (void)fflush(stdout);
    }
    return r;
}

/* --- the verb ------------------------------------------------------------------------------- */

static int set_up(struct top *top, struct aico_error *err)
{
    const struct cli *cli = top->cli;
    bool is_found = false;

    for (int i = 0; i < TOP_VIEWS; i++)
        top->orders[i].column = top_views[i].sort;
    if (cli->view && !top_find_view(cli->view, &top->view))
        return aico_error_set(err, AICO_EINVAL,
                              "--view: \"%.40s\" is unknown; peers, topics, slow or losses",
                              cli->view);
    for (int i = 0; cli->sort && i < TOP_VIEWS; i++)
        if (!cli->view || i == (int)top->view)
            is_found |= top_find_column((enum top_view_id)i, cli->sort, &top->orders[i].column);
    if (cli->sort && !is_found)
        return aico_error_set(err, AICO_EINVAL, "--sort: no column is called \"%.40s\"", cli->sort);
    top->interval_ms = cli->interval_ms > 0 ? cli->interval_ms : INTERVAL_MS;
    if (top->interval_ms < INTERVAL_MIN_MS)
        return aico_error_set(err, AICO_EINVAL, "--interval: at least %dms", INTERVAL_MIN_MS);
    top->stop_fd = stop_open();
    return top->stop_fd < 0 ? aico_error_set(err, top->stop_fd, "no descriptor left") : 0;
}

int verb_top(struct cli *cli)
{
    struct top top = {.cli = cli};
    struct aico_error err = {0};
    bool is_screen =
        !cli->is_once && !cli->connect.is_json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    int r = set_up(&top, &err);

    if (r == 0)
        r = is_screen ? top_screen_run(&top, &err) : run_plain(&top, &err);
    top_sample_deinit(&top.samples[0]);
    top_sample_deinit(&top.samples[1]);
    if (r < 0)
        return cli_fail(cli, r, &err);
    return stop_signal() != 0 ? 128 + stop_signal() : 0;
}
