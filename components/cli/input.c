/* SPDX-License-Identifier: Apache-2.0 */
/* Messages out of a stream, with one large buffer and few reads. */
#include "cli/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_SIZE ((size_t)1024 * 1024)
#define INPUT_MAX ((size_t)64 * 1024 * 1024) /* beyond any message: the library says how much */

/* Reads once; what is waiting moves to the front when there is no room behind it. 1 when something
 * came, 0 at the end of the stream. */
static int read_more(struct input *input, struct aico_error *err)
{
    size_t waiting = input->end - input->begin;
    ssize_t got;

    if (input->is_over)
        return 0;
    if (input->capacity - input->end < READ_SIZE / 2) {
        size_t needed = waiting + READ_SIZE > 2 * waiting ? waiting + READ_SIZE : 2 * waiting;

        if (waiting > INPUT_MAX)
            return aico_error_set(err, AICO_ETOOLARGE,
                                  "stdin: more than 64 MiB in one message; see --lines, --chunk");
        if (needed > input->capacity) {
            uint8_t *larger = realloc(input->buffer, needed);

            if (!larger)
                return aico_error_set(err, AICO_ENOMEM, "stdin: out of memory");
            input->buffer = larger;
            input->capacity = needed;
        }
        if (waiting > 0)
            memmove(input->buffer, input->buffer + input->begin, waiting);
        input->begin = 0;
        input->end = waiting;
    }

    do
        got = read(input->fd, input->buffer + input->end, input->capacity - input->end);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return aico_error_set(err, AICO_ESYSTEM, "stdin: %s", strerror(errno));
    input->is_over = got == 0;
    input->end += (size_t)got;
    return got > 0;
}

int input_line(struct input *input, const uint8_t **ret_at, size_t *ret_size,
               struct aico_error *err)
{
    size_t searched = 0;

    for (;;) {
        size_t waiting = input->end - input->begin;
        const uint8_t *from = waiting > 0 ? input->buffer + input->begin : NULL;
        const uint8_t *newline =
            waiting > searched ? memchr(from + searched, '\n', waiting - searched) : NULL;
        int r;

        if (newline) {
            *ret_at = from;
            *ret_size = (size_t)(newline - from);
            input->begin += *ret_size + 1;
            return 1;
        }
        searched = waiting;
        r = read_more(input, err);
        if (r < 0)
            return r;
        if (r == 0) { /* the last line may lack its newline */
            *ret_at = from;
            *ret_size = waiting;
            input->begin = input->end;
            return waiting > 0;
        }
    }
}

int input_piece(struct input *input, size_t size, const uint8_t **ret_at, size_t *ret_size,
                struct aico_error *err)
{
    int r = 1;

    while (r > 0 && input->end - input->begin < size)
        r = read_more(input, err);
    if (r < 0)
        return r;

    *ret_size = input->end - input->begin < size ? input->end - input->begin : size;
    *ret_at = *ret_size > 0 ? input->buffer + input->begin : NULL;
    input->begin += *ret_size;
    return *ret_size > 0;
}

int input_all(struct input *input, const uint8_t **ret_at, size_t *ret_size, struct aico_error *err)
{
    int r = 1;

    if (input->is_over)
        return 0;
    while (r > 0)
        r = read_more(input, err);
    if (r < 0)
        return r;

    *ret_size = input->end - input->begin;
    *ret_at = *ret_size > 0 ? input->buffer + input->begin : (const uint8_t *)"";
    input->begin = input->end;
    return 1;
}

void input_deinit(struct input *input)
{
    free(input->buffer);
    *input = (struct input){.fd = -1};
}
