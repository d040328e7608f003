/* SPDX-License-Identifier: Apache-2.0 */
/* getpid() of this program without a system call. */
#ifndef COMMON_PID_H
#define COMMON_PID_H

/*
 * From now on getpid() remembers what the kernel said, for libzmq too, which asks at every look
 * into a mailbox whether it is in a forked child: a third of the system calls of a message
 * (docs/decisions/0109). A child asks anew, however it was forked: what is remembered lies in
 * memory that the kernel wipes there. main() only, before a thread runs. Without effect where such
 * memory cannot be had.
 */
void pid_remember(void);

#endif
