/* SPDX-License-Identifier: Apache-2.0 */
/* The ZAP handler and its directory of keys. */
#include "transport/zap.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <czmq.h>
#undef MIN /* from sys/param.h; ours are the same */
#undef MAX

#include "base/bucket.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hash.h"
#include "transport/internal.h"

#define ENDPOINT "inproc://zeromq.zap.01"
#define VERSION "1.0"
#define REFUSALS_MAX 16

struct entry {
    uint8_t key[ZAP_KEY_SIZE];
    char user_id[ZAP_USER_ID_MAX + 1]; /* "": valid no more */
    int64_t until_ms;
    UT_hash_handle hh;
};

struct zap_directory {
    struct entry *entries;
};

struct zap {
    zactor_t *actor;
    void *socket;               /* REP; used by the actor only, once it runs */
    void (*ask)(void *context); /* NULL: nobody looks */
    void *ask_context;
    pthread_mutex_t lock;
    pthread_cond_t looked;
    /* under lock */
    bool wants_look;
    struct bucket looks;
    struct zap_directory *directory; /* NULL: nobody */
    struct zap_refusal refusals[REFUSALS_MAX];
    size_t refusal_first, refusal_count;
    unsigned long refusals_forgotten;
};

struct zap_directory *zap_directory_new(void)
{
    return calloc(1, sizeof(struct zap_directory));
}

void zap_directory_free(struct zap_directory **directory)
{
    struct entry *entry, *next;

    if (!*directory)
        return;
    HASH_ITER(hh, (*directory)->entries, entry, next)
    {
        HASH_DEL((*directory)->entries, entry);
        free(entry);
    }
    free(*directory);
    *directory = NULL;
}

static int add(struct zap_directory *directory, const uint8_t key[ZAP_KEY_SIZE],
               const char *user_id, int64_t until_ms)
{
    struct entry *entry;

    HASH_FIND(hh, directory->entries, key, ZAP_KEY_SIZE, entry);
    if (entry)
        return AICO_EEXISTS;
    entry = calloc(1, sizeof(*entry));
    if (!entry)
        return AICO_ENOMEM;
    memcpy(entry->key, key, ZAP_KEY_SIZE);
    (void)snprintf(entry->user_id, sizeof(entry->user_id), "%s", user_id);
    entry->until_ms = until_ms;
    HASH_ADD(hh, directory->entries, key, ZAP_KEY_SIZE, entry);
    if (!HASH_ADDED(hh, entry)) {
        free(entry);
        return AICO_ENOMEM;
    }
    return 0;
}

int zap_directory_add(struct zap_directory *directory, const uint8_t key[ZAP_KEY_SIZE],
                      const char *user_id, int64_t until_ms)
{
    if (!*user_id || strlen(user_id) > ZAP_USER_ID_MAX)
        return AICO_EINVAL;
    return add(directory, key, user_id, until_ms);
}

int zap_directory_add_former(struct zap_directory *directory, const uint8_t key[ZAP_KEY_SIZE])
{
    return add(directory, key, "", 0);
}

/* --- requests ------------------------------------------------------------------------------- */

/* The parts of a request, in this order; CURVE has one credential. */
enum {
    PART_VERSION,
    PART_REQUEST_ID,
    PART_DOMAIN,
    PART_ADDRESS,
    PART_ROUTING_ID,
    PART_MECHANISM,
    PART_CREDENTIAL,
    PART_COUNT
};

struct request {
    zmq_msg_t parts[PART_COUNT];
    size_t count; /* parts received; more than PART_COUNT are counted but not kept */
};

static void request_deinit(struct request *request)
{
    for (size_t i = 0; i < PART_COUNT; i++)
        (void)zmq_msg_close(&request->parts[i]);
}

/* Reads one whole request; false when there is none. */
static bool request_read(void *socket, struct request *request)
{
    zmq_msg_t extra;
    bool more = true;

    for (size_t i = 0; i < PART_COUNT; i++)
        (void)zmq_msg_init(&request->parts[i]);
    (void)zmq_msg_init(&extra);
    while (more) {
        zmq_msg_t *part = request->count < PART_COUNT ? &request->parts[request->count] : &extra;

        if (zmq_msg_recv(part, socket, ZMQ_DONTWAIT) < 0) {
            if (errno == EINTR)
                continue;
            break;
        }
        request->count++;
        more = zmq_msg_more(part);
    }
    (void)zmq_msg_close(&extra);
    return request->count > 0;
}

static struct bytes part(struct request *request, size_t index)
{
    zmq_msg_t *message = &request->parts[index];

    return bytes_of(zmq_msg_data(message), zmq_msg_size(message));
}

static bool is_for_us(struct request *request)
{
    return request->count == PART_COUNT && bytes_equal_text(part(request, PART_VERSION), VERSION) &&
           bytes_equal_text(part(request, PART_DOMAIN), ZAP_DOMAIN) &&
           bytes_equal_text(part(request, PART_MECHANISM), "CURVE") &&
           part(request, PART_CREDENTIAL).size == ZAP_KEY_SIZE;
}

static void remember_refusal(struct zap *zap, struct request *request)
{
    struct bytes address = part(request, PART_ADDRESS), key = part(request, PART_CREDENTIAL);
    struct zap_refusal *refusal;

    if (zap->refusal_count == REFUSALS_MAX) {
        zap->refusals_forgotten++;
        return;
    }
    refusal = &zap->refusals[(zap->refusal_first + zap->refusal_count++) % REFUSALS_MAX];
    memset(refusal, 0, sizeof(*refusal));
    if (key.size == ZAP_KEY_SIZE)
        bytes_copy(refusal->key, key);
    address.size = MIN(address.size, (size_t)ZAP_ADDRESS_MAX);
    bytes_copy(refusal->address, address);
}

/* libzmq hands no other status on, and not the text: so each stands for one cause. */
enum verdict { GRANTED, UNKNOWN_KEY, FORMER_KEY };
static const struct {
    const char *status, *text;
} verdicts[] = {
    [GRANTED] = {"200", "OK"},
    [UNKNOWN_KEY] = {"400", "unknown key"},
    [FORMER_KEY] = {"500", "key is no longer valid"},
};

/* Perhaps the owner has registered the key just now. With the lock held. */
static bool wait_for_look(struct zap *zap)
{
    struct timespec until;

    if (!zap->ask ||
        !bucket_take(&zap->looks, moment_now().boot_ms, ZAP_LOOKS_RATE, ZAP_LOOKS_RATE))
        return false;
    zap->wants_look = true;
    zap->ask(zap->ask_context);
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ZAP_LOOK_MS / 1000;
    while (zap->wants_look)
        if (pthread_cond_timedwait(&zap->looked, &zap->lock, &until) == ETIMEDOUT)
            zap->wants_look = false;
    return true;
}

static const struct entry *find_entry(const struct zap *zap, struct request *request)
{
    struct entry *entry = NULL;

    if (zap->directory)
        HASH_FIND(hh, zap->directory->entries, part(request, PART_CREDENTIAL).at, ZAP_KEY_SIZE,
                  entry);
    return entry;
}

static bool is_valid(const struct entry *entry)
{
    return entry && *entry->user_id && moment_now().real_ms < entry->until_ms;
}

/* Whether the request is granted, and to whom. */
static enum verdict decide(struct zap *zap, struct request *request,
                           char ret_user_id[ZAP_USER_ID_MAX + 1])
{
    const struct entry *entry = NULL;
    enum verdict verdict = UNKNOWN_KEY;

    (void)pthread_mutex_lock(&zap->lock);
    if (is_for_us(request)) {
        entry = find_entry(zap, request);
        if (!is_valid(entry) && wait_for_look(zap))
            entry = find_entry(zap, request);
    }
    if (entry)
        verdict = is_valid(entry) ? GRANTED : FORMER_KEY;
    if (verdict == GRANTED)
        memcpy(ret_user_id, entry->user_id, sizeof(entry->user_id));
    else
        remember_refusal(zap, request);
    (void)pthread_mutex_unlock(&zap->lock);
    return verdict;
}

static void answer(struct zap *zap, struct request *request)
{
    char user_id[ZAP_USER_ID_MAX + 1] = "";
    enum verdict verdict = decide(zap, request, user_id);
    struct bytes id = part(request, PART_REQUEST_ID);
    const struct bytes reply[] = {
        bytes_text(VERSION),
        id,
        bytes_text(verdicts[verdict].status),
        bytes_text(verdicts[verdict].text),
        bytes_text(user_id),
        bytes_text(""), /* metadata */
    };

    for (size_t i = 0; i < COUNT_OF(reply); i++)
        while (zmq_send(zap->socket, reply[i].at, reply[i].size,
                        i + 1 < COUNT_OF(reply) ? ZMQ_SNDMORE : 0) < 0 &&
               errno == EINTR)
            continue;
}

/* The thread: answers until the pipe says anything, which is "$TERM". */
static void run(zsock_t *pipe, void *argument)
{
    struct zap *zap = argument;
    zmq_pollitem_t items[] = {
        {.socket = zsock_resolve(pipe), .events = ZMQ_POLLIN},
        {.socket = zap->socket, .events = ZMQ_POLLIN},
    };

    (void)zsock_signal(pipe, 0);
    for (;;) {
        struct request request = {.count = 0};

        if (zmq_poll(items, COUNT_OF(items), -1) < 0 && errno != EINTR)
            return;
        if (items[0].revents & ZMQ_POLLIN)
            return;
        if (request_read(zap->socket, &request))
            answer(zap, &request);
        request_deinit(&request);
    }
}

/* --- life ----------------------------------------------------------------------------------- */

/* CZMQ would take over INT and TERM, and its threads the signals of the process. */
static zactor_t *actor_start(struct zap *zap)
{
    sigset_t all, before;
    zactor_t *actor;

    zsys_handler_set(NULL);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    actor = zactor_new(run, zap);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return actor;
}

/* A condition that waits by the monotonic clock. */
static int locks_init(struct zap *zap)
{
    pthread_condattr_t attributes;
    bool is_made = pthread_condattr_init(&attributes) == 0 &&
                   pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                   pthread_cond_init(&zap->looked, &attributes) == 0;

    (void)pthread_condattr_destroy(&attributes);
    if (!is_made)
        return AICO_ENOMEM;
    if (pthread_mutex_init(&zap->lock, NULL) == 0)
        return 0;
    (void)pthread_cond_destroy(&zap->looked);
    return AICO_ENOMEM;
}

int zap_start(struct transport *transport, struct zap **ret_zap, struct aico_error *err)
{
    CLEANUP(zap_stop)
    struct zap *zap = calloc(1, sizeof(*zap));

    if (!zap || locks_init(zap) < 0) {
        free(STEAL(zap));
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    }
    zap->socket = zmq_socket(transport->zmq, ZMQ_REP);
    if (!zap->socket || !socket_set_int(zap->socket, ZMQ_LINGER, 0))
        return aico_error_set(err, AICO_ESYSTEM, "key checks: %s", zmq_strerror(errno));
    if (zmq_bind(zap->socket, ENDPOINT) < 0)
        return aico_error_set(err, errno == EADDRINUSE ? AICO_EEXISTS : AICO_ESYSTEM,
                              "key checks: %s", zmq_strerror(errno));
    zap->actor = actor_start(zap);
    if (!zap->actor)
        return aico_error_set(err, AICO_ESYSTEM, "key checks: no thread");

    *ret_zap = STEAL(zap);
    return 0;
}

void zap_stop(struct zap **zap)
{
    struct zap *z = *zap;

    if (!z)
        return;
    zactor_destroy(&z->actor); /* joins */
    socket_close(&z->socket);
    zap_directory_free(&z->directory);
    (void)pthread_cond_destroy(&z->looked);
    (void)pthread_mutex_destroy(&z->lock);
    free(z);
    *zap = NULL;
}

void zap_set_directory(struct zap *zap, struct zap_directory **directory)
{
    struct zap_directory *former;

    (void)pthread_mutex_lock(&zap->lock);
    former = zap->directory;
    zap->directory = STEAL(*directory);
    (void)pthread_mutex_unlock(&zap->lock);
    zap_directory_free(&former);
}

void zap_set_look(struct zap *zap, void (*ask)(void *context), void *context)
{
    (void)pthread_mutex_lock(&zap->lock);
    zap->ask = ask;
    zap->ask_context = context;
    (void)pthread_mutex_unlock(&zap->lock);
}

bool zap_wants_look(struct zap *zap)
{
    bool wants;

    (void)pthread_mutex_lock(&zap->lock);
    wants = zap->wants_look;
    (void)pthread_mutex_unlock(&zap->lock);
    return wants;
}

void zap_looked(struct zap *zap)
{
    (void)pthread_mutex_lock(&zap->lock);
    zap->wants_look = false;
    (void)pthread_cond_broadcast(&zap->looked);
    (void)pthread_mutex_unlock(&zap->lock);
}

bool zap_next_refusal(struct zap *zap, struct zap_refusal *ret_refusal)
{
    bool is_one;

    (void)pthread_mutex_lock(&zap->lock);
    is_one = zap->refusal_count > 0;
    if (is_one) {
        *ret_refusal = zap->refusals[zap->refusal_first];
        ret_refusal->more = zap->refusals_forgotten;
        zap->refusals_forgotten = 0;
        zap->refusal_first = (zap->refusal_first + 1) % REFUSALS_MAX;
        zap->refusal_count--;
    }
    (void)pthread_mutex_unlock(&zap->lock);
    return is_one;
}
