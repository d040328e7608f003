/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a key file, PROTOCOL 2, in this order and nothing else:
 *
 *   aico-key 1
 *   name NAME
 *   created 2026-11-20T20:00:00Z
 *   public HEX64
 *   transport N
 *   protection none | protection argon2id OPS MEM SALT32
 *   verifier HEX32        only with argon2id
 *   secret HEX
 *   check HEX32           H16(TAG("keyfile check") || every byte before this line)
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "trust/keydoc.h"
#include "trust/lines.h"

#define CHECK_SIZE 16
#define VERIFIER_SIZE 16
#define SEALED_SIZE (AEAD_NONCE_SIZE + SECRET_SIZE + AEAD_TAG_SIZE)

/* A key file taken apart; the secret is still hex in the text. */
struct parts {
    struct keydoc doc;
    uint8_t verifier[VERIFIER_SIZE];
    struct bytes before_secret; /* associated data of the sealed seed */
    struct bytes secret;        /* hex */
};

static bool parse_protection(struct bytes value, struct keydoc *doc)
{
    struct bytes rest = value;

    if (bytes_equal_text(value, "none"))
        return true;
    doc->is_protected = true;
    return bytes_equal_text(lines_word(&rest), "argon2id") &&
           lines_decimal(lines_word(&rest), KEYDOC_OPS_MAX, &doc->ops) && doc->ops > 0 &&
           lines_decimal(lines_word(&rest), KEYDOC_MEM_MAX, &doc->mem_bytes) &&
           doc->mem_bytes >= 8192 && hex_parse(rest, doc->salt, sizeof(doc->salt));
}

static bool parse_lines(struct lines *lines, struct bytes text, struct parts *parts)
{
    struct keydoc *doc = &parts->doc;
    struct bytes value;
    uint64_t number;

    if (!line_is(lines, "aico-key", &value) || !bytes_equal_text(value, "1"))
        return false;
    if (!line_is(lines, "name", &value) || !component_name_is_valid(value))
        return false;
    bytes_copy(doc->name, value);
    if (!line_is(lines, "created", &value) || lines_time(value) < 0)
        return false;
    bytes_copy(doc->created, value);
    doc->created_ms = lines_time(value);
    if (!line_is(lines, "public", &value) || !hex_parse(value, doc->public, SIGN_PUBLIC_SIZE))
        return false;
    if (!line_is(lines, "transport", &value) || !lines_decimal(value, UINT32_MAX, &number))
        return false;
    doc->transport_number = (uint32_t)number;
    if (!line_is(lines, "protection", &value) || !parse_protection(value, doc))
        return false;
    if (doc->is_protected && (!line_is(lines, "verifier", &value) ||
                              !hex_parse(value, parts->verifier, sizeof(parts->verifier))))
        return false;
    parts->before_secret = bytes_of(text.at, text.size - lines->rest.size);
    return line_is(lines, "secret", &parts->secret) &&
           parts->secret.size == 2 * (doc->is_protected ? SEALED_SIZE : SECRET_SIZE);
}

static int take_apart(struct bytes text, struct parts *parts, struct aico_error *err)
{
    uint8_t stated[CHECK_SIZE], actual[CHECK_SIZE];
    struct lines lines = {text, 0};
    struct bytes checked, value;

    if (text.size < 10 || text.size > KEYDOC_SIZE_MAX || memcmp(text.at, "aico-key 1", 10) != 0)
        return aico_error_set(err, AICO_EKEYFILE, "not a key file of ours");
    /* The check comes first: a flipped bit anywhere is damage, whatever it does to the form. */
    for (size_t i = text.size - 1; i > 0; i--) {
        if (text.at[i - 1] != '\n')
            continue;
        lines.rest = bytes_of(text.at + i, text.size - i);
        checked = bytes_of(text.at, i);
        hash_tagged_n("keyfile check", checked, actual, sizeof(actual));
        if (!line_is(&lines, "check", &value) || lines.rest.size != 0 ||
            !hex_parse(value, stated, sizeof(stated)) ||
            !secret_equal(stated, actual, sizeof(stated)))
            return aico_error_set(err, AICO_EKEYFILEDAMAGED,
                                  "the key file is damaged (its check does not match), restore it "
                                  "from a backup");
        lines = (struct lines){checked, 0};
        if (!parse_lines(&lines, checked, parts) || lines.rest.size != 0)
            return aico_error_set(err, AICO_EKEYFILE, "line %zu of the key file has another form",
                                  lines.number);
        return 0;
    }
    return aico_error_set(err, AICO_EKEYFILEDAMAGED, "the key file is cut short");
}

int keydoc_inspect(struct bytes text, struct keydoc *ret, struct aico_error *err)
{
    struct parts parts = {0};
    int r = take_apart(text, &parts, err);

    if (r == 0)
        *ret = parts.doc;
    return r;
}

/* k from the passphrase, then verifier, then the sealed seed. */
static int open_protected(const struct parts *parts, struct bytes passphrase,
                          struct secret *ret_seed, struct aico_error *err)
{
    CLEANUP(secret_wipe)
    struct secret k = {0};
    CLEANUP(secret_wipe)
    struct secret derived = {0};
    uint8_t sealed[SEALED_SIZE];
    int r;

    if (passphrase.size == 0)
        return aico_error_set(err, AICO_EPASSPHRASE,
                              "the key is protected, give its passphrase: --passphrase-file FILE");
    r = passphrase_key(passphrase, parts->doc.salt, parts->doc.ops, parts->doc.mem_bytes, &k);
    if (r < 0)
        return aico_error_set(err, r, "Argon2id needs %" PRIu64 " MiB of memory",
                              parts->doc.mem_bytes >> 20);
    kdf(&k, "keyfile verifier", bytes_of(NULL, 0), &derived);
    if (!secret_equal(derived.at, parts->verifier, VERIFIER_SIZE))
        return aico_error_set(err, AICO_EPASSPHRASE, "wrong passphrase");
    if (!hex_parse(parts->secret, sealed, sizeof(sealed)))
        return aico_error_set(err, AICO_EKEYFILE, "the secret is not hex");
    kdf(&k, "keyfile seal", bytes_of(NULL, 0), &derived);
    if (aead_open(&derived, sealed, parts->before_secret, bytes_of(NULL, 0),
                  bytes_of(sealed + AEAD_NONCE_SIZE, sizeof(sealed) - AEAD_NONCE_SIZE),
                  ret_seed->at) < 0)
        return aico_error_set(err, AICO_EKEYFILEDAMAGED, "the sealed seed does not open");
    return 0;
}

int keydoc_open(struct bytes text, struct bytes passphrase, bool floors,
                struct identity **ret_identity, struct aico_error *err)
{
    CLEANUP(secret_wipe)
    struct secret seed = {0};
    struct identity *identity = NULL;
    struct parts parts = {0};
    int r = take_apart(text, &parts, err);

    if (r < 0)
        return r;
    if (floors && parts.doc.is_protected &&
        (parts.doc.ops < KEYDOC_OPS_FLOOR || parts.doc.mem_bytes < KEYDOC_MEM_FLOOR))
        return aico_error_set(err, AICO_EKEYFILE, "the key's Argon2id settings are too weak");
    if (parts.doc.is_protected)
        r = open_protected(&parts, passphrase, &seed, err);
    else if (!hex_parse(parts.secret, seed.at, SECRET_SIZE))
        r = aico_error_set(err, AICO_EKEYFILE, "the secret is not hex");
    if (r < 0)
        return r;

    r = identity_new(parts.doc.name, &seed, parts.doc.transport_number, &identity);
    if (r < 0)
        return aico_error_set(err, r, "%s", aico_error_string(r));
    if (memcmp(identity->public, parts.doc.public, SIGN_PUBLIC_SIZE) != 0) {
        identity_free(&identity);
        return aico_error_set(err, AICO_EKEYFILEMISMATCH,
                              "the public key in the key file does not belong to its secret");
    }
    *ret_identity = identity;
    return 0;
}

static int write_protected(const struct secret *seed, struct bytes passphrase, uint64_t ops,
                           uint64_t mem_bytes, const uint8_t salt[16], const uint8_t nonce[24],
                           size_t begin, struct buffer *to)
{
    CLEANUP(secret_wipe)
    struct secret k = {0};
    CLEANUP(secret_wipe)
    struct secret derived = {0};
    uint8_t sealed[SEALED_SIZE];
    char salt_hex[33];
    int r = passphrase_key(passphrase, salt, ops, mem_bytes, &k);

    if (r < 0)
        return r;
    hex_write(bytes_of(salt, 16), salt_hex);
    r = buffer_printf(to, "protection argon2id %" PRIu64 " %" PRIu64 " %s\n", ops, mem_bytes,
                      salt_hex);
    kdf(&k, "keyfile verifier", bytes_of(NULL, 0), &derived);
    if (r == 0)
        r = put_hex_line(to, "verifier", derived.at, VERIFIER_SIZE);
    if (r < 0)
        return r;
    kdf(&k, "keyfile seal", bytes_of(NULL, 0), &derived);
    memcpy(sealed, nonce, AEAD_NONCE_SIZE);
    aead_seal(&derived, nonce, bytes_of(to->at + begin, to->size - begin), bytes_of(NULL, 0),
              secret_view(seed), sealed + AEAD_NONCE_SIZE);
    return put_hex_line(to, "secret", sealed, sizeof(sealed));
}

int keydoc_write(const char *name, const struct secret *seed, uint32_t transport_number,
                 int64_t created_ms, struct bytes passphrase, uint64_t ops, uint64_t mem_bytes,
                 const uint8_t salt[16], const uint8_t nonce[24], struct buffer *ret_text)
{
    uint8_t public[SIGN_PUBLIC_SIZE], check[CHECK_SIZE];
    size_t begin = ret_text->size;
    char created[TIME_TEXT_SIZE];
    int r;

    if (!component_name_is_valid(bytes_text(name)) || time_write(created_ms, created) < 0)
        return AICO_EINVAL;
    sign_public(seed, public);
    r = buffer_printf(ret_text, "aico-key 1\nname %s\ncreated %s\n", name, created);
    if (r == 0)
        r = put_hex_line(ret_text, "public", public, sizeof(public));
    if (r == 0)
        r = buffer_printf(ret_text, "transport %" PRIu32 "\n", transport_number);
    if (r == 0 && passphrase.size > 0) {
        r = write_protected(seed, passphrase, ops, mem_bytes, salt, nonce, begin, ret_text);
    } else if (r == 0) {
        r = buffer_append_text(ret_text, "protection none\n");
        if (r == 0)
            r = put_hex_line(ret_text, "secret", seed->at, SECRET_SIZE);
    }
    if (r < 0)
        return r;
    hash_tagged_n("keyfile check", bytes_of(ret_text->at + begin, ret_text->size - begin), check,
                  sizeof(check));
    return put_hex_line(ret_text, "check", check, sizeof(check));
}

int publicdoc_write(const struct identity *identity, struct buffer *ret_text)
{
    uint8_t signature[SIGNATURE_SIZE];
    size_t begin = ret_text->size;
    int r = buffer_printf(ret_text, "aico-public 1\nname %s\n", identity->name);

    if (r == 0)
        r = put_hex_line(ret_text, "public", identity->public, SIGN_PUBLIC_SIZE);
    if (r == 0)
        r = put_hex_line(ret_text, "transport-public", identity->transport_public, DH_PUBLIC_SIZE);
    if (r == 0)
        r = sign_make(&identity->seed, "public",
                      bytes_of(ret_text->at + begin, ret_text->size - begin), bytes_of(NULL, 0),
                      signature);
    return r < 0 ? r : put_hex_line(ret_text, "signature", signature, sizeof(signature));
}

int publicdoc_parse(struct bytes text, struct publicdoc *ret, struct aico_error *err)
{
    struct publicdoc doc = {0};
    uint8_t signature[SIGNATURE_SIZE];
    struct lines lines = {text, 0};
    struct bytes value, signed_part;

    if (text.size > KEYDOC_SIZE_MAX || !line_is(&lines, "aico-public", &value) ||
        !bytes_equal_text(value, "1"))
        return aico_error_set(err, AICO_EPUBLICFILE, "not a public identity file of ours");
    if (!line_is(&lines, "name", &value) || !component_name_is_valid(value))
        return aico_error_set(err, AICO_EPUBLICFILE, "line 2: not a component name");
    bytes_copy(doc.name, value);
    if (!line_is(&lines, "public", &value) || !hex_parse(value, doc.public, SIGN_PUBLIC_SIZE) ||
        !line_is(&lines, "transport-public", &value) ||
        !hex_parse(value, doc.transport, DH_PUBLIC_SIZE))
        return aico_error_set(err, AICO_EPUBLICFILE, "line %zu: not a public key", lines.number);
    signed_part = bytes_of(text.at, text.size - lines.rest.size);
    if (!line_is(&lines, "signature", &value) || lines.rest.size != 0 ||
        !hex_parse(value, signature, sizeof(signature)))
        return aico_error_set(err, AICO_EPUBLICFILE, "line %zu: not a signature", lines.number);
    if (sign_verify(doc.public, "public", signed_part, bytes_of(NULL, 0), signature) < 0)
        return aico_error_set(err, AICO_ESIGNATURE, "not signed by the key it names");
    *ret = doc;
    return 0;
}
