"""The words with which handlers tell their component what to do next."""

from __future__ import annotations

import enum
import inspect
import sys
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, overload

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class ErrorVerdict(enum.Enum):
    """What ``handle_error`` may answer besides ``Backoff(...)`` and ``None``: `RETRY`, `HALT`."""

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
    """Call the worker's callback ``name`` with ``args``; what it returns is the job's reply.

    Args:
        name: of one of the worker's ``callbacks``; another is a ``LookupError``, as if the handler
            had raised it.
        args: positional arguments of the callback.
    """

    name: str
    args: tuple[object, ...]

    def __init__(self, name: str, *args: object) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "args", args)


@attrs.frozen
class Exit(Directive):
    """End this worker once this job is done; ``reply`` is the job's reply.

    A scheduled job is fired no more. A `Batcher` is closed.
    """

    reply: object = None


@attrs.frozen
class Stop(Directive):
    """Close the component once this job is done; what it accepted is finished first.

    ``reply`` is the job's reply. From a job of a pool's ``schedules``, it ends these alone; from a
    child of a `FactoryPool`, its group.
    """

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


S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)


@attrs.frozen
class Update(Directive, Generic[S, R_co]):
    """From a handler of a `GenPool`: change the state by ``fn``, whatever it has become meanwhile.

    Args:
        fn: a function from a state to the next. It may be called more than once: it must not do
            anything else.
        reply: what the caller gets, or a function that makes it of the new state.

    Raises:
        TypeError: ``fn`` is not a plain function.
    """

    fn: Callable[[S], S]
    reply: R_co | Callable[[S], R_co] | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        fn: object = self.fn
        if not callable(fn) or inspect.iscoroutinefunction(fn):
            if inspect.iscoroutine(fn):
                fn.close()  # nobody awaits it
            message = f"Update takes a plain function of the state, got {fn!r}"
            raise TypeError(message)


class _Same(enum.Enum):
    """Says that there is no new state, where ``None`` would be one."""

    SAME = "the same state"


SAME = _Same.SAME


@attrs.frozen
class Continue(Directive, Generic[S, R_co]):
    """From ``init`` or a handler of a `GenPool`: run ``handle_continue(arg, state)`` next.

    Args:
        arg: what it is given.
        state: the new state; without it, the state is as it was. From ``init`` it is the first.
        reply: what the caller gets, at once.
    """

    arg: object
    state: S | Literal[_Same.SAME] = attrs.field(default=SAME, kw_only=True)
    reply: R_co | None = attrs.field(default=None, kw_only=True)
