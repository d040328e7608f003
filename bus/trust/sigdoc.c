/* SPDX-License-Identifier: Apache-2.0 */
/* Detached signatures and the salt of a master passphrase. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "trust/keydoc.h"
#include "trust/lines.h"
#include "trust/registry.h"
#include "trust/sigdoc.h"

#define SIZE_MAX_DIGITS ((uint64_t)1 << 62)

_Static_assert(sizeof(((struct sigdoc *)NULL)->namespace) == NAMESPACE_MAX + 1, "a namespace fits");

static bool is_namespace(struct bytes text)
{
    if (text.size == 0 || text.size > NAMESPACE_MAX)
        return false;
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] <= 0x20 || text.at[i] == 0x7f)
            return false;
    return true;
}

int sigdoc_write(const struct identity *identity, struct bytes namespace, int64_t created_ms,
                 uint64_t size, const uint8_t hash[FILE_HASH_SIZE], struct buffer *ret_text)
{
    uint8_t signature[SIGNATURE_SIZE];
    size_t begin = ret_text->size;
    char created[TIME_TEXT_SIZE];
    int r;

    if (!is_namespace(namespace) || time_write(created_ms, created) < 0)
        return AICO_EINVAL;
    r = buffer_printf(ret_text, "aico-signature 1\nnamespace %.*s\nname %s\n", (int)namespace.size,
                      (const char *)namespace.at, identity->name);
    if (r == 0)
        r = put_hex_line(ret_text, "public", identity->public, SIGN_PUBLIC_SIZE);
    if (r == 0)
        r = buffer_printf(ret_text, "created %s\nsize %" PRIu64 "\n", created, size);
    if (r == 0)
        r = put_hex_line(ret_text, "hash", hash, FILE_HASH_SIZE);
    if (r == 0)
        r = sign_make(&identity->seed, "file",
                      bytes_of(ret_text->at + begin, ret_text->size - begin), bytes_of(NULL, 0),
                      signature);
    return r < 0 ? r : put_hex_line(ret_text, "signature", signature, sizeof(signature));
}

static bool parse_signed_part(struct lines *lines, struct sigdoc *doc)
{
    struct bytes value;

    if (!line_is(lines, "aico-signature", &value) || !bytes_equal_text(value, "1"))
        return false;
    if (!line_is(lines, "namespace", &value) || !is_namespace(value))
        return false;
    bytes_copy(doc->namespace, value);
    if (!line_is(lines, "name", &value) || !component_name_is_valid(value))
        return false;
    bytes_copy(doc->name, value);
    if (!line_is(lines, "public", &value) || !hex_parse(value, doc->public, SIGN_PUBLIC_SIZE))
        return false;
    if (!line_is(lines, "created", &value) || (doc->created_ms = lines_time(value)) < 0)
        return false;
    if (!line_is(lines, "size", &value) || !lines_decimal(value, SIZE_MAX_DIGITS, &doc->size))
        return false;
    return line_is(lines, "hash", &value) && hex_parse(value, doc->hash, FILE_HASH_SIZE);
}

int sigdoc_parse(struct bytes text, struct sigdoc *ret, struct aico_error *err)
{
    struct sigdoc doc = {0};
    uint8_t signature[SIGNATURE_SIZE];
    struct lines lines = {text, 0};
    struct bytes value, signed_part;

    if (text.size > SIGDOC_SIZE_MAX || !parse_signed_part(&lines, &doc))
        return aico_error_set(err, AICO_ESIGNATUREFILE,
                              "line %zu: not a signature file of ours, make one: aico-keytool sign "
                              "FILE --as NAME",
                              lines.number);
    signed_part = bytes_of(text.at, text.size - lines.rest.size);
    if (!line_is(&lines, "signature", &value) || lines.rest.size != 0 ||
        !hex_parse(value, signature, sizeof(signature)))
        return aico_error_set(err, AICO_ESIGNATUREFILE, "line %zu: not a signature", lines.number);
    if (sign_verify(doc.public, "file", signed_part, bytes_of(NULL, 0), signature) < 0)
        return aico_error_set(err, AICO_ESIGNATURE,
                              "the signature was changed or is not by the key it names");
    *ret = doc;
    return 0;
}

int masterdoc_write(const struct masterdoc *doc, struct buffer *ret_text)
{
    char salt[2 * sizeof(doc->salt) + 1];
    int r;

    hex_write(bytes_of(doc->salt, sizeof(doc->salt)), salt);
    r = buffer_printf(ret_text, "aico-master 1\nargon2id %" PRIu64 " %" PRIu64 " %s\n", doc->ops,
                      doc->mem_bytes, salt);
    return r < 0 ? r : put_hex_line(ret_text, "verifier", doc->verifier, sizeof(doc->verifier));
}

int masterdoc_parse(struct bytes text, struct masterdoc *ret, struct aico_error *err)
{
    struct masterdoc doc = {0};
    struct lines lines = {text, 0};
    struct bytes value;

    if (!line_is(&lines, "aico-master", &value) || !bytes_equal_text(value, "1") ||
        !line_is(&lines, "argon2id", &value) ||
        !lines_decimal(lines_word(&value), KEYDOC_OPS_MAX, &doc.ops) ||
        !lines_decimal(lines_word(&value), KEYDOC_MEM_MAX, &doc.mem_bytes) ||
        !hex_parse(value, doc.salt, sizeof(doc.salt)) || !line_is(&lines, "verifier", &value) ||
        !hex_parse(value, doc.verifier, sizeof(doc.verifier)) || lines.rest.size != 0)
        return aico_error_set(err, AICO_EMASTERFILE,
                              "line %zu: not the salt of a master passphrase, restore it from a "
                              "backup",
                              lines.number);
    if (doc.ops < KEYDOC_OPS_FLOOR || doc.mem_bytes < KEYDOC_MEM_FLOOR)
        return aico_error_set(err, AICO_EMASTERFILE, "its Argon2id settings are too weak");
    *ret = doc;
    return 0;
}

int master_open(const struct masterdoc *doc, struct bytes passphrase, struct secret *ret_master,
                uint8_t ret_verifier[16])
{
    CLEANUP(secret_wipe)
    struct secret derived = {0};
    int r = passphrase_key(passphrase, doc->salt, doc->ops, doc->mem_bytes, ret_master);

    if (r < 0)
        return r;
    kdf(ret_master, "master verifier", bytes_of(NULL, 0), &derived);
    memcpy(ret_verifier, derived.at, 16);
    return 0;
}
