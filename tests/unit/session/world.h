/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the session tests share: identities of the vectors, registries signed on the spot, a seeded
 * generator, and copies of exact size so that ASan sees one byte too far. Tests only; one thread.
 */
#ifndef TEST_SESSION_WORLD_H
#define TEST_SESSION_WORLD_H

#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "session/handshake.h"
#include "trust/document.h"
#include "wire/record.h"

#define START_MS 1763668800000
#define NAMESPACE "aico"

/* Whether long runs are to be short ones here. */
static inline bool is_small(void)
{
    const char *scale = getenv("AICO_TEST_SCALE");

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#endif
    return scale && strcmp(scale, "small") == 0;
}

/* --- a seeded generator (SplitMix64) ---------------------------------------------------------- */

struct dice {
    uint64_t state;
};

static inline uint64_t dice_next(struct dice *dice)
{
    uint64_t z = dice->state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline uint64_t dice_below(struct dice *dice, uint64_t bound)
{
    return dice_next(dice) % bound;
}

static inline void dice_bytes(void *context, void *to, size_t size)
{
    uint8_t *at = to;

    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)dice_next(context);
}

static inline void dice_times(void *context, uint64_t *ret_real_ns, uint64_t *ret_boot_ns,
                              uint64_t *ret_pid)
{
    *ret_real_ns = dice_next(context);
    *ret_boot_ns = 1;
    *ret_pid = 2;
}

static inline struct random_source dice_source(struct dice *dice)
{
    return (struct random_source){dice_bytes, dice_times, dice};
}

static inline struct moment moment_at(int64_t ms)
{
    return (struct moment){ms, ms - START_MS + 1000000};
}

/* --- identities and registries ---------------------------------------------------------------- */

static inline struct identity *identity_make(const char *name)
{
    struct identity *identity = NULL;
    struct secret seed;
    json_t *vectors = vectors_load("session-v1.json");
    bool found = false;

    for (size_t i = 0; i < 4 && !found; i++) {
        json_t *one = json_array_get(vectors_at(vectors, "identity"), i);

        if (strcmp(vectors_text(one, "name"), name) == 0) {
            vectors_hex_into(one, "seed", seed.at, SECRET_SIZE);
            found = true;
        }
    }
    json_decref(vectors);
    if (!found)
        hash_n(bytes_text(name), seed.at, SECRET_SIZE);
    assert_int_equal(identity_new(name, &seed, 0, &identity), 0);
    return identity;
}

static inline void owner_seed(struct secret *ret_seed)
{
    memset(ret_seed->at, 7, SECRET_SIZE);
}

/* Signs @draft and parses the result. */
static inline struct registry *registry_make(struct registry_draft *draft)
{
    struct registry *registry = NULL;
    struct buffer document = {0};
    struct aico_error err = {0};
    uint8_t owner[SIGN_PUBLIC_SIZE];
    struct secret seed;
    int r;

    owner_seed(&seed);
    sign_public(&seed, owner);
    assert_int_equal(registry_draft_sign(draft, &seed, START_MS, &document), 0);
    r = registry_parse(buffer_view(&document), owner, bytes_text(NAMESPACE), &registry, &err);
    if (r < 0)
        fail_msg("registry: %s", err.text);
    buffer_deinit(&document);
    return registry;
}

static inline void draft_add(struct registry_draft *draft, const struct identity *identity,
                             const char *roles)
{
    assert_int_equal(
        registry_draft_add(draft, &(struct component_line){.name = identity->name,
                                                           .identity = identity->public,
                                                           .transport = identity->transport_public,
                                                           .roles = roles,
                                                           .since_ms = START_MS}),
        0);
}

static inline void draft_rule(struct registry_draft *draft, const char *filter, const char *publish,
                              const char *subscribe, enum rule_seal seal,
                              enum rule_authenticity authenticity)
{
    assert_int_equal(registry_draft_set_rule(draft,
                                             &(struct rule_line){.filter = bytes_text(filter),
                                                                 .publish = publish,
                                                                 .subscribe = subscribe,
                                                                 .seal = seal,
                                                                 .authenticity = authenticity},
                                             NULL),
                     0);
}

/* The registry of the vectors. */
static inline struct registry *registry_of_vectors(json_t *vectors)
{
    struct registry *registry = NULL;
    uint8_t owner[SIGN_PUBLIC_SIZE];

    vectors_hex_into(vectors, "registry.owner", owner, sizeof(owner));
    assert_int_equal(registry_parse(bytes_text(vectors_text(vectors, "registry.document")), owner,
                                    bytes_text(NAMESPACE), &registry, NULL),
                     0);
    return registry;
}

/* The same with one component's state changed, signed by the vectors' owner, version as before. */
static inline struct registry *registry_of_vectors_with(json_t *vectors, const char *name,
                                                        const char *state)
{
    struct registry *registry = NULL;
    struct buffer text = {0};
    const char *document = vectors_text(vectors, "registry.document");
    const char *end = strstr(document, "\nsignature ") + 1, *at, *active;
    uint8_t owner[SIGN_PUBLIC_SIZE], signature[SIGNATURE_SIZE];
    struct aico_error err = {0};
    struct secret seed;
    char line[80];

    vectors_hex_into(vectors, "registry.owner", owner, sizeof(owner));
    vectors_hex_into(vectors, "registry.owner_seed", seed.at, SECRET_SIZE);
    (void)snprintf(line, sizeof(line), "\ncomponent %s ", name);
    at = strstr(document, line);
    active = strstr(at, " active ");
    assert_int_equal(buffer_printf(&text, "%.*s %s %.*s", (int)(active - document), document, state,
                                   (int)(end - active - strlen(" active ")),
                                   active + strlen(" active ")),
                     0);
    assert_int_equal(sign_make(&seed, "registry", buffer_view(&text), bytes_of(NULL, 0), signature),
                     0);
    assert_int_equal(buffer_append_text(&text, "signature "), 0);
    for (size_t i = 0; i < sizeof(signature); i++)
        assert_int_equal(buffer_printf(&text, "%02x", signature[i]), 0);
    assert_int_equal(buffer_append_text(&text, "\n"), 0);
    if (registry_parse(buffer_view(&text), owner, bytes_text(NAMESPACE), &registry, &err) < 0)
        fail_msg("%s", err.text);
    buffer_deinit(&text);
    return registry;
}

#endif
