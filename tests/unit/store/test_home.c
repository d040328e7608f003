/* SPDX-License-Identifier: Apache-2.0 */
/* Files of a home: modes, owners, links, atomic writes, what was accepted last. */
#include "vectors.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "crypto/sign.h"
#include "store/home.h"
#include "trust/document.h"
#include "trust/keydoc.h"

static char folder[] = "/tmp/aico-store-XXXXXX";
static json_t *vectors;
static struct secret owner_seed;
static uint8_t owner[SIGN_PUBLIC_SIZE];

static char *in(const char *name)
{
    char *path = home_path(folder, "%s", name);

    assert_non_null(path);
    return path;
}

static void put(const char *name, mode_t mode, const char *text)
{
    CLEANUP(free_memory)
    char *path = in(name);

    assert_int_equal(file_write(path, mode, true, bytes_text(text), NULL), 0);
}

static int load_key(const char *name)
{
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    CLEANUP(free_memory)
    char *path = in(name);

    return keyfile_load(path, bytes_text("pass word"), &identity, NULL);
}

/* Row 63. That each flipped bit is damage is shown in tests/unit/trust/test_keydoc.c; another owner
 * needs root to set up. */
static void key_file_errors_are_told_apart(void **state UNUSED)
{
    const char *text = vectors_text(vectors, "keyfile.plain");
    CLEANUP(free_memory)
    char *key = in("a.key"), *link = in("link.key"), *damaged = strdup(text);
    const uint8_t salt[16] = {1}, nonce[24] = {2};
    const struct secret seed = {{3}};
    CLEANUP(buffer_deinit)
    struct buffer protected = {0};

    put("a.key", 0600, text);
    assert_int_equal(load_key("a.key"), 0);
    assert_int_equal(chmod(key, 0640), 0);
    assert_int_equal(load_key("a.key"), AICO_EMODE);
    assert_int_equal(chmod(key, 0600), 0);
    assert_int_equal(symlink(key, link), 0);
    assert_int_equal(load_key("link.key"), AICO_ESYMLINK);
    damaged[100] ^= 1;
    put("a.key", 0600, damaged);
    assert_int_equal(load_key("a.key"), AICO_EKEYFILEDAMAGED);
    assert_int_equal(keydoc_write("cli", &seed, 0, 0, bytes_text("another pass word"), 2,
                                  64 * 1024 * 1024, salt, nonce, &protected),
                     0);
    assert_int_equal(file_write(key, 0600, true, buffer_view(&protected), NULL), 0);
    assert_int_equal(load_key("a.key"), AICO_EPASSPHRASE);
    put("a.key", 0600, vectors_text(vectors, "keyfile.mismatch"));
    assert_int_equal(load_key("a.key"), AICO_EKEYFILEMISMATCH);
    assert_int_equal(load_key("none.key"), AICO_ENOTFOUND);
    if (geteuid() == 0) {
        put("a.key", 0600, text);
        assert_int_equal(chown(key, 12345, 12345), 0);
        assert_int_equal(load_key("a.key"), AICO_EOWNER);
        assert_int_equal(unlink(key), 0);
    }
}

static void a_passphrase_file_opens_its_key_by_the_first_line(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    CLEANUP(free_memory)
    char *path = in("guarded.key");
    CLEANUP(free_memory)
    char *words = in("words");

    assert_int_equal(keyfile_create(path, "bob", &owner_seed, bytes_text("open sesame"), NULL), 0);
    assert_int_equal(keyfile_open(path, NULL, &identity, NULL), AICO_EPASSPHRASE);
    put("words", 0600, "open sesame\nand more\n");
    assert_int_equal(keyfile_open(path, words, &identity, NULL), 0);
    assert_string_equal(identity->name, "bob");
    put("words", 0640, "open sesame\n");
    identity_free(&identity);
    assert_int_equal(keyfile_open(path, words, &identity, NULL), AICO_EMODE);
    assert_int_equal(unlink(words), 0);
    assert_int_equal(keyfile_open(path, words, &identity, NULL), AICO_ENOTFOUND);
}

static void a_passphrase_comes_from_a_descriptor_or_a_credential_too(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    CLEANUP(free_memory)
    char *path = in("sealed.key"), *credential = in("aico.passphrase");
    char name[32];
    int ends[2];

    assert_int_equal(keyfile_create(path, "bob", &owner_seed, bytes_text("open sesame"), NULL), 0);
    assert_int_equal(pipe(ends), 0);
    (void)snprintf(name, sizeof(name), "/dev/fd/%d", ends[0]);
    assert_int_equal(write(ends[1], "open sesame\nand more", 20), 20);
    assert_int_equal(close(ends[1]), 0);
    assert_int_equal(keyfile_open(path, name, &identity, NULL), 0);
    identity_free(&identity);
    assert_int_equal(passphrase_read(name, &text, NULL), 0); /* the next line is still there */
    assert_true(bytes_equal_text(buffer_view(&text), "and more"));
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(passphrase_read(name, &text, NULL), AICO_EINVAL);
    assert_int_equal(passphrase_read("/dev/fd/x", &text, NULL), AICO_EINVAL);
    assert_int_equal(passphrase_read("/dev/fd/1x", &text, NULL), AICO_EINVAL);

    put("aico.passphrase", 0440, "open sesame\n");
    assert_int_equal(keyfile_open(path, NULL, &identity, NULL), AICO_EPASSPHRASE);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);
    assert_int_equal(keyfile_open(path, NULL, &identity, NULL), 0);
    identity_free(&identity);
    put("aico.passphrase", 0444, "open sesame\n");
    assert_int_equal(keyfile_open(path, NULL, &identity, NULL), AICO_EMODE);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    assert_int_equal(unlink(credential), 0);
}

static void a_created_key_is_never_overwritten(void **state UNUSED)
{
    CLEANUP(free_memory)
    char *path = in("new.key");
    const struct secret seed = {{7}};
    struct stat st;

    assert_int_equal(keyfile_create(path, "bob", &seed, bytes_of(NULL, 0), NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(keyfile_create(path, "bob", &seed, bytes_of(NULL, 0), NULL), AICO_EEXISTS);
    assert_int_equal(load_key("new.key"), 0);
}

static void a_failed_write_leaves_the_old_file(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    CLEANUP(free_memory)
    char *path = in("kept"), *missing = in("no/such/folder");

    put("kept", 0600, "old");
    assert_int_equal(file_write(path, 0600, false, bytes_text("new"), NULL), AICO_EEXISTS);
    assert_int_equal(file_write(missing, 0600, true, bytes_text("new"), NULL), AICO_ENOTFOUND);
    assert_int_equal(file_read(path, FILE_SECRET, 100, &text, NULL), 0);
    assert_true(bytes_equal_text(buffer_view(&text), "old"));
    assert_int_equal(file_read(path, FILE_SECRET, 2, &text, NULL), AICO_ESIZE);
}

static void a_changed_file_is_noticed(void **state UNUSED)
{
    CLEANUP(free_memory)
    char *path = in("watched");
    struct file_stamp stamp = {0};

    assert_false(file_changed(path, &stamp));
    put("watched", 0600, "1");
    assert_true(file_changed(path, &stamp));
    assert_false(file_changed(path, &stamp));
    put("watched", 0600, "2"); /* same size, new inode */
    assert_true(file_changed(path, &stamp));
    assert_int_equal(unlink(path), 0);
    assert_true(file_changed(path, &stamp));
}

static void a_lock_keeps_the_second_out(void **state UNUSED)
{
    CLEANUP(free_memory)
    char *path = in("lock");
    CLEANUP(fd_close)
    int first = -1;
    int second = -1;

    assert_int_equal(file_lock(path, 0, &first, NULL), 0);
    assert_int_equal(file_lock(path, 0, &second, NULL), AICO_ETIMEOUT);
    fd_close(&first);
    assert_int_equal(file_lock(path, 0, &second, NULL), 0);
    fd_close(&second);
}

/* Version @count of a registry, in @ret_text. */
static struct registry *make_registry(int count, const char *role, struct buffer *ret_text)
{
    struct registry *registry = NULL;

    for (int i = 0; i < count; i++) {
        CLEANUP(registry_draft_free)
        struct registry_draft *draft = registry_draft_new(registry, bytes_text("aico"));
        uint8_t key[32] = {(uint8_t)(i + 1)}, transport[32] = {(uint8_t)(i + 100)};
        char name[16];

        (void)snprintf(name, sizeof(name), "c%d", i);
        assert_int_equal(
            registry_draft_add(draft, &(struct component_line){name, key, transport, role, i}), 0);
        ret_text->size = 0;
        assert_int_equal(registry_draft_sign(draft, &owner_seed, i, ret_text), 0);
        registry_unref(&registry);
        assert_int_equal(
            registry_parse(buffer_view(ret_text), owner, bytes_text("aico"), &registry, NULL), 0);
    }
    return registry;
}

static int load_version(uint64_t *ret_version)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    int r = registry_load(folder, "bob", bytes_text("aico"), &registry, NULL);

    if (r == 0)
        *ret_version = registry_version(registry);
    return r;
}

static void registry_older_after_a_restart_is_not_taken(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer old = {0}, new = {0}, other = {0}, public = {0};
    CLEANUP(registry_unref)
    struct registry *v1 = make_registry(1, "ui", &old);
    CLEANUP(registry_unref)
    struct registry *v2 = make_registry(2, "ui", &new);
    CLEANUP(registry_unref)
    struct registry *fork = make_registry(2, "admin", &other);
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    CLEANUP(free_memory)
    char *path = in("registry");
    CLEANUP(free_memory)
    char *kept = in("state/bob/registry");
    struct file_stamp stamp = {0};
    uint64_t version = 0;

    assert_int_equal(load_version(&version), AICO_ENOTFOUND);
    assert_int_equal(identity_new("owner", &owner_seed, 0, &identity), 0);
    assert_int_equal(publicdoc_write(identity, &public), 0);
    assert_int_equal(buffer_append(&public, bytes_of("", 1)), 0);
    put("owner.public", 0644, (const char *)public.at);

    assert_int_equal(file_write(path, 0644, true, buffer_view(&new), NULL), 0);
    assert_int_equal(load_version(&version), 0);
    assert_int_equal(version, 2);
    assert_int_equal(registry_keep(folder, "bob", v2, NULL), 0);
    (void)file_changed(kept, &stamp);
    assert_int_equal(registry_keep(folder, "bob", v2, NULL), 0);
    assert_false(file_changed(kept, &stamp)); /* a start costs no write */

    assert_int_equal(file_write(path, 0644, true, buffer_view(&old), NULL), 0);
    assert_int_equal(load_version(&version), 0);
    assert_int_equal(version, 2);
    assert_int_equal(file_write(path, 0644, true, buffer_view(&other), NULL), 0);
    assert_int_equal(load_version(&version), AICO_EEQUIVOCATION);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(load_version(&version), 0);
    assert_int_equal(registry_version(v1) + registry_version(fork), 3);
}

/* The next registry, signed by @by; names @next unless it is NULL. Kept by bob, and what he then
 * starts with. */
static void pass_on(struct registry **current, const struct secret *by, const struct secret *next)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(*current, bytes_text("aico"));
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    CLEANUP(free_memory)
    char *path = in("registry");
    struct registry *registry = NULL;
    uint8_t public[SIGN_PUBLIC_SIZE];

    sign_public(by, public);
    if (next)
        assert_int_equal(registry_draft_set_owner_next(draft, by, next), 0);
    assert_int_equal(registry_draft_sign(draft, by, 1, &text), 0);
    assert_int_equal(
        registry_parse(buffer_view(&text), public, bytes_text("aico"), &registry, NULL), 0);
    registry_unref(current);
    *current = registry;
    assert_int_equal(file_write(path, 0644, true, buffer_view(&text), NULL), 0);
}

static void a_successor_of_the_owner_is_followed_and_the_old_one_no_more(void **state UNUSED)
{
    const struct secret second = {{2}}, third = {{3}};
    CLEANUP(buffer_deinit)
    struct buffer public = {0}, v1 = {0};
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    CLEANUP(registry_unref)
    struct registry *current = NULL, *stray = NULL;
    CLEANUP(registry_chain_deinit)
    struct registry_chain chain = {0};
    CLEANUP(free_memory)
    char *path = in("registry");
    CLEANUP(free_memory)
    char *kept = in("state/bob/registry");
    uint64_t version = 0;

    (void)unlink(kept);
    assert_int_equal(identity_new("owner", &owner_seed, 0, &identity), 0);
    assert_int_equal(publicdoc_write(identity, &public), 0);
    assert_int_equal(buffer_append(&public, bytes_of("", 1)), 0);
    put("owner.public", 0644, (const char *)public.at);
    current = make_registry(1, "ui", &v1);
    assert_int_equal(registry_keep(folder, "bob", current, NULL), 0);

    /* Nobody named it: version 2 of a stranger. */
    stray = registry_ref(current);
    pass_on(&stray, &second, NULL);
    assert_int_equal(load_version(&version), AICO_EREGISTRYSIGNATURE);

    /* Each one is accepted once its predecessor was, across as many starts. */
    for (uint64_t v = 2; v <= 6; v++) {
        const struct secret *by = v <= 3 ? &owner_seed : v <= 5 ? &second : &third;
        const struct secret *next = v == 3 ? &second : v == 5 ? &third : NULL;

        pass_on(&current, by, next);
        assert_int_equal(load_version(&version), 0);
        assert_int_equal(version, v);
        assert_int_equal(registry_keep(folder, "bob", current, NULL), 0);
        assert_int_equal(load_version(&version), 0);
        assert_int_equal(version, v);
    }
    assert_int_equal(registry_chain_load(folder, "bob", bytes_text("aico"), &chain, NULL), 0);
    assert_int_equal(chain.count, 2);
    assert_int_equal(registry_version(chain.items[0]), 3);
    assert_int_equal(registry_version(chain.items[1]), 5);

    /* The old owners have no say any more. */
    registry_unref(&stray);
    stray = registry_ref(current);
    pass_on(&stray, &owner_seed, NULL);
    assert_int_equal(load_version(&version), AICO_EREGISTRYSIGNATURE);
    registry_unref(&stray);
    stray = registry_ref(current);
    pass_on(&stray, &second, NULL);
    assert_int_equal(load_version(&version), AICO_EREGISTRYSIGNATURE);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(load_version(&version), 0);
    assert_int_equal(version, 6);
}

/* carol was off while the owner changed: the owner's own tool kept in this home how. */
static void who_was_off_during_a_succession_finds_the_way(void **state UNUSED)
{
    const struct secret second = {{2}};
    CLEANUP(buffer_deinit)
    struct buffer v1 = {0};
    CLEANUP(registry_unref)
    struct registry *current = make_registry(1, "ui", &v1), *found = NULL, *stray = NULL;
    CLEANUP(free_memory)
    char *path = in("registry");
    CLEANUP(registry_chain_deinit)
    struct registry_chain chain = {0};

    assert_int_equal(registry_keep(folder, "carol", current, NULL), 0);
    pass_on(&current, &owner_seed, &second);
    assert_int_equal(registry_keep(folder, "owner", current, NULL), 0);
    pass_on(&current, &second, NULL);
    assert_int_equal(registry_load(folder, "carol", bytes_text("aico"), &found, NULL), 0);
    assert_int_equal(registry_version(found), 3);
    assert_int_equal(registry_keep(folder, "carol", found, NULL), 0);
    registry_unref(&found);
    assert_int_equal(registry_chain_load(folder, "carol", bytes_text("aico"), &chain, NULL), 0);
    assert_int_equal(chain.count, 1);

    /* dave starts here for the first time. */
    assert_int_equal(registry_load(folder, "dave", bytes_text("aico"), &found, NULL), 0);
    assert_int_equal(registry_version(found), 3);
    registry_unref(&found);

    /* Once the successor's word was taken, the former owner has none. */
    stray = registry_ref(current);
    pass_on(&stray, &owner_seed, NULL);
    assert_int_equal(registry_load(folder, "carol", bytes_text("aico"), &found, NULL),
                     AICO_EREGISTRYSIGNATURE);
    assert_int_equal(unlink(path), 0);
}

static void a_key_file_changes_its_passphrase_and_nothing_else(void **state UNUSED)
{
    const struct secret seed = {{8}};
    CLEANUP(identity_free)
    struct identity *identity = NULL, *again = NULL;
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    CLEANUP(free_memory)
    char *path = in("changed.key");
    struct keydoc doc;

    assert_int_equal(identity_new("erin", &seed, 3, &identity), 0);
    assert_int_equal(keyfile_save(path, identity, 86400000, bytes_of(NULL, 0), false, NULL), 0);
    assert_int_equal(keyfile_save(path, identity, 86400000, bytes_of(NULL, 0), false, NULL),
                     AICO_EEXISTS);
    assert_int_equal(keyfile_save(path, identity, 86400000, bytes_text("x"), true, NULL), 0);
    assert_int_equal(keyfile_load(path, bytes_of(NULL, 0), &again, NULL), AICO_EPASSPHRASE);
    assert_int_equal(keyfile_load(path, bytes_text("x"), &again, NULL), 0);
    assert_memory_equal(again->seed.at, seed.at, sizeof(seed.at));
    assert_int_equal(again->transport_number, 3);
    assert_int_equal(file_read(path, FILE_SECRET, KEYDOC_SIZE_MAX, &text, NULL), 0);
    assert_int_equal(keydoc_inspect(buffer_view(&text), &doc, NULL), 0);
    assert_string_equal(doc.created, "1970-01-02T00:00:00Z");
    assert_int_equal(doc.created_ms, 86400000);
}

static void a_file_takes_the_place_of_another_which_stays_aside(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    CLEANUP(free_memory)
    char *path = in("place"), *next = in("place.next");
    CLEANUP(free_memory)
    char *aside = in("place.former");

    put("place", 0600, "old");
    put("place.next", 0600, "new");
    put("place.former", 0600, "precious");
    assert_int_equal(file_switch(path, next, aside, NULL), AICO_EEXISTS);
    assert_int_equal(access(next, F_OK), 0);
    assert_int_equal(file_remove(aside, NULL), 0);
    assert_int_equal(file_remove(aside, NULL), 0);
    assert_int_equal(link(path, aside), 0); /* as far as an interrupted one came */
    assert_int_equal(file_switch(path, next, aside, NULL), 0);
    assert_int_equal(file_read(path, FILE_SECRET, 100, &text, NULL), 0);
    assert_int_equal(file_read(aside, FILE_SECRET, 100, &text, NULL), 0);
    assert_true(bytes_equal_text(buffer_view(&text), "newold"));
    assert_int_equal(file_switch(path, next, aside, NULL), AICO_EEXISTS);
    assert_int_equal(file_switch(path, next, NULL, NULL), AICO_ENOTFOUND);
}

static void the_last_generation_survives(void **state UNUSED)
{
    uint64_t generation = 1;

    assert_int_equal(generation_load(folder, "carol", &generation, NULL), 0);
    assert_int_equal(generation, 0);
    assert_int_equal(generation_keep(folder, "carol", 1763668800000, NULL), 0);
    assert_int_equal(generation_load(folder, "carol", &generation, NULL), 0);
    assert_int_equal(generation, 1763668800000);
    put("state/carol/generation", 0600, "12x\n");
    assert_int_equal(generation_load(folder, "carol", &generation, NULL), AICO_ESTATE);
}

static int load(void **state UNUSED)
{
    vectors = vectors_load("session-v1.json");
    vectors_hex_into(vectors, "registry.owner", owner, sizeof(owner));
    vectors_hex_into(vectors, "registry.owner_seed", owner_seed.at, sizeof(owner_seed.at));
    return mkdtemp(folder) ? crypto_start() : -1;
}

static int remove_one(const char *path, const struct stat *st UNUSED, int type UNUSED,
                      struct FTW *walk UNUSED)
{
    return remove(path);
}

static int unload(void **state UNUSED)
{
    json_decref(vectors);
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_file_errors_are_told_apart),
        cmocka_unit_test(a_passphrase_file_opens_its_key_by_the_first_line),
        cmocka_unit_test(a_passphrase_comes_from_a_descriptor_or_a_credential_too),
        cmocka_unit_test(a_created_key_is_never_overwritten),
        cmocka_unit_test(a_failed_write_leaves_the_old_file),
        cmocka_unit_test(a_changed_file_is_noticed),
        cmocka_unit_test(a_lock_keeps_the_second_out),
        cmocka_unit_test(registry_older_after_a_restart_is_not_taken),
        cmocka_unit_test(a_successor_of_the_owner_is_followed_and_the_old_one_no_more),
        cmocka_unit_test(who_was_off_during_a_succession_finds_the_way),
        cmocka_unit_test(a_key_file_changes_its_passphrase_and_nothing_else),
        cmocka_unit_test(a_file_takes_the_place_of_another_which_stays_aside),
        cmocka_unit_test(the_last_generation_survives),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
