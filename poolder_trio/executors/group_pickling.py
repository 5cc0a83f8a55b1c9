"""Groups of exceptions on their way between processes: tblib carries no `BaseExceptionGroup`."""

from __future__ import annotations

import copyreg
import sys
from typing import TYPE_CHECKING, Any

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from types import TracebackType


def install(error: BaseException) -> None:
    """Let the groups in ``error`` be pickled, those behind it included."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        left += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            left += each.exceptions
            if type(each).__reduce__ is BaseException.__reduce__:
                copyreg.pickle(type(each), _reduced)  # type: ignore[arg-type]  # it is no class


def _reduced(group: BaseExceptionGroup[Any]) -> tuple[object, ...]:
    links = (group.__cause__, group.__context__, group.__suppress_context__, group.__traceback__)
    return _rebuilt, (type(group), group.message, group.exceptions, group.__dict__, *links)


def _rebuilt(  # noqa: PLR0917  # what `_reduced` says
    kind: type[BaseExceptionGroup[Any]],
    message: str,
    exceptions: tuple[BaseException, ...],
    attributes: dict[str, object],
    cause: BaseException | None,
    context: BaseException | None,
    suppress_context: bool,  # noqa: FBT001
    traceback: TracebackType | None,
) -> BaseExceptionGroup[Any]:
    # Not `kind(...)`: a subclass may take other arguments.
    group = BaseExceptionGroup.__new__(kind, message, exceptions)
    group.__dict__.update(attributes)
    group.__cause__ = cause
    group.__context__ = context
    group.__suppress_context__ = suppress_context
    group.__traceback__ = traceback
    return group
