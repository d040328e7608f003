/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the message store share. */
#ifndef TESTS_STORE_COMMON_H
#define TESTS_STORE_COMMON_H

#include "vectors.h"

#include "store/streams_internal.h"

/* Makes a store of this layout one of layout 6, or 5. */

#define UNDO_7                                                                                     \
    "DROP INDEX value_scope; DROP INDEX mark_topic; DROP INDEX mail_topic;"                        \
    "DROP INDEX missed_topic;"
#define UNDO_6                                                                                     \
    UNDO_7 "DROP INDEX reader_maker; ALTER TABLE reader DROP COLUMN maker;"                        \
           "ALTER TABLE sender DROP COLUMN marks; ALTER TABLE sender DROP COLUMN keys;"            \
           "DROP INDEX value_gone; ALTER TABLE value DROP COLUMN gone;"

/* What SQLite has executed since it was asked last. */
static inline int steps_since(struct streams *s)
{
    int steps = 0;

    for (size_t i = 0; i < SQL_COUNT; i++)
        if (s->statements[i])
            steps += sqlite3_stmt_status(s->statements[i], SQLITE_STMTSTATUS_VM_STEP, 1);
    return steps;
}

/* To the end, three rows at a time. */
static inline void sweep(struct streams *s, int64_t now_ms)
{
    bool more = true;

    while (more)
        assert_int_equal(streams_sweep(s, now_ms, 3, &more, NULL), 0);
}

#endif
