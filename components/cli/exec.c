/* SPDX-License-Identifier: Apache-2.0 */
/* Running a shell command: pipes to and from it, a deadline, no zombie. */
#include "cli/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/moment.h"

#define OUTPUT_STEP ((size_t)64 * 1024)

struct child {
    pid_t pid;
    int to;   /* its stdin, -1 when closed */
    int from; /* its stdout */
    const uint8_t *input;
    size_t input_left;
    uint8_t *output;
    size_t size, capacity;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* The environment of the child: ours and two more. Two allocations: the array and its two texts. */
static char **make_environment(const struct aico_message *request, char **ret_texts)
{
    size_t count = 0, topic_size = strlen(request->topic) + sizeof("AICO_TOPIC=");
    size_t sender_size = strlen(request->sender) + sizeof("AICO_SENDER=");
    char **list, *texts = malloc(topic_size + sender_size);

    while (environ[count])
        count++;
    list = calloc(count + 3, sizeof(*list));
    if (!list || !texts) {
        free(list);
        free(texts);
        return NULL;
    }
    (void)snprintf(texts, topic_size, "AICO_TOPIC=%s", request->topic);
    (void)snprintf(texts + topic_size, sender_size, "AICO_SENDER=%s", request->sender);
    list[0] = texts; /* in front: the first of a name counts */
    list[1] = texts + topic_size;
    memcpy(list + 2, environ, count * sizeof(*list));
    *ret_texts = texts;
    return list;
}

/* Starts it as the leader of a process group of its own, with SIGPIPE as usual. */
static int spawn(struct child *child, const char *shell_command, char **environment, int in,
                 int out)
{
    char shell[] = "sh", option[] = "-c";
    char *copy = strdup(shell_command);
    char *arguments[] = {shell, option, copy, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t pipe_signal;
    int error;

    if (!copy)
        return ENOMEM;
    (void)sigemptyset(&pipe_signal);
    (void)sigaddset(&pipe_signal, SIGPIPE);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    (void)posix_spawnattr_setpgroup(&attributes, 0);
    (void)posix_spawnattr_setsigdefault(&attributes, &pipe_signal);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    (void)posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);

    error = posix_spawn(&child->pid, "/bin/sh", &actions, &attributes, arguments, environment);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    free(copy);
    return error;
}

static int start(struct child *child, const char *shell_command, const struct aico_message *request,
                 struct aico_error *err)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, error = 0;
    char *texts = NULL;
    char **environment = make_environment(request, &texts);

    if (!environment)
        error = ENOMEM;
    else if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        error = errno;
    else
        error = spawn(child, shell_command, environment, in[0], out[1]);
    free(environment);
    free(texts);

    close_fd(&in[0]);
    close_fd(&out[1]);
    child->to = in[1];
    child->from = out[0];
    if (error != 0)
        return aico_error_set(err, AICO_ESYSTEM, "--exec: %s", strerror(error));
    (void)fcntl(child->to, F_SETFL, O_NONBLOCK);
    return 0;
}

/* Writes what the pipe takes; closes it when all is written or nobody reads. */
static void feed(struct child *child)
{
    ssize_t done = child->input_left > 0 ? write(child->to, child->input, child->input_left) : 0;

    if (done < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (done < 0) {
        child->input_left = 0;
    } else {
        child->input += done;
        child->input_left -= (size_t)done;
    }
    if (child->input_left == 0)
        close_fd(&child->to);
}

/* Reads once. 1, 0 at the end, or a code. */
static int collect(struct child *child, struct aico_error *err)
{
    ssize_t got;

    if (child->capacity - child->size < OUTPUT_STEP) {
        size_t capacity = child->capacity > 0 ? child->capacity * 2 : 2 * OUTPUT_STEP;
        uint8_t *larger = realloc(child->output, capacity);

        if (!larger)
            return aico_error_set(err, AICO_ENOMEM, "--exec: out of memory");
        child->output = larger;
        child->capacity = capacity;
    }
    got = read(child->from, child->output + child->size, child->capacity - child->size);
    if (got < 0)
        return errno == EINTR ? 1
                              : aico_error_set(err, AICO_ESYSTEM, "--exec: %s", strerror(errno));
    child->size += (size_t)got;
    if (child->size > EXEC_OUTPUT_MAX)
        return aico_error_set(err, AICO_ETOOLARGE, "--exec: more than 16 MiB of output");
    return got > 0;
}

/* Moves bytes until the child closes its stdout. */
static int converse(struct child *child, int64_t deadline_ms, int stop_fd, struct aico_error *err)
{
    for (;;) {
        struct pollfd fds[] = {
            {.fd = child->from, .events = POLLIN},
            {.fd = child->to, .events = POLLOUT},
            {.fd = stop_fd, .events = POLLIN},
        };
        int64_t left = deadline_ms - steady_ms();
        int r = 1;

        if (left <= 0)
            return aico_error_set(err, AICO_ETIMEOUT, "--exec: the command took too long");
        if (poll(fds, 3, left > 60000 ? 60000 : (int)left) < 0 && errno != EINTR)
            return aico_error_set(err, AICO_ESYSTEM, "--exec: %s", strerror(errno));
        if (fds[2].revents)
            return aico_error_set(err, AICO_ECLOSED, "--exec: stopped");
        if (child->to >= 0 && fds[1].revents)
            feed(child);
        if (fds[0].revents)
            r = collect(child, err);
        if (r <= 0)
            return r;
    }
}

int exec_run(const char *shell_command, const struct aico_message *request, int64_t timeout_ms,
             int stop_fd, uint8_t **ret_output, size_t *ret_size, int *ret_status,
             struct aico_error *err)
{
    struct child child = {
        .to = -1, .from = -1, .input = request->payload, .input_left = request->size};
    int status = 0, r = start(&child, shell_command, request, err);

    if (r == 0) {
        r = converse(&child, steady_ms() + timeout_ms, stop_fd, err);
        if (r < 0)
            (void)kill(-child.pid, SIGKILL);
    }
    close_fd(&child.to);
    close_fd(&child.from);
    if (child.pid > 0)
        while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR)
            continue;
    if (r < 0) {
        free(child.output);
        return r;
    }

    *ret_output = child.output;
    *ret_size = child.size;
    *ret_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return 0;
}
