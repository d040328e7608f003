/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict JSON scanner for the metadata of format 0; of this folder only. It checks a whole text
 * and remembers where the members it was asked for stand in the outermost object. Stricter than
 * RFC 8259 in what a peer could make costly or ambiguous: the text is an object of at most 64 KiB,
 * SCAN_DEPTH_MAX deep, SCAN_MEMBERS_MAX members an object, no key twice (however it is escaped),
 * no lone surrogate. Pure, no allocation, any thread.
 */
#ifndef ENVELOPE_SCAN_H
#define ENVELOPE_SCAN_H

#include "base/reader.h"

#define SCAN_SIZE_MAX 65535
#define SCAN_DEPTH_MAX 16
#define SCAN_MEMBERS_MAX 128
#define SCAN_INTEGER_DIGITS_MAX 4300 /* Python reads no longer ones */

/* A member to look for; zero-initialise all but the name. */
struct scan_wanted {
    const char *name;
    struct bytes value; /* its JSON text, borrowed; empty: there is none */
};

/* Whether @text is as above and, if @canonical, in the one spelling of PROTOCOL 5.5. */
bool scan_metadata(struct bytes text, bool canonical, struct scan_wanted *wanted, size_t count);

/* Decodes a string value (with its quotes, as scan_metadata() found it) as UTF-8 into @to. False
 * when it is no string or takes more than @capacity bytes. */
bool scan_text(struct bytes value, uint8_t *to, size_t capacity, size_t *ret_size);

#endif
