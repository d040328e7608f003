# SPDX-License-Identifier: Apache-2.0
"""Lines on two logarithmic axes as an SVG, for the pictures of docs/performance.md."""
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 80, 150, 50, 60
COLOURS = ["#1b6ca8", "#c4501b", "#2e7d4f", "#7a3b8f", "#8a6d1b", "#555555"]


def _exponents(values):
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _short(value):
    for limit, unit in ((1e6, " M"), (1e3, " k")):
        if value >= limit:
            return "%g%s" % (value / limit, unit)
    return "%g" % value


def write(path, title, x_name, y_name, lines):
    """lines: {name: [(x, y), ...]}; what is not above 0 is left out."""
    lines = {name: [p for p in points if p[0] > 0 and p[1] > 0] for name, points in lines.items()}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return False
    x_low, x_high = _exponents([x for points in lines.values() for x, _ in points])
    y_low, y_high = _exponents([y for points in lines.values() for _, y in points])
    x_at = lambda x: LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(x) - x_low) / (x_high - x_low)
    y_at = lambda y: HEIGHT - BOTTOM + (TOP - HEIGHT + BOTTOM) * (math.log10(y) - y_low) / (y_high - y_low)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d">' % (WIDTH, HEIGHT),
           "<style>text{font:13px sans-serif}.grid{stroke:#ccc;fill:none}</style>",
           '<rect width="%d" height="%d" fill="#fff"/>' % (WIDTH, HEIGHT),
           '<text x="%d" y="28" style="font-size:16px">%s</text>' % (LEFT, title),
           '<text x="%d" y="%d" text-anchor="middle">%s</text>' % ((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_name),
           '<text x="%d" y="%d">%s</text>' % (8, TOP - 10, y_name)]
    for e in range(y_low, y_high + 1):
        out.append('<path class="grid" d="M%d %.1fH%d"/><text x="%d" y="%.1f" text-anchor="end">%s</text>' % (
            LEFT, y_at(10.0 ** e), WIDTH - RIGHT, LEFT - 8, y_at(10.0 ** e) + 4, _short(10.0 ** e)))
    for e in range(x_low, x_high + 1):
        out.append('<path class="grid" d="M%.1f %dV%d"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>' % (
            x_at(10.0 ** e), TOP, HEIGHT - BOTTOM, x_at(10.0 ** e), HEIGHT - BOTTOM + 18, _short(10.0 ** e)))
    for i, (name, points) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        out.append('<polyline fill="none" stroke-width="2" stroke="%s" points="%s"/>' % (
            colour, " ".join("%.1f,%.1f" % (x_at(x), y_at(y)) for x, y in points)))
        out.append('<text x="%.1f" y="%.1f" fill="%s">%s</text>' % (
            x_at(points[-1][0]) + 6, y_at(points[-1][1]) + 4, colour, name))
    with open(path, "w") as f:
        f.write("\n".join(out + ["</svg>", ""]))
    return True
