/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus bench: how fast this bus is on this machine, on a bus of its own unless one is named. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_home.h"
#include "cli/cli.h"
#include "common/stop.h"

#define CLOSE_MS 2000
#define CURVE_POINTS 7 /* rates of --svg: each twice the one before, up to --rate */

/* --- the driver: <aico/client.h> -------------------------------------------------------------- */

struct bench_link {
    struct aico_client *client;
    struct aico_message *last; /* what receive lent */
    int64_t timeout_ms;
    bool is_stored;
};

static void link_close(struct bench_link **link)
{
    struct bench_link *l = *link;

    if (!l)
        return;
    aico_message_free(&l->last);
    (void)aico_client_close(&l->client, CLOSE_MS, NULL);
    free(l);
    *link = NULL;
}

static int link_open(void *context, const char *name, struct bench_link **ret_link,
                     struct aico_error *err)
{
    const struct cli *cli = context;
    struct aico_client_options options = cli->connect.client;
    char identity[BENCH_NAME_SIZE + sizeof(BENCH_IDENTITY)];
    struct bench_link *link = calloc(1, sizeof(*link));
    int r;

    if (!link)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    (void)snprintf(identity, sizeof(identity), BENCH_IDENTITY "%s", name);
    options.identity = identity;
    options.software = "aico-bus bench";
    link->timeout_ms = cli_timeout(cli);
    link->is_stored = cli->bench.plan.mode == BENCH_STORED;
    r = aico_client_open(&options, link->timeout_ms, &link->client, err);
    if (r < 0) {
        link_close(&link);
        if (r == AICO_EUNKNOWN)
            return aico_error_prefix(err, r, "make it with aico-keytool new %s", identity);
        return r;
    }
    *ret_link = link;
    return 0;
}

static int link_subscribe(struct bench_link *link, const char *topic, struct aico_error *err)
{
    /* Nothing is dropped: the publishers wait for the slowest reader. */
    struct aico_subscribe_options options = {.slow_policy = AICO_SLOW_BLOCK};

    return aico_subscribe(link->client, topic, &options, link->timeout_ms, NULL, err);
}

static int link_publish(struct bench_link *link, const char *topic, const void *at, size_t size,
                        struct aico_error *err)
{
    struct aico_publish_options options = {
        .wait_ms = -1, .ack = link->is_stored ? AICO_ACK_STORED : AICO_ACK_ACCEPTED};

    return aico_publish(link->client, topic, at, size, &options, NULL, err);
}

static int link_flush(struct bench_link *link, struct aico_error *err)
{
    struct aico_client_stats before, now;
    int r;

    aico_client_get_stats(link->client, &now);
    do { /* the time starts anew whenever something was acknowledged */
        before = now;
        r = aico_flush(link->client, link->timeout_ms, err);
        aico_client_get_stats(link->client, &now);
    } while (r == AICO_ETIMEOUT && now.acknowledged > before.acknowledged);
    return r;
}

static int link_receive(struct bench_link *link, int64_t timeout_ms, struct bench_received *ret,
                        struct aico_error *err)
{
    int r;

    aico_message_free(&link->last);
    r = aico_receive(link->client, timeout_ms, &link->last, err);
    if (r < 0)
        return r;
    switch (link->last->kind) {
    case AICO_MESSAGE_EVENT:
        *ret = (struct bench_received){
            .at = link->last->payload, .size = link->last->size, .is_sealed = link->last->sealed};
        return 0;
    case AICO_MESSAGE_REFUSED:
        return aico_error_set(err, link->last->code, "%s", link->last->text);
    default: /* gaps show in the numbers of the messages */
        *ret = (struct bench_received){0};
        return 0;
    }
}

/* --- the verb --------------------------------------------------------------------------------- */

/* What does not go with a broker that is not ours. */
static int check_usage(const struct cli *cli, struct aico_error *err)
{
    const struct bench_plan *plan = &cli->bench.plan;
    const struct bench_bus *bus = &cli->bench.bus;

    if (cli->bench.svg && plan->mode != BENCH_LATENCY)
        return aico_error_set(err, AICO_EINVAL, "--svg shows latency by rate: bench latency");
    if (!cli->connect.client.broker)
        return 0;
    if (bus->seal || bus->link || bus->io_threads || bus->busy_poll || bus->busy_broker)
        return aico_error_set(err, AICO_EINVAL,
                              "with --broker its rules, address and settings decide: no --seal, "
                              "--link, --io-threads, --busy-poll, --busy-broker");
    if (plan->place != BENCH_PLACE_KERNEL || plan->mode == BENCH_IDLE || plan->mode == BENCH_STORED)
        return aico_error_set(err, AICO_EINVAL,
                              "--place, idle and stored need a broker of our own: no "
                              "--broker");
    return 0;
}

static int run_one(const struct cli *cli, const struct bench_plan *plan,
                   struct bench_result *result, struct aico_error *err)
{
    struct bench_driver driver = {
        .context = (void *)(uintptr_t)cli,
        .open = link_open,
        .subscribe = link_subscribe,
        .publish = link_publish,
        .flush = link_flush,
        .receive = link_receive,
        .close = link_close,
    };
    struct bench_label label = {
        .bus = "aico",
        .seal = plan->broker == 0     ? "by its rule"
                : cli->bench.bus.seal ? cli->bench.bus.seal
                                      : "group",
        .link = cli->connect.client.broker && strncmp(cli->connect.client.broker, "tcp", 3) == 0
                    ? "tcp"
                    : "ipc",
    };
    int r = bench_run(plan, &driver, result, err);

    if (r < 0)
        return r;
    if (cli->connect.is_json)
        bench_print_json(plan, &label, result, stdout);
    else
        bench_print_table(plan, &label, result, stdout);
    if (!bench_result_is_whole(result))
        return aico_error_set(err, AICO_EINTERNAL,
                              "the bus lost %" PRIu64 ", doubled %" PRIu64 " and changed %" PRIu64
                              " messages: the figures mean nothing",
                              result->lost, result->doubled, result->corrupted);
    return 0;
}

/* Several rates, and a picture of them. */
static int run_curve(const struct cli *cli, struct bench_result *result, struct aico_error *err)
{
    struct bench_plan plan = cli->bench.plan;
    struct bench_point points[CURVE_POINTS];
    size_t count = 0;
    char title[120];
    int r = 0;

    for (int i = CURVE_POINTS - 1; r == 0 && i >= 0; i--) {
        plan.rate = cli->bench.plan.rate >> i;
        if (plan.rate == 0)
            continue;
        /* Every rate as long as the highest. */
        plan.count = cli->bench.plan.count >> i;
        plan.count = plan.count > plan.publishers ? plan.count : plan.publishers;
        r = run_one(cli, &plan, result, err);
        points[count++] = (struct bench_point){
            .rate = (double)plan.rate,
            .p50_us = (double)histogram_quantile(&result->latency, 0.5) / 1000,
            .p99_us = (double)histogram_quantile(&result->latency, 0.99) / 1000,
            .p999_us = (double)histogram_quantile(&result->latency, 0.999) / 1000,
        };
    }
    if (r < 0)
        return r;
    (void)snprintf(title, sizeof(title), "AICO Bus: one-way latency, %" PRIu64 " bytes, %u to %u",
                   plan.size, plan.publishers, plan.readers);
    return bench_write_svg(cli->bench.svg, title, points, count, err);
}

int verb_bench(struct cli *cli)
{
    struct bench_plan *plan = &cli->bench.plan;
    struct bench_home home = {0};
    struct bench_result *result = malloc(sizeof(*result));
    struct aico_error err = {0};
    int r;

    plan->timeout_ms = connect_timeout(&cli->connect, 10000);
    r = bench_plan_finish(plan, cli->command.arguments[0], &err);
    if (r == 0)
        r = check_usage(cli, &err);
    if (r == 0 && !result)
        r = aico_error_set(&err, AICO_ENOMEM, "out of memory");
    if (r == 0 && (plan->stop_fd = stop_open()) < 0)
        r = aico_error_set(&err, plan->stop_fd, "taking signals");
    if (r == 0 && !cli->connect.client.broker) {
        r = bench_home_open(&home, plan, &cli->bench.bus, &err);
        plan->broker = home.broker;
        cli->connect.client.home = home.home;
        cli->connect.client.config = NULL;
        cli->connect.client.broker = home.endpoint;
        /* It is there, but may be at the handshakes of hundreds of others. */
        cli->connect.client.wait_for_broker = true;
    }
    if (r == 0)
        r = cli->bench.svg ? run_curve(cli, result, &err) : run_one(cli, plan, result, &err);
    bench_home_close(&home);
    free(result);
    if (stop_signal() != 0)
        return 128 + stop_signal();
    return r < 0 ? cli_fail(cli, r, &err) : 0;
}
