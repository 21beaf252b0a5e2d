#!/usr/bin/env python3
"""Draws docs/images/growth-*.svg and the table of docs/SCALE.md from what `make bench PART=growth` measured.

    scripts/plots.py [FILE]    FILE is target/bench/growth.json unless said otherwise

Both axes are logarithmic, so that what grows with size is a straight line upwards and what does not grow is level. The pictures follow the
reader's light or dark mode.
"""

import json
import math
import sys
from pathlib import Path

import generated

MEASURED = generated.ROOT / "target/bench/growth.json"
IMAGES = generated.ROOT / "docs/images"

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 84, 150, 44, 52
# Told apart by colour and by mark; readable on white and on black.
CURVES = {
    "connect": ("#3b82f6", "circle"),
    "list of 100": ("#d97706", "square"),
    "broadcast, plan": ("#0d9488", "triangle"),
    "broadcast": ("#e11d48", "diamond"),
    "replay": ("#8b5cf6", "circle"),
}
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 15px }
  .axis { stroke: #59636e; fill: none }
  .grid { stroke: #d1d9e0; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .axis { stroke: #9198a1 } .grid { stroke: #3d444d }
  }
"""


class Scale:
    """From a value to a place: logarithmic, in whole powers of ten."""

    def __init__(self, values, low, high):
        self.least = math.floor(math.log10(min(values)))
        self.most = max(math.ceil(math.log10(max(values))), self.least + 1)
        self.low, self.high = low, high

    def __call__(self, value):
        share = (math.log10(value) - self.least) / (self.most - self.least)
        return round(self.low + share * (self.high - self.low), 1)

    def ticks(self):
        """Powers of ten from end to end."""
        return [10.0**power for power in range(self.least, self.most + 1)]


def mark(kind, x, y, colour):
    """A mark of a point."""
    shapes = {
        "circle": f'<circle cx="{x}" cy="{y}" r="4.5" fill="{colour}"/>',
        "square": f'<rect x="{x - 4}" y="{y - 4}" width="8" height="8" fill="{colour}"/>',
        "triangle": f'<path d="M{x} {y - 5.5}l5 9h-10z" fill="{colour}"/>',
        "diamond": f'<path d="M{x} {y - 6}l5 6l-5 6l-5 -6z" fill="{colour}"/>',
    }
    return shapes[kind]


def plain(value):
    """A power of ten as people write it."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def draw(title, unit, curves):
    """One picture. `curves` is by name: pairs of size and value."""
    points = [point for line in curves.values() for point in line]
    across = Scale([x for x, _ in points], LEFT, WIDTH - RIGHT)
    up = Scale([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [f'<text class="title" x="{LEFT}" y="24">{title}</text>']
    for x in across.ticks():
        parts.append(f'<line class="grid" x1="{across(x)}" y1="{TOP}" x2="{across(x)}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{across(x)}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{plain(x)}</text>')
    for y in up.ticks():
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{up(y)}" x2="{WIDTH - RIGHT}" y2="{up(y)}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{up(y) + 4}" text-anchor="end">{plain(y)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">connections, or events to replay</text>')
    parts.append(f'<text x="16" y="{TOP - 8}">{unit}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    labels = sorted((up(line[-1][1]), name) for name, line in curves.items())
    last = -math.inf
    for y, name in labels:
        last = max(y, last + 17)
        colour, kind = CURVES[name]
        line = curves[name]
        path = "L".join(f"{across(x)} {up(v)}" for x, v in line)
        parts.append(f'<path d="M{path}" stroke="{colour}" stroke-width="2" fill="none"/>')
        parts += [mark(kind, across(x), up(v), colour) for x, v in line]
        parts.append(f'<text x="{WIDTH - RIGHT + 12}" y="{last + 4}" style="fill:{colour}">{name}</text>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">\n'
        f"<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def lines(points, field):
    """By name: the points of a curve, those of nothing left out."""
    named = {}
    for point in points:
        if point[field] > 0:
            named.setdefault(point["one"], []).append((point["at"], point[field]))
    return {name: sorted(named[name]) for name in CURVES if name in named}


def milliseconds(value):
    """Two or three digits."""
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def table(measured):
    """Processor time and calls, by size."""
    sizes = sorted({point["at"] for point in measured["points"]})
    rows = []
    for name in CURVES:
        of = {point["at"]: point for point in measured["points"] if point["one"] == name}
        calls = [of[size]["calls"] for size in sizes]
        rows.append([name] + [milliseconds(of[size]["cpu_ms"]) for size in sizes] + [" · ".join(f"{c:,}" for c in calls) if any(calls) else "–"])
    head = ["processor time of one, ms, at"] + [f"{size:,}" for size in sizes] + ["calls, at each"]
    pictures = [
        "![Processor time of one operation against how many are there](images/growth-cpu.svg)",
        "![Calls to AWS of one operation against how many are there](images/growth-calls.svg)",
    ]
    return "\n\n".join([generated.table(head, rows), f"Measured {measured['at'][:10]}: {measured['machine']}.", *pictures])


def main():
    measured = json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else MEASURED).read_text(encoding="utf-8"))
    points = measured["points"]
    IMAGES.mkdir(parents=True, exist_ok=True)
    pictures = {
        "growth-cpu.svg": draw("Processor time of one operation", "ms", lines(points, "cpu_ms")),
        "growth-calls.svg": draw("Calls to AWS of one operation", "calls", lines(points, "calls")),
    }
    for name, picture in pictures.items():
        (IMAGES / name).write_text(picture, encoding="utf-8")
        print(f"wrote docs/images/{name}")
    generated.write({"docs/SCALE.md": {"growth": table(measured)}})


if __name__ == "__main__":
    main()
