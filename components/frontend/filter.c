/* SPDX-License-Identifier: Apache-2.0 */
/* Which topics lie under a filter, as the broker sees it. */
#include "frontend/filter.h"

#include <stddef.h>
#include <string.h>

static bool is_level(const char *at, size_t size, const char *a, const char *b)
{
    return (size == strlen(a) && strncmp(at, a, size) == 0) ||
           (size == strlen(b) && strncmp(at, b, size) == 0);
}

bool filter_matches(const char *filter, const char *topic)
{
    for (;;) {
        size_t f = strcspn(filter, "/"), t = topic ? strcspn(topic, "/") : 0;

        if (is_level(filter, f, "**", "#"))
            return filter[f] == '\0';
        if (!topic ||
            (!is_level(filter, f, "*", "+") && (f != t || strncmp(filter, topic, f) != 0)))
            return false;
        filter += f;
        topic += t;
        if (*filter == '\0')
            return *topic == '\0';
        filter++;
        topic = *topic == '/' ? topic + 1 : NULL; /* NULL: no level left, only ** fits */
    }
}
