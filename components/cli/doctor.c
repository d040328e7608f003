/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus doctor: findings of the library, as lines for people or as JSON. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include <aico/doctor.h>

#include "common/text.h"

static void print_json_finding(const struct aico_finding *f)
{
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "level", aico_finding_level_name(f->level), "check",
        f->check, "subject", f->subject, "code", f->code < 0 ? aico_error_name(f->code) : "",
        "cause", f->cause, "repair", f->repair, "for_owner", (int)f->for_owner);

    if (object) {
        (void)json_dumpf(object, stdout, JSON_COMPACT);
        (void)putchar('\n');
    }
    json_decref(object);
}

static void print_finding(const struct aico_finding *f)
{
    (void)printf("%-8s %-9s", aico_finding_level_name(f->level), f->check);
    if (strncmp(f->cause, f->subject, strlen(f->subject)) != 0) {
        text_write_escaped(stdout, f->subject, strlen(f->subject));
        (void)fputs(": ", stdout);
    }
    text_write_escaped(stdout, f->cause, strlen(f->cause));
    if (f->code < 0)
        (void)printf(" (%s)", aico_error_name(f->code));
    (void)putchar('\n');
    if (!*f->repair)
        return;
    (void)printf("         %-9s", f->for_owner ? "owner:" : "repair:");
    text_write_escaped(stdout, f->repair, strlen(f->repair));
    (void)putchar('\n');
}

static void on_finding(void *context, const struct aico_finding *finding)
{
    const struct cli *cli = context;

    if (cli->connect.is_quiet && finding->level < AICO_FINDING_WARNING)
        return;
    if (cli->connect.is_json)
        print_json_finding(finding);
    else
        print_finding(finding);
}

int verb_doctor(struct cli *cli)
{
    const struct aico_client_options *client = &cli->connect.client;
    const struct aico_doctor_options options = {
        .home = client->home,
        .identity = client->identity,
        .broker = client->broker,
        .config = client->config,
        .passphrase_file = client->passphrase_file,
        .publish = cli->wants[0],
        .publish_count = cli->want_counts[0],
        .subscribe = cli->wants[1],
        .subscribe_count = cli->want_counts[1],
        .found = on_finding,
        .context = cli,
    };
    struct aico_error err = {0};
    int r = aico_doctor(&options, connect_timeout(&cli->connect, CLI_DOCTOR_TIMEOUT_MS), &err);

    return r < 0 && err.text[0] ? cli_fail(cli, r, &err) : aico_error_exit_status(r);
}
