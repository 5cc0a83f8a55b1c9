"""How often a failing job is tried, and how long it waits in between."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, TypeAlias

import attrs

from poolder_trio.policies import checks
from poolder_trio.verdicts import RETRY, Backoff

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolder_trio.verdicts import ErrorVerdict

ErrorTypes: TypeAlias = "type[Exception] | tuple[type[Exception], ...]"


def _is_error_type(value: object) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(map(_is_error_type, value))
    return isinstance(value, type) and issubclass(value, Exception)


_BACKOFF = checks.Check(
    "a finite number of seconds >= 0 or a function of the attempt",
    lambda value: checks.is_number(value) or callable(value),
    lambda value: callable(value) or checks.at_least(0, finite=True)(value),
)
_FACTOR = checks.Check("a finite number >= 0", checks.is_number, checks.at_least(0, finite=True))
_FRACTION = checks.Check(
    "a fraction from 0 to 1",
    checks.is_number,
    lambda v: isinstance(v, (int, float)) and 0 <= v <= 1,
)
_ON = checks.Check("an Exception class or a tuple of them", _is_error_type)


@attrs.frozen
class Retry:
    """How often a handler is tried, and the waits between the tries.

    The wait before try n + 1 is ``min(max_backoff, backoff * factor ** (n - 1))`` seconds, spread
    by up to ``jitter`` of itself to either side.

    Args:
        attempts: tries in all, the first included.
        backoff: seconds before the second try, or a function from the attempt that failed
            (1, 2, ...) to seconds.
        factor: what each further wait is multiplied with.
        max_backoff: seconds that no wait exceeds before it is spread.
        jitter: the spread, as a fraction of the wait, from 0 to 1.
        on: the exceptions that are worth another try; others fail at once, unless
            ``handle_error`` answers ``RETRY`` or ``Backoff``. A group is, if all in it are, or if
            its own class is named: a nursery in a handler makes a group of what is raised there.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """

    attempts: int = attrs.field(default=1, validator=checks.COUNT.field)
    backoff: float | Callable[[int], float] = attrs.field(default=0.0, validator=_BACKOFF.field)
    factor: float = attrs.field(default=1.0, validator=_FACTOR.field)
    max_backoff: float = attrs.field(default=math.inf, validator=checks.SECONDS.field)
    jitter: float = attrs.field(default=0.0, validator=_FRACTION.field)
    on: ErrorTypes = attrs.field(default=Exception, validator=_ON.field)

    def wait(self, attempt: int, chance: float) -> float:
        """Return the seconds to wait after failed try ``attempt``.

        Args:
            attempt: the try that failed, from 1.
            chance: where in the spread to land: from 0.0, its low end, to 1.0.

        Raises:
            TypeError, ValueError: ``backoff`` is a function, and returned no seconds.
        """
        if callable(self.backoff):
            seconds = self.backoff(attempt)
            checks.FINITE_SECONDS("backoff(attempt)", seconds, "Retry")
        elif not self.backoff:
            seconds = 0.0
        else:
            try:
                seconds = self.backoff * float(self.factor) ** (attempt - 1)
            except OverflowError:
                seconds = math.inf
            seconds = min(seconds, sys.float_info.max)  # an inf times 0 would be a nan
        return min(self.max_backoff, seconds) * (1 + self.jitter * (2 * chance - 1))

    def next_try(
        self,
        attempt: int,
        error: Exception,
        verdict: ErrorVerdict | Backoff | None,
        chance: float,
    ) -> float | None:
        """Return the seconds until the next try, 0 for at once, or ``None`` if none is left.

        Args:
            attempt: the try that failed, from 1.
            error: what it failed with.
            verdict: the answer of ``handle_error``, other than ``HALT``.
            chance: as for `wait`.
        """
        if attempt >= self.attempts:
            return None
        if verdict is RETRY:
            return 0.0
        if isinstance(verdict, Backoff):
            return verdict.seconds
        return self.wait(attempt, chance) if _matches(error, self.on) else None


def _matches(error: BaseException, types: ErrorTypes) -> bool:
    """Tell whether an error, or each leaf of a group, is of one of these types."""
    left = [error]
    while left:
        each = left.pop()
        if isinstance(each, types):
            continue
        if not isinstance(each, BaseExceptionGroup):
            return False
        left.extend(each.exceptions)
    return True
