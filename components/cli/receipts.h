/* SPDX-License-Identifier: Apache-2.0 */
/* What readers say of the messages of one `pub`. */
#ifndef CLI_RECEIPTS_H
#define CLI_RECEIPTS_H

#include "cli/cli.h"
#include "common/whole_file.h"

struct receipts {
    const struct cli *cli;
    bool is_wanted;
    FILE *to; /* signed ones; NULL: they go nowhere, or into the lines of --json */
    struct whole_file file;
    uint64_t count;        /* good ones */
    uint64_t signed_count; /* written to `to` */
    uint64_t complete;     /* of ours: messages of which nothing more will come */
    uint64_t first;        /* our first message; those before it an outbox had kept */
    int code;              /* why the first one is missing or wrong */
    struct aico_error err;
};

/* Opens --receipt. 0, AICO_EINVAL or AICO_ESYSTEM, with the path. */
int receipts_open(struct receipts *receipts, const struct cli *cli, struct aico_error *err);
/* Whether @message is about one of this run's. */
bool receipts_are_ours(const struct receipts *receipts, const struct aico_message *message);
/* Prints and counts one AICO_MESSAGE_RECEIPT. */
void receipts_take(struct receipts *receipts, const struct aico_message *message);
/* What came is in the file; where nothing came the file is as it was. 0 or AICO_ESYSTEM. */
int receipts_close(struct receipts *receipts, struct aico_error *err);

#endif
