/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collects what is wrong with configuration files, so that --check can list it all. Owned by one
 * parse, one thread.
 */
#ifndef CONFIG_PROBLEM_H
#define CONFIG_PROBLEM_H

#include <aico/config.h>

/* A place in a file as editors count it: from 1, columns in characters. */
struct place {
    unsigned line;
    unsigned column;
};

struct problem {
    struct place place;
    int file; /* files are reported in the order of their reading */
    struct aico_error error;
};

/* Zero-initialise. */
struct problem_list {
    const char *path; /* of the file being read; borrowed */
    int file;
    size_t count;
    size_t more; /* found no room */
    struct problem items[AICO_CONFIG_PROBLEMS_MAX];
};

/* From now on problems are in the file @path (borrowed until the last problem_add()), which is
 * reported after the files with a smaller number. */
void problem_file(struct problem_list *list, const char *path, int file);
/* Records "PATH:LINE:COLUMN: text", or "PATH: text" for a @place of zeros. Returns AICO_ECONFIG. */
int problem_add(struct problem_list *list, struct place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Orders by file and place, so that the first is the one a reader of the file meets first. */
void problem_sort(struct problem_list *list);

#endif
