/* SPDX-License-Identifier: Apache-2.0 */
/* bench-limits: what a message costs at least. One JSON object: nanoseconds of the passes over it,
 * by libsodium and as ours do them, and of moving it through a loopback connection in clear. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sodium.h>

#include "bench/machine.h"
#include "cipher/secretbox.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"

#define SIZE_MAX_BYTES 65536
#define WORK_NS 200000000 /* measured for so long */
#define ROUND_TRIPS 3000

enum pass {
    PASS_SEAL,     /* XChaCha20-Poly1305: end to end */
    PASS_OUR_SEAL, /* the same by the library */
    PASS_LINK,     /* XSalsa20-Poly1305: CURVE, at each end of both links */
    PASS_OUR_LINK, /* the same by our programs */
    PASS_HASH,     /* BLAKE2b: what proves the sender among two readers and more */
    PASS_OUR_HASH, /* the same by the library, of four texts at once */
};

static void hash_four(const unsigned char *text, size_t size, struct bytes key)
{
    uint8_t hashes[HASHES_AT_ONCE][HASH_SIZE];
    struct hash_input inputs[HASHES_AT_ONCE];

    for (size_t i = 0; i < HASHES_AT_ONCE; i++)
        inputs[i] = (struct hash_input){key, bytes_of(NULL, 0), bytes_of(text, size)};
    hash_tagged_many("bench", inputs, HASHES_AT_ONCE, hashes);
}

static void run(enum pass pass, const unsigned char *text, size_t size, unsigned char *to,
                const struct secret *key, unsigned char nonce[24])
{
    static const struct bytes none;

    switch (pass) {
    case PASS_SEAL:
        (void)crypto_aead_xchacha20poly1305_ietf_encrypt(to, NULL, text, size, NULL, 0, NULL, nonce,
                                                         key->at);
        return;
    case PASS_OUR_SEAL:
        aead_seal(key, nonce, none, none, bytes_of(text, size), to);
        return;
    case PASS_LINK:
        (void)crypto_secretbox_easy(to, text, size, nonce, key->at);
        return;
    case PASS_OUR_LINK:
        secretbox_seal(key, nonce + SECRETBOX_PREFIX_SIZE, text, size, to);
        return;
    case PASS_HASH:
        (void)crypto_generichash(to, 32, text, size, key->at, SECRET_SIZE);
        return;
    case PASS_OUR_HASH:
        hash_four(text, size, secret_view(key));
        return;
    }
}

static double pass_ns(enum pass pass, size_t size)
{
    static unsigned char text[SIZE_MAX_BYTES], result[SIZE_MAX_BYTES + 16];
    unsigned char nonce[24] = {2};
    struct secret key = {{1}};
    int64_t start_ns = machine_now_ns();
    uint64_t count = 0;

    for (; machine_now_ns() - start_ns < WORK_NS; count++) {
        nonce[0]++;
        run(pass, text, size, result, &key, nonce);
    }
    if (pass == PASS_OUR_HASH)
        count *= HASHES_AT_ONCE;
    return (double)(machine_now_ns() - start_ns) / (double)count;
}

static bool write_all(int fd, const unsigned char *at, size_t size)
{
    while (size > 0) {
        ssize_t done = write(fd, at, size);

        if (done <= 0)
            return false;
        at += done;
        size -= (size_t)done;
    }
    return true;
}

static bool read_all(int fd, unsigned char *at, size_t size)
{
    while (size > 0) {
        ssize_t done = read(fd, at, size);

        if (done <= 0)
            return false;
        at += done;
        size -= (size_t)done;
    }
    return true;
}

/* Two ends of a TCP connection over 127.0.0.1. */
static bool connect_pair(int ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int on = 1, server = socket(AF_INET, SOCK_STREAM, 0);

    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (server < 0 || ends[0] < 0 || bind(server, (struct sockaddr *)&address, size) < 0 ||
        listen(server, 1) < 0 || getsockname(server, (struct sockaddr *)&address, &size) < 0 ||
        connect(ends[0], (struct sockaddr *)&address, size) < 0)
        return false;
    ends[1] = accept(server, NULL, NULL);
    (void)close(server);
    return ends[1] >= 0 && setsockopt(ends[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
           setsockopt(ends[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0;
}

/* There and back between two processes, and the time of one way in a stream of pieces of 64 KiB. */
static bool loopback_ns(double *ret_round_trip, double *ret_stream)
{
    static unsigned char room[SIZE_MAX_BYTES];
    enum { PIECES = 4000 };
    int64_t start_ns;
    int ends[2];
    pid_t pid;

    if (!connect_pair(ends) || (pid = fork()) < 0)
        return false;
    if (pid == 0) {
        for (int i = 0; i < ROUND_TRIPS; i++)
            if (!read_all(ends[1], room, 64) || !write_all(ends[1], room, 64))
                _exit(1);
        for (int i = 0; i < PIECES; i++)
            if (!read_all(ends[1], room, sizeof(room)))
                _exit(1);
        _exit(write_all(ends[1], room, 1) ? 0 : 1);
    }
    start_ns = machine_now_ns();
    for (int i = 0; i < ROUND_TRIPS; i++)
        if (!write_all(ends[0], room, 64) || !read_all(ends[0], room, 64))
            return false;
    *ret_round_trip = (double)(machine_now_ns() - start_ns) / ROUND_TRIPS;
    start_ns = machine_now_ns();
    for (int i = 0; i < PIECES; i++)
        if (!write_all(ends[0], room, sizeof(room)))
            return false;
    if (!read_all(ends[0], room, 1))
        return false;
    *ret_stream = (double)(machine_now_ns() - start_ns) / PIECES;
    (void)close(ends[0]);
    (void)close(ends[1]);
    return waitpid(pid, NULL, 0) == pid;
}

int main(void)
{
    static const char *const names[] = {"seal", "our_seal", "link", "our_link", "hash", "our_hash"};
    static const size_t sizes[] = {64, 1024, 4096, 16384, SIZE_MAX_BYTES};
    double round_trip = 0, stream = 0;

    if (crypto_start() < 0 || !loopback_ns(&round_trip, &stream)) {
        (void)fputs("bench-limits: cannot measure\n", stderr);
        return EXIT_FAILURE;
    }
    (void)printf("{");
    for (enum pass pass = PASS_SEAL; pass <= PASS_OUR_HASH; pass++)
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
            (void)printf("\"%s_%zu_ns\":%.0f,", names[pass], sizes[i], pass_ns(pass, sizes[i]));
    (void)printf("\"loopback_round_trip_ns\":%.0f,\"loopback_65536_ns\":%.0f}\n", round_trip,
                 stream);
    return EXIT_SUCCESS;
}
