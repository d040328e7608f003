/* SPDX-License-Identifier: Apache-2.0 */
/* Files without memory: every allocation fails once, the call says E_NOMEM, and the files are
 * whole. */
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "crypto/identity.h"
#include "crypto/sign.h"
#include "starve.h"
#include "store/file.h"
#include "store/home.h"
#include "store/kept.h"
#include "trust/document.h"
#include "trust/keydoc.h"

#define NOW_MS 1763668800000

static char home[] = "/tmp/aico-starved-XXXXXX";
static const struct secret owner_seed = {{7}}, seed = {{3}};
static uint8_t owner[SIGN_PUBLIC_SIZE];
static struct identity *alice;
static struct registry *registry;

static int keys(void *context UNUSED)
{
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    char path[128];
    int r;

    (void)snprintf(path, sizeof(path), "%s/alice.key", home);
    (void)unlink(path);
    r = STARVED(keyfile_create(path, "alice", &seed, bytes_of(NULL, 0), NULL));
    if (r == 0)
        r = STARVED(keyfile_load(path, bytes_of(NULL, 0), &identity, NULL));
    return r;
}

static int registries(void *context UNUSED)
{
    CLEANUP(registry_unref)
    struct registry *loaded = NULL;
    int r = STARVED(state_folder_make(home, "alice", NULL));

    if (r == 0)
        r = STARVED(registry_keep(home, "alice", registry, NULL));
    if (r == 0)
        r = STARVED(registry_load(home, "alice", bytes_text("aico"), &loaded, NULL));
    return r;
}

static int generations(void *context UNUSED)
{
    uint64_t generation = 0;
    int r = STARVED(generation_keep(home, "alice", 7, NULL));

    if (r == 0)
        r = STARVED(generation_load(home, "alice", &generation, NULL));
    return r;
}

static int take(void *to UNUSED, struct bytes key UNUSED, struct bytes value UNUSED)
{
    return 0;
}

static int rows(void *context UNUSED)
{
    CLEANUP(kept_free)
    struct kept *kept = STARVED(kept_new(home, "alice", &kept_sessions, alice, NULL));
    struct keep_change change = {bytes_text("key"), bytes_text("value")};
    struct keeper keeper;
    int r;

    if (!kept)
        return AICO_ENOMEM;
    keeper = kept_keeper(kept);
    r = STARVED(keeper.load(keeper.context, take, NULL, NULL));
    if (r == 0)
        r = STARVED(keeper.commit(keeper.context, &change, 1, NULL));
    if (r == 0)
        r = STARVED(keeper.load(keeper.context, take, NULL, NULL));
    return r;
}

static void every_file_says_so(void **state UNUSED)
{
    assert_true(starve_each(keys, NULL, false) > 3);
    assert_true(starve_each(registries, NULL, false) > 3);
    assert_true(starve_each(generations, NULL, false) > 1);
    assert_true(starve_each(rows, NULL, false) > 3);
}

static int setup(void **state UNUSED)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text("aico"));
    CLEANUP(buffer_deinit)
    struct buffer document = {0};
    CLEANUP(buffer_deinit)
    struct buffer public = {0};
    struct identity *boss = NULL;
    char path[128];

    assert_int_equal(crypto_start(), 0);
    sign_public(&owner_seed, owner);
    assert_int_equal(identity_new("alice", &seed, 0, &alice), 0);
    assert_int_equal(
        registry_draft_add(draft, &(struct component_line){.name = "alice",
                                                           .identity = alice->public,
                                                           .transport = alice->transport_public,
                                                           .roles = "member",
                                                           .since_ms = NOW_MS}),
        0);
    assert_int_equal(registry_draft_sign(draft, &owner_seed, NOW_MS, &document), 0);
    assert_int_equal(
        registry_parse(buffer_view(&document), owner, bytes_text("aico"), &registry, NULL), 0);
    assert_non_null(mkdtemp(home));
    assert_int_equal(identity_new("owner", &owner_seed, 0, &boss), 0);
    assert_int_equal(publicdoc_write(boss, &public), 0);
    identity_free(&boss);
    (void)snprintf(path, sizeof(path), "%s/owner.public", home);
    return file_write(path, 0644, true, buffer_view(&public), NULL);
}

static int teardown(void **state UNUSED)
{
    char command[128];

    registry_unref(&registry);
    identity_free(&alice);
    (void)snprintf(command, sizeof(command), "rm -rf %s", home);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_says_so),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
