/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's message store: the real one, over a disk in memory (support/disk.h) that loses what
 * was not synced when the power is cut. Orders wait a random time for the disk, and what came of
 * them waits again for the broker's loop; the broker dies between any two of these.
 */
#include <sqlite3.h>
#include <utlist.h>

#include "broker/store.h"
#include "disk.h"
#include "runtime/store_orders.h"
#include "sim.h"
#include "store/streams.h"

/* streams_open() looks at the mode of a file of the real disk, which stays empty. */
static char path[] = "/tmp/aico-sim-XXXXXX";

static void unplug(void)
{
    (void)disk_end(path);
}

static void plug(void)
{
    static bool is_plugged;

    /* One thread, and nobody asks how much memory SQLite has. */
    if (!is_plugged && (sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) != SQLITE_OK ||
                        sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0) != SQLITE_OK))
        abort();
    if (!is_plugged && (disk_begin(path) < 0 || atexit(unplug) != 0))
        abort();
    is_plugged = true;
}

struct sim_store {
    struct streams *streams;
    struct store_hand hand;
    struct store_order *given, *done;
    int64_t work_ms, answer_ms;
};

bool store_is_due(const struct world *w, enum store_stage stage, int64_t *ret_due_ms)
{
    const struct sim_store *store = w->store;

    if (!store || !(stage == STORE_STAGE_WORK ? store->given : store->done))
        return false;
    *ret_due_ms = stage == STORE_STAGE_WORK ? store->work_ms : store->answer_ms;
    return true;
}

void store_format(struct world *w)
{
    if (!w->stores)
        return;
    plug();
    disk_format();
}

void store_start(struct world *w)
{
    struct aico_error err = {0};

    if (!w->stores)
        return;
    w->store = calloc(1, sizeof(*w->store));
    if (!w->store)
        abort();
    if (streams_open(path, &w->store->streams, &err) < 0)
        sim_fail(w, "the store does not open: %s", err.text);
    w->store->hand.streams = w->store->streams;
    w->store->hand.rows_max = w->seed % 2 ? 2 : 0; /* what is deleted takes several orders */
    w->counted_stored = 0;
}

/* What the core has ordered since. */
void store_take(struct world *w)
{
    struct sim_store *store = w->store;
    struct store_order *order;

    if (!store)
        return;
    while ((order = broker_next_order(w->broker)) != NULL) {
        if (!store->given)
            store->work_ms =
                w->now_ms + (dice_one(&w->dice, 3) ? (int64_t)dice_below(&w->dice, 40) : 0);
        DL_APPEND(store->given, order);
    }
}

/* BREAK_UNSTORED: one message is called stored, and is not. */
static struct store_order *take_away(struct world *w, struct store_order **list)
{
    struct store_order *order;

    if (w->options.breakage != BREAK_UNSTORED || w->broke)
        return NULL;
    DL_FOREACH(*list, order)
    if (order->kind == STORE_PUT)
        break;
    if (!order)
        return NULL;
    w->broke = true;
    DL_DELETE(*list, order);
    order->number = 1;
    return order;
}

/* BREAK_MAILBOX: no mailbox is ever full. */
static void open_mailboxes(const struct world *w, struct store_order *list)
{
    struct store_order *order;

    DL_FOREACH(list, order)
    if (w->options.breakage == BREAK_MAILBOX && order->kind == STORE_MAIL)
        order->limit = UINT64_MAX;
}

static void note_overfull(struct world *w, const struct store_order *list)
{
    const struct store_order *order;

    DL_FOREACH(list, order)
    w->broke |= w->options.breakage == BREAK_MAILBOX && order->kind == STORE_MAIL &&
                order->code == 0 && order->value > w->broker_settings.mailbox_limit;
}

static void work(struct world *w)
{
    struct sim_store *store = w->store;
    struct store_order *list = store->given, *away = take_away(w, &list);

    store->given = NULL;
    open_mailboxes(w, list);
    store_orders_carry_out(&store->hand, list);
    note_overfull(w, list);
    if (away)
        DL_PREPEND(list, away);
    if (!store->done)
        store->answer_ms =
            w->now_ms + (dice_one(&w->dice, 3) ? (int64_t)dice_below(&w->dice, 40) : 0);
    DL_CONCAT(store->done, list);
}

void store_work(struct world *w)
{
    work(w);
    sim_note(w, "store: works");
}

static bool is_message(const struct store_order *order)
{
    return order->kind == STORE_PUT || order->kind == STORE_MAIL || order->kind == STORE_VALUE;
}

/* The ledger of the broker and ours, of what the disk has said. */
static void count(struct world *w, const struct store_order *list)
{
    const struct store_order *order;

    DL_FOREACH(list, order)
    {
        if (order->code < 0 && order->kind != STORE_ASK && order->code != AICO_EQUOTA)
            sim_fail(w, "the store refuses an order (%d): %s", (int)order->kind, order->text);
        if (!is_message(order) || order->code < 0 || order->number == 0)
            continue;
        if (w->options.breakage == BREAK_BOOKS && !w->broke)
            w->broke = true;
        else
            w->counted_stored += order->count;
    }
}

void store_answer(struct world *w)
{
    struct store_order *list = w->store->done;

    w->store->done = NULL;
    sim_note(w, "store: answers");
    count(w, list);
    broker_orders_done(w->broker, broker_moment(w), list);
    w->broker_dirty = true;
}

static void orders_free(struct store_order **list)
{
    struct store_order *order, *next;

    DL_FOREACH_SAFE(*list, order, next)
    {
        DL_DELETE(*list, order);
        store_order_free(&order);
    }
}

/* With the broker, before the core is freed. What was on its way to the disk gets there, or not. */
void store_stop(struct world *w, enum store_end end)
{
    struct sim_store *store = w->store;

    if (!store)
        return;
    if (end == STORE_END_POWER)
        disk_cut_after(dice_below(&w->dice, 60));
    if (store->given && (end == STORE_END_ORDERLY || dice_one(&w->dice, 2)))
        work(w);
    orders_free(&store->given);
    orders_free(&store->done);
    streams_close(&store->streams);
    if (end == STORE_END_POWER) {
        disk_restore_power(dice_next(&w->dice));
        w->power_lost_step = w->step;
    }
    free(w->store);
    w->store = NULL;
}
