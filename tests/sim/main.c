/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aico-sim [--seed N | --seeds FROM..TO] [--jobs N] [--cheap] [--store] [--steps N] [-v]
 * [--break PROMISE | --broken]
 *
 * Runs seeds, in N processes, and checks the promises. --cheap takes arithmetic that is no
 * cryptography (cheap.c): another run of the same seed, many times as fast. --break breaks one on
 * purpose and must find it; --broken does so with each. Exit 0: as it should be; 1: a promise is
 * broken (or a broken one was not found); 2: usage.
 */
#include <getopt.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "sim.h"

#define JOBS_MAX 64

const char *const breakage_names[BREAKAGES] = {
    "nothing", "duplicate", "loss",    "swap",     "leak",   "sender",   "payload",   "topic",
    "gap",     "double",    "refusal", "hang",     "reply",  "value",    "again",     "job",
    "jobs",    "will",      "wills",   "unmarked", "denied", "unstored", "forgotten", "repeat",
    "books",   "mail",      "mails",   "mailbox",  "late",   "older",    "deleted",   "revived",
};

static void world_begin(struct world *w, uint64_t seed, const struct options *options)
{
    *w = (struct world){.options = *options, .seed = seed, .trace = 0xcbf29ce484222325u};
    w->dice.state = seed * 0x2545f4914f6cdd1du + 99;
    w->delay_max_ms = 1 << dice_below(&w->dice, 9);
    w->shrink = dice_one(&w->dice, 6) ? 0 : 3;
    w->session = session_settings_default();
    w->session.connection_retry_limit = 0;
    w->session.security_level = 0;
    w->session.fresh_handshake = !dice_one(&w->dice, 4);
    w->session.key_reuse = !w->session.fresh_handshake; /* with a store: else nobody has a disk */
    w->session.strict_ordering = !dice_one(&w->dice, 5);
    w->session.padding = dice_one(&w->dice, 5);
    w->rotates = dice_one(&w->dice, 5);
    if (w->rotates)
        w->session.key_rotation_interval_ms = 60000 + (int64_t)dice_below(&w->dice, 100000);
    if (dice_one(&w->dice, 5))
        w->session.session_timeout_ms = 60000;
    broker_settings_default(&w->broker_settings);
    w->broker_settings.outbox_limit = (size_t)200000 << dice_below(&w->dice, w->shrink ? 1 : 4);
    w->broker_settings.direct_limit = (size_t)200000 >> w->shrink << dice_below(&w->dice, 6);
    w->broker_settings.publish_window = 400000u << dice_below(&w->dice, 3);
    if (dice_one(&w->dice, 8))
        w->broker_settings.max_topics = 6;
    sim_note(w,
             "settings: fresh %d strict %d padding %d rotation %lld timeout %lld, delay %lld, "
             "topics %zu",
             w->session.fresh_handshake, w->session.strict_ordering, w->session.padding,
             (long long)w->session.key_rotation_interval_ms,
             (long long)w->session.session_timeout_ms, (long long)w->delay_max_ms,
             w->broker_settings.max_topics);
    w->stores = w->broker_settings.has_store = options->stores;
    if (w->stores)
        mail_begin(w);
    store_format(w);
    owner_begin(w);
    broker_start(w);
    for (int i = 0; i < NODES; i++) {
        struct node *node = &w->nodes[i];

        node->world = w;
        node->index = i;
        node->name = owner_node_name(i);
        node->identity = owner_identity(i);
        node->dice.state = dice_next(&w->dice);
        node_set_clock(node);
        node->boot_ms = 1000000 + (int64_t)dice_below(&w->dice, 1000000000);
        node->inbox_end = &node->inbox;
        node->listen_ms = node->take_ms = MOMENT_NEVER;
        node->is_durable = w->stores && owner_may_read(w, i, topic_index("st/one"));
        node_start(node);
    }
}

static void world_end(struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        node_stop(&w->nodes[i], !w->failed);
        registry_unref(&w->nodes[i].registry);
        book_free(&w->nodes[i]);
        mail_free(&w->nodes[i]);
    }
    oracle_step(w);
    while (w->tickets) {
        struct ticket *ticket = w->tickets;

        if (!ticket->done)
            sim_fail(w, "%s: an operation never ended", ticket->node->name);
        w->tickets = ticket->next;
        free(ticket);
    }
    if (w->broker)
        broker_stop(w, STORE_END_ORDERLY);
    links_free(w);
    owner_end(w);
    if (w->held)
        aico_message_free(&w->held);
    for (size_t i = 0; i < w->message_count; i++)
        free(w->messages[i].stored);
    free(w->messages);
}

void sim_run(uint64_t seed, const struct options *options, struct run_result *ret_result)
{
    struct world *w = calloc(1, sizeof(*w));

    if (!w)
        abort();
    world_begin(w, seed, options);
    schedule_run(w, MOMENT_NEVER);
    workload_calm(w);
    schedule_run(w, w->now_ms + 400 * 1000);
    if (!w->failed)
        oracle_calm(w);
    /* Twice: a window is only sure of a loss when it is said for the second time. */
    for (int i = 0; i < 2 && !w->failed; i++) {
        workload_close(w);
        schedule_run(w, w->now_ms + 150 * 1000);
    }
    if (!w->failed)
        oracle_calm(w);
    if (!w->failed)
        oracle_accounts(w);
    if (!w->failed)
        later_accounts(w);
    if (!w->failed)
        book_accounts(w);
    if (!w->failed)
        mail_accounts(w);
    if (!w->failed)
        later_death(w);
    if (!w->failed)
        values_late(w);
    world_end(w);
    *ret_result = (struct run_result){
        .failed = w->failed,
        .broke = w->broke,
        .trace = w->trace,
        .deliveries = w->deliveries,
        .losses = w->losses,
        .refusals = w->refusals,
        .requests = w->requests,
        .replies = w->replies,
        .messages = w->message_count,
        .reconnects = w->reconnects,
        .virtual_ms = w->now_ms,
        .broker_kills = w->broker_kills,
        .power_cuts = w->power_cuts,
        .node_kills = w->node_kills,
        .stored_deliveries = w->stored_deliveries,
        .stored_again = w->stored_again,
        .stored_owed = w->stored_owed,
        .values_named = w->values_named,
        .values_owed = w->values_owed,
        .mail_named = w->mail_named,
        .mail_owed = w->mail_owed,
    };
    memcpy(ret_result->failure, w->failure, sizeof(w->failure));
    free(w);
}

/* --- the program ------------------------------------------------------------------------------ */

struct totals {
    uint64_t seeds, failed, deliveries, losses, refusals, requests, replies, messages, reconnects;
    uint64_t broker_kills, power_cuts, node_kills, stored_deliveries, stored_again, stored_owed;
    uint64_t mail_owed, mail_named, values_owed, values_named;
    int64_t virtual_ms;
};

static void add(struct totals *totals, const struct run_result *r)
{
    totals->seeds++;
    totals->failed += r->failed;
    totals->deliveries += r->deliveries;
    totals->losses += r->losses;
    totals->refusals += r->refusals;
    totals->requests += r->requests;
    totals->replies += r->replies;
    totals->messages += r->messages;
    totals->reconnects += r->reconnects;
    totals->virtual_ms += r->virtual_ms;
    totals->broker_kills += r->broker_kills;
    totals->power_cuts += r->power_cuts;
    totals->node_kills += r->node_kills;
    totals->stored_deliveries += r->stored_deliveries;
    totals->stored_again += r->stored_again;
    totals->stored_owed += r->stored_owed;
    totals->values_named += r->values_named;
    totals->values_owed += r->values_owed;
    totals->mail_named += r->mail_named;
    totals->mail_owed += r->mail_owed;
}

static void join(struct totals *totals, const struct totals *share)
{
    totals->seeds += share->seeds;
    totals->failed += share->failed;
    totals->deliveries += share->deliveries;
    totals->losses += share->losses;
    totals->refusals += share->refusals;
    totals->requests += share->requests;
    totals->replies += share->replies;
    totals->messages += share->messages;
    totals->reconnects += share->reconnects;
    totals->virtual_ms += share->virtual_ms;
    totals->broker_kills += share->broker_kills;
    totals->power_cuts += share->power_cuts;
    totals->node_kills += share->node_kills;
    totals->stored_deliveries += share->stored_deliveries;
    totals->stored_again += share->stored_again;
    totals->stored_owed += share->stored_owed;
    totals->values_named += share->values_named;
    totals->values_owed += share->values_owed;
    totals->mail_named += share->mail_named;
    totals->mail_owed += share->mail_owed;
}

/* Seeds @from, @from + @stride ... to @to; a line for each that breaks a promise. */
static struct totals run_share(uint64_t from, uint64_t to, unsigned stride,
                               const struct options *options)
{
    struct totals totals = {0};
    struct run_result result, again;

    for (uint64_t seed = from; seed <= to; seed += stride) {
        sim_run(seed, options, &result);
        if (seed == from && !options->verbose) {
            sim_run(seed, options, &again);
            if (again.trace != result.trace && !result.failed) {
                result.failed = true;
                (void)snprintf(result.failure, sizeof(result.failure),
                               "a second run was another one");
            }
        }
        add(&totals, &result);
        if (result.failed)
            (void)printf("seed %llu: %s\n", (unsigned long long)seed, result.failure);
    }
    (void)fflush(stdout);
    return totals;
}

/* One share in a process of its own, whose totals come by a pipe. Returns its reading end. */
static int begin_share(uint64_t from, uint64_t to, unsigned stride, const struct options *options)
{
    int ends[2];
    pid_t pid;

    if (pipe(ends) < 0 || (pid = fork()) < 0) {
        perror("aico-sim");
        exit(1);
    }
    if (pid == 0) {
        struct totals totals = run_share(from, to, stride, options);
        bool told = write(ends[1], &totals, sizeof(totals)) == (ssize_t)sizeof(totals);

        owner_identities_free();
        exit(told ? 0 : 1);
    }
    (void)close(ends[1]);
    return ends[0];
}

static int run_seeds(uint64_t from, uint64_t to, unsigned jobs, const struct options *options)
{
    struct totals totals = {0}, share;
    int pipes[JOBS_MAX];
    unsigned died = 0;

    if (jobs == 1) {
        totals = run_share(from, to, 1, options);
    } else {
        for (unsigned i = 0; i < jobs; i++)
            pipes[i] = begin_share(from + i, to, jobs, options);
        for (unsigned i = 0; i < jobs; i++) {
            if (read(pipes[i], &share, sizeof(share)) == (ssize_t)sizeof(share))
                join(&totals, &share);
            else
                died++; /* what it said before stands above */
            (void)close(pipes[i]);
        }
        while (wait(NULL) > 0)
            ;
    }
    if (died)
        (void)printf("%u of %u jobs ended before their seeds did\n", died, jobs);
    (void)printf("%llu messages, %llu delivered, %llu refused, %llu reported missing, %llu of %llu "
                 "requests answered, %llu links, %.1f h\n",
                 (unsigned long long)totals.messages, (unsigned long long)totals.deliveries,
                 (unsigned long long)totals.refusals, (unsigned long long)totals.losses,
                 (unsigned long long)totals.replies, (unsigned long long)totals.requests,
                 (unsigned long long)totals.reconnects, (double)totals.virtual_ms / 3600000);
    (void)printf(
        "%llu kills: %llu of brokers, %llu of them with the power, %llu of components; "
        "%llu deliveries of stored messages, %llu of them again, %llu checked in the end\n",
        (unsigned long long)(totals.broker_kills + totals.node_kills),
        (unsigned long long)totals.broker_kills, (unsigned long long)totals.power_cuts,
        (unsigned long long)totals.node_kills, (unsigned long long)totals.stored_deliveries,
        (unsigned long long)totals.stored_again, (unsigned long long)totals.stored_owed);
    (void)printf("%llu messages of mailboxes checked, of which %llu were lost and told; %llu last "
                 "values shown to who came later, %llu told instead\n",
                 (unsigned long long)totals.mail_owed, (unsigned long long)totals.mail_named,
                 (unsigned long long)totals.values_owed, (unsigned long long)totals.values_named);
    (void)printf("%llu passed, %llu failed\n", (unsigned long long)(totals.seeds - totals.failed),
                 (unsigned long long)totals.failed + died);
    return totals.failed || died ? 1 : 0;
}

/* Whether the promise, once broken, is found. Not in every run: some messages may be missing. */
static bool is_found(uint64_t from, uint64_t to, const struct options *options)
{
    struct run_result result = {0};
    struct options with = *options;
    uint64_t seed = from;
    int happened = 0;

    with.stores |= options->breakage >= BREAK_UNSTORED && options->breakage <= BREAK_REVIVED;

    while (!(result.broke && result.failed) && seed <= to) {
        sim_run(seed++, &with, &result);
        happened += result.broke;
    }
    if (result.broke && result.failed)
        (void)printf("%-10s found in seed %llu, the %d. that broke it: %s\n",
                     breakage_names[options->breakage], (unsigned long long)seed - 1, happened,
                     result.failure);
    else
        (void)printf("%-10s NOT FOUND in the %d runs that broke it\n",
                     breakage_names[options->breakage], happened);
    return result.broke && result.failed;
}

static int run_broken(uint64_t from, uint64_t to, struct options *options)
{
    int failed = 0, passed = 0;

    for (int b = BREAK_NOTHING + 1; b < BREAKAGES; b++) {
        options->breakage = (enum breakage)b;
        if (is_found(from, to, options))
            passed++;
        else
            failed++;
    }
    (void)printf("%d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: aico-sim [--seed N | --seeds FROM..TO] [--jobs N] [--cheap] "
                          "[--store] [--steps N] [-v] [--break PROMISE | --broken]\npromises:");
    for (int b = BREAK_NOTHING + 1; b < BREAKAGES; b++)
        (void)fprintf(stderr, " %s", breakage_names[b]);
    (void)fprintf(stderr, "\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"seed", required_argument, NULL, 's'},  {"seeds", required_argument, NULL, 'r'},
        {"steps", required_argument, NULL, 'n'}, {"break", required_argument, NULL, 'b'},
        {"broken", no_argument, NULL, 'B'},      {"jobs", required_argument, NULL, 'j'},
        {"cheap", no_argument, NULL, 'c'},       {"store", no_argument, NULL, 'S'},
        {"verbose", no_argument, NULL, 'v'},     {NULL, 0, NULL, 0},
    };
    struct options options = {.steps = 250};
    unsigned long long from = 1, to = 10;
    unsigned jobs = 1;
    bool broken = false;
    int option, r;

    while ((option = getopt_long(argc, argv, "v", long_options, NULL)) != -1) {
        if (option == 's' && sscanf(optarg, "%llu", &from) == 1) {
            to = from;
        } else if (option == 'r' && sscanf(optarg, "%llu..%llu", &from, &to) == 2) {
            continue;
        } else if (option == 'n') {
            options.steps = strtoull(optarg, NULL, 10);
        } else if (option == 'b') {
            for (int b = 1; b < BREAKAGES; b++)
                if (strcmp(optarg, breakage_names[b]) == 0)
                    options.breakage = (enum breakage)b;
            if (options.breakage == BREAK_NOTHING)
                return usage();
        } else if (option == 'j' && sscanf(optarg, "%u", &jobs) == 1 && jobs >= 1 &&
                   jobs <= JOBS_MAX) {
            continue;
        } else if (option == 'c') {
            cheap_begin();
        } else if (option == 'S') {
            options.stores = true;
        } else if (option == 'B') {
            broken = true;
        } else if (option == 'v') {
            options.verbose = true;
        } else {
            return usage();
        }
    }
    if (optind != argc || crypto_start() < 0)
        return usage();
    if (broken)
        r = run_broken(from, to, &options);
    else if (options.breakage != BREAK_NOTHING)
        r = is_found(from, to, &options) ? 0 : 1;
    else
        r = run_seeds(from, to, jobs, &options);
    owner_identities_free();
    return r;
}
