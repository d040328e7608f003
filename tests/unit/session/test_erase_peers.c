/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PROTOCOL 14 rows 47, 51 and 72 for the manager of all peers: what a channel, a group and the
 * waiting of both held is in no memory of the process any more when they were rekeyed, and when a
 * peer left or was revoked.
 */
#include "memory_scan.h"
#include "peers_net.h"
#include "sanitized.h"

#include "session/peers_internal.h"

enum { BACKEND, CLI, EVERYBODY };
static const char *const names[] = {"backend", "cli"};

#define LOGS "logs/app/v1"
#define TALK "talk/v1"
#define TIMEOUT_MS 30000
#define LARGE 5000 /* bytes that are not copied */

static struct net net;

/* Masked keys that were in use, of both ends. */
#define KEYS_MAX 16
#define GROUP_KEYS 2 /* the last ones kept */
static struct {
    const char *what;
    uint8_t masked[SECRET_SIZE];
} kept[KEYS_MAX];
static size_t kept_count;

static void rules(struct registry_draft *draft)
{
    draft_rule(draft, "logs/**", "cli", "backend", SEAL_GROUP, AUTHENTICITY_SENDER);
    draft_rule(draft, "talk/**", "*", "*", SEAL_CHANNEL, AUTHENTICITY_SENDER);
}

/* Byte by byte: no copy but the masked one. */
static void keep(const char *what, const struct secret *secret)
{
    const volatile uint8_t *at = secret->at;

    assert_true(kept_count < KEYS_MAX);
    kept[kept_count].what = what;
    for (size_t i = 0; i < SECRET_SIZE; i++)
        kept[kept_count].masked[i] = (uint8_t)(at[i] ^ MASK);
    kept_count++;
}

static struct peer *peer_at(int node, int other)
{
    return peer_find(net.nodes[node].sessions, bytes_text(names[other]), false);
}

static void keep_line(int node, int other)
{
    const struct line *line = line_best(peer_at(node, other));

    assert_non_null(line);
    keep("a sending chain", &line->channel->send.chain.key);
    keep("a sending subkey", &line->channel->send.key.subkey);
    keep("a receiving chain", &line->channel->receive.chain.key);
    keep("a receiving subkey", &line->channel->receive.key.subkey);
}

static void keep_group(void)
{
    const struct publication *p = net.nodes[CLI].sessions->publications;

    assert_non_null(p);
    keep("the chain of a group", &p->group->secret->chain.key);
    keep("the subkey of a topic", &p->group->topics->secret->key.subkey);
}

static void speak(void)
{
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "x", NULL), 0);
    assert_int_equal(net_say(&net, BACKEND, CLI, TALK, DELIVERY_EVENT, NULL, "y", NULL), 0);
    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "z"), 0);
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "x");
    assert_heard(&net, BACKEND, 1, "z");
    keep_line(CLI, BACKEND);
    keep_line(BACKEND, CLI);
    keep_group();
}

static void assert_kept_is(bool there)
{
    for (size_t i = 0; i < kept_count; i++) {
        size_t copies = copies_of(kept[i].masked);

        if ((copies > 0) != there)
            fail_msg("%s: %zu copies", kept[i].what, copies);
    }
}

/* Everything runs on a stack that stays as it was left. */
static void *live_through_rekey(void *unused)
{
    speak();
    net_advance(&net, 66 * 1000); /* an interval and what is left of its jitter */
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "x", NULL), 0);
    assert_int_equal(net_publish(&net, CLI, LOGS, "z"), 0);
    net_advance(&net, 2 * TIMEOUT_MS + 1000);
    return unused;
}

static void keys_are_gone_after_a_rekey(void **state UNUSED)
{
    apart(live_through_rekey, NULL);
    assert_kept_is(false);
    assert_true(sessions_has_channel(net.nodes[CLI].sessions, net_moment(&net, &net.nodes[CLI]),
                                     bytes_text("backend")));
}

static void *live(void *unused)
{
    speak();
    return unused;
}

static void keys_in_use_are_found(void **state UNUSED)
{
    apart(live, NULL);
    assert_kept_is(true);
}

static void revoke_backend(struct registry_draft *draft)
{
    assert_int_equal(registry_draft_set_state(draft, "backend", COMPONENT_REVOKED), 0);
}

/* At cli alone: what backend holds is backend's memory, and goes with it. */
static void *live_until_a_revocation(void *unused)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(net.registry, bytes_text(NAMESPACE));

    speak();
    net_stop_node(&net, BACKEND);
    revoke_backend(draft);
    net_set_registry(&net, registry_make(draft), 0);
    net_run(&net);
    return unused;
}

static void *wait_for_the_others(void *unused)
{
    net_advance(&net, TIMEOUT_MS + 1000);
    return unused;
}

/* The former generation of a group is kept for those of its readers that lack its key. */
static void keys_with_the_revoked_are_gone_at_once(void **state UNUSED)
{
    apart(live_until_a_revocation, NULL);
    kept_count -= GROUP_KEYS;
    assert_kept_is(false);
    kept_count += GROUP_KEYS;
    apart(wait_for_the_others, NULL);
    assert_kept_is(false);
}

static void *live_until_it_leaves(void *unused)
{
    speak();
    sessions_close(net.nodes[BACKEND].sessions, net_moment(&net, &net.nodes[BACKEND]));
    net_run(&net);
    net_stop_node(&net, BACKEND);
    net_advance(&net, TIMEOUT_MS + 1000);
    kept_count -= GROUP_KEYS; /* the group goes on: other readers may have it */
    return unused;
}

static void keys_with_who_left_are_gone(void **state UNUSED)
{
    apart(live_until_it_leaves, NULL);
    assert_kept_is(false);
}

static int open_net(void **state UNUSED)
{
    kept_count = 0;
    net_open(&net, names, EVERYBODY, rules);
    for (int at = 0; at < EVERYBODY; at++) {
        net_stop_node(&net, at);
        net.nodes[at].settings.key_rotation_interval_ms = 60 * 1000;
        net_start_node(&net, at);
    }
    return 0;
}

static int close_net(void **state UNUSED)
{
    net_close(&net);
    return 0;
}

/* Many bytes are handed out where they were opened: they are wiped there, and the room serves
 * again. Of a size that the pool keeps (not under the sanitizer), and of a larger one.
 */
static void what_was_opened_is_wiped_once_it_was_taken(void **state UNUSED)
{
    static const size_t sizes[] = {LARGE, POOL_SIZE_MAX + 1000};
    struct sessions *backend = net.nodes[BACKEND].sessions;

    net_prepare(&net, CLI, LOGS);
    for (size_t i = 0; i < 2 * COUNT_OF(sizes); i++) {
        size_t size = sizes[i / 2];
        char *text = calloc(1, size + 1);
        struct plain plain;

        assert_non_null(text);
        memset(text, 'p', size);
        assert_int_equal(net_publish(&net, CLI, LOGS, text), 0);
        net_run(&net);
        assert_int_equal(note_at(&net, BACKEND, SESSION_MESSAGE, i)->size, size);
        free(text);
        /* What comes next would lie there. */
        assert_int_equal(backend->large.at != NULL, size > POOL_SIZE_MAX);
        assert_true(plain_take(backend, size + 100, &plain));
        for (size_t at = 0; at < size && !IS_SANITIZED; at++)
            assert_int_equal(plain.at[at], 0);
        plain_give(backend, &plain);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_net, close_net)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keys_in_use_are_found),
        TEST(keys_are_gone_after_a_rekey),
        TEST(keys_with_the_revoked_are_gone_at_once),
        TEST(keys_with_who_left_are_gone),
        TEST(what_was_opened_is_wiped_once_it_was_taken),
    };

    assert_int_equal(crypto_start(), 0);
    return cmocka_run_group_tests_name("session/erase_peers", tests, NULL, NULL);
}
