"""How long a worker may hold the event loop before it lets others have it."""

from __future__ import annotations

#: Seconds for which all workers of a component together hold the loop in one pass.
SLICES = {"low": 0.0, "normal": 0.001, "high": 0.005, "max": 0.050}

#: A look at the clock costs about a hundredth of this, in seconds: so long may be run blindly.
_BLIND = 32e-6 * (1 + 1e-9)  # a stride that takes as long must not be one too long by rounding
_LONGEST = 32
#: By which part of it what is known of dear jobs is forgotten with each look that finds cheap ones.
_FORGOTTEN = 1 / 64
#: What a job takes, in seconds, where no clock tells.
_SUPPOSED = 10e-6


class Pace:
    """How many jobs a worker runs between two looks at the clock, slice after slice.

    What runs between two looks can't be stopped in time. So no more run than would fit into what
    is left if all were as dear as the dearest of late, and never more than pay for the look; and
    after those that took unexpectedly long one runs alone, since more of them may follow.
    """

    __slots__ = ("_dearest", "_end", "_seen", "_stride")

    def __init__(self) -> None:
        self._end = self._seen = 0.0
        #: What a job takes, by those strides of late whose jobs took longest.
        self._dearest = 1e-9  # never 0
        self._stride = 1

    def begin(self, now: float, length: float) -> int:
        """Begin a slice; return how many jobs to run before `next_stride` is called.

        Args:
            now: the time, in seconds.
            length: how many seconds it is long.
        """
        self._seen = now
        self._end = now + length
        stride, dearest = self._stride, self._dearest
        return stride if stride * dearest <= length else int(length / dearest) or 1

    def next_stride(self, stride: int, now: float) -> int:
        """Return how many jobs to run before the next call of this; 0: the slice is over.

        Args:
            stride: how many were run since the last call, or since the slice began.
            now: the time, by the same clock.
        """
        each = (now - self._seen) / stride
        self._seen = now
        dearest = self._dearest
        # Without a call: where each job is looked at, this is a part of what it costs.
        if each > _BLIND or each > dearest + dearest:
            longest = 1
        elif stride * each > _BLIND:
            longest = int(_BLIND / each)
        else:
            longest = stride + stride
            if longest > _LONGEST or longest * each > _BLIND:
                longest = stride
        self._stride = longest
        if each < dearest:
            each = dearest - (dearest - each) * _FORGOTTEN
        self._dearest = each
        left = self._end - now
        if left <= 0:
            return 0
        return longest if longest * each <= left else int(left / each) or 1


class Count:
    """The same for where time is virtual: by counts alone, so that two runs are alike."""

    __slots__ = ()

    def begin(self, now: float, length: float) -> int:  # noqa: ARG002  # as `Pace.begin`
        """Begin a slice; return how many jobs to run in it."""
        return max(1, round(length / _SUPPOSED))

    def next_stride(self, stride: int, now: float) -> int:  # noqa: ARG002  # as `Pace.next_stride`
        """Return 0: the slice is over."""
        return 0
