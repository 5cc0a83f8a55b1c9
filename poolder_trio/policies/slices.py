"""How long a worker may hold the event loop before it lets others have it."""

from __future__ import annotations

#: Seconds for which all workers of a component together hold the loop in one pass.
SLICES = {"low": 0.0, "normal": 0.001, "high": 0.005, "max": 0.050}

_LONGEST_STRIDE = 32


def next_stride(stride: int, done: int, spent: float, left: float) -> int:
    """Return how many jobs to run before looking at the clock again.

    Strides double while jobs are short, and end where the slice is expected to: a stride that
    ran on blindly would overrun it by as many jobs.

    Args:
        stride: how many were run between the last two looks.
        done: how many were run in this slice.
        spent: the seconds they took.
        left: the seconds left of the slice.
    """
    longest = min(2 * stride, _LONGEST_STRIDE)
    if left * done >= longest * spent:
        return longest
    return max(1, int(left * done / spent))


class Slice:
    """One worker's time in one pass of the event loop.

    Args:
        now: when it begins, in seconds.
        length: how many seconds it is long.
    """

    __slots__ = ("_begun", "_done", "_length")

    def __init__(self, now: float, length: float) -> None:
        self._begun = now
        self._length = length
        self._done = 0

    def next_stride(self, stride: int, now: float) -> int:
        """Return how many jobs to run before the next call of this; 0: the slice is over.

        Args:
            stride: how many were run since the last call, or since it began.
            now: the time, by the same clock.
        """
        self._done += stride
        spent = now - self._begun
        if spent >= self._length:
            return 0
        return next_stride(stride, self._done, spent, self._length - spent)
