/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No key that opens a message is anywhere at the broker: not in the memory of its process, not in a
 * file. Every secret that components derive, agree on, or seal and open with is noted where they do
 * it (the functions of bus/crypto are wrapped, tests/CMakeLists.txt) and looked for.
 *
 * The broker is a process of its own: this program, started again with its home.
 */
#include "world.h"

#include "../unit/session/memory_scan.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/aead.h"
#include "crypto/dh.h"
#include "crypto/kdf.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ring ring; /* under lock */

/* --- what is a secret ----------------------------------------------------------------------------
 */

void __real_kdf(const struct secret *, const char *, struct bytes, struct secret *);
void __real_kdf2(const struct secret *, const char *, struct bytes, struct bytes, struct secret *);
int __real_dh_shared(const struct secret *, const uint8_t *, struct secret *);
void __real_aead_key_init(struct aead_key *, const struct secret *, const uint8_t *);
void __real_aead_seal(const struct secret *, const uint8_t *, struct bytes, struct bytes,
                      struct bytes, uint8_t *);
int __real_aead_open(const struct secret *, const uint8_t *, struct bytes, struct bytes,
                     struct bytes, uint8_t *);
void __wrap_kdf(const struct secret *, const char *, struct bytes, struct secret *);
void __wrap_kdf2(const struct secret *, const char *, struct bytes, struct bytes, struct secret *);
int __wrap_dh_shared(const struct secret *, const uint8_t *, struct secret *);
void __wrap_aead_key_init(struct aead_key *, const struct secret *, const uint8_t *);
void __wrap_aead_seal(const struct secret *, const uint8_t *, struct bytes, struct bytes,
                      struct bytes, uint8_t *);
int __wrap_aead_open(const struct secret *, const uint8_t *, struct bytes, struct bytes,
                     struct bytes, uint8_t *);

/* @what again, for as long as this program runs. */
static const char *keep(const char *what)
{
    static char kept[64][32];
    size_t i = 0;

    while (kept[i][0] && strcmp(kept[i], what) != 0)
        i++;
    if (i == sizeof(kept) / sizeof(kept[0]) - 1 || strlen(what) >= sizeof(kept[0]))
        abort();
    return strcpy(kept[i], what);
}

static void note(const char *what, const struct secret *secret)
{
    (void)pthread_mutex_lock(&lock);
    ring_see(&ring, keep(what), secret, 0);
    (void)pthread_mutex_unlock(&lock);
}

/* What goes over the wire is no secret, whatever it was derived of. Of "fresh" only challenges
 * do; the others are seen when they are used. */
static bool is_public(const char *label)
{
    static const char *const labels[] = {"mac", "channel", "group id", "ratchet id", "commit"};

    for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
        if (strcmp(label, labels[i]) == 0)
            return true;
    return strncmp(label, "fresh", 5) == 0;
}

void __wrap_kdf(const struct secret *k, const char *label, struct bytes x, struct secret *ret_out)
{
    char from[32];

    (void)snprintf(from, sizeof(from), "what gives a %s", label);
    note(from, k);
    __real_kdf(k, label, x, ret_out);
    if (!is_public(label))
        note(label, ret_out);
}

void __wrap_kdf2(const struct secret *k, const char *label, struct bytes a, struct bytes b,
                 struct secret *ret_out)
{
    char from[32];

    (void)snprintf(from, sizeof(from), "what gives a %s", label);
    note(from, k);
    __real_kdf2(k, label, a, b, ret_out);
    if (!is_public(label))
        note(label, ret_out);
}

int __wrap_dh_shared(const struct secret *a, const uint8_t *b, struct secret *ret_shared)
{
    int r = __real_dh_shared(a, b, ret_shared);

    note("of a DH", a);
    if (r == 0)
        note("a DH", ret_shared);
    return r;
}

void __wrap_aead_key_init(struct aead_key *key, const struct secret *k, const uint8_t *prefix)
{
    __real_aead_key_init(key, k, prefix);
    note("a key", k);
    note("a subkey", &key->subkey);
}

void __wrap_aead_seal(const struct secret *key, const uint8_t *nonce, struct bytes ad1,
                      struct bytes ad2, struct bytes plain, uint8_t *ret_sealed)
{
    note("a key", key);
    __real_aead_seal(key, nonce, ad1, ad2, plain, ret_sealed);
}

int __wrap_aead_open(const struct secret *key, const uint8_t *nonce, struct bytes ad1,
                     struct bytes ad2, struct bytes sealed, uint8_t *ret_plain)
{
    note("a key", key);
    return __real_aead_open(key, nonce, ad1, ad2, sealed, ret_plain);
}

/* --- looking for them ------------------------------------------------------------------------- */

#define PIECE ((size_t)1 << 20)

/* Looks through @fd from @from to @to, of which what cannot be read is left out. */
static void search_file(int fd, uint64_t from, uint64_t to)
{
    static uint8_t piece[PIECE];

    while (from < to) {
        uint64_t left = to - from;
        ssize_t size = pread(fd, piece, left < PIECE ? left : PIECE, (off_t)from);

        if (size <= 0)
            return;
        ring_search_in(piece, (size_t)size, &ring);
        from += (size_t)size <= SECRET_SIZE || (uint64_t)size == left
                    ? (uint64_t)size
                    : (uint64_t)size - SECRET_SIZE;
    }
}

static void forget_copies(void)
{
    for (size_t i = 1; i <= ring.count; i++)
        ring.keys[i].copies = 0;
}

static size_t copies(const char *what)
{
    size_t count = 0;

    for (size_t i = 1; i <= ring.count; i++)
        if (strcmp(ring.keys[i].what, what) == 0)
            count += ring.keys[i].copies;
    return count;
}

#define PUBLIC "the public key of alice" /* everybody has it */

static void assert_only_public(const char *where)
{
    for (size_t i = 1; i <= ring.count; i++)
        if (ring.keys[i].copies > 0 && strcmp(ring.keys[i].what, PUBLIC) != 0)
            fail_msg("%s: %zu copies of a secret (%s)", where, ring.keys[i].copies,
                     ring.keys[i].what);
    if (copies(PUBLIC) == 0)
        fail_msg("%s: nothing would be found there", where);
}

static void search_process(pid_t pid)
{
    char path[64], line[512], mode[8];
    unsigned long long from, to;
    FILE *maps;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    maps = fopen(path, "r");
    (void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(maps && fd >= 0);
    while (fgets(line, sizeof(line), maps))
        if (sscanf(line, "%llx-%llx %7s", &from, &to, mode) == 3 && mode[0] == 'r' &&
            to - from <= REGION_MAX)
            search_file(fd, from, to);
    (void)close(fd);
    (void)fclose(maps);
}

static int search_stored(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    int fd;

    (void)walk;
    if (type != FTW_F || !S_ISREG(st->st_mode))
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    search_file(fd, 0, (uint64_t)st->st_size);
    (void)close(fd);
    return 0;
}

/* --- a bus with every kind of key ------------------------------------------------------------- */

static int be_the_broker(const char *home)
{
    struct aico_broker_options options = {.home = home};
    struct aico_broker *broker = NULL;
    struct aico_error err = {0};

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (aico_broker_open(&options, &broker, &err) < 0) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return aico_broker_run(broker, NULL) < 0;
}

static pid_t start_broker(struct world *world)
{
    pid_t pid;

    world_stop(world, true);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)execl("/proc/self/exe", "test", "--broker", world->home, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void make_rules(struct world *world)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(world->registry, bytes_text("aico"));
    struct rule_line kept = {.filter = bytes_text("kept/**"),
                             .publish = "*",
                             .subscribe = "*",
                             .seal = SEAL_GROUP,
                             .authenticity = AUTHENTICITY_SENDER,
                             .history = true,
                             .store = {.on = true, .count = 100}};
    struct rule_line mail = {.filter = bytes_text("mail/**"),
                             .publish = "*",
                             .subscribe = "*",
                             .seal = SEAL_RATCHET,
                             .authenticity = AUTHENTICITY_SENDER};

    assert_int_equal(registry_draft_set_rule(draft, &kept, NULL), 0);
    assert_int_equal(registry_draft_set_rule(draft, &mail, NULL), 0);
    world_publish(world, draft);
}

static struct aico_client *join_late(struct world *world, enum person who)
{
    struct aico_client_options options = {
        .home = world->home, .identity = names[who], .wait_for_broker = true};
    struct aico_client *client = NULL;
    struct aico_error err = {0};

    if (aico_client_open(&options, WAIT_MS, &client, &err) < 0)
        fail_msg("%s", err.text);
    return client;
}

static void say(struct aico_client *from, struct aico_client *to, const char *topic,
                const struct aico_publish_options *options)
{
    struct aico_error err = {0};

    if (aico_publish(from, topic, "a secret", 8, options, NULL, &err) < 0)
        fail_msg("%s", err.text);
    flush(from);
    expect_text(to, topic, aico_client_name(from), "a secret");
}

static void no_key_that_opens_is_at_the_broker(void **state)
{
    struct world *world = *state;
    struct aico_publish_options stored = {.ack = AICO_ACK_STORED};
    struct aico_publish_options mail = {.to = names[BOB], .ack = AICO_ACK_STORED};
    struct aico_client *alice, *bob;
    struct secret public;
    char folder[96];
    pid_t broker;

    make_rules(world);
    broker = start_broker(world);
    ring_clear(&ring); /* what there is so far is the broker's own */
    alice = join_late(world, ALICE);
    bob = join_late(world, BOB);
    (void)subscribe(bob, "logs/**");
    (void)subscribe(bob, "channel/**");
    (void)subscribe(bob, "kept/**");
    (void)subscribe(bob, "mail/**");
    say(alice, bob, "logs/a", NULL);
    say(alice, bob, "channel/a", NULL);
    say(alice, bob, "kept/a", &stored);
    say(alice, bob, "mail/a", &mail);

    memcpy(public.at, world->identities[ALICE]->public, SIGN_PUBLIC_SIZE);
    ring_see(&ring, PUBLIC, &public, 0);
    ring_see(&ring, "a seed", &world->seeds[ALICE], 0);
    ring_see(&ring, "a seed", &world->seeds[BOB], 0);

    /* The search finds what is there: those in use now. */
    ring_count(&ring);
    for (const char *const *what =
             (const char *const[]){PUBLIC, "storage", "chain step", "traffic dialer",
                                   "traffic listener", "ratchet root", "a subkey", NULL};
         *what; what++)
        if (copies(*what) == 0)
            fail_msg("no copy of \"%s\" in the memory of components", *what);

    forget_copies();
    search_process(broker);
    assert_only_public("the memory of the broker");
    forget_copies();
    (void)snprintf(folder, sizeof(folder), "%s/state/broker", world->home);
    assert_int_equal(nftw(folder, search_stored, 8, FTW_PHYS), 0);
    assert_only_public("the files of the broker");
    print_message("%zu secrets were looked for\n", ring.count);

    leave(&alice);
    leave(&bob);
    assert_int_equal(kill(broker, SIGKILL), 0);
    assert_int_equal(waitpid(broker, NULL, 0), broker);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_key_that_opens_is_at_the_broker, world_new, world_free),
    };

    if (argc == 3 && strcmp(argv[1], "--broker") == 0)
        return be_the_broker(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
