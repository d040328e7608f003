/* SPDX-License-Identifier: Apache-2.0 */
/* Closes the doors of this process. */
#include "common/guard.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

void guard_process(void)
{
    const struct rlimit none = {0, 0};

    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)setrlimit(RLIMIT_CORE, &none);
}

void guard_files(void)
{
    (void)umask(077);
}
