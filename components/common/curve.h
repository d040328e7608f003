/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of this program's links: libsodium's, or what is faster and gives the same bytes.
 */
#ifndef COMMON_CURVE_H
#define COMMON_CURVE_H

/*
 * From now on large frames that libzmq's CURVE sends and receives are sealed and opened by
 * bus/cipher, faster than by libsodium (with AVX-512 in half of the time from 1 KiB on), with the
 * same bytes on the wire (docs/decisions/0130, 0131). What stands in the place of libsodium's
 * crypto_box_easy_afternm() and crypto_box_open_easy_afternm() is XSalsa20-Poly1305 as NaCl defines
 * it; where libcrypto is not there, and for small frames, libsodium's own is called. main() only,
 * before a thread runs. A program whose libsodium is a static library cannot have this: the linker
 * finds both.
 */
void curve_start(void);

#endif
