/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of aico-keytool: each of the list has a row in the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keytool/table.h"

/* A forgotten row would end the list early, a doubled one hide another. */
static void every_verb_has_its_row(void **state)
{
    int count = 0;

    (void)state;
    while (keytool_program.verbs[count].name)
        count++;
    assert_int_equal(count, VERB_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_verb_has_its_row)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
