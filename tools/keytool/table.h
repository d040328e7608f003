/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of aico-keytool. To add a verb: a word in KEYTOOL_VERBS, its row in table.c, its
 * function, declared in keytool.h. An option: its id below, its row in table.c, and where it goes
 * in main.c.
 */
#ifndef KEYTOOL_TABLE_H
#define KEYTOOL_TABLE_H

#include "common/options.h"

/* X(id, function) in the order of --help. */
/* clang-format off */
#define KEYTOOL_VERBS(X)                                                                           \
    X(INIT, verb_init)                                                                             \
    X(NEW, verb_new)                                                                               \
    X(LIST, verb_list)                                                                             \
    X(SHOW, verb_show)                                                                             \
    X(FINGERPRINT, verb_fingerprint)                                                               \
    X(PUBLIC, verb_public)                                                                         \
    X(ADD, verb_add)                                                                               \
    X(REVOKE, verb_revoke)                                                                         \
    X(ROTATE, verb_rotate)                                                                         \
    X(RENEW, verb_renew)                                                                           \
    X(RULE_SET, verb_rule_set)                                                                     \
    X(RULE_LIST, verb_rule_list)                                                                   \
    X(RULE_REMOVE, verb_rule_remove)                                                               \
    X(MAY, verb_may)                                                                               \
    X(PASSWD, verb_passwd)                                                                         \
    X(DERIVE, verb_derive)                                                                         \
    X(EXPORT, verb_export)                                                                         \
    X(IMPORT, verb_import)                                                                         \
    X(SIGN, verb_sign)                                                                             \
    X(VERIFY, verb_verify)                                                                         \
    X(RECEIPT, verb_receipt)                                                                       \
    X(AUDIT_VERIFY, verb_audit_verify)                                                             \
    X(BACKUP, verb_backup)                                                                         \
    X(RESTORE, verb_restore)                                                                       \
    X(INSPECT, verb_inspect)
/* clang-format on */

enum keytool_verb {
#define KEYTOOL_VERB_ID(id, function) VERB_##id,
    KEYTOOL_VERBS(KEYTOOL_VERB_ID)
#undef KEYTOOL_VERB_ID
        VERB_COUNT
};

enum {
    OPTION_HOME = 1,
    OPTION_STARTER,
    OPTION_NAMESPACE,
    OPTION_ROLE,
    OPTION_REASON,
    OPTION_PASSPHRASE_FILE,
    OPTION_PASSPHRASE_FD,
    OPTION_OWNER_PASSPHRASE_FILE,
    OPTION_OWNER_PASSPHRASE_FD,
    OPTION_NEW_PASSPHRASE_FILE,
    OPTION_NEW_PASSPHRASE_FD,
    OPTION_MASTER_PASSPHRASE_FILE,
    OPTION_MASTER_PASSPHRASE_FD,
    OPTION_OWNER_KEY,
    OPTION_REGISTRY,
    OPTION_UNPROTECTED,
    OPTION_PEER,
    OPTION_OVERLAP,
    OPTION_TRANSPORT,
    OPTION_PREPARE,
    OPTION_SWITCH,
    OPTION_AS,
    OPTION_BY,
    OPTION_OUT,
    OPTION_SIGNATURE,
    OPTION_CONTENT,
    OPTION_WITNESS,
    OPTION_PUBLISH,
    OPTION_SUBSCRIBE,
    OPTION_SEAL,
    OPTION_AUTHENTICITY,
    OPTION_PADDING,
    OPTION_FRESHNESS,
    OPTION_HISTORY,
    OPTION_STORE,
    OPTION_BEFORE,
    OPTION_JSON,
    OPTION_QUIET,
};

extern const struct program keytool_program;

#endif
