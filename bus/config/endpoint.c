/* SPDX-License-Identifier: Apache-2.0 */
/* Paths and endpoints of a configuration. Any thread. */
#include "config/endpoint.h"

#include <arpa/inet.h>
#include <ctype.h>

#include "base/cleanup.h"

#define IPC "ipc://"
#define TCP "tcp://"
#define IPC_PATH_MAX 107 /* sockaddr_un.sun_path without its final zero */
#define HOST_MAX 253     /* of a DNS name */

static bool begins_with(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static int refuse(char *why, const char *what)
{
    (void)snprintf(why, VALUE_WHY_SIZE, "%s", what);
    return AICO_ECONFIG;
}

/* The size of "$AICO_HOME" or "${AICO_HOME}" at @at, or 0. */
static size_t home_variable(const char *at)
{
    static const char braced[] = "${AICO_HOME}", bare[] = "$AICO_HOME";
    char next;

    if (begins_with(at, braced))
        return sizeof(braced) - 1;
    if (!begins_with(at, bare))
        return 0;
    next = at[sizeof(bare) - 1];
    return isalnum((unsigned char)next) || next == '_' ? 0 : sizeof(bare) - 1;
}

/* What the text is relative to, "" for an absolute one; moves @text behind what was replaced. */
static int path_start(const char **text, const struct value_context *context,
                      const char **ret_start, char *why)
{
    *ret_start = "";
    if (**text == '~') {
        if ((*text)[1] != '/' && (*text)[1] != '\0')
            return refuse(why, "`~` expands to your own home only; write other paths out");
        if (!context->user_home)
            return refuse(why, "`~` cannot expand because HOME is not set");
        *ret_start = context->user_home;
        (*text)++;
    } else if (**text != '/' && home_variable(*text) == 0 && **text != '$') {
        *ret_start = context->folder ? context->folder : context->home;
    }
    return 0;
}

int endpoint_expand_path(const char *text, const struct value_context *context, char **ret_path,
                         char *why)
{
    CLEANUP(free_memory)
    char *path = NULL;
    const char *start;
    size_t size, variable;
    FILE *out;
    int r;

    if (*text == '\0')
        return refuse(why, "the path is empty");
    r = path_start(&text, context, &start, why);
    if (r < 0)
        return r;

    out = open_memstream(&path, &size);
    if (!out)
        return AICO_ENOMEM;
    (void)fputs(start, out);
    if (*start && *text && *text != '/')
        (void)fputc('/', out);
    for (; *text && r == 0; text++) {
        variable = home_variable(text);
        if (variable > 0) {
            (void)fputs(context->home, out);
            text += variable - 1;
        } else if (*text == '$') {
            r = refuse(why, "`$` stands before AICO_HOME only");
        } else {
            (void)fputc(*text, out);
        }
    }
    if (fclose(out) != 0 && r == 0)
        r = AICO_ENOMEM;
    if (r == 0)
        *ret_path = STEAL(path);
    return r;
}

static int parse_ipc(const char *text, const struct value_context *context, char **ret_endpoint,
                     char *why)
{
    CLEANUP(free_memory)
    char *path = NULL;
    const char *rest = text + strlen(IPC);
    int r;

    if (*rest != '/' && *rest != '~' && *rest != '$')
        return refuse(why, "an ipc address needs an absolute path, as in ipc:///run/bus.sock");
    r = endpoint_expand_path(rest, context, &path, why);
    if (r < 0)
        return r;
    /* Of the default the home decides, and whoever binds it says so. */
    if (context->folder && strlen(path) > IPC_PATH_MAX) {
        (void)snprintf(why, VALUE_WHY_SIZE, "the socket path has %zu bytes, the system allows %d",
                       strlen(path), IPC_PATH_MAX);
        return AICO_ECONFIG;
    }
    if (asprintf(ret_endpoint, IPC "%s", path) < 0)
        return AICO_ENOMEM;
    return 0;
}

static bool is_port(const char *text)
{
    size_t size = strspn(text, "0123456789");
    int port = 0;

    if (size == 0 || size > 5 || text[size] != '\0' || *text == '0')
        return false;
    for (; *text; text++)
        port = port * 10 + (*text - '0');
    return port <= 65535;
}

/* Only the form is checked: a name that does not resolve today may do so tomorrow. */
static bool is_host(const char *host)
{
    struct in6_addr address;
    size_t size = strlen(host);
    char inner[64];

    if (strcmp(host, "*") == 0)
        return true;
    if (*host == '[') {
        if (size < 3 || size > sizeof(inner) || host[size - 1] != ']')
            return false;
        memcpy(inner, host + 1, size - 2);
        inner[size - 2] = '\0';
        return inet_pton(AF_INET6, inner, &address) == 1;
    }
    if (size == 0 || size > HOST_MAX)
        return false;
    if (strspn(host, "0123456789.") == size)
        return inet_pton(AF_INET, host, &address) == 1;
    for (const char *at = host; *at; at++)
        if (!isascii((unsigned char)*at) ||
            (!isalnum((unsigned char)*at) && *at != '.' && *at != '-' && *at != '_'))
            return false;
    return *host != '-' && *host != '.';
}

static int parse_tcp(const char *address, char **ret_endpoint, char *why)
{
    const char *colon = strrchr(address, ':');
    char host[HOST_MAX + 1];

    if (!colon || strchr(colon, ']'))
        return refuse(why, "the port is missing, as in 127.0.0.1:8771");
    if (!is_port(colon + 1))
        return refuse(why, "the port must be 1..65535");
    if ((size_t)(colon - address) > HOST_MAX)
        return refuse(why, "the host name is too long");
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    if (*host != '[' && strchr(host, ':'))
        return refuse(why, "an IPv6 address stands in brackets, as in [::1]:8771");
    if (!is_host(host))
        return refuse(why, "the host must be a name, an IPv4 address, [an IPv6 address] or *");
    if (asprintf(ret_endpoint, TCP "%s", address) < 0)
        return AICO_ENOMEM;
    return 0;
}

int endpoint_parse(const char *text, bool may_be_bare, const struct value_context *context,
                   char **ret_endpoint, char *why)
{
    char shown[VALUE_SHOWN_SIZE];

    if (begins_with(text, IPC))
        return parse_ipc(text, context, ret_endpoint, why);
    if (begins_with(text, TCP))
        return parse_tcp(text + strlen(TCP), ret_endpoint, why);
    if (may_be_bare && !strstr(text, "://"))
        return parse_tcp(text, ret_endpoint, why);
    (void)snprintf(why, VALUE_WHY_SIZE, "`%s` is neither ipc:// nor tcp://",
                   value_shown(text, shown));
    return AICO_ECONFIG;
}

/* Wildcard hosts and the loopback address of the same family. */
static const char *const wildcards[][2] = {
    {TCP "*:", TCP "127.0.0.1:"},
    {TCP "0.0.0.0:", TCP "127.0.0.1:"},
    {TCP "[::]:", TCP "[::1]:"},
};

bool endpoint_is_wildcard(const char *endpoint)
{
    for (size_t i = 0; i < COUNT_OF(wildcards); i++)
        if (begins_with(endpoint, wildcards[i][0]))
            return true;
    return false;
}

char *endpoint_to_connect(const char *endpoint)
{
    char *to;

    for (size_t i = 0; i < COUNT_OF(wildcards); i++)
        if (begins_with(endpoint, wildcards[i][0]))
            return asprintf(&to, "%s%s", wildcards[i][1], endpoint + strlen(wildcards[i][0])) < 0
                       ? NULL
                       : to;
    return strdup(endpoint);
}

bool endpoint_same_kind(const char *a, const char *b)
{
    return begins_with(a, IPC) == begins_with(b, IPC);
}
