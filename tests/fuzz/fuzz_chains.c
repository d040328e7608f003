/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a component keeps sealed of stored messages and reads back when it starts:
 * sessions_load_chains(). Input: u8 how, bytes.
 *
 *   how & 1   the publisher of the first chain is one of the registry
 *
 * Whatever comes: no crash, 0 or AICO_EFORMAT, and what was taken opens nothing that its publisher
 * did not seal.
 */
#include "fuzz.h"

#include <string.h>

#include <aico/error.h>

#include "base/cleanup.h"
#include "envelope/envelope.h"
#include "session/peers.h"
#include "trust/document.h"
#include "wire/record.h"

#define NOW_MS 1763668800000
#define FILTER "passed/**"
#define TOPIC "passed/x"
#define ID_AT (SIGN_PUBLIC_SIZE + 8) /* of a chain: publisher, u64 generation, id, ... */
#define ENVELOPE_SIZE 96

enum { READER, PUBLISHER, BOTH };
static const char *const names[BOTH] = {"reader", "publisher"};
static struct identity *identities[BOTH];
static struct registry *registry;
static struct session_settings settings;

static void draw(void *context, void *to, size_t size)
{
    (void)context;
    memset(to, 7, size);
}

static void no_times(void *context, uint64_t *ret_real_ns, uint64_t *ret_boot_ns, uint64_t *ret_pid)
{
    (void)context;
    *ret_real_ns = *ret_boot_ns = *ret_pid = 1;
}

static void start(void)
{
    static const struct secret owner_seed = {{7}};
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text("aico"));
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    uint8_t owner[SIGN_PUBLIC_SIZE];

    require(crypto_start() == 0 && draft != NULL);
    settings = session_settings_default();
    for (int i = 0; i < BOTH; i++) {
        const struct secret seed = {{(uint8_t)(i + 1)}};

        require(identity_new(names[i], &seed, 0, &identities[i]) == 0);
        require(registry_draft_add(draft, &(struct component_line){names[i], identities[i]->public,
                                                                   identities[i]->transport_public,
                                                                   "ui", NOW_MS}) == 0);
    }
    require(registry_draft_set_rule(draft,
                                    &(struct rule_line){.filter = bytes_text(FILTER),
                                                        .publish = "publisher",
                                                        .subscribe = "reader",
                                                        .seal = SEAL_GROUP,
                                                        .authenticity = AUTHENTICITY_GROUP,
                                                        .store = {.on = true, .age_s = 3600}},
                                    NULL) == 0);
    sign_public(&owner_seed, owner);
    require(registry_draft_sign(draft, &owner_seed, NOW_MS, &text) == 0);
    require(registry_parse(buffer_view(&text), owner, bytes_text("aico"), &registry, NULL) == 0);
}

/* Hands out an envelope of that group which nobody sealed. */
static void hand_out(struct sessions *s, struct moment now, struct bytes id)
{
    uint8_t envelope[ENVELOPE_SIZE] = ENVELOPE_MAGIC;
    struct session_event event;
    size_t failed = 0;

    bytes_copy(envelope + strlen(ENVELOPE_MAGIC), id);
    envelope[8 + ENVELOPE_KEY_ID_SIZE + 3] = 9; /* its epoch */
    envelope[8 + ENVELOPE_NONCE_SIZE] = ENVELOPE_FORMAT_MESSAGE;
    if (!sessions_can_open_stored(s, identities[PUBLISHER]->public,
                                  bytes_of(envelope, sizeof(envelope))))
        return;
    sessions_receive_stored(s, now, bytes_text(names[PUBLISHER]), identities[PUBLISHER]->public,
                            bytes_text(TOPIC), DELIVERY_STREAM,
                            bytes_of(envelope, sizeof(envelope)), NULL);
    while (sessions_next(s, &event)) {
        require(event.type != SESSION_MESSAGE);
        failed += event.type == SESSION_FAILED;
    }
    require(failed == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct moment now = {.real_ms = NOW_MS, .boot_ms = 1000};
    struct sessions *s = NULL;
    uint8_t *chains;
    int r;

    if (!registry)
        start();
    if (size == 0)
        return 0;
    chains = copy_of(bytes_of(data + 1, --size));
    if ((data[0] & 1) && size >= SIGN_PUBLIC_SIZE)
        memcpy(chains, identities[PUBLISHER]->public, SIGN_PUBLIC_SIZE);
    require(sessions_new(&settings, identities[READER], registry,
                         (struct random_source){draw, no_times, NULL}, 0, now, &s, NULL) == 0);
    r = sessions_load_chains(s, now, bytes_of(chains, size));
    require(r == 0 || r == AICO_EFORMAT);
    if (size >= ID_AT + ENVELOPE_KEY_ID_SIZE)
        hand_out(s, now, bytes_of(chains + ID_AT, ENVELOPE_KEY_ID_SIZE));
    sessions_free(&s);
    free(chains);
    return 0;
}
