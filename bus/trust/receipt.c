/* SPDX-License-Identifier: Apache-2.0 */
/* Receipts that readers sign. */
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/reader.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "trust/lines.h"
#include "trust/receipt.h"

#define LABEL "receipt"

void receipt_hash(struct bytes payload, uint8_t ret_hash[RECEIPT_HASH_SIZE])
{
    hash_n(payload, ret_hash, RECEIPT_HASH_SIZE);
}

/* Every line but the last. */
static int put_signed_part(const struct receipt *receipt, struct buffer *to)
{
    int r = buffer_printf(to, "aico-receipt 1\nnamespace %s\nsender ", receipt->namespace);

    if (r == 0)
        r = put_hex_line(to, receipt->sender, receipt->sender_public, SIGN_PUBLIC_SIZE);
    if (r == 0)
        r = buffer_append_text(to, "receiver ");
    if (r == 0)
        r = put_hex_line(to, receipt->receiver, receipt->receiver_public, SIGN_PUBLIC_SIZE);
    if (r == 0)
        r = buffer_append_text(to, "topic ");
    if (r == 0)
        r = put_encoded(to, bytes_text(receipt->topic));
    if (r == 0)
        r = buffer_printf(
            to, "\nmessage %016" PRIx64 " %016" PRIx64 "\ntaken %" PRId64 "\nsize %" PRIu64 "\n",
            receipt->run, receipt->number, receipt->taken_ms, receipt->size);
    return r < 0 ? r : put_hex_line(to, "hash", receipt->hash, RECEIPT_HASH_SIZE);
}

int receipt_sign(struct receipt *receipt, const struct identity *identity)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    int r;

    if (memcmp(identity->public, receipt->receiver_public, SIGN_PUBLIC_SIZE) != 0)
        return AICO_EINVAL;
    r = put_signed_part(receipt, &text);
    return r < 0 ? r
                 : sign_make_as(&identity->seed, identity->public, LABEL, buffer_view(&text),
                                bytes_of(NULL, 0), receipt->signature);
}

int receipt_verify(const struct receipt *receipt)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    int r = put_signed_part(receipt, &text);

    return r < 0 ? r
                 : sign_verify(receipt->receiver_public, LABEL, buffer_view(&text),
                               bytes_of(NULL, 0), receipt->signature);
}

int receipt_write(const struct receipt *receipt, struct buffer *ret_text)
{
    int r = put_signed_part(receipt, ret_text);

    return r < 0 ? r : put_hex_line(ret_text, "signature", receipt->signature, SIGNATURE_SIZE);
}

static bool parse_who(struct lines *lines, const char *word, char name[COMPONENT_NAME_MAX + 1],
                      uint8_t public[SIGN_PUBLIC_SIZE])
{
    struct bytes value, text;

    if (!line_is(lines, word, &value))
        return false;
    text = lines_word(&value);
    if (!component_name_is_valid(text) || !hex_parse(value, public, SIGN_PUBLIC_SIZE))
        return false;
    bytes_copy(name, text);
    name[text.size] = '\0';
    return true;
}

static bool parse_u64(struct bytes text, uint64_t *ret_value)
{
    uint8_t raw[8] = {0};
    struct reader r = reader_over(bytes_of(raw, sizeof(raw)));

    if (!hex_parse(text, raw, sizeof(raw)))
        return false;
    *ret_value = reader_u64(&r);
    return true;
}

static bool parse_topic(struct lines *lines, struct receipt *receipt)
{
    struct bytes value;
    size_t size;

    if (!line_is(lines, "topic", &value) ||
        !lines_decode(value, receipt->topic, TOPIC_SIZE_MAX, &size))
        return false;
    receipt->topic[size] = '\0';
    return topic_is_valid(bytes_of(receipt->topic, size));
}

static bool parse_lines(struct lines *lines, struct receipt *receipt)
{
    struct bytes value;
    uint64_t taken;

    if (!line_is(lines, "aico-receipt", &value) || !bytes_equal_text(value, "1") ||
        !line_is(lines, "namespace", &value) || value.size == 0 || value.size > NAMESPACE_MAX)
        return false;
    bytes_copy(receipt->namespace, value);
    if (!parse_who(lines, "sender", receipt->sender, receipt->sender_public) ||
        !parse_who(lines, "receiver", receipt->receiver, receipt->receiver_public) ||
        !parse_topic(lines, receipt))
        return false;
    if (!line_is(lines, "message", &value) || !parse_u64(lines_word(&value), &receipt->run) ||
        !parse_u64(value, &receipt->number))
        return false;
    if (!line_is(lines, "taken", &value) || !lines_decimal(value, INT64_MAX, &taken) ||
        !line_is(lines, "size", &value) || !lines_decimal(value, UINT32_MAX, &receipt->size))
        return false;
    receipt->taken_ms = (int64_t)taken;
    return line_is(lines, "hash", &value) && hex_parse(value, receipt->hash, RECEIPT_HASH_SIZE) &&
           line_is(lines, "signature", &value) &&
           hex_parse(value, receipt->signature, SIGNATURE_SIZE) && lines->rest.size == 0;
}

int receipt_parse(struct bytes document, struct receipt *ret, struct aico_error *err)
{
    struct receipt receipt = {0};
    struct lines lines = {document, 0};
    CLEANUP(buffer_deinit)
    struct buffer again = {0};
    int r;

    if (document.size > RECEIPT_TEXT_MAX || !parse_lines(&lines, &receipt))
        return aico_error_set(err, AICO_ERECEIPT, "line %zu: not a receipt of ours", lines.number);
    r = receipt_write(&receipt, &again);
    if (r == 0 && !bytes_equal(buffer_view(&again), document))
        return aico_error_set(err, AICO_ERECEIPT, "written in another form than ours");
    if (r == 0)
        r = receipt_verify(&receipt);
    if (r < 0)
        return aico_error_set(err, r, "the receipt was changed or is not by the key it names");
    *ret = receipt;
    return 0;
}
