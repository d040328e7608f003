/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aico-bus top: what the broker answers, twice, and what happened in between. A sample is data
 * only, its views are rows and columns; top_screen.c shows them on a terminal, top.c as plain
 * tables.
 */
#ifndef CLI_TOP_H
#define CLI_TOP_H

#include "cli/cli.h"

enum top_view_id { TOP_PEERS, TOP_TOPICS, TOP_SLOW, TOP_LOSSES, TOP_VIEWS };

struct top_view {
    const char *name;  /* as --view and the keys' line have it */
    const char *title; /* above its table */
    const struct cli_column *columns;
    size_t column_count;
    size_t sort; /* the column it is sorted by if nobody says otherwise */
};
extern const struct top_view top_views[TOP_VIEWS];

/* The view, or the column of a view, of that name; false: there is none. A column's name is its
 * title in lower case. */
bool top_find_view(const char *name, enum top_view_id *ret_view);
bool top_find_column(enum top_view_id view, const char *name, size_t *ret_column);

struct top_sample {
    int64_t at_ms;  /* steady */
    double seconds; /* what the rates are over; 0: nothing came before, there are none */
    json_t *status; /* with *_s rates beside the counters */
    json_t *rows[TOP_VIEWS];
};

/*
 * @status, @peers, @topics  the broker's answers, taken over also when this fails
 * @former                   the sample before; NULL: none
 * Returns 0, AICO_EPROTO (an answer is not what it should be), AICO_ENOMEM.
 */
int top_sample_init(struct top_sample *ret, json_t *status, json_t *peers, json_t *topics,
                    int64_t at_ms, const struct top_sample *former);
void top_sample_deinit(struct top_sample *sample);

/* How one view is looked at. */
struct top_order {
    size_t column;
    bool is_reversed;
};
/* The rows of a view in order: numbers from the greatest, texts from the first, equal ones by the
 * first column. A new array, NULL when out of memory. */
json_t *top_sorted(const struct top_sample *sample, enum top_view_id view,
                   const struct top_order *order);
/* Three lines about the whole broker. */
void top_write_head(FILE *to, const struct top_sample *sample);

struct top {
    struct cli *cli;
    int stop_fd;
    int64_t interval_ms;
    struct top_sample samples[2]; /* [0] is the newer one */
    enum top_view_id view;
    struct top_order orders[TOP_VIEWS];
};
/* Asks the broker; the sample that was the newer one becomes the older one. A code leaves both as
 * they are. */
int top_take_sample(struct top *top, struct aico_error *err);
/* Whether the next question may well be answered though this one got @code. */
bool top_may_come_back(int code);

/*
 * On the terminal, until `q`, a signal, or --count refreshes. 0 or a code; AICO_EINVAL when the
 * terminal cannot move its cursor.
 */
int top_screen_run(struct top *top, struct aico_error *err);

#endif
