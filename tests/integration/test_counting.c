/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a message costs besides arithmetic: calls of the allocator and of the kernel, and bytes on
 * the wire beside its own, counted by standing in their place, by who made them: publisher, broker
 * or reader. In the steady state both are paid per frame, never per message.
 *
 * How many messages share a frame is a matter of the scheduler, so the test decides it: the
 * publisher's thread hears of messages in hundreds. And the bounds need only hold in one of several
 * rounds, for one call more per message is in every round.
 *
 * A message alone is not shared, so a round trip is counted by itself, and so is one that comes now
 * and then.
 */
#include "world.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define TOPIC "logs/test/v1"
#define ANSWERS "logs/answers/v1"
#define SIZE 64
#define COUNT 20000 /* messages of a round */
#define TOLD 500    /* after so many the publisher's thread hears of them */
#define ROUNDS 20
/* Calls per 1,000 messages. */
#define ALLOCATIONS_MAX 24
#define CALLS_MAX 10
/* Bytes on the wire beside a message's own: envelope, records, CURVE. Alone it has 52 of the
 * envelope. */
#define OVERHEAD_MAX 8

enum role { NOBODY, PUBLISHER, BROKER_SIDE, READER, ROLES };
static const char *const role_names[ROLES] = {"nobody", "publisher", "broker", "reader"};

static _Thread_local enum role role;
static atomic_ulong allocations[ROLES], calls[ROLES], bytes_sent[ROLES];
static atomic_ulong parked[ROLES];         /* waits of a client's thread that leaves it to others */
static atomic_int wake_fd[ROLES];          /* of a client whose thread waits */
static _Thread_local unsigned long handed; /* times this thread woke the one of its client */
static atomic_bool is_deaf;                /* the broker, to what its links bring */
static _Thread_local bool is_watched;      /* its waits for a socket are counted: */
static atomic_ulong looks, sleeps;
static atomic_ulong broker_looks;     /* of the broker's thread, too */
static _Thread_local bool is_holding; /* wakes of the publisher's thread are held back */
static _Thread_local int held_fd = -1;

#pragma GCC visibility push(default) /* libsodium finds them */

/* --- in the place of the allocator ------------------------------------------------------------ */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *at, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static void count_allocation(void)
{
    (void)atomic_fetch_add_explicit(&allocations[role], 1, memory_order_relaxed);
}

void *malloc(size_t size)
{
    count_allocation();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    count_allocation();
    return __libc_calloc(count, size);
}

void *realloc(void *at, size_t size)
{
    count_allocation();
    return __libc_realloc(at, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
    void *at;

    count_allocation();
    at = __libc_memalign(alignment, size);
    if (!at)
        return ENOMEM;
    *ret = at;
    return 0;
}

/* --- in the place of the kernel --------------------------------------------------------------- */

/* The function that would have been called. */
#define REAL(name)                                                                                 \
    ({                                                                                             \
        static __typeof__(&(name)) real_;                                                          \
        if (!real_)                                                                                \
            real_ = (__typeof__(&(name)))dlsym(RTLD_NEXT, #name);                                  \
        (void)atomic_fetch_add_explicit(&calls[role], 1, memory_order_relaxed);                    \
        real_;                                                                                     \
    })

ssize_t write(int fd, const void *at, size_t size)
{
    if (is_holding) {
        (void)REAL(write); /* counts */
        held_fd = fd;
        return (ssize_t)size;
    }
    if (fd == atomic_load(&wake_fd[role]))
        handed++;
    return REAL(write)(fd, at, size);
}

ssize_t read(int fd, void *at, size_t size)
{
    return REAL(read)(fd, at, size);
}

ssize_t send(int fd, const void *at, size_t size, int flags)
{
    ssize_t sent = REAL(send)(fd, at, size, flags);

    if (sent > 0)
        (void)atomic_fetch_add_explicit(&bytes_sent[role], (unsigned long)sent,
                                        memory_order_relaxed);
    return sent;
}

ssize_t recv(int fd, void *at, size_t size, int flags)
{
    return REAL(recv)(fd, at, size, flags);
}

/* By which the broker reads. */
ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    if (role == BROKER_SIDE && atomic_load(&is_deaf)) {
        errno = EAGAIN;
        return -1;
    }
    return REAL(recvmsg)(fd, message, flags);
}

static bool is_socket(int fd)
{
    int type;
    socklen_t size = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

/* A client waits for its link and for what wakes it, its parked thread for two others. */
int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    struct pollfd *volatile at = fds; /* glibc declares that nobody reads them */
    bool is_client = count == 2 && is_socket(at[0].fd);

    if (count == 2 && !is_client)
        (void)atomic_fetch_add(&parked[role], 1);
    if (is_client)
        atomic_store(&wake_fd[role], at[1].fd);
    if (is_client && is_watched)
        (void)atomic_fetch_add(timeout_ms == 0 ? &looks : &sleeps, 1);
    return REAL(poll)(fds, count, timeout_ms);
}

int epoll_wait(int fd, struct epoll_event *events, int count, int timeout_ms)
{
    if (role == BROKER_SIDE && timeout_ms == 0)
        (void)atomic_fetch_add(&broker_looks, 1);
    return REAL(epoll_wait)(fd, events, count, timeout_ms);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new_value,
                    struct itimerspec *old_value)
{
    return REAL(timerfd_settime)(fd, flags, new_value, old_value);
}

pid_t getpid(void)
{
    return REAL(getpid)();
}

ssize_t getrandom(void *at, size_t size, unsigned flags)
{
    return REAL(getrandom)(at, size, flags);
}

int fsync(int fd)
{
    return REAL(fsync)(fd);
}

int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
{
    return REAL(pthread_cond_wait)(cond, lock);
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock,
                           const struct timespec *until)
{
    return REAL(pthread_cond_timedwait)(cond, lock, until);
}

/* --- threads inherit the role of who makes them ----------------------------------------------- */

struct start {
    void *(*run)(void *);
    void *context;
    enum role role;
};

static void *start_thread(void *context)
{
    struct start start = *(struct start *)context;

    free(context);
    role = start.role;
    return start.run(start.context);
}

int pthread_create(pthread_t *ret_thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *context)
{
    struct start *start = malloc(sizeof(*start));

    if (!start)
        return ENOMEM;
    *start = (struct start){run, context, role};
    return REAL(pthread_create)(ret_thread, attributes, start_thread, start);
}

#pragma GCC visibility pop

/* --- the test --------------------------------------------------------------------------------- */

struct count {
    double allocations, calls; /* per 1,000 messages */
    double overhead;           /* bytes a message */
};

struct seen {
    unsigned long allocations[ROLES], calls[ROLES], bytes[ROLES];
};

static void look(struct seen *seen)
{
    for (int i = 0; i < ROLES; i++) {
        seen->allocations[i] = atomic_load(&allocations[i]);
        seen->calls[i] = atomic_load(&calls[i]);
        seen->bytes[i] = atomic_load(&bytes_sent[i]);
    }
}

static void tell_thread(void)
{
    uint64_t one = 1;

    is_holding = false;
    if (held_fd >= 0)
        assert_int_equal(write(held_fd, &one, sizeof(one)), sizeof(one));
    held_fd = -1;
}

static void send_all(struct aico_client *alice)
{
    static const struct aico_publish_options options = {.wait_ms = WAIT_MS};
    char payload[SIZE] = "a message";

    role = PUBLISHER;
    for (int i = 0; i < COUNT; i++) {
        is_holding = true;
        assert_int_equal(aico_publish(alice, TOPIC, payload, SIZE, &options, NULL, NULL), 0);
        if (i % TOLD == TOLD - 1)
            tell_thread();
        is_holding = false;
    }
    tell_thread();
    flush(alice);
}

static void take_all(struct aico_client *bob)
{
    role = READER;
    for (int i = 0; i < COUNT; i++) {
        struct aico_message *message = expect(bob, AICO_MESSAGE_EVENT);

        assert_int_equal(message->size, SIZE);
        aico_message_free(&message);
    }
}

static bool is_cheap(const struct seen *before, const struct seen *after,
                     struct count counts[ROLES])
{
    bool is_below = true;

    for (int i = PUBLISHER; i < ROLES; i++) {
        counts[i].allocations =
            (double)(after->allocations[i] - before->allocations[i]) * 1000 / COUNT;
        counts[i].calls = (double)(after->calls[i] - before->calls[i]) * 1000 / COUNT;
        counts[i].overhead = (double)(after->bytes[i] - before->bytes[i]) / COUNT - SIZE;
        is_below &= counts[i].allocations <= ALLOCATIONS_MAX && counts[i].calls <= CALLS_MAX &&
                    counts[i].overhead < OVERHEAD_MAX;
    }
    return is_below;
}

static void neither_allocator_nor_kernel_is_asked_per_message(void **state)
{
    struct seen before, after;
    struct count counts[ROLES];
    struct aico_client *alice, *bob;
    bool is_below = false;

    role = PUBLISHER;
    alice = join_at(*state, ALICE, ((struct world *)*state)->tcp);
    role = READER;
    bob = join_at(*state, BOB, ((struct world *)*state)->tcp);
    (void)aico_client_fd(alice); /* from now on only her client's thread sends: see held_fd */
    (void)subscribe(bob, TOPIC);
    send_all(alice); /* keys, routes, and memory that is kept from then on */
    take_all(bob);
    for (int round = 0; round < ROUNDS && !is_below; round++) {
        look(&before);
        send_all(alice);
        take_all(bob);
        look(&after);
        is_below = is_cheap(&before, &after, counts);
    }
    for (int i = PUBLISHER; i < ROLES; i++)
        print_message("%s: %.1f allocations and %.1f system calls per 1,000 messages of %d bytes\n",
                      role_names[i], counts[i].allocations, counts[i].calls, SIZE);
    print_message("on the wire beside a message: %.1f bytes from the publisher, %.1f from the "
                  "broker\n",
                  counts[PUBLISHER].overhead, counts[BROKER_SIDE].overhead);
    assert_true(is_below);
    leave(&alice);
    leave(&bob);
}

/* --- round trips ------------------------------------------------------------------------------ */

#define TRIPS 500 /* of a round */
/* Calls per round trip. Everybody sends, waits and reads, the broker twice; what is above that is
 * room for a machine that has no time. */
static const double trip_calls_max[ROLES] = {[PUBLISHER] = 8, [BROKER_SIDE] = 10, [READER] = 8};

/* Answers every message, on a thread of its own, until there is an empty one. */
static void *echo(void *context)
{
    role = READER;
    for (;;) {
        struct aico_message *m = expect(context, AICO_MESSAGE_EVENT);
        size_t size = m->size;
        int r = aico_publish(context, ANSWERS, m->payload, size, NULL, NULL, NULL);

        aico_message_free(&m);
        if (r < 0 || size == 0)
            return r < 0 ? context : NULL;
    }
}

static void ask(struct aico_client *alice, size_t size)
{
    struct aico_message *m;
    char payload[SIZE] = "a message";

    assert_int_equal(aico_publish(alice, TOPIC, payload, size, NULL, NULL, NULL), 0);
    m = expect(alice, AICO_MESSAGE_EVENT);
    assert_int_equal(m->size, size);
    aico_message_free(&m);
}

static void a_round_trip_asks_the_kernel_little(void **state)
{
    struct seen before, after;
    double trips[ROLES] = {0};
    struct aico_client *alice, *bob;
    bool is_below = false;
    pthread_t thread;
    void *result;

    role = READER;
    bob = join_at(*state, BOB, ((struct world *)*state)->tcp);
    (void)subscribe(bob, TOPIC);
    role = PUBLISHER;
    alice = join_at(*state, ALICE, ((struct world *)*state)->tcp);
    (void)subscribe(alice, ANSWERS);
    assert_int_equal(pthread_create(&thread, NULL, echo, bob), 0);
    for (int round = 0; round < ROUNDS && !is_below; round++) {
        look(&before);
        for (int i = 0; i < TRIPS; i++)
            ask(alice, SIZE);
        look(&after);
        is_below = round > 0;
        for (int i = PUBLISHER; i < ROLES; i++) {
            trips[i] = (double)(after.calls[i] - before.calls[i]) / TRIPS;
            is_below &= trips[i] <= trip_calls_max[i];
        }
    }
    ask(alice, 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result);
    for (int i = PUBLISHER; i < ROLES; i++)
        print_message("%s: %.1f system calls per round trip\n", role_names[i], trips[i]);
    assert_true(is_below);
    leave(&alice);
    leave(&bob);
}

/* --- now and then ----------------------------------------------------------------------------- */

#define PACED 40    /* of a round */
#define PAUSE_MS 10 /* between two of them: longer than a client is left alone */
/* What else it costs, 100 messages wake a reader's second thread so often. */
#define PARKED_MAX 50
/* And so often 100 messages are handed to the publisher's second thread. */
#define HANDED_MAX 50

static atomic_int taken;

static void *take_paced(void *context)
{
    role = READER;
    for (int i = 0; i < PACED; i++) {
        struct aico_message *m = expect(context, AICO_MESSAGE_EVENT);

        aico_message_free(&m);
        (void)atomic_fetch_add(&taken, 1);
    }
    return NULL;
}

static void a_message_now_and_then_wakes_one_thread_at_each_side(void **state)
{
    struct seen before, after;
    struct aico_client *alice, *bob;
    unsigned long woken = PACED, told = PACED;
    pthread_t thread;

    role = READER;
    bob = join_at(*state, BOB, ((struct world *)*state)->tcp);
    (void)subscribe(bob, TOPIC);
    role = PUBLISHER;
    alice = join_at(*state, ALICE, ((struct world *)*state)->tcp);
    for (int round = 0;
         round < ROUNDS && (woken * 100 > PARKED_MAX * PACED || told * 100 > HANDED_MAX * PACED);
         round++) {
        look(&before);
        woken = atomic_load(&parked[READER]);
        handed = 0;
        atomic_store(&taken, 0);
        assert_int_equal(pthread_create(&thread, NULL, take_paced, bob), 0);
        for (int i = 0; i < PACED; i++) {
            publish(alice, TOPIC, "now and then");
            do
                (void)poll(NULL, 0, PAUSE_MS);
            while (atomic_load(&taken) <= i);
        }
        assert_int_equal(pthread_join(thread, NULL), 0);
        woken = atomic_load(&parked[READER]) - woken;
        told = handed;
        look(&after);
    }
    for (int i = PUBLISHER; i < ROLES; i++)
        print_message("%s: %.1f system calls per message now and then\n", role_names[i],
                      (double)(after.calls[i] - before.calls[i]) / PACED);
    print_message(
        "the reader's thread was woken %lu times by %d, and the publisher's told %lu times\n",
        woken, PACED, told);
    assert_true(woken * 100 <= PARKED_MAX * PACED);
    assert_true(told * 100 <= HANDED_MAX * PACED);
    leave(&alice);
    leave(&bob);
}

#define BEHIND 60 /* of a round */

/* A turn that only adds to what waits sends nothing: the thread does them, many in one. */
static void behind_what_waits_the_thread_is_told(void **state)
{
    /* The socket takes a few of them, and the queue has room for the rest. */
    static const char large[28 * 1024];
    struct aico_client *alice;
    unsigned long told = 0;

    role = PUBLISHER;
    alice = join_at(*state, ALICE, ((struct world *)*state)->tcp);
    for (int round = 0; round < ROUNDS && told < BEHIND / 3; round++) {
        for (int i = 0; i < PACED; i++) { /* it sends by itself */
            publish(alice, TOPIC, "alone");
            flush(alice);
        }
        atomic_store(&is_deaf, true);
        handed = 0;
        for (int i = 0; i < BEHIND; i++) {
            assert_int_equal(aico_publish(alice, TOPIC, large, sizeof(large), NULL, NULL, NULL), 0);
            (void)poll(NULL, 0, 1);
        }
        told = handed;
        atomic_store(&is_deaf, false);
        flush(alice);
    }
    print_message("of %d messages behind others the publisher's thread was told %lu times\n",
                  BEHIND, told);
    assert_true(told >= BEHIND / 3);
    leave(&alice);
}

static void *take_watched(void *context)
{
    struct aico_message *m;

    role = READER;
    is_watched = true;
    m = expect(context, AICO_MESSAGE_EVENT);
    aico_message_free(&m);
    return NULL;
}

/* How often a thread of @reader that waits looks before it sleeps; then it gets a message. */
static unsigned long looks_before_sleep(struct aico_client *alice, struct aico_client *reader,
                                        const char *topic)
{
    int64_t end = clock_ms() + WAIT_MS;
    unsigned long count;
    pthread_t thread;

    atomic_store(&looks, 0);
    atomic_store(&sleeps, 0);
    assert_int_equal(pthread_create(&thread, NULL, take_watched, reader), 0);
    while (atomic_load(&sleeps) == 0 && clock_ms() < end)
        (void)poll(NULL, 0, 1);
    count = atomic_load(&looks);
    assert_true(atomic_load(&sleeps) > 0);
    publish(alice, topic, "wakes it");
    assert_int_equal(pthread_join(thread, NULL), 0);
    return count;
}

#define LOOKS 100 /* in the 100 ms of busy_poll, unless the machine has no time */

static void busy_poll_asks_without_pause_before_it_sleeps(void **state)
{
    struct world *world = *state;
    struct aico_client *alice, *bob, *carol;
    unsigned long count = 0;
    char folder[80];

    (void)snprintf(folder, sizeof(folder), "%s/config", world->home);
    assert_int_equal(mkdir(folder, 0700), 0);
    world_write(world->home, "config/bob.yaml", bytes_text("busy_poll: 100000\n"));
    alice = join(world, ALICE);
    bob = join(world, BOB);
    carol = join(world, CAROL);
    (void)subscribe(bob, TOPIC);
    (void)subscribe(carol, ANSWERS);
    for (int round = 0; round < ROUNDS && count < LOOKS; round++)
        count = looks_before_sleep(alice, bob, TOPIC);
    assert_true(count >= LOOKS);
    for (int round = 0; round < ROUNDS; round++)
        assert_true(looks_before_sleep(alice, carol, ANSWERS) < LOOKS);
    leave(&alice);
    leave(&bob);
    leave(&carol);
}

/* How often, after a message, until it sleeps or has done so LOOKS times. */
static unsigned long broker_looks_after(struct aico_client *alice)
{
    int64_t end = clock_ms() + 500;

    atomic_store(&broker_looks, 0);
    publish(alice, TOPIC, "wakes it");
    flush(alice);
    while (atomic_load(&broker_looks) < LOOKS && clock_ms() < end)
        (void)poll(NULL, 0, 1);
    return atomic_load(&broker_looks);
}

static void a_broker_asks_before_it_sleeps_if_it_is_told(void **state)
{
    struct world *world = *state;
    struct aico_client *alice;
    unsigned long count = 0;
    char folder[80];

    (void)snprintf(folder, sizeof(folder), "%s/config", world->home);
    assert_int_equal(mkdir(folder, 0700), 0);
    alice = join(world, ALICE);
    assert_true(broker_looks_after(alice) < LOOKS);
    world_stop(world, false);
    world_write(world->home, "config/broker.yaml", bytes_text("busy_poll: 100000\n"));
    world_start(world);
    flush(alice);
    for (int round = 0; round < ROUNDS && count < LOOKS; round++)
        count = broker_looks_after(alice);
    assert_true(count >= LOOKS);
    leave(&alice);
}

static int begin(void **state)
{
    role = BROKER_SIDE; /* of the threads it is served by */
    return world_new(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(neither_allocator_nor_kernel_is_asked_per_message, begin,
                                        world_free),
        cmocka_unit_test_setup_teardown(a_round_trip_asks_the_kernel_little, begin, world_free),
        cmocka_unit_test_setup_teardown(a_message_now_and_then_wakes_one_thread_at_each_side, begin,
                                        world_free),
        cmocka_unit_test_setup_teardown(behind_what_waits_the_thread_is_told, begin, world_free),
        cmocka_unit_test_setup_teardown(a_broker_asks_before_it_sleeps_if_it_is_told, begin,
                                        world_free),
        cmocka_unit_test_setup_teardown(busy_poll_asks_without_pause_before_it_sleeps, begin,
                                        world_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
