/* SPDX-License-Identifier: Apache-2.0 */
/* receipt: what readers signed when they took a message (trust/receipt.h). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "keytool/keytool.h"
#include "store/file.h"
#include "trust/receipt.h"
#include "trust/sigdoc.h"

#define FILE_SIZE_MAX ((size_t)64 * 1024 * 1024)
#define FIRST_LINE "aico-receipt "

/* What all receipts of a file are held against. */
struct expectation {
    const struct registry *registry;
    bool has_content;
    uint64_t size;
    uint8_t hash[FILE_HASH_SIZE];
};

_Static_assert(FILE_HASH_SIZE == RECEIPT_HASH_SIZE, "a payload is hashed as a file is");

static int check(const struct expectation *e, const struct receipt *receipt, struct aico_error *err)
{
    const struct component *sender = registry_find_identity(e->registry, receipt->sender_public);
    int r;

    if (!bytes_equal_text(registry_namespace(e->registry), receipt->namespace))
        return aico_error_set(err, AICO_ENAMESPACE, "for the namespace %s, ours is %.*s",
                              receipt->namespace, (int)registry_namespace(e->registry).size,
                              (const char *)registry_namespace(e->registry).at);
    if (!sender || strcmp(sender->name, receipt->sender) != 0)
        return aico_error_set(err, AICO_EUNKNOWN,
                              "for a message of %s, whose key is not known here", receipt->sender);
    r = check_component(e->registry, receipt->receiver, receipt->receiver_public, err);
    if (r == 0 && e->has_content &&
        (receipt->size != e->size || memcmp(receipt->hash, e->hash, sizeof(e->hash)) != 0))
        r = aico_error_set(err, AICO_EOPEN,
                           "not for this content: the message had %" PRIu64 " bytes",
                           receipt->size);
    return r;
}

static void put(const struct keytool *k, const struct receipt *receipt)
{
    char time[WHEN_SIZE];

    if (!k->json) {
        (void)printf("good: %s took message %" PRIu64 " of %s, %" PRIu64
                     " bytes on %s, and says it "
                     "was at %s\n",
                     receipt->receiver, receipt->number, receipt->sender, receipt->size,
                     receipt->topic, when(receipt->taken_ms, time));
        return;
    }
    (void)printf("{\"receiver\":\"%s\",\"sender\":\"%s\",\"run\":\"%016" PRIx64
                 "\",\"number\":%" PRIu64 ",\"topic\":",
                 receipt->receiver, receipt->sender, receipt->run, receipt->number);
    put_json_text(receipt->topic, strlen(receipt->topic));
    (void)printf(",\"size\":%" PRIu64 ",\"taken_ms\":%" PRId64 "}\n", receipt->size,
                 receipt->taken_ms);
}

/* The text of the first receipt in @rest, which moves behind it. */
static struct bytes take_text(struct bytes *rest)
{
    const uint8_t *next = rest->size > 1 ? memmem(rest->at + 1, rest->size - 1, "\n" FIRST_LINE,
                                                  strlen(FIRST_LINE) + 1)
                                         : NULL;
    size_t size = next ? (size_t)(next + 1 - rest->at) : rest->size;
    struct bytes text = bytes_of(rest->at, size);

    *rest = bytes_of(rest->at + size, rest->size - size);
    return text;
}

int verb_receipt(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    const char *file = arguments[0];
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct expectation e = {.has_content = k->content != NULL};
    struct bytes rest;
    unsigned number = 0;
    int r;

    r = registry_current(k, &registry, err);
    if (r == 0)
        r = file_read(file, FILE_TRUSTED, FILE_SIZE_MAX, &text, err);
    if (r == 0 && k->content)
        r = hash_file(k->content, &e.size, e.hash, err);
    e.registry = registry;
    rest = buffer_view(&text);
    if (r == 0 && rest.size == 0)
        r = aico_error_set(err, AICO_ERECEIPT, "%s: it is empty", file);
    while (r == 0 && rest.size > 0) {
        struct receipt receipt;

        number++;
        r = receipt_parse(take_text(&rest), &receipt, err);
        if (r == 0)
            r = check(&e, &receipt, err);
        if (r == 0)
            put(k, &receipt);
        else
            r = aico_error_prefix(err, r, "%s: receipt %u", file, number);
    }
    return r;
}
