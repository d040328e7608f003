/* SPDX-License-Identifier: Apache-2.0 */
/* A keeper's disk in memory, that a kill -9 can end at every write. Tests only. */
#ifndef TEST_SESSION_DISK_H
#define TEST_SESSION_DISK_H

#include "world.h"

#include "base/keeper.h"
#include "session/keep.h"

#define ROWS_MAX 4096

struct row {
    uint8_t *key, *value;
    size_t key_size, value_size;
};

/* What a kill -9 does to the commit of that number. */
enum kill { KILL_NOT, KILL_BEFORE, KILL_AFTER };

struct disk {
    struct row rows[ROWS_MAX];
    size_t count;
    unsigned writes;
    unsigned kill_at; /* this write, 0: none */
    enum kill kill;
};

static inline void row_free(struct row *row)
{
    free(row->key);
    free(row->value);
}

static inline int row_compare(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int r = memcmp(x->key, y->key, MIN(x->key_size, y->key_size));

    return r != 0 ? r : (int)x->key_size - (int)y->key_size;
}

static inline struct row *row_find(struct disk *disk, struct bytes key)
{
    for (size_t i = 0; i < disk->count; i++)
        if (bytes_equal(bytes_of(disk->rows[i].key, disk->rows[i].key_size), key))
            return &disk->rows[i];
    return NULL;
}

static inline void disk_apply(struct disk *disk, const struct keep_change *change)
{
    struct row *row = row_find(disk, change->key);

    if (row) {
        row_free(row);
        *row = disk->rows[--disk->count];
    }
    if (!change->value.at)
        return;
    assert_true(disk->count < ROWS_MAX);
    disk->rows[disk->count++] = (struct row){exact_copy(change->key), exact_copy(change->value),
                                             change->key.size, change->value.size};
}

static inline int disk_commit(void *context, const struct keep_change *changes, size_t count,
                              struct aico_error *err)
{
    struct disk *disk = context;
    bool now = ++disk->writes == disk->kill_at;

    for (size_t i = 0; i < count && !(now && disk->kill == KILL_BEFORE); i++)
        disk_apply(disk, &changes[i]);
    return now ? aico_error_set(err, AICO_ESYSTEM, "killed") : 0;
}

static inline int disk_load(void *context,
                            int (*take)(void *to, struct bytes key, struct bytes value), void *to,
                            struct aico_error *err)
{
    struct disk *disk = context;

    qsort(disk->rows, disk->count, sizeof(disk->rows[0]), row_compare);
    for (size_t i = 0; i < disk->count; i++) {
        int r = take(to, bytes_of(disk->rows[i].key, disk->rows[i].key_size),
                     bytes_of(disk->rows[i].value, disk->rows[i].value_size));

        if (r < 0)
            return aico_error_set(err, r, "a row does not parse");
    }
    return 0;
}

static inline void disk_clear(struct disk *disk)
{
    while (disk->count > 0)
        row_free(&disk->rows[--disk->count]);
}

static inline void disk_copy(struct disk *to, const struct disk *from)
{
    disk_clear(to);
    for (size_t i = 0; i < from->count; i++)
        disk_apply(to,
                   &(struct keep_change){bytes_of(from->rows[i].key, from->rows[i].key_size),
                                         bytes_of(from->rows[i].value, from->rows[i].value_size)});
}

static inline size_t disk_rows(const struct disk *disk, uint8_t kind)
{
    size_t count = 0;

    for (size_t i = 0; i < disk->count; i++)
        count += disk->rows[i].key[0] == kind;
    return count;
}

#endif
