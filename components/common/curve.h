/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of this program's links by libsodium and libcrypto together. */
#ifndef COMMON_CURVE_H
#define COMMON_CURVE_H

/*
 * From now on the Poly1305 of large frames that libzmq's CURVE sends and receives is libcrypto's,
 * not libsodium's: half of the time of such a frame, the same bytes on the wire
 * (docs/decisions/0130). What stands in the place of libsodium's crypto_box_easy_afternm() and
 * crypto_box_open_easy_afternm() is XSalsa20-Poly1305 as NaCl defines it; where libcrypto cannot do
 * it, and for small frames, libsodium's own is called. main() only, before a thread runs. A program
 * whose libsodium is a static library cannot have this: the linker finds both.
 */
void curve_by_libcrypto(void);

#endif
