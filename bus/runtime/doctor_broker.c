/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doctor's last round: is there a broker, is it ours, does it take us, does it agree with us
 * about time and registry? With a key of ours it connects as the component does, without one as a
 * stranger who is turned away, which shows as well whose broker it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <aico/client.h>

#include "base/cleanup.h"
#include "crypto/random.h"
#include "runtime/doctor.h"
#include "transport/dealer.h"
#include "wire/record.h"

#define CHECK "broker"

int64_t doctor_broker_process(struct doctor *d)
{
    CLEANUP(free_memory)
    char *path = doctor_path(d, "run/broker.lock");
    CLEANUP(fd_close)
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    char text[32] = "";
    long long process;

    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return -1;
    if (read(fd, text, sizeof(text) - 1) <= 0)
        return 0;
    process = strtoll(text, NULL, 10);
    return process > 1 ? process : 0;
}

bool doctor_is_own_endpoint(const struct doctor *d, const char *endpoint)
{
    for (size_t i = 0; d->config && i < d->config->endpoints.count; i++)
        if (strcmp(d->config->endpoints.items[i], endpoint) == 0)
            return true;
    return false;
}

/* --- repairs -------------------------------------------------------------------------------- */

static char *start_command(struct doctor *d, int64_t former)
{
    CLEANUP(free_memory)
    char *stop = NULL;
    CLEANUP(free_memory)
    char *config = NULL;

    /* The lock is free when the process is gone, whoever has to wait for it. */
    stop = former > 0 ? doctor_command(d, "kill -CONT %d; kill %d; flock %q/run/broker.lock true; ",
                                       former, former, d->home)
                      : doctor_command(d, "");
    config = d->options->config ? doctor_command(d, " --config %q", d->options->config)
                                : doctor_command(d, "");
    if (!stop || !config)
        return NULL;
    return doctor_command(d,
                          "%smkdir -p -m 700 %q/log && setsid -f aico-broker --home %q%s "
                          "</dev/null >/dev/null 2>>%q/log/broker.log",
                          stop, d->home, d->home, config, d->home);
}

static bool is_stopped(int64_t process)
{
    CLEANUP(file_close)
    FILE *file = NULL;
    char path[64], state = '?';

    (void)snprintf(path, sizeof(path), "/proc/%" PRId64 "/stat", process);
    file = fopen(path, "re");
    return file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1 && (state == 'T' || state == 't');
}

/* --- what was answered ---------------------------------------------------------------------- */

/* Nobody, or nobody who answers, at @endpoint. */
static void judge_silence(struct doctor *d, const char *endpoint, int code, const char *text)
{
    const struct aico_finding finding = {
        .level = AICO_FINDING_ERROR, .check = CHECK, .subject = endpoint, .code = code};
    int64_t process = doctor_broker_process(d);
    bool is_own = doctor_is_own_endpoint(d, endpoint);

    if (process > 0 && is_stopped(process))
        doctor_find(d, &finding, doctor_command(d, "kill -CONT %d", process),
                    "the broker, process %" PRId64 ", is stopped: %s", process, text);
    else if (!is_own && d->config && d->config->backend_address && !d->options->broker)
        doctor_find(d, &finding,
                    doctor_command(d, "sed -i '/^ *backend_address:/s/^/#/' %q/config/%s.yaml",
                                   d->home, d->name),
                    "backend_address of %s is no address of this home's broker: %s", d->name, text);
    else if (!is_own)
        doctor_find(d, &finding, NULL, "%s", text);
    else if (code == AICO_EUNREACHABLE || process >= 0)
        doctor_find(d, &finding, process != 0 ? start_command(d, process) : NULL, "%s", text);
    else
        doctor_find(d, &finding, NULL, "%s", text);
}

/* All that can be said without asking: whether the home's own broker runs. */
static void look_at_process(struct doctor *d)
{
    CLEANUP(free_memory)
    char *key = doctor_path(d, BROKER_NAME ".key");

    if (!key || access(key, F_OK) < 0 || doctor_broker_process(d) >= 0)
        return;
    doctor_find(d,
                &(struct aico_finding){
                    .level = AICO_FINDING_ERROR, .check = CHECK, .code = AICO_EUNREACHABLE},
                start_command(d, 0), "no broker of this home is running");
}

static void judge_failure(struct doctor *d, const char *endpoint, int code, const char *text)
{
    const struct aico_finding finding = {
        .level = AICO_FINDING_ERROR, .check = CHECK, .subject = endpoint, .code = code};
    int64_t process = doctor_broker_process(d);

    switch (code) {
    case AICO_EUNREACHABLE:
    case AICO_ENOTBROKER:
    case AICO_ETIMEOUT:
    case AICO_ECLOSED:
        judge_silence(d, endpoint, code, text);
        return;
    case AICO_EDUPLICATE:
        doctor_find(
            d,
            &(struct aico_finding){
                .level = AICO_FINDING_NOTE, .check = CHECK, .subject = d->name, .code = code},
            NULL, "is connected just now, by another process");
        return;
    case AICO_EBROKERKEY:
        /* It still has the key of before a rotation, or it is not the one of this home. */
        doctor_find(d, &finding,
                    process > 0 && doctor_is_own_endpoint(d, endpoint) ? start_command(d, process)
                                                                       : NULL,
                    "%s", text);
        return;
    case AICO_EUNKNOWN:
    case AICO_EREVOKED:
    case AICO_EDRAIN:
        doctor_find(d, &finding, NULL, "%s", text);
        return;
    default:
        if (d->code < 0) /* what was told above kept us from asking */
            look_at_process(d);
        else
            doctor_find(d, &finding, NULL, "%s", text);
    }
}

/* What the core noted when WELCOME came. */
static void report_states(struct doctor *d, struct aico_client *client, const char *endpoint)
{
    struct aico_message *message = NULL;

    while (aico_receive(client, 0, &message, NULL) == 0) {
        if (message->kind == AICO_MESSAGE_STATE && message->code < 0)
            doctor_find(
                d,
                &(struct aico_finding){.level = AICO_FINDING_ERROR,
                                       .check = message->code == AICO_ECLOCK ? "clock" : CHECK,
                                       .subject = endpoint,
                                       .code = message->code},
                message->code == AICO_ECLOCK ? doctor_command(d, "timedatectl set-ntp true") : NULL,
                "%s", message->text);
        aico_message_free(&message);
    }
}

static void ask_as_component(struct doctor *d, const char *endpoint)
{
    const struct aico_client_options options = {
        .home = d->home,
        .identity = d->name,
        .broker = d->options->broker,
        .config = d->options->config,
        .passphrase_file = d->options->passphrase_file,
        .software = "aico-bus doctor",
    };
    struct aico_client *client = NULL;
    struct aico_error err = {0};
    int64_t round_trip_us = 0;
    size_t before = d->count;
    int r = aico_client_open(&options, d->timeout_ms, &client, &err);

    if (r == 0)
        r = aico_ping(client, NULL, d->timeout_ms, &round_trip_us, &err);
    if (r < 0)
        judge_failure(d, endpoint, r, err.text[0] ? err.text : aico_error_string(r));
    else
        report_states(d, client, endpoint);
    (void)aico_client_close(&client, 0, NULL);
    if (r == 0 && d->count == before)
        doctor_ok(d, CHECK, endpoint, "answers %s in %" PRId64 " us, clocks and registry agree",
                  d->name, round_trip_us);
}

/* --- as a stranger -------------------------------------------------------------------------- */

static void dealer_end(struct dealer **dealer)
{
    dealer_close(dealer, 0);
}

static int dial(struct doctor *d, const char *endpoint, struct aico_error *err)
{
    CLEANUP(identity_free)
    struct identity *stranger = NULL;
    CLEANUP(secret_wipe)
    struct secret seed = {0};
    CLEANUP(dealer_end)
    struct dealer *dealer = NULL;
    struct dealer_settings settings = {
        .endpoint = endpoint,
        .broker_public = registry_broker(d->registry)->transport,
        .frame_size_max = FRAME_SIZE_MAX,
        .timeout_ms = d->timeout_ms,
    };
    int r;

    random_system.bytes(random_system.context, seed.at, sizeof(seed.at));
    r = identity_new("stranger", &seed, 0, &stranger);
    if (r < 0)
        return aico_error_set(err, r, "%s", aico_error_string(r));
    settings.my_public = stranger->transport_public;
    settings.my_secret = &stranger->transport_secret;
    r = dealer_open(&settings, &dealer, err);
    if (r < 0)
        return r;
    if (dealer_wait(dealer, -1, 2 * d->timeout_ms) & DEALER_DOWN)
        return dealer_reason(dealer, err);
    return aico_error_set(err, AICO_ETIMEOUT, "%s: no answer in time", endpoint);
}

static void ask_as_stranger(struct doctor *d, const char *endpoint)
{
    struct aico_error err = {0};
    int r = dial(d, endpoint, &err);

    if (r == AICO_ENOMEM)
        d->is_out_of_memory = true;
    else if (r == AICO_EUNKNOWN) /* as it should be: only the right one could say so */
        doctor_ok(d, CHECK, endpoint, "answers, and has the key that the registry names");
    else
        judge_failure(d, endpoint, r, err.text);
}

void doctor_look_at_broker(struct doctor *d)
{
    const char *endpoint = d->options->broker;

    if (!endpoint && d->config)
        endpoint = d->config->connect_endpoint;
    if (!endpoint || !d->registry) { /* whom to ask, or whom to believe, is not known yet */
        look_at_process(d);
        return;
    }
    if (!registry_broker(d->registry))
        doctor_find(d,
                    &(struct aico_finding){.level = AICO_FINDING_ERROR,
                                           .check = CHECK,
                                           .subject = endpoint,
                                           .code = AICO_EBROKERKEY},
                    NULL, "the registry names no active component of role " REGISTRY_ROLE_BROKER);
    else if (d->identity)
        ask_as_component(d, endpoint);
    else
        ask_as_stranger(d, endpoint);
}
