/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key files, public identities, signatures of files, master salts. Input: a file without its check
 * line (or its signature), which is made here, so that the lines themselves are reached. What opens
 * must be written again to what opens to the same seed.
 */
#include "fuzz.h"

#include "base/cleanup.h"
#include "base/hex.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "trust/keydoc.h"
#include "trust/receipt.h"
#include "trust/sigdoc.h"

#define MEM_MAX (64 * 1024) /* an Argon2 that fits the time of a fuzzer */

static void open_and_write(struct bytes text)
{
    CLEANUP(identity_free)
    struct identity *identity = NULL, *again = NULL;
    CLEANUP(buffer_wipe_deinit)
    struct buffer written = {0};
    struct keydoc doc;

    if (keydoc_inspect(text, &doc, NULL) < 0)
        return;
    require(component_name_is_valid(bytes_text(doc.name)));
    if (doc.is_protected && (doc.ops > 1 || doc.mem_bytes > MEM_MAX))
        return;
    if (keydoc_open(text, bytes_text("pass word"), false, &identity, NULL) < 0)
        return;
    require(memcmp(identity->public, doc.public, SIGN_PUBLIC_SIZE) == 0);
    require(keydoc_write(identity->name, &identity->seed, doc.transport_number, 0,
                         bytes_of(NULL, 0), 0, 0, NULL, NULL, &written) == 0);
    require(keydoc_open(buffer_view(&written), bytes_of(NULL, 0), true, &again, NULL) == 0);
    require(memcmp(again->public, identity->public, SIGN_PUBLIC_SIZE) == 0);
    require(memcmp(again->transport_public, identity->transport_public, DH_PUBLIC_SIZE) == 0);
    identity_free(&again);
}

static void try_key(struct bytes lines)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    uint8_t check[16];
    char hex[2 * sizeof(check) + 1];
    struct keydoc doc;
    uint8_t *copy = copy_of(lines);

    (void)!keydoc_inspect(bytes_of(copy, lines.size), &doc, NULL);
    free(copy);
    hash_tagged_n("keyfile check", lines, check, sizeof(check));
    hex_write(bytes_of(check, sizeof(check)), hex);
    require(buffer_append(&text, lines) == 0);
    require(buffer_printf(&text, "check %s\n", hex) == 0);
    open_and_write(buffer_view(&text));
}

static void try_public(struct bytes lines)
{
    static const struct secret seed = {{9}};
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    uint8_t signature[SIGNATURE_SIZE];
    char hex[2 * SIGNATURE_SIZE + 1];
    struct publicdoc doc;

    require(sign_make(&seed, "public", lines, bytes_of(NULL, 0), signature) == 0);
    hex_write(bytes_of(signature, sizeof(signature)), hex);
    require(buffer_append(&text, lines) == 0);
    require(buffer_printf(&text, "signature %s\n", hex) == 0);
    if (publicdoc_parse(buffer_view(&text), &doc, NULL) == 0)
        require(component_name_is_valid(bytes_text(doc.name)));
}

/* What parses is written again to the same bytes. */
static void try_signature(struct bytes lines)
{
    static const struct secret seed = {{9}};
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    CLEANUP(buffer_deinit)
    struct buffer text = {0}, again = {0};
    uint8_t signature[SIGNATURE_SIZE];
    char hex[2 * SIGNATURE_SIZE + 1];
    struct sigdoc doc;

    require(sign_make(&seed, "file", lines, bytes_of(NULL, 0), signature) == 0);
    hex_write(bytes_of(signature, sizeof(signature)), hex);
    require(buffer_append(&text, lines) == 0);
    require(buffer_printf(&text, "signature %s\n", hex) == 0);
    if (sigdoc_parse(buffer_view(&text), &doc, NULL) == 0) {
        require(identity_new(doc.name, &seed, 0, &identity) == 0);
        require(sigdoc_write(identity, bytes_text(doc.namespace), doc.created_ms, doc.size,
                             doc.hash, &again) == 0);
        require(bytes_equal(buffer_view(&text), buffer_view(&again)));
    }
    buffer_deinit(&again);
}

/* The same of a receipt, which names its receiver's key. */
static void try_receipt(struct bytes lines)
{
    static const struct secret seed = {{9}};
    CLEANUP(buffer_deinit)
    struct buffer text = {0}, again = {0};
    uint8_t signature[SIGNATURE_SIZE];
    char hex[2 * SIGNATURE_SIZE + 1];
    struct receipt receipt;

    require(sign_make(&seed, "receipt", lines, bytes_of(NULL, 0), signature) == 0);
    hex_write(bytes_of(signature, sizeof(signature)), hex);
    require(buffer_append(&text, lines) == 0);
    require(buffer_printf(&text, "signature %s\n", hex) == 0);
    if (receipt_parse(buffer_view(&text), &receipt, NULL) == 0) {
        require(receipt_write(&receipt, &again) == 0);
        require(bytes_equal(buffer_view(&text), buffer_view(&again)));
    }
    buffer_deinit(&again);
}

static void try_master(struct bytes lines)
{
    CLEANUP(buffer_deinit)
    struct buffer again = {0};
    uint8_t *copy = copy_of(lines);
    struct masterdoc doc;

    if (masterdoc_parse(bytes_of(copy, lines.size), &doc, NULL) == 0) {
        require(masterdoc_write(&doc, &again) == 0);
        require(bytes_equal(lines, buffer_view(&again)));
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    require(crypto_start() == 0);
    try_signature(bytes_of(data, size));
    try_receipt(bytes_of(data, size));
    try_master(bytes_of(data, size));
    try_key(bytes_of(data, size));
    try_public(bytes_of(data, size));
    return 0;
}
