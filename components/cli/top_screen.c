/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aico-bus top on a terminal. What is shown is written to memory as lines first, the same as for a
 * pipe, and cut to the width of the screen here.
 */
#include "cli/top.h"

#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "common/moment.h"
#include "common/stop.h"

#include <curses.h>
#include <term.h> /* last: it defines words like `columns` */
#undef columns
#undef lines

#define HEAD_LINES 4 /* three about the broker, one for the views or what went wrong */
#define KEY_REDRAW ('L' & 0x1f)

struct screen {
    struct top *top;
    SCREEN *terminal;
    size_t first; /* row at the top of the table */
    size_t rows;  /* of the view */
    uint64_t refreshes;
    int64_t due_ms;
    struct aico_error problem; /* of the last question; code 0: it was answered */
    bool is_over;
};

/* --- lines ---------------------------------------------------------------------------------- */

/* How many bytes of @text fit into @width cells. */
static size_t fit(const char *text, size_t size, int width)
{
    mbstate_t state = {0};
    size_t used = 0;

    while (used < size) {
        wchar_t character;
        size_t step = mbrtowc(&character, text + used, size - used, &state);
        int cells;

        if (step == 0 || step > size - used) /* not of this locale: a cell a byte */
            step = 1, cells = 1, state = (mbstate_t){0};
        else
            cells = wcwidth(character) < 0 ? 1 : wcwidth(character);
        if (cells > width)
            break;
        width -= cells;
        used += step;
    }
    return used;
}

static void show_line(int y, const char *text, size_t size, attr_t attributes)
{
    (void)attrset(attributes);
    (void)mvaddnstr(y, 0, text, (int)fit(text, size, COLS));
    if (attributes != A_NORMAL) /* a bar as wide as the screen */
        for (int x = getcurx(stdscr); x > 0 && x < COLS && getcury(stdscr) == y; x++)
            (void)addch(' ');
    (void)attrset(A_NORMAL);
}

/* The lines of @text from @first on, at most @count of them, from @y down. */
static void show_lines(const char *text, size_t first, int count, int y)
{
    for (size_t i = 0; *text; i++) {
        size_t size = strcspn(text, "\n");

        if (i >= first + (size_t)count)
            break;
        if (i >= first)
            show_line(y + (int)(i - first), text, size, A_NORMAL);
        text += size + (text[size] == '\n');
    }
}

/* --- what is shown -------------------------------------------------------------------------- */

static int table_height(void)
{
    return LINES - HEAD_LINES - 2 > 0 ? LINES - HEAD_LINES - 2 : 0;
}

static void show_views(const struct screen *s)
{
    char text[200];
    size_t used = 0;

    if (s->problem.code < 0) {
        int size = snprintf(text, sizeof(text), "%s (%s): trying again", s->problem.text,
                            aico_error_name(s->problem.code));

        show_line(HEAD_LINES - 1, text, size > 0 ? strlen(text) : 0, A_BOLD);
        return;
    }
    for (int i = 0; i < TOP_VIEWS; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used,
                                 i == (int)s->top->view ? "[%d %s] " : " %d %s  ", i + 1,
                                 top_views[i].name);
    show_line(HEAD_LINES - 1, text, used, A_NORMAL);
}

static void show_keys(const struct screen *s)
{
    const struct top_order *order = &s->top->orders[s->top->view];
    char text[200];
    int size = snprintf(text, sizeof(text),
                        "by %s%s  q quit  tab view  < > sort  r reverse  arrows scroll",
                        top_views[s->top->view].columns[order->column].title,
                        order->is_reversed ? " (reversed)" : "");

    if (LINES > 1)
        show_line(LINES - 1, text, (size_t)size, A_REVERSE);
}

static void show_table(struct screen *s, const char *text)
{
    size_t title = strcspn(text, "\n");
    size_t height = (size_t)table_height();

    if (s->first + height > s->rows)
        s->first = s->rows > height ? s->rows - height : 0;
    show_line(HEAD_LINES, text, title, A_REVERSE);
    show_lines(text + title + (text[title] == '\n'), s->first, (int)height, HEAD_LINES + 1);
}

/* Head and table as text; free() both. */
static int write_texts(struct screen *s, char **ret_head, char **ret_table)
{
    struct top *top = s->top;
    json_t *rows = top_sorted(&top->samples[0], top->view, &top->orders[top->view]);
    size_t size;
    FILE *head = open_memstream(ret_head, &size), *table = open_memstream(ret_table, &size);
    int r = head && table && rows ? 0 : AICO_ENOMEM;

    s->rows = json_array_size(rows);
    if (r == 0) {
        top_write_head(head, &top->samples[0]);
        cli_write_table(table, rows, top_views[top->view].columns);
    }
    if (head && fclose(head) != 0)
        r = AICO_ENOMEM;
    if (table && fclose(table) != 0)
        r = AICO_ENOMEM;
    json_decref(rows);
    return r;
}

static int show(struct screen *s, struct aico_error *err)
{
    char *head = NULL, *table = NULL;
    int r = write_texts(s, &head, &table);

    if (r == 0) {
        (void)erase();
        show_lines(head, 0, HEAD_LINES - 1, 0);
        show_views(s);
        show_table(s, table);
        show_keys(s);
        (void)refresh();
    }
    free(head);
    free(table);
    return r < 0 ? aico_error_set(err, r, "out of memory") : 0;
}

/* --- keys ----------------------------------------------------------------------------------- */

static void turn_to(struct screen *s, int view)
{
    s->top->view = (enum top_view_id)view;
    s->first = 0;
}

static void sort_by_neighbour(struct screen *s, size_t step)
{
    struct top_order *order = &s->top->orders[s->top->view];
    size_t count = top_views[s->top->view].column_count;

    order->column = (order->column + step) % count;
}

static void scroll_by(struct screen *s, int rows)
{
    if (rows < 0 && s->first < (size_t)-rows)
        s->first = 0;
    else
        s->first += (size_t)rows; /* show_table() sees to the end */
}

static void take_key(struct screen *s, int key)
{
    size_t columns = top_views[s->top->view].column_count;

    if (key >= '1' && key < '1' + TOP_VIEWS)
        turn_to(s, key - '1');
    else if (key == '\t' || key == KEY_RIGHT)
        turn_to(s, (int)(s->top->view + 1) % TOP_VIEWS);
    else if (key == KEY_BTAB || key == KEY_LEFT)
        turn_to(s, (int)(s->top->view + TOP_VIEWS - 1) % TOP_VIEWS);
    else if (key == '>' || key == '.')
        sort_by_neighbour(s, 1);
    else if (key == '<' || key == ',')
        sort_by_neighbour(s, columns - 1);
    else if (key == 'r')
        s->top->orders[s->top->view].is_reversed ^= true;
    else if (key == KEY_UP || key == KEY_DOWN)
        scroll_by(s, key == KEY_UP ? -1 : 1);
    else if (key == KEY_PPAGE || key == KEY_NPAGE)
        scroll_by(s, key == KEY_PPAGE ? -table_height() : table_height());
    else if (key == KEY_HOME || key == KEY_END)
        s->first = key == KEY_HOME ? 0 : s->rows;
    else if (key == KEY_REDRAW)
        (void)clearok(stdscr, TRUE);
    else if (key == ' ')
        s->due_ms = 0;
    else if (key == 'q' || key == 'Q')
        s->is_over = true;
}

/* Until a key, a signal or the next refresh. ncurses turns SIGWINCH into KEY_RESIZE. */
static int wait_for_key(struct screen *s, struct aico_error *err)
{
    struct pollfd fds[] = {
        {.fd = STDIN_FILENO, .events = POLLIN},
        {.fd = s->top->stop_fd, .events = POLLIN},
    };
    int64_t left = s->due_ms - steady_ms();
    int key;

    if (left > 0 && poll(fds, 2, left > 60000 ? 60000 : (int)left) < 0 && errno != EINTR)
        return aico_error_set(err, AICO_ESYSTEM, "poll: %s", strerror(errno));
    if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
        return aico_error_set(err, AICO_ECLOSED, "the terminal is gone");
    if (stop_signal() != 0)
        s->is_over = true;
    while (!s->is_over && (key = getch()) != ERR)
        take_key(s, key);
    return 0;
}

/* --- life ----------------------------------------------------------------------------------- */

/* Whether it has given up, and does not come back; what it had to say is of no use here. */
static bool has_ended(struct aico_client *client)
{
    struct aico_message *message = NULL;
    int r;

    while ((r = aico_receive(client, 0, &message, NULL)) == 0)
        aico_message_free(&message);
    return r != AICO_ETIMEOUT;
}

/* A client that has ended does not come back; the broker may. A new client fails at once where
 * one that dials again makes its user wait; but it needs the key, and a passphrase that was typed
 * is not kept: then the former one is left to dial, as long as it does. */
static int look_again(struct screen *s, struct aico_error *ret_end)
{
    struct top *top = s->top;
    struct cli *cli = top->cli;
    struct aico_error err = {0};
    bool is_away = s->problem.code == AICO_EUNREACHABLE || s->problem.code == AICO_EDRAIN;

    if (is_away && cli->connect.tries > 0 && has_ended(cli->client))
        return aico_error_set(ret_end, AICO_EUNREACHABLE,
                              "the broker was away too long, and the passphrase that was typed is "
                              "not kept; start aico-bus top again");
    if (is_away && cli->connect.tries == 0)
        (void)aico_client_close(&cli->client, 0, NULL);
    s->problem = (struct aico_error){0};
    if (top_take_sample(top, &err) < 0)
        s->problem = err;
    s->refreshes++;
    s->due_ms = steady_ms() + top->interval_ms;
    return 0;
}

static int run(struct screen *s, struct aico_error *err)
{
    uint64_t count = s->top->cli->count;
    int r = 0;

    s->due_ms = steady_ms() + s->top->interval_ms;
    while (r == 0 && !s->is_over) {
        if (steady_ms() >= s->due_ms)
            r = look_again(s, err);
        if (r < 0)
            return r;
        if (s->problem.code < 0 && !top_may_come_back(s->problem.code)) {
            *err = s->problem;
            return err->code;
        }
        r = show(s, err);
        if (count > 0 && s->refreshes >= count)
            break;
        if (r == 0)
            r = wait_for_key(s, err);
    }
    return r;
}

static int check_terminal(struct aico_error *err)
{
    const char *name = getenv("TERM");
    bool can_move = false;
    int found;

    if (name && *name && setupterm(name, STDOUT_FILENO, &found) == OK) {
        can_move = tigetstr("cup") && tigetstr("cup") != (char *)-1;
        (void)del_curterm(cur_term); /* newterm() makes its own */
    }
    if (can_move)
        return 0;
    return aico_error_set(err, AICO_EINVAL,
                          "TERM=%.40s: that is no terminal whose cursor can be moved; top --once "
                          "prints a table",
                          name ? name : "");
}

int top_screen_run(struct top *top, struct aico_error *err)
{
    struct screen s = {.top = top};
    int r = check_terminal(err);

    if (r == 0)
        r = top_take_sample(top, err); /* what is wrong is said where it stays to be read */
    if (r < 0)
        return r;
    (void)setlocale(LC_CTYPE, "");
    s.terminal = newterm(NULL, stdout, stdin);
    if (!s.terminal)
        return aico_error_set(err, AICO_ESYSTEM, "the terminal cannot be used: %s",
                              strerror(errno));
    (void)cbreak();
    (void)noecho();
    (void)keypad(stdscr, TRUE);
    (void)nodelay(stdscr, TRUE);
    (void)curs_set(0);
    r = run(&s, err);
    (void)endwin();
    delscreen(s.terminal);
    return r;
}
