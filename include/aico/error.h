/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every error the bus can report, in one table.
 *
 * Functions return 0 or a negative AICO_E... code; the text with context travels in a struct
 * aico_error on the caller's stack. On the wire a code is its positive number (u16, PROTOCOL
 * error codes in docs/protocol.md). Thread rule: no global state, usable from any thread.
 */
#ifndef AICO_ERROR_H
#define AICO_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define AICO_API __attribute__((visibility("default")))
#define AICO_MUST_USE __attribute__((warn_unused_result))
#define AICO_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define AICO_API
#define AICO_MUST_USE
#define AICO_PRINTF(f, a)
#endif

/*
 * X(symbol, number, "name in the protocol", exit code of a program that ends on it, "text")
 * Numbers are part of the wire protocol: never renumber, only append within a group.
 */
#define AICO_ERRORS(X)                                                                             \
    /* general */                                                                                  \
    X(ESYSTEM, 1, "E_SYSTEM", 1, "system error")                                                   \
    X(ENOMEM, 2, "E_MEMORY", 1, "out of memory")                                                   \
    X(EINVAL, 3, "E_INVALID", 2, "invalid argument")                                               \
    X(EEXISTS, 4, "E_EXISTS", 1, "exists already")                                                 \
    X(ENOTFOUND, 5, "E_NOT_FOUND", 1, "not found")                                                 \
    X(ETIMEOUT, 6, "E_TIMEOUT", 7, "timed out")                                                    \
    X(ECLOSED, 7, "E_CLOSED", 1, "closed")                                                         \
    X(EPROTO, 8, "E_PROTOCOL", 1, "malformed or unexpected record")                                \
    X(ECONFIG, 9, "E_CONFIG", 3, "configuration error")                                            \
    X(ESTATE, 10, "E_STATE", 1, "not possible in this state")                                      \
    X(EINTERNAL, 11, "E_INTERNAL", 1, "internal error")                                            \
    X(ENOTYET, 12, "E_NOT_YET", 3, "not available in this version")                                \
    /* bus: answers of the broker and of the client library */                                     \
    X(EDENIED, 20, "E_DENIED", 4, "denied by a rule")                                              \
    X(ETOOLARGE, 21, "E_TOO_LARGE", 1, "message too large")                                        \
    X(EFULL, 22, "E_FULL", 10, "queue full")                                                       \
    X(ENORESPONDER, 23, "E_NO_RESPONDER", 8, "no responder")                                       \
    X(EPEERUNKNOWN, 24, "E_PEER_UNKNOWN", 5, "no such component")                                  \
    X(EPEERAWAY, 25, "E_PEER_AWAY", 8, "component is not connected")                               \
    X(EUNREACHABLE, 26, "E_UNREACHABLE", 6, "broker not reachable")                                \
    X(ENOTBROKER, 27, "E_NOT_BROKER", 6, "not a broker of this bus")                               \
    X(EBROKERKEY, 28, "E_BROKER_KEY", 5, "the broker's key is not the pinned one")                 \
    X(EAUTH, 29, "E_AUTH", 5, "the broker does not accept this key")                               \
    X(EDUPLICATE, 30, "E_DUPLICATE", 5, "this identity is already in use by another process")      \
    X(EDRAIN, 31, "E_DRAIN", 6, "the broker is shutting down")                                     \
    X(ETOPIC, 32, "E_TOPIC", 2, "invalid topic or filter")                                         \
    X(EQUOTA, 33, "E_QUOTA", 10, "quota exceeded")                                                 \
    X(ENOREQUEST, 34, "E_NO_REQUEST", 1, "no such request is waiting for a reply")                 \
    X(ECREDIT, 35, "E_CREDIT", 1, "more bytes sent than credit allows")                            \
    X(EKICKED, 36, "E_KICKED", 5, "disconnected by an administrator")                              \
    X(ESLOW, 37, "E_SLOW", 10, "reader too slow")                                                  \
    X(EEXPIRED, 38, "E_EXPIRED", 1, "expired")                                                     \
    X(ESTOREREADONLY, 40, "E_STORE_READ_ONLY", 1, "the message store can only be read")            \
    X(ERETENTION, 41, "E_RETENTION", 1, "retention removed it before its reader came for it")      \
    X(EPURGED, 42, "E_PURGED", 1, "purged before its reader came for it")                          \
    X(ESTOREFULL, 45, "E_STORE_FULL", 10, "the message store is full")                             \
    X(ESTORE, 46, "E_STORE", 1, "the message store cannot be used")                                \
    X(ESTOREDAMAGED, 47, "E_STORE_DAMAGED", 1, "the message store is damaged")                     \
    X(ENOTSTORED, 48, "E_NOT_STORED", 4, "the rule of the topic does not store")                   \
    X(EDEADLETTER, 49, "E_DEAD_LETTER", 1, "delivered too often without being acknowledged")       \
    /* handshake, PROTOCOL 4 */                                                                    \
    X(ESIZE, 50, "E_SIZE", 9, "wrong size")                                                        \
    X(EVERSION, 51, "E_VERSION", 9, "unknown protocol version")                                    \
    X(ETYPE, 52, "E_TYPE", 9, "wrong message type")                                                \
    X(ESUITE, 53, "E_SUITE", 9, "unknown cipher suite")                                            \
    X(ETARGET, 54, "E_TARGET", 9, "addressed to another component")                                \
    X(ESELF, 55, "E_SELF", 9, "signed with our own identity")                                      \
    X(EUNKNOWN, 56, "E_UNKNOWN", 5, "identity not in the registry")                                \
    X(ESTAMP, 57, "E_STAMP", 9, "sender name and identity do not belong together")                 \
    X(EREVOKED, 58, "E_REVOKED", 5, "identity is revoked")                                         \
    X(ENOTALLOWED, 59, "E_NOT_ALLOWED", 5, "not in allowed_components")                            \
    X(ECLOCK, 60, "E_CLOCK", 5, "clocks differ by more than synchrony_bound")                      \
    X(EPOLICY, 61, "E_POLICY", 5, "security settings of the two ends differ")                      \
    X(ERATE, 62, "E_RATE", 10, "too many attempts")                                                \
    X(EREPLAY, 63, "E_REPLAY", 9, "seen before")                                                   \
    X(ESIGNATURE, 64, "E_SIGNATURE", 9, "signature does not verify")                               \
    X(EEQUIVOCATION, 65, "E_EQUIVOCATION", 5, "two registries of one version exist")               \
    X(EDH, 66, "E_DH", 9, "key exchange gave no secret")                                           \
    X(EDEADLINE, 67, "E_DEADLINE", 7, "handshake took too long")                                   \
    X(ECONTINUATION, 68, "E_CONTINUATION", 9, "answer to another handshake")                       \
    X(ECONFIRM, 69, "E_CONFIRM", 9, "key confirmation does not match")                             \
    X(ECHANNELUNKNOWN, 70, "CHANNEL_UNKNOWN", 9, "no such channel")                                \
    /* envelope, PROTOCOL 5 and 6 */                                                               \
    X(EMAGIC, 80, "E_MAGIC", 9, "not an AICO-MSG envelope")                                        \
    X(EFORMAT, 81, "E_FORMAT", 9, "unknown envelope format or flags")                              \
    X(EKEY, 82, "E_KEY", 9, "no key for this message")                                             \
    X(EOPEN, 83, "E_OPEN", 9, "forged or damaged message")                                         \
    X(EPADDING, 84, "E_PADDING", 9, "wrong padding")                                               \
    X(EAUTHENTICITY, 85, "E_AUTHENTICITY", 9, "sender proof missing or of the wrong kind")         \
    X(EEPOCHJUMP, 86, "E_EPOCH_JUMP", 9, "epoch too far ahead")                                    \
    X(EEPOCHBACK, 87, "E_EPOCH_BACK", 9, "epoch key is already erased")                            \
    X(ESTALE, 88, "E_STALE", 9, "message too old")                                                 \
    X(ELIMIT, 89, "E_LIMIT", 10, "limit reached")                                                  \
    X(EHEADSMISSING, 90, "E_HEADS_MISSING", 9, "publisher's sequence report missing")              \
    X(EPEERSILENT, 91, "E_PEER_SILENT", 7, "peer does not answer")                                 \
    X(ESKIP, 92, "E_SKIP", 9, "too many skipped messages")                                         \
    X(EPREKEYUSED, 93, "E_PREKEY_USED", 9, "one-time key already used")                            \
    X(EPREKEYOLD, 94, "E_PREKEY_OLD", 9, "prekey statement expired")                               \
    X(ENOPREKEY, 95, "E_NO_PREKEY", 9, "no prekey statement")                                      \
    X(EFORKED, 96, "E_FORKED", 1, "forked child holds no keys")                                    \
    X(EMETADATA, 97, "E_METADATA", 9, "metadata not in the agreed JSON form")                      \
    X(ENOONETIME, 98, "E_NO_ONE_TIME", 1, "no one-time key: forward_secrecy: statement")           \
    X(ERATCHET, 99, "E_RATCHET", 9, "no ratchet for this message; a new one is asked for")         \
    X(EKEPTLOCKED, 100, "E_STATE_LOCKED", 5, "another process holds the state of this component")  \
    X(EKEPTDAMAGED, 101, "E_STATE_DAMAGED", 5, "kept session state is damaged or of another key")  \
    X(EBACKUP, 102, "E_BACKUP", 5, "backup is damaged, not complete, or cannot be taken")          \
    /* identity and registry, PROTOCOL 2 and 3 */                                                  \
    X(EKEYFILE, 110, "E_KEYFILE_FORMAT", 5, "not a key file of ours")                              \
    X(EKEYFILEDAMAGED, 111, "E_KEYFILE_DAMAGED", 5, "key file is damaged")                         \
    X(EPASSPHRASE, 112, "E_PASSPHRASE", 5, "wrong or missing passphrase")                          \
    X(EKEYFILEMISMATCH, 113, "E_KEYFILE_MISMATCH", 5, "public key does not belong to the seed")    \
    X(EMODE, 114, "E_KEYFILE_MODE", 5, "file can be read or changed by others")                    \
    X(EOWNER, 115, "E_KEYFILE_OWNER", 5, "file belongs to another user")                           \
    X(ESYMLINK, 116, "E_KEYFILE_SYMLINK", 5, "file is a symbolic link")                            \
    X(EREGISTRY, 117, "E_REGISTRY", 5, "registry does not parse")                                  \
    X(EREGISTRYSIGNATURE, 118, "E_REGISTRY_SIGNATURE", 5, "registry is not signed by the owner")   \
    X(EREGISTRYOLD, 119, "E_REGISTRY_OLD", 5, "registry is older than the one already accepted")   \
    X(ENAMESPACE, 120, "E_NAMESPACE", 5, "registry of another namespace")                          \
    X(EREGISTRYSTALE, 121, "E_REGISTRY_STALE", 5, "registry is older than registry_max_age")       \
    X(EPUBLICFILE, 122, "E_PUBLIC_FORMAT", 5, "not a public identity file of ours")                \
    X(ESIGNATUREFILE, 123, "E_SIGNATURE_FORMAT", 9, "not a signature file of ours")                \
    X(EMASTERFILE, 124, "E_MASTER_FORMAT", 5, "not the salt of a master passphrase")               \
    X(EAUDIT, 130, "E_AUDIT", 5, "audit log does not verify")                                      \
    /* receipts and books */                                                                       \
    X(ENORECEIPT, 140, "E_NO_RECEIPT", 7, "no receipt came in time")                               \
    X(ENORECEIVER, 141, "E_NO_RECEIVER", 8, "nobody was there to receive it")                      \
    X(ERECEIPT, 142, "E_RECEIPT_FORMAT", 9, "not a receipt of ours")                               \
    X(EUNEXPLAINED, 143, "E_UNEXPLAINED", 1, "the books of broker and clients differ")

enum aico_error_code {
#define AICO_ERROR_ENUM(symbol, number, name, exit_code, text) AICO_##symbol = -(number),
    AICO_ERRORS(AICO_ERROR_ENUM)
#undef AICO_ERROR_ENUM
};

/** What went wrong, with context. On the caller's stack, owns nothing; may always be NULL. */
struct aico_error {
    int code;       /* 0 or negative AICO_E... */
    char text[496]; /* one line, UTF-8, NUL-terminated: "doing this: PATH: cause, repair" */
};

/** The text of @code ("queue full"); never NULL, static storage. */
AICO_API const char *aico_error_string(int code);
/** The name @code has in the protocol ("E_FULL"); never NULL, static storage. */
AICO_API const char *aico_error_name(int code);
/** The exit status (CLI.md) of a program that ends because of @code; 0 for 0. */
AICO_API int aico_error_exit_status(int code);

/** Sets @err (may be NULL) to @code and a printf text; returns @code. */
AICO_API int aico_error_set(struct aico_error *err, int code, const char *format, ...)
    AICO_PRINTF(3, 4);
/** Puts "text: " before the text of @err (may be NULL); returns @code. */
AICO_API int aico_error_prefix(struct aico_error *err, int code, const char *format, ...)
    AICO_PRINTF(3, 4);

#ifdef __cplusplus
}
#endif
#endif
