/* SPDX-License-Identifier: Apache-2.0 */
/* aico-keytool: identities, registry, rules. Links no network code. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "common/guard.h"
#include "common/options.h"
#include "crypto/crypto.h"
#include "keytool/keytool.h"

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

static const struct option_entry options[] = {
    {OPTION_HOME, NULL, "home", 0, "DIR", "folder of the installation ($AICO_HOME, ~/.aico)", NULL,
     false},
    {OPTION_JSON, " list show rule may inspect verify ", "json", 0, NULL, "one JSON object a line",
     NULL, false},
    {OPTION_QUIET, NULL, "quiet", 'q', NULL, "no advice on stderr", NULL, false},
    {OPTION_PASSPHRASE_FILE, NULL, "passphrase-file", 0, "FILE",
     "first line protects or opens the identity's key", NULL, false},
    {OPTION_PASSPHRASE_FD, NULL, "passphrase-fd", 0, "N", "the same from an open descriptor", NULL,
     false},
    {OPTION_OWNER_PASSPHRASE_FILE, NULL, "owner-passphrase-file", 0, "FILE",
     "first line protects or opens the owner's key", NULL, false},
    {OPTION_OWNER_PASSPHRASE_FD, NULL, "owner-passphrase-fd", 0, "N",
     "the same from an open descriptor", NULL, false},
    {OPTION_OWNER_KEY, NULL, "owner-key", 0, "FILE",
     "the owner's key, where it is kept outside the home", NULL, false},
    {OPTION_NEW_PASSPHRASE_FILE, " passwd export import ", "new-passphrase-file", 0, "FILE",
     "first line is the passphrase the key gets", NULL, false},
    {OPTION_NEW_PASSPHRASE_FD, " passwd export import ", "new-passphrase-fd", 0, "N",
     "the same from an open descriptor", NULL, false},
    {OPTION_UNPROTECTED, " passwd import ", "unprotected", 0, NULL,
     "write the key without a passphrase", NULL, false},
    {OPTION_MASTER_PASSPHRASE_FILE, " derive ", "master-passphrase-file", 0, "FILE",
     "first line is the passphrase all derived keys come from", NULL, false},
    {OPTION_MASTER_PASSPHRASE_FD, " derive ", "master-passphrase-fd", 0, "N",
     "the same from an open descriptor", NULL, false},
    {OPTION_STARTER, " init ", "starter", 0, NULL,
     "also make backend, frontend, cli and rules for logs, conversation, system", NULL, false},
    {OPTION_NAMESPACE, " init ", "namespace", 0, "NS", "keeps two products apart (aico)", NULL,
     false},
    {OPTION_ROLE, " new add derive ", "role", 0, "ROLE",
     "give the component a role; may come again", NULL, false},
    {OPTION_PEER, " new add derive ", "peer", 0, "aico",
     "it speaks format 0 of the seed, without forward secrecy", NULL, false},
    {OPTION_OVERLAP, " rotate ", "overlap", 0, "TIME",
     "how long the former key stays valid: 24h (default), 90s, 7d, 0", NULL, false},
    {OPTION_TRANSPORT, " rotate ", "transport", 0, NULL,
     "only the transport key (always so for the broker)", NULL, false},
    {OPTION_PREPARE, " rotate ", "prepare", 0, NULL, "owner: announce the next one", NULL, false},
    {OPTION_SWITCH, " rotate ", "switch", 0, NULL, "owner: let the announced one sign", NULL,
     false},
    {OPTION_AS, " sign import ", "as", 0, "NAME", "whose key signs; the name of a bare seed", NULL,
     false},
    {OPTION_BY, " verify ", "by", 0, "NAME|FILE", "who must have signed", NULL, false},
    {OPTION_SIGNATURE, " verify ", "signature", 0, "FILE", "the signature (FILE.sig)", NULL, false},
    {OPTION_OUT, " sign export ", "out", 0, "FILE", "write here; never overwrites", NULL, false},
    {OPTION_REASON, " revoke ", "reason", 0, "TEXT", "why, for the record", NULL, false},
    {OPTION_PUBLISH, " rule ", "publish", 0, "WHO,..", "who may publish: a name, @role or *", NULL,
     false},
    {OPTION_SUBSCRIBE, " rule ", "subscribe", 0, "WHO,..", "who may subscribe", NULL, false},
    {OPTION_SEAL, " rule ", "seal", 0, "MODE", "group (default), channel or none", NULL, false},
    {OPTION_AUTHENTICITY, " rule ", "authenticity", 0, "KIND",
     "sender (default), group or signature", NULL, false},
    {OPTION_PADDING, " rule ", "padding", 0, "MODE", "none (default) or padme", NULL, false},
    {OPTION_FRESHNESS, " rule ", "freshness", 0, "S", "refuse older messages, seconds; 0: never",
     NULL, false},
    {OPTION_HISTORY, " rule ", "history", 0, NULL, "later readers may have earlier keys", NULL,
     true},
    {OPTION_STORE, " rule ", "store", 0, "LIMITS", "keep messages in the broker", NULL, true},
    {OPTION_BEFORE, " rule ", "before", 0, "FILTER", "put a new rule before this one", NULL, false},
    {0},
};

static const struct verb_entry verbs[] = {
    {"init", "", "make a home: owner, broker, registry version 1, security.yaml", 0, 0, NULL},
    {"new", "NAME", "make an identity here and register it", 1, 1, NULL},
    {"list", "", "who is registered", 0, 0, NULL},
    {"show", "NAME", "keys, fingerprint, roles and state", 1, 1, NULL},
    {"fingerprint", "NAME|FILE", "what two people compare", 1, 1, NULL},
    {"public", "NAME", "the public identity, to hand to another machine", 1, 1, NULL},
    {"add", "FILE", "register a component made elsewhere", 1, 1, NULL},
    {"revoke", "NAME", "take a component out; the running broker acts within a second", 1, 1, NULL},
    {"rotate", "NAME|broker|owner", "another key, signed by the former one", 1, 1,
     "A component gets a new identity; the former one stays valid for the overlap, so that what "
     "runs\n"
     "goes on until it is restarted. The broker, and --transport, keep the identity and get a new\n"
     "transport key: restart them at once. The owner changes in two steps: --prepare, --switch."},
    {"rule", "set FILTER | list | remove FILTER", "who may publish and subscribe what", 1, 2,
     "The first rule that matches a topic decides; where none does, nobody may do anything.\n"
     "'rule set' changes the rule of that filter in place or appends it."},
    {"may", "NAME publish|subscribe TOPIC", "dry run: answer and deciding rule (exit 0 or 4)", 3, 3,
     NULL},
    {"passwd", "NAME", "another passphrase for a key file, or none", 1, 1, NULL},
    {"derive", "NAME", "make or restore an identity from the master passphrase", 1, 1,
     "The salt is HOME/master.salt: not secret, but without it the passphrase gives other keys."},
    {"export", "NAME", "the key under a passphrase, to carry it to another machine", 1, 1,
     "It is a key file of ours: 'inspect' shows it, 'import' takes it."},
    {"import", "FILE|-", "put an exported key, or a seed of 64 hex digits, into this home", 1, 1,
     "It keeps its passphrase unless another is given. Never overwrites a key."},
    {"sign", "FILE|-", "detached signature in FILE.sig", 1, 1, NULL},
    {"verify", "FILE|-", "whether NAME signed FILE: exit 0, or 5 (not by NAME), 9 (changed)", 1, 1,
     NULL},
    {"inspect", "FILE", "take a message, key, registry or signature apart, without secrets", 1, 1,
     NULL},
    {0},
};

static const struct program program = {
    "aico-keytool",
    "identities, registry and rules of one bus",
    verbs,
    options,
    "Passphrases come from the terminal, a file or a descriptor, never from the command line.\n"
    "Exit codes: 0 done, 1 other error, 2 usage, 3 not in this version, 4 denied (may),\n"
    "5 identity or registry, 7 another keytool holds the lock, 9 a signature does not verify.",
};

static int (*const handlers[])(struct keytool *, char **, int, struct aico_error *) = {
    verb_init,   verb_new,    verb_list,   verb_show, verb_fingerprint, verb_public,
    verb_add,    verb_revoke, verb_rotate, verb_rule, verb_may,         verb_passwd,
    verb_derive, verb_export, verb_import, verb_sign, verb_verify,      verb_inspect,
};

static int parse_number(const char *text, int *ret)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || value > 1000000)
        return AICO_EINVAL;
    *ret = (int)value;
    return 0;
}

static int take_role(struct keytool *k, const char *role, struct aico_error *err)
{
    if (!component_name_is_valid(bytes_text(role)))
        return aico_error_set(err, AICO_EINVAL, "'%s' is not a role: a-z, 0-9, '.', '_', '-'",
                              role);
    return buffer_printf(&k->roles, "%s%s", k->roles.size > 0 ? "," : "", role);
}

static int take(void *context, int id, const char *value, struct aico_error *err)
{
    struct keytool *k = context;
    const struct {
        int id;
        const char **to;
    } texts[] = {
        {OPTION_HOME, &k->home_option},
        {OPTION_NAMESPACE, &k->namespace},
        {OPTION_REASON, &k->reason},
        {OPTION_PASSPHRASE_FILE, &k->key.file},
        {OPTION_OWNER_PASSPHRASE_FILE, &k->owner.file},
        {OPTION_NEW_PASSPHRASE_FILE, &k->next.file},
        {OPTION_MASTER_PASSPHRASE_FILE, &k->master.file},
        {OPTION_OWNER_KEY, &k->owner_key},
        {OPTION_PEER, &k->peer},
        {OPTION_OVERLAP, &k->overlap},
        {OPTION_AS, &k->as},
        {OPTION_BY, &k->by},
        {OPTION_OUT, &k->out},
        {OPTION_SIGNATURE, &k->signature},
        {OPTION_PUBLISH, &k->publish},
        {OPTION_SUBSCRIBE, &k->subscribe},
        {OPTION_SEAL, &k->seal},
        {OPTION_AUTHENTICITY, &k->authenticity},
        {OPTION_PADDING, &k->padding},
        {OPTION_FRESHNESS, &k->freshness},
        {OPTION_BEFORE, &k->before},
    };
    const struct {
        int id;
        bool *to;
    } flags[] = {
        {OPTION_STARTER, &k->starter},     {OPTION_JSON, &k->json},
        {OPTION_QUIET, &k->quiet},         {OPTION_UNPROTECTED, &k->unprotected},
        {OPTION_TRANSPORT, &k->transport}, {OPTION_PREPARE, &k->prepare},
        {OPTION_SWITCH, &k->switch_over},
    };
    const struct {
        int id;
        int *to;
    } descriptors[] = {
        {OPTION_PASSPHRASE_FD, &k->key.fd},
        {OPTION_OWNER_PASSPHRASE_FD, &k->owner.fd},
        {OPTION_NEW_PASSPHRASE_FD, &k->next.fd},
        {OPTION_MASTER_PASSPHRASE_FD, &k->master.fd},
    };

    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (texts[i].id == id)
            *texts[i].to = value;
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        if (flags[i].id == id)
            *flags[i].to = true;
    if (id == OPTION_ROLE)
        return take_role(k, value, err);
    for (size_t i = 0; i < COUNT_OF(descriptors); i++)
        if (descriptors[i].id == id && parse_number(value, descriptors[i].to) < 0)
            return aico_error_set(err, AICO_EINVAL, "'%s' is not the number of a descriptor",
                                  value);
    return 0;
}

void say(const struct keytool *k, const char *format, ...)
{
    va_list args;

    if (k->quiet)
        return;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

int main(int argc, char **argv)
{
    struct keytool k = {
        .namespace = "aico", .key.fd = -1, .owner.fd = -1, .next.fd = -1, .master.fd = -1};
    struct aico_error err = {0};
    struct command command = {0};
    int r;

    guard_process();
    guard_files();
    r = options_parse(&program, argc, argv, take, &k, &command, &err);
    if (r > 0)
        return 0;
    if (r == 0)
        r = crypto_start();
    if (r == 0) {
        k.home = home_find(k.home_option, &err);
        r = k.home ? 0 : err.code;
    }
    if (r == 0)
        r = handlers[command.verb - verbs](&k, command.arguments, command.count, &err);
    if (r == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        r = aico_error_set(&err, AICO_ESYSTEM, "standard output cannot be written");
    if (r < 0)
        (void)fprintf(stderr, "aico-keytool%s%s: %s (%s)\n", command.verb ? " " : "",
                      command.verb ? command.verb->name : "",
                      err.text[0] ? err.text : aico_error_string(r), aico_error_name(r));
    buffer_deinit(&k.roles);
    free(k.home);
    return aico_error_exit_status(r);
}
