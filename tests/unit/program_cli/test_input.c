/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting stdin into messages: no byte lost, none invented, however the reads fall. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/input.h"

static int file_of(const void *at, size_t size)
{
    int fd = memfd_create("input", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, at, size), size);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void assert_lines(const char *text, size_t size, const char *const *lines, size_t count)
{
    struct input input = {.fd = file_of(text, size)};
    int fd = input.fd;
    const uint8_t *at = NULL;
    size_t got = 0;

    for (size_t i = 0; i < count; i++) {
        assert_int_equal(input_line(&input, &at, &got, NULL), 1);
        assert_int_equal(got, strlen(lines[i]));
        assert_memory_equal(at, lines[i], got);
    }
    assert_int_equal(input_line(&input, &at, &got, NULL), 0);
    input_deinit(&input);
    (void)close(fd);
}

static void every_line_is_a_message_without_its_newline(void **state)
{
    static const char *const lines[] = {"one", "", "three", "last"};

    (void)state;
    assert_lines("one\n\nthree\nlast\n", 16, lines, 4);
    assert_lines("one\n\nthree\nlast", 15, lines, 4);
    assert_lines("", 0, NULL, 0);
    assert_lines("\n", 1, &lines[1], 1);
}

static void a_line_longer_than_any_buffer_stays_whole(void **state)
{
    size_t size = 5 * 1024 * 1024 + 3, got = 0;
    char *text = malloc(size);
    struct input input;
    const uint8_t *at = NULL;
    int fd;

    (void)state;
    memset(text, 'x', size);
    text[10] = '\n';
    text[size - 1] = '\n';
    fd = file_of(text, size);
    input = (struct input){.fd = fd};

    assert_int_equal(input_line(&input, &at, &got, NULL), 1);
    assert_int_equal(got, 10);
    assert_int_equal(input_line(&input, &at, &got, NULL), 1);
    assert_int_equal(got, size - 12);
    assert_memory_equal(at, text + 11, got);
    assert_int_equal(input_line(&input, &at, &got, NULL), 0);
    input_deinit(&input);
    (void)close(fd);
    free(text);
}

static void pieces_join_to_the_whole(void **state)
{
    size_t size = 3 * 65536 + 1000, total = 0, got = 0;
    uint8_t *text = malloc(size), *joined = malloc(size);
    struct input input;
    const uint8_t *at = NULL;
    unsigned pieces = 0;
    int fd;

    (void)state;
    for (size_t i = 0; i < size; i++)
        text[i] = (uint8_t)(i * 131 >> 3);
    fd = file_of(text, size);
    input = (struct input){.fd = fd};
    while (input_piece(&input, 65536, &at, &got, NULL) > 0) {
        assert_true(total + got <= size);
        memcpy(joined + total, at, got);
        total += got;
        pieces++;
    }
    assert_int_equal(pieces, 4);
    assert_int_equal(total, size);
    assert_memory_equal(joined, text, size);
    input_deinit(&input);
    (void)close(fd);
    free(text);
    free(joined);
}

static void nothing_is_one_empty_message(void **state)
{
    struct input input = {.fd = file_of("", 0)};
    int fd = input.fd;
    const uint8_t *at = NULL;
    size_t got = 9;

    (void)state;
    assert_int_equal(input_all(&input, &at, &got, NULL), 1);
    assert_int_equal(got, 0);
    assert_non_null(at);
    assert_int_equal(input_all(&input, &at, &got, NULL), 0);
    input_deinit(&input);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_is_a_message_without_its_newline),
        cmocka_unit_test(a_line_longer_than_any_buffer_stays_whole),
        cmocka_unit_test(pieces_join_to_the_whole),
        cmocka_unit_test(nothing_is_one_empty_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
