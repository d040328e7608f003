/* SPDX-License-Identifier: Apache-2.0 */
/* A temporary home by the programs a user would take, so that what is measured is what is used. */
#include "cli/bench_home.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS 30000
#define ARGUMENTS_MAX 16
#define PUBLISHERS "bench-publisher" /* roles */
#define READERS "bench-reader"
#define IDLERS "bench-idler"

/* --- programs --------------------------------------------------------------------------------- */

/* The program of that name beside this one, else whatever $PATH has. */
static void find_program(const char *name, char *path, size_t size)
{
    ssize_t got = readlink("/proc/self/exe", path, size - 1);
    char *slash;

    path[got > 0 ? got : 0] = '\0';
    slash = strrchr(path, '/');
    if (slash && (size_t)(slash + 1 - path) + strlen(name) < size) {
        (void)snprintf(slash + 1, size - (size_t)(slash + 1 - path), "%s", name);
        if (access(path, X_OK) == 0)
            return;
    }
    (void)snprintf(path, size, "%s", name);
}

/* In the child: standard output and error go to @log. */
static void become(const char *name, char *const *arguments, const char *log)
{
    char path[600];
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGINT, SIG_IGN);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(126);
    find_program(name, path, sizeof(path));
    (void)execvp(path, arguments);
    (void)dprintf(STDERR_FILENO, "%s: %s\n", path, strerror(errno));
    _exit(127);
}

/* The last line of a log, for an error. */
static void last_line(const char *log, char *line, size_t size)
{
    FILE *file = fopen(log, "re");
    char text[400];

    (void)snprintf(line, size, "it said nothing");
    while (file && fgets(text, sizeof(text), file)) {
        text[strcspn(text, "\n")] = '\0';
        if (*text)
            (void)snprintf(line, size, "%s", text);
    }
    if (file)
        (void)fclose(file);
}

static int failed(const struct bench_home *home, const char *program, const char *log, int code,
                  struct aico_error *err)
{
    char path[300], line[400];

    (void)snprintf(path, sizeof(path), "%s/%s", home->folder, log);
    last_line(path, line, sizeof(line));
    return aico_error_set(err, code, "%s: %s", program, line);
}

/* @arguments: from "aico-keytool" to NULL. */
static int run_keytool(const struct bench_home *home, char *const *arguments,
                       struct aico_error *err)
{
    char log[300];
    int status = 0;
    pid_t pid;

    (void)snprintf(log, sizeof(log), "%s/keytool.log", home->folder);
    pid = fork();
    if (pid < 0)
        return aico_error_set(err, AICO_ESYSTEM, "starting aico-keytool: %s", strerror(errno));
    if (pid == 0)
        become("aico-keytool", arguments, log);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return aico_error_set(err, AICO_ESYSTEM, "waiting: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return failed(home, "aico-keytool", "keytool.log", AICO_ESYSTEM, err);
}

/* aico-keytool --home HOME ARGUMENT... NULL */
static int keytool(const struct bench_home *home, struct aico_error *err, ...)
{
    const char *arguments[ARGUMENTS_MAX] = {"aico-keytool", "--home", home->home};
    int count = 3;
    va_list rest;

    va_start(rest, err);
    while (count < ARGUMENTS_MAX - 1 && (arguments[count] = va_arg(rest, const char *)) != NULL)
        count++;
    va_end(rest);
    return run_keytool(home, (char *const *)(uintptr_t)arguments, err);
}

/* --- the home --------------------------------------------------------------------------------- */

/* A port of the loopback that nobody has now. */
static int free_port(struct aico_error *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), port = -1;

    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &size) == 0)
        port = ntohs(address.sin_port);
    if (fd >= 0)
        (void)close(fd);
    return port > 0 ? port : aico_error_set(err, AICO_ESYSTEM, "no free port: %s", strerror(errno));
}

static const char *seal_of(const struct bench_bus *bus)
{
    return bus->seal ? bus->seal : "group";
}

static int close_config(FILE *file, const char *path, struct aico_error *err)
{
    bool is_whole = ferror(file) == 0;

    if (fclose(file) == 0 && is_whole)
        return 0;
    return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
}

/* Unsealed topics are refused above level standard. */
static int write_config(struct bench_home *home, const struct bench_bus *bus,
                        struct aico_error *err)
{
    char path[300];
    FILE *file;
    bool is_tcp = bus->link && strcmp(bus->link, "tcp") == 0;
    int port = 0;

    if (is_tcp && (port = free_port(err)) < 0)
        return port;
    if (is_tcp)
        (void)snprintf(home->endpoint, sizeof(home->endpoint), "tcp://127.0.0.1:%d", port);
    else
        (void)snprintf(home->endpoint, sizeof(home->endpoint), "ipc://%s/run/bus.sock", home->home);
    (void)snprintf(path, sizeof(path), "%s/security.yaml", home->home);
    file = fopen(path, "we");
    if (!file)
        return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
    (void)fprintf(file,
                  "security:\n  transport:\n    security_level: %s\n"
                  "broker:\n  endpoints: [\"%s\"]\n",
                  strcmp(seal_of(bus), "none") == 0 ? "standard" : "high", home->endpoint);
    if (bus->io_threads)
        (void)fprintf(file, "  io_threads: %s\n", bus->io_threads);
    return close_config(file, path, err);
}

/* config/NAME.yaml of a component. */
static int write_component(const struct bench_home *home, const char *identity,
                           const char *busy_poll, struct aico_error *err)
{
    char path[sizeof(home->home) + 80];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/config", home->home);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
    (void)snprintf(path, sizeof(path), "%s/config/%.40s.yaml", home->home, identity);
    file = fopen(path, "we");
    if (!file)
        return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
    (void)fprintf(file, "busy_poll: %s\n", busy_poll);
    return close_config(file, path, err);
}

static const char *role_of(const char *name)
{
    switch (*name) {
    case 'p':
        return PUBLISHERS;
    case 'r':
        return READERS;
    default:
        return IDLERS;
    }
}

#define BATCH 250 /* identities made at once */

struct identity_name {
    char text[BENCH_NAME_SIZE + sizeof(BENCH_IDENTITY)];
};

/* Those from @first on that have its role, at most BATCH. Returns how many, or a code. */
static int make_batch(const struct bench_home *home, const struct bench_plan *plan, unsigned first,
                      const struct bench_bus *bus, struct aico_error *err)
{
    struct identity_name names[BATCH];
    const char *arguments[BATCH + 8] = {"aico-keytool", "--home", home->home, "new", "--role"};
    const char *role = NULL;
    int count = 0, r = 0;

    for (; count < BATCH && first + (unsigned)count < bench_name_count(plan); count++) {
        char name[BENCH_NAME_SIZE];

        bench_name(plan, first + (unsigned)count, name);
        if (role && strcmp(role, role_of(name)) != 0)
            break;
        role = role_of(name);
        (void)snprintf(names[count].text, sizeof(names[count].text), BENCH_IDENTITY "%s", name);
        arguments[6 + count] = names[count].text;
    }
    arguments[5] = role;
    r = run_keytool(home, (char *const *)(uintptr_t)arguments, err);
    for (int i = 0; r == 0 && bus->busy_poll && i < count; i++)
        r = write_component(home, names[i].text, bus->busy_poll, err);
    return r < 0 ? r : count;
}

static int make_identities(const struct bench_home *home, const struct bench_plan *plan,
                           const struct bench_bus *bus, struct aico_error *err)
{
    unsigned made = 0;

    while (made < bench_name_count(plan)) {
        int r = make_batch(home, plan, made, bus, err);

        if (r < 0)
            return r;
        made += (unsigned)r;
    }
    return 0;
}

/* Who is entitled is who takes part: how a message is sealed follows from how many may read it. */
static int make_rules(const struct bench_home *home, const struct bench_plan *plan,
                      const char *seal, struct aico_error *err)
{
    const char *store = plan->mode == BENCH_STORED ? "--store" : NULL;
    int r = keytool(home, err, "rule", "set", BENCH_TOPIC_PONG, "--publish", "@" READERS,
                    "--subscribe", "@" PUBLISHERS, "--seal", seal, (char *)NULL);

    return r < 0
               ? r
               : keytool(home, err, "rule", "set", BENCH_FILTER, "--publish", "@" PUBLISHERS,
                         "--subscribe", "@" READERS, "--seal", seal, store, "age=1h", (char *)NULL);
}

static int wait_for_broker(const struct bench_home *home, int ready_fd, int stop_fd,
                           struct aico_error *err)
{
    struct pollfd fds[] = {{.fd = ready_fd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
    char byte;
    int ready;

    do
        ready = poll(fds, 2, START_MS);
    while (ready < 0 && errno == EINTR && stop_fd < 0);
    if (ready > 0 && fds[0].revents && read(ready_fd, &byte, 1) == 1)
        return 0;
    if (ready > 0 && fds[1].revents)
        return aico_error_set(err, AICO_ECLOSED, "stopped");
    return failed(home, "aico-broker", "broker.log", AICO_EUNREACHABLE, err);
}

static int start_broker(struct bench_home *home, const struct bench_plan *plan,
                        struct aico_error *err)
{
    char fd_text[16], log[300];
    const char *arguments[] = {"aico-broker", "--home", home->home, "--quiet",
                               "--ready-fd",  fd_text,  NULL};
    int ready[2], r;

    if (pipe(ready) < 0)
        return aico_error_set(err, AICO_ESYSTEM, "a pipe: %s", strerror(errno));
    (void)snprintf(fd_text, sizeof(fd_text), "%d", ready[1]);
    (void)snprintf(log, sizeof(log), "%s/broker.log", home->folder);
    home->broker = fork();
    if (home->broker == 0) {
        (void)close(ready[0]);
        if (machine_place(plan->place, true, NULL) < 0)
            _exit(126);
        become("aico-broker", (char *const *)(uintptr_t)arguments, log);
    }
    (void)close(ready[1]);
    if (home->broker < 0) {
        home->broker = 0;
        r = aico_error_set(err, AICO_ESYSTEM, "starting aico-broker: %s", strerror(errno));
    } else {
        r = wait_for_broker(home, ready[0], plan->stop_fd, err);
    }
    (void)close(ready[0]);
    return r;
}

int bench_home_open(struct bench_home *home, const struct bench_plan *plan,
                    const struct bench_bus *bus, struct aico_error *err)
{
    const char *folder = getenv("TMPDIR"); // NOLINT(concurrency-mt-unsafe): one thread
    char path[sizeof(home->folder)];
    int r;

    *home = (struct bench_home){0};
    if ((size_t)snprintf(path, sizeof(path), "%s/aico-bench-XXXXXX",
                         folder && *folder ? folder : "/tmp") >= sizeof(path))
        return aico_error_set(err, AICO_EINVAL, "$TMPDIR is too long");
    if (!mkdtemp(path))
        return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
    (void)snprintf(home->folder, sizeof(home->folder), "%s", path);
    (void)snprintf(home->home, sizeof(home->home), "%s/home", path);

    r = keytool(home, err, "init", (char *)NULL);
    if (r == 0)
        r = make_identities(home, plan, bus, err);
    if (r == 0)
        r = make_rules(home, plan, seal_of(bus), err);
    if (r == 0)
        r = write_config(home, bus, err);
    if (r == 0 && bus->busy_broker)
        r = write_component(home, "broker", bus->busy_broker, err);
    return r == 0 ? start_broker(home, plan, err) : r;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st;
    (void)kind;
    (void)walk;
    (void)remove(path);
    return 0;
}

void bench_home_close(struct bench_home *home)
{
    if (home->broker > 0) {
        (void)kill(home->broker, SIGTERM);
        while (waitpid(home->broker, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    if (*home->folder)
        (void)nftw(home->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    *home = (struct bench_home){0};
}
