/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for people: rows of the broker's JSON in columns that fit what is in them. */
#include <stdint.h>
#include <string.h>

#include "cli/cli.h"
#include "common/text.h"

#define CELL_SIZE 128

void cli_size_text(double bytes, char *to, size_t size)
{
    static const char units[] = "KMGTPE";
    size_t unit = 0;

    if (bytes < 1024) {
        (void)snprintf(to, size, "%.0f", bytes);
        return;
    }
    for (bytes /= 1024; bytes >= 1024 && unit + 2 < sizeof(units); unit++)
        bytes /= 1024;
    (void)snprintf(to, size, "%.1f%c", bytes, units[unit]);
}

static json_int_t sum_of(const json_t *object)
{
    json_int_t sum = 0;
    const char *name;
    json_t *member;

    json_object_foreach((json_t *)(uintptr_t)object, name, member) sum +=
        json_integer_value(member);
    return sum;
}

/* A value as text for people; an object counts the sum of its numbers ("dropped" by cause). */
static void text_of(const json_t *value, enum cli_form form, char *to, size_t size)
{
    to[0] = '\0';
    if (form == CLI_SIZE && json_is_number(value))
        cli_size_text(json_number_value(value), to, size);
    else if (json_is_string(value))
        (void)snprintf(to, size, "%s", json_string_value(value));
    else if (json_is_integer(value))
        (void)snprintf(to, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        (void)snprintf(to, size, "%.1f", json_real_value(value));
    else if (json_is_boolean(value))
        (void)snprintf(to, size, "%s", json_is_true(value) ? "yes" : "no");
    else if (json_is_array(value))
        (void)snprintf(to, size, "%zu", json_array_size(value));
    else if (json_is_object(value))
        (void)snprintf(to, size, "%" JSON_INTEGER_FORMAT, sum_of(value));
    if (to[0] == '\0')
        (void)snprintf(to, size, "-");
}

static void write_cell(FILE *to, const char *text, int width, bool is_number)
{
    int padding = width - (int)strlen(text);

    if (is_number)
        (void)fprintf(to, "%*s", padding > 0 ? padding : 0, "");
    text_write_escaped(to, text, strlen(text));
    if (!is_number)
        (void)fprintf(to, "%*s", padding > 0 ? padding : 0, "");
}

void cli_write_table(FILE *to, const json_t *rows, const struct cli_column *columns)
{
    int widths[CLI_COLUMNS_MAX] = {0};
    bool numbers[CLI_COLUMNS_MAX] = {false};
    char cell[CELL_SIZE];
    const json_t *row;
    size_t i;

    for (size_t c = 0; columns[c].member; c++)
        widths[c] = (int)strlen(columns[c].title);
    json_array_foreach(rows, i, row)
    {
        for (size_t c = 0; columns[c].member; c++) {
            const json_t *value = json_object_get(row, columns[c].member);

            text_of(value, columns[c].form, cell, sizeof(cell));
            if ((int)strlen(cell) > widths[c])
                widths[c] = (int)strlen(cell);
            numbers[c] = numbers[c] || json_is_number(value) || json_is_object(value);
        }
    }

    for (size_t c = 0; columns[c].member; c++) {
        bool is_last = !columns[c + 1].member;

        write_cell(to, columns[c].title, is_last && !numbers[c] ? 0 : widths[c], numbers[c]);
        (void)fputs(is_last ? "\n" : "  ", to);
    }
    json_array_foreach(rows, i, row)
    {
        for (size_t c = 0; columns[c].member; c++) {
            bool is_last = !columns[c + 1].member;

            text_of(json_object_get(row, columns[c].member), columns[c].form, cell, sizeof(cell));
            write_cell(to, cell, is_last && !numbers[c] ? 0 : widths[c], numbers[c]);
            (void)fputs(is_last ? "\n" : "  ", to);
        }
    }
}

void cli_print_table(const json_t *rows, const struct cli_column *columns)
{
    cli_write_table(stdout, rows, columns);
}

void cli_print_member(const char *label, int width, const json_t *value)
{
    char cell[CELL_SIZE];

    text_of(value, CLI_AS_IT_IS, cell, sizeof(cell));
    write_cell(stdout, label, width, false);
    (void)putchar(' ');
    text_write_escaped(stdout, cell, strlen(cell));
    (void)putchar('\n');
}
