/* SPDX-License-Identifier: Apache-2.0 */
/* Opening what needs a key file, and asking for its passphrase where there is somebody to ask. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/connect.h"
#include "common/prompt.h"

#define TRIES 3

bool connect_may_ask(const struct connect_options *options, int code)
{
    return code == AICO_EPASSPHRASE && options->tries < TRIES && prompt_may_ask() &&
           (!options->client.passphrase_file || options->tries > 0);
}

/* The passphrase goes through a pipe, as --passphrase-fd does: the library alone holds it. */
static int hand_over(struct connect_options *options, const char *text, struct aico_error *err)
{
    size_t size = strlen(text);
    int ends[2];
    bool is_written;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return aico_error_set(err, AICO_ESYSTEM, "no descriptor left");
    is_written = write(ends[1], text, size) == (ssize_t)size; /* a pipe holds more than that */
    (void)close(ends[1]);
    if (!is_written) {
        (void)close(ends[0]);
        return aico_error_set(err, AICO_ESYSTEM, "a pipe does not take the passphrase");
    }
    if (options->asked_fd > 0)
        (void)close(options->asked_fd);
    options->asked_fd = ends[0];
    (void)snprintf(options->passphrase_fd, sizeof(options->passphrase_fd), "/dev/fd/%u",
                   (unsigned)ends[0]);
    options->client.passphrase_file = options->passphrase_fd;
    return 0;
}

int connect_ask(struct connect_options *options, const char *whose, struct aico_error *err)
{
    char text[PROMPT_MAX + 1], prompt[160];
    int r;

    (void)snprintf(prompt, sizeof(prompt), "%sEnter passphrase of %s",
                   options->tries++ > 0 ? "Wrong. " : "", whose);
    r = prompt_hidden(prompt, text, err);
    if (r == 0)
        r = hand_over(options, text, err);
    explicit_bzero(text, sizeof(text));
    return r;
}

int connect_open(struct connect_options *options, int64_t timeout_ms,
                 struct aico_client **ret_client, struct aico_error *err)
{
    const char *name =
        options->client.identity ? options->client.identity : getenv("AICO_IDENTITY");
    int r = aico_client_open(&options->client, timeout_ms, ret_client, err);

    while (connect_may_ask(options, r)) {
        r = connect_ask(options, name ? name : "the key", err);
        if (r == 0)
            r = aico_client_open(&options->client, timeout_ms, ret_client, err);
    }
    return r;
}
