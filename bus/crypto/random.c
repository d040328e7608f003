/* SPDX-License-Identifier: Apache-2.0 */
/* Hedged randomness: good while the system's generator or the seed is. */
#include <assert.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "base/cleanup.h"
#include "base/writer.h"
#include "crypto/kdf.h"
#include "crypto/random.h"

#define PURPOSE_MAX 64

static void system_bytes(void *context, void *to, size_t size)
{
    (void)context;
    randombytes_buf(to, size);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now = {0};

    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void system_times(void *context, uint64_t *ret_real_ns, uint64_t *ret_boot_ns,
                         uint64_t *ret_pid)
{
    (void)context;
    *ret_real_ns = clock_ns(CLOCK_REALTIME);
    *ret_boot_ns = clock_ns(CLOCK_BOOTTIME);
    *ret_pid = (uint64_t)getpid();
}

const struct random_source random_system = {.bytes = system_bytes, .times = system_times};

void hedge_init(struct hedge *hedge, const struct secret *seed, struct random_source source)
{
    kdf(seed, "hedge", bytes_of(NULL, 0), &hedge->key);
    hedge->counter = 0;
    hedge->source = source;
}

void hedge_wipe(struct hedge *hedge)
{
    memory_wipe(hedge, sizeof(*hedge));
}

void fresh(struct hedge *hedge, const char *purpose, struct secret *ret_out)
{
    CLEANUP(secret_wipe)
    struct secret random;
    uint64_t real_ns, boot_ns, pid;
    char label[sizeof("fresh ") + PURPOSE_MAX] = "fresh ";
    uint8_t rest[32];
    struct writer w = writer_over(rest, sizeof(rest));

    assert(strlen(purpose) <= PURPOSE_MAX);
    memcpy(label + strlen("fresh "), purpose, strlen(purpose) + 1);
    hedge->source.bytes(hedge->source.context, random.at, SECRET_SIZE);
    hedge->source.times(hedge->source.context, &real_ns, &boot_ns, &pid);
    writer_u64(&w, real_ns);
    writer_u64(&w, boot_ns);
    writer_u64(&w, pid);
    writer_u64(&w, hedge->counter++);
    kdf2(&hedge->key, label, secret_view(&random), writer_view(&w), ret_out);
}
