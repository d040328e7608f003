/* SPDX-License-Identifier: Apache-2.0 */
/* publish TOPIC TEXT: publishes one message and waits until the broker has accepted it. */
#include <stdio.h>
#include <string.h>
#include <aico/client.h>

int main(int argc, char **argv)
{
    struct aico_client_options options = {.software = "example publish"};
    const char *topic = argc > 1 ? argv[1] : "logs/example/v1";
    const char *text = argc > 2 ? argv[2] : "hello";
    struct aico_client *client = NULL;
    struct aico_unsent unsent = {0};
    struct aico_error err = {0};
    int r = aico_client_open(&options, -1, &client, &err);

    if (r == 0)
        r = aico_publish(client, topic, text, strlen(text), NULL, NULL, &err);
    if (r == 0)
        r = aico_flush(client, 5000, &err);
    if (r < 0)
        (void)fprintf(stderr, "%s (%s)\n", err.text, aico_error_name(r));

    if (aico_client_close(&client, 5000, &unsent) < 0)
        (void)fprintf(stderr, "%llu not sent, %llu readers without the key\n",
                      (unsigned long long)(unsent.unsent + unsent.unacknowledged),
                      (unsigned long long)unsent.keyless);
    return aico_error_exit_status(r);
}
