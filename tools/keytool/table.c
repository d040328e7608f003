/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of aico-keytool: verbs, options and what its manual says about them. */
#include "keytool/table.h"

/* Which verbs may open or write the key of an identity, and which the owner's. */
#define KEY_VERBS "init,new,public,rotate,passwd,export,import,derive,sign"
#define OWNER_VERBS                                                                                \
    "new,add,revoke,rotate,renew,rule set,rule remove,public,passwd,derive,export,import,sign"

static const struct option_entry options[] = {
    {OPTION_HOME, NULL, "home", 0, "DIR", "folder of the installation ($AICO_HOME, ~/.aico)", NULL,
     false},
    {OPTION_JSON, "list,show,rule list,may,inspect,verify,receipt,audit verify,backup,restore",
     "json", 0, NULL, "one JSON object a line", NULL, false},
    {OPTION_QUIET, NULL, "quiet", 'q', NULL, "no advice on stderr", NULL, false},
    {OPTION_PASSPHRASE_FILE, KEY_VERBS, "passphrase-file", 0, "FILE",
     "first line protects or opens the identity's key", NULL, false},
    {OPTION_PASSPHRASE_FD, KEY_VERBS, "passphrase-fd", 0, "N", "the same from an open descriptor",
     NULL, false},
    {OPTION_OWNER_PASSPHRASE_FILE, "init," OWNER_VERBS, "owner-passphrase-file", 0, "FILE",
     "first line protects or opens the owner's key", NULL, false},
    {OPTION_OWNER_PASSPHRASE_FD, "init," OWNER_VERBS, "owner-passphrase-fd", 0, "N",
     "the same from an open descriptor", NULL, false},
    {OPTION_OWNER_KEY, OWNER_VERBS, "owner-key", 0, "FILE",
     "the owner's key, where it is kept outside the home", NULL, false},
    {OPTION_NEW_PASSPHRASE_FILE, "passwd,export,import", "new-passphrase-file", 0, "FILE",
     "first line is the passphrase the key gets", NULL, false},
    {OPTION_NEW_PASSPHRASE_FD, "passwd,export,import", "new-passphrase-fd", 0, "N",
     "the same from an open descriptor", NULL, false},
    {OPTION_UNPROTECTED, "passwd,import", "unprotected", 0, NULL,
     "write the key without a passphrase", NULL, false},
    {OPTION_MASTER_PASSPHRASE_FILE, "derive", "master-passphrase-file", 0, "FILE",
     "first line is the passphrase all derived keys come from", NULL, false},
    {OPTION_MASTER_PASSPHRASE_FD, "derive", "master-passphrase-fd", 0, "N",
     "the same from an open descriptor", NULL, false},
    {OPTION_STARTER, "init", "starter", 0, NULL,
     "also make backend, frontend, cli and rules for logs, conversation, system", NULL, false},
    {OPTION_NAMESPACE, "init", "namespace", 0, "NS", "keeps two products apart (aico)", NULL,
     false},
    {OPTION_ROLE, "new,add,derive", "role", 0, "ROLE", "give the component a role; may come again",
     NULL, false},
    {OPTION_PEER, "new,add,derive", "peer", 0, "aico",
     "it speaks format 0 of the seed, without forward secrecy", NULL, false},
    {OPTION_OVERLAP, "rotate", "overlap", 0, "TIME",
     "how long the former key stays valid: 24h (default), 90s, 7d, 0", NULL, false},
    {OPTION_TRANSPORT, "rotate", "transport", 0, NULL,
     "only the transport key (always so for the broker)", NULL, false},
    {OPTION_PREPARE, "rotate", "prepare", 0, NULL, "owner: announce the next one", NULL, false},
    {OPTION_SWITCH, "rotate", "switch", 0, NULL, "owner: let the announced one sign", NULL, false},
    {OPTION_AS, "sign,import", "as", 0, "NAME", "whose key signs; the name of a bare seed", NULL,
     false},
    {OPTION_BY, "verify", "by", 0, "NAME|FILE", "who must have signed", NULL, false},
    {OPTION_SIGNATURE, "verify", "signature", 0, "FILE", "the signature (FILE.sig)", NULL, false},
    {OPTION_CONTENT, "receipt", "content", 0, "FILE",
     "what was published: its receipts must be for it", NULL, false},
    {OPTION_WITNESS, "audit verify", "witness", 0, "FILE|HOME",
     "heads of the log that were kept elsewhere, or by the components of a home; all must be in it",
     NULL, false},
    {OPTION_REGISTRY, "restore", "registry", 0, "FILE",
     "a later registry than the backup's: state/NAME/registry of any component", NULL, false},
    {OPTION_OUT, "sign,export", "out", 0, "FILE", "write here; never overwrites", NULL, false},
    {OPTION_REASON, "revoke", "reason", 0, "TEXT",
     "why; kept in the home's revocations, told by show", NULL, false},
    {OPTION_PUBLISH, "rule set", "publish", 0, "WHO,..", "who may publish: a name, @role or *",
     NULL, false},
    {OPTION_SUBSCRIBE, "rule set", "subscribe", 0, "WHO,..", "who may subscribe", NULL, false},
    {OPTION_SEAL, "rule set", "seal", 0, "group|channel|ratchet|none",
     "how messages are sealed (group)", NULL, false},
    {OPTION_AUTHENTICITY, "rule set", "authenticity", 0, "sender|group|signature",
     "what a reader can prove about the sender (sender)", NULL, false},
    {OPTION_PADDING, "rule set", "padding", 0, "none|padme", "hide the size of messages (none)",
     NULL, false},
    {OPTION_FRESHNESS, "rule set", "freshness", 0, "S", "refuse older messages, seconds; 0: never",
     NULL, false},
    {OPTION_HISTORY, "rule set", "history", 0, NULL,
     "readers that were away may open what was stored meanwhile", NULL, false},
    {OPTION_STORE, "rule set", "store", 0, "LIMITS",
     "the broker stores messages: age=7d,count=N,bytes=1G, any of them", NULL, false},
    {OPTION_BEFORE, "rule set", "before", 0, "FILTER", "put a new rule before this one", NULL,
     false},
    {0},
};

/* clang-format off */
static const struct verb_entry verbs[VERB_COUNT + 1] = {
    [VERB_INIT] = {"init", "", "make a home: owner, broker, registry version 1, security.yaml", 0, 0, NULL},
    [VERB_NEW] = {"new", "NAME...", "make an identity here and register it", 1, -1,
     "Several are registered in one version of the registry, all or none, and get the same roles\n"
     "and passphrase."},
    [VERB_LIST] = {"list", "", "who is registered", 0, 0, NULL},
    [VERB_SHOW] = {"show", "NAME", "keys, fingerprint, roles and state", 1, 1, NULL},
    [VERB_FINGERPRINT] = {"fingerprint", "NAME|FILE", "what two people compare", 1, 1, NULL},
    [VERB_PUBLIC] = {"public", "NAME", "the public identity, to hand to another machine", 1, 1, NULL},
    [VERB_ADD] = {"add", "FILE", "register a component made elsewhere", 1, 1, NULL},
    [VERB_REVOKE] = {"revoke", "NAME", "take a component out; the running broker acts within a second", 1, 1, NULL},
    [VERB_ROTATE] = {"rotate", "NAME|broker|owner", "another key, signed by the former one", 1, 1,
     "A component gets a new identity; the former one stays valid for the overlap, so that what\n"
     "runs goes on until it is restarted. The broker, and --transport, keep the identity and get\n"
     "a new transport key: restart them at once. The owner changes in two steps: --prepare,\n"
     "--switch."},
    [VERB_RENEW] = {"renew", "", "sign the registry anew, unchanged, under the next version", 0, 0,
     "Where registry_max_age is set, in time; or after two registries of one version were signed."},
    [VERB_RULE_SET] = {"rule set", "FILTER", "who may publish and subscribe what", 1, 1,
     "The first rule that matches a topic decides; where none does, nobody may do anything.\n"
     "Changes the rule of that filter in place or appends it."},
    [VERB_RULE_LIST] = {"rule list", "", "the rules, in the order in which they decide", 0, 0, NULL},
    [VERB_RULE_REMOVE] = {"rule remove", "FILTER", "take the rule of that filter away", 1, 1, NULL},
    [VERB_MAY] = {"may", "NAME publish|subscribe TOPIC", "dry run: answer and deciding rule (exit 0 or 4)", 3, 3,
     NULL},
    [VERB_PASSWD] = {"passwd", "NAME", "another passphrase for a key file, or none", 1, 1, NULL},
    [VERB_DERIVE] = {"derive", "NAME", "make or restore an identity from the master passphrase", 1, 1,
     "The salt is HOME/master.salt: not secret, but without it the passphrase gives other keys."},
    [VERB_EXPORT] = {"export", "NAME", "the key under a passphrase, to carry it to another machine", 1, 1,
     "It is a key file of ours: 'inspect' shows it, 'import' takes it."},
    [VERB_IMPORT] = {"import", "FILE|-", "put an exported key, or a seed of 64 hex digits, into this home", 1, 1,
     "It keeps its passphrase unless another is given. Never overwrites a key."},
    [VERB_SIGN] = {"sign", "FILE|-", "detached signature in FILE.sig", 1, 1, NULL},
    [VERB_VERIFY] = {"verify", "FILE|-", "whether NAME signed FILE: exit 0, or 5 (not by NAME), 9 (changed)", 1, 1,
     NULL},
    [VERB_RECEIPT] = {"receipt", "FILE", "whether receipts were signed by who they name: exit 0, 5 or 9", 1, 1,
     "FILE is what 'aico-bus pub --ack signed' gave, one receipt or many. 5: not by a key of that\n"
     "component that is valid; 9: changed, or not for --content."},
    [VERB_AUDIT_VERIFY] = {"audit verify", "[FILE...]", "whether the broker's audit log is whole: exit 0 or 5", 0, 64,
     "Without a file: all of HOME/log, oldest first. The broker signs a head below its\n"
     "entries, so a change, a deletion and an insertion show. A missing end shows only\n"
     "against heads that were kept elsewhere. Components keep those they see (state/NAME/witness):\n"
     "--witness HOME checks them, of this home or a copy of another machine's; --witness FILE\n"
     "those of one file, as 'grep ^head HOME/log/audit | tail -1' makes it."},
    [VERB_BACKUP] = {"backup", "DIR", "copy the home, with keys and stored messages, while everything runs", 1, 1,
     "DIR is made. Sessions of components are left out: they begin anew. It holds the keys of this\n"
     "home: keep it as you keep them."},
    [VERB_RESTORE] = {"restore", "DIR", "put a backup into a home that is empty or not there", 1, 1,
     "Checks every file first. What was signed after the backup is not in it: give a later\n"
     "registry with --registry, or components refuse what the owner signs next."},
    [VERB_INSPECT] = {"inspect", "FILE", "take a message, key, registry or signature apart, without secrets", 1, 1,
     NULL},
};
/* clang-format on */

static const struct manual_part parts[] = {
    {"Passphrases",
     "They come from the terminal, a file or a descriptor, never from the command line."},
    {"Exit status",
     "0 done, 1 other error, 2 usage, 3 not in this version, 4 denied (may), 5 identity or\n"
     "registry, 7 another keytool holds the lock, 9 a signature does not verify."},
    {"Environment", "  AICO_HOME  home of the bus where --home is not given; else ~/.aico"},
    {"Files", "Below the home:\n"
              "  owner.key       the owner's key: signs the registry\n"
              "  broker.key      the broker's\n"
              "  identities/     NAME.key of each component of this machine\n"
              "  registry        who takes part, and the owner's rules\n"
              "  security.yaml   settings of the programs"},
    {"Examples", "  aico-keytool init --starter\n"
                 "  aico-keytool new camera --role sensor\n"
                 "  aico-keytool rule set 'camera/**' --publish camera --subscribe '*'\n"
                 "  aico-keytool may camera publish camera/front/v1"},
    {0},
};

const struct program keytool_program = {
    .name = "aico-keytool",
    .section = '1',
    .summary = "identities, registry and rules of one AICO Bus",
    .verbs = verbs,
    .options = options,
    .parts = parts,
};
