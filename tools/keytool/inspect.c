/* SPDX-License-Identifier: Apache-2.0 */
/* inspect: takes a file of ours apart, by its content, without any secret. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "envelope/envelope.h"
#include "keytool/keytool.h"
#include "trust/keydoc.h"
#include "trust/sigdoc.h"

#define INSPECT_SIZE_MAX (20u * 1024 * 1024)

/* Name and value, as text or as one member of a JSON object. */
struct report {
    bool json, began;
};

static void put(struct report *report, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void put(struct report *report, const char *name, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (report->json) {
        (void)printf("%s\"%s\":", report->began ? "," : "{", name);
        put_json_text(text, strlen(text));
    } else {
        (void)printf("%-14s %s\n", name, text);
    }
    report->began = true;
}

static void put_hex(struct report *report, const char *name, const void *at, size_t size)
{
    char text[2 * 64 + 1];

    hex_write(bytes_of(at, MIN(size, (size_t)64)), text);
    put(report, name, "%s", text);
}

static int inspect_key(struct report *report, struct bytes text, struct aico_error *err)
{
    char fingerprint[FINGERPRINT_TEXT_SIZE];
    struct keydoc doc;
    int r = keydoc_inspect(text, &doc, err);

    if (r < 0)
        return r;
    fingerprint_write(doc.public, fingerprint);
    put(report, "type", "key file");
    put(report, "name", "%s", doc.name);
    put(report, "created", "%s", doc.created);
    put(report, "fingerprint", "%s", fingerprint);
    put_hex(report, "identity", doc.public, sizeof(doc.public));
    put(report, "transport", "%" PRIu32, doc.transport_number);
    if (doc.is_protected)
        put(report, "protection", "argon2id, %" PRIu64 " passes, %" PRIu64 " MiB", doc.ops,
            doc.mem_bytes >> 20);
    else
        put(report, "protection", "none");
    return 0;
}

static int inspect_signature(struct report *report, struct bytes text, struct aico_error *err)
{
    char fingerprint[FINGERPRINT_TEXT_SIZE], time[WHEN_SIZE];
    struct sigdoc doc;
    int r = sigdoc_parse(text, &doc, err);

    if (r < 0)
        return r;
    fingerprint_write(doc.public, fingerprint);
    put(report, "type", "signature of a file");
    put(report, "namespace", "%s", doc.namespace);
    put(report, "name", "%s", doc.name);
    put(report, "created", "%s", when(doc.created_ms, time));
    put(report, "fingerprint", "%s", fingerprint);
    put_hex(report, "identity", doc.public, sizeof(doc.public));
    put(report, "size", "%" PRIu64 " bytes", doc.size);
    put_hex(report, "hash", doc.hash, sizeof(doc.hash));
    put(report, "signature", "verified with the key it names");
    return 0;
}

static int inspect_master(struct report *report, struct bytes text, struct aico_error *err)
{
    struct masterdoc doc;
    int r = masterdoc_parse(text, &doc, err);

    if (r < 0)
        return r;
    put(report, "type", "salt of a master passphrase");
    put(report, "protection", "argon2id, %" PRIu64 " passes, %" PRIu64 " MiB", doc.ops,
        doc.mem_bytes >> 20);
    put_hex(report, "salt", doc.salt, sizeof(doc.salt));
    return 0;
}

static int inspect_public(struct report *report, struct bytes text, struct aico_error *err)
{
    char fingerprint[FINGERPRINT_TEXT_SIZE];
    struct publicdoc doc;
    int r = publicdoc_parse(text, &doc, err);

    if (r < 0)
        return r;
    fingerprint_write(doc.public, fingerprint);
    put(report, "type", "public identity");
    put(report, "name", "%s", doc.name);
    put(report, "fingerprint", "%s", fingerprint);
    put_hex(report, "identity", doc.public, sizeof(doc.public));
    put_hex(report, "transport", doc.transport, sizeof(doc.transport));
    put(report, "signature", "verified");
    return 0;
}

/* Who and what stands in it; --json has these from list and rule list. */
static void put_lines(const struct registry *registry)
{
    char fingerprint[FINGERPRINT_TEXT_SIZE], time[WHEN_SIZE];

    for (size_t i = 0; i < registry_component_count(registry); i++) {
        const struct component *c = registry_component_at(registry, i);

        fingerprint_write(c->identity, fingerprint);
        (void)printf("component      %s %s %s", c->name, state_word(c), fingerprint);
        if (c->replaced_until_ms != INT64_MAX)
            (void)printf(" until %s", when(c->replaced_until_ms, time));
        (void)printf("%s\n", c->peer_aico ? " peer aico" : "");
    }
    for (size_t i = 0; i < registry_rule_count(registry); i++) {
        const struct rule *rule = registry_rule_at(registry, i);

        (void)printf("rule           %.*s (line %zu)\n", (int)rule->filter.size,
                     (const char *)rule->filter.at, rule->line);
    }
}

/* Verified against the owner it names: whether that is *your* owner says the fingerprint. */
static int inspect_registry(struct report *report, struct bytes text, struct aico_error *err)
{
    static const char word[] = "\nowner ";
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    const uint8_t *at = memmem(text.at, text.size, word, sizeof(word) - 1);
    const uint8_t *ns = memmem(text.at, text.size, "\nnamespace ", 11), *end;
    uint8_t owner[SIGN_PUBLIC_SIZE];
    char fingerprint[FINGERPRINT_TEXT_SIZE];
    int r;

    if (!at || !ns || (size_t)(text.at + text.size - at) < sizeof(word) + 64 ||
        !hex_parse(bytes_of(at + sizeof(word) - 1, 64), owner, sizeof(owner)))
        return aico_error_set(err, AICO_EREGISTRY, "a registry without owner or namespace");
    ns += 11;
    end = memchr(ns, '\n', (size_t)(text.at + text.size - ns));
    r = registry_parse(text, owner, bytes_of(ns, end ? (size_t)(end - ns) : 0), &registry, err);
    if (r < 0)
        return r;
    fingerprint_write(owner, fingerprint);
    put(report, "type", "registry");
    put(report, "namespace", "%.*s", (int)registry_namespace(registry).size,
        (const char *)registry_namespace(registry).at);
    put(report, "version", "%" PRIu64, registry_version(registry));
    put(report, "issued_ms", "%" PRId64, registry_issued_ms(registry));
    put(report, "owner", "%s", fingerprint);
    if (registry_owner_next(registry)) {
        fingerprint_write(registry_owner_next(registry), fingerprint);
        put(report, "next_owner", "%s", fingerprint);
    }
    put_hex(report, "hash", registry_hash(registry), REGISTRY_HASH_SIZE);
    put(report, "components", "%zu", registry_component_count(registry));
    put(report, "rules", "%zu", registry_rule_count(registry));
    put(report, "signature", "verified with the owner it names");
    if (!report->json)
        put_lines(registry);
    return 0;
}

static int inspect_envelope(struct report *report, struct bytes wire, struct aico_error *err)
{
    static const char *const trailers[] = {"none", "vector", "signature"};
    struct envelope envelope;
    int r = envelope_parse(wire, &envelope);

    if (r < 0)
        return aico_error_set(err, r, "%s: %s", aico_error_name(r), aico_error_string(r));
    put(report, "type", "AICO-MSG");
    put(report, "format", "%u", envelope.format);
    put(report, "size", "%zu", wire.size);
    put_hex(report, "nonce", envelope.nonce.at, envelope.nonce.size);
    if (envelope.format != 0) {
        put_hex(report, "key_id", envelope.key_id.at, envelope.key_id.size);
        put(report, "epoch", "%" PRIu32, envelope.epoch);
        put(report, "sequence", "%" PRIu32, envelope.sequence);
    }
    put(report, "metadata", "%.*s",
        envelope.format == 0 ? (int)MIN(envelope.metadata.size, (size_t)400) : 0,
        (const char *)envelope.metadata.at);
    put(report, "padded", envelope.padded ? "yes" : "no");
    put(report, "headers", envelope.headers ? "yes" : "no");
    put(report, "sealed", "%zu bytes", envelope.sealed.size);
    put(report, "trailer", "%s",
        envelope.trailer_kind == ENVELOPE_TRAILER_NONE     ? trailers[0]
        : envelope.trailer_kind == ENVELOPE_TRAILER_VECTOR ? trailers[1]
                                                           : trailers[2]);
    return 0;
}

int verb_inspect(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    static const struct {
        const char *magic;
        int (*inspect)(struct report *, struct bytes, struct aico_error *);
    } kinds[] = {
        {"aico-key ", inspect_key},           {"aico-public ", inspect_public},
        {"aico-registry ", inspect_registry}, {"aico-signature ", inspect_signature},
        {"aico-master ", inspect_master},     {"AICO-MSG", inspect_envelope},
    };
    struct report report = {k->json, false};
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    int r = file_read(arguments[0], FILE_TRUSTED, INSPECT_SIZE_MAX, &text, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        size_t size = strlen(kinds[i].magic);

        if (text.size < size || memcmp(text.at, kinds[i].magic, size) != 0)
            continue;
        r = kinds[i].inspect(&report, buffer_view(&text), err);
        if (r == 0 && k->json)
            (void)puts("}");
        return r < 0 ? aico_error_prefix(err, r, "%s", arguments[0]) : 0;
    }
    return aico_error_set(err, AICO_EINVAL,
                          "%s: neither a key file, public identity, registry, signature, "
                          "master salt nor AICO-MSG",
                          arguments[0]);
}
