"""The wall clock: what time it is outside of Trio, and how long to trust the answer."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import trio

from poolder_trio.kernel.pace import is_virtual
from poolder_trio.kernel.simulated import is_simulated, simulated_now
from poolder_trio.policies import checks
from poolder_trio.policies.instants import LAST, in_utc

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    #: Returns an aware datetime: what the time is.
    Clock: TypeAlias = Callable[[], datetime]

#: Seconds after which the real clock is looked at again: it is corrected, and it runs on while the
#: machine sleeps, and Trio's clock does not.
LOOK_AGAIN = 60.0

CLOCK = checks.Check(
    "a function that returns an aware datetime, or None", lambda v: v is None or callable(v)
)


def utc_now() -> datetime:
    """Return the time of the machine's clock; in a simulation, the time there."""
    return simulated_now() if is_simulated() else datetime.now(timezone.utc)


class WallClock:
    """What time it is while a component is open; made inside of a Trio run.

    Under Trio's own clock it is read whenever somebody asks. Under any other, such as a
    ``MockClock``, it is read once, and goes on from there as Trio's clock does.

    Args:
        read: returns the time; ``None`` for the machine's clock.

    Raises:
        TypeError, ValueError: ``read`` does not return an aware datetime.
    """

    __slots__ = ("_offset", "_read", "_start")

    def __init__(self, read: Clock | None = None) -> None:
        self._read = utc_now if read is None else read
        self._offset = trio.current_time() if is_virtual() else None
        self._start = self._look()

    def now(self) -> datetime:
        """Return the time, in UTC."""
        if self._offset is None:
            return self._look()
        try:
            return self._start + timedelta(seconds=trio.current_time() - self._offset)
        except OverflowError:  # a clock that was made for tests has no more to show
            return LAST

    def trusted(self, seconds: float) -> float:
        """Return how much of a wait of ``seconds`` may pass before the clock is asked again."""
        return seconds if self._offset is not None else min(seconds, LOOK_AGAIN)

    def _look(self) -> datetime:
        shown = self._read()
        if not isinstance(shown, datetime):
            message = f"clock must return an aware datetime, got {shown!r} from {self._read!r}"
            raise TypeError(message)
        if shown.utcoffset() is None:
            message = (
                f"clock must return an aware datetime, got the naive {shown!r}: "
                f"return datetime.now(timezone.utc), say"
            )
            raise ValueError(message)
        return in_utc("what clock returns", shown, repr(self._read))
