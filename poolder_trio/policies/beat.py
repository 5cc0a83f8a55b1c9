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
    while (at := anchor + n * period + _late(every, n)) <= after:
        n += 1
    return at


def _late(every: Every, n: int) -> float:
    """Return by how much the n-th beat is late: less than a period."""
    room = min(every.jitter, math.nextafter(every.seconds, 0))
    return room * Random(f"{every.drawn_from} {n}").random()  # noqa: S311  # guards nothing
