/* SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES_MAX 16
#define PATH_SIZE 256
#define SECTOR 512
#define SHM_MAX 8
#define NEVER UINT64_MAX

struct change { /* not synced */
    struct change *next;
    uint64_t offset;
    size_t size; /* of data; truncation to `offset` where it is none */
    uint8_t data[];
};

struct image {
    uint8_t *at;
    uint64_t size;
    size_t room;
};

struct file {
    bool exists, is_named; /* now; after a cut */
    char path[PATH_SIZE];
    struct image now, synced;
    struct change *first, **end;
    void *shm[SHM_MAX];
    int opens, shm_users, shared, reserved; /* connections */
};

struct handle {
    sqlite3_file base;
    struct file *file;
    bool temporary, maps;
    int level; /* of its lock */
};

static struct {
    sqlite3_vfs vfs, *real;
    struct file files[FILES_MAX];
    uint64_t operations, cut_at;
    enum disk_fault fault;
} disk;

/* --- images --------------------------------------------------------------------------------- */

static void image_write(struct image *image, uint64_t offset, const uint8_t *data, size_t size)
{
    if (offset + size > image->room) {
        size_t room = (offset + size) * 2;

        image->at = realloc(image->at, room);
        assert(image->at);
        memset(image->at + image->room, 0, room - image->room);
        image->room = room;
    }
    memcpy(image->at + offset, data, size);
    if (offset + size > image->size)
        image->size = offset + size;
}

static void image_truncate(struct image *image, uint64_t size)
{
    if (size >= image->size)
        return;
    memset(image->at + size, 0, image->size - size);
    image->size = size;
}

static void image_free(struct image *image)
{
    free(image->at);
    *image = (struct image){0};
}

static void changes_free(struct file *f)
{
    struct change *c;

    while ((c = f->first) != NULL) {
        f->first = c->next;
        free(c);
    }
    f->end = &f->first;
}

static void change_add(struct file *f, uint64_t offset, const void *data, size_t size)
{
    struct change *c = calloc(1, sizeof(*c) + size);

    assert(c);
    c->offset = offset;
    c->size = size;
    if (size > 0)
        memcpy(c->data, data, size);
    *f->end = c;
    f->end = &c->next;
}

static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = (*seed += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void apply(struct image *image, const struct change *c)
{
    if (c->size == 0)
        image_truncate(image, c->offset);
    else
        image_write(image, c->offset, c->data, c->size);
}

/* The sectors of one write that chance lets through. */
static void apply_torn(struct image *image, const struct change *c, uint64_t *seed)
{
    for (size_t at = 0; at < c->size;) {
        size_t step = SECTOR - (c->offset + at) % SECTOR;

        if (step > c->size - at)
            step = c->size - at;
        if (next_random(seed) % 2)
            image_write(image, c->offset + at, c->data + at, step);
        at += step;
    }
}

/* What is on the disk: of the changes since the last sync none, all, the first, or any. */
static void lose(struct file *f, uint64_t *seed)
{
    uint64_t way = next_random(seed) % 5;
    struct change *c;

    for (c = f->first; c && way > 0; c = c->next) {
        if (way == 1 || (way > 2 && next_random(seed) % 2))
            apply(&f->synced, c);
        else if (way == 2 && next_random(seed) % 8 == 0)
            break;
        else if (way == 2)
            apply(&f->synced, c);
        else if (way == 4)
            apply_torn(&f->synced, c, seed);
    }
    changes_free(f);
    image_free(&f->now);
    image_write(&f->now, 0, f->synced.at ? f->synced.at : (const uint8_t *)"", f->synced.size);
}

/* --- files ---------------------------------------------------------------------------------- */

static struct file *find(const char *path)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (disk.files[i].exists && strcmp(disk.files[i].path, path) == 0)
            return &disk.files[i];
    return NULL;
}

static void forget(struct file *f)
{
    assert(f->opens == 0);
    changes_free(f);
    image_free(&f->now);
    image_free(&f->synced);
    *f = (struct file){0};
}

static struct file *make(const char *path)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct file *f = &disk.files[i];

        if (f->exists || f->is_named || f->opens > 0)
            continue;
        forget(f);
        f->exists = true;
        f->end = &f->first;
        (void)snprintf(f->path, sizeof(f->path), "%s", path);
        return f;
    }
    return NULL;
}

/* One more operation. False: there is no power for it. */
static bool has_power(void)
{
    return disk.operations < disk.cut_at && ++disk.operations;
}

static int file_read(sqlite3_file *base, void *out, int size, sqlite3_int64 offset)
{
    const struct image *image = &((struct handle *)base)->file->now;
    uint64_t at = (uint64_t)offset, there = image->size > at ? image->size - at : 0;

    if (disk.fault == DISK_READ_ERROR)
        return SQLITE_IOERR_READ;
    if (there > (uint64_t)size)
        there = (uint64_t)size;
    if (there > 0)
        memcpy(out, image->at + at, there);
    memset((uint8_t *)out + there, 0, (size_t)size - there);
    return there == (uint64_t)size ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *base, const void *data, int size, sqlite3_int64 offset)
{
    struct file *f = ((struct handle *)base)->file;

    if (disk.fault == DISK_WRITE_ERROR || disk.fault == DISK_READ_ONLY || !has_power())
        return SQLITE_IOERR_WRITE;
    if (disk.fault == DISK_FULL && (uint64_t)offset + (uint64_t)size > f->now.size)
        return SQLITE_FULL;
    image_write(&f->now, (uint64_t)offset, data, (size_t)size);
    change_add(f, (uint64_t)offset, data, (size_t)size);
    return SQLITE_OK;
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct file *f = ((struct handle *)base)->file;

    if (disk.fault == DISK_WRITE_ERROR || disk.fault == DISK_READ_ONLY || !has_power())
        return SQLITE_IOERR_TRUNCATE;
    image_truncate(&f->now, (uint64_t)size);
    change_add(f, (uint64_t)size, NULL, 0);
    return SQLITE_OK;
}

/* SQLite does so at the first sync of a journal it made: what was removed stays so. */
static void sync_folder(void)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (!disk.files[i].exists)
            disk.files[i].is_named = false;
}

static int file_sync(sqlite3_file *base, int flags)
{
    struct file *f = ((struct handle *)base)->file;

    (void)flags;
    if (disk.fault == DISK_SYNC_ERROR) {
        changes_free(f); /* still read, never written: what Linux does */
        return SQLITE_IOERR_FSYNC;
    }
    if (!has_power())
        return SQLITE_IOERR_FSYNC;
    for (const struct change *c = f->first; c; c = c->next)
        apply(&f->synced, c);
    changes_free(f);
    if (!f->is_named)
        sync_folder();
    f->is_named = true;
    return SQLITE_OK;
}

static int file_size(sqlite3_file *base, sqlite3_int64 *ret)
{
    *ret = (sqlite3_int64)((struct handle *)base)->file->now.size;
    return SQLITE_OK;
}

static void count_lock(struct handle *h, int by)
{
    h->file->shared += h->level >= SQLITE_LOCK_SHARED ? by : 0;
    h->file->reserved += h->level >= SQLITE_LOCK_RESERVED ? by : 0;
}

/* Connections do nothing at the same time, but the last one to close must know that it is. */
static int file_lock(sqlite3_file *base, int level)
{
    struct handle *h = (struct handle *)base;
    const struct file *f = h->file;
    int others = f->shared - (h->level >= SQLITE_LOCK_SHARED);
    int reserved = f->reserved - (h->level >= SQLITE_LOCK_RESERVED);

    if (level <= h->level)
        return SQLITE_OK;
    if ((level >= SQLITE_LOCK_RESERVED && reserved > 0) ||
        (level == SQLITE_LOCK_EXCLUSIVE && others > 0))
        return SQLITE_BUSY;
    count_lock(h, -1);
    h->level = level;
    count_lock(h, 1);
    return SQLITE_OK;
}

static int file_unlock(sqlite3_file *base, int level)
{
    struct handle *h = (struct handle *)base;

    count_lock(h, -1);
    h->level = level;
    count_lock(h, 1);
    return SQLITE_OK;
}

static int file_reserved(sqlite3_file *base, int *ret)
{
    *ret = ((struct handle *)base)->file->reserved > 0;
    return SQLITE_OK;
}

static int file_close(sqlite3_file *base)
{
    struct handle *h = (struct handle *)base;

    if (h->file) {
        (void)file_unlock(base, SQLITE_LOCK_NONE);
        h->file->opens--;
    }
    if (h->file && h->temporary)
        forget(h->file);
    h->file = NULL;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *base, int what, void *argument)
{
    (void)base, (void)what, (void)argument;
    return SQLITE_NOTFOUND;
}

static int file_sector(sqlite3_file *base)
{
    (void)base;
    return 4096; /* what SQLite's own says on Linux */
}

static int file_traits(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE; /* as above */
}

static int shm_map(sqlite3_file *base, int page, int size, int extend, void volatile **ret)
{
    struct handle *h = (struct handle *)base;
    struct file *f = h->file;

    assert(page < SHM_MAX);
    f->shm_users += !h->maps;
    h->maps = true;
    if (!f->shm[page] && extend)
        f->shm[page] = calloc(1, (size_t)size);
    *ret = f->shm[page];
    return SQLITE_OK;
}

static int shm_lock(sqlite3_file *base, int offset, int count, int flags)
{
    (void)base, (void)offset, (void)count, (void)flags;
    return SQLITE_OK;
}

static void shm_barrier(sqlite3_file *base)
{
    (void)base;
}

static void shm_free(struct file *f)
{
    for (size_t i = 0; i < SHM_MAX; i++) {
        free(f->shm[i]);
        f->shm[i] = NULL;
    }
}

static int shm_unmap(sqlite3_file *base, int remove)
{
    struct handle *h = (struct handle *)base;

    (void)remove; /* it lasts as long as somebody maps it */
    h->file->shm_users -= h->maps;
    if (h->file->shm_users == 0)
        shm_free(h->file);
    h->maps = false;
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_traits,
    .xShmMap = shm_map,
    .xShmLock = shm_lock,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = shm_unmap,
};

/* --- the disk ------------------------------------------------------------------------------- */

static int disk_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags,
                     int *ret_flags)
{
    struct handle *h = (struct handle *)base;
    struct file *f = path ? find(path) : NULL;

    (void)vfs;
    *h = (struct handle){.temporary = !path};
    if (!f && path && disk.fault == DISK_READ_ONLY)
        return SQLITE_CANTOPEN;
    if (!f)
        f = make(path ? path : "");
    if (!f)
        return SQLITE_CANTOPEN;
    if (disk.fault == DISK_READ_ONLY && path)
        flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
    h->file = f;
    h->base.pMethods = &methods;
    f->opens++;
    if (ret_flags)
        *ret_flags = flags;
    return SQLITE_OK;
}

static int disk_delete(sqlite3_vfs *vfs, const char *path, int sync)
{
    struct file *f = find(path);

    (void)vfs;
    if (!f)
        return SQLITE_IOERR_DELETE_NOENT;
    if (disk.fault == DISK_READ_ONLY || !has_power())
        return SQLITE_IOERR_DELETE;
    f->exists = false;
    if (sync)
        f->is_named = false;
    if (!f->is_named && f->opens == 0)
        forget(f);
    return SQLITE_OK;
}

static int disk_access(sqlite3_vfs *vfs, const char *path, int flags, int *ret)
{
    const struct file *f = find(path);

    (void)vfs;
    *ret = f && (flags != SQLITE_ACCESS_EXISTS || f->now.size > 0) &&
           (flags != SQLITE_ACCESS_READWRITE || disk.fault != DISK_READ_ONLY);
    return SQLITE_OK;
}

static int disk_full_path(sqlite3_vfs *vfs, const char *path, int size, char *ret)
{
    (void)vfs;
    (void)snprintf(ret, (size_t)size, "%s", path);
    return SQLITE_OK;
}

static int disk_random(sqlite3_vfs *vfs, int size, char *ret)
{
    (void)vfs;
    return disk.real->xRandomness(disk.real, size, ret);
}

static int disk_sleep(sqlite3_vfs *vfs, int us)
{
    (void)vfs;
    return us; /* nobody to wait for */
}

static int disk_time(sqlite3_vfs *vfs, double *ret)
{
    (void)vfs;
    return disk.real->xCurrentTime(disk.real, ret);
}

void disk_plug(void)
{
    disk.real = sqlite3_vfs_find(NULL);
    assert(disk.real);
    disk.vfs = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = sizeof(struct handle),
        .mxPathname = PATH_SIZE,
        .zName = "disk",
        .xOpen = disk_open,
        .xDelete = disk_delete,
        .xAccess = disk_access,
        .xFullPathname = disk_full_path,
        .xRandomness = disk_random,
        .xSleep = disk_sleep,
        .xCurrentTime = disk_time,
    };
    disk_format();
    if (sqlite3_vfs_register(&disk.vfs, 1) != SQLITE_OK)
        abort();
}

void disk_unplug(void)
{
    (void)sqlite3_vfs_unregister(&disk.vfs);
    (void)sqlite3_vfs_register(disk.real, 1);
    disk_format();
}

int disk_begin(char *template)
{
    int fd = mkstemp(template);

    if (fd < 0)
        return -1;
    (void)close(fd);
    disk_plug();
    return 0;
}

int disk_end(const char *path)
{
    disk_unplug();
    return unlink(path);
}

void disk_format(void)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        forget(&disk.files[i]);
    disk.operations = 0;
    disk.cut_at = NEVER;
    disk.fault = DISK_SOUND;
}

void disk_set_fault(enum disk_fault fault)
{
    disk.fault = fault;
}

uint64_t disk_operations(void)
{
    return disk.operations;
}

void disk_cut_after(uint64_t operations)
{
    disk.cut_at = disk.operations + operations;
}

bool disk_is_cut(void)
{
    return disk.operations >= disk.cut_at;
}

void disk_restore_power(uint64_t seed)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct file *f = &disk.files[i];

        /* A removal that was not synced may have happened, or not. */
        if (!f->is_named || (!f->exists && next_random(&seed) % 2)) {
            forget(f);
            continue;
        }
        lose(f, &seed);
        f->exists = true;
    }
    disk.cut_at = NEVER;
}

bool disk_damage(const char *path, uint64_t offset, uint64_t size)
{
    struct file *f = find(path);

    if (!f || offset + size > f->now.size)
        return false;
    for (uint64_t i = offset; i < offset + size; i++)
        f->synced.at[i] = f->now.at[i] ^= 0xa5;
    return true;
}
