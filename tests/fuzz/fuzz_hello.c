/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handshake messages from a hostile member. Input: u8 what, bytes.
 *
 *   what % 4   0 Hello1, 1 Hello2, 2 Hello3, 3 Refuse
 *   what & 4   signed (Hello1, Hello2) or confirmed (Hello2, Hello3) by whoever should have
 *   what & 8   the fixed fields in front are put right, so that the rest is reached
 *   what & 16  Resume1, or Resume2 with what & 1, instead
 *
 * Whatever comes: no crash, no channel unless both ends have the same keys, and an honest handshake
 * still succeeds afterwards.
 */
#include "fuzz.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/hex.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "session/resume.h"
#include "trust/document.h"

#define NOW_MS 1763668800000

static struct identity *dialer_self, *listener_self;
static struct registry *registry;
static struct session_settings settings;
static struct handshake_context at_dialer, at_listener;
static struct handshake_random random_d = {{{1}}, {2}}, random_l = {{{3}}, {4}};

static struct identity *make(const char *name, uint8_t n)
{
    const struct secret seed = {{n}};
    struct identity *identity = NULL;

    require(identity_new(name, &seed, 0, &identity) == 0);
    return identity;
}

static void add(struct registry_draft *draft, const struct identity *identity)
{
    require(registry_draft_add(draft, &(struct component_line){identity->name, identity->public,
                                                               identity->transport_public, "ui",
                                                               NOW_MS}) == 0);
}

static void start(void)
{
    static const struct secret owner_seed = {{7}};
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text("aico"));
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    uint8_t owner[SIGN_PUBLIC_SIZE];

    require(crypto_start() == 0);
    dialer_self = make("dialer", 1);
    listener_self = make("listener", 2);
    settings = session_settings_default();
    require(draft != NULL);
    add(draft, dialer_self);
    add(draft, listener_self);
    sign_public(&owner_seed, owner);
    require(registry_draft_sign(draft, &owner_seed, NOW_MS, &text) == 0);
    require(registry_parse(buffer_view(&text), owner, bytes_text("aico"), &registry, NULL) == 0);
    at_dialer = (struct handshake_context){&settings, dialer_self, registry, NULL};
    at_listener = (struct handshake_context){&settings, listener_self, registry, NULL};
}

struct attempt {
    struct moment now;
    struct guard *guard;
    struct dialer dialer;
    struct listener listener;
    uint8_t hello2[HELLO2_SIZE], hello3[HELLO3_SIZE];
    struct channel_keys at_d, at_l;
};

/* An honest handshake up to, not with, the message that is fuzzed. */
static void begin(struct attempt *a, unsigned kind)
{
    *a = (struct attempt){.now = {NOW_MS, 1000}, .guard = guard_new(60000)};
    require(a->guard != NULL);
    require(dialer_begin(&at_dialer, a->now, listener_self->public, &random_d, &a->dialer) == 0);
    if (kind == 0)
        return;
    require(listener_receive(&at_listener, a->now, a->guard, bytes_text("dialer"), 0,
                             bytes_of(a->dialer.hello1, HELLO1_SIZE), &random_l, &a->listener,
                             a->hello2) == 0);
    if (kind == 1)
        return;
    require(dialer_receive(&at_dialer, a->now, &a->dialer, bytes_of(a->hello2, HELLO2_SIZE),
                           &a->at_d, a->hello3) == 0);
}

static void sign_hello(uint8_t *hello, size_t size, const struct identity *by, const char *label)
{
    static const uint8_t namespace[] = "\4aico";

    require(sign_make(&by->seed, label, bytes_of(namespace, 5), bytes_of(hello, size),
                      hello + size) == 0);
}

static void fuzz_hello1(struct attempt *a, unsigned what, uint8_t *bytes, size_t size)
{
    bool is_used;
    int r;

    if (size == HELLO1_SIZE && (what & 8)) {
        memcpy(bytes, a->dialer.hello1, 8);
        memcpy(bytes + 40, a->dialer.hello1 + 40, 64);
    }
    if (size == HELLO1_SIZE && (what & 4))
        sign_hello(bytes, 168, dialer_self, "hello1");
    r = listener_receive(&at_listener, a->now, a->guard, bytes_text("dialer"), 0,
                         bytes_of(bytes, size), &random_l, &a->listener, a->hello2);
    if (r == 0)
        require(size == HELLO1_SIZE && memcmp(bytes + 72, dialer_self->public, 32) == 0);
    /* A key is used up by a signature that verified, and by nothing less. */
    is_used = (r == 0 || r == AICO_EEQUIVOCATION || r == AICO_EDH) &&
              memcmp(bytes + 104, a->dialer.hello1 + 104, 32) == 0;
    require(listener_receive(&at_listener, a->now, a->guard, bytes_text("dialer"), 0,
                             bytes_of(a->dialer.hello1, HELLO1_SIZE), &random_l, &a->listener,
                             a->hello2) == (is_used ? AICO_EREPLAY : 0));
}

static void fuzz_hello2(struct attempt *a, unsigned what, uint8_t *bytes, size_t size)
{
    bool same;

    if (size == HELLO2_SIZE && (what & 8))
        memcpy(bytes, a->hello2, 72);
    if (size == HELLO2_SIZE && (what & 4))
        sign_hello(bytes, 136, listener_self, "hello2");
    same = size == HELLO2_SIZE && memcmp(bytes, a->hello2, HELLO2_SIZE) == 0;
    require((dialer_receive(&at_dialer, a->now, &a->dialer, bytes_of(bytes, size), &a->at_d,
                            a->hello3) == 0) == same);
    if (!same)
        require(dialer_receive(&at_dialer, a->now, &a->dialer, bytes_of(a->hello2, HELLO2_SIZE),
                               &a->at_d, a->hello3) == 0);
}

static void fuzz_hello3(struct attempt *a, unsigned what, uint8_t *bytes, size_t size)
{
    bool same;

    if (size == HELLO3_SIZE && (what & 8))
        memcpy(bytes, a->hello3, 16);
    if (size == HELLO3_SIZE && (what & 4))
        mac(&a->listener.confirm_dialer, bytes_of(a->listener.transcript, HASH_SIZE), bytes + 16);
    same = size == HELLO3_SIZE && memcmp(bytes, a->hello3, HELLO3_SIZE) == 0;
    require((listener_confirm(&a->listener, a->now, bytes_of(bytes, size), &a->at_l) == 0) == same);
    if (!same)
        require(listener_confirm(&a->listener, a->now, bytes_of(a->hello3, HELLO3_SIZE),
                                 &a->at_l) == 0);
    require(memcmp(&a->at_d.send, &a->at_l.receive, sizeof(a->at_d.send)) == 0);
}

/* @bytes is taken only if it is what the other end would have sent with the nonce it has. */
static void fuzz_resume(unsigned what, uint8_t *bytes, size_t size)
{
    static const struct resume_secret from = {{1}, {{2}}};
    static const uint8_t nonce[RESUME_NONCE_SIZE] = {3};
    uint8_t resume1[RESUME_SIZE], resume2[RESUME_SIZE], honest[RESUME_SIZE] = {0};
    struct channel_keys keys = {0}, other = {0};
    bool is_second = what & 1;

    resume_ask(&from, nonce, resume1);
    require(resume_answer(&from, bytes_of(resume1, RESUME_SIZE), nonce, resume2, &other) == 0);
    if (size == RESUME_SIZE && (what & 8))
        memcpy(bytes, is_second ? resume2 : resume1, 16);
    if (size == RESUME_SIZE && is_second)
        memcpy(honest, resume2, RESUME_SIZE); /* we chose the nonce it answers */
    else if (size == RESUME_SIZE)
        resume_ask(&from, bytes + 16, honest);
    require(((is_second ? resume_finish(&from, resume1, bytes_of(bytes, size), &keys)
                        : resume_answer(&from, bytes_of(bytes, size), nonce, resume2, &keys)) ==
             0) == (size == RESUME_SIZE && memcmp(bytes, honest, RESUME_SIZE) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned what = size > 0 ? data[0] : 0;
    struct attempt a;
    struct refuse refuse;
    uint8_t *bytes;

    if (!registry)
        start();
    if (size == 0)
        return 0;
    bytes = copy_of(bytes_of(data + 1, --size));
    if (what & 16) {
        fuzz_resume(what, bytes, size);
        free(bytes);
        return 0;
    }
    begin(&a, what % 4);
    if (what % 4 == 0)
        fuzz_hello1(&a, what, bytes, size);
    else if (what % 4 == 1)
        fuzz_hello2(&a, what, bytes, size);
    else if (what % 4 == 2)
        fuzz_hello3(&a, what, bytes, size);
    else if (refuse_parse(bytes_of(bytes, size), &refuse) == 0)
        require(refuse.about.size == HASH_SIZE && refuse.code <= 0);
    guard_free(&a.guard);
    free(bytes);
    return 0;
}
