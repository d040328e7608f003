/* SPDX-License-Identifier: Apache-2.0 */
/* Lower-case hexadecimal, strict. Constant in time: it is also used for secrets. Any thread. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include "base/bytes.h"

/* Writes 2 * bytes.size characters and a final zero to @to. */
void hex_write(struct bytes bytes, char *to);
/* True and @to filled with @size bytes only if @text is exactly 2 * @size lower-case digits. */
bool hex_parse(struct bytes text, void *to, size_t size);

#endif
