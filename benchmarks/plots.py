"""Draw what an overload does: `python -m benchmarks.plots` writes `docs/overload.svg`.

In Trio's time, on a clock that jumps: the picture is the same on every machine.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import trio
from trio.testing import MockClock

from benchmarks.overload import CAPACITY, CODEL, PLAIN, offer
from poolder_trio import Broker

REQUESTS = 30_000
BUCKET = 5.0  # seconds
WIDTH, HEIGHT, LEFT, BELOW = 640, 320, 56, 40
TITLE = "99th percentile of the waits of answered requests, at twice the capacity"
#: Each power of ten from the bottom to the top of the picture, in seconds.
LOWEST, HIGHEST = -2, 3
LINES = [
    ("plain fifo", "#c2410c", PLAIN),
    ("CoDel, oldest first", "#0369a1", Broker(timeout=math.inf, codel=CODEL)),
    ("CoDel, newest first", "#15803d", Broker(order="lifo", timeout=math.inf, codel=CODEL)),
]


def longest_by_time(broker: Broker) -> list[tuple[float, float]]:
    """Return of each `BUCKET` how long the 99th of a hundred answered requests had waited."""
    _, answers = trio.run(offer, broker, REQUESTS, clock=MockClock(autojump_threshold=0))
    waits: dict[int, list[float]] = defaultdict(list)
    for at, waited in answers:
        waits[int(at / BUCKET)].append(waited)
    return [
        (BUCKET * (bucket + 0.5), sorted(some)[math.ceil(0.99 * len(some)) - 1])
        for bucket, some in sorted(waits.items())
    ]


def draw() -> str:
    """Return the picture."""
    lines = [(name, colour, longest_by_time(broker)) for name, colour, broker in LINES]
    last = REQUESTS / (2 * CAPACITY) - BUCKET  # what comes later is what was left

    def x(seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - 130) * seconds / last

    def y(wait: float) -> float:
        height = (math.log10(max(wait, 10**LOWEST)) - LOWEST) / (HIGHEST - LOWEST)
        return HEIGHT - BELOW - (HEIGHT - BELOW - 20) * min(height, 1)

    def text(at: float, level: float, words: str, **style: str) -> str:
        styled = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in style.items())
        return f'<text x="{at:.1f}" y="{level + 4:.1f}"{styled}>{words}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12" fill="#555">',
        f"<title>{TITLE}</title>",
    ]
    for power in range(LOWEST, HIGHEST + 1):
        level = y(10.0**power)
        parts.append(f'<path d="M{LEFT} {level:.1f}H{x(last):.1f}" stroke="#ccc"/>')
        parts.append(text(LEFT - 6, level, f"{10.0**power:g} s", text_anchor="end"))
    floor = HEIGHT - BELOW + 14
    parts += [
        text(x(seconds), floor, f"{seconds} s", text_anchor="middle")
        for seconds in range(0, int(last) + 1, 60)
    ]
    for name, colour, points in lines:
        shown = [(at, wait) for at, wait in points if at <= last]
        path = " ".join(f"{x(at):.1f},{y(wait):.1f}" for at, wait in shown)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(text(x(last) + 6, y(shown[-1][1]), name, fill=colour))
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    target = Path(__file__).parents[1] / "docs" / "overload.svg"
    target.write_text(draw(), encoding="utf-8")
    print(f"wrote {target.name}")
