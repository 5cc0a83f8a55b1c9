"""Whether a Trio run is a simulation: for whatever would ask the world outside of the program."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import trio

#: Set in the runs that `testing.simulate` makes.
SIMULATED: trio.lowlevel.RunVar[bool] = trio.lowlevel.RunVar("simulated", default=False)

#: What time it is when a simulation begins: the same in each, or dates would tell them apart.
BEGINS = datetime(2000, 1, 1, tzinfo=timezone.utc)


def is_simulated() -> bool:
    """Tell whether this is called in a simulation."""
    return trio.lowlevel.in_trio_run() and SIMULATED.get()


def simulated_now() -> datetime:
    """Return the time of a simulation, whose clock begins at 0."""
    return BEGINS + timedelta(seconds=trio.current_time())


def refuse_simulated(what: object, instead: str) -> None:
    """Raise ``TypeError`` in a simulation: ``what`` leaves something behind that runs share."""
    if is_simulated():
        raise TypeError(
            f"a simulation keeps everything in memory, so that the same seed is the same run, "
            f"got {what!r}: use {instead} there"
        )
