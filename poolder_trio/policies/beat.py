"""The beats of an interval, in seconds of a clock that never jumps."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolder_trio.policies.triggers import Every


def beat(every: Every, anchor: float, after: float) -> float:
    """Return when ``every`` fires first after ``after``, if it was scheduled at ``anchor``.

    The n-th beat is due n periods after the anchor, however late others were: intervals do not
    drift. With jitter, how late it fires is a function of the seed and of n alone.
    """
    period = every.seconds
    n = int((after - anchor) / period) + 1 if after > anchor else 1
    at = anchor + n * period
    # The division is rounded, so it can be off by one, to either side.
    if at <= after:
        n += 1
        at = anchor + n * period
    elif n > 1 and anchor + (n - 1) * period > after:
        n -= 1
        at = anchor + n * period
    if not every.jitter:
        return at
    # The beat before may be due already, and fire later than `after`.
    n = max(1, n - 1)
    while (at := _fires(every, anchor, n)) <= after:
        n += 1
    return at


def beats(every: Every, anchor: float, until: float) -> int:
    """Return how many firings there are up to ``until``, if it was scheduled at ``anchor``."""
    n = max(0, int((until - anchor) / every.seconds) - 2)
    while _fires(every, anchor, n + 1) <= until:
        n += 1
    return n


def _fires(every: Every, anchor: float, n: int) -> float:
    """Return when the n-th beat fires: before the next is due."""
    at = anchor + n * every.seconds
    if not every.jitter:
        return at
    room = min(every.jitter, every.seconds)
    late = room * Random(f"{every.drawn_from} {n}").random()  # noqa: S311  # guards nothing
    # Below the period in truth, but the sum is rounded.
    return min(at + late, math.nextafter(anchor + (n + 1) * every.seconds, 0.0))
