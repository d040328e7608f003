/* SPDX-License-Identifier: Apache-2.0 */
/* Locals that release themselves at the end of their scope, and how a result leaves it. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))
#define UNUSED __attribute__((unused))

/* Takes the value out of a pointer that cleans itself up, leaving NULL behind. */
#define STEAL(pointer)                                                                             \
    ({                                                                                             \
        __typeof__(&(pointer)) steal_from_ = &(pointer);                                           \
        __typeof__(pointer) stolen_ = *steal_from_;                                                \
        *steal_from_ = NULL;                                                                       \
        stolen_;                                                                                   \
    })

/* The same for a file descriptor, leaving -1 behind. */
static inline int steal_fd(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

/* For CLEANUP(free_memory) on any pointer. */
static inline void free_memory(void *pointer_to_pointer)
{
    void **p = pointer_to_pointer;

    free(*p);
    *p = NULL;
}

static inline void fd_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static inline void file_close(FILE **file)
{
    if (*file)
        (void)fclose(*file);
    *file = NULL;
}

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
