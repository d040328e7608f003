/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of the journal, as datagrams. */
#include "common/journal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "common/text.h"

static int journal_fd = -1;
static struct sockaddr_un journal_address = {.sun_family = AF_UNIX};

/* Not connected: a journal that was restarted is found again. */
static bool send_entry(const char *at, size_t size)
{
    ssize_t sent =
        sendto(journal_fd, at, size, MSG_NOSIGNAL | MSG_DONTWAIT,
               (const struct sockaddr *)&journal_address, (socklen_t)sizeof(journal_address));

    return sent == (ssize_t)size;
}

int journal_open(const char *path, struct aico_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int r;

    if (strlen(path) >= sizeof(address.sun_path))
        return aico_error_set(err, AICO_ESYSTEM, "%s: path too long for a socket", path);
    memcpy(address.sun_path, path, strlen(path));
    journal_close();
    journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (journal_fd < 0)
        return aico_error_set(err, AICO_ESYSTEM, "the journal: %m");
    /* Connecting asks whether somebody listens; the second one lets go again. */
    r = connect(journal_fd, (const struct sockaddr *)&address, (socklen_t)sizeof(address));
    if (r == 0) {
        const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

        r = connect(journal_fd, &nobody, sizeof(nobody));
    }
    if (r < 0) {
        (void)aico_error_set(err, AICO_ESYSTEM,
                             "no journal at %s: %m; write the log as text or json", path);
        journal_close();
        return AICO_ESYSTEM;
    }
    journal_address = address;
    return 0;
}

void journal_close(void)
{
    if (journal_fd >= 0)
        (void)close(journal_fd);
    journal_fd = -1;
}

/* A value stays on its line, so the short form of a field is enough. */
static void put_field(FILE *to, const char *prefix, const char *name, const char *value)
{
    (void)fputs(prefix, to);
    for (; *name; name++)
        (void)fputc(isalnum((unsigned char)*name) ? toupper((unsigned char)*name) : '_', to);
    (void)fputc('=', to);
    text_write_escaped(to, value, strlen(value));
    (void)fputc('\n', to);
}

bool journal_send(int priority, const char *identifier, const struct log_field *fields,
                  size_t count, const char *text)
{
    char entry[JOURNAL_ENTRY_MAX];
    FILE *to = journal_fd < 0 ? NULL : fmemopen(entry, sizeof(entry), "w");
    bool is_whole;
    long size;

    if (!to)
        return false;
    (void)fprintf(to, "PRIORITY=%d\n", priority);
    put_field(to, "", "SYSLOG_IDENTIFIER", identifier);
    put_field(to, "", "MESSAGE", text);
    for (size_t i = 0; i < count; i++)
        if (*fields[i].value)
            put_field(to, "AICO_", fields[i].name, fields[i].value);
    is_whole = fflush(to) == 0 && !ferror(to);
    size = ftell(to);
    is_whole = fclose(to) == 0 && is_whole && size > 0;
    return is_whole && send_entry(entry, (size_t)size);
}
