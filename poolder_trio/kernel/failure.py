"""An exception as it was raised first, for whoever is told of it, however often."""

from __future__ import annotations

from contextlib import suppress
from types import MemberDescriptorType, TracebackType
from typing import Any, Generic, TypeVar

import trio

E = TypeVar("E", bound=BaseException)

#: What Python itself keeps beside an exception's own attributes.
_LINKS = ("__cause__", "__context__", "__suppress_context__")


class Failure(Generic[E]):
    """What came of a job that has no result.

    Each raise makes a traceback longer by the frames that it passes through, and those hold on to
    what their variables hold. So nothing is kept here that was handed out: where an exception can
    be copied, a copy that nobody has raised stays behind. Where it can't, the same one is handed
    out each time, with the traceback that it had.

    Attributes:
        error: the exception.
        traceback: as it was raised first.
        sharers: how many jobs have ended by it.
    """

    __slots__ = ("error", "sharers", "traceback")

    def __init__(self, error: E, sharers: int = 1) -> None:
        self.error = error
        self.traceback = error.__traceback__
        self.sharers = sharers

    def again(self) -> E:
        """Return what to raise, and be ready to be asked again."""
        error = self.error
        twin = copied(error)
        if twin is not None:
            self.error = twin
        return _raised(error, self.traceback)

    def another(self) -> E:
        """Return what to raise while somebody else has the first one."""
        twin = copied(self.error)
        return _raised(self.error if twin is None else twin, self.traceback)

    def once(self) -> E:
        """Return what to raise at the one caller of a job, who alone asks for it."""
        if self.sharers > 1:
            self.sharers -= 1
            return self.again()
        return _raised(self.error, self.traceback)


def _raised(error: E, traceback: TracebackType | None) -> E:
    """Return ``error`` as it was raised first, past any ``with_traceback`` of its own."""
    BaseException.with_traceback(error, traceback)
    return error


@trio.lowlevel.disable_ki_protection
def copied(error: E) -> E | None:
    """Return an exception that is as ``error`` was, without its traceback; ``None``: none can be.

    It is made as it is for pickle. A class whose ``__init__`` takes what it does not pass on can't
    be made so, or comes out as another exception, which is worse.
    """
    try:
        recipe: Any = error.__reduce_ex__(4)
        make, args, *_ = recipe
        twin: E = make(*args)
        if type(twin) is not type(error) or twin is error or not _same(twin.args, error.args):
            return None
        _fill(twin, error)
    except Exception:  # noqa: BLE001  # to copy runs code of any kind
        return None
    return twin


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return len(one) == len(other) and all(map(_alike, one, other))


def _alike(one: object, other: object) -> bool:
    # Plain values may have been made anew; what others compare is not asked.
    return one is other or (type(one) is type(other) and type(one) in _PLAIN and one == other)


_PLAIN = (str, int, float, bytes, bool)


def _fill(twin: BaseException, error: BaseException) -> None:
    """Set what an exception has, past any ``__setattr__`` that refuses it."""
    own = vars(twin)
    own.update(vars(error))
    if isinstance(own.get("__notes__"), list):
        own["__notes__"] = [*own["__notes__"]]  # each has notes of its own from here on
    for name in _LINKS:
        BaseException.__setattr__(twin, name, getattr(error, name))
    for kind in type(error).__mro__:
        for member in vars(kind).values():
            if type(member) is MemberDescriptorType:
                _move(member, twin, error)


def _move(member: MemberDescriptorType, twin: BaseException, error: BaseException) -> None:
    # A slot may be empty; what is read-only was given to the twin when it was made.
    with suppress(AttributeError):
        value = member.__get__(error)
        # An unset field of a builtin exception reads as None, and is another thing than None.
        if value is not None:
            member.__set__(twin, value)
