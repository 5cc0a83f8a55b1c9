"""One function and many inputs: a call for each, made when it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

from poolder_trio.kernel.job import NO_RANK, Call, Job

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextvars import Context

    from poolder_trio.kernel.mailbox import Mailbox


class Calls(Sequence[Call]):
    """Calls of ``fn`` with each of ``inputs``, all in copies of one context.

    As a list they would take more time and memory than the jobs that are made of them.
    """

    __slots__ = ("_context", "_fn", "_inputs")

    def __init__(self, fn: Callable[..., Any], inputs: Iterable[object], context: Context) -> None:
        self._fn = fn
        self._inputs = tuple(inputs)
        self._context = context

    def __len__(self) -> int:
        return len(self._inputs)

    @overload
    def __getitem__(self, index: int) -> Call: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Call]: ...
    def __getitem__(self, index: int | slice) -> Call | Sequence[Call]:
        if isinstance(index, slice):
            return Calls(self._fn, self._inputs[index], self._context)
        return Call(self._fn, (self._inputs[index],), self._context)

    def __iter__(self) -> Iterator[Call]:
        fn, context = self._fn, self._context
        return (Call(fn, (each,), context) for each in self._inputs)

    def jobs(self, box: Mailbox) -> list[object]:
        """Return a record of each call, which waits in ``box`` and somebody awaits."""
        fn, context = self._fn, self._context
        return [Job(fn, box, True, NO_RANK, (each,), context) for each in self._inputs]  # noqa: FBT003
