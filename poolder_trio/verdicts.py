"""The words with which handlers tell their component what to do next."""

from __future__ import annotations

import enum
import sys
from typing import TYPE_CHECKING, overload

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable


class ErrorVerdict(enum.Enum):
    """What ``handle_error`` may answer besides ``Backoff(...)`` and ``None``."""

    RETRY = "retry"
    HALT = "halt"


#: Try the job again now, on the same worker, before any other job.
RETRY = ErrorVerdict.RETRY
#: Give the job up; its error counts as handled.
HALT = ErrorVerdict.HALT


def _as_tuple(only: Iterable[object] | None) -> tuple[object, ...] | None:
    return None if only is None else tuple(only)


@attrs.frozen
class Backoff:
    """From ``handle_error``: try the job again after ``seconds``; its worker is free meanwhile.

    Args:
        seconds: until the next try.
        only: in a `Batcher`, the items of the batch to try again; the others are done.

    Raises:
        TypeError: ``seconds`` is not a number, or ``only`` is not iterable.
        ValueError: ``seconds`` is negative or not finite, or ``only`` is empty.
    """

    seconds: float
    only: tuple[object, ...] | None = attrs.field(default=None, kw_only=True, converter=_as_tuple)

    def __attrs_post_init__(self) -> None:
        value: object = self.seconds
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            message = f"Backoff takes a number of seconds, got {value!r}"
            raise TypeError(message)
        if not 0 <= value <= sys.float_info.max:
            message = f"Backoff takes a finite number of seconds >= 0, got {value!r}"
            raise ValueError(message)
        if self.only is not None and not self.only:
            message = "only must have the items to try again, got none: return HALT, or no only"
            raise ValueError(message)


class Directive:
    """A handler's return value that is an instruction and not the reply itself."""

    __slots__ = ()


@attrs.frozen(init=False)
class Emit(Directive):
    """Call the worker's callback ``name`` with ``args``; what it returns is the job's reply."""

    name: str
    args: tuple[object, ...]

    def __init__(self, name: str, *args: object) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "args", args)


@attrs.frozen
class Exit(Directive):
    """End this worker once this job is done; ``reply`` is the job's reply."""

    reply: object = None


@attrs.frozen
class Stop(Directive):
    """Close the component once this job is done; what it accepted is finished first."""

    reply: object = None


@attrs.frozen(init=False)
class Reschedule(Directive):
    """From a scheduled job: ``Reschedule(trigger)`` changes its own trigger, for good.

    ``Reschedule(name, trigger)`` sets the trigger of another job, which need not exist yet.

    Args:
        name: the other job.
        trigger: whatever a scheduler takes as one: seconds, a cron expression, a date.
    """

    name: str | None
    trigger: object

    @overload
    def __init__(self, trigger: object, /) -> None: ...
    @overload
    def __init__(self, name: str, trigger: object, /) -> None: ...
    def __init__(self, first: object, second: object = attrs.NOTHING, /) -> None:
        alone = second is attrs.NOTHING
        object.__setattr__(self, "name", None if alone else first)
        object.__setattr__(self, "trigger", first if alone else second)
