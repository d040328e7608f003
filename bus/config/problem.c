/* SPDX-License-Identifier: Apache-2.0 */
/* The list of problems of one parse. One thread. */
#include "config/problem.h"

#include <stdarg.h>
#include <string.h>

#include "base/cleanup.h"

/* Of a long path its end says more than its beginning, and the text must keep room for the cause.
 */
#define PATH_SHOWN 200

void problem_file(struct problem_list *list, const char *path, int file)
{
    list->path = path;
    list->file = file;
}

int problem_add(struct problem_list *list, struct place place, const char *format, ...)
{
    const char *path = list->path ? list->path : "configuration";
    size_t size = strlen(path);
    struct problem *problem;
    char text[400], where[32] = "";
    va_list args;

    if (list->count == COUNT_OF(list->items)) {
        list->more++;
        return AICO_ECONFIG;
    }

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);

    problem = &list->items[list->count++];
    problem->place = place;
    problem->file = list->file;
    if (place.line > 0)
        (void)snprintf(where, sizeof(where), ":%u:%u", place.line, place.column);
    return aico_error_set(&problem->error, AICO_ECONFIG, "%s%s%s: %s",
                          size > PATH_SHOWN ? "..." : "",
                          size > PATH_SHOWN ? path + size - PATH_SHOWN : path, where, text);
}

static bool stands_before(const struct problem *a, const struct problem *b)
{
    if (a->file != b->file)
        return a->file < b->file;
    if (a->place.line != b->place.line)
        return a->place.line < b->place.line;
    return a->place.column < b->place.column;
}

void problem_sort(struct problem_list *list)
{
    /* By insertion: stable, and the list is short. */
    for (size_t i = 1; i < list->count; i++) {
        struct problem moving = list->items[i];
        size_t at = i;

        for (; at > 0 && stands_before(&moving, &list->items[at - 1]); at--)
            list->items[at] = list->items[at - 1];
        list->items[at] = moving;
    }
}
