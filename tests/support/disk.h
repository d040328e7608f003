/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in memory under SQLite: it knows what was fsynced and what was only written, loses the
 * latter when the power is cut, whole or in part, and fails as it is told. disk_plug() makes it
 * SQLite's default VFS, so that the code under test opens its files on it by their usual paths.
 *
 * What it assumes of a real disk: what was synced stays; of what was not, any sectors of any writes
 * have reached it, in any order, beginning with none and ending with all. The name of a file is
 * there once its content was synced, and gone once its removal was. One thread.
 */
#ifndef TESTS_DISK_H
#define TESTS_DISK_H

#include <stdbool.h>
#include <stdint.h>

enum disk_fault {
    DISK_SOUND,
    DISK_FULL,        /* nothing that makes a file grow is written */
    DISK_WRITE_ERROR, /* nothing is written */
    DISK_SYNC_ERROR,  /* nothing is synced, and what should have been is not written later either */
    DISK_READ_ERROR,  /* nothing is read */
    DISK_READ_ONLY,   /* files open for reading only */
};

void disk_plug(void);
void disk_unplug(void);
/* The same for a test of the store: an empty file of its own is made at @template (mkstemp(3)),
 * whose mode streams_open() looks at, and removed. 0 or -1. */
int disk_begin(char *template);
int disk_end(const char *path);
/* An empty disk, sound, with power. */
void disk_format(void);
void disk_set_fault(enum disk_fault fault);
/* Writes, syncs, truncations and removals so far. */
uint64_t disk_operations(void);
/* The power goes after @operations more of them: what is called then fails. */
void disk_cut_after(uint64_t operations);
bool disk_is_cut(void);
/* The power is back: what was synced is there, and what of the rest @seed says. Every file must
 * have been closed. */
void disk_restore_power(uint64_t seed);
/* Turns bits of @size bytes of the file at @offset. False: it is not so long. */
bool disk_damage(const char *path, uint64_t offset, uint64_t size);

#endif
