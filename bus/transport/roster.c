/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/roster.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hash.h"

struct entry {
    uint8_t key[ROSTER_KEY_SIZE];
    char user_id[ROSTER_USER_ID_MAX + 1]; /* "": valid no more */
    int64_t until_ms;
    UT_hash_handle hh;
};

struct roster {
    struct entry *entries;
};

struct roster *roster_new(void)
{
    return calloc(1, sizeof(struct roster));
}

void roster_free(struct roster **roster)
{
    struct entry *entry, *next;

    if (!*roster)
        return;
    HASH_ITER(hh, (*roster)->entries, entry, next)
    {
        HASH_DEL((*roster)->entries, entry);
        free(entry);
    }
    free(*roster);
    *roster = NULL;
}

static int add(struct roster *roster, const uint8_t key[ROSTER_KEY_SIZE], const char *user_id,
               int64_t until_ms)
{
    struct entry *entry;

    HASH_FIND(hh, roster->entries, key, ROSTER_KEY_SIZE, entry);
    if (entry)
        return AICO_EEXISTS;
    entry = calloc(1, sizeof(*entry));
    if (!entry)
        return AICO_ENOMEM;
    memcpy(entry->key, key, ROSTER_KEY_SIZE);
    (void)snprintf(entry->user_id, sizeof(entry->user_id), "%s", user_id);
    entry->until_ms = until_ms;
    HASH_ADD(hh, roster->entries, key, ROSTER_KEY_SIZE, entry);
    if (!HASH_ADDED(hh, entry)) {
        free(entry);
        return AICO_ENOMEM;
    }
    return 0;
}

int roster_add(struct roster *roster, const uint8_t key[ROSTER_KEY_SIZE], const char *user_id,
               int64_t until_ms)
{
    if (!*user_id || strlen(user_id) > ROSTER_USER_ID_MAX)
        return AICO_EINVAL;
    return add(roster, key, user_id, until_ms);
}

int roster_add_former(struct roster *roster, const uint8_t key[ROSTER_KEY_SIZE])
{
    return add(roster, key, "", 0);
}

int roster_find(const struct roster *roster, const uint8_t key[ROSTER_KEY_SIZE], int64_t real_ms,
                const char **ret_user_id)
{
    struct entry *entry = NULL;

    if (roster)
        HASH_FIND(hh, roster->entries, key, ROSTER_KEY_SIZE, entry);
    if (!entry)
        return AICO_EUNKNOWN;
    if (!*entry->user_id || real_ms >= entry->until_ms)
        return AICO_EREVOKED;
    *ret_user_id = entry->user_id;
    return 0;
}
