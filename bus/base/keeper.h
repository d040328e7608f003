/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of bytes that outlive the process, and whoever keeps them: the home's database
 * (store/kept.h), or memory in tests. What the rows mean: session/keep.h. They hold secrets; the
 * keeper seals them.
 */
#ifndef BASE_KEEPER_H
#define BASE_KEEPER_H

#include <aico/error.h>

#include "base/bytes.h"

/* One change of a commit; borrowed. value.at NULL: the row goes. */
struct keep_change {
    struct bytes key, value;
};

struct keeper {
    void *context;
    /* All rows, in the order of their keys. 0 or what @take or the reading said, then with @err. */
    int (*load)(void *context, int (*take)(void *to, struct bytes key, struct bytes value),
                void *to, struct aico_error *err);
    /* All of @changes, or none. On stable storage when it returns 0; after a failure the caller
     * uses nothing of them. */
    int (*commit)(void *context, const struct keep_change *changes, size_t count,
                  struct aico_error *err);
};

#endif
