/* SPDX-License-Identifier: Apache-2.0 */
/* subscribe FILTER: prints `TOPIC SENDER PAYLOAD` for every message. Identity: $AICO_IDENTITY. */
#include <stdio.h>
#include <aico/client.h>

int main(int argc, char **argv)
{
    struct aico_client_options options = {.software = "example subscribe"};
    struct aico_client *client = NULL;
    struct aico_message *message = NULL;
    struct aico_error err = {0};
    uint32_t subscription;
    int r = aico_client_open(&options, -1, &client, &err);

    if (r == 0)
        r = aico_subscribe(client, argc > 1 ? argv[1] : "logs/**", NULL, 5000, &subscription, &err);
    if (r == 0)
        (void)fprintf(stderr, "subscribed\n");

    while (r == 0 && (r = aico_receive(client, -1, &message, &err)) == 0) {
        if (message->kind == AICO_MESSAGE_EVENT)
            (void)printf("%s %s %.*s\n", message->topic, message->sender, (int)message->size,
                         (const char *)message->payload);
        else if (message->kind == AICO_MESSAGE_GAP)
            (void)fprintf(stderr, "%s: %llu messages are missing\n", message->topic,
                          (unsigned long long)message->count);
        (void)fflush(stdout);
        aico_message_free(&message);
    }

    (void)fprintf(stderr, "%s (%s)\n", err.text, aico_error_name(r));
    (void)aico_client_close(&client, 1000, NULL);
    return aico_error_exit_status(r);
}
