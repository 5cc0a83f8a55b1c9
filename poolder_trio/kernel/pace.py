"""By what workers tell when to let others have the event loop: by time, or by counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from poolder_trio.policies.slices import Count, Pace

if TYPE_CHECKING:
    from collections.abc import Callable


class Paces(Protocol):
    """Bounds slices: see `Pace`."""

    def begin(self, now: float, length: float) -> int:
        """Begin a slice; return how many jobs to run before `next_stride` is called."""
        ...

    def next_stride(self, stride: int, now: float) -> int:
        """Return how many jobs to run before the next call of this; 0: the slice is over."""
        ...


def is_virtual() -> bool:
    """Tell whether this Trio run goes by another clock than the machine's."""
    # Trio has no public name for the class of its own clock.
    return type(trio.lowlevel.current_clock()).__name__ != "SystemClock"


def pace_here() -> Callable[[], Paces]:
    """Return what makes a pace for this Trio run.

    Under a virtual clock how long something takes depends on the machine, and nothing else does.
    """
    return Count if is_virtual() else Pace
