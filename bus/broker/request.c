/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait for their reply: only the component that was asked may answer, once. */
#include "broker/internal.h"

int request_add(struct broker *b, struct broker_peer *requester, uint64_t id,
                struct broker_peer *responder, uint32_t timeout_ms, struct ledger_row *row)
{
    int64_t timeout = timeout_ms ? timeout_ms : REQUEST_TIMEOUT_DEFAULT_MS;
    struct request *request;

    if (!quota_allows(b, requester->member, requester, QUOTA_REQUESTS, requester->request_count))
        return AICO_EQUOTA;
    request = calloc(1, sizeof(*request));
    if (!request)
        return AICO_ENOMEM;
    request->key.requester = requester->member->number;
    request->key.id = id;
    request->requester = requester;
    request->responder = responder;
    request->row = row;
    request->deadline_ms = b->now.boot_ms + MIN(timeout, (int64_t)REQUEST_TIMEOUT_MAX_MS);
    HASH_ADD(hh, b->requests, key, sizeof(request->key), request);
    if (!HASH_ADDED(hh, request)) {
        free(request);
        return AICO_ENOMEM;
    }
    requester->request_count++;
    count_asked(b, row);
    wake_at(b, request->deadline_ms);
    return 0;
}

struct request *request_find(struct broker *b, const struct member *requester, uint64_t id,
                             const struct broker_peer *responder)
{
    struct request_key key = {.requester = requester->number, .id = id};
    struct request *request = NULL;

    HASH_FIND(hh, b->requests, &key, sizeof(key), request);
    return request && request->responder == responder ? request : NULL;
}

void request_end(struct broker *b, struct request *request, int code)
{
    count_request_ended(b, request->row, code);
    request->requester->request_count--;
    HASH_DEL(b->requests, request);
    free(request);
}

void requests_peer_left(struct broker *b, struct broker_peer *peer)
{
    struct request *request, *next;

    HASH_ITER(hh, b->requests, request, next)
    {
        if (request->responder == peer && request->requester != peer)
            refuse(b, request->requester, request->key.id, AICO_EPEERAWAY, NULL,
                   "%s left before it answered", peer->member->name);
        if (request->responder == peer || request->requester == peer)
            request_end(b, request, request->requester == peer ? AICO_ECLOSED : AICO_EPEERAWAY);
    }
}

void requests_sweep(struct broker *b)
{
    struct request *request, *next;

    HASH_ITER(hh, b->requests, request, next)
    {
        if (request->deadline_ms <= b->now.boot_ms)
            request_end(b, request, AICO_ETIMEOUT);
        else
            wake_at(b, request->deadline_ms);
    }
}
