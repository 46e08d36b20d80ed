"""Curves on logarithmic axes, as small SVG."""
import math

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 360, 70, 20, 150, 50
COLOURS = ("#0b6", "#c40", "#06c", "#a0a")


class Axis:
    def __init__(self, values, low, high):
        self.from_, self.to = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        self.to = max(self.to, self.from_ + 1)
        self.low, self.high = low, high

    def at(self, value):
        return self.low + (math.log10(value) - self.from_) / (self.to - self.from_) * (self.high - self.low)

    def ticks(self):
        return [(10.0**e, self.at(10.0**e)) for e in range(self.from_, self.to + 1)]


def number(value):
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def svg(across, curves):
    """One picture: what lies across, and for each curve its name and points; what is not above 0 is left out."""
    curves = {name: [(x, y) for x, y in points if x > 0 and y > 0] for name, points in curves.items()}
    every = [point for points in curves.values() for point in points]
    x_axis = Axis([x for x, _ in every], LEFT, WIDTH - RIGHT)
    y_axis = Axis([y for _, y in every], HEIGHT - BOTTOM, TOP)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for value, x in x_axis.ticks():
        parts.append(f'<path d="M{x:.0f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>'
                     f'<text x="{x:.0f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number(value)}</text>')
    for value, y in y_axis.ticks():
        parts.append(f'<path d="M{LEFT} {y:.0f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                     f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{number(value)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{across}</text>')
    for i, (name, points) in enumerate(curves.items()):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in points)
        dots = "".join(f'<circle cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="3" fill="{colour}"/>' for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}'
                     f'<text x="{WIDTH - RIGHT + 8}" y="{TOP + 14 + 16 * i}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])
