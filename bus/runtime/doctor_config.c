/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doctor's round through the settings: security.yaml, the component's file and those of the
 * others in this home. A line that is not understood is put right where the parser knows what was
 * meant, and made a comment otherwise, so that its default holds.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "runtime/doctor.h"
#include "store/file.h"

#define WORD_MAX 80

/* "security.transport.padding" between back-quotes at @at; its last level in @to. */
static bool last_level(const char *at, char to[WORD_MAX])
{
    const char *end = strchr(at, '`');
    const char *word;
    size_t size;

    if (!end)
        return false;
    for (word = end; word > at && word[-1] != '.'; word--)
        continue;
    size = (size_t)(end - word);
    if (size == 0 || size >= WORD_MAX)
        return false;
    for (size_t i = 0; i < size; i++)
        if (!isalnum((unsigned char)word[i]) && word[i] != '_')
            return false;
    memcpy(to, word, size);
    to[size] = '\0';
    return true;
}

/* The parser's "key `a.b`: unknown, did you mean `a.c`?", or "`x` is unknown (did you mean `y`?)":
 * which word becomes which. */
static bool find_slip(const char *text, char from[WORD_MAX], char to[WORD_MAX])
{
    const char *meant = strstr(text, "did you mean `"), *key = strstr(text, "key `");
    const char *value = strstr(text, "` is unknown");

    while (value && value > text && value[-1] != '`')
        value--;
    if (!value)
        value = key ? key + 5 : NULL;
    return value && meant && last_level(value, from) && last_level(meant + 14, to) &&
           strcmp(from, to) != 0;
}

/* The line of "PATH:LINE:COLUMN: ..."; 0: the problem has no place. */
static int64_t find_line(const char *text, const char *path)
{
    size_t size = strlen(path);
    const char *at = strstr(text, ": ");

    if (strncmp(text, path, size) == 0 && text[size] == ':')
        at = text + size;
    else if (!at || !(at = strchr(text, ':')))
        return 0;
    return isdigit((unsigned char)at[1]) ? strtoll(at + 1, NULL, 10) : 0;
}

static char *repair_of(struct doctor *d, const char *path, const char *text)
{
    int64_t line = find_line(text, path);
    char from[WORD_MAX], to[WORD_MAX];

    if (strstr(text, "every user may change it"))
        return doctor_command(d, "chmod go-w %q", path);
    if (line == 0 || strstr(text, "not valid YAML"))
        return doctor_command(d, "mv %q %q.refused", path, path);
    if (strstr(text, "the socket path has"))
        return doctor_command(d, "sed -i '%ds|ipc://[^\", ]*|ipc:///tmp/aico-%d/bus.sock|' %q",
                              line, (int64_t)geteuid(), path);
    if (find_slip(text, from, to))
        return doctor_command(d, "sed -i '%ds/%s/%s/' %q", line, from, to, path);
    if (strstr(text, "a tab; "))
        return doctor_command(d, "sed -i '%ds/\\t/        /g' %q", line, path);
    return doctor_command(d, "sed -i '%ds/^/#/' %q", line, path);
}

/* Which of the files the problem is in. */
static const char *file_of(const char *text, const char *security, const char *own)
{
    const char *slash = strrchr(own, '/');
    const char *place = strstr(text, slash);

    return strncmp(text, own, strlen(own)) == 0 || (place && place < strstr(text, ": ")) ? own
                                                                                         : security;
}

/* Reports what is wrong in the files of @component, @security only once for all of them. */
static void look_at(struct doctor *d, const char *component, const char *security,
                    bool *security_is_told)
{
    struct aico_config_problems problems;
    CLEANUP(free_memory)
    char *own = home_path(d->home, "config/%s.yaml", component);
    bool has_security = false;

    if (!own || aico_config_check(d->home, d->options->config, component, &problems) == 0)
        return;
    for (size_t i = 0; i < problems.count; i++) {
        const char *text = problems.problems[i].text;
        const char *file = file_of(text, security, own);

        has_security |= file == security;
        if (file == security && *security_is_told)
            continue;
        doctor_find(d,
                    &(struct aico_finding){.level = AICO_FINDING_ERROR,
                                           .check = "config",
                                           .subject = file,
                                           .code = problems.problems[i].code},
                    repair_of(d, file, text), "%s", text);
    }
    *security_is_told |= has_security;
}

/* Files of components nobody asked about are looked at as well: one doctor, one home. */
static void look_at_others(struct doctor *d, const char *security, bool *security_is_told)
{
    CLEANUP(free_memory)
    char *folder = doctor_path(d, "config");
    DIR *stream = folder ? opendir(folder) : NULL;
    const struct dirent *entry;

    while (stream && (entry = readdir(stream)) != NULL) {
        char name[COMPONENT_NAME_MAX + 1];
        size_t size = strcspn(entry->d_name, ".");

        if (strcmp(entry->d_name + size, ".yaml") != 0 || size == 0 || size >= sizeof(name))
            continue;
        memcpy(name, entry->d_name, size);
        name[size] = '\0';
        if (component_name_is_valid(bytes_text(name)) && strcmp(name, BROKER_NAME) != 0 &&
            (!d->name || strcmp(name, d->name) != 0))
            look_at(d, name, security, security_is_told);
    }
    if (stream)
        (void)closedir(stream);
}

static void look_at_psk(struct doctor *d)
{
    CLEANUP(secret_wipe)
    struct secret psk = {0};
    struct aico_error err = {0};
    const char *path = d->config->psk_file;
    char *repair = NULL;
    int r = path ? psk_load(path, &psk, &err) : 0;

    if (r == 0)
        return;
    if (r == AICO_EMODE)
        repair = doctor_command(d, "chmod 600 %q", path);
    else if (r == AICO_EOWNER)
        repair = doctor_command(d, "chown %d %q", (int64_t)geteuid(), path);
    else if (r == AICO_ESYMLINK)
        repair = doctor_command(d, "install -m 600 %q %q.copy && mv -f %q.copy %q", path, path,
                                path, path);
    doctor_find(d,
                &(struct aico_finding){
                    .level = AICO_FINDING_ERROR, .check = "config", .subject = path, .code = r},
                repair, "psk_file: %s", err.text);
}

/* What the document says of its namespace, which nothing vouches for before it is verified. */
static char *claimed_namespace(struct doctor *d)
{
    static const char word[] = "aico-registry 1\nnamespace ";
    CLEANUP(free_memory)
    char *path = doctor_path(d, "registry");
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    const char *at, *end;

    if (!path || file_read(path, FILE_TRUSTED, REGISTRY_SIZE_MAX, &text, NULL) < 0 ||
        text.size < sizeof(word) || memcmp(text.at, word, sizeof(word) - 1) != 0)
        return NULL;
    at = (const char *)text.at + sizeof(word) - 1;
    end = memchr(at, '\n', text.size - (sizeof(word) - 1));
    return end ? strndup(at, (size_t)(end - at)) : NULL;
}

void doctor_look_at_config(struct doctor *d)
{
    CLEANUP(free_memory)
    char *security =
        d->options->config ? strdup(d->options->config) : doctor_path(d, "security.yaml");
    const char *own = d->name ? d->name : BROKER_NAME;
    bool security_is_told = false;
    size_t before = d->count;

    if (!security) {
        d->is_out_of_memory = true;
        return;
    }
    look_at(d, own, security, &security_is_told);
    if (strcmp(own, BROKER_NAME) != 0)
        look_at(d, BROKER_NAME, security, &security_is_told);
    look_at_others(d, security, &security_is_told);
    if (aico_config_load(d->home, d->options->config, own, &d->config, NULL) == 0) {
        d->namespace = strdup(d->config->bus_namespace);
        if (d->name)
            look_at_psk(d);
    } else {
        d->namespace = claimed_namespace(d);
        if (!d->namespace)
            d->namespace = strdup("aico");
    }
    if (!d->namespace)
        d->is_out_of_memory = true;
    if (d->count == before)
        doctor_ok(d, "config", security, "this file and those below config/ are understood");
}
