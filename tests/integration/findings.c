/* SPDX-License-Identifier: Apache-2.0 */
/* The doctor at a world's home. */
#include "findings.h"

#include <sys/wait.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "store/file.h"

#define FINDINGS_MAX 64
#define FILE_MAX ((size_t)16 << 20)

static struct {
    struct finding items[FINDINGS_MAX];
    size_t count;
} found;

static void take(void *context, const struct aico_finding *finding)
{
    struct finding *copy = &found.items[found.count++];

    (void)context;
    assert_true(found.count < FINDINGS_MAX);
    *copy = (struct finding){
        .level = finding->level, .code = finding->code, .for_owner = finding->for_owner};
    (void)snprintf(copy->check, sizeof(copy->check), "%s", finding->check);
    (void)snprintf(copy->subject, sizeof(copy->subject), "%s", finding->subject);
    (void)snprintf(copy->cause, sizeof(copy->cause), "%s", finding->cause);
    (void)snprintf(copy->repair, sizeof(copy->repair), "%s", finding->repair);
}

int examine(const struct world *world, const struct aico_doctor_options *options)
{
    struct aico_doctor_options whole = {.identity = names[ALICE]};
    struct aico_error err = {0};

    if (options)
        whole = *options;
    if (!whole.home)
        whole.home = world->home;
    whole.found = take;
    found.count = 0;
    return aico_doctor(&whole, WAIT_MS, &err);
}

int examine_as(const struct world *world, enum person who)
{
    return examine(world, &(struct aico_doctor_options){.identity = names[who]});
}

static const struct finding *find(const char *check, int code, const char *text)
{
    for (size_t i = 0; i < found.count; i++) {
        const struct finding *f = &found.items[i];

        if (strcmp(f->check, check) == 0 && f->code == code &&
            (strstr(f->subject, text) || strstr(f->cause, text)))
            return f;
    }
    return NULL;
}

bool is_found(const char *check, int code, const char *text)
{
    return find(check, code, text) != NULL;
}

static void print_findings(void)
{
    for (size_t i = 0; i < found.count; i++)
        print_message("%s %s %s %s: %s [%s]\n", aico_finding_level_name(found.items[i].level),
                      found.items[i].check, aico_error_name(found.items[i].code),
                      found.items[i].subject, found.items[i].cause, found.items[i].repair);
}

const struct finding *expect_finding(const char *check, int code, const char *text)
{
    const struct finding *f = find(check, code, text);

    if (!f) {
        print_findings();
        fail_msg("nothing says %s %s %s", check, aico_error_name(code), text);
    }
    return f;
}

void expect_named_and_repaired(const struct world *world, const struct fault *fault)
{
    struct finding named;
    char line[sizeof(named.repair) + 32];
    int status;

    fault->spoil(world);
    (void)examine(world, NULL);
    if (!is_found(fault->check, fault->code, fault->text)) {
        print_findings();
        fail_msg("%s: not named", fault->name);
    }
    named = *find(fault->check, fault->code, fault->text);
    if (named.level < AICO_FINDING_WARNING || named.repair[0] == '\0')
        fail_msg("%s: not told how to repair it", fault->name);
    (void)snprintf(line, sizeof(line), "{ %s; } </dev/null", named.repair);
    status = system(line);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s: '%s' fails", fault->name, named.repair);
    (void)examine(world, NULL);
    if (is_found(fault->check, fault->code, fault->text)) {
        print_findings();
        fail_msg("%s: still there after '%s'", fault->name, named.repair);
    }
}

/* --- files ------------------------------------------------------------------------------------ */

const char *at_home(const struct world *world, const char *name)
{
    static char rooms[4][256];
    static size_t next;
    char *path = rooms[next++ % 4];

    (void)snprintf(path, sizeof(rooms[0]), "%s/%s", world->home, name);
    return path;
}

static void read_file(const char *path, struct buffer *text)
{
    struct aico_error err = {0};

    if (file_read(path, FILE_TRUSTED, FILE_MAX, text, &err) < 0)
        fail_msg("%s", err.text);
}

void spoil_file(const char *path)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct aico_error err = {0};

    read_file(path, &text);
    assert_true(text.size > 0);
    text.at[text.size / 2] ^= 1;
    if (file_write(path, 0600, true, buffer_view(&text), &err) < 0)
        fail_msg("%s", err.text);
}

void write_text(const struct world *world, const char *name, const char *text)
{
    world_write(world->home, name, bytes_text(text));
}

void copy_file(const struct world *world, const char *from, const char *to)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};

    read_file(at_home(world, from), &text);
    world_write(world->home, to, buffer_view(&text));
}

void sign_registry(const struct world *world, const struct registry_draft *draft, int64_t issued_ms)
{
    CLEANUP(buffer_deinit)
    struct buffer document = {0};

    assert_int_equal(registry_draft_sign(draft, &world->seeds[OWNER], issued_ms, &document), 0);
    world_write(world->home, "registry", buffer_view(&document));
}
