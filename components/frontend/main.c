/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aico-frontend: the bus for a person at a terminal, or for a script. One thread; the client
 * library has its own.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/connect.h"
#include "common/guard.h"
#include "common/memory.h"
#include "common/stop.h"
#include "common/text.h"
#include "frontend/command.h"
#include "frontend/session.h"
#include "frontend/table.h"

#define PROGRAM "aico-frontend"
#define TIMEOUT_MS 5000
#define CLOSE_MS 1000
#define LINE_MAX_SIZE 8192
#define STATUS_UNMET 1

struct frontend {
    struct connect_options connect;
    struct session session;
    const char *script;
    const char *filters[FILTERS_MAX];
    size_t filter_count;
};

static int take(void *context, int id, const char *value, struct aico_error *err)
{
    struct frontend *frontend = context;
    int r = connect_take(&frontend->connect, id, value, err);

    if (r <= 0)
        return r;
    if (id == OPTION_SCRIPT)
        frontend->script = value;
    else if (frontend->filter_count == FILTERS_MAX)
        return aico_error_set(err, AICO_EINVAL, "more than %d times --sub", FILTERS_MAX);
    else
        frontend->filters[frontend->filter_count++] = value;
    return 0;
}

/* The usual topics are no condition: a registry without them still has presence and queries. */
static int subscribe_all(struct frontend *frontend, struct aico_error *err)
{
    static const char *const usual[] = {"conversation/**", "system/**"};
    bool is_asked = frontend->filter_count > 0;
    size_t count = is_asked ? frontend->filter_count : 2;
    int r = session_start(&frontend->session, err);

    for (size_t i = 0; r == 0 && i < count; i++) {
        const char *filter = is_asked ? frontend->filters[i] : usual[i];

        r = session_subscribe(&frontend->session, filter, err);
        if (r == AICO_EDENIED && !is_asked) {
            if (log_has_fields())
                log_write(LOG_WARNING, "%s is not watched: %s", filter, err->text);
            else if (!frontend->connect.is_quiet)
                (void)fprintf(stderr, PROGRAM ": %s is not watched: %s\n", filter, err->text);
            r = 0;
        }
    }
    return r == 0 ? session_take(&frontend->session, err) : r;
}

/* Without its newline, and the blanks around; NULL for nothing to do. */
static char *trim(char *line)
{
    size_t size;

    line += strspn(line, " \t\r\n");
    size = strlen(line);
    while (size > 0 && strchr(" \t\r\n", line[size - 1]))
        line[--size] = '\0';
    return size > 0 ? line : NULL;
}

static int fail_at(const struct frontend *frontend, unsigned number, int code,
                   struct aico_error *err)
{
    (void)aico_error_prefix(err, code, "%s:%u",
                            strcmp(frontend->script, "-") == 0 ? "stdin" : frontend->script,
                            number);
    return connect_fail(PROGRAM, code, err);
}

/* Runs the script and returns the exit status. */
static int run_script(struct frontend *frontend, FILE *file)
{
    struct aico_error err = {0};
    char *line = NULL, *text;
    size_t capacity = 0;
    unsigned number = 0;
    int status = 0;

    while (status == 0 && getline(&line, &capacity, file) >= 0) {
        enum outcome outcome = OUTCOME_DONE;
        int r;

        number++;
        text = trim(line);
        if (!text || *text == '#')
            continue;
        r = command_run(&frontend->session, text, &outcome, &err);
        if (stop_signal() != 0)
            status = 128 + stop_signal();
        else if (r < 0)
            status = fail_at(frontend, number, r, &err);
        else if (outcome == OUTCOME_UNMET) {
            (void)fail_at(frontend, number, err.code, &err);
            status = STATUS_UNMET;
        } else if (outcome == OUTCOME_QUIT)
            break;
    }
    free(line);
    return status;
}

/* One typed line. False when the person leaves. */
static bool obey(struct frontend *frontend, char *line)
{
    char say[LINE_MAX_SIZE + 8];
    enum outcome outcome = OUTCOME_DONE;
    struct aico_error err = {0};
    char *text = trim(line);
    int r;

    if (!text)
        return true;
    (void)snprintf(say, sizeof(say), "say %s", text);
    r = command_run(&frontend->session, *text == '/' ? text + 1 : say, &outcome, &err);
    if (r < 0)
        (void)connect_report(PROGRAM, NULL, r, &err);
    else if (outcome == OUTCOME_UNMET)
        (void)fprintf(stderr, "! %s\n", err.text);
    return outcome != OUTCOME_QUIT;
}

struct typed {
    char text[LINE_MAX_SIZE];
    size_t size;
};

/* Reads what was typed and obeys the whole lines. False at its end or when the person leaves. */
static bool read_typed(struct frontend *frontend, struct typed *typed)
{
    ssize_t got =
        read(STDIN_FILENO, typed->text + typed->size, sizeof(typed->text) - typed->size - 1);
    char *newline;

    if (got <= 0)
        return got < 0 && (errno == EINTR || errno == EAGAIN);
    typed->size += (size_t)got;
    typed->text[typed->size] = '\0';

    while ((newline = memchr(typed->text, '\n', typed->size)) != NULL) {
        size_t used = (size_t)(newline - typed->text) + 1;

        *newline = '\0';
        if (!obey(frontend, typed->text))
            return false;
        typed->size -= used;
        memmove(typed->text, typed->text + used, typed->size + 1);
    }
    if (typed->size == sizeof(typed->text) - 1) {
        (void)fprintf(stderr, "! that line is too long\n");
        typed->size = 0;
    }
    return true;
}

static int run_live(struct frontend *frontend)
{
    struct session *session = &frontend->session;
    struct typed typed = {.size = 0};
    struct aico_error err = {0};
    enum outcome outcome;
    int r = 0;

    (void)printf("You are %s. Here are:\n", aico_client_name(session->client));
    r = command_run(session, "who", &outcome, &err);
    (void)printf("Type to speak, /help for commands, /quit to leave.\n");
    (void)fflush(stdout);
    session->is_live = true;

    while (r == 0 && stop_signal() == 0) {
        struct pollfd fds[] = {
            {.fd = STDIN_FILENO, .events = POLLIN},
            {.fd = aico_client_fd(session->client), .events = POLLIN},
            {.fd = session->stop_fd, .events = POLLIN},
        };

        if (poll(fds, 3, -1) < 0 && errno != EINTR)
            r = aico_error_set(&err, AICO_ESYSTEM, "poll: %s", strerror(errno));
        else if (fds[0].revents && !read_typed(frontend, &typed))
            break;
        if (r == 0)
            r = session_take(session, &err);
    }
    if (r < 0)
        return connect_fail(PROGRAM, r, &err);
    return stop_signal() != 0 ? 128 + stop_signal() : 0;
}

static FILE *open_script(const char *path, struct aico_error *err)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");

    if (!file)
        (void)aico_error_set(err, AICO_ENOTFOUND, "%s: %s", path, strerror(errno));
    return file;
}

static int run(struct frontend *frontend)
{
    struct session *session = &frontend->session;
    struct aico_error err = {0};
    FILE *script = NULL;
    int status, r = 0;

    if (frontend->script && !(script = open_script(frontend->script, &err)))
        return connect_fail(PROGRAM, err.code, &err);
    session->timeout_ms = connect_timeout(&frontend->connect, TIMEOUT_MS);
    r = connect_open(&frontend->connect, session->timeout_ms, &session->client, &err);
    if (r == 0)
        r = session->stop_fd = stop_open();
    if (r >= 0)
        r = subscribe_all(frontend, &err);
    if (r < 0) {
        status = connect_fail(PROGRAM, r, &err);
    } else {
        connect_ready(&frontend->connect);
        status = script ? run_script(frontend, script) : run_live(frontend);
    }
    if (script && script != stdin)
        (void)fclose(script);
    return status;
}

int main(int argc, char **argv)
{
    static struct frontend frontend = {.connect = CONNECT_OPTIONS_INIT};
    struct command command;
    struct aico_error err = {0};
    int status, r;

    memory_keep_freed(MEMORY_OF_MESSAGES);
    guard_process();
    r = options_parse(&frontend_program, argc, argv, take, &frontend, &command, &err);
    if (r > 0)
        return 0;
    if (r < 0)
        return connect_report(PROGRAM, NULL, r, &err);
    r = connect_log(&frontend.connect, "frontend", &err);
    if (r < 0)
        return connect_report(PROGRAM, NULL, r, &err);
    if (!frontend.connect.client.identity && !getenv("AICO_IDENTITY"))
        frontend.connect.client.identity = "frontend";
    frontend.connect.client.software = PROGRAM " " AICO_VERSION;
    frontend.session.stop_fd = -1;

    status = run(&frontend);
    session_deinit(&frontend.session);
    (void)aico_client_close(&frontend.session.client, CLOSE_MS, NULL);
    if (fflush(stdout) != 0 && status == 0)
        status = aico_error_exit_status(AICO_ESYSTEM);
    return status;
}
