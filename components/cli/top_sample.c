/* SPDX-License-Identifier: Apache-2.0 */
/* Samples of aico-bus top: rates between two of them, and the views made of one. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cli/top.h"
#include "common/text.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define OUTBOX_LIMIT "outbox_limit" /* of what waits in a peer's outbox */

static const struct cli_column peer_columns[] = {
    {"name", "NAME"},
    {"published_s", "IN/S"},
    {"delivered_s", "OUT/S"},
    {"bytes_in_s", "BYTES-IN/S", CLI_SIZE},
    {"bytes_out_s", "BYTES-OUT/S", CLI_SIZE},
    {"queued", "WAITING"},
    {"queued_bytes", "BYTES", CLI_SIZE},
    {"dropped", "DROPPED"},
    {"refused", "REFUSED"},
    {"subscriptions", "SUBS"},
    {"address", "ADDRESS"},
    {NULL, NULL},
};
static const struct cli_column topic_columns[] = {
    {"topic", "TOPIC"},
    {"messages_s", "MESSAGES/S"},
    {"bytes_s", "BYTES/S", CLI_SIZE},
    {"messages", "MESSAGES"},
    {"bytes", "BYTES", CLI_SIZE},
    {"readers", "READERS"},
    {"rule", "RULE"},
    {NULL, NULL},
};
static const struct cli_column slow_columns[] = {
    {"name", "NAME"},           {"queued_bytes", "BYTES", CLI_SIZE},
    {"queued", "WAITING"},      {"full", "FULL %"},
    {"dropped_s", "DROPPED/S"}, {"dropped", "DROPPED"},
    {"address", "ADDRESS"},     {NULL, NULL},
};
static const struct cli_column loss_columns[] = {
    {"what", "WHAT"}, {"cause", "CAUSE"}, {"count", "COUNT"}, {"count_s", "COUNT/S"}, {NULL, NULL},
};

#define VIEW(name, title, columns, sort)                                                           \
    {                                                                                              \
        name, title, columns, COUNT_OF(columns) - 1, sort                                          \
    }
const struct top_view top_views[TOP_VIEWS] = {
    [TOP_PEERS] = VIEW("peers", "Components", peer_columns, 1),
    [TOP_TOPICS] = VIEW("topics", "Topics", topic_columns, 1),
    [TOP_SLOW] = VIEW("slow", "Slow readers", slow_columns, 1),
    [TOP_LOSSES] = VIEW("losses", "Lost and refused", loss_columns, 2),
};

bool top_find_view(const char *name, enum top_view_id *ret_view)
{
    for (int i = 0; i < TOP_VIEWS; i++) {
        if (strcmp(top_views[i].name, name) == 0) {
            *ret_view = (enum top_view_id)i;
            return true;
        }
    }
    return false;
}

bool top_find_column(enum top_view_id view, const char *name, size_t *ret_column)
{
    for (size_t i = 0; i < top_views[view].column_count; i++) {
        if (strcasecmp(top_views[view].columns[i].title, name) == 0) {
            *ret_column = i;
            return true;
        }
    }
    return false;
}

/* --- rates ---------------------------------------------------------------------------------- */

static const struct rate {
    const char *counter, *rate;
} rates[] = {
    {"published", "published_s"}, {"delivered", "delivered_s"}, {"bytes_in", "bytes_in_s"},
    {"bytes_out", "bytes_out_s"}, {"dropped", "dropped_s"},     {"messages", "messages_s"},
    {"bytes", "bytes_s"},         {"count", "count_s"},
};

static json_int_t count_of(const json_t *row, const char *member)
{
    return json_integer_value(json_object_get(row, member));
}

/* A counter that has gone back began again at 0: another session of the same name. */
static void put_rates(json_t *row, const json_t *former, double seconds)
{
    for (size_t i = 0; i < COUNT_OF(rates); i++) {
        json_int_t now = count_of(row, rates[i].counter);
        json_int_t before = count_of(former, rates[i].counter);

        if (!json_is_integer(json_object_get(row, rates[i].counter)))
            continue;
        if (before > now)
            before = 0;
        (void)json_object_set_new(row, rates[i].rate,
                                  json_real(seconds > 0 ? (double)(now - before) / seconds : 0));
    }
}

/* The rows by what names them, borrowed. */
static json_t *index_of(const json_t *rows, const char *key)
{
    json_t *index = json_object();
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *name = json_string_value(json_object_get(row, key));

        if (name)
            (void)json_object_set(index, name, row);
    }
    return index;
}

static void put_rates_of_rows(json_t *rows, const json_t *former, const char *key, double seconds)
{
    json_t *index = index_of(former, key);
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *name = json_string_value(json_object_get(row, key));

        put_rates(row, name ? json_object_get(index, name) : NULL, seconds);
    }
    json_decref(index);
}

/* --- views ---------------------------------------------------------------------------------- */

static double percent_full(const json_t *peer)
{
    const json_t *limit;
    size_t i;

    json_array_foreach(json_object_get(peer, "limits"), i, limit)
    {
        const char *key = json_string_value(json_object_get(limit, "key"));

        if (key && strcmp(key, OUTBOX_LIMIT) == 0 && count_of(limit, "limit") > 0)
            return 100.0 * (double)count_of(limit, "used") / (double)count_of(limit, "limit");
    }
    return 0;
}

/* Who has something waiting or has lost something. */
static json_t *slow_rows(const json_t *peers)
{
    json_t *rows = json_array();
    json_t *peer;
    size_t i;

    json_array_foreach(peers, i, peer)
    {
        if (count_of(peer, "queued_bytes") == 0 && count_of(peer, "dropped") == 0)
            continue;
        (void)json_object_set_new(peer, "full", json_real(percent_full(peer)));
        (void)json_array_append(rows, peer);
    }
    return rows;
}

static void add_loss(json_t *rows, const char *what, const char *cause, json_int_t count)
{
    char id[160]; /* names the row in the sample after this one */

    if (count == 0)
        return;
    (void)snprintf(id, sizeof(id), "%s %s", what, cause);
    (void)json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:I}", "id", id, "what", what,
                                                "cause", cause, "count", count));
}

static void add_losses(json_t *rows, const char *what, const json_t *status, const char *member)
{
    const char *cause;
    json_t *count;

    json_object_foreach(json_object_get(status, member), cause, count)
        add_loss(rows, what, cause, json_integer_value(count));
}

static json_t *loss_rows(const json_t *status)
{
    json_t *rows = json_array();

    add_losses(rows, "dropped", status, "dropped");
    add_losses(rows, "refused", status, "refused");
    add_losses(rows, "over quota", status, "quota_refusals");
    add_loss(rows, "dropped", "sent to one component", count_of(status, "direct_dropped"));
    add_loss(rows, "expired", "time to live", count_of(status, "expired"));
    add_loss(rows, "dead letters", "too many attempts", count_of(status, "dead_letters"));
    add_loss(rows, "gaps told", "to readers", count_of(status, "gaps"));
    return rows;
}

/* --- samples -------------------------------------------------------------------------------- */

void top_sample_deinit(struct top_sample *sample)
{
    json_decref(sample->status);
    for (int i = 0; i < TOP_VIEWS; i++)
        json_decref(sample->rows[i]);
    *sample = (struct top_sample){0};
}

/* How long ago @former was; not longer than this broker has been running. */
static double seconds_since(const struct top_sample *former, int64_t at_ms, const json_t *status)
{
    double seconds = former ? (double)(at_ms - former->at_ms) / 1000 : 0;
    double uptime = (double)count_of(status, "uptime_s");

    if (former && count_of(former->status, "uptime_s") > count_of(status, "uptime_s") &&
        seconds > uptime)
        seconds = uptime;
    return seconds;
}

int top_sample_init(struct top_sample *ret, json_t *status, json_t *peers, json_t *topics,
                    int64_t at_ms, const struct top_sample *former)
{
    static const char *const keys[] = {"name", "topic", "name", "id"};
    struct top_sample sample = {.at_ms = at_ms, .status = status};
    bool is_whole = json_is_object(status) && json_is_array(peers) && json_is_array(topics);

    sample.rows[TOP_PEERS] = peers;
    sample.rows[TOP_TOPICS] = topics;
    if (!is_whole) {
        top_sample_deinit(&sample);
        return AICO_EPROTO;
    }
    if (former && !former->status)
        former = NULL;
    sample.seconds = seconds_since(former, at_ms, status);
    sample.rows[TOP_SLOW] = slow_rows(peers);
    sample.rows[TOP_LOSSES] = loss_rows(status);
    if (!sample.rows[TOP_SLOW] || !sample.rows[TOP_LOSSES]) {
        top_sample_deinit(&sample);
        return AICO_ENOMEM;
    }
    put_rates(status, former ? former->status : NULL, sample.seconds);
    for (int i = 0; i < TOP_VIEWS; i++)
        if (i != TOP_SLOW) /* these are rows of the peers */
            put_rates_of_rows(sample.rows[i], former ? former->rows[i] : NULL, keys[i],
                              sample.seconds);
    *ret = sample;
    return 0;
}

/* --- order ---------------------------------------------------------------------------------- */

struct comparison {
    const struct cli_column *columns;
    const struct top_order *order;
};

static int compare_texts(const json_t *a, const json_t *b)
{
    const char *x = json_string_value(a), *y = json_string_value(b);

    return strcmp(x ? x : "", y ? y : "");
}

static int compare_rows(const void *a, const void *b, void *context)
{
    const struct comparison *by = context;
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    const char *member = by->columns[by->order->column].member;
    const json_t *left = json_object_get(x, member), *right = json_object_get(y, member);
    int r;

    if (json_is_number(left) || json_is_number(right)) {
        double l = json_number_value(left), m = json_number_value(right);

        r = (l < m) - (l > m);
    } else {
        r = compare_texts(left, right);
    }
    if (r != 0)
        return by->order->is_reversed ? -r : r;
    member = by->columns[0].member;
    return compare_texts(json_object_get(x, member), json_object_get(y, member));
}

json_t *top_sorted(const struct top_sample *sample, enum top_view_id view,
                   const struct top_order *order)
{
    struct comparison by = {top_views[view].columns, order};
    size_t count = json_array_size(sample->rows[view]);
    json_t **rows = calloc(count + 1, sizeof(json_t *));
    json_t *sorted = rows ? json_array() : NULL;

    for (size_t i = 0; sorted && i < count; i++)
        rows[i] = json_array_get(sample->rows[view], i);
    if (sorted)
        qsort_r(rows, count, sizeof(json_t *), compare_rows, &by);
    for (size_t i = 0; sorted && i < count; i++)
        (void)json_array_append(sorted, rows[i]);
    free((void *)rows);
    return sorted;
}

/* --- the whole broker ----------------------------------------------------------------------- */

static double rate_of(const struct top_sample *sample, const char *member)
{
    return json_real_value(json_object_get(sample->status, member));
}

static json_int_t sum_of(const json_t *object)
{
    const char *name;
    json_t *member;
    json_int_t sum = 0;

    json_object_foreach((json_t *)(uintptr_t)object, name, member) sum +=
        json_integer_value(member);
    return sum;
}

static void write_uptime(FILE *to, json_int_t seconds)
{
    if (seconds >= 86400)
        (void)fprintf(to, "%lldd ", (long long)(seconds / 86400));
    (void)fprintf(to, "%lld:%02lld:%02lld", (long long)(seconds / 3600 % 24),
                  (long long)(seconds / 60 % 60), (long long)(seconds % 60));
}

static void write_text(FILE *to, const char *text)
{
    if (text)
        text_write_escaped(to, text, strlen(text));
}

void top_write_head(FILE *to, const struct top_sample *sample)
{
    const json_t *s = sample->status;
    char in[16], out[16];

    cli_size_text(rate_of(sample, "bytes_in_s"), in, sizeof(in));
    cli_size_text(rate_of(sample, "bytes_out_s"), out, sizeof(out));
    write_text(to, json_string_value(json_object_get(s, "broker")));
    (void)fputs(", ", to);
    write_text(to, json_string_value(json_object_get(s, "version")));
    (void)fputs(", up ", to);
    write_uptime(to, count_of(s, "uptime_s"));
    (void)fprintf(to,
                  ", registry %lld\n%lld components, %lld subscriptions, %lld topics; published "
                  "%.1f/s, delivered %.1f/s, bytes in %s/s, out %s/s\n",
                  (long long)count_of(json_object_get(s, "registry"), "version"),
                  (long long)count_of(s, "peers"), (long long)count_of(s, "subscriptions"),
                  (long long)count_of(s, "topics"), rate_of(sample, "published_s"),
                  rate_of(sample, "delivered_s"), in, out);
    (void)fprintf(
        to, "%lld waiting, %lld stored, %lld dropped, %lld refused, %lld expired\n",
        (long long)count_of(s, "queued"), (long long)count_of(s, "stored"),
        (long long)(sum_of(json_object_get(s, "dropped")) + count_of(s, "direct_dropped")),
        (long long)sum_of(json_object_get(s, "refused")), (long long)count_of(s, "expired"));
}
