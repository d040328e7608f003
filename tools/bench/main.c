/* SPDX-License-Identifier: Apache-2.0 */
/* bench-peer: aico-bus bench for another bus. Started by tools/bench/compare. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/connect.h"
#include "common/text.h"
#include "peer.h"

#define START_MS 20000
#define PORT_TRIES 20

const struct peer *const peers[] = {
#ifdef HAVE_ZMQ
    &peer_zmq_proxy,
    &peer_zmq_router,
#endif
#ifdef HAVE_NATS
    &peer_nats,
#endif
#ifdef HAVE_MOSQUITTO
    &peer_mosquitto,
#endif
    NULL,
};

enum { OPTION_BUS = 1, OPTION_FOLDER, OPTION_BENCH };

static const struct verb_entry verbs[] = {{"", "WORKLOAD", "measures another bus", 1, 1, NULL},
                                          {0}};
static const struct option_entry options[] = {
    {OPTION_BUS, NULL, "bus", 0, "NAME", "which one", NULL, false},
    {OPTION_FOLDER, NULL, "folder", 0, "DIR", "with certificates", NULL, false},
    {OPTION_BENCH + BENCH_OPTION_SIZE, NULL, "size", 0, "SIZE", "of a message", NULL, false},
    {OPTION_BENCH + BENCH_OPTION_COUNT, NULL, "count", 0, "N", "messages", NULL, false},
    {OPTION_BENCH + BENCH_OPTION_PUBLISHERS, NULL, "publishers", 0, "N", "senders", NULL, false},
    {OPTION_BENCH + BENCH_OPTION_READERS, NULL, "readers", 0, "N", "receivers", NULL, false},
    {OPTION_BENCH + BENCH_OPTION_RATE, NULL, "rate", 0, "N", "messages a second", NULL, false},
    {OPTION_BENCH + BENCH_OPTION_PLACE, NULL, "place", 0, "WHERE", "kernel, one, broker", NULL,
     false},
    {0},
};
static const struct program program = {
    .name = "bench-peer",
    .summary = "Measures another bus.",
    .verbs = verbs,
    .options = options,
};

struct arguments {
    const struct peer *peer;
    struct peer_settings settings;
    struct bench_plan plan;
};

static int take_bus(struct arguments *arguments, const char *name, struct aico_error *err)
{
    for (size_t i = 0; peers[i]; i++)
        if (strcmp(peers[i]->name, name) == 0) {
            arguments->peer = peers[i];
            return 0;
        }
    return aico_error_set(err, AICO_EINVAL, "bus %.40s: not built in; its library is missing",
                          name);
}

static int take(void *context, int id, const char *value, struct aico_error *err)
{
    struct arguments *arguments = context;

    if (id == OPTION_BUS)
        return take_bus(arguments, value, err);
    if (id == OPTION_FOLDER) {
        arguments->settings.folder = value;
        return 0;
    }
    return bench_plan_take(&arguments->plan, (enum bench_option)(id - OPTION_BENCH), value, err);
}

static struct sockaddr_in address_of(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A socket on @port of the loopback, 0: any; -1: somebody has it. */
static int bind_port(int port)
{
    struct sockaddr_in address = address_of(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

static int port_of(int fd)
{
    struct sockaddr_in address = address_of(0);
    socklen_t size = sizeof(address);

    return getsockname(fd, (struct sockaddr *)&address, &size) == 0 ? ntohs(address.sin_port) : 0;
}

/* A port that nobody has now, nor the next one, which a proxy of two sides takes as well. */
static int free_port(void)
{
    int port = 0;

    for (int tries = 0; tries < PORT_TRIES && port == 0; tries++) {
        int fd = bind_port(0), next = -1;

        if (fd < 0)
            return 0;
        port = port_of(fd);
        next = bind_port(port + 1);
        (void)close(fd);
        if (next >= 0)
            (void)close(next);
        else
            port = 0;
    }
    return port;
}

static bool is_listening(int port)
{
    struct sockaddr_in address = address_of(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool is = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

    if (fd >= 0)
        (void)close(fd);
    return is;
}

static pid_t start_server(const struct arguments *arguments)
{
    int64_t end_ns = machine_now_ns() + (int64_t)START_MS * 1000000;
    pid_t pid = fork();

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(STDERR_FILENO, STDOUT_FILENO);
        if (machine_place(arguments->plan.place, true, NULL) == 0)
            arguments->peer->serve(&arguments->settings);
        _exit(1);
    }
    while (pid > 0 && !is_listening(arguments->settings.port)) {
        if (machine_now_ns() > end_ns || waitpid(pid, NULL, WNOHANG) == pid)
            return -1;
        (void)usleep(20000);
    }
    return pid;
}

static int measure(struct arguments *arguments, struct aico_error *err)
{
    struct bench_driver driver = arguments->peer->driver;
    struct bench_label label = {
        .bus = arguments->peer->name, .seal = "none", .link = arguments->peer->link};
    struct bench_result *result = malloc(sizeof(*result));
    int r;

    if (!result)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    driver.context = &arguments->settings;
    arguments->settings.mode = arguments->plan.mode;
    arguments->settings.port = free_port();
    arguments->plan.broker = start_server(arguments);
    if (arguments->plan.broker <= 0)
        r = aico_error_set(err, AICO_ESYSTEM, "%s: its server does not start",
                           arguments->peer->name);
    else
        r = bench_run(&arguments->plan, &driver, result, err);
    if (arguments->plan.broker > 0) {
        (void)kill(arguments->plan.broker, SIGKILL);
        while (waitpid(arguments->plan.broker, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    if (r == 0) {
        bench_print_json(&arguments->plan, &label, result, stdout);
        if (!bench_result_is_whole(result))
            r = aico_error_set(err, AICO_EINTERNAL, "%s lost or changed messages",
                               arguments->peer->name);
    }
    free(result);
    return r;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.plan = {.stop_fd = -1, .timeout_ms = 20000},
                                  .settings = {.folder = "."}};
    struct aico_error err = {0};
    struct command command = {0};
    int r = options_parse(&program, argc, argv, take, &arguments, &command, &err);

    if (r > 0)
        return 0;
    if (r == 0)
        r = bench_plan_finish(&arguments.plan, command.arguments[0], &err);
    if (r == 0 && !arguments.peer)
        r = aico_error_set(&err, AICO_EINVAL, "--bus is missing");
    if (r == 0)
        r = measure(&arguments, &err);
    return r < 0 ? connect_report("bench-peer", NULL, r, &err) : 0;
}
