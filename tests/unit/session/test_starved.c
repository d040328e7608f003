/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions without memory: each allocation fails once while two components meet, speak and publish.
 * Nothing breaks, nothing is lost silently, and once there is memory they speak again.
 */
#include <stdlib.h>

#include "session/peers.h"
#include "starve.h"

/* clang-format off */
#define sessions_receive_direct(...) STARVED_VOID(sessions_receive_direct(__VA_ARGS__))
#define sessions_receive_group(...) STARVED_VOID(sessions_receive_group(__VA_ARGS__))
#define sessions_tick(...) STARVED_VOID(sessions_tick(__VA_ARGS__))
#define sessions_next(...) STARVED(sessions_next(__VA_ARGS__))
#define sessions_dial(...) STARVED(sessions_dial(__VA_ARGS__))
#define sessions_prepare_group(...) STARVED(sessions_prepare_group(__VA_ARGS__))
#define sessions_seal_group(...) STARVED(sessions_seal_group(__VA_ARGS__))
#define sessions_seal_direct(...) STARVED(sessions_seal_direct(__VA_ARGS__))
#define sessions_set_registry(...) STARVED_VOID(sessions_set_registry(__VA_ARGS__))
#define sessions_new(...) STARVED(sessions_new(__VA_ARGS__))
/* clang-format on */
#include "peers_net.h"

enum { BACKEND, CLI, EVERYBODY };
static const char *const names[] = {"backend", "cli"};

#define LOGS "logs/app/v1"
#define TALK "talk/v1"

static struct net net;

static void rules(struct registry_draft *draft)
{
    draft_rule(draft, "logs/**", "cli", "backend", SEAL_GROUP, AUTHENTICITY_SENDER);
    draft_rule(draft, "talk/**", "*", "*", SEAL_CHANNEL, AUTHENTICITY_SENDER);
}

static size_t told(int at)
{
    return count_notes(&net, at, SESSION_FAILED) + count_notes(&net, at, SESSION_NOTICE) +
           count_notes(&net, at, SESSION_LOST) + count_notes(&net, at, SESSION_GAP);
}

/* Both ends say and publish something; what does not come was told to somebody. */
static void speak(void)
{
    struct node *cli = &net.nodes[CLI];
    size_t said = 0;
    int r = net_dial(&net, CLI, BACKEND);

    net_advance(&net, 1000);
    for (int i = 0; i < 3; i++)
        said += net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "x", NULL) == 0;
    (void)!sessions_prepare_group(cli->sessions, net_moment(&net, cli), bytes_text(LOGS));
    net_advance(&net, 3000);
    if (sessions_prepare_group(cli->sessions, net_moment(&net, cli), bytes_text(LOGS)) == 0)
        said += net_publish(&net, CLI, LOGS, "y") == 0;
    net_advance(&net, 1000);
    starve_arm(false);
    net_advance(&net, 200 * 1000); /* handshakes are tried again, keepalive finds what is missing */
    if (count_notes(&net, BACKEND, SESSION_MESSAGE) < said && told(CLI) + told(BACKEND) == 0)
        fail_msg("%zu of %zu messages came, and nobody was told (dial: %s)",
                 count_notes(&net, BACKEND, SESSION_MESSAGE), said, aico_error_name(r));
}

static void speak_with_memory(void)
{
    net_forget_notes(&net);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_advance(&net, 1000);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "again", NULL), 0);
    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "and again"), 0);
    net_advance(&net, 5000);
    assert_heard(&net, BACKEND, 0, "again");
    assert_heard(&net, BACKEND, 1, "and again");
}

static int meet_and_speak(void *context UNUSED)
{
    starve_arm(false);
    net_open(&net, names, EVERYBODY, rules);
    starve_arm(true);
    speak();
    speak_with_memory();
    net_close(&net);
    return 0;
}

static void who_meets_without_memory_speaks_with_it(void **state UNUSED)
{
    assert_true(starve_each(meet_and_speak, NULL, true) > 30);
}

static int begin(void *context UNUSED)
{
    struct node *node = &net.nodes[CLI];
    struct aico_error err = {0};
    int r;

    starve_arm(false);
    net_open(&net, names, EVERYBODY, rules);
    net_stop_node(&net, CLI);
    starve_arm(true);
    r = sessions_new(&node->settings, node->identity, net.registry, dice_source(&node->dice), 0,
                     net_moment(&net, node), &node->sessions, &err);
    starve_arm(false);
    net_close(&net);
    return r;
}

static void a_manager_is_made_or_not(void **state UNUSED)
{
    assert_true(starve_each(begin, NULL, false) > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manager_is_made_or_not),
        cmocka_unit_test(who_meets_without_memory_speaks_with_it),
    };

    assert_int_equal(crypto_start(), 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
