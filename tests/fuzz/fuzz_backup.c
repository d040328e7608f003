/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manifest of a backup. Input: its bytes; the files that it may name lie beside it.
 *
 * Whatever it says: nothing is written outside of the new home, and nothing at all unless every
 * file it names is there and is what was backed up.
 */
#include "fuzz.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "store/backup.h"
#include "store/file.h"

static char root[] = "/dev/shm/aico-fuzz-backup-XXXXXX", dir[64], home[64], manifest[80];

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void end(void)
{
    remove_tree(root);
}

static void put(const char *name, const char *text)
{
    char path[96];

    (void)snprintf(path, sizeof(path), "%s/files/%s", dir, name);
    require(file_write(path, 0600, false, bytes_text(text), NULL) == 0);
}

static void make(const char *below)
{
    char path[96];

    (void)snprintf(path, sizeof(path), "%s%s", dir, below);
    require(mkdir(path, 0700) == 0);
}

static void start(void)
{
    require(crypto_start() == 0 && mkdtemp(root) != NULL);
    (void)atexit(end);
    (void)snprintf(dir, sizeof(dir), "%s/backup", root);
    (void)snprintf(home, sizeof(home), "%s/home", root);
    (void)snprintf(manifest, sizeof(manifest), "%s/manifest", dir);
    make("");
    make("/files");
    make("/files/identities");
    put("registry", "a registry\n");
    put("identities/cli.key", "a key\n");
}

/* Entries of a folder but "." and "..". */
static int entries;
static int count_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)path;
    (void)stat;
    (void)type;
    entries += ftw->level == 1;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct backup_report report = {0};
    int r;

    if (dir[0] == '\0')
        start();
    require(file_write(manifest, 0600, true, bytes_of(data, size), NULL) == 0);
    r = backup_restore(dir, home, &report, NULL);
    require(r <= 0);
    require(r == 0 || access(home, F_OK) != 0);
    entries = 0;
    require(nftw(root, count_one, 8, FTW_PHYS) == 0);
    require(entries == (r == 0 ? 2 : 1)); /* the backup, and the home */
    remove_tree(home);
    return 0;
}
