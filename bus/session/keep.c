/* SPDX-License-Identifier: Apache-2.0 */
/* Collects the rows of one commit. One owner. */
#include "session/keep.h"

#include "base/cleanup.h"
#include "base/secret.h"

static void add(struct keep_batch *batch, struct bytes key, struct bytes value, bool removed)
{
    struct keep_item *grown = batch->items;

    if (batch->count == batch->capacity) {
        size_t capacity = MAX(batch->capacity * 2, (size_t)16);

        grown = realloc(batch->items, capacity * sizeof(*grown));
        if (grown) {
            batch->items = grown;
            batch->capacity = capacity;
        }
    }
    if (!grown || !buffer_reserve(&batch->bytes, key.size + value.size)) {
        batch->failed = true;
        return;
    }
    (void)!buffer_append(&batch->bytes, key); /* has room */
    (void)!buffer_append(&batch->bytes, value);
    batch->items[batch->count++] =
        (struct keep_item){(uint32_t)key.size, (uint32_t)value.size, removed};
}

void keep_put(struct keep_batch *batch, struct bytes key, struct bytes value)
{
    add(batch, key, value, false);
}

void keep_drop(struct keep_batch *batch, struct bytes key)
{
    add(batch, key, bytes_of(NULL, 0), true);
}

static void empty(struct keep_batch *batch)
{
    memory_wipe(batch->bytes.at, batch->bytes.size);
    batch->bytes.size = 0;
    batch->count = 0;
}

int keep_commit(struct keep_batch *batch, const struct keeper *keeper, struct aico_error *err)
{
    CLEANUP(free_memory)
    struct keep_change *changes = NULL;
    const uint8_t *at = batch->bytes.at;
    int r;

    if (batch->failed)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    if (batch->count == 0)
        return 0;
    changes = calloc(batch->count, sizeof(*changes));
    if (!changes)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    for (size_t i = 0; i < batch->count; i++) {
        const struct keep_item *item = &batch->items[i];

        changes[i].key = bytes_of(at, item->key_size);
        at += item->key_size;
        changes[i].value = bytes_of(item->removed ? NULL : at, item->value_size);
        at += item->value_size;
    }
    r = keeper->commit(keeper->context, changes, batch->count, err);
    empty(batch);
    return r;
}

void keep_batch_deinit(struct keep_batch *batch)
{
    buffer_wipe_deinit(&batch->bytes);
    free(batch->items);
    *batch = (struct keep_batch){0};
}
