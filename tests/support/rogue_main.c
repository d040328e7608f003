/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aico-rogue: hostile peers as a program, for tests/system.
 *
 *   stall ENDPOINT COUNT          opens COUNT connections, half of them with a part of a greeting,
 *                                 prints "open N", and keeps them until stdin ends
 *   flood ENDPOINT HOME NAME KIND SECONDS
 *                                 as the component NAME of HOME, sends full frames of small records
 *                                 of KIND (resolve, subscribe, publish, ping) as fast as they go;
 *                                 cut off, it comes again. Prints "sent N records in M sessions"
 *   parts ENDPOINT HOME NAME      as NAME, begins a message of parts that never ends, until it is
 * cut off. Prints "cut after N bytes"
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "crypto/identity.h"
#include "rogue.h"
#include "store/home.h"
#include "trust/registry.h"
#include "wire/record.h"

#define FRAME_SIZE 65000
#define PARTS_MAX ((size_t)512 * 1024 * 1024)

struct member {
    const char *endpoint, *name;
    struct identity *identity;
    struct registry *registry;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "aico-rogue: %s\n", what);
    exit(1);
}

static int64_t clock_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- strangers ------------------------------------------------------------------------------ */

static int stall(const char *endpoint, long count)
{
    static const uint8_t part[11] = {0xff, [9] = 0x7f, [10] = 3};
    struct rlimit files;
    long opened = 0;
    char byte;

    (void)getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    for (long i = 0; i < count; i++) {
        int fd = rogue_connect(endpoint);

        if (fd < 0)
            continue;
        opened++;
        if (i % 2)
            (void)!write(fd, part, sizeof(part));
    }
    (void)printf("open %ld\n", opened);
    (void)fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
    return 0;
}

/* --- a component ---------------------------------------------------------------------------- */

static void member_load(struct member *member, const char *home)
{
    struct aico_error err = {0};
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/identities/%s.key", home, member->name);
    if (crypto_start() < 0 || keyfile_open(path, NULL, &member->identity, &err) < 0 ||
        registry_load(home, member->name, bytes_text("aico"), &member->registry, &err) < 0)
        die(err.text);
}

static bool member_dial(const struct member *member, struct rogue *rogue)
{
    const struct rogue_keys keys = {registry_broker(member->registry)->transport,
                                    member->identity->transport_public,
                                    member->identity->transport_secret.at};

    return rogue_shake(rogue, rogue_connect(member->endpoint), &keys, NULL);
}

static bool say_hello(const struct member *member, struct rogue *rogue)
{
    static uint64_t instance;
    uint8_t room[512];
    struct writer w = writer_over(room, sizeof(room));

    writer_u8(&w, WIRE_VERSION);
    record_write_hello(
        &w, &(struct record_hello){
                .version = WIRE_VERSION,
                .instance = (uint64_t)getpid() << 32 | ++instance,
                .registry_version = registry_version(member->registry),
                .registry_hash = bytes_of(registry_hash(member->registry), REGISTRY_HASH_SIZE),
                .window = 4 * 1024 * 1024,
                .name = bytes_text(member->name),
                .software = bytes_text("rogue")});
    return rogue_send(rogue, 0, room, w.size);
}

/* One frame of small records; how many. */
static size_t fill(const char *kind, struct writer *w, uint64_t *id)
{
    size_t count = 0;

    writer_u8(w, WIRE_VERSION);
    for (; w->size < FRAME_SIZE; count++) {
        uint64_t next = ++*id;

        if (strcmp(kind, "resolve") == 0)
            record_write_resolve(w, next, bytes_text("flood/x"));
        else if (strcmp(kind, "publish") == 0)
            record_write_publish(w, &(struct record_publish){.id = next,
                                                             .topic_name = bytes_text("flood/x"),
                                                             .payload = bytes_text("AICO-MSG")});
        else if (strcmp(kind, "ping") == 0)
            record_write_ping(w, next);
        else if (next % 2) /* subscribe, and the end of it: every route is looked up anew */
            record_write_subscribe(
                w, &(struct record_subscribe){
                       .id = next,
                       .subscription = (uint32_t)next,
                       .filter = bytes_text(next % 4 == 1 ? "$bus/presence/*" : "flood/**")});
        else
            record_write_unsubscribe(w, next, (uint32_t)next - 1);
    }
    return count;
}

static int flood(struct member *member, const char *kind, long seconds)
{
    static uint8_t room[FRAME_SIZE_MAX];
    int64_t end = clock_ms() + seconds * 1000;
    size_t sent = 0, sessions = 0;

    while (clock_ms() < end) {
        struct rogue rogue = {.fd = -1};
        uint64_t id = 0;

        if (!member_dial(member, &rogue) || !say_hello(member, &rogue)) {
            rogue_close(&rogue);
            continue;
        }
        sessions++;
        while (clock_ms() < end && rogue_drain(rogue.fd)) {
            struct writer w = writer_over(room, sizeof(room));
            size_t count = fill(kind, &w, &id);

            if (!rogue_send(&rogue, 0, room, w.size))
                break;
            sent += count;
        }
        rogue_close(&rogue);
    }
    (void)printf("sent %zu records in %zu sessions\n", sent, sessions);
    return 0;
}

static int endless_parts(struct member *member)
{
    static uint8_t part[60000];
    struct rogue rogue = {.fd = -1};
    size_t sent = 0;

    if (!member_dial(member, &rogue) || !say_hello(member, &rogue))
        die("no handshake");
    while (sent < PARTS_MAX && rogue_send(&rogue, ROGUE_MORE, part, sizeof(part)))
        sent += sizeof(part);
    (void)printf("%s after %zu bytes\n", sent < PARTS_MAX ? "cut" : "not cut", sent);
    rogue_close(&rogue);
    return sent < PARTS_MAX ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct member member = {0};

    if (argc == 4 && strcmp(argv[1], "stall") == 0)
        return stall(argv[2], strtol(argv[3], NULL, 10));
    if (argc < 5)
        die("usage: see its source");
    member.endpoint = argv[2];
    member.name = argv[4];
    member_load(&member, argv[3]);
    if (argc == 7 && strcmp(argv[1], "flood") == 0)
        return flood(&member, argv[5], strtol(argv[6], NULL, 10));
    if (argc == 5 && strcmp(argv[1], "parts") == 0)
        return endless_parts(&member);
    die("usage: see its source");
}
