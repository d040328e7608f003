/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of links of libzmq in this program: what is faster than libsodium and gives the
 * same bytes. */
#ifndef COMMON_CURVE_H
#define COMMON_CURVE_H

/*
 * From now on frames that libzmq's CURVE sends and receives are sealed and opened by bus/cipher,
 * faster than by libsodium (with AVX-512 in half of the time from 1 KiB on), with the same bytes on
 * the wire (docs/decisions/0130, 0131). What stands in the place of libsodium's
 * crypto_box_easy_afternm() and crypto_box_open_easy_afternm() is cipher/secretbox.h, as it is for
 * the clients' links. main() only, before a thread runs. A program whose libsodium is a static
 * library cannot have this: the linker finds both.
 */
void curve_start(void);

#endif
