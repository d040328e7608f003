/* SPDX-License-Identifier: Apache-2.0 */
/* A file of the user is the former one or the new one, and nothing else is written to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/whole_file.h"

struct place {
    char folder[64];
    char path[96], other[96];
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));

    assert_non_null(place);
    (void)snprintf(place->folder, sizeof(place->folder), "/tmp/aico-whole-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    (void)snprintf(place->path, sizeof(place->path), "%s/file", place->folder);
    (void)snprintf(place->other, sizeof(place->other), "%s/other", place->folder);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;

    (void)unlink(place->path);
    (void)rmdir(place->path);
    (void)unlink(place->other);
    assert_int_equal(rmdir(place->folder), 0); /* nothing was left beside it */
    free(place);
    return 0;
}

static void put(const char *path, const char *text)
{
    FILE *to = fopen(path, "we");

    assert_non_null(to);
    assert_true(fputs(text, to) >= 0);
    assert_int_equal(fclose(to), 0);
}

static void assert_content(const char *path, const char *text)
{
    char content[64] = "";
    FILE *from = fopen(path, "re");

    assert_non_null(from);
    assert_int_equal(fread(content, 1, sizeof(content) - 1, from), strlen(text));
    assert_int_equal(fclose(from), 0);
    assert_string_equal(content, text);
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 0777;
}

static void the_former_file_is_there_until_the_new_one_is_whole(void **state)
{
    struct place *place = *state;
    struct whole_file file = {0};
    struct stat before, after;

    put(place->path, "former");
    assert_int_equal(chmod(place->path, 0640), 0);
    assert_int_equal(link(place->path, place->other), 0);
    assert_int_equal(lstat(place->path, &before), 0);
    assert_int_equal(whole_file_open(place->path, &file, NULL), 0);
    (void)fputs("new", file.to);
    (void)fflush(file.to);
    assert_content(place->path, "former");
    assert_int_equal(whole_file_close(&file, NULL), 0);
    assert_content(place->path, "new");
    assert_int_equal(mode_of(place->path), 0640);
    assert_int_equal(lstat(place->path, &after), 0);
    assert_true(before.st_ino != after.st_ino);
    assert_content(place->other, "former"); /* another name of it */
    assert_int_equal(whole_file_close(&file, NULL), 0);
}

static void a_new_file_is_made_as_the_umask_says(void **state)
{
    struct place *place = *state;
    struct whole_file file = {0};
    mode_t before = umask(027);

    assert_int_equal(whole_file_open(place->path, &file, NULL), 0);
    assert_int_equal(umask(before), 027);
    assert_int_equal(whole_file_close(&file, NULL), 0);
    assert_int_equal(mode_of(place->path), 0640);
    assert_content(place->path, "");
}

static void what_is_discarded_leaves_everything_as_it_was(void **state)
{
    struct place *place = *state;
    struct whole_file file = {0};

    put(place->path, "former");
    assert_int_equal(whole_file_open(place->path, &file, NULL), 0);
    (void)fputs("new", file.to);
    whole_file_discard(&file);
    whole_file_discard(&file);
    assert_content(place->path, "former");
}

static void nothing_but_a_regular_file_is_taken_for_one(void **state)
{
    struct place *place = *state;
    struct whole_file file = {0};
    struct aico_error err = {0};

    put(place->other, "another's");
    assert_int_equal(symlink(place->other, place->path), 0);
    assert_int_equal(whole_file_open(place->path, &file, &err), AICO_EINVAL);
    assert_non_null(strstr(err.text, place->path));
    assert_content(place->other, "another's");
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(mkfifo(place->path, 0600), 0);
    assert_int_equal(whole_file_open(place->path, &file, &err), AICO_EINVAL);
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(mkdir(place->path, 0700), 0);
    assert_int_equal(whole_file_open(place->path, &file, &err), AICO_EINVAL);
    assert_null(file.to);
}

static void a_disk_that_takes_no_more_leaves_the_former_file(void **state)
{
    struct place *place = *state;
    struct whole_file file = {0};
    struct aico_error err = {0};
    struct rlimit before, small;
    int r;

    put(place->path, "former");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4096;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(whole_file_open(place->path, &file, NULL), 0);
    for (int i = 0; i < 10000; i++)
        (void)fputs("0123456789", file.to);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 10000; i++)
        (void)fputs("0123456789", file.to);
    r = whole_file_close(&file, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(r, AICO_ESYSTEM);
    assert_non_null(strstr(err.text, place->path));
    assert_content(place->path, "former");
}

static void a_folder_that_is_not_there_is_named(void **state)
{
    struct whole_file file = {0};
    struct aico_error err = {0};

    (void)state;
    assert_int_equal(whole_file_open("/nowhere/at/all", &file, &err), AICO_ESYSTEM);
    assert_non_null(strstr(err.text, "/nowhere/at/all"));
    assert_int_equal(whole_file_close(&file, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_former_file_is_there_until_the_new_one_is_whole, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_new_file_is_made_as_the_umask_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_discarded_leaves_everything_as_it_was, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nothing_but_a_regular_file_is_taken_for_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_disk_that_takes_no_more_leaves_the_former_file, set_up,
                                        tear_down),
        cmocka_unit_test(a_folder_that_is_not_there_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
