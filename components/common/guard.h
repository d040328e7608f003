/* SPDX-License-Identifier: Apache-2.0 */
/* What a program does first that will hold keys or what they open. main() only. */
#ifndef COMMON_GUARD_H
#define COMMON_GUARD_H

/* No core file, no memory image and no debugger by another process of our user. (Root can have all
 * of that.) */
void guard_process(void);
/* And no file of ours that others can read. Not for programs that run commands of the user's. */
void guard_files(void);

#endif
