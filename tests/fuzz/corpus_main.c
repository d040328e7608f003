/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target without a fuzzer: every file of the folder given, whole, cut at every length,
 * and with every bit flipped. Of a large file only so many lengths are tried, and one bit a byte.
 * Prints "N passed, 0 failed", N being the files.
 */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>

#include "fuzz.h"

#define FILE_MAX (256 * 1024)
#define CUTS_MAX 1000
#define BITS_MAX 200 /* bytes of a file of which every bit is flipped */

static void run(struct bytes whole)
{
    size_t step = whole.size / CUTS_MAX + 1;
    unsigned bits = whole.size <= BITS_MAX ? 8 : 1;

    for (size_t size = 0; size <= whole.size; size += step) {
        uint8_t *copy = copy_of(bytes_of(whole.at, size));

        (void)LLVMFuzzerTestOneInput(copy, size);
        free(copy);
    }
    for (size_t i = 0; i < whole.size * bits; i += step) {
        uint8_t *copy = copy_of(whole);

        copy[i / bits] ^= (uint8_t)(1u << i % 8);
        (void)LLVMFuzzerTestOneInput(copy, whole.size);
        free(copy);
    }
    (void)LLVMFuzzerTestOneInput(whole.at, whole.size);
}

int main(int argc, char **argv)
{
    static uint8_t room[FILE_MAX];
    unsigned count = 0;
    struct dirent *entry;
    DIR *folder;

    folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (!folder) {
        (void)fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    while ((entry = readdir(folder))) {
        char path[PATH_MAX];
        size_t size;
        FILE *file;

        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        file = fopen(path, "rb");
        if (!file) {
            perror(path);
            return 1;
        }
        size = fread(room, 1, sizeof(room), file);
        (void)fclose(file);
        run(bytes_of(room, size));
        count++;
    }
    (void)closedir(folder);
    printf("%u passed, 0 failed\n", count);
    return count > 0 ? 0 : 1;
}
