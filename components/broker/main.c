/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aico-broker: the broker of one home, in the foreground. HUP looks at registry and configuration
 * again, TERM and INT deliver what is held and end it; a second one ends it at once.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <aico/broker.h>

#include "broker/accept_guard.h"
#include "broker/notify.h"
#include "broker/table.h"
#include "common/connect.h"
#include "common/guard.h"
#include "common/log.h"

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
    if (event->kind == AICO_BROKER_RELOADED)
        notify_reloaded();
    if (arguments->connect.is_json)
        log_write_fields(levels[event->level], fields, sizeof(fields) / sizeof(fields[0]), "%s",
                         event->text);
    else
        log_write(levels[event->level], "%s: %s%s%s%s%s%s%s%s%s", name, event->component,
                  *event->component && *event->address ? " " : "", *event->address ? "(" : "",
                  event->address, *event->address ? ")" : "",
                  *event->component || *event->address ? ": " : "", event->text, *code ? " " : "",
                  code);
}

static int report(const struct arguments *arguments, int code, const struct aico_error *err)
{
    const struct log_field fields[] = {{"event", "failed"}, {"code", aico_error_name(code)}};

    if (!arguments->connect.is_json)
        return connect_report(PROGRAM, NULL, code, err);
    log_write_fields(LOG_ERROR, fields, 2, "%s", *err->text ? err->text : aico_error_string(code));
    return aico_error_exit_status(code);
}

/* Everything that is wrong with the configuration, then the first thing beyond it. */
static int check(const struct arguments *arguments, const struct aico_broker_options *broker)
{
    struct aico_config_problems problems;
    struct aico_error err = {0};
    int r = aico_config_check(broker->home, broker->config, "broker", &problems);

    for (size_t i = 0; r < 0 && i < problems.count; i++)
        (void)report(arguments, problems.problems[i].code, &problems.problems[i]);
    if (r < 0)
        return aico_error_exit_status(r);
    r = aico_broker_check(broker, &err);
    if (r < 0)
        return report(arguments, r, &err);
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
    return r < 0 ? report(arguments, r, &err) : 0;
}

/* Of the options, else of the configuration; what is wrong with it is told by the start. */
static enum log_level find_level(const struct arguments *arguments)
{
    struct aico_config *config = NULL;
    enum log_level level = LOG_INFO;

    if (arguments->connect.is_verbose)
        return LOG_DEBUG;
    if (arguments->connect.is_quiet)
        return LOG_WARNING;
    if (aico_config_load(arguments->connect.client.home, arguments->connect.client.config, "broker",
                         &config, NULL) == 0)
        level = (enum log_level)config->log_level; /* the same order */
    aico_config_free(&config);
    return level;
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

static int serve(struct arguments *arguments, const struct aico_broker_options *broker)
{
    struct aico_error err = {0};
    sigset_t ours;
    int r;

    accept_guard_start();
    block_signals(&ours);
    r = aico_broker_open(broker, &served, &err);
    if (r < 0)
        return report(arguments, r, &err);
    take_signals(&ours);
    connect_ready(&arguments->connect);
    notify_send("READY=1");
    r = aico_broker_run(served, &err);
    (void)sigprocmask(SIG_BLOCK, &ours, NULL);
    aico_broker_close(&served);
    return r < 0 ? report(arguments, r, &err) : 0;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.connect = CONNECT_OPTIONS_INIT};
    struct aico_broker_options broker = {.log = on_event, .log_context = &arguments};
    struct aico_error err = {0};
    struct command command = {0};
    int r;

    guard_process();
    guard_files();
    r = options_parse(&broker_program, argc, argv, take, &arguments, &command, &err);
    if (r > 0)
        return 0;
    if (r < 0)
        return connect_report(PROGRAM, NULL, r, &err);

    broker.home = arguments.connect.client.home;
    broker.config = arguments.connect.client.config;
    broker.passphrase_file = arguments.connect.client.passphrase_file;
    if (arguments.is_print_config)
        return print_config(&arguments);
    log_open("broker", find_level(&arguments), arguments.connect.is_json);
    return arguments.is_check ? check(&arguments, &broker) : serve(&arguments, &broker);
}
