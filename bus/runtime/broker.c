/* SPDX-License-Identifier: Apache-2.0 */
/* The broker at work: its loop, and the functions of <aico/broker.h>. */
#include "runtime/broker.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "wire/record.h"

/*
 * One turn takes in at most so much, and then gives out what links take of it: who only reads must
 * not fall behind because the broker would rather listen to those who publish.
 */
#define TURN_FRAMES_IN 256
#define TURN_BYTES_IN (1024u * 1024)
#define TURN_FRAMES_OUT 8192
#define WAIT_MAX_MS 200
#define DRAIN_SLACK_MS 300 /* for the BYEs, beyond drain_timeout */
#define LINGER_MS 500
#define PULSE_MS 250

/* --- log ------------------------------------------------------------------------------------ */

const char *aico_broker_event_name(enum aico_broker_event_kind kind)
{
    static const char *const names[] = {
        [AICO_BROKER_STARTING] = "starting",   [AICO_BROKER_READY] = "ready",
        [AICO_BROKER_CONNECTED] = "connected", [AICO_BROKER_LEFT] = "left",
        [AICO_BROKER_REFUSED] = "refused",     [AICO_BROKER_KICKED] = "kicked",
        [AICO_BROKER_DENIED] = "denied",       [AICO_BROKER_SLOW] = "slow",
        [AICO_BROKER_REGISTRY] = "registry",   [AICO_BROKER_LIMIT] = "limit",
        [AICO_BROKER_CONFIG] = "config",       [AICO_BROKER_RELOADED] = "reloaded",
        [AICO_BROKER_DRAINING] = "draining",   [AICO_BROKER_STOPPED] = "stopped",
        [AICO_BROKER_LOST] = "lost",           [AICO_BROKER_ADMIN] = "admin",
        [AICO_BROKER_ADDED] = "added",         [AICO_BROKER_ROTATED] = "rotated",
        [AICO_BROKER_REVOKED] = "revoked",     [AICO_BROKER_RETIRED] = "retired",
    };

    return (size_t)kind < COUNT_OF(names) && names[kind] ? names[kind] : "event";
}

void broker_say(struct aico_broker *b, enum aico_log_level level, enum aico_broker_event_kind kind,
                const char *component, const char *address, int code, const char *format, ...)
{
    char text[1024];
    struct aico_broker_event event = {
        .level = level,
        .kind = kind,
        .component = component ? component : "",
        .address = address ? address : "",
        .code = code,
        .text = text,
    };
    va_list args;

    if (!b->log && !b->audit)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (b->audit)
        audit_writer_note(b->audit, &event);
    if (b->log)
        b->log(b->log_context, &event);
}

static void pass_on_events(struct aico_broker *b)
{
    static const enum aico_broker_event_kind kinds[] = {
        [BROKER_EVENT_CONNECTED] = AICO_BROKER_CONNECTED,
        [BROKER_EVENT_LEFT] = AICO_BROKER_LEFT,
        [BROKER_EVENT_REFUSED] = AICO_BROKER_REFUSED,
        [BROKER_EVENT_KICKED] = AICO_BROKER_KICKED,
        [BROKER_EVENT_DENIED] = AICO_BROKER_DENIED,
        [BROKER_EVENT_SLOW] = AICO_BROKER_SLOW,
        [BROKER_EVENT_REGISTRY] = AICO_BROKER_REGISTRY,
        [BROKER_EVENT_LIMIT] = AICO_BROKER_LIMIT,
        [BROKER_EVENT_ADMIN] = AICO_BROKER_ADMIN,
        [BROKER_EVENT_EVENTS_LOST] = AICO_BROKER_LOST,
    };
    static const enum aico_log_level levels[] = {
        [BROKER_ERROR] = AICO_LOG_ERROR, [BROKER_WARNING] = AICO_LOG_WARNING,
        [BROKER_NOTICE] = AICO_LOG_INFO, [BROKER_INFO] = AICO_LOG_INFO,
        [BROKER_DEBUG] = AICO_LOG_DEBUG,
    };
    struct broker_event event;

    while (broker_next_event(b->core, &event))
        broker_say(b, levels[event.level], kinds[event.kind], event.name, event.address, event.code,
                   "%s", event.text);
}

static void say_audit_errors(struct aico_broker *b)
{
    struct aico_error error;

    if (!audit_writer_next_error(b->audit, &error))
        return;
    if (error.code == 0)
        broker_say(b, AICO_LOG_WARNING, AICO_BROKER_CONFIG, NULL, NULL, 0,
                   "the audit log is written again");
    else
        broker_say(
            b, AICO_LOG_ERROR, AICO_BROKER_CONFIG, NULL, NULL, error.code,
            "the audit log cannot be written, %s; what happens is kept in memory until it is full",
            error.text);
}

static void pass_on_head(struct aico_broker *b, struct moment now)
{
    uint8_t line[AUDIT_HEAD_MAX];
    size_t size = audit_writer_next_head(b->audit, line);

    if (size > 0)
        broker_set_audit_head(b->core, now, bytes_of(line, size));
}

/* --- input ---------------------------------------------------------------------------------- */

/* A link that gets no session is told why, as far as the transport takes it, and cut. */
static void turn_away(struct aico_broker *b, struct moment now, struct link *link, int code)
{
    uint8_t room[256];
    struct writer w = writer_over(room, sizeof(room));
    struct record_bye bye = {.code = (uint16_t)-code, .text = bytes_text(aico_error_string(code))};

    writer_u8(&w, WIRE_VERSION);
    record_write_bye(&w, &bye);
    if (!w.failed)
        (void)!router_send(b->router, link, writer_view(&w));
    router_cut(b->router, now, link);
}

/* The peer of a link's first frame; NULL when it was turned away. */
static struct broker_peer *welcome(struct aico_broker *b, struct moment now,
                                   const struct router_input *input)
{
    struct broker_peer *peer = NULL;
    struct bytes name;
    const uint8_t *identity;
    int code = AICO_EUNKNOWN;

    /* It may come with a registry that is newer than our last look. */
    b->look_ms = now.boot_ms;
    broker_look_at_registry(b, now, false);
    if (broker_find_pass(b, input->user_id, &name, &identity))
        peer = broker_peer_open(b->core, now, name, identity, input->address, input->link, &code);
    if (peer)
        link_set_owner(input->link, peer);
    else
        turn_away(b, now, input->link, code);
    return peer;
}

/* Whether more may be waiting. @events: of router_wait(). */
static bool take_input(struct aico_broker *b, struct moment now, unsigned events)
{
    size_t bytes = 0;

    if (!(events & ROUTER_INPUT))
        return false;
    for (size_t frames = 0; frames < TURN_FRAMES_IN && bytes < TURN_BYTES_IN; frames++) {
        struct router_input input;
        struct broker_peer *peer;

        if (router_receive(b->router, now, &input) < 0)
            return false;
        bytes += input.frame.size;
        peer = input.is_new ? welcome(b, now, &input) : link_owner(input.link);
        /* What it did wrong, it was told, and the core logs it. */
        if (peer)
            (void)broker_peer_receive(b->core, now, peer, input.frame);
    }
    return true;
}

static void let_go_of_lost_links(struct aico_broker *b, struct moment now)
{
    struct link *link;

    while (router_next_gone(b->router, now, &link)) {
        struct broker_peer *peer = link_owner(link);

        link_set_owner(link, NULL);
        if (peer)
            broker_peer_gone(b->core, now, peer);
    }
}

/* --- output --------------------------------------------------------------------------------- */

/* Whether more may be waiting for links that take it. */
static bool give_output(struct aico_broker *b, struct moment now)
{
    struct broker_peer *peer;
    struct bytes frame;
    struct link *link;

    while (router_next_writable(b->router, &link))
        if (link_owner(link))
            broker_peer_writable(b->core, link_owner(link));
    for (size_t frames = 0; frames < TURN_FRAMES_OUT; frames++) {
        if (!broker_next_frame(b->core, now, &peer, &frame))
            return false;
        if (router_send(b->router, broker_peer_cookie(peer), frame) == 0)
            broker_frame_sent(b->core, peer);
        else /* full, or gone: then router_next_gone() ends it */
            broker_frame_blocked(b->core, peer);
    }
    return true;
}

static void cut_kicked(struct aico_broker *b, struct moment now)
{
    struct broker_peer *peer;
    int code;

    while (broker_next_kick(b->core, now, &peer, &code))
        router_cut(b->router, now, broker_peer_cookie(peer));
}

/* --- what time and people ask for ----------------------------------------------------------- */

static void start_draining(struct aico_broker *b, struct moment now)
{
    int64_t timeout_ms = b->home.config->drain_timeout_ms;
    struct broker_totals totals;

    broker_get_totals(b->core, &totals);
    b->is_draining = true;
    b->drain_end_ms = now.boot_ms + timeout_ms + DRAIN_SLACK_MS;
    broker_say(b, AICO_LOG_INFO, AICO_BROKER_DRAINING, NULL, NULL, 0,
               "%zu components connected, %" PRIu64 " messages held", totals.peers,
               totals.by_topic.queued);
    broker_drain(b->core, now, timeout_ms);
}

static void answer_drain(struct aico_broker *b, struct moment now, const struct broker_ask *ask)
{
    CLEANUP(buffer_deinit)
    struct buffer answer = {0};
    struct broker_totals totals;
    struct json json = json_over(&answer);

    broker_get_totals(b->core, &totals);
    json_open_object(&json, NULL);
    json_put_bool(&json, "draining", true);
    json_put_u64(&json, "components", totals.peers);
    json_put_u64(&json, "held", totals.by_topic.queued);
    json_put_i64(&json, "timeout_s", b->home.config->drain_timeout_ms / 1000);
    json_close_object(&json);
    broker_answer_ask(b->core, now, ask, buffer_view(&answer));
    if (!b->is_draining)
        start_draining(b, now);
}

/* What components with role admin ask for. */
static void answer_asks(struct aico_broker *b, struct moment now)
{
    struct broker_ask ask;

    while (broker_next_ask(b->core, &ask)) {
        CLEANUP(buffer_deinit)
        struct buffer answer = {0};

        if (ask.act == BROKER_DRAIN) {
            answer_drain(b, now, &ask);
            continue;
        }
        (void)broker_reload(b, now, &answer); /* the answer says how it went */
        broker_answer_ask(b->core, now, &ask, buffer_view(&answer));
    }
}

static void give_metrics(struct aico_broker *b, struct moment now)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};

    if (metrics_wanted(b->metrics) && broker_metrics(b->core, now, &text) == 0)
        metrics_give(b->metrics, &text);
}

static bool is_over(const struct aico_broker *b, struct moment now)
{
    return b->is_draining &&
           (broker_is_drained(b->core) || now.boot_ms >= b->drain_end_ms || b->stops > 1);
}

/* --- loop ----------------------------------------------------------------------------------- */

/* How long the loop may wait when nothing more is at hand. */
static int64_t wait_ms(const struct aico_broker *b, struct moment now)
{
    int64_t until = MIN(b->look_ms, now.boot_ms + WAIT_MAX_MS);

    until = MIN(until, broker_deadline(b->core));
    until = MIN(until, router_deadline(b->router));
    if (b->is_draining)
        until = MIN(until, b->drain_end_ms);
    return MAX(until - now.boot_ms, (int64_t)0);
}

/* One turn after @events of router_wait(); returns how long to wait for the next. */
static int64_t turn(struct aico_broker *b, struct moment now, unsigned events)
{
    bool has_more;

    if (atomic_exchange(&b->reload, false))
        (void)broker_reload(b, now, NULL); /* the log says how it went */
    if (b->stops && !b->is_draining)
        start_draining(b, now);
    broker_look_at_registry(b, now, false);

    has_more = take_input(b, now, events);
    if (now.boot_ms >= broker_deadline(b->core))
        broker_tick(b->core, now);
    has_more |= broker_work(b->core, now);
    let_go_of_lost_links(b, now);
    answer_asks(b, now);
    has_more |= broker_exchange_orders(b, now);
    has_more |= give_output(b, now);
    cut_kicked(b, now);
    give_metrics(b, now);
    pass_on_events(b);
    say_audit_errors(b);
    pass_on_head(b, now);
    broker_say_refusals(b, now);
    return has_more ? 0 : wait_ms(b, now);
}

/* Not with the lock held: who is called may ask for the status. */
static void tell_pulse(struct aico_broker *b, struct moment now)
{
    struct broker_totals totals;
    struct aico_broker_pulse pulse;

    if (!b->pulse || now.boot_ms < b->pulse_ms)
        return;
    b->pulse_ms = now.boot_ms + PULSE_MS;
    broker_get_totals(b->core, &totals);
    pulse = (struct aico_broker_pulse){
        .components = totals.peers,
        .published = totals.published + totals.direct,
        .delivered = totals.by_topic.delivered + totals.to_one.delivered,
        .queued = totals.by_topic.queued,
    };
    b->pulse(b->pulse_context, &pulse);
}

int aico_broker_run(struct aico_broker *b, struct aico_error *err)
{
    struct broker_totals totals;
    int64_t timeout_ms = 0;

    (void)err;
    for (;;) {
        unsigned events = router_wait(b->router, b->wake.fd, timeout_ms);
        struct moment now;

        if (events & ROUTER_WOKEN)
            wake_clear(&b->wake);
        (void)pthread_mutex_lock(&b->lock);
        now = moment_now();
        timeout_ms = turn(b, now, events);
        (void)pthread_mutex_unlock(&b->lock);
        tell_pulse(b, now);
        if (is_over(b, now))
            break;
    }
    broker_get_totals(b->core, &totals);
    broker_say(
        b, AICO_LOG_INFO, AICO_BROKER_STOPPED, NULL, NULL, 0,
        "%" PRIu64 " published, %" PRIu64 " delivered, %" PRIu64 " refused, %" PRIu64 " still held",
        totals.published + totals.direct, totals.by_topic.delivered + totals.to_one.delivered,
        totals.refused, totals.by_topic.queued);
    return 0;
}

/* --- life ----------------------------------------------------------------------------------- */

static void say_ready(struct aico_broker *b)
{
    char list[900] = "";
    size_t size = 0;

    for (size_t i = 0; i < b->endpoint_count && size < sizeof(list); i++)
        size += (size_t)snprintf(list + size, sizeof(list) - size, "%s%s", i > 0 ? ", " : "",
                                 b->endpoints[i]);
    broker_say(b, AICO_LOG_INFO, AICO_BROKER_READY, NULL, NULL, 0, "%s", list);
}

int aico_broker_open(const struct aico_broker_options *options, struct aico_broker **ret_broker,
                     struct aico_error *err)
{
    CLEANUP(aico_broker_close)
    struct aico_broker *b = calloc(1, sizeof(*b));
    int r;

    if (!b || pthread_mutex_init(&b->lock, NULL) != 0) {
        free(STEAL(b));
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    }
    b->lock_fd = b->wake.fd = -1;
    b->next_serial = 1;
    b->log = options->log;
    b->log_context = options->log_context;
    b->pulse = options->pulse;
    b->pulse_context = options->pulse_context;
    r = broker_inherit(b, options, err);
    if (r < 0)
        return r;
    if (wake_open(&b->wake) < 0)
        return aico_error_set(err, AICO_ESYSTEM, "no descriptor left");
    r = broker_home_load(options, &b->home, err);
    if (r == 0)
        r = broker_start(b, err);
    if (r < 0)
        return r;
    say_ready(b);
    *ret_broker = STEAL(b);
    return 0;
}

int aico_broker_check(const struct aico_broker_options *options, struct aico_error *err)
{
    CLEANUP(broker_home_deinit)
    struct broker_home home = {0};

    return broker_home_load(options, &home, err);
}

const char *aico_broker_endpoint(const struct aico_broker *b, size_t index)
{
    return index < b->endpoint_count ? b->endpoints[index] : NULL;
}

enum aico_log_level aico_broker_log_level(const struct aico_broker *b)
{
    return (enum aico_log_level)b->home.config->log_level;
}

void aico_broker_stop(struct aico_broker *b)
{
    (void)atomic_fetch_add(&b->stops, 1);
    wake_signal(&b->wake);
}

void aico_broker_reload(struct aico_broker *b)
{
    atomic_store(&b->reload, true);
    wake_signal(&b->wake);
}

int aico_broker_status(struct aico_broker *b, const char *what, const char *filter, char **ret_json)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    int r;

    (void)pthread_mutex_lock(&b->lock);
    r = broker_status_json(b->core, moment_now(), bytes_text(what),
                           bytes_text(filter ? filter : ""), &text);
    (void)pthread_mutex_unlock(&b->lock);
    if (r == 0)
        r = buffer_append(&text, bytes_of("", 1));
    if (r < 0)
        return r;
    *ret_json = (char *)STEAL(text.at);
    return 0;
}

void aico_broker_close(struct aico_broker **broker)
{
    struct aico_broker *b = *broker;

    if (!b)
        return;
    metrics_stop(&b->metrics);
    router_free(&b->router, LINGER_MS);
    broker_stop_store(b);
    audit_writer_stop(&b->audit);
    broker_remove_sockets(b); /* while the home is still locked */
    broker_close_inherited(b);
    broker_free(&b->core);
    broker_free_passes(b);
    for (size_t i = 0; i < b->endpoint_count; i++)
        free(b->endpoints[i]);
    free(b->endpoints);
    free(b->registry_path);
    aico_config_free(&b->started);
    broker_home_deinit(&b->home);
    wake_close(&b->wake);
    fd_close(&b->lock_fd);
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
    *broker = NULL;
}
