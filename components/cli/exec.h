/* SPDX-License-Identifier: Apache-2.0 */
/* A shell command that is given bytes and gives bytes back. */
#ifndef CLI_EXEC_H
#define CLI_EXEC_H

#include <stddef.h>
#include <stdint.h>

#include <aico/client.h>

#define EXEC_OUTPUT_MAX ((size_t)16 * 1024 * 1024)

/**
 * Runs `sh -c @shell_command` with the request's payload on stdin and AICO_TOPIC and AICO_SENDER in
 * its environment. It is killed, with all it started, at the timeout or when @stop_fd is readable.
 *
 * @ret_output  receives its stdout, which the caller frees
 * @ret_status  receives its exit status, 128+n for signal n
 *
 * Returns 0, AICO_ETIMEOUT, AICO_ECLOSED (stopped), AICO_ETOOLARGE, AICO_ENOMEM, AICO_ESYSTEM.
 */
int exec_run(const char *shell_command, const struct aico_message *request, int64_t timeout_ms,
             int stop_fd, uint8_t **ret_output, size_t *ret_size, int *ret_status,
             struct aico_error *err);

#endif
