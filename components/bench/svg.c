/* SPDX-License-Identifier: Apache-2.0 */
/* Latency by rate as a picture that every browser shows; no library. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "bench/bench.h"

#define WIDTH 720
#define HEIGHT 440
#define LEFT 80
#define RIGHT 100
#define TOP 50
#define BOTTOM 60

/* An axis from one power of ten to another. */
struct axis {
    double low, high; /* exponents */
};

static void axis_include(struct axis *axis, double value)
{
    double low = floor(log10(value)), high = ceil(log10(value));

    if (axis->low == axis->high) {
        axis->low = low;
        axis->high = high > low ? high : low + 1;
    }
    axis->low = fmin(axis->low, low);
    axis->high = fmax(axis->high, high);
}

static double place(const struct axis *axis, double value, double from, double to)
{
    return from + (to - from) * (log10(value) - axis->low) / (axis->high - axis->low);
}

static double x_of(const struct axis *axis, double value)
{
    return place(axis, value, LEFT, WIDTH - RIGHT);
}

static double y_of(const struct axis *axis, double value)
{
    return place(axis, value, HEIGHT - BOTTOM, TOP);
}

static double value_of(const struct bench_point *point, int line)
{
    return line == 0 ? point->p50_us : line == 1 ? point->p99_us : point->p999_us;
}

static void draw_grid(const struct axis *x, const struct axis *y, FILE *to)
{
    for (int e = (int)y->low; e <= (int)y->high; e++) {
        double at = y_of(y, pow(10, e));

        (void)fprintf(to,
                      "<path class=\"grid\" d=\"M%d %.1fH%d\"/>\n"
                      "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g us</text>\n",
                      LEFT, at, WIDTH - RIGHT, LEFT - 8, at + 4, pow(10, e));
    }
    for (int e = (int)x->low; e <= (int)x->high; e++) {
        double at = x_of(x, pow(10, e));

        (void)fprintf(to,
                      "<path class=\"grid\" d=\"M%.1f %dV%d\"/>\n"
                      "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g/s</text>\n",
                      at, TOP, HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 20, pow(10, e));
    }
}

static void draw_line(const struct axis *x, const struct axis *y, const struct bench_point *points,
                      size_t count, int line, FILE *to)
{
    static const char *const names[] = {"p50", "p99", "p99.9"};
    static const char *const colours[] = {"#1b6ca8", "#c4501b", "#7a3b8f"};
    const struct bench_point *last = &points[count - 1];

    (void)fprintf(to, "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"%s\" points=\"",
                  colours[line]);
    for (size_t i = 0; i < count; i++)
        (void)fprintf(to, "%.1f,%.1f ", x_of(x, points[i].rate),
                      y_of(y, value_of(&points[i], line)));
    (void)fprintf(to, "\"/>\n<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">%s</text>\n",
                  x_of(x, last->rate) + 6, y_of(y, value_of(last, line)) + 4, colours[line],
                  names[line]);
}

int bench_write_svg(const char *path, const char *title, const struct bench_point *points,
                    size_t count, struct aico_error *err)
{
    struct axis x = {0}, y = {0};
    bool is_written;
    FILE *to;

    for (size_t i = 0; i < count; i++) {
        axis_include(&x, points[i].rate);
        axis_include(&y, points[i].p50_us);
        axis_include(&y, points[i].p999_us);
    }
    to = fopen(path, "we");
    if (!to)
        return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
    (void)fprintf(to,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\">\n"
                  "<style>text{font:13px sans-serif}.grid{stroke:#ccc;fill:none}</style>\n"
                  "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n"
                  "<text x=\"%d\" y=\"28\" style=\"font-size:16px\">%s</text>\n",
                  WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT, title);
    draw_grid(&x, &y, to);
    for (int line = 0; count > 0 && line < 3; line++)
        draw_line(&x, &y, points, count, line, to);
    (void)fprintf(to, "</svg>\n");
    is_written = !ferror(to);
    if (fclose(to) != 0 || !is_written)
        return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
    return 0;
}
