"""Draw the ratios that `docs/benchmarks.md` lists: `python -m benchmarks.bars`.

It writes `docs/ratios.svg`: a bar for what was measured, and a line for what is demanded.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[1] / "docs"
ROW = re.compile(
    r"^\| `(\w+)` \| (.+) \| (.+) \| (at least|at most) ([\d.]+)x \| ([\d.]+)x \|$", re.MULTILINE
)
WIDTH, LEFT, RIGHT, STEP, TOP = 760, 380, 50, 34, 34
#: Both ends of the scale, which is logarithmic.
LEAST, MOST = 0.5, 64.0
HOLDS, MISSED = "#15803d", "#c2410c"


class Ratio(NamedTuple):
    """One line of the table."""

    topic: str
    first: str
    second: str
    bound: str
    demanded: float
    measured: float

    @property
    def holds(self) -> bool:
        """Whether what was measured is as good as demanded."""
        at_least = self.bound == "at least"
        return self.measured >= self.demanded if at_least else self.measured <= self.demanded


def ratios(page: str) -> Iterator[Ratio]:
    """Read the table."""
    for topic, first, second, bound, demanded, measured in ROW.findall(page):
        yield Ratio(topic, first, second, bound, float(demanded), float(measured))


def x(ratio: float) -> float:
    """Return where a ratio is."""
    scale = math.log(min(max(ratio, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return LEFT + (WIDTH - LEFT - RIGHT) * scale


def draw(page: str) -> str:
    """Return the picture."""
    rows = list(ratios(page))
    height = TOP + STEP * len(rows) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        ' font-family="sans-serif" font-size="12" fill="#555">',
        "<title>Measured ratios, and those that are demanded</title>",
    ]
    mark = 1.0
    while mark <= MOST:
        at = x(mark)
        parts.append(f'<path d="M{at:.1f} {TOP - 10}V{height - 10}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{TOP - 16}" text-anchor="middle">{mark:g}x</text>')
        mark *= 2
    beside = 'text-anchor="end" font-size="10" fill="#888"'
    for number, row in enumerate(rows):
        top = TOP + STEP * number
        colour, at, bar = HOLDS if row.holds else MISSED, x(row.demanded), x(row.measured)
        parts += [
            f'<text x="{LEFT - 8}" y="{top + 10}" text-anchor="end">{row.second}</text>',
            f'<text x="{LEFT - 8}" y="{top + 23}" {beside}>{row.topic}: beside {row.first}</text>',
            f'<path d="M{LEFT} {top + 5}H{bar:.1f}V{top + 19}H{LEFT}Z" fill="{colour}"/>',
            f'<path d="M{at:.1f} {top}V{top + 24}" stroke="#111" stroke-width="2"/>',
            f'<text x="{max(at, bar) + 5:.1f}" y="{top + 16}">{row.measured:g}x</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    text = draw((DOCS / "benchmarks.md").read_text(encoding="utf-8"))
    (DOCS / "ratios.svg").write_text(text, encoding="utf-8")
    print("wrote ratios.svg")
