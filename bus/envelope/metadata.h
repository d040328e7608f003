/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata of format 0: a JSON object that stands in clear before the ciphertext and is
 * authenticated with it (PROTOCOL 5.5).
 *
 * The seed's reader parses and writes it again before it verifies, so a writer emits only the one
 * spelling that Python's json.dumps(json.loads(x)) returns unchanged: metadata_writer does, and
 * metadata_check() refuses every other. A reader takes any strict JSON and uses the bytes as they
 * came. Pure, no allocation, any thread.
 */
#ifndef ENVELOPE_METADATA_H
#define ENVELOPE_METADATA_H

#include <aico/error.h>

#include "base/writer.h"
#include "wire/topic.h"

#define METADATA_SIZE_MAX 65535

/*
 * Writes one object; nesting is the caller's business. A failure stays, metadata_end() tells it.
 *
 *   metadata_begin(&m, storage, sizeof(storage));
 *   metadata_text(&m, "topic", topic);
 *   metadata_seconds(&m, "timestamp", now.real_ms);
 *   r = metadata_end(&m, &metadata);
 */
struct metadata_writer {
    struct writer out;
    bool comma; /* a value stands before the next one */
    bool wrong; /* something that has no canonical form was asked for */
};

/* Writes into @storage, borrowed until the metadata is no longer used. */
void metadata_begin(struct metadata_writer *m, void *storage, size_t capacity);
/* @key: the member's name (UTF-8) inside an object, NULL inside an array. */
void metadata_object(struct metadata_writer *m, const char *key);
void metadata_end_object(struct metadata_writer *m);
void metadata_array(struct metadata_writer *m, const char *key);
void metadata_end_array(struct metadata_writer *m);
void metadata_text(struct metadata_writer *m, const char *key, struct bytes utf8);
void metadata_int(struct metadata_writer *m, const char *key, int64_t value);
/* A number already in its canonical spelling, for example "2.5". */
void metadata_number(struct metadata_writer *m, const char *key, const char *text);
/* @ms (not negative) as seconds with a fraction: 1763668800125 gives 1763668800.125. */
void metadata_seconds(struct metadata_writer *m, const char *key, int64_t ms);
void metadata_bool(struct metadata_writer *m, const char *key, bool value);
void metadata_null(struct metadata_writer *m, const char *key);
/* 0 and the finished object, AICO_ESIZE (no room), AICO_EMETADATA (a value, a number, a key given
 * twice or nesting that metadata_check() refuses). */
AICO_MUST_USE int metadata_end(struct metadata_writer *m, struct bytes *ret_metadata);

/* Whether @metadata is in the canonical form: 0 or AICO_EMETADATA. */
AICO_MUST_USE int metadata_check(struct bytes metadata);

/* What the bus uses of a peer's metadata. */
struct metadata_facts {
    bool has_timestamp;
    int64_t timestamp_ms; /* ms since 1970, a fraction of one cut off */
    bool has_topic;
    uint8_t topic[TOPIC_SIZE_MAX]; /* decoded; not yet checked to be a topic */
    size_t topic_size;
};
/* 0, or AICO_EMETADATA: not strict JSON, not an object, a key twice, `timestamp` no number (or past
 * +-2^53 ms), `topic` no text of at most 255 bytes. */
AICO_MUST_USE int metadata_parse(struct bytes metadata, struct metadata_facts *ret);

#endif
