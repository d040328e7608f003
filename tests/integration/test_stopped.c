/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that was stopped in the middle of a turn (SIGSTOP, a suspended machine) judges what it
 * takes by the clock after that, not by the one it read before. It is stopped where it is about to
 * take a frame: tests/CMakeLists.txt hands dealer_receive() over to us.
 */
#include <poll.h>

#include "world.h"

#include "base/clock.h"
#include "transport/dealer.h"

#define TOPIC "logs/test/v1"
#define TTL_MS 500
#define BOUND_MS 1000 /* by which clocks may differ */

static char text[2000];                  /* more than any frame to the publisher */
static _Atomic int64_t stopped_until_ms; /* 0: it is not stopped */

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
int __real_dealer_receive(struct dealer *dealer, struct bytes *ret_frame);
int __wrap_dealer_receive(struct dealer *dealer, struct bytes *ret_frame);
/* NOLINTEND(bugprone-reserved-identifier) */

int __wrap_dealer_receive(struct dealer *dealer, struct bytes *ret_frame)
{
    int r = __real_dealer_receive(dealer, ret_frame);

    if (r == 0 && ret_frame->size > sizeof(text))
        while (moment_now().real_ms <= stopped_until_ms)
            (void)poll(NULL, 0, 10);
    return r;
}

static void what_expired_while_it_was_stopped_is_not_shown(void **state)
{
    struct world *world = *state;
    struct aico_publish_options options = {.ttl_ms = TTL_MS};
    struct aico_client *alice, *bob;
    struct aico_message *m;

    world_configure(world->home, world, "security:\n  transport:\n    synchrony_bound: 1\n");
    alice = join(world, ALICE);
    bob = join(world, BOB);
    (void)subscribe(bob, TOPIC);
    publish(alice, TOPIC, "the first one"); /* bob has the key of the next one */
    expect_text(bob, TOPIC, "alice", "the first one");
    stopped_until_ms = moment_now().real_ms + TTL_MS + BOUND_MS + 500;
    assert_int_equal(aico_publish(alice, TOPIC, text, sizeof(text), &options, NULL, NULL), 0);
    m = expect(bob, AICO_MESSAGE_GAP);
    assert_int_equal(m->code, AICO_EEXPIRED);
    aico_message_free(&m);
    leave(&alice);
    leave(&bob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_expired_while_it_was_stopped_is_not_shown, world_new,
                                        world_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
