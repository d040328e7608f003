/* SPDX-License-Identifier: Apache-2.0 */
/* Writing and reading the audit log; audit.h has its form. */
#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/writer.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "trust/audit.h"
#include "trust/lines.h"

#define ID_TEXT (2 * AUDIT_ID_SIZE)
#define ADDRESS_MAX 200
#define COUNT_MAX ((uint64_t)1 << 62)

/* --- the chain -------------------------------------------------------------------------------- */

static void chain_start(struct audit_chain *chain, struct bytes header)
{
    hash_tagged_n("audit log", header, chain->hash, sizeof(chain->hash));
}

static void chain_feed(struct audit_chain *chain, struct bytes line)
{
    struct hasher h;

    hasher_begin(&h, sizeof(chain->hash));
    hasher_tag(&h, "audit line");
    hasher_feed(&h, bytes_of(chain->hash, sizeof(chain->hash)));
    hasher_feed(&h, line);
    hasher_end(&h, chain->hash, sizeof(chain->hash));
}

/* What a head's signature is over. */
struct head_text {
    uint8_t at[1 + NAMESPACE_MAX + AUDIT_ID_SIZE + 8 + AUDIT_HASH_SIZE + 8];
    size_t size;
};

static struct head_text head_text(const struct audit_head *head, struct bytes namespace)
{
    struct head_text text;
    struct writer w = writer_over(text.at, sizeof(text.at));

    writer_lp8(&w, namespace);
    writer_bytes(&w, bytes_of(head->id, sizeof(head->id)));
    writer_u64(&w, head->entries);
    writer_bytes(&w, bytes_of(head->hash, sizeof(head->hash)));
    writer_u64(&w, head->time_ms);
    text.size = writer_view(&w).size;
    return text;
}

/* --- writing ---------------------------------------------------------------------------------- */

int audit_begin(struct audit_chain *chain, struct bytes namespace, const struct identity *broker,
                const uint8_t id[AUDIT_ID_SIZE], const uint8_t previous[AUDIT_HASH_SIZE],
                struct buffer *to)
{
    size_t begin = to->size;
    int r;

    if (namespace.size == 0 || namespace.size > NAMESPACE_MAX)
        return AICO_EINVAL;
    *chain = (struct audit_chain){.entries = 0};
    bytes_copy(chain->namespace, namespace);
    memcpy(chain->broker, broker->public, sizeof(chain->broker));
    memcpy(chain->id, id, sizeof(chain->id));
    memcpy(chain->previous, previous, sizeof(chain->previous));
    r = buffer_printf(to, "aico-audit 1\nnamespace %s\n", chain->namespace);
    if (r == 0)
        r = put_hex_line(to, "broker", chain->broker, sizeof(chain->broker));
    if (r == 0)
        r = put_hex_line(to, "log", chain->id, sizeof(chain->id));
    if (r == 0)
        r = put_hex_line(to, "previous", chain->previous, sizeof(chain->previous));
    if (r < 0)
        return r;
    chain_start(chain, bytes_of(to->at + begin, to->size - begin));
    return 0;
}

/* One word of a line: blanks become `_`, what would end the line `?`. */
static void put_word(char *to, size_t size, const char *from)
{
    size_t i = 0;

    if (!*from)
        from = "-";
    for (; from[i] && i + 1 < size; i++)
        to[i] = from[i] == ' '                                     ? '_'
                : (unsigned char)from[i] > 0x20 && from[i] != 0x7f ? from[i]
                                                                   : '?';
    to[i] = '\0';
}

int audit_add(struct audit_chain *chain, const struct audit_entry *entry, struct buffer *to)
{
    size_t begin = to->size, text_at;
    char time[TIME_TEXT_SIZE], kind[32], component[COMPONENT_NAME_MAX + 1], address[ADDRESS_MAX];
    int r;

    if (time_write(entry->time_ms, time) < 0)
        return AICO_EINVAL;
    put_word(kind, sizeof(kind), entry->kind);
    put_word(component, sizeof(component), entry->component);
    put_word(address, sizeof(address), entry->address);
    r = buffer_printf(to, "%" PRIu64 " %s %s %s %s %d ", chain->entries + 1, time, kind, component,
                      address, entry->code);
    text_at = to->size;
    if (r == 0)
        r = buffer_printf(to, "%.*s\n", AUDIT_TEXT_MAX, *entry->text ? entry->text : "-");
    if (r < 0) {
        to->size = begin;
        return r;
    }
    for (size_t i = text_at; i + 1 < to->size; i++)
        if (to->at[i] < 0x20 || to->at[i] == 0x7f)
            to->at[i] = '?';
    chain->entries++;
    chain_feed(chain, bytes_of(to->at + begin, to->size - begin));
    return 0;
}

int audit_sign(struct audit_chain *chain, const struct identity *broker, int64_t now_ms,
               struct buffer *to)
{
    struct audit_head head = {.entries = chain->entries, .time_ms = (uint64_t)now_ms};
    char id[ID_TEXT + 1], hash[2 * AUDIT_HASH_SIZE + 1], signature[2 * SIGNATURE_SIZE + 1];
    size_t begin = to->size;
    struct head_text text;
    int r;

    memcpy(head.id, chain->id, sizeof(head.id));
    memcpy(head.hash, chain->hash, sizeof(head.hash));
    text = head_text(&head, bytes_text(chain->namespace));
    r = sign_make_as(&broker->seed, broker->public, "audit head", bytes_of(text.at, text.size),
                     bytes_of(NULL, 0), head.signature);
    if (r < 0)
        return r;
    hex_write(bytes_of(head.id, sizeof(head.id)), id);
    hex_write(bytes_of(head.hash, sizeof(head.hash)), hash);
    hex_write(bytes_of(head.signature, sizeof(head.signature)), signature);
    r = buffer_printf(to, "head %s %" PRIu64 " %s %" PRIu64 " %s\n", id, head.entries, hash,
                      head.time_ms, signature);
    if (r < 0)
        return r;
    chain_feed(chain, bytes_of(to->at + begin, to->size - begin));
    return 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

int audit_head_parse(struct bytes line, struct audit_head *ret_head)
{
    struct audit_head head = {.entries = 0};

    if (!bytes_equal_text(lines_word(&line), "head") ||
        !hex_parse(lines_word(&line), head.id, sizeof(head.id)) ||
        !lines_decimal(lines_word(&line), COUNT_MAX, &head.entries) ||
        !hex_parse(lines_word(&line), head.hash, sizeof(head.hash)) ||
        !lines_decimal(lines_word(&line), COUNT_MAX, &head.time_ms) ||
        !hex_parse(line, head.signature, sizeof(head.signature)))
        return AICO_EAUDIT;
    *ret_head = head;
    return 0;
}

int audit_head_verify(const struct audit_head *head, struct bytes namespace,
                      const uint8_t public[SIGN_PUBLIC_SIZE])
{
    struct head_text text;

    if (namespace.size > NAMESPACE_MAX)
        return AICO_ESIGNATURE;
    text = head_text(head, namespace);
    return sign_verify(public, "audit head", bytes_of(text.at, text.size), bytes_of(NULL, 0),
                       head->signature);
}

static int read_header(struct lines *lines, struct bytes namespace,
                       const uint8_t public[SIGN_PUBLIC_SIZE], struct audit_chain *chain,
                       struct aico_error *err)
{
    struct bytes value;

    if (!line_is(lines, "aico-audit", &value) || !bytes_equal_text(value, "1") ||
        !line_is(lines, "namespace", &value) || value.size > NAMESPACE_MAX)
        return aico_error_set(err, AICO_EAUDIT, "line %zu: not an audit log of ours",
                              lines->number);
    if (!bytes_equal(value, namespace))
        return aico_error_set(err, AICO_ENAMESPACE, "line 2: the log of namespace %.*s",
                              (int)value.size, (const char *)value.at);
    bytes_copy(chain->namespace, value);
    if (!line_is(lines, "broker", &value) || !hex_parse(value, chain->broker, SIGN_PUBLIC_SIZE))
        return aico_error_set(err, AICO_EAUDIT, "line 3: not the key of a broker");
    if (memcmp(chain->broker, public, SIGN_PUBLIC_SIZE) != 0) /* public */
        return aico_error_set(err, AICO_EBROKERKEY,
                              "line 3: written by another broker than the registry names");
    if (!line_is(lines, "log", &value) || !hex_parse(value, chain->id, AUDIT_ID_SIZE) ||
        !line_is(lines, "previous", &value) || !hex_parse(value, chain->previous, AUDIT_HASH_SIZE))
        return aico_error_set(err, AICO_EAUDIT, "line %zu: not the head of an audit log",
                              lines->number);
    return 0;
}

/* NUMBER TIME KIND COMPONENT ADDRESS CODE TEXT, the number being the next one. */
static int read_entry(struct bytes line, size_t number, const struct audit_chain *chain,
                      struct aico_error *err)
{
    uint64_t entry = 0;

    if (!lines_decimal(lines_word(&line), COUNT_MAX, &entry) || lines_time(lines_word(&line)) < 0)
        return aico_error_set(err, AICO_EAUDIT, "line %zu: neither an entry nor a head", number);
    for (int word = 0; word < 4; word++)
        if (lines_word(&line).size == 0)
            return aico_error_set(err, AICO_EAUDIT, "line %zu: an entry with too few words",
                                  number);
    if (entry != chain->entries + 1)
        return aico_error_set(err, AICO_EAUDIT,
                              "line %zu: entry %" PRIu64 " where %" PRIu64 " belongs", number,
                              entry, chain->entries + 1);
    return 0;
}

static int read_head(struct bytes line, size_t number, struct audit_report *report,
                     struct aico_error *err)
{
    const struct audit_chain *chain = &report->chain;
    struct audit_head head;

    if (audit_head_parse(line, &head) < 0)
        return aico_error_set(err, AICO_EAUDIT, "line %zu: not a head", number);
    if (memcmp(head.id, chain->id, AUDIT_ID_SIZE) != 0 || head.entries != chain->entries ||
        memcmp(head.hash, chain->hash, sizeof(head.hash)) != 0) /* public */
        return aico_error_set(
            err, AICO_EAUDIT,
            "line %zu: the broker signed other entries than stand above it (%" PRIu64 " to %" PRIu64
            " were changed, added or taken away)",
            number, report->signed_entries + 1, chain->entries);
    if (audit_head_verify(&head, bytes_text(chain->namespace), chain->broker) < 0)
        return aico_error_set(err, AICO_ESIGNATURE, "line %zu: the broker did not sign this head",
                              number);
    report->signed_entries = head.entries;
    report->last = head;
    return 0;
}

int audit_read(struct bytes text, struct bytes namespace, const uint8_t public[SIGN_PUBLIC_SIZE],
               audit_saw_head saw, void *context, struct audit_report *ret, struct aico_error *err)
{
    struct audit_report report = {.signed_entries = 0};
    struct lines lines = {text, 0};
    size_t number;
    int r = read_header(&lines, namespace, public, &report.chain, err);

    if (r < 0)
        return r;
    report.whole = text.size - lines.rest.size;
    chain_start(&report.chain, bytes_of(text.at, report.whole));
    for (number = lines.number + 1;; number++) {
        struct bytes rest = bytes_of(text.at + report.whole, text.size - report.whole), line;
        const uint8_t *end = rest.size > 0 ? memchr(rest.at, '\n', rest.size) : NULL;

        if (!end)
            break;
        line = bytes_of(rest.at, (size_t)(end - rest.at));
        if (line.size >= AUDIT_LINE_MAX)
            return aico_error_set(err, AICO_EAUDIT, "line %zu: longer than a line can be", number);
        if (line.size > 5 && memcmp(line.at, "head ", 5) == 0) {
            r = read_head(line, number, &report, err);
            if (r == 0 && saw)
                saw(context, &report.last);
        } else {
            r = read_entry(line, number, &report.chain, err);
            report.chain.entries += r == 0;
        }
        if (r < 0)
            return r;
        chain_feed(&report.chain, bytes_of(line.at, line.size + 1));
        report.whole += line.size + 1;
    }
    *ret = report;
    return 0;
}
