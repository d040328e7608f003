/* SPDX-License-Identifier: Apache-2.0 */
/* Messages out of a stream of bytes: lines, pieces of a size, or all of it. Owned by a verb. */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <aico/error.h>

struct input {
    int fd;
    uint8_t *buffer;
    size_t begin, end; /* what is read and not yet taken */
    size_t capacity;
    bool is_over; /* the stream has ended */
};

/*
 * Each takes the next message: 1 and a view that is valid until the next call; 0 at the end;
 * AICO_ESYSTEM, AICO_ENOMEM, AICO_ETOOLARGE (larger than any message can be).
 */
int input_line(struct input *input, const uint8_t **ret_at, size_t *ret_size,
               struct aico_error *err);
int input_piece(struct input *input, size_t size, const uint8_t **ret_at, size_t *ret_size,
                struct aico_error *err);
/* Everything, once; also when it is empty. */
int input_all(struct input *input, const uint8_t **ret_at, size_t *ret_size,
              struct aico_error *err);
void input_deinit(struct input *input);

#endif
