"""One function and many inputs: a call for each, made when it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

from poolder_trio.kernel.job import Call, Job
from poolder_trio.kernel.terms import ONE, Terms

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

    def jobs(self, box: Mailbox, *, awaited: bool) -> list[object]:
        """Return a record of each call, which waits in ``box``."""
        fn, terms = self._fn, Terms(awaited, ONE, self._context)
        jobs: list[object] = []
        for each in self._inputs:
            # What `record` does, without the call.
            job: Job[Any] = Job()
            job.message = fn
            job.place = box
            job.terms = terms
            job.given = each
            job.attempt = 0
            job.waits = None
            jobs.append(job)
        return jobs
