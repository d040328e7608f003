/* SPDX-License-Identifier: Apache-2.0 */
/* Finds and reads the files of a configuration: the I/O of this layer. Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <aico/config.h>

#include "base/cleanup.h"
#include "config/parse.h"
#include "config/value.h"

/* What one load holds until it is parsed. */
struct files {
    char *home;
    char *security_path;
    char *own_path;
    uint8_t *security_text;
    uint8_t *own_text;
};

static void files_deinit(struct files *files)
{
    free(files->home);
    free(files->security_path);
    free(files->own_path);
    free(files->security_text);
    free(files->own_text);
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

/* Absolute, so that what is printed and stored does not depend on where we were started. */
static int make_absolute(const char *path, char **ret_path, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *folder = NULL;

    if (*path == '/') {
        *ret_path = strdup(path);
        return *ret_path ? 0 : aico_error_set(err, AICO_ENOMEM, "out of memory");
    }
    folder = getcwd(NULL, 0);
    if (!folder)
        return aico_error_set(err, AICO_ESYSTEM, "working directory: %s", strerror(errno));
    if (asprintf(ret_path, "%s/%s", folder, path) < 0) {
        *ret_path = NULL;
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    }
    return 0;
}

static int find_home(const char *home, char **ret_home, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *below_user = NULL;
    const char *user_home = environment("HOME");
    size_t size;
    int r;

    if (!home || !*home)
        home = environment("AICO_HOME");
    if (!home) {
        if (!user_home)
            return aico_error_set(err, AICO_EINVAL,
                                  "no home: give --home, or set AICO_HOME or HOME");
        if (asprintf(&below_user, "%s/.aico", user_home) < 0) {
            below_user = NULL;
            return aico_error_set(err, AICO_ENOMEM, "out of memory");
        }
        home = below_user;
    }

    r = make_absolute(home, ret_home, err);
    if (r < 0)
        return r;
    for (size = strlen(*ret_home); size > 1 && (*ret_home)[size - 1] == '/'; size--)
        (*ret_home)[size - 1] = '\0';
    return 0;
}

static int name_files(const char *home, const char *config_file, const char *component,
                      struct files *files, struct aico_error *err)
{
    int r;

    r = find_home(home, &files->home, err);
    if (r < 0)
        return r;
    if (config_file) {
        r = make_absolute(config_file, &files->security_path, err);
        if (r < 0)
            return r;
    } else if (asprintf(&files->security_path, "%s/security.yaml", files->home) < 0) {
        files->security_path = NULL;
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    }
    if (component && asprintf(&files->own_path, "%s/config/%s.yaml", files->home, component) < 0) {
        files->own_path = NULL;
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    }
    return 0;
}

/* Reads at most one byte more than is allowed: the parser refuses it with the reason. */
static int read_all(int fd, uint8_t **ret_text, size_t *ret_size)
{
    CLEANUP(free_memory)
    uint8_t *text = malloc(AICO_CONFIG_FILE_MAX + 1);
    size_t size = 0;
    ssize_t n;

    if (!text)
        return ENOMEM;
    while (size < AICO_CONFIG_FILE_MAX + 1) {
        n = read(fd, text + size, AICO_CONFIG_FILE_MAX + 1 - size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            break;
        size += (size_t)n;
    }
    *ret_text = STEAL(text);
    *ret_size = size;
    return 0;
}

/* Who can write this file can weaken the bus. */
static int check_kind(int fd, struct problem_list *problems)
{
    static const struct place nowhere;
    struct stat st;

    if (fstat(fd, &st) < 0)
        return problem_add(problems, nowhere, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return problem_add(problems, nowhere, "is not a regular file");
    if (st.st_mode & S_IWOTH)
        return problem_add(problems, nowhere,
                           "every user may change it (mode %03o), run: chmod o-w",
                           (unsigned)(st.st_mode & 0777));
    return 0;
}

/* 0, also for a file that may be missing and is, AICO_ECONFIG or AICO_ENOMEM. */
static int read_source(const char *path, bool must_exist, enum schema_file file,
                       struct problem_list *problems, uint8_t **ret_text,
                       struct config_source *ret_source)
{
    static const struct place nowhere;
    struct config_source source = {.path = path};
    CLEANUP(fd_close)
    int fd = -1;
    int r;

    problem_file(problems, path, file);
    /* O_NONBLOCK: a FIFO in this place must not stop us; check_kind() refuses it. */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT && !must_exist) {
        *ret_source = source;
        return 0;
    }
    if (fd < 0)
        return problem_add(problems, nowhere, "%s", strerror(errno));
    r = check_kind(fd, problems);
    if (r < 0)
        return r;
    r = read_all(fd, ret_text, &source.text.size);
    if (r == ENOMEM)
        return AICO_ENOMEM;
    if (r != 0)
        return problem_add(problems, nowhere, "%s", strerror(r));

    source.text.at = *ret_text;
    source.present = true;
    *ret_source = source;
    return 0;
}

/* Both files and the parse; a file that cannot be read does not hide problems of the other. */
static int load(struct files *files, const char *config_file, const char *component,
                struct problem_list *problems, struct aico_config **ret_config)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = NULL;
    struct config_input input = {files->home, environment("HOME"), component};
    int r;

    if (input.user_home && *input.user_home != '/')
        input.user_home = NULL;
    input.security.path = files->security_path;
    input.own.path = files->own_path;
    r = read_source(files->security_path, config_file != NULL, SCHEMA_SECURITY, problems,
                    &files->security_text, &input.security);
    if (r == AICO_ENOMEM)
        return r;
    if (component)
        r = read_source(files->own_path, false, SCHEMA_COMPONENT, problems, &files->own_text,
                        &input.own);
    if (r == AICO_ENOMEM)
        return r;

    r = config_parse(&input, problems, &config);
    if (r == 0)
        *ret_config = STEAL(config);
    return r;
}

static int find_and_load(const char *home, const char *config_file, const char *component,
                         struct problem_list *problems, struct aico_config **ret_config,
                         struct aico_error *err)
{
    CLEANUP(files_deinit)
    struct files files = {0};
    char shown[VALUE_SHOWN_SIZE];
    int r;

    if (component && !value_is_component_name(component))
        return aico_error_set(err, AICO_EINVAL,
                              "`%s` is no component name (a-z, 0-9, `.`, `_`, `-`)",
                              value_shown(component, shown));
    r = name_files(home, config_file, component, &files, err);
    if (r < 0)
        return r;
    r = load(&files, config_file, component, problems, ret_config);
    if (r == AICO_ECONFIG)
        return aico_error_set(err, r, "%s", problems->items[0].error.text);
    if (r < 0)
        return aico_error_set(err, r, "configuration: %s", aico_error_string(r));
    return 0;
}

int aico_config_load(const char *home, const char *config_file, const char *component,
                     struct aico_config **ret_config, struct aico_error *err)
{
    struct problem_list problems = {0};

    return find_and_load(home, config_file, component, &problems, ret_config, err);
}

int aico_config_check(const char *home, const char *config_file, const char *component,
                      struct aico_config_problems *ret_problems)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = NULL;
    struct problem_list problems = {0};
    struct aico_error error = {0};
    int r;

    r = find_and_load(home, config_file, component, &problems, &config, &error);
    *ret_problems = (struct aico_config_problems){0};
    if (r == 0)
        return 0;
    ret_problems->problems[0] = error; /* where the list is empty, there is only this one */
    for (size_t i = 0; i < problems.count; i++)
        ret_problems->problems[i] = problems.items[i].error;
    ret_problems->count = MAX(problems.count, (size_t)1);
    ret_problems->more = problems.more;
    return r;
}
