/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox-publisher TOPIC TAG COUNT: publishes "TAG.1", "TAG.2", ... with an outbox and writes each
 * to stdout once the library has accepted it; then waits for the answers. Made to be killed.
 * Identity: $AICO_IDENTITY.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <aico/client.h>

static int publish_all(struct aico_client *client, char **argv, struct aico_error *err)
{
    static const struct aico_publish_options patient = {.wait_ms = 60000};
    char text[80];
    int r = 0;

    for (long i = 1; r == 0 && i <= strtol(argv[3], NULL, 10); i++) {
        int size = snprintf(text, sizeof(text), "%.60s.%ld\n", argv[2], i);

        r = aico_publish(client, argv[1], text, (size_t)size - 1, &patient, NULL, err);
        if (r == 0 && write(STDOUT_FILENO, text, (size_t)size) != size)
            return 1;
    }
    return r;
}

int main(int argc, char **argv)
{
    struct aico_client_options options = {.software = "outbox-publisher", .outbox = true};
    struct aico_client *client = NULL;
    struct aico_error err = {0};
    int r;

    if (argc != 4)
        return 2;
    r = aico_client_open(&options, 10000, &client, &err);
    if (r == 0)
        r = publish_all(client, argv, &err);
    if (r == 0)
        r = aico_flush(client, 60000, &err);
    if (r < 0)
        (void)fprintf(stderr, "%s (%s)\n", err.text, aico_error_name(r));
    (void)aico_client_close(&client, 5000, NULL);
    return r < 0 ? aico_error_exit_status(r) : r;
}
