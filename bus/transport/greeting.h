/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks an address what it is: the first 64 bytes of ZMTP 3 say whether CURVE is spoken there, and
 * the answer to a HELLO of CurveZMQ whether with the key we pin. A connection that was lost or
 * stays silent does not say which, and a wrong key, a broker that is too busy, a web server and a
 * silent port need different repairs. Any thread; blocks for at most the time given, and as long as
 * it takes to look up a host.
 */
#ifndef TRANSPORT_GREETING_H
#define TRANSPORT_GREETING_H

#include <stdint.h>

enum greeting {
    GREETING_REFUSED,   /* nobody listens, or no route */
    GREETING_CLOSED,    /* the connection was closed without a word */
    GREETING_SILENT,    /* no answer in time */
    GREETING_OTHER,     /* something else than CURVE over ZMTP 3 */
    GREETING_OTHER_KEY, /* CURVE, and it cannot open what was sealed for this key */
    GREETING_BUSY,      /* CURVE, and no answer to HELLO in time; or who listens (ipc) waits for
                           the processor and has not come to it, or has too many to accept */
    GREETING_BROKER,    /* whoever has this key answers there */
};

enum greeting greeting_ask(const char *endpoint, const uint8_t broker_public[32],
                           int64_t timeout_ms);

#endif
