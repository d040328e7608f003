/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One of fifty components that publish and read all the time is revoked, again and again, and takes
 * everything with it: its files, and the sessions in its memory with every key, which from then on
 * hear of no registry, no lost link and no time. Whatever anybody is sent later is given to them.
 *
 * The calls of the broker and of the sessions are wrapped (tests/CMakeLists.txt). Every component
 * has a thread of its own; what they share is atomic or under `lock`.
 *
 * AICO_TEST_SCALE=full says 5,000 messages a second and 100 revocations, else it is a fifth of that
 * and three, and with a sanitizer a dozen say a quarter; AICO_TEST_ROUNDS says how many. No time is
 * held against a limit: the figures are printed.
 */
#include "world.h"

#include <inttypes.h>
#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "broker/broker.h"
#include "session/peers.h"
#include "store/home.h"
#include "trust/document.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CROWD 12 /* everybody meets everybody, and all of it is some ten times as slow */
#define SLOWER 4
#else
#define CROWD 50
#define SLOWER 1
#endif
#define ROUNDS_MAX 1000
#define TOPIC "crowd/said/v1"
#define LATER 20 /* messages of everybody, after everybody took the registry */

/* What a message says: the registry its publisher had taken when it published. */
struct word {
    uint64_t sender, number, registry;
};

struct member {
    struct crowd *crowd;
    size_t index;
    char name[24];
    struct aico_client *client;
    pthread_t thread;
    bool is_here;
    _Atomic uint64_t said;                       /* messages; the first has number 1 */
    _Atomic uint64_t heard[CROWD + ROUNDS_MAX];  /* of each sender: its last number */
    _Atomic uint64_t missed[CROWD + ROUNDS_MAX]; /* of each sender: messages that never came */
    _Atomic uint64_t knew[CROWD + ROUNDS_MAX];   /* of each sender: the registry of its last */
    _Atomic bool is_flushed;
    _Atomic int end_code; /* what ended its connection; 0: nothing */
};

struct crowd {
    struct world *world;
    size_t rounds;
    int64_t pause_ms; /* between two messages of a component */
    _Atomic bool is_quiet, is_over;
    _Atomic bool is_revoked[CROWD + ROUNDS_MAX];
    struct member members[CROWD + ROUNDS_MAX];
};

/* --- what the thief has --------------------------------------------------------------------------
 */

/* An envelope or control record that somebody was sent. */
struct seen {
    struct seen *next;
    bool is_group;
    uint8_t delivery;
    uint8_t identity[SIGN_PUBLIC_SIZE];
    char name[COMPONENT_NAME_MAX + 1], topic[64];
    size_t size;
    uint8_t bytes[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct sessions *sessions;
    const struct identity *self;
} everybody[CROWD + ROUNDS_MAX];            /* under lock */
static struct seen *first, **last = &first; /* under lock */
static struct sessions *watch;              /* whose groups are noted; under lock */
static _Atomic(struct sessions *) thief;    /* NULL: nobody */
static _Atomic uint64_t version;            /* of the registry that revokes it */
static sem_t all_said;                      /* what the thief is to try was sent */
static _Atomic int64_t accepted_ms;         /* when the broker took that, since 1970 */
static struct {
    size_t opened, later; /* later: its publisher had taken the registry */
    int64_t last_ms;      /* when the last one that opened was sealed */
    bool of[CROWD + ROUNDS_MAX];
} loot; /* of the thread that frees the thief's sessions */

void __real_broker_set_registry(struct broker *, struct moment, struct registry *);
int __real_sessions_new(const struct session_settings *, const struct identity *, struct registry *,
                        struct random_source, uint64_t, struct moment, struct sessions **,
                        struct aico_error *);
void __real_sessions_free(struct sessions **);
bool __real_sessions_next(struct sessions *, struct session_event *);
void __real_sessions_receive_group(struct sessions *, struct moment, struct bytes, const uint8_t *,
                                   struct bytes, uint8_t, struct bytes, void *);
void __real_sessions_receive_direct(struct sessions *, struct moment, struct bytes, const uint8_t *,
                                    struct bytes, uint8_t, struct bytes, const uint8_t *, void *);
void __real_sessions_set_registry(struct sessions *, struct moment, struct registry *);
void __real_sessions_link_lost(struct sessions *, struct moment);
void __real_sessions_tick(struct sessions *, struct moment);
void __real_sessions_close(struct sessions *, struct moment);

void __wrap_broker_set_registry(struct broker *, struct moment, struct registry *);
int __wrap_sessions_new(const struct session_settings *, const struct identity *, struct registry *,
                        struct random_source, uint64_t, struct moment, struct sessions **,
                        struct aico_error *);
void __wrap_sessions_free(struct sessions **);
bool __wrap_sessions_next(struct sessions *, struct session_event *);
void __wrap_sessions_receive_group(struct sessions *, struct moment, struct bytes, const uint8_t *,
                                   struct bytes, uint8_t, struct bytes, void *);
void __wrap_sessions_receive_direct(struct sessions *, struct moment, struct bytes, const uint8_t *,
                                    struct bytes, uint8_t, struct bytes, const uint8_t *, void *);
void __wrap_sessions_set_registry(struct sessions *, struct moment, struct registry *);
void __wrap_sessions_link_lost(struct sessions *, struct moment);
void __wrap_sessions_tick(struct sessions *, struct moment);
void __wrap_sessions_close(struct sessions *, struct moment);

static bool is_thief(const struct sessions *sessions)
{
    return sessions == atomic_load(&thief);
}

void __wrap_broker_set_registry(struct broker *broker, struct moment now, struct registry *registry)
{
    if (registry_version(registry) == atomic_load(&version))
        atomic_store(&accepted_ms, moment_now().real_ms);
    __real_broker_set_registry(broker, now, registry);
}

int __wrap_sessions_new(const struct session_settings *settings, const struct identity *self,
                        struct registry *registry, struct random_source random,
                        uint64_t last_generation, struct moment now, struct sessions **ret_sessions,
                        struct aico_error *err)
{
    int r = __real_sessions_new(settings, self, registry, random, last_generation, now,
                                ret_sessions, err);

    if (r < 0)
        return r;
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < CROWD + ROUNDS_MAX; i++) {
        if (everybody[i].sessions)
            continue;
        everybody[i].sessions = *ret_sessions;
        everybody[i].self = self;
        break;
    }
    (void)pthread_mutex_unlock(&lock);
    return 0;
}

static struct sessions *sessions_of(const char *name)
{
    struct sessions *found = NULL;

    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < CROWD + ROUNDS_MAX; i++)
        if (everybody[i].sessions && strcmp(everybody[i].self->name, name) == 0)
            found = everybody[i].sessions;
    (void)pthread_mutex_unlock(&lock);
    assert_non_null(found);
    return found;
}

static void note(const struct sessions *sessions, bool is_group, struct bytes name,
                 const uint8_t *identity, struct bytes topic, uint8_t delivery, struct bytes bytes)
{
    struct seen *seen;

    (void)pthread_mutex_lock(&lock);
    if (watch && atomic_load(&thief) && (!is_group || sessions == watch)) {
        seen = calloc(1, sizeof(*seen) + bytes.size);
        if (!seen || name.size >= sizeof(seen->name) || topic.size >= sizeof(seen->topic) ||
            !identity)
            abort();
        seen->is_group = is_group;
        seen->delivery = delivery;
        seen->size = bytes.size;
        memcpy(seen->identity, identity, sizeof(seen->identity));
        memcpy(seen->name, name.at, name.size);
        memcpy(seen->topic, topic.at, topic.size);
        memcpy(seen->bytes, bytes.at, bytes.size);
        *last = seen;
        last = &seen->next;
    }
    (void)pthread_mutex_unlock(&lock);
}

void __wrap_sessions_receive_group(struct sessions *sessions, struct moment now, struct bytes name,
                                   const uint8_t *identity, struct bytes topic, uint8_t delivery,
                                   struct bytes bytes, void *cookie)
{
    note(sessions, true, name, identity, topic, delivery, bytes);
    if (!is_thief(sessions))
        __real_sessions_receive_group(sessions, now, name, identity, topic, delivery, bytes,
                                      cookie);
}

void __wrap_sessions_receive_direct(struct sessions *sessions, struct moment now, struct bytes name,
                                    const uint8_t *identity, struct bytes topic, uint8_t delivery,
                                    struct bytes bytes, const uint8_t *ref, void *cookie)
{
    note(sessions, false, name, identity, topic, delivery, bytes);
    if (!is_thief(sessions))
        __real_sessions_receive_direct(sessions, now, name, identity, topic, delivery, bytes, ref,
                                       cookie);
}

void __wrap_sessions_set_registry(struct sessions *sessions, struct moment now,
                                  struct registry *registry)
{
    if (!is_thief(sessions))
        __real_sessions_set_registry(sessions, now, registry);
}

void __wrap_sessions_link_lost(struct sessions *sessions, struct moment now)
{
    if (!is_thief(sessions))
        __real_sessions_link_lost(sessions, now);
}

void __wrap_sessions_tick(struct sessions *sessions, struct moment now)
{
    if (!is_thief(sessions))
        __real_sessions_tick(sessions, now);
}

void __wrap_sessions_close(struct sessions *sessions, struct moment now)
{
    if (!is_thief(sessions))
        __real_sessions_close(sessions, now);
}

static void note_opened(const struct session_event *event)
{
    struct word word;

    if (event->type != SESSION_MESSAGE || event->payload.size != sizeof(word))
        return;
    memcpy(&word, event->payload.at, sizeof(word));
    loot.opened++;
    loot.of[word.sender] = true;
    loot.last_ms = loot.last_ms > event->sent_ms ? loot.last_ms : event->sent_ms;
    if (word.registry >= atomic_load(&version))
        loot.later++;
}

bool __wrap_sessions_next(struct sessions *sessions, struct session_event *ret_event)
{
    bool is_there = __real_sessions_next(sessions, ret_event);

    if (is_there && is_thief(sessions))
        note_opened(ret_event);
    return is_there;
}

static struct seen *take_seen(void)
{
    struct seen *taken;

    (void)pthread_mutex_lock(&lock);
    taken = first;
    first = NULL;
    last = &first;
    (void)pthread_mutex_unlock(&lock);
    return taken;
}

static void seen_free(struct seen *seen)
{
    while (seen) {
        struct seen *gone = seen;

        seen = gone->next;
        free(gone);
    }
}

/* Everything that was sent, in its order, to whoever it was sent. */
static void try_all(struct sessions *sessions)
{
    struct session_event event;
    struct seen *all = take_seen();

    for (const struct seen *seen = all; seen; seen = seen->next) {
        struct bytes name = bytes_text(seen->name), topic = bytes_text(seen->topic);
        struct bytes bytes = bytes_of(seen->bytes, seen->size);

        if (seen->is_group)
            __real_sessions_receive_group(sessions, moment_now(), name, seen->identity, topic,
                                          seen->delivery, bytes, NULL);
        else
            __real_sessions_receive_direct(sessions, moment_now(), name, seen->identity, topic,
                                           seen->delivery, bytes, NULL, NULL);
        while (__real_sessions_next(sessions, &event))
            note_opened(&event);
    }
    seen_free(all);
}

/* The thief's are tried here, while all that they borrow is still there: a client that was cut off
 * lets go of them before others have said enough. */
void __wrap_sessions_free(struct sessions **sessions)
{
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < CROWD + ROUNDS_MAX; i++)
        if (*sessions && everybody[i].sessions == *sessions)
            everybody[i].sessions = NULL;
    (void)pthread_mutex_unlock(&lock);
    if (*sessions && is_thief(*sessions)) {
        while (sem_wait(&all_said) != 0)
            ;
        try_all(*sessions);
    }
    __real_sessions_free(sessions);
}

/* --- a component ------------------------------------------------------------------------------ */

static void take_word(struct member *m, const struct aico_message *message)
{
    struct word word;
    uint64_t heard;

    if (message->size != sizeof(word))
        abort();
    memcpy(&word, message->payload, sizeof(word));
    heard = atomic_load(&m->heard[word.sender]);
    if (heard > 0 && word.number != heard + 1) /* also when one comes again */
        atomic_fetch_add(&m->missed[word.sender],
                         word.number > heard ? word.number - heard - 1 : 1);
    atomic_store(&m->knew[word.sender], word.registry);
    atomic_store(&m->heard[word.sender], word.number);
}

static void take(struct member *m, const struct aico_message *message)
{
    size_t sender;

    if (message->kind == AICO_MESSAGE_EVENT) {
        take_word(m, message);
    } else if (message->kind == AICO_MESSAGE_GAP || message->kind == AICO_MESSAGE_UNOPENED ||
               message->kind == AICO_MESSAGE_REFUSED) {
        sender = message->sender[0] ? strtoul(message->sender + 1, NULL, 10) : m->index;
        atomic_fetch_add(&m->missed[sender], message->count ? message->count : 1);
        if (getenv("AICO_TEST_LOG"))
            (void)fprintf(stderr, "%s: kind %d of %s, %" PRIu64 ": %s %s\n", m->name,
                          (int)message->kind, message->sender, message->count,
                          aico_error_name(message->code), message->text);
    }
}

static int say(struct member *m)
{
    struct aico_publish_options options = {.wait_ms = WAIT_MS};
    struct aico_client_stats stats;
    struct word word = {.sender = m->index, .number = atomic_load(&m->said) + 1};
    int r;

    aico_client_get_stats(m->client, &stats);
    word.registry = stats.registry_version;
    r = aico_publish(m->client, TOPIC, &word, sizeof(word), &options, NULL, NULL);
    if (r == 0)
        atomic_store(&m->said, word.number);
    return r;
}

static void *live(void *context)
{
    struct member *m = context;
    struct crowd *crowd = m->crowd;
    int64_t due_ms = clock_ms() + (int64_t)m->index % crowd->pause_ms;
    int r = 0;

    while (r == 0 && !atomic_load(&crowd->is_over)) {
        struct aico_message *message = NULL;
        int64_t left_ms = due_ms - clock_ms();

        if (atomic_load(&crowd->is_quiet)) {
            if (!atomic_load(&m->is_flushed))
                r = aico_flush(m->client, WAIT_MS, NULL);
            atomic_store(&m->is_flushed, true);
            left_ms = 10;
        } else if (left_ms <= 0) {
            r = say(m);
            due_ms += crowd->pause_ms;
            left_ms = 0;
        }
        if (r == 0)
            r = aico_receive(m->client, left_ms, &message, NULL);
        if (message)
            take(m, message);
        aico_message_free(&message);
        r = r == AICO_ETIMEOUT ? 0 : r;
    }
    atomic_store(&m->end_code, r);
    return NULL;
}

static void enter(struct crowd *crowd, size_t index)
{
    struct member *m = &crowd->members[index];
    struct aico_client_options options = {.home = crowd->world->home, .identity = m->name};
    struct aico_subscribe_options how = {.slow_policy = AICO_SLOW_BLOCK};
    struct aico_error err = {0};

    if (aico_client_open(&options, WAIT_MS, &m->client, &err) < 0 ||
        aico_subscribe(m->client, TOPIC, &how, WAIT_MS, NULL, &err) < 0)
        fail_msg("%s: %s", m->name, err.text);
    m->is_here = true;
}

static void begin(struct crowd *crowd, size_t index)
{
    struct member *m = &crowd->members[index];

    assert_int_equal(pthread_create(&m->thread, NULL, live, m), 0);
}

/* --- all of them ------------------------------------------------------------------------------ */

static void register_all(struct crowd *crowd)
{
    struct world *world = crowd->world;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(world->registry, bytes_text("aico"));
    struct rule_line rule = {.filter = bytes_text("crowd/**"),
                             .publish = "*",
                             .subscribe = "*",
                             .seal = SEAL_GROUP,
                             .authenticity = AUTHENTICITY_GROUP};

    for (size_t i = 0; i < CROWD + crowd->rounds; i++) {
        struct member *m = &crowd->members[i];
        CLEANUP(secret_wipe)
        struct secret seed = {0};
        CLEANUP(identity_free)
        struct identity *identity = NULL;
        CLEANUP(free_memory)
        char *path = NULL;
        struct component_line line = {.name = m->name, .roles = "tester", .since_ms = 1};

        (void)snprintf(m->name, sizeof(m->name), "m%03zu", i);
        m->crowd = crowd;
        m->index = i;
        memset(seed.at, 0x77, sizeof(seed.at));
        memcpy(seed.at, &i, sizeof(i));
        path = home_key_path(world->home, m->name);
        assert_int_equal(identity_new(m->name, &seed, 0, &identity), 0);
        assert_int_equal(keyfile_create(path, m->name, &seed, bytes_of("", 0), NULL), 0);
        line.identity = identity->public;
        line.transport = identity->transport_public;
        assert_int_equal(registry_draft_add(draft, &line), 0);
    }
    assert_int_equal(registry_draft_set_rule(draft, &rule, NULL), 0);
    world_publish(world, draft);
}

typedef bool question(struct crowd *crowd, size_t index);

/* Who has not heard whom to the end, some of them. */
static void print_state(const struct crowd *crowd)
{
    size_t printed = 0;

    for (size_t i = 0; i < CROWD + crowd->rounds; i++)
        if (crowd->members[i].is_here && atomic_load(&crowd->members[i].end_code) != 0)
            print_message("%s ended: %s\n", crowd->members[i].name,
                          aico_error_name(atomic_load(&crowd->members[i].end_code)));
    for (size_t i = 0; i < CROWD + crowd->rounds; i++)
        for (size_t j = 0; j < CROWD + crowd->rounds && printed < 20; j++) {
            const struct member *sender = &crowd->members[i], *reader = &crowd->members[j];

            if (i == j || !sender->is_here || !reader->is_here ||
                (atomic_load(&sender->is_flushed) &&
                 atomic_load(&reader->heard[i]) >= atomic_load(&sender->said)))
                continue;
            printed++;
            print_message("%s heard %" PRIu64 " of %" PRIu64 " of %s, missed %" PRIu64
                          ", is %sflushed\n",
                          reader->name, atomic_load(&reader->heard[i]), atomic_load(&sender->said),
                          sender->name, atomic_load(&reader->missed[i]),
                          atomic_load(&sender->is_flushed) ? "" : "not ");
        }
}

/* Waits until it is true of everybody who is here; @index is passed on. */
static void until(struct crowd *crowd, question *is_true, size_t index, const char *what)
{
    int64_t end_ms = clock_ms() + 4 * WAIT_MS;

    while (!is_true(crowd, index)) {
        if (clock_ms() > end_ms) {
            print_state(crowd);
            fail_msg("%s", what);
        }
        (void)poll(NULL, 0, 2);
    }
}

/* --- what is waited for */

/* Of everybody something that was sealed under the registry in force: it has their newest keys. */
static bool all_heard_by(struct crowd *crowd, size_t index)
{
    const struct member *reader = &crowd->members[index];

    for (size_t i = 0; i < CROWD + crowd->rounds; i++)
        if (crowd->members[i].is_here && i != index &&
            (atomic_load(&reader->heard[i]) == 0 ||
             atomic_load(&reader->knew[i]) < registry_version(crowd->world->registry)))
            return false;
    return true;
}

static bool all_seen(struct crowd *crowd, size_t index)
{
    bool is_seen[CROWD + ROUNDS_MAX] = {0};

    (void)pthread_mutex_lock(&lock);
    for (const struct seen *seen = first; seen; seen = seen->next)
        if (seen->is_group && seen->topic[0] != '$')
            is_seen[strtoul(seen->name + 1, NULL, 10)] = true;
    (void)pthread_mutex_unlock(&lock);
    for (size_t i = 1; i < CROWD + crowd->rounds; i++) /* the watch does not see itself */
        if (crowd->members[i].is_here && i != index && !is_seen[i])
            return false;
    return true;
}

static bool all_took_the_registry(struct crowd *crowd, size_t index)
{
    struct aico_client_stats stats;

    for (size_t i = 0; i < CROWD + crowd->rounds; i++) {
        if (!crowd->members[i].is_here || i == index)
            continue;
        aico_client_get_stats(crowd->members[i].client, &stats);
        if (stats.registry_version < atomic_load(&version))
            return false;
    }
    return atomic_load(&accepted_ms) > 0;
}

static uint64_t marks[CROWD + ROUNDS_MAX];

static bool all_said_more(struct crowd *crowd, size_t index)
{
    for (size_t i = 1; i < CROWD + crowd->rounds; i++)
        if (crowd->members[i].is_here && i != index &&
            atomic_load(&crowd->members[0].heard[i]) < marks[i] + LATER)
            return false;
    return true;
}

static bool has_ended(struct crowd *crowd, size_t index)
{
    return atomic_load(&crowd->members[index].end_code) != 0;
}

static bool all_heard_all(struct crowd *crowd, size_t index)
{
    (void)index;
    for (size_t i = 0; i < CROWD + crowd->rounds; i++) {
        const struct member *sender = &crowd->members[i];

        for (size_t j = 0; sender->is_here && j < CROWD + crowd->rounds; j++) {
            const struct member *reader = &crowd->members[j];

            if (!atomic_load(&sender->is_flushed))
                return false;
            if (reader->is_here && i != j &&
                atomic_load(&reader->heard[i]) < atomic_load(&sender->said))
                return false;
        }
    }
    return true;
}

/* --- a round */

static void begin_again(void)
{
    seen_free(take_seen());
    memset(&loot, 0, sizeof(loot));
    atomic_store(&version, UINT64_MAX); /* nobody has it before revoke_one() */
    atomic_store(&accepted_ms, 0);
}

static void copy_files(const struct world *world, const char *to)
{
    char command[256];

    (void)snprintf(command, sizeof(command), "cp -a '%s' '%s'", world->home, to);
    assert_int_equal(system(command), 0);
}

/* With its files and another process it does not come in. */
static void stays_out(const struct crowd *crowd, const struct member *m, const char *files)
{
    struct aico_client_options options = {
        .home = files, .identity = m->name, .broker = crowd->world->ipc};
    struct aico_client *client = NULL;

    assert_int_equal(aico_client_open(&options, WAIT_MS, &client, NULL), AICO_EREVOKED);
}

static void revoke_one(struct crowd *crowd, size_t index)
{
    struct world *world = crowd->world;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(world->registry, bytes_text("aico"));

    atomic_store(&version, registry_version(world->registry) + 1);
    atomic_store(&crowd->is_revoked[index], true);
    assert_int_equal(registry_draft_set_state(draft, crowd->members[index].name, COMPONENT_REVOKED),
                     0);
    world_publish(world, draft);
}

/* Returns how long after the broker took the registry something was sealed that the thief opens. */
static int64_t round_of(struct crowd *crowd, size_t index)
{
    struct member *m = &crowd->members[index];
    char files[128];

    begin_again();
    until(crowd, all_heard_by, index, "the one to be revoked has heard everybody");
    (void)snprintf(files, sizeof(files), "%s.thief", crowd->world->home);
    copy_files(crowd->world, files);
    atomic_store(&thief, sessions_of(m->name));
    until(crowd, all_seen, index, "everybody said something before");
    revoke_one(crowd, index);
    until(crowd, all_took_the_registry, index, "everybody else takes the registry");
    for (size_t i = 0; i < CROWD + crowd->rounds; i++)
        marks[i] = atomic_load(&crowd->members[0].heard[i]);
    until(crowd, all_said_more, index, "everybody else says more");
    assert_int_equal(sem_post(&all_said), 0);
    until(crowd, has_ended, index, "the revoked one is cut off");
    assert_int_equal(atomic_load(&m->end_code), AICO_EREVOKED);
    assert_int_equal(pthread_join(m->thread, NULL), 0);
    m->is_here = false;
    (void)aico_client_close(&m->client, 0, NULL); /* tries what it has: __wrap_sessions_free() */
    atomic_store(&thief, NULL);
    stays_out(crowd, m, files);
    world_remove(files);

    for (size_t i = 1; i < CROWD + crowd->rounds; i++) /* what it has is good for what was before */
        if (crowd->members[i].is_here && !loot.of[i])
            fail_msg("%s's state opens nothing of %s", m->name, crowd->members[i].name);
    assert_int_equal(loot.later, 0);
    return loot.last_ms > accepted_ms ? loot.last_ms - accepted_ms : 0;
}

static int by_time(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static uint64_t missed_by_others(const struct crowd *crowd)
{
    uint64_t missed = 0;

    for (size_t i = 0; i < CROWD + crowd->rounds; i++)
        for (size_t j = 0; j < CROWD + crowd->rounds; j++)
            if (!atomic_load(&crowd->is_revoked[i]) && !atomic_load(&crowd->is_revoked[j]))
                missed += atomic_load(&crowd->members[i].missed[j]);
    return missed;
}

static void the_revoked_opens_nothing_later_and_the_others_lose_nothing(void **state)
{
    const char *scale = getenv("AICO_TEST_SCALE"), *rounds = getenv("AICO_TEST_ROUNDS");
    bool is_full = scale && strcmp(scale, "full") == 0;
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    int64_t times[ROUNDS_MAX], began_ms;
    uint64_t said = 0;

    assert_non_null(crowd);
    assert_int_equal(sem_init(&all_said, 0, 0), 0);
    crowd->world = *state;
    crowd->rounds = rounds ? strtoul(rounds, NULL, 10) : is_full ? 100 : 3;
    crowd->pause_ms = (is_full ? 10 : 50) * SLOWER;
    assert_in_range(crowd->rounds, 1, ROUNDS_MAX);
    register_all(crowd);
    for (size_t i = 0; i < CROWD; i++)
        enter(crowd, i);
    (void)pthread_mutex_lock(&lock);
    watch = everybody[0].sessions;
    (void)pthread_mutex_unlock(&lock);
    began_ms = clock_ms();
    for (size_t i = 0; i < CROWD; i++)
        begin(crowd, i);
    for (size_t i = 0; i < crowd->rounds; i++) {
        times[i] = round_of(crowd, 1 + i);
        enter(crowd, CROWD + i);
        begin(crowd, CROWD + i);
        until(crowd, all_heard_by, CROWD + i, "who came in its place hears everybody");
    }
    for (size_t i = 0; i < CROWD + crowd->rounds; i++)
        said += atomic_load(&crowd->members[i].said);
    qsort(times, crowd->rounds, sizeof(times[0]), by_time);
    print_message(
        "%zu revocations of one of %d, %" PRIu64 " messages/s: the last message it opens was "
        "sealed %" PRId64 " ms after the broker took the registry in the median, %" PRId64
        " p99, %" PRId64 " at most\n",
        crowd->rounds, CROWD, said * 1000 / (uint64_t)(clock_ms() - began_ms),
        times[crowd->rounds / 2], times[crowd->rounds * 99 / 100], times[crowd->rounds - 1]);

    atomic_store(&crowd->is_quiet, true);
    until(crowd, all_heard_all, 0, "everybody heard everybody to the last message");
    atomic_store(&crowd->is_over, true);
    for (size_t i = 0; i < CROWD + crowd->rounds; i++) {
        if (!crowd->members[i].is_here)
            continue;
        assert_int_equal(pthread_join(crowd->members[i].thread, NULL), 0);
        assert_int_equal(atomic_load(&crowd->members[i].end_code), 0);
        leave(&crowd->members[i].client);
    }
    assert_int_equal(missed_by_others(crowd), 0);
    begin_again();
    free(crowd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_revoked_opens_nothing_later_and_the_others_lose_nothing,
                                        world_new, world_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
