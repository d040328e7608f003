/* SPDX-License-Identifier: Apache-2.0 */
/* A router that is helped by threads (io_threads): many links that are read and sealed at once. It
 * talks to clients of ours alone, so that a sanitizer of threads sees no library of others. */
#include "net.h"

/* What many send at once is read by several threads, and what all are sent is sealed by them. */
static void many_links_at_once_get_what_is_theirs(void **state)
{
    enum { LINKS = 7, FRAMES = 60 };
    struct net *net = *state;
    struct dealer *dealers[LINKS];
    struct link *links[LINKS] = {NULL};
    size_t came[LINKS] = {0}, echoed[LINKS] = {0}, sent[LINKS] = {0}, done = 0;
    static uint8_t text[FRAME_MAX];
    int64_t end = deadline();

    for (int i = 0; i < LINKS; i++)
        dealers[i] = dial_up(net, i % 2 ? net->tcp : net->ipc, &net->alice);
    while (done < LINKS && moment_now().boot_ms < end) {
        struct router_input input;
        struct bytes frame;

        /* u8 whose, u8 number, and so many bytes. */
        for (int i = 0; i < LINKS; i++) {
            size_t size = 2 + (sent[i] * 1237 + (size_t)i * 331) % (FRAME_MAX - 2);

            text[0] = (uint8_t)i;
            text[1] = (uint8_t)sent[i];
            memset(text + 2, i + (int)sent[i], size - 2);
            if (sent[i] < FRAMES && dealer_send(dealers[i], bytes_of(text, size)) == 0)
                sent[i]++;
            (void)dealer_peek(dealers[i]);
        }
        (void)router_wait(net->router, -1, 0);
        while (router_receive(net->router, moment_now(), &input) == 0) {
            size_t from = input.frame.at[0];

            assert_true(from < LINKS && (!links[from] || links[from] == input.link));
            links[from] = input.link;
            assert_int_equal(input.frame.at[1], came[from]);
            assert_int_equal(input.frame.at[input.frame.size - 1],
                             input.frame.size > 2 ? (uint8_t)(from + came[from]) : came[from]);
            came[from]++;
            if (router_send(net->router, input.link, input.frame) == 0)
                continue;
            while (router_send(net->router, input.link, input.frame) == AICO_EFULL &&
                   moment_now().boot_ms < end) {
                while (dealer_receive(dealers[from], &frame) == 0)
                    assert_int_equal(frame.at[1], echoed[from]++);
                (void)dealer_peek(dealers[from]);
                (void)router_wait(net->router, -1, 0);
            }
        }
        (void)router_wait(net->router, -1, 0);
        done = 0;
        for (int i = 0; i < LINKS; i++) {
            (void)dealer_peek(dealers[i]);
            while (dealer_receive(dealers[i], &frame) == 0) {
                assert_int_equal(frame.at[0], i);
                assert_int_equal(frame.at[1], echoed[i]++);
            }
            done += echoed[i] == FRAMES;
        }
    }
    assert_int_equal(done, LINKS);
    for (int i = 0; i < LINKS; i++)
        dealer_close(&dealers[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(many_links_at_once_get_what_is_theirs, net_up, net_down),
        cmocka_unit_test_setup_teardown(many_links_at_once_get_what_is_theirs, net_up_with_helpers,
                                        net_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
