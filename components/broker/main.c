/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aico-broker: the broker of one home, in the foreground. HUP looks at registry and configuration
 * again, TERM and INT deliver what is held and end it; a second one ends it at once.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <aico/broker.h>

#include "broker/activation.h"
#include "broker/table.h"
#include "common/connect.h"
#include "common/guard.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/notify.h"
#include "common/privilege.h"

#define PROGRAM "aico-broker"

struct arguments {
    struct connect_options connect;
    bool is_check;
    bool is_print_config;
};

static struct aico_broker *served; /* for the signal handlers */

static void on_stop(int number)
{
    (void)number;
    aico_broker_stop(served);
}

static void on_reload(int number)
{
    (void)number;
    aico_broker_reload(served);
}

static int take(void *context, int id, const char *value, struct aico_error *err)
{
    struct arguments *arguments = context;
    int r = connect_take(&arguments->connect, id, value, err);

    if (r > 0)
        *(id == OPTION_CHECK ? &arguments->is_check : &arguments->is_print_config) = true;
    return r < 0 ? r : 0;
}

static void on_event(void *context, const struct aico_broker_event *event)
{
    static const enum log_level levels[] = {
        [AICO_LOG_ERROR] = LOG_ERROR,
        [AICO_LOG_WARNING] = LOG_WARNING,
        [AICO_LOG_INFO] = LOG_INFO,
        [AICO_LOG_DEBUG] = LOG_DEBUG,
    };
    const struct arguments *arguments = context;
    const char *name = aico_broker_event_name(event->kind);
    const char *code = event->code < 0 ? aico_error_name(event->code) : "";
    const struct log_field fields[] = {
        {"event", name},
        {"component", event->component},
        {"address", event->address},
        {"code", code},
    };

    if (event->kind == AICO_BROKER_DRAINING)
        notify_send("STOPPING=1");
    if (event->kind == AICO_BROKER_RELOADED) {
        notify_reloaded();
        if (!arguments->connect.has_log_level)
            log_set_level((enum log_level)aico_broker_log_level(served)); /* the same order */
    }
    if (log_has_fields())
        log_write_fields(levels[event->level], fields, sizeof(fields) / sizeof(fields[0]), "%s",
                         event->text);
    else
        log_write(levels[event->level], "%s: %s%s%s%s%s%s%s%s%s", name, event->component,
                  *event->component && *event->address ? " " : "", *event->address ? "(" : "",
                  event->address, *event->address ? ")" : "",
                  *event->component || *event->address ? ": " : "", event->text, *code ? " " : "",
                  code);
}

/* After a turn of the loop: so the watchdog hears of a loop that turns, and of no other. */
static void on_pulse(void *context, const struct aico_broker_pulse *pulse)
{
    char text[160];

    (void)context;
    notify_alive();
    (void)snprintf(text, sizeof(text),
                   "%zu components, %llu messages in, %llu delivered, %llu held", pulse->components,
                   pulse->published, pulse->delivered, pulse->queued);
    notify_status(text);
}

/* Whether @r, why it did not open, was met by asking for a passphrase: then it should be tried
 * again. Sockets of systemd are gone after a failure, and nobody is there to ask. */
static bool was_asked(struct arguments *arguments, struct aico_broker_options *broker, int *r,
                      struct aico_error *err)
{
    if (broker->socket_count > 0 || !connect_may_ask(&arguments->connect, *r))
        return false;
    *r = connect_ask(&arguments->connect, "the broker", err);
    broker->passphrase_file = arguments->connect.client.passphrase_file;
    return *r == 0;
}

/* Everything that is wrong with the configuration, then the first thing beyond it. */
static int check(struct arguments *arguments, struct aico_broker_options *broker)
{
    struct aico_config_problems problems;
    struct aico_error err = {0};
    int r = aico_config_check(broker->home, broker->config, "broker", &problems);

    for (size_t i = 0; r < 0 && i < problems.count; i++)
        (void)connect_fail(PROGRAM, problems.problems[i].code, &problems.problems[i]);
    if (r < 0)
        return aico_error_exit_status(r);
    do
        r = aico_broker_check(broker, &err);
    while (was_asked(arguments, broker, &r, &err));
    if (r < 0)
        return connect_fail(PROGRAM, r, &err);
    log_write(LOG_INFO, "check: configuration, registry and key are in order");
    return 0;
}

static int print_config(const struct arguments *arguments)
{
    struct aico_config *config = NULL;
    struct aico_error err = {0};
    int r = aico_config_load(arguments->connect.client.home, arguments->connect.client.config,
                             "broker", &config, &err);

    if (r == 0 && (aico_config_print(config, stdout) < 0 || fflush(stdout) != 0))
        r = aico_error_set(&err, AICO_ESYSTEM, "the output does not take it");
    aico_config_free(&config);
    return r < 0 ? connect_fail(PROGRAM, r, &err) : 0;
}

/* What the options leave open the configuration says; what is wrong with it is told by the start.
 */
static void complete_log(struct connect_options *connect)
{
    struct aico_config *config = NULL;

    if (aico_config_load(connect->client.home, connect->client.config, "broker", &config, NULL) < 0)
        return;
    if (!connect->has_log_level)
        connect->log_level = (enum log_level)config->log_level; /* the same order */
    if (!connect->has_log_format)
        connect->log_format = (enum log_format)config->log_format;
    aico_config_free(&config);
}

/* The signals wait until there is a broker to be told; threads of libraries never see them. */
static void block_signals(sigset_t *ours)
{
    (void)sigemptyset(ours);
    (void)sigaddset(ours, SIGTERM);
    (void)sigaddset(ours, SIGINT);
    (void)sigaddset(ours, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, ours, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* a log that nobody reads any more */
}

static void take_signals(const sigset_t *ours)
{
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    struct sigaction reload = {.sa_handler = on_reload, .sa_flags = SA_RESTART};
    struct sigaction before;

    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGHUP, &reload, NULL);
    /* Ignored: a background job of a script. */
    if (sigaction(SIGINT, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        (void)sigaction(SIGINT, &stop, NULL);
    (void)sigprocmask(SIG_UNBLOCK, ours, NULL);
}

/* Every component of the bus has one. */
static void raise_descriptors(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}

static int serve(struct arguments *arguments, struct aico_broker_options *broker)
{
    struct activation activation = {0};
    struct aico_error err = {0};
    sigset_t ours;
    int r;

    raise_descriptors();
    block_signals(&ours);
    r = activation_take(&activation, &err);
    if (r < 0)
        return connect_fail(PROGRAM, r, &err);
    broker->sockets = activation.sockets;
    broker->socket_count = activation.count;
    do
        r = aico_broker_open(broker, &served, &err);
    while (was_asked(arguments, broker, &r, &err));
    if (r < 0)
        return connect_fail(PROGRAM, r, &err);
    take_signals(&ours);
    connect_ready(&arguments->connect);
    notify_send("READY=1");
    r = aico_broker_run(served, &err);
    (void)sigprocmask(SIG_BLOCK, &ours, NULL);
    aico_broker_close(&served);
    return r < 0 ? connect_fail(PROGRAM, r, &err) : 0;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.connect = CONNECT_OPTIONS_INIT};
    struct aico_broker_options broker = {
        .log = on_event, .pulse = on_pulse, .log_context = &arguments};
    struct aico_error err = {0};
    struct command command = {0};
    int r;

    memory_keep_freed(MEMORY_OF_FRAMES);
    guard_process();
    guard_files();
    r = options_parse(&broker_program, argc, argv, take, &arguments, &command, &err);
    if (r > 0)
        return 0;
    if (r < 0)
        return connect_report(PROGRAM, NULL, r, &err);

    if (arguments.connect.user && (r = privilege_drop(arguments.connect.user, &err)) < 0)
        return connect_report(PROGRAM, NULL, r, &err);
    guard_process(); /* another user is dumpable again */
    broker.home = arguments.connect.client.home;
    broker.config = arguments.connect.client.config;
    broker.passphrase_file = arguments.connect.client.passphrase_file;
    if (arguments.is_print_config)
        return print_config(&arguments);
    if (!arguments.is_check) /* that one is for whoever typed it */
        complete_log(&arguments.connect);
    r = connect_log(&arguments.connect, "broker", &err);
    if (r < 0)
        return connect_report(PROGRAM, NULL, r, &err);
    return arguments.is_check ? check(&arguments, &broker) : serve(&arguments, &broker);
}
