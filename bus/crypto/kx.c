/* SPDX-License-Identifier: Apache-2.0 */
/* The static key agreement of format 0. Pure, any thread. */
#include <sodium.h>

#include "base/cleanup.h"
#include "crypto/dh.h"
#include "crypto/kx.h"

struct kx_local {
    uint8_t sign[crypto_sign_SECRETKEYBYTES];
    uint8_t sign_public[SIGN_PUBLIC_SIZE];
    struct secret scalar, rx, tx;
};

static void kx_local_wipe(struct kx_local *local)
{
    memory_wipe(local, sizeof(*local));
}

int kx_static(const struct secret *seed, const uint8_t peer[SIGN_PUBLIC_SIZE], bool dialer,
              struct secret *ret_rx, struct secret *ret_tx)
{
    CLEANUP(kx_local_wipe)
    struct kx_local local;
    uint8_t own[DH_PUBLIC_SIZE], other[DH_PUBLIC_SIZE];
    int r;

    (void)crypto_sign_seed_keypair(local.sign_public, local.sign, seed->at);
    if (crypto_sign_ed25519_sk_to_curve25519(local.scalar.at, local.sign) != 0 ||
        crypto_sign_ed25519_pk_to_curve25519(other, peer) != 0)
        return AICO_EDH;
    dh_public(&local.scalar, own);
    r = (dialer ? crypto_kx_client_session_keys : crypto_kx_server_session_keys)(
        local.rx.at, local.tx.at, own, local.scalar.at, other);
    if (r != 0)
        return AICO_EDH;
    *ret_rx = local.rx;
    *ret_tx = local.tx;
    return 0;
}
