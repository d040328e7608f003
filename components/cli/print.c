/* SPDX-License-Identifier: Apache-2.0 */
/* Messages on stdout. */
#include "cli/print.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"

#define WIRE_MAX 64

static void hex_of(const struct aico_message *message, char text[2 * WIRE_MAX + 1])
{
    const uint8_t *wire = message->wire;
    size_t size = message->wire_prefix < WIRE_MAX ? message->wire_prefix : WIRE_MAX;

    text[0] = '\0';
    for (size_t i = 0; i < size; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", wire[i]);
}

/* Prints @object as a line and releases it. */
static void print_json(json_t *object)
{
    if (object)
        (void)json_dumpf(object, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(object);
}

static void print_message_json(const struct cli *cli, const struct aico_message *m)
{
    json_t *object = json_pack("{s:s, s:s, s:I, s:I}", "topic", m->topic, "sender", m->sender,
                               "seq", (json_int_t)m->sequence, "time", (json_int_t)m->sent_ms);

    if (text_is_utf8(m->payload, m->size)) {
        (void)json_object_set_new(object, "payload",
                                  json_stringn(m->size > 0 ? m->payload : "", m->size));
    } else {
        char *encoded = text_base64(m->payload, m->size);

        (void)json_object_set_new(object, "payload_base64", json_string(encoded ? encoded : ""));
        free(encoded);
    }
    if (m->header_count > 0) {
        json_t *headers = json_object();

        for (size_t i = 0; i < m->header_count; i++)
            (void)json_object_set_new(headers, m->headers[i].key, json_string(m->headers[i].value));
        (void)json_object_set_new(object, "headers", headers);
    }
    if (m->number > 0) {
        (void)json_object_set_new(object, "number", json_integer((json_int_t)m->number));
        (void)json_object_set_new(object, "attempt", json_integer((json_int_t)m->attempt));
        (void)json_object_set_new(object, "stored", json_integer((json_int_t)m->stored_ms));
    }
    if (cli->is_wire) {
        char hex[2 * WIRE_MAX + 1];

        hex_of(m, hex);
        (void)json_object_set_new(object, "wire",
                                  json_pack("{s:I, s:b, s:s}", "size", (json_int_t)m->wire_size,
                                            "sealed", (int)m->sealed, "prefix", hex));
    }
    print_json(object);
}

static void print_wire(const struct aico_message *m)
{
    char hex[2 * WIRE_MAX + 1];

    hex_of(m, hex);
    (void)printf("  broker saw: %s %zu bytes, %s%s%s\n", m->topic, m->wire_size,
                 m->sealed ? "sealed" : "in clear", *hex ? ", " : "", hex);
}

void print_message(const struct cli *cli, const struct aico_message *message)
{
    if (cli->connect.is_json) {
        print_message_json(cli, message);
        return;
    }
    if (cli->is_raw) {
        (void)fwrite(message->payload, 1, message->size, stdout);
        (void)putchar('\n');
    } else {
        text_write_escaped(stdout, message->topic, strlen(message->topic));
        (void)printf(" %s ", message->sender);
        text_write_escaped(stdout, message->payload, message->size);
        (void)putchar('\n');
    }
    if (cli->is_wire)
        print_wire(message);
}

static void print_notice_json(const struct aico_message *m)
{
    const char *cause = aico_error_name(m->code);

    if (m->kind == AICO_MESSAGE_GAP)
        print_json(json_pack("{s:{s:s, s:s, s:I, s:s}}", "gap", "topic", m->topic, "sender",
                             m->sender, "count", (json_int_t)m->count, "cause", cause));
    else if (m->kind == AICO_MESSAGE_UNOPENED)
        print_json(json_pack("{s:{s:s, s:s, s:I, s:s}}", "unopened", "topic", m->topic, "sender",
                             m->sender, "count", (json_int_t)m->count, "cause", cause));
}

void print_notice(const struct cli *cli, const struct aico_message *message)
{
    const char *text =
        message->text && *message->text ? message->text : aico_error_string(message->code);
    const char *sender = *message->sender ? message->sender : "unknown sender";
    const char *where = *message->topic ? message->topic : "to us alone"; /* over the channel */

    if (cli->connect.is_json && message->kind != AICO_MESSAGE_STATE)
        print_notice_json(message);
    else if (message->kind == AICO_MESSAGE_GAP && message->count > 0)
        cli_note(cli, "%s: %" PRIu64 " messages of %s are missing: %s (%s)", where, message->count,
                 sender, text, aico_error_name(message->code));
    else if (message->kind == AICO_MESSAGE_GAP)
        cli_note(cli, "%s: messages of %s are missing, nobody knows how many: %s (%s)", where,
                 sender, text, aico_error_name(message->code));
    else if (message->kind == AICO_MESSAGE_UNOPENED)
        cli_note(cli, "%s: a message of %s did not open: %s (%s)", where, sender, text,
                 aico_error_name(message->code));
    else if (message->kind == AICO_MESSAGE_STATE && message->code != 0)
        cli_note(cli, "connection lost: %s (%s)", text, aico_error_name(message->code));
    else if (message->kind == AICO_MESSAGE_STATE && cli->connect.is_verbose)
        cli_note(cli, "connected");
}
