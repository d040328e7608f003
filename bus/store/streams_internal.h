/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the message store share. Not included outside bus/store. */
#ifndef STORE_STREAMS_INTERNAL_H
#define STORE_STREAMS_INTERNAL_H

#include <sqlite3.h>

#include "store/streams.h"

/* Every statement is prepared once, when it is first used. */
#define STREAMS_STATEMENTS(X)                                                                      \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(LAST, "SELECT seq FROM sqlite_sequence WHERE name='item'")                                   \
    X(STREAM_FIND, "SELECT id, count, bytes FROM stream WHERE filter=?1")                          \
    X(STREAM_ADD, "INSERT INTO stream(filter) VALUES(?1)")                                         \
    X(STREAM_GROW, "UPDATE stream SET count=count+?2, bytes=bytes+?3 WHERE id=?1")                 \
    X(TOPIC_FIND, "SELECT id FROM topic WHERE name=?1")                                            \
    X(TOPIC_ADD, "INSERT INTO topic(name) VALUES(?1)")                                             \
    X(SENDER_FIND, "SELECT id FROM sender WHERE identity=?1")                                      \
    X(SENDER_MARKS, "SELECT marks FROM sender WHERE id=?1")                                        \
    X(SENDER_KEYS, "SELECT keys FROM sender WHERE id=?1")                                          \
    X(SENDER_MARKED, "UPDATE sender SET marks=marks+1 WHERE id=?1")                                \
    X(SENDER_KEYED, "UPDATE sender SET keys=keys+?2 WHERE id=?1")                                  \
    X(SENDER_UNMARKED, "UPDATE sender SET marks=marks-1 WHERE id=?1")                              \
    X(SENDER_ADD, "INSERT INTO sender(identity, name) VALUES(?1, ?2)")                             \
    X(MARK, "INSERT INTO mark(sender, topic, scope, high, last, at_ms) VALUES(?1,?2,?3,?4,?5,?6) " \
            "ON CONFLICT DO UPDATE SET high=excluded.high, last=excluded.last, "                   \
            "at_ms=excluded.at_ms WHERE excluded.high > high")                                     \
    X(MARK_FIND, "SELECT 1 FROM mark WHERE sender=?1 AND scope=?2 AND topic=?3")                   \
    X(MARK_NUMBER, "UPDATE mark SET last=?4 WHERE sender=?1 AND topic=?2 AND scope=?3")            \
    X(ITEM_ADD, "INSERT INTO item(stream, topic, sender, publish_id, stored_ms, count, size, "     \
                "payload) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)")                                        \
    X(ITEM_SCAN, "SELECT i.number, t.name, s.identity, s.name, i.publish_id, i.stored_ms, "        \
                 "i.count, i.payload, coalesce(d.number, e.number), i.sender FROM item i JOIN "    \
                 "topic t ON t.id=i.topic JOIN sender s ON s.id=i.sender LEFT JOIN settled d ON "  \
                 "d.reader=?2 AND d.number=i.number LEFT JOIN item_end e ON e.number=i.number "    \
                 "AND e.expires_ms<?3 WHERE i.number>?1 ORDER BY i.number")                        \
    X(ITEM_ONE, "SELECT i.number, t.name, s.identity, s.name, i.publish_id, i.stored_ms, "         \
                "i.count, i.payload, NULL, i.sender FROM item i JOIN topic t ON t.id=i.topic "     \
                "JOIN sender s ON s.id=i.sender WHERE i.number=?1 AND NOT EXISTS (SELECT 1 FROM "  \
                "item_end e WHERE e.number=i.number AND e.expires_ms<?2)")                         \
    X(ITEM_LAST, "SELECT i.number, t.name FROM item i JOIN topic t ON t.id=i.topic "               \
                 "WHERE i.number<?1 ORDER BY i.number DESC")                                       \
    X(ITEM_TIME, "SELECT number, stored_ms FROM item WHERE number>=?1 ORDER BY number LIMIT 1")    \
    X(ITEM_FRONT, "SELECT number, size, stored_ms, count FROM item WHERE stream=?1 "               \
                  "ORDER BY number LIMIT ?2")                                                      \
    X(ITEM_CUT, "DELETE FROM item WHERE stream=?1 AND number<=?2")                                 \
    X(ITEM_SUM, "SELECT coalesce(sum(count),0), coalesce(sum(size),0) FROM item WHERE stream=?1 "  \
                "AND number<=?2")                                                                  \
    X(ITEM_GONE, "SELECT i.number, t.name, i.sender, i.topic, i.count, i.publish_id FROM item i "  \
                 "JOIN topic t ON t.id=i.topic WHERE i.stream=?1 AND i.number>?2 AND "             \
                 "i.number<=?3 ORDER BY i.number")                                                 \
    X(ITEM_ROW, "SELECT i.number, t.name, i.sender, i.topic, i.count, i.publish_id, i.stream, "    \
                "i.size FROM item i JOIN topic t ON t.id=i.topic WHERE i.number=?1")               \
    X(ITEM_DROP, "DELETE FROM item WHERE number=?1")                                               \
    X(END_ADD, "INSERT INTO item_end(number, expires_ms) VALUES(?1, ?2)")                          \
    X(END_VOID, "SELECT number FROM item_end WHERE expires_ms<?1 LIMIT 1")                         \
    X(END_DROP, "DELETE FROM item_end WHERE number=?1")                                            \
    X(END_CUT, "DELETE FROM item_end WHERE number IN (SELECT e.number FROM item_end e JOIN item "  \
               "i ON i.number=e.number WHERE i.stream=?1 AND e.number<=?2)")                       \
    X(READERS, "SELECT id, filter, floor, handed FROM reader WHERE floor<?1")                      \
    X(READERS_ALL, "SELECT component, filter FROM reader")                                         \
    X(SETTLED_FIND, "SELECT 1 FROM settled WHERE reader=?1 AND number=?2")                         \
    X(MISSED_ADD, "INSERT INTO missed(reader, box, sender, topic, code, one, count, number, "      \
                  "publish_id) VALUES(?1,?2,?3,?4,?5,0,?6,?7,?8) ON CONFLICT(reader, box, "        \
                  "sender, topic, code) WHERE one=0 AND told=0 DO UPDATE SET "                     \
                  "count=count+excluded.count, number=max(number, excluded.number), "              \
                  "publish_id=max(publish_id, excluded.publish_id)")                               \
    X(MISSED_ONE, "INSERT INTO missed(reader, box, sender, topic, code, one, count, number, "      \
                  "publish_id) VALUES(?1,?2,?3,?4,?5,1,?6,?7,?8)")                                 \
    X(MISSED_SCAN, "SELECT m.token, s.identity, s.name, t.name, m.code, m.one, m.count, "          \
                   "m.number, m.publish_id, m.told FROM missed m JOIN sender s ON "                \
                   "s.id=m.sender JOIN topic t ON t.id=m.topic WHERE m.reader=?1 AND m.box=?2 "    \
                   "ORDER BY m.token")                                                             \
    X(MISSED_TOLD, "UPDATE missed SET told=told+1 WHERE token=?1")                                 \
    X(MISSED_TAKE, "DELETE FROM missed WHERE token=?1 AND reader=?2 AND box=?3")                   \
    X(MISSED_GOT, "DELETE FROM missed WHERE reader=?1 AND number=?2 AND one=1")                    \
    X(MISSED_INHERIT, "UPDATE missed SET box=?1, told=told+1 WHERE reader=0 AND box=?2")           \
    X(MISSED_FORGET, "DELETE FROM missed WHERE reader=?1")                                         \
    X(READER_FIND, "SELECT id, filter, floor, handed FROM reader WHERE component=?1 AND "          \
                   "name=?2")                                                                      \
    X(READER_HANDED, "UPDATE reader SET handed=max(handed, ?2) WHERE id=?1")                       \
    X(READER_ADD, "INSERT INTO reader(component, name, filter, floor, maker) "                     \
                  "VALUES(?1,?2,?3,?4,?5)")                                                        \
    X(READER_COUNT, "SELECT count(*) FROM reader WHERE maker=?1")                                  \
    X(READER_FLOOR, "UPDATE reader SET floor=max(floor, ?2) WHERE id=?1")                          \
    X(READER_DROP, "DELETE FROM reader WHERE component=?1 AND name=?2 RETURNING id")               \
    X(SETTLED_ADD, "INSERT OR IGNORE INTO settled(reader, number) VALUES(?1, ?2)")                 \
    X(SETTLED_CUT, "DELETE FROM settled WHERE reader=?1 AND number<=?2")                           \
    X(DEAD_ADD, "INSERT OR REPLACE INTO dead(reader, number, code, attempts, reason, at_ms) "      \
                "VALUES(?1,?2,?3,?4,?5,?6)")                                                       \
    X(DEAD_DROP, "DELETE FROM dead WHERE reader=?1")                                               \
    X(DEAD_END, "SELECT reader, number, 0 FROM dead WHERE (reader,number)>(?1,?2) "                \
                "ORDER BY reader, number LIMIT 1 OFFSET ?4")                                       \
    X(DEAD_SWEEP, "DELETE FROM dead WHERE (reader,number)>(?1,?2) AND (reader,number)<=(?4,?5) "   \
                  "AND NOT EXISTS (SELECT 1 FROM item WHERE item.number=dead.number)")             \
    X(KEY_ADD, "INSERT OR REPLACE INTO key(sender, key_id, reader, key, at_ms) "                   \
               "VALUES(?1,?2,?3,?4,?5)")                                                           \
    X(KEY_SIZE, "SELECT length(key)+64 FROM key WHERE sender=?1 AND key_id=?2 AND reader=?3")      \
    X(KEY_FIND, "SELECT key FROM key WHERE sender=?1 AND key_id=?2 AND reader=?3")                 \
    X(KEY_END, "SELECT sender, key_id, reader FROM key WHERE (sender,key_id,reader)>(?1,?2,?3) "   \
               "ORDER BY sender, key_id, reader LIMIT 1 OFFSET ?4")                                \
    /* a scope begins with the id of a key */                                                      \
    X(KEY_SWEEP, "DELETE FROM key WHERE (sender,key_id,reader)>(?1,?2,?3) AND "                    \
                 "(sender,key_id,reader)<=(?4,?5,?6) AND at_ms<?7 AND NOT EXISTS (SELECT 1 FROM "  \
                 "mark m WHERE m.sender=key.sender AND m.scope BETWEEN key.key_id AND "            \
                 "CAST(key.key_id||x'FFFFFFFF' AS BLOB)) AND NOT EXISTS (SELECT 1 FROM value v "   \
                 "WHERE v.sender=key.sender AND v.scope BETWEEN key.key_id AND "                   \
                 "CAST(key.key_id||x'FFFFFFFF' AS BLOB) AND v.size>0) "                            \
                 "RETURNING sender, -(length(key)+64)")                                            \
    X(MARK_END, "SELECT sender, scope, topic FROM mark WHERE (sender,scope,topic)>(?1,?2,?3) "     \
                "ORDER BY sender, scope, topic LIMIT 1 OFFSET ?4")                                 \
    /* of mail, last=0, for as long as mail is kept: 13 days more */                               \
    X(MARK_SWEEP, "DELETE FROM mark WHERE (sender,scope,topic)>(?1,?2,?3) AND "                    \
                  "(sender,scope,topic)<=(?4,?5,?6) AND at_ms<?7-(last=0)*1123200000 AND "         \
                  "last<coalesce((SELECT min(number) FROM item), 9223372036854775807) "            \
                  "RETURNING sender, 1")                                                           \
    X(TOPIC_END, "SELECT id, 0, 0 FROM topic WHERE id>?1 ORDER BY id LIMIT 1 OFFSET ?4")           \
    X(TOPIC_SWEEP, "DELETE FROM topic WHERE id>?1 AND id<=?4 AND NOT EXISTS (SELECT 1 FROM mark "  \
                   "m WHERE m.topic=topic.id) AND NOT EXISTS (SELECT 1 FROM mail m WHERE "         \
                   "m.topic=topic.id) AND NOT EXISTS (SELECT 1 FROM missed m WHERE "               \
                   "m.topic=topic.id) AND NOT EXISTS (SELECT 1 FROM value v WHERE "                \
                   "v.topic=topic.id)")                                                            \
    X(MAIL_ADD, "INSERT INTO mail(receiver, topic, sender, publish_id, stored_ms, expires_ms, "    \
                "size, payload) VALUES(?1,?2,?3,?4,?5,?6,?7,?8)")                                  \
    X(MAIL_SCAN, "SELECT i.number, t.name, s.identity, s.name, i.publish_id, i.stored_ms, 1, "     \
                 "i.payload, NULL, i.sender FROM mail i JOIN topic t ON t.id=i.topic JOIN "        \
                 "sender s ON s.id=i.sender WHERE i.receiver=?1 AND i.number>?2 AND "              \
                 "i.expires_ms>=?3 ORDER BY i.number")                                             \
    X(MAIL_INHERIT, "UPDATE mail SET receiver=?1 WHERE receiver=?2")                               \
    X(MAIL_TAKE, "DELETE FROM mail WHERE receiver=?1 AND number=?2 RETURNING size, sender, "       \
                 "topic, publish_id")                                                              \
    X(MAIL_VOID, /* two searches of an index: rows compared by both go through all of one time */  \
      "SELECT * FROM (SELECT number, receiver, sender, topic, publish_id, expires_ms FROM mail "   \
      "WHERE expires_ms=?2 AND number>?3 AND ?2<?1 ORDER BY number LIMIT 1) UNION ALL "            \
      "SELECT * FROM (SELECT number, receiver, sender, topic, publish_id, expires_ms FROM mail "   \
      "WHERE expires_ms>?2 AND expires_ms<?1 ORDER BY expires_ms, number LIMIT 1) LIMIT 1")        \
    X(BOX_FIND, "SELECT bytes FROM box WHERE receiver=?1")                                         \
    X(BOX_GROW, "INSERT INTO box(receiver, bytes) VALUES(?1, ?2) ON CONFLICT DO UPDATE SET "       \
                "bytes=bytes+excluded.bytes RETURNING bytes")                                      \
    X(VALUE_FORMER, "SELECT i.number, i.size, i.scope, i.position, s.identity, i.over FROM "       \
                    "value i JOIN topic t ON t.id=i.topic JOIN sender s ON s.id=i.sender WHERE "   \
                    "t.name=?1")                                                                   \
    X(VALUE_ADD, "INSERT INTO value(topic, stream, sender, scope, position, publish_id, "          \
                 "stored_ms, expires_ms, size, over, payload) "                                    \
                 "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)")                                     \
    X(VALUE_DROP, "DELETE FROM value WHERE number=?1 RETURNING sender, size, gone")                \
    X(VALUE_CLEAR, "UPDATE value SET payload=x'', stored_ms=expires_ms, "                          \
                   "expires_ms=9223372036854775807 WHERE number=?1 AND over=1 RETURNING sender, "  \
                   "size, gone")                                                                   \
    X(VALUE_MARK, "UPDATE value SET size=0, gone=?2 WHERE number=?1 RETURNING sender")             \
    X(VALUE_OLD, "SELECT number FROM value WHERE size=0 AND stored_ms<?1 LIMIT 1")                 \
    X(VALUE_SCAN, "SELECT i.number, t.name, s.identity, s.name, i.publish_id, i.stored_ms, 1, "    \
                  "i.payload, NULL, i.sender FROM value i JOIN topic t ON t.id=i.topic JOIN "      \
                  "sender s ON s.id=i.sender WHERE i.number>?1 AND i.expires_ms>=?2 AND "          \
                  "i.size>0 ORDER BY i.number")                                                    \
    X(VALUE_ONE, "SELECT i.number, t.name, s.identity, s.name, i.publish_id, i.stored_ms, 1, "     \
                 "i.payload, NULL, i.sender FROM value i JOIN topic t ON t.id=i.topic JOIN "       \
                 "sender s ON s.id=i.sender WHERE i.number>?1 AND i.expires_ms>=?2 AND t.name=?3 " \
                 "AND i.size>0")                                                                   \
    X(VALUE_VOID, "SELECT number FROM value WHERE expires_ms<?1 LIMIT 1")                          \
    X(VALUE_OF, "SELECT number FROM value WHERE stream=?1 LIMIT 1")                                \
    X(VALUE_DROP_BY, "DELETE FROM value WHERE over=0 AND sender=(SELECT id FROM sender WHERE "     \
                     "identity=?1)")                                                               \
    X(VALUE_MARK_BY, "UPDATE value SET size=0, payload=x'', stored_ms=9223372036854775807, "       \
                     "expires_ms=9223372036854775807 WHERE size>0 AND sender=(SELECT id FROM "     \
                     "sender WHERE identity=?1)")                                                  \
    X(VALUE_FREE_BY, "UPDATE value SET gone=0 WHERE gone>0 AND sender=(SELECT id FROM sender "     \
                     "WHERE identity=?1)")                                                         \
    X(HELD_FIND, "SELECT bytes FROM held WHERE sender=(SELECT id FROM sender WHERE identity=?1)")  \
    X(HELD_EMPTY, "UPDATE held SET bytes=0 WHERE sender=(SELECT id FROM sender WHERE "             \
                  "identity=?1)")                                                                  \
    X(HELD_GROW, "INSERT INTO held(sender, bytes) VALUES(?1, ?2) ON CONFLICT DO UPDATE SET "       \
                 "bytes=bytes+excluded.bytes RETURNING bytes")                                     \
    X(STATEMENT_ADD, "INSERT OR REPLACE INTO statement(identity, statement) VALUES(?1,?2)")        \
    X(STATEMENT_ALL, "SELECT identity, statement FROM statement")                                  \
    X(PREKEY_ADD, "INSERT OR REPLACE INTO prekey(identity, statement) VALUES(?1,?2)")              \
    X(PREKEY_DROP, "DELETE FROM prekey WHERE identity=?1")                                         \
    X(PREKEY_ALL, "SELECT identity, statement FROM prekey")                                        \
    X(LIST, "SELECT s.filter, s.count, s.bytes, (SELECT min(number) FROM item WHERE "              \
            "stream=s.id), (SELECT max(number) FROM item WHERE stream=s.id), (SELECT count(*) "    \
            "FROM value WHERE stream=s.id AND size>0) FROM stream s "                              \
            "WHERE ?1 IS NULL OR s.filter=?1 ORDER BY s.filter")                                   \
    X(LIST_READERS, "SELECT component, name, filter, floor, (SELECT count(*) FROM settled "        \
                    "WHERE reader=r.id) FROM reader r ORDER BY component, name")                   \
    X(LIST_DEAD, "SELECT r.component, r.name, d.number, d.code, d.attempts, d.reason, d.at_ms, "   \
                 "t.name FROM dead d JOIN reader r ON r.id=d.reader JOIN item i ON "               \
                 "i.number=d.number JOIN topic t ON t.id=i.topic WHERE i.stream=(SELECT id FROM "  \
                 "stream WHERE filter=?1) ORDER BY d.number LIMIT 1000")

enum streams_statement {
#define STREAMS_ENUM(name, sql) SQL_##name,
    STREAMS_STATEMENTS(STREAMS_ENUM)
#undef STREAMS_ENUM
        SQL_COUNT
};

#define SWEEP_COLUMNS 3

/* A row, by its primary key; at[0] NULL: before the first one, or behind the last. */
struct sweep_place {
    sqlite3_value *at[SWEEP_COLUMNS];
};

struct streams {
    sqlite3 *db;
    char *path;
    int64_t older;   /* of an earlier layout that can only be read: which one; else 0 */
    bool is_unsound; /* a sync has failed: see streams_begin() */
    struct streams_limits limits;
    struct { /* how far streams_sweep() is */
        size_t table;
        struct sweep_place place; /* the last row it looked at in this table */
    } sweep;
    sqlite3_stmt *statements[SQL_COUNT];
};

struct item_ids {
    uint64_t stream, topic, sender;
    uint64_t marks; /* its sender has one more now: so many; else 0 */
};
/* The rows of its topic and sender, and whether it is above the sender's mark there, which then
 * moves. AICO_EQUOTA, with nothing done: it would have too many marks. */
int streams_ids(struct streams *s, const struct stored_message *message, struct item_ids *ret_ids,
                bool *ret_is_new, struct aico_error *err);
/* Its mark stays as long as message @number of the stream, or one after it, is there; 0: as long as
 * those that have none. */
int streams_note_number(struct streams *s, const struct stored_message *message,
                        const struct item_ids *ids, uint64_t number, struct aico_error *err);
/* The rows of its topic and sender. */
int streams_names(struct streams *s, const struct stored_message *message, struct item_ids *ret_ids,
                  struct aico_error *err);
/* The row of the stream @filter, made if need be. */
int streams_stream(struct streams *s, struct bytes filter, uint64_t *ret_id,
                   struct aico_error *err);
/* @count messages and @bytes more (or, wrapped around, less) are in the stream @id. */
int streams_grow(struct streams *s, uint64_t id, uint64_t count, uint64_t bytes,
                 struct aico_error *err);

/* A message that is removed. */
struct removed {
    uint64_t number, sender, topic, count, publish_id;
};
/* Notes for every durable reader that has not got them what of @stream up to @up_to is about to be
 * removed because of @code; *ret_missed counts the readers' rows. */
int missed_note_cut(struct streams *s, uint64_t stream, uint64_t up_to, int code,
                    uint64_t *ret_missed, struct aico_error *err);
/* The same of one message, @topic by name. */
int missed_note_one(struct streams *s, const struct removed *removed, struct bytes topic, int code,
                    uint64_t *ret_missed, struct aico_error *err);
/* For @reader, or if that is 0 the mailbox of @box. @one: it may still be settled. */
int missed_add(struct streams *s, uint64_t reader, const uint8_t *box, bool one, int code,
               const struct removed *removed, struct aico_error *err);
/* Forgets, of values that have been gone since before @before_ms, that they were there; some. */
int streams_values_forget(struct streams *s, int64_t before_ms, size_t rows_max, bool *ret_more,
                          struct aico_error *err);
/* The next streams_sweep() begins anew. */
void sweep_end(struct streams *s);
/* Deletes the values of the stream @id, and what stands for some that are gone. *ret_removed: the
 * values. */
int streams_values_purge(struct streams *s, uint64_t id, uint64_t *ret_removed,
                         struct aico_error *err);
/* Hands out the message in @row, of the columns of ITEM_SCAN; 1 when the sink wants more. */
int streams_hand_out(struct streams *s, sqlite3_stmt *row, struct bytes identities,
                     streams_sink sink, void *context, size_t *ret_size, struct aico_error *err);
/* Hands out what matches query->filter of the rows of @q, which the caller has bound: of the
 * columns of ITEM_SCAN, with those left out that have been settled. As streams_read(). */
int streams_scan(struct streams *s, sqlite3_stmt *q, const struct streams_query *query,
                 streams_sink sink, void *context, uint64_t *ret_after, bool *ret_more,
                 struct aico_error *err);
/* The sender with this id has too much of @what, @limit at most. AICO_EQUOTA. */
int streams_full(struct aico_error *err, struct bytes sender, uint64_t limit, const char *what);
/* The number @which finds for @identity, or if that is NULL for @number; 0: none. */
int streams_number(struct streams *s, enum streams_statement which, uint64_t number,
                   const uint8_t *identity, uint64_t *ret_number, struct aico_error *err);
/* A failed step: the code and cause for the caller. */
int streams_fail(struct streams *s, struct aico_error *err);
/* The statement, reset and with no value bound; NULL with @err. */
sqlite3_stmt *streams_statement(struct streams *s, enum streams_statement which,
                                struct aico_error *err);
/* Ends every use of a statement, or it would keep a read transaction open. */
void statement_end(sqlite3_stmt **statement);
void bind_bytes(sqlite3_stmt *q, int index, struct bytes bytes);
void bind_text(sqlite3_stmt *q, int index, struct bytes text);
void bind_number(sqlite3_stmt *q, int index, uint64_t number);
struct bytes column_bytes(sqlite3_stmt *q, int index);
uint64_t column_number(sqlite3_stmt *q, int index);
/* Runs statements of our own, as they stand. */
int streams_text(struct streams *s, const char *text, struct aico_error *err);
/* Runs a statement that gives no rows. */
int streams_run(struct streams *s, sqlite3_stmt *q, struct aico_error *err);
/* The same of the statement @which, whose one parameter is @number. */
int streams_run_one(struct streams *s, enum streams_statement which, uint64_t number,
                    struct aico_error *err);

#endif
