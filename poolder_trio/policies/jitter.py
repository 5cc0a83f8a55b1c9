"""Spreading firings, so that what is due at one time does not all start at once."""

from __future__ import annotations

from datetime import timedelta
from random import Random, getrandbits
from typing import TYPE_CHECKING

from poolder_trio.policies.halving import last_firing

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


def seed_of(name: str) -> int:
    """Return the seed of the job of this name: the same in every process, so on every restart."""
    return Random(repr(name)).getrandbits(64)  # noqa: S311  # guards nothing


def own_seed(jitter: float) -> int:
    """Return a seed for a trigger that is used without a job's name.

    Nothing is drawn where nothing is spread. A program that seeds ``random`` would else depend on
    which triggers the process has made before, since those of intervals are kept.
    """
    return getrandbits(64) if jitter else 0


def spread(
    due: Callable[[datetime], datetime | None], after: datetime, jitter: float, seed: int
) -> datetime | None:
    """Return the first firing after ``after``, each up to ``jitter`` seconds after its due time.

    How much later is a function of ``seed`` and the due time alone: who asks twice gets the same
    answer, and who asks between a due time and its firing still gets that firing. It is less than
    the time to the next due time, so firings keep their order.

    Args:
        due: returns the first due time after a moment; ``None``: never again.
        after: a moment in UTC, as are all others here.
        jitter: seconds.
        seed: any number.
    """
    if not jitter:
        return due(after)
    at = _last_or_next(due, after, jitter)
    while at is not None:
        following = due(at)
        room = jitter if following is None else min(jitter, (following - at).total_seconds())
        # Below 1 in truth, but the sum is rounded to microseconds.
        late = timedelta(seconds=room * Random(f"{seed} {at}").random())  # noqa: S311
        try:
            fires = at + late
        except OverflowError:  # beyond the year 9999
            return None
        if following is not None and fires >= following:
            fires = following - timedelta.resolution
        if fires > after:
            return fires
        at = following
    return None


def _last_or_next(
    due: Callable[[datetime], datetime | None], after: datetime, jitter: float
) -> datetime | None:
    """Return the last due time of the ``jitter`` seconds up to ``after``, else the next."""
    try:
        at = due(after - timedelta(seconds=jitter))
    except OverflowError:  # before the year 1
        at = due(after)
    return at if at is None or at > after else last_firing(due, at, after)
