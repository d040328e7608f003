/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One component of the soak, with the public API alone.
 *
 *   aico-soak-worker HOME NAME RATE FILTER...   publishes RATE messages a second on soak/NAME and
 * reads the filters aico-soak-worker HOME NAME ping PEER        a round trip to PEER every 100 ms
 *
 * Every message carries the process that said it and a number that rises by 1. A reader holds each
 * sender to it: what lies between two numbers must have been reported as missing, no number comes
 * twice or late. What breaks that is a line `broken ...` at once; a line of totals is printed every
 * 10 s and at the end (SIGTERM). One thread; ends by itself only when the connection has ended for
 * good.
 */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <aico/client.h>

#define SENDERS_MAX 128
#define SAMPLES_MAX 100000 /* 2.7 hours of them */
#define WAIT_MS 10000      /* for room: a broker that is away longer than that is a failure */
#define PAYLOAD_SIZE 128

/* What we know of one sender. */
struct sender {
    char name[64];
    uint64_t process; /* of the message that came last */
    uint64_t number;
    uint64_t told; /* missing messages that were reported since */
};

static struct {
    uint64_t published, refused, received, told, broken;
} total;
static struct sender senders[SENDERS_MAX];
static size_t sender_count;
static volatile sig_atomic_t asked_to_end;

static void on_signal(int number)
{
    (void)number;
    asked_to_end = 1;
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct sender *sender_of(const char *name)
{
    for (size_t i = 0; i < sender_count; i++)
        if (strcmp(senders[i].name, name) == 0)
            return &senders[i];
    if (sender_count == SENDERS_MAX || strlen(name) >= sizeof(senders[0].name))
        abort();
    (void)strcpy(senders[sender_count].name, name);
    return &senders[sender_count++];
}

static void broken(const char *what, const struct sender *s, uint64_t number)
{
    total.broken++;
    (void)printf("broken %s: %s %" PRIx64 ": %" PRIu64 " after %" PRIu64 ", %" PRIu64 " told\n",
                 what, s->name, s->process, number, s->number, s->told);
}

static void on_event(const struct aico_message *m)
{
    struct sender *s = sender_of(m->sender);
    uint64_t process, number;

    total.received++;
    if (m->size != PAYLOAD_SIZE ||
        sscanf(m->payload, "%" SCNx64 " %" SCNu64, &process, &number) != 2) {
        broken("content", s, 0);
        return;
    }
    if (s->process == process) {
        if (number <= s->number)
            broken("order", s, number);
        else if (number - s->number - 1 > s->told)
            broken("unnamed loss", s, number);
    }
    /* The beginning of a process we did not hear from may have been before we came: nothing to hold
     * it to. */
    s->process = process;
    s->number = number;
    s->told = 0;
}

static void on_message(const struct aico_message *m)
{
    switch (m->kind) {
    case AICO_MESSAGE_EVENT:
        on_event(m);
        break;
    case AICO_MESSAGE_GAP:
    case AICO_MESSAGE_UNOPENED:
        total.told += m->count;
        if (m->sender[0])
            sender_of(m->sender)->told += m->count;
        break;
    case AICO_MESSAGE_REFUSED:
        total.refused++;
        (void)printf("refused %s: %s\n", m->topic, m->text);
        break;
    case AICO_MESSAGE_STATE:
        (void)printf("state %s\n", m->code ? aico_error_name(m->code) : "connected");
        break;
    default:
        break;
    }
}

static void report(void)
{
    (void)printf("total published %" PRIu64 " refused %" PRIu64 " received %" PRIu64
                 " told %" PRIu64 " broken %" PRIu64 "\n",
                 total.published, total.refused, total.received, total.told, total.broken);
    (void)fflush(stdout);
}

static int publish(struct aico_client *client, const char *topic, struct aico_error *err)
{
    static uint64_t process;
    char payload[PAYLOAD_SIZE] = {0};
    struct aico_publish_options options = {.wait_ms = WAIT_MS};
    int r;

    if (process == 0)
        process = (uint64_t)time(NULL) << 32 | (uint32_t)getpid();
    (void)snprintf(payload, sizeof(payload), "%" PRIx64 " %" PRIu64, process, total.published + 1);
    r = aico_publish(client, topic, payload, sizeof(payload), &options, NULL, err);
    if (r == 0)
        total.published++;
    return r;
}

/* Publishes what the rate asks for and reads what comes, until asked to end. */
static int talk(struct aico_client *client, const char *topic, double rate, struct aico_error *err)
{
    int64_t begun = now_ms(), reported = begun;
    uint64_t due = 0;
    int r = 0;

    while (r == 0 && !asked_to_end) {
        int64_t now = now_ms();
        struct aico_message *message = NULL;

        for (; r == 0 && due < (uint64_t)((double)(now - begun) * rate / 1000); due++)
            r = publish(client, topic, err);
        if (r < 0)
            break;
        r = aico_receive(client, rate > 0 ? 10 : 1000, &message, err);
        for (size_t i = 0; r == 0 && i < 200; i++) { /* then the rate's turn again */
            on_message(message);
            aico_message_free(&message);
            r = aico_receive(client, 0, &message, err);
        }
        if (r == 0) {
            on_message(message);
            aico_message_free(&message);
        }
        if (r == AICO_ETIMEOUT)
            r = 0;
        if (now - reported >= 10000) {
            reported = now;
            report();
        }
    }
    return r;
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static int pings(struct aico_client *client, const char *peer, struct aico_error *err)
{
    static uint32_t samples[SAMPLES_MAX];
    size_t count = 0, failed = 0;
    int r = 0;

    while (!asked_to_end && count < SAMPLES_MAX) {
        int64_t us;

        r = aico_ping(client, peer, 5000, &us, err);
        if (r == 0)
            samples[count++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
        else if (r == AICO_ETIMEOUT || r == AICO_EPEERAWAY)
            failed++;
        else
            break;
        (void)poll(NULL, 0, 100);
        r = 0;
    }
    qsort(samples, count, sizeof(samples[0]), ascending);
    if (count > 0)
        (void)printf("round trips %zu failed %zu p50 %" PRIu32 " p99 %" PRIu32 " max %" PRIu32 "\n",
                     count, failed, samples[count / 2], samples[count * 99 / 100],
                     samples[count - 1]);
    return r;
}

int main(int argc, char **argv)
{
    struct aico_client_options options = {.software = "soak", .wait_for_broker = true};
    const struct sigaction action = {.sa_handler = on_signal};
    struct aico_client *client = NULL;
    struct aico_error err = {0};
    char topic[80];
    int r;

    if (argc < 4) {
        (void)fprintf(stderr,
                      "usage: aico-soak-worker HOME NAME RATE FILTER... | HOME NAME ping PEER\n");
        return 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)sigaction(SIGTERM, &action, NULL);
    options.home = argv[1];
    options.identity = argv[2];
    (void)snprintf(topic, sizeof(topic), "soak/%s", argv[2]);
    r = aico_client_open(&options, 20000, &client, &err);
    if (r == 0 && strcmp(argv[3], "ping") == 0) {
        r = pings(client, argc > 4 ? argv[4] : "", &err);
    } else if (r == 0) {
        for (int i = 4; r == 0 && i < argc; i++)
            r = aico_subscribe(client, argv[i], NULL, 20000, &(uint32_t){0}, &err);
        if (r == 0)
            r = talk(client, topic, strtod(argv[3], NULL), &err);
        report();
    }
    if (r < 0)
        (void)printf("ended %s: %s\n", aico_error_name(r), err.text);
    (void)aico_client_close(&client, 5000, NULL);
    return asked_to_end ? 0 : aico_error_exit_status(r);
}
