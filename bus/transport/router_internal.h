/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the router share and nobody else sees.
 *
 *   router.c        its life, who comes, who is gone, and waiting
 *   router_read.c   what links send: handshakes and frames
 *   router_send.c   what they are sent
 */
#ifndef TRANSPORT_ROUTER_INTERNAL_H
#define TRANSPORT_ROUTER_INTERNAL_H

#include "base/bucket.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "crypto/dh.h"
#include "transport/crew.h"
#include "transport/router.h"
#include "transport/zmtp.h"

#define READ_SIZE (128 * 1024)  /* bytes of one link, read at once */
#define SEND_BATCH (128 * 1024) /* ... that wait for the end of a turn, with helpers */
#define HEAD_MAX 64             /* of what is not known how long it is: a greeting is the longest */
#define REFUSALS_MAX 16

/* What epoll tells of; the first member of what it is of. */
struct source {
    enum { SOURCE_WAKE, SOURCE_LISTENER, SOURCE_LINK } kind;
};

enum link_state {
    LINK_SHAKING, /* a stranger, until now + handshake_ms */
    LINK_SILENT,  /* let in, no frame yet, until now + silent_ms */
    LINK_TALKING,
    LINK_LEAVING, /* was cut or refused, until now + bye_ms */
    LINK_GONE,    /* closed; to be named by router_next_gone() */
    LINK_STATES
};

/* What a link holds: bytes from `begin` to `end`. */
struct held {
    uint8_t *at; /* NULL: none */
    size_t begin, end, capacity;
};

struct link {
    struct source source;
    enum link_state state;
    int fd;
    bool is_let_in;   /* by the roster */
    bool is_known;    /* to the owner, who will be told of its end */
    bool is_ready;    /* to be read: in one of router->ready */
    bool is_dirty;    /* something is not sealed: in router->dirty */
    bool is_full;     /* router_send() said so, and there was no room since */
    bool is_writable; /* ... it is in router->writable */
    bool is_blocked;  /* the socket took not all: epoll tells of room */
    bool is_deaf;     /* the other side takes nothing more; what it has sent is still read */
    int64_t until_ms; /* boot_ms of the state */
    struct zmtp zmtp;
    uint8_t begun[HEAD_MAX]; /* bytes of what is not known yet how long it is */
    size_t begun_size;
    struct held in;  /* one frame, or command, whose rest has not come: `capacity` is all of it */
    struct held out; /* what the socket has not taken, */
    size_t sealed;   /* ... up to here sealed */
    void *owner;
    char user_id[ROSTER_USER_ID_MAX + 1];
    char address[LISTEN_ADDRESS_SIZE];
    struct link *prev, *next;             /* of its state */
    struct link *ready_prev, *ready_next; /* is_ready */
    struct link *dirty_prev, *dirty_next; /* is_dirty */
    struct link *room_prev, *room_next;   /* is_writable */
};

/* What was read of one link, and what of it was not looked at yet. */
struct intake {
    struct link *link; /* NULL: nothing */
    uint8_t *at;       /* READ_SIZE bytes */
    size_t begin, end;
    size_t opened;        /* up to here helpers have opened frames */
    bool is_first_opened; /* ... also link->in */
    bool has_more;        /* READ_SIZE was not enough */
};

struct listener {
    struct source source;
    int fd;
    int64_t paused_until_ms; /* boot_ms; 0: it is not */
    struct listener *next;
};

struct router {
    struct secret *secret; /* guarded */
    uint8_t public[DH_PUBLIC_SIZE];
    size_t frame_size_max;
    int64_t duration_ms[LINK_STATES]; /* how long a link may be in a state; 0: for ever */
    int64_t busy_us;
    int descriptors_max; /* connections get lower numbers only */
    int epoll_fd;
    struct source wake;
    int wake_fd;     /* that epoll knows; -1: none */
    bool is_closing; /* nothing is read any more */
    struct listener *listeners;
    struct link *links[LINK_STATES]; /* in the order in which they came to it, so by until_ms */
    struct link *ready[2];           /* of those that are let in, and of strangers */
    unsigned passed_over;            /* how often strangers were */
    struct link *dirty, *writable;
    struct link *named;     /* by router_next_gone(), to be freed by the next call */
    struct intake *intakes; /* one a thread */
    size_t intake_count;    /* of them */
    size_t intakes_filled;  /* with what was read last */
    size_t intake_at;       /* the one that is looked at */
    uint8_t *lent;          /* what a frame of router_receive() lies in, if not in an intake */
    uint8_t *sealed;        /* room for one frame that is sent at once */
    struct crew *crew;      /* NULL: none helps */
    struct roster *roster;  /* NULL: nobody is let in */
    struct bucket looks;
    void (*look)(void *context); /* NULL: nobody looks */
    void *look_context;
    struct router_refusal refusals[REFUSALS_MAX];
    size_t refusal_first, refusal_count;
    unsigned long refusals_forgotten;
    struct router_counters counters;
};

/* --- router.c */
void link_move(struct router *router, struct link *link, enum link_state state, int64_t now_ms);
/* Ends its connection now; it is freed, or if it is known, to be named. */
void link_close(struct router *router, struct link *link);
/* Calls @work for @count pieces with @bytes in all, with those helpers that are worth waking. */
void router_do(struct router *router, size_t bytes, void (*work)(void *context, size_t index),
               void *context, size_t count);
/* Tells epoll what is waited for. */
void link_watch(struct router *router, struct link *link);

/* --- router_read.c */
bool router_has_input(const struct router *router);
/* epoll says that it can be read. */
void link_ready(struct router *router, struct link *link);
void link_unready(struct router *router, struct link *link);
/* It is not any more, and nothing of it that was read is looked at. */
void link_forget_input(struct router *router, struct link *link);

/* --- router_send.c */
/* What is not a frame: part of the handshake. */
void link_say(struct router *router, struct link *link, struct bytes bytes);
/* ... or an answer to a command; nothing happens while something else waits. */
void link_answer(struct router *router, struct link *link, struct bytes command);
/* Sends what the socket takes. */
void link_flush(struct router *router, struct link *link);
/* epoll says that there is room. */
void link_has_room(struct router *router, struct link *link);
void router_flush(struct router *router);
void link_forget_output(struct router *router, struct link *link);

#endif
