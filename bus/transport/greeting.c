/* SPDX-License-Identifier: Apache-2.0 */
/* The greeting of ZMTP 3 (https://rfc.zeromq.org/spec/23/) and the first two messages of CurveZMQ
 * (https://rfc.zeromq.org/spec/26/). */
#include "transport/greeting.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/writer.h"
#include "crypto/box.h"

/*
 *   byte[10]  signature   ff, eight of any value, 7f
 *   u8 u8     version     major, minor
 *   byte[20]  mechanism   zero padded
 *   u8        as-server   libzmq leaves it 0
 *   byte[31]  filler      zeros
 */
#define GREETING_SIZE 64
#define AT_SIGNATURE_END 9
#define AT_MAJOR 10
#define AT_MECHANISM 12
#define MECHANISM_SIZE 20

/*
 * HELLO of the client and WELCOME of the server, each a command: u8 4, u8 size, and
 *   lp8       name        "HELLO"
 *   u8 u8     version     1, 0
 *   byte[72]  filler      zeros
 *   byte[32]  C'          the client's key of this connection
 *   byte[8]   nonce       box nonce: "CurveZMQHELLO---" and it
 *   byte[80]  box         64 zeros, C' to S
 *
 *   lp8       name        "WELCOME"
 *   byte[16]  nonce       box nonce: "WELCOME-" and it
 *   byte[144] box         S' and a cookie, S to C'
 */
#define COMMAND_FLAG 4
#define COMMAND_HEAD_SIZE 2
#define HELLO_SIZE 200
#define HELLO_FILLER_SIZE 72
#define HELLO_PLAIN_SIZE 64
#define WELCOME_NAME "\7WELCOME"
#define WELCOME_NONCE_SIZE 16
#define WELCOME_PLAIN_SIZE 128
#define WELCOME_SIZE                                                                               \
    (sizeof(WELCOME_NAME) - 1 + WELCOME_NONCE_SIZE + BOX_TAG_SIZE + WELCOME_PLAIN_SIZE)

static const char mechanism[MECHANISM_SIZE] = "CURVE";

static bool is_ready(int fd, short events, int64_t deadline_ms)
{
    struct pollfd item = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline_ms - moment_now().boot_ms;
        int r = poll(&item, 1, left > 0 ? (int)left : 0);

        if (r > 0)
            return true;
        if (r == 0 || errno != EINTR)
            return false;
    }
}

/* A connected descriptor, or -1. */
static int dial(int family, const struct sockaddr *address, socklen_t size, int64_t deadline_ms)
{
    CLEANUP(fd_close)
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int failure = 0;
    socklen_t failure_size = sizeof(failure);

    if (fd < 0)
        return -1;
    if (connect(fd, address, size) < 0) {
        if (errno != EINPROGRESS || !is_ready(fd, POLLOUT, deadline_ms))
            return -1;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &failure_size) < 0 || failure != 0)
            return -1;
    }
    return steal_fd(&fd);
}

static int dial_path(const char *path, int64_t deadline_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return -1;
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    return dial(AF_UNIX, (const struct sockaddr *)&address, sizeof(address), deadline_ms);
}

static int dial_host(const char *text, int64_t deadline_ms)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char host[256];
    const char *colon = strrchr(text, ':');
    bool in_brackets = text[0] == '[' && colon && colon[-1] == ']';
    int fd = -1;

    if (!colon)
        return -1;
    (void)snprintf(host, sizeof(host), "%.*s", (int)(colon - text - (in_brackets ? 2 : 0)),
                   text + (in_brackets ? 1 : 0));
    if (getaddrinfo(host, colon + 1, &hints, &list) != 0)
        return -1;
    for (struct addrinfo *at = list; at && fd < 0; at = at->ai_next)
        fd = dial(at->ai_family, at->ai_addr, at->ai_addrlen, deadline_ms);
    freeaddrinfo(list);
    return fd;
}

enum fill { FILLED, ENDED, LATE };

/* Adds to the @size bytes of @to until there are @wanted, or it is known that none will come. */
static enum fill fill(int fd, int64_t deadline_ms, uint8_t *to, size_t *size, size_t wanted)
{
    while (*size < wanted) {
        ssize_t got;

        if (!is_ready(fd, POLLIN, deadline_ms))
            return LATE;
        got = read(fd, to + *size, wanted - *size);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return ENDED;
        *size += (size_t)got;
    }
    return FILLED;
}

/* GREETING_BROKER: it speaks CURVE, with whatever key. */
static enum greeting read_greeting(int fd, int64_t deadline_ms)
{
    uint8_t seen[GREETING_SIZE];
    size_t size = 0;
    enum fill how = fill(fd, deadline_ms, seen, &size, 1);

    if (how != FILLED)
        return how == LATE ? GREETING_SILENT : GREETING_CLOSED;
    if (seen[0] != 0xff || fill(fd, deadline_ms, seen, &size, sizeof(seen)) != FILLED ||
        seen[AT_SIGNATURE_END] != 0x7f || seen[AT_MAJOR] < 3 ||
        memcmp(seen + AT_MECHANISM, mechanism, MECHANISM_SIZE) != 0)
        return GREETING_OTHER;
    return GREETING_BROKER;
}

/* Of one thread, by /proc: it is running, or would if it were let. */
static bool is_runnable(pid_t process, const char *thread)
{
    char path[64], text[512], *state;
    CLEANUP(fd_close)
    int fd = -1;
    ssize_t size;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%.20s/stat", (int)process, thread);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (size <= 0)
        return false;
    text[size] = '\0';
    state = strrchr(text, ')'); /* behind the name, which may be anything */
    return state && strncmp(state, ") R", 3) == 0;
}

/*
 * Who is silent and sleeps has nothing to say. Who wants the processor, and has not been let for so
 * long, may yet answer: a broker on a machine that does much else. Only a socket of this machine
 * says whose it is.
 */
static bool is_listener_running(int fd)
{
    struct ucred peer = {0};
    socklen_t size = sizeof(peer);
    const struct dirent *thread;
    char path[64];
    bool is_running = false;
    DIR *threads;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.pid <= 0 ||
        peer.pid == getpid())
        return false;
    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)peer.pid);
    threads = opendir(path);
    while (threads && !is_running && (thread = readdir(threads)) != NULL)
        is_running = thread->d_name[0] != '.' && is_runnable(peer.pid, thread->d_name);
    if (threads)
        (void)closedir(threads);
    return is_running;
}

static bool send_hello(int fd, const uint8_t broker_public[DH_PUBLIC_SIZE],
                       const uint8_t ours[DH_PUBLIC_SIZE], const struct secret *secret)
{
    static const uint8_t nonce[BOX_NONCE_SIZE] = "CurveZMQHELLO---\0\0\0\0\0\0\0\1";
    static const uint8_t zeros[HELLO_FILLER_SIZE];
    uint8_t hello[COMMAND_HEAD_SIZE + HELLO_SIZE], box[HELLO_PLAIN_SIZE + BOX_TAG_SIZE];
    struct writer w = writer_over(hello, sizeof(hello));

    if (box_seal(secret, broker_public, nonce, zeros, HELLO_PLAIN_SIZE, box) < 0)
        return false;
    writer_u8(&w, COMMAND_FLAG);
    writer_u8(&w, HELLO_SIZE);
    writer_bytes(&w, bytes_of("\5HELLO\1\0", 8));
    writer_bytes(&w, bytes_of(zeros, HELLO_FILLER_SIZE));
    writer_bytes(&w, bytes_of(ours, DH_PUBLIC_SIZE));
    writer_bytes(&w, bytes_of(nonce + 16, BOX_NONCE_SIZE - 16));
    writer_bytes(&w, bytes_of(box, sizeof(box)));
    return send(fd, hello, sizeof(hello), MSG_NOSIGNAL) == (ssize_t)sizeof(hello);
}

/* Whether who answers has the secret of @broker_public. */
static enum greeting ask_for_key(int fd, const uint8_t broker_public[DH_PUBLIC_SIZE],
                                 int64_t deadline_ms)
{
    CLEANUP(secret_wipe)
    struct secret secret;
    uint8_t ours[DH_PUBLIC_SIZE], seen[COMMAND_HEAD_SIZE + WELCOME_SIZE];
    uint8_t nonce[BOX_NONCE_SIZE] = "WELCOME-", plain[WELCOME_PLAIN_SIZE];
    const uint8_t *at = seen + COMMAND_HEAD_SIZE + sizeof(WELCOME_NAME) - 1;
    size_t size = 0;
    enum fill how;

    box_keys(ours, &secret);
    if (!send_hello(fd, broker_public, ours, &secret))
        return GREETING_OTHER_KEY;
    how = fill(fd, deadline_ms, seen, &size, sizeof(seen));
    if (how != FILLED)
        return how == LATE ? GREETING_BUSY : GREETING_OTHER_KEY;
    if (seen[0] != COMMAND_FLAG || seen[1] != WELCOME_SIZE ||
        memcmp(seen + COMMAND_HEAD_SIZE, WELCOME_NAME, sizeof(WELCOME_NAME) - 1) != 0)
        return GREETING_OTHER;
    memcpy(nonce + sizeof(nonce) - WELCOME_NONCE_SIZE, at, WELCOME_NONCE_SIZE);
    if (box_open(&secret, broker_public, nonce, at + WELCOME_NONCE_SIZE, sizeof(plain), plain) < 0)
        return GREETING_OTHER_KEY;
    return GREETING_BROKER;
}

enum greeting greeting_ask(const char *endpoint, const uint8_t broker_public[32],
                           int64_t timeout_ms)
{
    int64_t deadline_ms = moment_now().boot_ms + timeout_ms;
    uint8_t ours[GREETING_SIZE] = {
        [0] = 0xff, [8] = 1, [AT_SIGNATURE_END] = 0x7f, [AT_MAJOR] = 3, [AT_MAJOR + 1] = 1};
    enum greeting greeting;
    CLEANUP(fd_close)
    int fd = -1;

    if (strncmp(endpoint, "ipc://", 6) == 0)
        fd = dial_path(endpoint + 6, deadline_ms);
    else if (strncmp(endpoint, "tcp://", 6) == 0)
        fd = dial_host(endpoint + 6, deadline_ms);
    if (fd < 0)
        return GREETING_REFUSED;

    memcpy(ours + AT_MECHANISM, mechanism, MECHANISM_SIZE);
    if (send(fd, ours, sizeof(ours), MSG_NOSIGNAL) != (ssize_t)sizeof(ours))
        return GREETING_CLOSED;
    greeting = read_greeting(fd, deadline_ms);
    if (greeting == GREETING_SILENT && is_listener_running(fd))
        return GREETING_BUSY;
    return greeting == GREETING_BROKER ? ask_for_key(fd, broker_public, deadline_ms) : greeting;
}
