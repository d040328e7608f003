/* SPDX-License-Identifier: Apache-2.0 */
/* One line from the terminal with the echo off. */
#include "common/prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

bool prompt_may_ask(void)
{
    return isatty(STDIN_FILENO);
}

static int read_line(int fd, char *to, struct aico_error *err)
{
    size_t size = 0;

    while (size < PROMPT_MAX) {
        ssize_t got = read(fd, to + size, 1);

        if (got < 0 && errno == EINTR && caught)
            return aico_error_set(err, AICO_ESTATE, "no passphrase was given");
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return aico_error_set(err, AICO_ESYSTEM, "passphrase: %s", strerror(errno));
        if (got == 0 || to[size] == '\n') {
            to[size] = '\0';
            return 0;
        }
        size++;
    }
    return aico_error_set(err, AICO_EINVAL, "passphrase: longer than %d bytes", PROMPT_MAX);
}

/* The signals, blocked or not by whoever calls, reach on_signal() while @read goes on. */
static int read_hidden(int fd, const char *prompt, char *to, struct aico_error *err)
{
    struct sigaction former[COUNT_OF(signals)], action = {.sa_handler = on_signal};
    struct termios old, quiet;
    sigset_t ours, blocked;
    int r;

    if (tcgetattr(fd, &old) < 0)
        return aico_error_set(err, AICO_ESYSTEM, "terminal: %s", strerror(errno));
    quiet = old;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    caught = 0;
    (void)sigemptyset(&action.sa_mask);
    (void)sigemptyset(&ours);
    for (size_t i = 0; i < COUNT_OF(signals); i++) {
        (void)sigaction(signals[i], &action, &former[i]);
        (void)sigaddset(&ours, signals[i]);
    }
    (void)sigprocmask(SIG_UNBLOCK, &ours, &blocked);
    (void)tcsetattr(fd, TCSAFLUSH, &quiet);
    (void)dprintf(fd, "%s: ", prompt);
    r = read_line(fd, to, err);
    (void)tcsetattr(fd, TCSAFLUSH, &old);
    (void)dprintf(fd, "\n");
    for (size_t i = 0; i < COUNT_OF(signals); i++)
        (void)sigaction(signals[i], &former[i], NULL);
    if (caught)
        (void)raise(caught);
    (void)sigprocmask(SIG_SETMASK, &blocked, NULL);
    return r;
}

int prompt_hidden(const char *prompt, char *to, struct aico_error *err)
{
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    int r;

    to[0] = '\0';
    if (fd < 0)
        return aico_error_set(err, AICO_ESYSTEM, "/dev/tty: %s", strerror(errno));
    r = read_hidden(fd, prompt, to, err);
    (void)close(fd);
    return r;
}
