"""What becomes of a component when one of its workers crashes."""

from __future__ import annotations

import enum
from collections import deque

import attrs

from poolder_trio.policies import checks


class AfterCrash(enum.Enum):
    """What to do after a crash."""

    REPLACE = "replace"
    RETIRE = "retire"
    ESCALATE = "escalate"


@attrs.frozen
class Restart:
    """Which workers are replaced, and how many crashes are too many.

    Args:
        max_restarts: crashes that are forgiven within ``within`` seconds; the one after them
            leaves the component's block. With 0, the first crash does.
        within: the length of that period, in seconds.
        mode: ``"transient"`` replaces a worker that crashed; ``"permanent"`` also one that ended
            by itself; ``"temporary"`` never replaces and never escalates.

    The rule is that of OTP's supervisors: an intensity over a sliding period.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """

    max_restarts: int = attrs.field(default=0, validator=checks.NATURAL.field)
    within: float = attrs.field(default=5.0, validator=checks.POSITIVE_SECONDS.field)
    mode: str = attrs.field(
        default="transient",
        validator=checks.one_of("transient", "permanent", "temporary").field,
    )

    def build(self) -> Crashes:
        """Return the memory of one opening of a component."""
        return Crashes(self)


class Crashes:
    """The crashes of one component that still count."""

    __slots__ = ("_recent", "_rule")

    def __init__(self, rule: Restart) -> None:
        self._rule = rule
        self._recent: deque[tuple[float, Exception]] = deque()

    @property
    def counted(self) -> tuple[Exception, ...]:
        """The crashes within the period, oldest first."""
        return tuple(error for _, error in self._recent)

    def record(self, error: Exception, now: float) -> AfterCrash:
        """Count a crash at ``now`` (seconds) and say what follows from it."""
        if self._rule.mode == "temporary":
            return AfterCrash.RETIRE
        self._recent.append((now, error))
        while self._recent[0][0] <= now - self._rule.within:
            self._recent.popleft()
        if len(self._recent) > self._rule.max_restarts:
            return AfterCrash.ESCALATE
        return AfterCrash.REPLACE
