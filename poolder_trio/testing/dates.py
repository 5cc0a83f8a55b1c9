"""Dates for tests whose time is virtual."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import trio

from poolder_trio.policies.instants import in_utc

if TYPE_CHECKING:
    from datetime import datetime

    from poolder_trio.kernel.wall import Clock

__all__ = ["wall_clock"]


def wall_clock(start: datetime) -> Clock:
    """Return a ``clock`` for components under test, which shows ``start`` and the time since.

    It goes as Trio's clock does, so that under a ``MockClock`` a year passes in a second::

        async def test_a_year(autojump_clock):
            clock = wall_clock(datetime(2024, 1, 1, tzinfo=timezone.utc))
            async with JobPool(clock=clock) as pool:
                await pool.perform_at(time(3), clean_up)
                await trio.sleep(366 * 24 * 3600)

    Args:
        start: an aware datetime: what it shows when it is made, or, if that is outside of a Trio
            run, when it is first read.

    Raises:
        TypeError, ValueError: ``start`` is something else, or naive.
    """
    shown = in_utc("start", start, "wall_clock")
    since = trio.current_time() if trio.lowlevel.in_trio_run() else None

    def clock() -> datetime:
        nonlocal since
        if since is None:
            since = trio.current_time()
        return shown + timedelta(seconds=trio.current_time() - since)

    return clock
