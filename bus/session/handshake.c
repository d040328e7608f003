/* SPDX-License-Identifier: Apache-2.0 */
/* Hello1, Hello2, Hello3 and Refuse, sender and receiver of each side by side. One owner. */
#include "base/cleanup.h"
#include "base/reader.h"
#include "crypto/dh.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "session/handshake.h"
#include "session/prekey.h"

#define HANDSHAKE_SUITE 1
#define HELLO1_SIGNED 168
#define HELLO2_SIGNED 136
#define HELLO2_TRANSCRIPT 200 /* bytes of Hello2 in T: all but its confirmation */

/* The fields both Hellos begin with. */
struct hello {
    uint32_t policy;
    uint64_t time, version;
    struct bytes hash; /* of the registry */
};

void handshake_random_draw(struct hedge *hedge, struct handshake_random *ret_random)
{
    CLEANUP(secret_wipe)
    struct secret challenge;

    fresh(hedge, "ephemeral", &ret_random->ephemeral);
    fresh(hedge, "challenge", &challenge);
    memcpy(ret_random->challenge, challenge.at, sizeof(ret_random->challenge));
}

void handshake_random_wipe(struct handshake_random *random)
{
    memory_wipe(random, sizeof(*random));
}

void channel_keys_wipe(struct channel_keys *keys)
{
    memory_wipe(keys, sizeof(*keys));
}

void dialer_wipe(struct dialer *dialer)
{
    memory_wipe(dialer, sizeof(*dialer));
}

void listener_wipe(struct listener *listener)
{
    memory_wipe(listener, sizeof(*listener));
}

/* --- what both sides check and derive ------------------------------------------------------- */

static bool is_allowed(const struct session_settings *settings, const char *name)
{
    if (!settings->allowed_components)
        return true;
    for (size_t i = 0; i < settings->allowed_count; i++)
        if (strcmp(settings->allowed_components[i], name) == 0)
            return true;
    return false;
}

static int may_speak(const struct handshake_context *context, struct moment now,
                     const struct component *component, bool is_valid)
{
    const struct session_settings *settings = context->settings;

    if (!component)
        return AICO_EUNKNOWN;
    if (memcmp(component->identity, context->self->public, SIGN_PUBLIC_SIZE) == 0)
        return AICO_ESELF;
    if (!is_valid)
        return AICO_EREVOKED;
    if (!is_allowed(settings, component->name))
        return AICO_ENOTALLOWED;
    if (settings->registry_max_age_ms > 0 &&
        now.real_ms - registry_issued_ms(context->registry) > settings->registry_max_age_ms)
        return AICO_EREGISTRYSTALE;
    return 0;
}

int handshake_may_meet(const struct handshake_context *context, struct moment now,
                       const struct component *component)
{
    return may_speak(context, now, component,
                     component && component_is_active(context->registry, component, now.real_ms));
}

int handshake_may_have_written(const struct handshake_context *context, struct moment now,
                               const struct component *component)
{
    return may_speak(context, now, component,
                     component && mail_may_come(context->registry, now, component));
}

bool mail_may_come(const struct registry *registry, struct moment now,
                   const struct component *component)
{
    if (component_is_active(registry, component, now.real_ms))
        return true;
    return component->state != COMPONENT_REVOKED && component->replaced_until_ms != INT64_MAX &&
           now.real_ms - component->replaced_until_ms <= PREKEY_INIT_AGE_MS;
}

/* lp8(NS) */
static struct bytes namespace_bytes(const struct handshake_context *context,
                                    uint8_t to[1 + NAMESPACE_MAX])
{
    struct writer w = writer_over(to, 1 + NAMESPACE_MAX);

    writer_lp8(&w, context->settings->namespace);
    return writer_view(&w);
}

static void write_hello(struct writer *w, enum handshake_type type,
                        const struct handshake_context *context, struct moment now)
{
    writer_u8(w, HANDSHAKE_VERSION);
    writer_u8(w, (uint8_t)type);
    writer_u16(w, HANDSHAKE_SUITE);
    writer_u32(w, session_policy(context->settings));
    writer_u64(w, (uint64_t)now.real_ms);
    writer_u64(w, registry_version(context->registry));
    writer_bytes(w, bytes_of(registry_hash(context->registry), REGISTRY_HASH_SIZE));
}

/* Appends our signature of what @w holds. 0 or AICO_ENOMEM. */
static int sign_hello(const struct handshake_context *context, const char *label, struct writer *w)
{
    struct bytes hello = writer_view(w);
    uint8_t namespace[1 + NAMESPACE_MAX];

    return sign_make_as(&context->self->seed, context->self->public, label,
                        namespace_bytes(context, namespace), hello,
                        writer_reserve(w, SIGNATURE_SIZE));
}

/* Size, version, type and suite; @r then stands behind the registry hash. */
static int read_hello(struct bytes bytes, enum handshake_type type, size_t size, struct reader *r,
                      struct hello *ret_hello)
{
    *r = reader_over(bytes);
    if (bytes.size != size)
        return AICO_ESIZE;
    if (reader_u8(r) != HANDSHAKE_VERSION)
        return AICO_EVERSION;
    if (reader_u8(r) != type)
        return AICO_ETYPE;
    if (reader_u16(r) != HANDSHAKE_SUITE)
        return AICO_ESUITE;
    ret_hello->policy = reader_u32(r);
    ret_hello->time = reader_u64(r);
    ret_hello->version = reader_u64(r);
    ret_hello->hash = reader_bytes(r, REGISTRY_HASH_SIZE);
    return 0;
}

static int check_clock(const struct handshake_context *context, struct moment now, uint64_t time)
{
    uint64_t here = (uint64_t)now.real_ms;
    uint64_t apart = here > time ? here - time : time - here;

    return apart > (uint64_t)context->settings->synchrony_bound_ms ? AICO_ECLOCK : 0;
}

static int check_policy(const struct handshake_context *context, uint32_t policy)
{
    return policy != session_policy(context->settings) ? AICO_EPOLICY : 0;
}

static int check_registry(const struct handshake_context *context, const struct hello *hello)
{
    if (hello->version == registry_version(context->registry) &&
        !bytes_equal(hello->hash, bytes_of(registry_hash(context->registry), REGISTRY_HASH_SIZE)))
        return AICO_EEQUIVOCATION;
    return 0;
}

static int check_signature(const struct handshake_context *context, const uint8_t *signer,
                           const char *label, struct bytes hello, size_t signed_size)
{
    uint8_t namespace[1 + NAMESPACE_MAX];

    if (context->verifications)
        ++*context->verifications;
    return sign_verify(signer, label, namespace_bytes(context, namespace),
                       bytes_of(hello.at, signed_size), hello.at + signed_size);
}

/* All that both ends know after Hello2. */
struct schedule {
    uint8_t transcript[HASH_SIZE];
    struct secret confirm_listener, confirm_dialer;
    struct secret traffic_dialer, traffic_listener;
    struct secret resume;
    uint8_t id[CHANNEL_ID_SIZE];
};

static void schedule_wipe(struct schedule *schedule)
{
    memory_wipe(schedule, sizeof(*schedule));
}

/* @shared is consumed; @hello2: at least its first 200 bytes. */
static void derive(const struct handshake_context *context, struct secret *shared,
                   const uint8_t *hello1, const uint8_t *hello2, struct schedule *ret_schedule)
{
    const struct bytes nothing = {0};
    CLEANUP(secret_wipe)
    struct secret root, id;
    struct hasher h;
    uint8_t namespace[1 + NAMESPACE_MAX];

    if (context->settings->psk)
        kdf(context->settings->psk, "psk", secret_view(shared), shared);

    hasher_begin(&h, HASH_SIZE);
    hasher_tag(&h, "transcript");
    hasher_feed(&h, namespace_bytes(context, namespace));
    hasher_feed(&h, bytes_of(hello1, HELLO1_SIZE));
    hasher_feed(&h, bytes_of(hello2, HELLO2_TRANSCRIPT));
    hasher_end(&h, ret_schedule->transcript, HASH_SIZE);

    kdf(shared, "root", bytes_of(ret_schedule->transcript, HASH_SIZE), &root);
    secret_wipe(shared);
    kdf(&root, "confirm listener", nothing, &ret_schedule->confirm_listener);
    kdf(&root, "confirm dialer", nothing, &ret_schedule->confirm_dialer);
    kdf(&root, "traffic dialer", nothing, &ret_schedule->traffic_dialer);
    kdf(&root, "traffic listener", nothing, &ret_schedule->traffic_listener);
    kdf(&root, "channel", nothing, &id);
    memcpy(ret_schedule->id, id.at, CHANNEL_ID_SIZE);
    if (context->settings->key_reuse)
        kdf(&root, "resume", nothing, &ret_schedule->resume);
}

static void take_keys(struct channel_keys *keys, const struct schedule *schedule,
                      const uint8_t *peer, const uint8_t *hello1, uint64_t hello2_time, bool dialer)
{
    struct reader r = reader_over(bytes_of(hello1 + 8, 8));

    memcpy(keys->id, schedule->id, CHANNEL_ID_SIZE);
    memcpy(keys->peer, peer, SIGN_PUBLIC_SIZE);
    keys->send = dialer ? schedule->traffic_dialer : schedule->traffic_listener;
    keys->receive = dialer ? schedule->traffic_listener : schedule->traffic_dialer;
    keys->resume = schedule->resume;
    keys->t0_ms = (int64_t)hello2_time - T0_BEFORE_MS;
    keys->time = reader_u64(&r);
    keys->dialer = dialer;
}

/* --- the dialer ----------------------------------------------------------------------------- */

int dialer_begin(const struct handshake_context *context, struct moment now,
                 const uint8_t peer[SIGN_PUBLIC_SIZE], const struct handshake_random *random,
                 struct dialer *ret_dialer)
{
    struct writer w = writer_over(ret_dialer->hello1, HELLO1_SIZE);
    int r;

    memcpy(ret_dialer->peer, peer, SIGN_PUBLIC_SIZE);
    ret_dialer->ephemeral = random->ephemeral;
    ret_dialer->deadline_ms = now.boot_ms + context->settings->handshake_timeout_ms;
    write_hello(&w, HANDSHAKE_HELLO1, context, now);
    writer_bytes(&w, bytes_of(peer, SIGN_PUBLIC_SIZE));
    writer_bytes(&w, bytes_of(context->self->public, SIGN_PUBLIC_SIZE));
    dh_public(&random->ephemeral, writer_reserve(&w, DH_PUBLIC_SIZE));
    writer_bytes(&w, bytes_of(random->challenge, sizeof(random->challenge)));
    r = sign_hello(context, "hello1", &w);
    if (r < 0) {
        dialer_wipe(ret_dialer);
        return r;
    }
    hash_n(writer_view(&w), ret_dialer->continuation, HASH_SIZE);
    return 0;
}

static int check_hello2(const struct handshake_context *context, struct moment now,
                        const struct dialer *dialer, struct bytes bytes, struct hello *ret_hello,
                        struct bytes *ret_ephemeral)
{
    struct reader reader;
    int r;

    r = read_hello(bytes, HANDSHAKE_HELLO2, HELLO2_SIZE, &reader, ret_hello);
    if (r < 0)
        return r;
    if (!bytes_equal(reader_bytes(&reader, HASH_SIZE), bytes_of(dialer->continuation, HASH_SIZE)))
        return AICO_ECONTINUATION;
    *ret_ephemeral = reader_bytes(&reader, DH_PUBLIC_SIZE);
    r = check_clock(context, now, ret_hello->time);
    if (r == 0)
        r = check_policy(context, ret_hello->policy);
    if (r == 0)
        r = check_signature(context, dialer->peer, "hello2", bytes, HELLO2_SIGNED);
    if (r == 0)
        r = check_registry(context, ret_hello);
    return r;
}

int dialer_receive(const struct handshake_context *context, struct moment now,
                   struct dialer *dialer, struct bytes hello2, struct channel_keys *ret_keys,
                   uint8_t ret_hello3[HELLO3_SIZE])
{
    CLEANUP(schedule_wipe)
    struct schedule schedule = {0};
    CLEANUP(secret_wipe)
    struct secret shared = {0};
    struct bytes ephemeral;
    struct writer w = writer_over(ret_hello3, HELLO3_SIZE);
    struct hello hello;
    int r;

    if (now.boot_ms > dialer->deadline_ms) {
        dialer_wipe(dialer);
        return AICO_EDEADLINE;
    }
    r = check_hello2(context, now, dialer, hello2, &hello, &ephemeral);
    if (r == 0)
        r = dh_shared(&dialer->ephemeral, ephemeral.at, &shared);
    if (r < 0)
        return r;
    derive(context, &shared, dialer->hello1, hello2.at, &schedule);
    if (!mac_verify(&schedule.confirm_listener, bytes_of(schedule.transcript, HASH_SIZE),
                    hello2.at + HELLO2_TRANSCRIPT))
        return AICO_ECONFIRM;

    take_keys(ret_keys, &schedule, dialer->peer, dialer->hello1, hello.time, true);
    ret_keys->peer_version = hello.version;
    writer_u8(&w, HANDSHAKE_VERSION);
    writer_u8(&w, HANDSHAKE_HELLO3);
    writer_u16(&w, 0);
    writer_bytes(&w, bytes_of(schedule.id, CHANNEL_ID_SIZE));
    mac(&schedule.confirm_dialer, bytes_of(schedule.transcript, HASH_SIZE),
        writer_reserve(&w, HASH_SIZE));
    dialer_wipe(dialer);
    return 0;
}

/* --- the listener --------------------------------------------------------------------------- */

const uint8_t *hello1_dialer(struct bytes hello1)
{
    if (hello1.size != HELLO1_SIZE || hello1.at[0] != HANDSHAKE_VERSION ||
        hello1.at[1] != HANDSHAKE_HELLO1)
        return NULL;
    return hello1.at + 72;
}

/* Steps 1 to 9: no public-key operation. */
static int check_hello1_cheaply(const struct handshake_context *context, struct moment now,
                                struct guard *guard, struct bytes stamp, size_t half_open,
                                struct bytes bytes, struct hello *ret_hello)
{
    const struct component *component;
    struct bytes dialer, ephemeral;
    struct reader reader;
    int r;

    r = read_hello(bytes, HANDSHAKE_HELLO1, HELLO1_SIZE, &reader, ret_hello);
    if (r < 0)
        return r;
    if (!bytes_equal(reader_bytes(&reader, SIGN_PUBLIC_SIZE),
                     bytes_of(context->self->public, SIGN_PUBLIC_SIZE)))
        return AICO_ETARGET;
    dialer = reader_bytes(&reader, SIGN_PUBLIC_SIZE);
    ephemeral = reader_bytes(&reader, DH_PUBLIC_SIZE);
    if (bytes_equal(dialer, bytes_of(context->self->public, SIGN_PUBLIC_SIZE)))
        return AICO_ESELF;
    component = registry_find_identity(context->registry, dialer.at);
    if (!component)
        return AICO_EUNKNOWN;
    if (!bytes_equal_text(stamp, component->name))
        return AICO_ESTAMP;
    r = handshake_may_meet(context, now, component);
    if (r == 0)
        r = check_clock(context, now, ret_hello->time);
    if (r == 0)
        r = check_policy(context, ret_hello->policy);
    if (r == 0)
        r = guard_admit(guard, now, dialer.at, half_open);
    if (r == 0 && guard_has_seen(guard, now, dialer.at, ephemeral.at))
        r = AICO_EREPLAY;
    return r;
}

/* Step 14; @shared is consumed. */
static int answer(const struct handshake_context *context, struct moment now, const uint8_t *hello1,
                  const struct handshake_random *random, struct secret *shared,
                  struct listener *listener, uint8_t ret_hello2[HELLO2_SIZE])
{
    CLEANUP(schedule_wipe)
    struct schedule schedule = {0};
    struct writer w = writer_over(ret_hello2, HELLO2_SIZE);
    int r;

    write_hello(&w, HANDSHAKE_HELLO2, context, now);
    hash_n(bytes_of(hello1, HELLO1_SIZE), writer_reserve(&w, HASH_SIZE), HASH_SIZE);
    dh_public(&random->ephemeral, writer_reserve(&w, DH_PUBLIC_SIZE));
    writer_bytes(&w, bytes_of(random->challenge, sizeof(random->challenge)));
    r = sign_hello(context, "hello2", &w);
    if (r < 0)
        return r;
    derive(context, shared, hello1, ret_hello2, &schedule);
    mac(&schedule.confirm_listener, bytes_of(schedule.transcript, HASH_SIZE),
        writer_reserve(&w, HASH_SIZE));

    take_keys(&listener->keys, &schedule, hello1 + 72, hello1, (uint64_t)now.real_ms, false);
    listener->confirm_dialer = schedule.confirm_dialer;
    memcpy(listener->transcript, schedule.transcript, HASH_SIZE);
    listener->deadline_ms = now.boot_ms + context->settings->handshake_timeout_ms;
    return 0;
}

int listener_receive(const struct handshake_context *context, struct moment now,
                     struct guard *guard, struct bytes stamp, size_t half_open, struct bytes hello1,
                     const struct handshake_random *random, struct listener *ret_listener,
                     uint8_t ret_hello2[HELLO2_SIZE])
{
    CLEANUP(secret_wipe)
    struct secret shared = {0};
    struct hello hello;
    int r;

    r = check_hello1_cheaply(context, now, guard, stamp, half_open, hello1, &hello);
    if (r == 0)
        r = check_signature(context, hello1.at + 72, "hello1", hello1, HELLO1_SIGNED);
    if (r == 0)
        r = guard_enter(guard, now, hello1.at + 72, hello1.at + 104);
    if (r == 0)
        r = check_registry(context, &hello);
    /* Before signing anything: a key of low order must not cost us a signature. */
    if (r == 0)
        r = dh_shared(&random->ephemeral, hello1.at + 104, &shared);
    if (r == 0)
        r = answer(context, now, hello1.at, random, &shared, ret_listener, ret_hello2);
    if (r == 0)
        ret_listener->keys.peer_version = hello.version;
    return r;
}

int listener_confirm(struct listener *listener, struct moment now, struct bytes hello3,
                     struct channel_keys *ret_keys)
{
    struct reader r = reader_over(hello3);
    uint8_t version, type;

    if (now.boot_ms > listener->deadline_ms) {
        listener_wipe(listener);
        return AICO_EDEADLINE;
    }
    if (hello3.size != HELLO3_SIZE)
        return AICO_ESIZE;
    version = reader_u8(&r);
    type = reader_u8(&r);
    if (version != HANDSHAKE_VERSION)
        return AICO_EVERSION;
    if (type != HANDSHAKE_HELLO3 || reader_u16(&r) != 0)
        return AICO_ETYPE;
    if (!bytes_equal(reader_bytes(&r, CHANNEL_ID_SIZE),
                     bytes_of(listener->keys.id, CHANNEL_ID_SIZE)))
        return AICO_ECONTINUATION;
    if (!mac_verify(&listener->confirm_dialer, bytes_of(listener->transcript, HASH_SIZE),
                    hello3.at + HELLO3_SIZE - HASH_SIZE))
        return AICO_ECONFIRM;
    *ret_keys = listener->keys;
    listener_wipe(listener);
    return 0;
}

/* --- hints ---------------------------------------------------------------------------------- */

void refuse_write(int code, struct moment now, const uint8_t about[HASH_SIZE],
                  uint8_t ret_refuse[REFUSE_SIZE])
{
    struct writer w = writer_over(ret_refuse, REFUSE_SIZE);

    writer_u8(&w, HANDSHAKE_VERSION);
    writer_u8(&w, HANDSHAKE_REFUSE);
    writer_u16(&w, (uint16_t)-code);
    writer_u64(&w, (uint64_t)now.real_ms);
    writer_bytes(&w, bytes_of(about, HASH_SIZE));
}

int refuse_parse(struct bytes bytes, struct refuse *ret_refuse)
{
    struct reader r = reader_over(bytes);

    if (bytes.size != REFUSE_SIZE)
        return AICO_ESIZE;
    if (reader_u8(&r) != HANDSHAKE_VERSION)
        return AICO_EVERSION;
    if (reader_u8(&r) != HANDSHAKE_REFUSE)
        return AICO_ETYPE;
    ret_refuse->code = -(int)reader_u16(&r);
    ret_refuse->time = reader_u64(&r);
    ret_refuse->about = reader_rest(&r);
    return 0;
}
