/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys that stored messages are sealed for while this component is away: random, sealed with
 * the storage key in state/NAME/reading-keys. A new one every week; one whose messages retention
 * has taken everywhere is erased, and with it what opened them (docs/decisions/0047). And the
 * chains of messages stored without `history`, likewise sealed, in state/NAME/stored-chains.
 */
#include "runtime/client.h"

#include "base/cleanup.h"
#include "base/reader.h"
#include "base/writer.h"
#include "crypto/crypto.h"
#include "crypto/random.h"
#include "session/stored.h"
#include "store/sealed.h"

#define FILE_NAME "reading-keys"
#define CHAINS_FILE "stored-chains"
#define ENTRY_SIZE (4 + 8 + SECRET_SIZE)
#define RENEW_MS ((int64_t)7 * 86400 * 1000)
#define DAY_MS ((int64_t)86400 * 1000)

/* Whether some rule leaves keys for us, and how long messages of such rules are stored at most;
 * INT64_MAX: without end. */
static bool reads_stored(const struct client_home *home, const struct registry *registry,
                         int64_t *ret_kept_ms)
{
    const struct component *me = registry_find_identity(registry, home->identity->public);
    bool any = false;

    *ret_kept_ms = 0;
    for (size_t i = 0; me && i < registry_rule_count(registry); i++) {
        const struct rule *rule = registry_rule_at(registry, i);

        if (!rule->store.on || !rule->history || !rule_allows(rule, me, RIGHT_SUBSCRIBE))
            continue;
        any = true;
        *ret_kept_ms = rule->store.age_s == 0
                           ? INT64_MAX
                           : MAX(*ret_kept_ms, (int64_t)rule->store.age_s * 1000);
    }
    return any;
}

static int load(struct client_home *home, struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer content = {0};
    struct reading_keys *keys = home->reading_keys;
    struct reader r;
    int code =
        sealed_load(home->config->home, home->identity, home->former, FILE_NAME, &content, err);

    if (code == AICO_ENOTFOUND)
        return 0;
    if (code < 0)
        return code;
    r = reader_over(buffer_view(&content));
    while (r.left >= ENTRY_SIZE && keys->count < READING_KEYS_MAX) {
        struct reading_key *key = &keys->items[keys->count++];

        key->number = reader_u32(&r);
        key->created_ms = (int64_t)reader_u64(&r);
        reader_copy(&r, key->secret.at, SECRET_SIZE);
    }
    return 0;
}

static int save(const struct client_home *home, struct hedge *hedge, struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer content = {0};
    const struct reading_keys *keys = home->reading_keys;
    size_t size = keys->count * ENTRY_SIZE;
    struct writer w = writer_over(buffer_reserve(&content, size), size);

    if (!w.at)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    for (size_t i = 0; i < keys->count; i++) {
        writer_u32(&w, keys->items[i].number);
        writer_u64(&w, (uint64_t)keys->items[i].created_ms);
        writer_bytes(&w, secret_view(&keys->items[i].secret));
    }
    content.size = w.size;
    return sealed_save(home->config->home, home->identity, FILE_NAME, hedge, buffer_view(&content),
                       err);
}

static void erase_first(struct reading_keys *keys)
{
    keys->count--;
    memmove(keys->items, keys->items + 1, keys->count * sizeof(keys->items[0]));
    memory_wipe(&keys->items[keys->count], sizeof(keys->items[0]));
}

/* What was sealed for a key is stored no longer than @kept_ms after the next one took its place. */
static bool erase_old(struct reading_keys *keys, int64_t now_ms, int64_t kept_ms)
{
    bool any = false;

    while (keys->count > 1 && kept_ms < INT64_MAX - DAY_MS &&
           keys->items[1].created_ms + kept_ms + DAY_MS < now_ms) {
        erase_first(keys);
        any = true;
    }
    return any;
}

static void add_key(struct reading_keys *keys, struct hedge *hedge, int64_t now_ms)
{
    uint32_t number = keys->count > 0 ? keys->items[keys->count - 1].number + 1 : 1;
    struct reading_key *key;

    if (keys->count == READING_KEYS_MAX)
        erase_first(keys);
    key = &keys->items[keys->count++];
    key->number = number;
    key->created_ms = now_ms;
    fresh(hedge, "reading key", &key->secret);
}

int client_reading_load(struct client_home *home, const struct registry *registry,
                        struct aico_error *err)
{
    CLEANUP(hedge_wipe)
    struct hedge hedge;
    int64_t now_ms = moment_now().real_ms, kept_ms;
    struct reading_keys *keys;
    bool changed;
    int r = 0;

    if (!home->reading_keys) {
        home->reading_keys = guarded_new(sizeof(*home->reading_keys));
        if (!home->reading_keys)
            return aico_error_set(err, AICO_ENOMEM, "out of memory");
        r = load(home, err);
    }
    if (r < 0 || !reads_stored(home, registry, &kept_ms))
        return r;
    keys = home->reading_keys;
    hedge_init(&hedge, &home->identity->seed, random_system);
    changed = erase_old(keys, now_ms, kept_ms);
    if (keys->count == 0 || keys->items[keys->count - 1].created_ms + RENEW_MS < now_ms) {
        add_key(keys, &hedge, now_ms);
        changed = true;
    }
    return changed ? save(home, &hedge, err) : 0;
}

/* --- chains --------------------------------------------------------------------------------- */

int client_chains_keep(const struct client_home *home, struct bytes chains, struct aico_error *err)
{
    CLEANUP(hedge_wipe)
    struct hedge hedge;

    hedge_init(&hedge, &home->identity->seed, random_system);
    return sealed_save(home->config->home, home->identity, CHAINS_FILE, &hedge, chains, err);
}

int client_chains_follow(const struct client_home *home)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer chains = {0};
    int r =
        sealed_load(home->config->home, home->identity, home->former, CHAINS_FILE, &chains, NULL);

    return r == AICO_ENOTFOUND ? 0 : r;
}

int client_chains_load(const struct client_home *home, struct client *core, struct moment now,
                       struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer chains = {0};
    int r =
        sealed_load(home->config->home, home->identity, home->former, CHAINS_FILE, &chains, err);

    if (r == AICO_ENOTFOUND)
        return 0;
    if (r == 0)
        r = client_load_chains(core, now, buffer_view(&chains));
    return r < 0 ? aico_error_prefix(err, r, "state/%s/" CHAINS_FILE, home->identity->name) : 0;
}
