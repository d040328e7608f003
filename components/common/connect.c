/* SPDX-License-Identifier: Apache-2.0 */
/* The common options of programs that talk to the bus, and their last words. */
#include "common/connect.h"

#include <string.h>
#include <unistd.h>

#include "common/text.h"

static int take_descriptor(const char *option, const char *value, unsigned *ret,
                           struct aico_error *err)
{
    uint64_t number;

    if (!text_number(value, 0, 1000000, &number))
        return aico_error_set(err, AICO_EINVAL, "--%s: \"%.40s\" is no descriptor", option, value);
    *ret = (unsigned)number;
    return 0;
}

/* How much is said, and in which form. */
static int take_log(struct connect_options *options, int id, const char *value,
                    struct aico_error *err)
{
    switch (id) {
    case CONNECT_LOG_FORMAT:
        options->has_log_format = true;
        if (!log_format_parse(value, &options->log_format))
            return aico_error_set(err, AICO_EINVAL,
                                  "--log-format: \"%.40s\" is unknown; text, json or journal",
                                  value);
        return 0;
    case CONNECT_LOG_LEVEL:
        options->has_log_level = true;
        if (!log_level_parse(value, &options->log_level))
            return aico_error_set(
                err, AICO_EINVAL,
                "--log-level: \"%.40s\" is unknown; error, warning, info or debug", value);
        return 0;
    case CONNECT_LOG_JSON:
        options->has_log_format = true;
        options->log_format = LOG_JSON;
        return 0;
    case CONNECT_VERBOSE:
    case CONNECT_QUIET:
        options->has_log_level = true;
        options->log_level = id == CONNECT_VERBOSE ? LOG_DEBUG : LOG_WARNING;
        *(id == CONNECT_VERBOSE ? &options->is_verbose : &options->is_quiet) = true;
        return 0;
    default:
        return 1;
    }
}

int connect_take(struct connect_options *options, int id, const char *value, struct aico_error *err)
{
    unsigned number = 0;
    int r;

    switch (id) {
    case CONNECT_HOME:
        options->client.home = value;
        return 0;
    case CONNECT_AS:
        options->client.identity = value;
        return 0;
    case CONNECT_BROKER:
        options->client.broker = value;
        return 0;
    case CONNECT_CONFIG:
        options->client.config = value;
        return 0;
    case CONNECT_PASSPHRASE_FILE:
        options->client.passphrase_file = value;
        return 0;
    case CONNECT_PASSPHRASE_FD:
        r = take_descriptor("passphrase-fd", value, &number, err);
        if (r < 0)
            return r;
        (void)snprintf(options->passphrase_fd, sizeof(options->passphrase_fd), "/dev/fd/%u",
                       number);
        options->client.passphrase_file = options->passphrase_fd;
        return 0;
    case CONNECT_TIMEOUT:
        if (!text_duration(value, &options->timeout_ms))
            return aico_error_set(err, AICO_EINVAL,
                                  "--timeout: \"%.40s\" is no time; write 500ms, 5s or 2m", value);
        return 0;
    case CONNECT_JSON:
        options->is_json = true;
        return 0;
    case CONNECT_USER:
        options->user = value;
        return 0;
    case CONNECT_READY_FD:
        r = take_descriptor("ready-fd", value, &number, err);
        if (r == 0)
            options->ready_fd = (int)number;
        return r;
    default:
        return take_log(options, id, value, err);
    }
}

int64_t connect_timeout(const struct connect_options *options, int64_t fallback_ms)
{
    return options->timeout_ms >= 0 ? options->timeout_ms : fallback_ms;
}

void connect_ready(struct connect_options *options)
{
    int fd = options->ready_fd;

    if (fd < 0)
        return;
    options->ready_fd = -1;
    /* Whoever asked may be gone already; that is no reason to stop. */
    if (write(fd, "\n", 1) < 0 || fd > STDERR_FILENO)
        (void)close(fd);
}

/* What usually helps, for codes whose text seldom says it. */
static const struct repair {
    int code;
    const char *text;
} repairs[] = {
    {AICO_EUNREACHABLE, "start it with aico-broker, or name another with --broker"},
    {AICO_ENOTBROKER, "check the address after --broker"},
    {AICO_EDRAIN, "try again when the broker is back"},
    {AICO_EDENIED, "the owner may allow it: aico-keytool rule set"},
    {AICO_EBROKERKEY, "this is not the broker of this home: check --home and --broker"},
    {AICO_EUNKNOWN, "the owner registers a key with aico-keytool add; see aico-keytool list"},
    {AICO_EREVOKED, "the owner can make a new identity: aico-keytool new NAME"},
    {AICO_EDUPLICATE, "use another identity with --as NAME"},
    {AICO_ETOOLARGE, "split it, or raise max_message_size here and at the broker"},
    {AICO_EFULL, "the reader is too slow: wait, or send less at a time"},
    {AICO_EREGISTRYSTALE, "the owner signs it anew: aico-keytool renew"},
    {AICO_ECLOCK, "set the clock: timedatectl set-ntp true"},
    {AICO_EPEERUNKNOWN, "see aico-keytool list for the names"},
    {AICO_EPEERAWAY, "see aico-bus peers for who is connected"},
    {AICO_ENORESPONDER, "start the component that serves this topic; see aico-bus peers"},
    {AICO_ETIMEOUT, "try again, or wait longer with --timeout"},
    {AICO_EPASSPHRASE, "give it with --passphrase-file or --passphrase-fd"},
};

/* Whether the cause came with its own repair. A program counts only with a blank behind it: paths
 * hold such names too. */
static bool has_repair(const char *text)
{
    static const char *const signs[] = {"; ",           "run:",     "chmod ", "aico-keytool ",
                                        "aico-broker ", "aico-bus "};

    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
        if (strstr(text, signs[i]))
            return true;
    return false;
}

static const char *find_repair(int code, const char *text)
{
    if (has_repair(text))
        return NULL;
    for (size_t i = 0; i < sizeof(repairs) / sizeof(repairs[0]); i++)
        if (repairs[i].code == code)
            return repairs[i].text;
    return NULL;
}

int connect_report(const char *program, const char *verb, int code, const struct aico_error *err)
{
    const char *text = err && err->text[0] ? err->text : aico_error_string(code);
    const char *repair = find_repair(code, text);

    (void)fprintf(stderr, "%s: ", program);
    if (verb && *verb)
        (void)fprintf(stderr, "%s: ", verb);
    text_write_escaped(stderr, text, strlen(text));
    (void)fprintf(stderr, " (%s)%s%s\n", aico_error_name(code), repair ? "; " : "",
                  repair ? repair : "");
    return aico_error_exit_status(code);
}

int connect_log(const struct connect_options *options, const char *program, struct aico_error *err)
{
    return log_open(program, options->log_level, options->log_format, err);
}

int connect_fail(const char *program, int code, const struct aico_error *err)
{
    const struct log_field fields[] = {{"event", "failed"}, {"code", aico_error_name(code)}};

    if (!log_has_fields())
        return connect_report(program, NULL, code, err);
    log_write_fields(LOG_ERROR, fields, sizeof(fields) / sizeof(fields[0]), "%s",
                     *err->text ? err->text : aico_error_string(code));
    return aico_error_exit_status(code);
}
