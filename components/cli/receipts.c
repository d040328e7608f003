/* SPDX-License-Identifier: Apache-2.0 */
/* Receipts of `pub --ack delivered` and `--ack signed`: printed, written, counted. */
#include <string.h>

#include "cli/receipts.h"

int receipts_open(struct receipts *receipts, const struct cli *cli, struct aico_error *err)
{
    receipts->cli = cli;
    receipts->is_wanted = cli->ack == AICO_ACK_DELIVERED || cli->ack == AICO_ACK_SIGNED;
    if (cli->ack != AICO_ACK_SIGNED || (!cli->receipt && cli->connect.is_json))
        return 0;
    if (cli->receipt) {
        int r = whole_file_open(cli->receipt, &receipts->file, err);

        if (r < 0)
            return r;
    }
    receipts->to = cli->receipt ? receipts->file.to : stdout;
    return 0;
}

bool receipts_are_ours(const struct receipts *receipts, const struct aico_message *m)
{
    return receipts->first > 0 && m->id >= receipts->first;
}

static void print_json(const struct aico_message *m)
{
    json_t *object, *body = json_pack("{s:I, s:s}", "id", (json_int_t)m->id, "topic", m->topic);

    if (*m->sender)
        (void)json_object_set_new(body, "receiver", json_string(m->sender));
    if (m->code == 0)
        (void)json_object_set_new(body, "time", json_integer((json_int_t)m->sent_ms));
    else
        (void)json_object_set_new(body, "error", json_string(aico_error_name(m->code)));
    if (m->size > 0)
        (void)json_object_set_new(body, "document", json_stringn(m->payload, m->size));
    object = json_pack("{s:o}", "receipt", body);
    cli_print_line(object);
    json_decref(object);
}

void receipts_take(struct receipts *receipts, const struct aico_message *m)
{
    const struct cli *cli = receipts->cli;

    receipts->complete += m->count == 0 && receipts_are_ours(receipts, m);
    receipts->count += m->code == 0 && *m->sender;
    if (cli->connect.is_json)
        print_json(m);
    if (m->size > 0 && receipts->to) {
        (void)fwrite(m->payload, 1, m->size, receipts->to);
        receipts->signed_count++;
    }
    if (m->code == 0) {
        if (cli->connect.is_verbose && *m->sender)
            cli_note(cli, "pub: %s has taken it", m->sender);
        return;
    }
    if (receipts->code == 0)
        receipts->code = aico_error_set(&receipts->err, m->code, "%s: %s", m->topic, m->text);
    else
        cli_note(cli, "pub: %s: %s", m->topic, m->text);
}

int receipts_close(struct receipts *receipts, struct aico_error *err)
{
    receipts->to = NULL;
    if (receipts->signed_count > 0)
        return whole_file_close(&receipts->file, err);
    whole_file_discard(&receipts->file);
    return 0;
}
