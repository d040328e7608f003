/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who turns the client's wheel. Usually its own thread; but an application thread that waits for a
 * message or an answer has nothing else to do, and what one thread hands to another costs two
 * switches. So who waits drives: the thread parks, and from then on frames are read, opened and
 * taken by one and the same thread, which also sends what it publishes.
 *
 * One drives at a time, and owns what struct aico_client has for the driver; `drive` changes under
 * the lock only. The thread gives the drive to the one application thread that waits, and that one
 * lets go of it when it waits no longer. While nobody drives, either somebody takes it for a wait
 * or a call, or the thread does: at once when there is something to do that cannot wait, else when
 * nobody has driven for GRACE_MS. So whatever the application does, the client is never left alone
 * for longer.
 *
 * Not driven by the application: while several threads wait (who is ready would have to wake the
 * next), when messages come in numbers (two threads do more then), with an outbox (each message
 * waits for the disk anyway), and once aico_client_fd() was asked for (who polls expects that
 * messages come by themselves).
 */
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "runtime/client.h"

#define GRACE_MS 2
/* Who publishes so short a time after something was sent may be about to publish in numbers. */
#define BURST_US 50

/* An application thread that waits and would drive; lives on its stack. */
struct candidate {
    pthread_cond_t *cond;
    bool has_drive; /* it was given to it */
};

int drive_open(struct drive *ret_drive)
{
    ret_drive->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (ret_drive->timer_fd < 0)
        return AICO_ESYSTEM;
    return wake_open(&ret_drive->wake);
}

void drive_close(struct drive *drive)
{
    fd_close(&drive->timer_fd);
    wake_close(&drive->wake);
}

const struct wake *client_who_drives(const struct aico_client *c)
{
    return c->drive.is_taken ? &c->wake : &c->drive.wake;
}

void client_wake_later(struct aico_client *c)
{
    if (c->drive.is_taken)
        client_wake(c);
    else
        c->drive.is_due = true;
}

void client_wake_driver(struct aico_client *c)
{
    if (!c->drive.is_taken)
        client_wake(c);
}

/* Whether an application thread may drive at all now. */
static bool is_drivable(const struct aico_client *c)
{
    return c->drive.is_possible && !c->is_closing && !c->is_over && !c->outbox && !c->is_watched &&
           c->drive.calm >= CLIENT_CALM_TURNS && c->room_waiters == 0;
}

/* --- letting go ------------------------------------------------------------------------------- */

/* Nobody drives: whether that must not be so for GRACE_MS. */
static bool is_urgent(const struct aico_client *c)
{
    return !is_drivable(c) || c->is_woken || c->drive.has_more || c->waiters > 0;
}

static void arm(struct aico_client *c, int64_t ms)
{
    struct itimerspec when = {.it_value.tv_nsec = (long)(ms * 1000000)};

    if (c->drive.is_armed)
        return;
    c->drive.is_armed = true;
    (void)timerfd_settime(c->drive.timer_fd, 0, &when, NULL);
}

/* An application thread will wait. When it does so for longer than the timer, that wakes the thread
 * in vain, which costs more than to stop it: two switches. Two calls for each message that comes at
 * once would cost more, so it is stopped only if the last wait was a long one. */
static void take(struct aico_client *c)
{
    static const struct itimerspec never;

    c->drive.taken_ms = wait_clock_ms();
    if (!c->drive.is_paced || !c->drive.is_armed)
        return;
    c->drive.is_armed = false;
    (void)timerfd_settime(c->drive.timer_fd, 0, &never, NULL);
}

static void let_go(struct aico_client *c)
{
    c->drive.is_taken = false;
    c->drive.left_ms = wait_clock_ms();
    if (is_urgent(c))
        wake_signal(&c->drive.wake);
    else
        arm(c, GRACE_MS);
}

/* --- the thread ----------------------------------------------------------------------------- */

/* Whether the drive was given away. */
static bool give_drive(struct aico_client *c)
{
    struct candidate *candidate = c->drive.candidate;

    if (!candidate || !is_drivable(c) || c->is_woken || c->waiters != 1)
        return false;
    c->drive.candidate = NULL;
    candidate->has_drive = true;
    (void)pthread_cond_broadcast(candidate->cond);
    return true;
}

/* How long the thread may stay parked; 0: it has to drive. */
static int64_t parked_ms(const struct aico_client *c)
{
    if (c->drive.is_taken)
        return GRACE_MS;
    return is_urgent(c) ? 0 : MAX(GRACE_MS - (wait_clock_ms() - c->drive.left_ms), (int64_t)0);
}

static void wait_parked(struct aico_client *c)
{
    struct pollfd fds[] = {{.fd = c->drive.timer_fd, .events = POLLIN},
                           {.fd = c->drive.wake.fd, .events = POLLIN}};
    uint64_t count;

    client_unlock(c);
    (void)poll(fds, COUNT_OF(fds), -1);
    client_lock(c);
    wake_clear(&c->drive.wake);
    if (read(c->drive.timer_fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        c->drive.is_armed = false;
}

bool client_park(struct aico_client *c)
{
    bool was_given;
    int64_t ms;

    client_lock(c);
    was_given = give_drive(c);
    c->drive.is_parked = was_given;
    while (c->drive.is_parked && (ms = parked_ms(c)) > 0) {
        if (!c->drive.is_taken)
            arm(c, ms);
        wait_parked(c);
    }
    c->drive.is_parked = false;
    c->drive.is_taken = true;
    client_unlock(c);
    return was_given;
}

/* --- application threads -------------------------------------------------------------------- */

static bool is_awaited(const struct aico_client *c, const struct call *call)
{
    return call ? !call->is_done : !c->inbox.head;
}

/* The drive is the caller's. */
static void drive(struct aico_client *c, const struct call *call, int64_t deadline_ms)
{
    bool is_late = false;

    take(c);
    while (!is_late && is_awaited(c, call) && is_drivable(c)) {
        int64_t limit_ms = INT32_MAX;

        if (deadline_ms != MOMENT_NEVER)
            limit_ms = MAX(deadline_ms - wait_clock_ms(), (int64_t)0);
        is_late = limit_ms == 0;
        if (c->is_woken || c->drive.is_due)
            limit_ms = 0;
        client_unlock(c);
        client_turn(c, client_wait_for_events(c, limit_ms, c->home.config->busy_poll_us),
                    CLIENT_TURN_FRAMES_IN);
        client_lock(c);
    }
    c->drive.is_paced = wait_clock_ms() - c->drive.taken_ms >= GRACE_MS;
    let_go(c);
}

bool client_await(struct aico_client *c, const struct call *call, pthread_cond_t *cond,
                  int64_t deadline_ms)
{
    struct candidate me = {.cond = cond};
    bool is_alone = is_drivable(c) && c->waiters == 0, is_in_time = true;

    if (is_alone && !c->drive.is_taken) {
        c->drive.is_taken = true;
        me.has_drive = true;
    } else {
        if (is_alone && !c->drive.is_parked) {
            c->drive.candidate = &me;
            client_wake(c);
        }
        client_wake_driver(c);
        c->waiters++;
        is_in_time = client_wait(c, cond, deadline_ms);
        c->waiters--;
        if (c->drive.candidate == &me)
            c->drive.candidate = NULL;
    }
    if (me.has_drive) {
        drive(c, call, deadline_ms);
        is_in_time = deadline_ms == MOMENT_NEVER || wait_clock_ms() < deadline_ms;
    }
    return is_in_time;
}

/* Then the thread had better seal what comes while the first of it is on its way. */
static bool is_in_burst(const struct aico_client *c)
{
    return c->drive.alone < CLIENT_CALM_TURNS ||
           (c->unacknowledged > 0 && wait_clock_us() - c->drive.sent_us < BURST_US);
}

static bool may_send(const struct aico_client *c)
{
    return (!c->drive.is_taken || (c->drive.is_asleep && !c->drive.is_lent)) && is_drivable(c) &&
           !c->is_woken && !c->drive.has_more && c->waiters == 0 && !is_in_burst(c);
}

/* Sends, and looks: nobody else does so for a while. Of what came it takes one frame,
 * acknowledgements most likely; who only says something is not held up by more, which is left to
 * the thread. */
static void send_driving(struct aico_client *c)
{
    unsigned events;
    bool has_more;

    c->drive.is_taken = true;
    client_unlock(c);
    client_turn(c, DEALER_NONE, 0);
    events = c->dealer ? dealer_peek(c->dealer) : DEALER_NONE;
    if (events != DEALER_NONE)
        client_turn(c, events, 1);
    has_more = c->dealer && dealer_has_frame(c->dealer);
    client_lock(c);
    c->is_woken |= has_more;
    let_go(c);
}

/* The thread has the drive and sleeps; what comes wakes it. */
static void send_borrowing(struct aico_client *c)
{
    int64_t due_ms = c->due_ms;

    c->drive.is_lent = true;
    client_unlock(c);
    client_turn(c, DEALER_NONE, 0);
    client_lock(c);
    c->drive.is_lent = false;
    if (is_urgent(c) || c->due_ms < due_ms)
        wake_signal(&c->wake);
    (void)pthread_cond_signal(&c->returned);
}

void client_send(struct aico_client *c)
{
    if (!may_send(c))
        client_wake(c);
    else if (c->drive.is_taken)
        send_borrowing(c);
    else
        send_driving(c);
}
