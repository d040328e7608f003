/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread of a client, and the turns that it or another driver does: who drives is the only one
 * that touches core and socket. A turn takes what the application asked for, what came and what is
 * due, gives the broker what it takes, and hands out the results.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "client/message.h"
#include "runtime/client.h"
#include "store/witness.h"
#include "wire/record.h"
#include "wire/topic.h"

/* One turn takes in and gives out at most so many frames: neither side waits long for the other. */
#define TURN_FRAMES_OUT 32
#define LINGER_MIN_MS 100
#define WILL_TEXT_MAX (12 * 1024) /* padded and sealed it is still below WILL_SIZE_MAX */

/* --- what the core asks for ------------------------------------------------------------------- */

static void on_deliver(void *context, struct aico_message *message)
{
    struct aico_client *c = context;

    inbox_put(&c->delivered, message);
}

static void keep_json(struct call *call, struct bytes json)
{
    call->json = malloc(json.size + 1);
    if (!call->json) {
        call->code = AICO_ENOMEM;
        (void)snprintf(call->text, sizeof(call->text), "out of memory");
        return;
    }
    bytes_copy(call->json, json);
    call->json[json.size] = '\0';
}

/* The application hears of it at the end of the turn, after the messages that came before. */
static void on_done(void *context, void *ticket, const struct client_answer *answer)
{
    struct aico_client *c = context;
    struct call *call = ticket;

    call->took_us = wait_clock_us() - call->started_us;
    call->code = answer->code;
    (void)snprintf(call->text, sizeof(call->text), "%s", answer->text ? answer->text : "");
    call->message = answer->message;
    call->subscription = answer->subscription;
    if ((call->kind == CALL_QUERY || call->kind == CALL_LEDGER) && answer->code == 0)
        keep_json(call, answer->json);
    call->next = c->answered;
    c->answered = call;
}

static int on_generation(void *context, uint64_t generation)
{
    struct aico_client *c = context;

    return generation_keep(c->home.config->home, c->home.identity->name, generation, NULL);
}

static int on_audit_head(void *context, struct bytes line, struct aico_error *err)
{
    struct aico_client *c = context;
    const struct registry *registry = client_registry(c->core);
    const struct component *broker = registry_broker(registry);

    return broker ? witness_keep(c->home.config->home, c->home.identity->name,
                                 registry_namespace(registry), broker->identity, line, err)
                  : 0;
}

static int on_chains(void *context, struct bytes chains)
{
    struct aico_client *c = context;

    return client_chains_keep(&c->home, chains, NULL);
}

static void on_registry(void *context, struct registry *registry)
{
    struct aico_client *c = context;
    struct aico_error err = {0};
    struct aico_message *message;
    char text[600];
    int r = registry_keep(c->home.config->home, c->home.identity->name, registry, &err);

    registry_unref(&c->accepted);
    c->accepted = registry_ref(registry);
    if (r == 0)
        r = client_reading_load(&c->home, registry, &err);
    if (r == 0)
        return;
    /* It is in force here all the same; only the next start may not know of it. */
    (void)snprintf(text, sizeof(text), "registry %" PRIu64 " is in force but cannot be kept: %s",
                   registry_version(registry), err.text);
    message =
        client_message_new(NULL, &(struct message_parts){.kind = AICO_MESSAGE_STATE, .text = text});
    if (!message)
        return;
    message->code = r;
    inbox_put(&c->delivered, message);
}

/* --- the link --------------------------------------------------------------------------------- */

static void note_failure(struct aico_client *c, int code, const char *text)
{
    client_lock(c);
    c->down_code = code;
    (void)snprintf(c->down_text, sizeof(c->down_text), "%s", text);
    client_unlock(c);
}

static void link_close(struct aico_client *c, int64_t linger_ms)
{
    dealer_close(&c->dealer, linger_ms);
    c->is_linked = false;
    c->is_blocked = false;
}

static void link_failed(struct aico_client *c, struct moment now, int code, const char *text)
{
    link_close(c, 0);
    note_failure(c, code, text);
    client_link_down(c->core, now, code, text);
}

/* The words by which owners named their successors, as far as the core has not heard them. */
static void offer_successions(struct aico_client *c, struct moment now)
{
    CLEANUP(registry_chain_deinit)
    struct registry_chain chain = {0};

    if (registry_chain_load(c->home.config->home, c->home.identity->name,
                            bytes_text(c->home.config->bus_namespace), &chain, NULL) < 0)
        return;
    for (size_t i = 0; i < chain.count; i++)
        if (registry_version(chain.items[i]) > registry_version(client_registry(c->core)))
            (void)!client_offer_registry(c->core, now, registry_document(chain.items[i]));
}

/* The home's file may be newer than what we hold, and name another key of the broker. */
static void look_at_registry(struct aico_client *c, struct moment now)
{
    CLEANUP(registry_unref)
    struct registry *found = NULL;

    if (!file_changed(c->registry_path, &c->registry_stamp) ||
        registry_load(c->home.config->home, c->home.identity->name,
                      bytes_text(c->home.config->bus_namespace), &found, NULL) < 0)
        return;
    if (memcmp(registry_owner(found), registry_owner(client_registry(c->core)), SIGN_PUBLIC_SIZE) !=
        0)
        offer_successions(c, now);
    (void)!client_offer_registry(c->core, now, registry_document(found));
}

static void dial(struct aico_client *c, struct moment now)
{
    struct dealer_settings settings = {
        .endpoint = c->home.endpoint,
        .my_public = c->home.identity->transport_public,
        .my_secret = &c->home.identity->transport_secret,
        .frame_size_max = FRAME_SIZE_MAX,
        .timeout_ms = c->home.config->handshake_timeout_ms,
    };
    const struct component *broker;
    struct aico_error err = {0};
    const char *text;
    int r;

    look_at_registry(c, now);
    if (client_is_ended(c->core, &r, &text)) /* revoked */
        return;
    broker = registry_broker(client_registry(c->core));
    if (!broker) {
        link_failed(c, now, AICO_EBROKERKEY,
                    "the registry names no active component of role " REGISTRY_ROLE_BROKER);
        return;
    }
    settings.broker_public = broker->transport;
    r = dealer_open(&settings, &c->dealer, &err);
    if (r < 0)
        link_failed(c, now, r, err.text);
}

/* Returns the time of the last one: each is judged by the time at which it was taken, also when the
 * process was stopped in between. */
static struct moment take_frames(struct aico_client *c, struct moment now, int count)
{
    struct bytes frame;

    for (int i = 0; i < count; i++) {
        if (dealer_receive(c->dealer, &frame) < 0)
            break;
        now = moment_now();
        if (client_receive(c->core, now, frame) < 0) { /* the core knows that it is over */
            const char *text;
            int code;

            if (client_is_ended(c->core, &code, &text))
                note_failure(c, code, text);
            link_close(c, 0);
            break;
        }
    }
    return now;
}

/* Returns the time for the rest of the turn. */
static struct moment handle_link(struct aico_client *c, struct moment now, unsigned events,
                                 int frames_max)
{
    struct aico_error err = {0};

    if (events & DEALER_UP) {
        c->is_linked = true;
        client_link_up(c->core, now);
    }
    if (events & DEALER_WRITABLE)
        c->is_blocked = false;
    if (events & DEALER_FRAME)
        now = take_frames(c, now, frames_max);
    if (c->dealer && events & DEALER_DOWN) {
        int code = dealer_reason(c->dealer, &err);

        if (code == AICO_EUNKNOWN || code == AICO_EREVOKED) /* perhaps the home knows why */
            look_at_registry(c, now);
        link_failed(c, now, code, err.text);
    }
    return now;
}

/* Whether more could be sent at once. */
static bool give_frames(struct aico_client *c, struct moment now)
{
    struct bytes frame;

    if (!c->is_linked)
        return false;
    for (int i = 0; i < TURN_FRAMES_OUT; i++) {
        int r;

        if (c->is_blocked || !client_next_frame(c->core, now, &frame))
            return false;
        r = dealer_send(c->dealer, frame);
        if (r == AICO_ENOMEM) {
            link_failed(c, now, r, "no memory for a frame to the broker");
            return false;
        }
        if (r < 0) {
            c->is_blocked = true; /* until there is room; a link that is down says so itself */
            return false;
        }
        client_frame_sent(c->core, now);
        c->has_sent = true;
    }
    return true;
}

/* --- the application ------------------------------------------------------------------------ */

static void answer_ledger(struct aico_client *c, struct call *call)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct client_answer answer = {.code = client_ledger(c->core, &text), .text = "out of memory"};

    answer.json = buffer_view(&text);
    on_done(c, call, &answer);
}

static void start_call(struct aico_client *c, struct moment now, struct call *call)
{
    call->started_us = wait_clock_us();
    switch (call->kind) {
    case CALL_SUBSCRIBE:
        client_subscribe(c->core, now, call->subject, call->policy, call->serve, call->queue,
                         call->timeout_ms, call);
        return;
    case CALL_FOLLOW:
        client_follow(c->core, now, &call->follow, call->timeout_ms, call);
        return;
    case CALL_UNSUBSCRIBE:
        client_unsubscribe(c->core, now, call->subscription, call->timeout_ms, call);
        return;
    case CALL_REQUEST:
        client_request(c->core, now, call->subject, call->body, call->timeout_ms, call);
        return;
    case CALL_QUERY:
        client_query(c->core, now, call->subject, call->body, call->timeout_ms, call);
        return;
    case CALL_PING:
        client_ping(c->core, now, call->subject, call->timeout_ms, call);
        return;
    case CALL_FLUSH:
        client_flush(c->core, now, call->last_id, call->timeout_ms, call);
        return;
    case CALL_LEDGER:
        answer_ledger(c, call);
        return;
    }
}

/* Unread messages: from the limit on no further ones are asked for, until half of it was read. */
static bool is_backlogged(const struct aico_client *c)
{
    return c->inbox.bytes >= (c->is_backlogged ? CLIENT_INBOX_LIMIT / 2 : CLIENT_INBOX_LIMIT);
}

/* What was asked since the last turn. Returns the time, which is not before any of it was asked. */
static struct moment take_orders(struct aico_client *c, struct moment now)
{
    struct fifo settled = {0}, read = {0}, missed = {0};
    const struct missed_place *place;
    struct verdict_given *verdict;
    const struct read_note *note;
    struct call *asked;
    bool was_backlogged;
    uint64_t taken;

    client_lock(c);
    c->is_woken = false;
    c->drive.is_due = false;
    fifo_splice(&c->orders, &c->queue);
    fifo_splice(&settled, &c->settled);
    fifo_splice(&read, &c->read);
    fifo_splice(&missed, &c->missed);
    c->core_bytes += c->orders.bytes;
    c->unsent += c->orders.count;
    if (c->orders.count > 0 && c->unsent > 1)
        c->drive.alone = 0;
    else if (c->orders.count == 1)
        c->drive.alone = MIN(c->drive.alone + 1, (unsigned)CLIENT_CALM_TURNS);
    asked = c->asked;
    c->asked = NULL;
    c->asked_end = &c->asked;
    was_backlogged = c->is_backlogged;
    c->is_backlogged = is_backlogged(c);
    taken = c->taken;
    c->is_last_turn = c->is_closing;
    client_unlock(c);

    if (taken > c->told_taken) {
        c->told_taken = taken;
        client_taken(c->core, now, taken);
    }

    if (c->is_backlogged != was_backlogged)
        client_set_backlogged(c->core, c->is_backlogged);
    if (c->orders.count > 0)
        client_push(c->core, &c->orders);
    while ((verdict = fifo_front(&settled, NULL)) != NULL) {
        client_settle(c->core, verdict->subscription, verdict->number, verdict->code,
                      bytes_of(verdict->reason, verdict->reason_size));
        fifo_pop(&settled);
    }
    fifo_deinit(&settled);
    while ((note = fifo_front(&read, NULL)) != NULL) {
        client_read(c->core, now, note);
        fifo_pop(&read);
    }
    fifo_deinit(&read);
    while ((place = fifo_front(&missed, NULL)) != NULL) {
        client_missed_taken(c->core, place);
        fifo_pop(&missed);
    }
    fifo_deinit(&missed);
    if (asked)
        now = moment_now();
    while (asked) {
        struct call *next = asked->next;

        start_call(c, now, asked);
        asked = next;
    }
    return now;
}

static void hand_out_messages(struct aico_client *c)
{
    if (!c->delivered.head)
        return;
    if (!c->inbox.head && c->is_watched)
        wake_signal(&c->ready);
    if (c->delivered.messages > CLIENT_BUSY_COUNT && c->delivered.bytes > CLIENT_BUSY_BYTES)
        c->drive.calm = 0;
    else
        c->drive.calm = MIN(c->drive.calm + 1, (unsigned)CLIENT_CALM_TURNS);
    inbox_splice(&c->inbox, &c->delivered);
    (void)pthread_cond_broadcast(&c->arrived);
}

static void hand_out_answers(struct aico_client *c)
{
    struct call *call;

    while ((call = c->answered) != NULL) {
        c->answered = call->next;
        call->is_done = true;
        (void)pthread_cond_signal(&call->is_done_cond);
    }
}

/* What the broker has answered for leaves the outbox. */
static void settle_outbox(struct aico_client *c)
{
    bool is_idle = client_queued(c->core) + client_unacknowledged(c->core) == 0;
    size_t bytes;

    if (!c->outbox)
        return;
    bytes = outbox_answered(c->outbox, client_answered_before(c->core), is_idle);
    client_lock(c);
    c->outbox_bytes -= bytes;
    client_unlock(c);
}

/* What the turn brought. Messages before answers: who flushed finds its refusals. */
static void hand_out(struct aico_client *c, bool has_more)
{
    client_lock(c);
    c->drive.is_possible = c->is_linked && client_is_ready(c->core);
    c->drive.has_more = has_more || c->is_blocked || (c->dealer && dealer_has_unsent(c->dealer));
    if (c->has_sent)
        c->drive.sent_us = wait_clock_us();
    c->has_sent = false;
    client_get_stats(c->core, &c->stats);
    c->unsent = client_queued(c->core);
    c->unacknowledged = client_unacknowledged(c->core);
    c->core_bytes = client_queued_bytes(c->core);
    if (c->accepted) {
        registry_unref(&c->registry);
        c->registry = STEAL(c->accepted);
    }
    if (!c->is_ready && client_is_ready(c->core)) {
        c->is_ready = true;
        (void)pthread_cond_broadcast(&c->changed);
    }
    hand_out_messages(c);
    hand_out_answers(c);
    /* Not for every bit of room in memory: who waits has many messages. */
    if (c->room_waiters > 0 &&
        (c->outbox || c->queue.bytes + c->core_bytes <= CLIENT_QUEUE_LIMIT / 2))
        (void)pthread_cond_broadcast(&c->has_room);
    client_unlock(c);
}

/* The thread serves no longer; everybody who waits is told why. From here on nothing new is asked:
 * is_over and what was asked are looked at under one lock. */
static void end(struct aico_client *c, int code, const char *text)
{
    struct call *asked;

    client_lock(c);
    asked = c->asked;
    c->asked = NULL;
    c->asked_end = &c->asked;
    c->is_over = true;
    c->drive.is_possible = false;
    c->over_code = code;
    (void)snprintf(c->over_text, sizeof(c->over_text), "%s", text);
    client_unlock(c);

    while (asked) {
        struct call *next = asked->next;

        on_done(c, asked, &(struct client_answer){.code = code, .text = c->over_text});
        asked = next;
    }
    client_free(&c->core); /* answers what is still open, and wipes */
    client_lock(c);
    hand_out_messages(c);
    hand_out_answers(c);
    wake_signal(&c->ready); /* and it stays readable: aico_receive() has something to say */
    (void)pthread_cond_broadcast(&c->changed);
    (void)pthread_cond_broadcast(&c->arrived);
    (void)pthread_cond_broadcast(&c->has_room);
    client_unlock(c);
}

/* --- closing ---------------------------------------------------------------------------------- */

enum closing { CLOSING_NOT, CLOSING_QUEUE, CLOSING_KEYS, CLOSING_LAST_WORDS, CLOSING_DONE };

static bool say_bye(struct aico_client *c)
{
    uint8_t room[64];
    struct writer w = writer_over(room, sizeof(room));
    struct record_bye bye = {.code = 0, .text = bytes_of("", 0)};

    writer_u8(&w, WIRE_VERSION);
    record_write_bye(&w, &bye);
    return dealer_send(c->dealer, writer_view(&w)) != AICO_EFULL;
}

/* Whether every reader that is there has the key of what we said, or time is over. */
static bool is_handed_over(struct aico_client *c, bool is_late)
{
    struct bytes name = bytes_of("", 0);

    c->keyless = client_keyless(c->core, &name);
    if (c->keyless > 0 && !is_late)
        return false;
    (void)snprintf(c->keyless_name, sizeof(c->keyless_name), "%.*s", (int)name.size, name.at);
    return true;
}

/* First what is queued, then its keys for who lacks them, then FINAL and HEADS for everybody, then
 * BYE; each as far as time allows. */
static enum closing step_closing(struct aico_client *c, struct moment now, enum closing closing)
{
    int64_t close_ms;
    bool is_late;

    if (closing == CLOSING_NOT && !c->is_last_turn)
        return closing; /* what was said, taken or settled just before is looked at first */
    if (closing == CLOSING_NOT)
        closing = CLOSING_QUEUE;
    client_finish(c->core);
    client_lock(c);
    close_ms = c->close_ms;
    client_unlock(c);
    is_late = wait_clock_ms() >= close_ms;

    if (closing == CLOSING_QUEUE &&
        (is_late || (client_queued(c->core) + client_unacknowledged(c->core) == 0 &&
                     !client_owes_receipts(c->core)))) {
        if (!client_is_ready(c->core))
            return CLOSING_DONE;
        if (!is_late)
            client_hand_over(c->core, now);
        closing = CLOSING_KEYS;
    }
    if (closing == CLOSING_KEYS && (is_handed_over(c, is_late) || !client_is_ready(c->core))) {
        client_close(c->core, now);
        closing = CLOSING_LAST_WORDS;
    }
    if (closing == CLOSING_LAST_WORDS) {
        while (give_frames(c, now))
            ;
        if (!c->is_linked)
            return CLOSING_DONE;
        if ((!c->is_blocked && say_bye(c)) || is_late)
            return CLOSING_DONE;
        c->is_blocked = true;
    }
    return closing;
}

/* --- turns ------------------------------------------------------------------------------------ */

/* How long who drives may wait, at most @limit_ms. */
static int64_t wait_ms(const struct aico_client *c, int64_t limit_ms)
{
    return MIN(limit_ms, MAX(c->due_ms - moment_now().boot_ms, (int64_t)0));
}

unsigned client_wait_for_events(struct aico_client *c, int64_t limit_ms, int64_t busy_us)
{
    struct pollfd wake = {.fd = c->wake.fd, .events = POLLIN};
    int64_t timeout_ms = wait_ms(c, limit_ms);

    if (c->dealer) {
        dealer_set_busy_poll(c->dealer, busy_us);
        return dealer_wait(c->dealer, c->wake.fd, timeout_ms);
    }
    if (poll(&wake, 1, (int)MIN(timeout_ms, (int64_t)INT32_MAX)) > 0)
        return DEALER_WOKEN;
    return DEALER_NONE;
}

unsigned client_wait_lending(struct aico_client *c, int64_t limit_ms)
{
    int64_t timeout_ms = wait_ms(c, limit_ms);
    struct pollfd interest;
    unsigned events, found;

    if (!c->is_linked || timeout_ms == 0 || c->drive.alone < CLIENT_CALM_TURNS)
        return client_wait_for_events(c, limit_ms, 0);
    events = dealer_look(c->dealer);
    if (events != DEALER_NONE)
        return events;
    interest = dealer_interest(c->dealer);
    client_lock(c);
    c->drive.is_asleep = true;
    client_unlock(c);
    found = dealer_sleep(interest, c->wake.fd, timeout_ms);
    client_lock(c);
    c->drive.is_asleep = false;
    while (c->drive.is_lent)
        (void)client_wait(c, &c->returned, MOMENT_NEVER);
    client_unlock(c);
    /* Whoever had it may have found the link lost. */
    return c->dealer ? dealer_slept(c->dealer, found) : DEALER_WOKEN;
}

static int64_t due_ms(struct aico_client *c, struct moment now, enum closing closing)
{
    int64_t due = client_deadline(c->core);

    if (closing != CLOSING_NOT) {
        client_lock(c);
        due = MIN(due, now.boot_ms + MAX(c->close_ms - wait_clock_ms(), (int64_t)0));
        client_unlock(c);
    }
    return due;
}

/* Returns the time for the rest of it. */
static struct moment begin_turn(struct aico_client *c, unsigned events, int frames_max)
{
    struct moment now = moment_now();

    if (events & DEALER_WOKEN)
        wake_clear(&c->wake);
    if (c->dealer)
        now = handle_link(c, now, events, frames_max);
    now = take_orders(c, now);
    if (now.boot_ms >= client_deadline(c->core))
        client_tick(c->core, now);
    return now;
}

static void end_turn(struct aico_client *c, struct moment now, bool has_more, enum closing closing)
{
    if (c->is_linked && !client_has_link(c->core))
        link_close(c, 0);
    settle_outbox(c);
    hand_out(c, has_more);
    c->due_ms = has_more ? now.boot_ms : due_ms(c, now, closing);
}

void client_turn(struct aico_client *c, unsigned events, int frames_max)
{
    struct moment now = begin_turn(c, events, frames_max);

    end_turn(c, now, give_frames(c, now), CLOSING_NOT);
}

void *client_thread(void *client)
{
    struct aico_client *c = client;
    enum closing closing = CLOSING_NOT;
    const char *text = "the client was closed";
    int64_t limit_ms = 0;
    int code = AICO_ECLOSED;

    for (;;) {
        unsigned events = client_wait_lending(c, limit_ms);
        struct moment now = begin_turn(c, events, CLIENT_TURN_FRAMES_IN);
        bool has_more;

        if (!c->dealer && client_wants_link(c->core, now))
            dial(c, now);
        has_more = give_frames(c, now);
        closing = step_closing(c, now, closing);
        if (closing == CLOSING_KEYS)
            has_more = give_frames(c, now);
        end_turn(c, now, has_more, closing);
        if (closing == CLOSING_DONE || client_is_ended(c->core, &code, &text))
            break;
        limit_ms = closing == CLOSING_NOT && client_park(c) ? 0 : INT32_MAX;
    }
    end(c, code, text);
    link_close(c, closing == CLOSING_DONE
                      ? MAX(c->close_ms - wait_clock_ms(), (int64_t)LINGER_MIN_MS)
                      : 0);
    return NULL;
}

/* --- life ----------------------------------------------------------------------------------- */

/* Nothing is on the disk before it is needed. */
static int open_kept(struct aico_client *c, struct aico_error *err)
{
    const char *home = c->home.config->home;

    c->kept =
        kept_new(home, c->home.identity->name, &kept_sessions, c->home.identity, c->home.former);
    c->replay =
        kept_new(home, c->home.identity->name, &kept_replay, c->home.identity, c->home.former);
    if (!c->kept || !c->replay)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    c->keeper = kept_keeper(c->kept);
    c->replay_keeper = kept_keeper(c->replay);
    return 0;
}

static int open_outbox(struct aico_client *c, const struct aico_client_options *options,
                       struct aico_error *err)
{
    int r = outbox_open(c->home.config->home, c->home.identity, c->home.former, c->home.generation,
                        moment_now(), &c->queue, &c->outbox, err);

    if (r < 0)
        return r;
    c->outbox_limit = options->outbox_limit > 0 ? options->outbox_limit : CLIENT_OUTBOX_LIMIT;
    c->next_id += outbox_restored(c->outbox, &c->outbox_bytes);
    return 0;
}

int client_thread_prepare(struct aico_client *c, const struct aico_client_options *options,
                          struct aico_error *err)
{
    struct client_settings settings =
        client_home_settings(&c->home, options->wait_for_broker || options->outbox);
    struct client_host host = {
        .context = c,
        .deliver = on_deliver,
        .done = on_done,
        .persist_generation = on_generation,
        .persist_chains = on_chains,
        .registry_changed = on_registry,
        .takes_bundles = true,
        .saw_audit_head = on_audit_head,
    };
    int r;

    r = open_kept(c, err);
    if (r < 0)
        return r;
    settings.session.keeper = &c->keeper;
    settings.replay = &c->replay_keeper;
    c->registry_path = home_path(c->home.config->home, "registry");
    if (!c->registry_path)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    (void)file_changed(c->registry_path, &c->registry_stamp);
    while (settings.instance == 0)
        random_system.bytes(random_system.context, &settings.instance, sizeof(settings.instance));
    c->instance = settings.instance;
    r = client_new(&settings, c->home.identity, c->home.registry, random_system, c->home.generation,
                   &host, moment_now(), &c->core, err);
    if (r == 0)
        r = client_chains_load(&c->home, c->core, moment_now(), err);
    if (r < 0)
        return r;
    if (options->will_topic && (!topic_is_valid(bytes_text(options->will_topic)) ||
                                topic_is_internal(bytes_text(options->will_topic))))
        return aico_error_set(err, AICO_ETOPIC, "will: \"%.255s\" is not a valid topic",
                              options->will_topic);
    if (options->will_topic && options->will_size > WILL_TEXT_MAX)
        return aico_error_set(err, AICO_ETOOLARGE, "will: %zu bytes, at most %d are possible",
                              options->will_size, WILL_TEXT_MAX);
    if (options->will_topic && client_set_will(c->core, bytes_text(options->will_topic),
                                               bytes_of(options->will, options->will_size)) < 0)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    /* What is in force now must be so after a restart, whatever becomes of the home's file. */
    r = registry_keep(c->home.config->home, c->home.identity->name, c->home.registry, err);
    if (r < 0)
        return r;
    c->registry = registry_ref(c->home.registry);
    return options->outbox ? open_outbox(c, options, err) : 0;
}

void client_thread_deinit(struct aico_client *c)
{
    dealer_close(&c->dealer, 0);
    fifo_deinit(&c->orders);
    client_free(&c->core);
    kept_free(&c->kept);
    kept_free(&c->replay);
    outbox_close(&c->outbox);
    inbox_deinit(&c->delivered);
    registry_unref(&c->accepted);
    free(c->registry_path);
    c->registry_path = NULL;
}
