/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's numbers as Prometheus text. That it is well-formed, tests/system/metrics.py checks.
 */
#include "world.h"

static char *metrics(struct world *w)
{
    struct buffer text = {0};

    assert_int_equal(broker_metrics(w->broker, w->now, &text), 0);
    assert_int_equal(buffer_append(&text, bytes_of("", 1)), 0);
    return (char *)text.at;
}

static void expect_line(struct world *w, const char *line)
{
    char *text = metrics(w), *at = text;
    size_t size = strlen(line);

    while ((at = strstr(at, line)) && !(at[size] == '\n' && (at == text || at[-1] == '\n')))
        at++;
    if (!at)
        fail_msg("no line `%s` in\n%s", line, text);
    free(text);
}

static void what_happens_is_counted(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    expect_line(&w, "aico_bus_components 0");
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/x");
    publish(a, "open/x", "one");
    publish(a, "open/x", "two");
    pump(&w);
    expect_line(&w, "# TYPE aico_bus_published_total counter");
    expect_line(&w, "aico_bus_published_total 2");
    expect_line(&w, "aico_bus_delivered_total 2");
    expect_line(&w, "aico_bus_waiting_messages 0");
    expect_line(&w, "aico_bus_connections 2");
    expect_line(&w, "aico_bus_component_published_total{component=\"a\"} 2");
    expect_line(&w, "aico_bus_component_published_total{component=\"b\"} 0");
    expect_line(&w, "aico_bus_component_delivered_total{component=\"b\"} 2");
    expect_line(&w, "aico_bus_component_subscriptions{component=\"b\"} 1");
    expect_line(&w, "aico_bus_dropped_total{cause=\"drop-old\"} 0");
    expect_line(&w, "aico_bus_components_left_out 0");
    world_deinit(&w);
}

static void labels_are_escaped(void **state)
{
    struct broker_settings settings;
    struct world w;

    (void)state;
    broker_settings_default(&settings);
    settings.software = "a \"b\" \\ c\nd";
    world_init_with(&w, &settings, COMPONENTS, RULES);
    expect_line(&w, "aico_bus_info{version=\"a \\\"b\\\" \\\\ c\\nd\"} 1");
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_happens_is_counted),
        cmocka_unit_test(labels_are_escaped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
