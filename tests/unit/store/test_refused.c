/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files when the system refuses a call: the call says so, there is the old file or the new one, and
 * nothing is left beside it.
 */
#include "vectors.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "crypto/identity.h"
#include "crypto/sign.h"
#include "refuse.h"
#include "store/file.h"
#include "store/home.h"
#include "trust/document.h"
#include "trust/keydoc.h"

#define NOW_MS 1763668800000

static char home[] = "/tmp/aico-refused-XXXXXX";
static const struct secret owner_seed = {{7}}, seed = {{3}};
static struct registry *registry;
static struct aico_error err;

static const char *at(const char *name)
{
    static char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", home, name);
    return path;
}

/* Files of @folder whose name begins with @name. */
static size_t count_files(const char *folder, const char *name)
{
    DIR *stream = opendir(folder);
    const struct dirent *entry;
    size_t count = 0;

    assert_non_null(stream);
    while ((entry = readdir(stream)) != NULL)
        count += strncmp(entry->d_name, name, strlen(name)) == 0;
    (void)closedir(stream);
    return count;
}

static void remove_files(const char *folder, const char *name)
{
    char command[256];

    (void)snprintf(command, sizeof(command), "rm -f '%s/%s'*", folder, name);
    assert_int_equal(system(command), 0);
}

static bool holds(const char *path, const char *text)
{
    CLEANUP(buffer_deinit)
    struct buffer content = {0};

    return file_read(path, FILE_TRUSTED, 4096, &content, NULL) == 0 &&
           bytes_equal_text(buffer_view(&content), text);
}

/* A refusal is told, with its cause; what could not be cleaned up is no failure. */
static void expect_told(int r, const char *call)
{
    if (!call) {
        if (r != 0)
            fail_msg("nothing was refused: %s", err.text);
        return;
    }
    if (strcmp(call, "unlink") == 0)
        return;
    if (r != AICO_ESYSTEM)
        fail_msg("%s refused: %s", call, aico_error_name(r));
    assert_non_null(strstr(err.text, "Input/output error"));
}

static int replace(void *context UNUSED)
{
    assert_int_equal(file_write(at("file"), 0600, true, bytes_text("old"), NULL), 0);
    return REFUSED(file_write(at("file"), 0600, true, bytes_text("new"), &err));
}

static void old_or_new(void *context UNUSED, int r, const char *call)
{
    expect_told(r, call);
    assert_true(holds(at("file"), r == 0 ? "new" : "old") || holds(at("file"), "new"));
    if (!call || strcmp(call, "unlink") != 0)
        assert_int_equal(count_files(home, "file"), 1);
    remove_files(home, "file");
}

static int begin(void *context UNUSED)
{
    remove_files(home, "begun");
    return REFUSED(file_write(at("begun"), 0600, false, bytes_text("new"), &err));
}

static void all_or_nothing(void *context UNUSED, int r, const char *call)
{
    expect_told(r, call);
    assert_true(holds(at("begun"), "new") || access(at("begun"), F_OK) < 0);
    assert_int_equal(count_files(home, "begun.") > 0, call && strcmp(call, "unlink") == 0);
}

static int read_it(void *context UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer content = {0};

    assert_int_equal(file_write(at("read"), 0600, true, bytes_text("text"), NULL), 0);
    return REFUSED(file_read(at("read"), FILE_SECRET, 4096, &content, &err));
}

static void told(void *context UNUSED, int r, const char *call)
{
    expect_told(r, call);
}

static int switch_it(void *context UNUSED)
{
    remove_files(home, "switch");
    assert_int_equal(file_write(at("switch"), 0600, true, bytes_text("old"), NULL), 0);
    assert_int_equal(file_write(at("switch.next"), 0600, true, bytes_text("new"), NULL), 0);
    {
        char path[128], next[128], aside[128];

        (void)snprintf(path, sizeof(path), "%s/switch", home);
        (void)snprintf(next, sizeof(next), "%s/switch.next", home);
        (void)snprintf(aside, sizeof(aside), "%s/switch.aside", home);
        return REFUSED(file_switch(path, next, aside, &err));
    }
}

static void nothing_is_lost(void *context UNUSED, int r, const char *call)
{
    expect_told(r, call);
    assert_true(holds(at("switch"), "old") || holds(at("switch.aside"), "old"));
    assert_true(holds(at("switch"), "new") || holds(at("switch.next"), "new"));
}

static int remove_it(void *context UNUSED)
{
    assert_int_equal(file_write(at("gone"), 0600, true, bytes_text("text"), NULL), 0);
    return REFUSED(file_remove(at("gone"), &err));
}

static void not_silently(void *context UNUSED, int r, const char *call)
{
    if (call)
        assert_int_equal(r, AICO_ESYSTEM); /* also when it is unlink */
    else
        assert_int_equal(access(at("gone"), F_OK), -1);
}

static int make_folder(void *context UNUSED)
{
    (void)rmdir(at("folder"));
    return REFUSED(folder_make(at("folder"), &err));
}

static int make_folder_again(void *context UNUSED)
{
    return REFUSED(folder_make(at("folder"), &err));
}

static void files_and_folders(void **state UNUSED)
{
    assert_true(refuse_each(replace, old_or_new, NULL) >= 6);
    assert_true(refuse_each(begin, all_or_nothing, NULL) >= 6);
    assert_true(refuse_each(read_it, told, NULL) >= 3);
    assert_true(refuse_each(switch_it, nothing_is_lost, NULL) >= 4);
    assert_true(refuse_each(remove_it, not_silently, NULL) >= 3);
    assert_true(refuse_each(make_folder, told, NULL) >= 3);
    assert_true(refuse_each(make_folder_again, told, NULL) >= 2);
}

/* --- what a home keeps ------------------------------------------------------------------------ */

static int keep_registry(void *context UNUSED)
{
    CLEANUP(registry_unref)
    struct registry *loaded = NULL;
    int r;

    assert_int_equal(state_folder_make(home, "alice", NULL), 0);
    remove_files(at("state/alice"), "registry");
    assert_int_equal(file_write(at("registry"), 0644, true, registry_document(registry), NULL), 0);
    r = REFUSED(registry_keep(home, "alice", registry, &err));
    if (r == 0)
        r = REFUSED(registry_load(home, "alice", bytes_text("aico"), &loaded, &err));
    if (r == 0)
        assert_int_equal(registry_version(loaded), 1);
    return r;
}

/* A copy that cannot be read is written again, which is as good. */
static void kept_or_told(void *context UNUSED, int r, const char *call)
{
    CLEANUP(buffer_deinit)
    struct buffer kept = {0};

    if (r < 0) {
        expect_told(r, call);
        return;
    }
    assert_int_equal(
        file_read(at("state/alice/registry"), FILE_TRUSTED, REGISTRY_SIZE_MAX, &kept, NULL), 0);
    assert_true(bytes_equal(buffer_view(&kept), registry_document(registry)));
}

static int keep_generation(void *context UNUSED)
{
    uint64_t generation = 0;
    int r;

    assert_int_equal(generation_keep(home, "alice", 7, NULL), 0);
    r = REFUSED(generation_keep(home, "alice", 8, &err));
    if (r == 0)
        r = REFUSED(generation_load(home, "alice", &generation, &err));
    if (r == 0)
        assert_int_equal(generation, 8);
    return r;
}

/* Whatever was refused: the number is one that was said, and never an earlier one. */
static void a_number_is_there(void *context UNUSED, int r, const char *call)
{
    uint64_t generation = 0;

    expect_told(r, call);
    assert_int_equal(generation_load(home, "alice", &generation, NULL), 0);
    assert_true(generation == 8 || (r < 0 && generation == 7));
}

static int create_key(void *context UNUSED)
{
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    int r;

    remove_files(home, "alice.key");
    r = REFUSED(keyfile_create(at("alice.key"), "alice", &seed, bytes_of(NULL, 0), &err));
    if (r == 0)
        r = REFUSED(keyfile_load(at("alice.key"), bytes_of(NULL, 0), &identity, &err));
    return r;
}

/* A key file that is there is whole. */
static void a_whole_key_or_none(void *context UNUSED, int r, const char *call)
{
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    int loaded = keyfile_load(at("alice.key"), bytes_of(NULL, 0), &identity, NULL);

    expect_told(r, call);
    assert_true(loaded == 0 || loaded == AICO_ENOTFOUND);
    if (r == 0)
        assert_int_equal(loaded, 0);
}

static void registries_numbers_and_keys(void **state UNUSED)
{
    assert_true(refuse_each(keep_registry, kept_or_told, NULL) > 5);
    assert_true(refuse_each(keep_generation, a_number_is_there, NULL) > 5);
    assert_true(refuse_each(create_key, a_whole_key_or_none, NULL) > 5);
}

static int set_up(void **state UNUSED)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text("aico"));
    CLEANUP(buffer_deinit)
    struct buffer document = {0};
    CLEANUP(buffer_deinit)
    struct buffer public = {0};
    struct identity *boss = NULL;
    uint8_t owner[SIGN_PUBLIC_SIZE];

    assert_int_equal(crypto_start(), 0);
    sign_public(&owner_seed, owner);
    assert_int_equal(identity_new("owner", &owner_seed, 0, &boss), 0);
    assert_int_equal(
        registry_draft_add(draft, &(struct component_line){.name = "alice",
                                                           .identity = boss->public,
                                                           .transport = boss->transport_public,
                                                           .roles = "member",
                                                           .since_ms = NOW_MS}),
        0);
    assert_int_equal(registry_draft_sign(draft, &owner_seed, NOW_MS, &document), 0);
    assert_int_equal(
        registry_parse(buffer_view(&document), owner, bytes_text("aico"), &registry, NULL), 0);
    assert_non_null(mkdtemp(home));
    assert_int_equal(publicdoc_write(boss, &public), 0);
    identity_free(&boss);
    return file_write(at("owner.public"), 0644, true, buffer_view(&public), NULL);
}

static int tear_down(void **state UNUSED)
{
    char command[128];

    registry_unref(&registry);
    (void)snprintf(command, sizeof(command), "rm -rf %s", home);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_and_folders),
        cmocka_unit_test(registries_numbers_and_keys),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
