/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 as Unicode defines it: no overlong form, no surrogate, nothing above U+10FFFF. Any thread.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/bytes.h"

/* The size (1..4) and number of the character @text begins with; 0 when @text is empty or begins
 * with none. @ret_code may be NULL. */
size_t utf8_next(struct bytes text, uint32_t *ret_code);
bool utf8_is_valid(struct bytes text);
/* Writes the character @code (not a surrogate, at most 0x10ffff); returns its size, 1..4. */
size_t utf8_write(uint32_t code, uint8_t to[4]);

#endif
