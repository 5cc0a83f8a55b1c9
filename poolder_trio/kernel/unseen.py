"""Failed jobs that nobody has looked at: they leave the block when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolder_trio.errors import JobError
from poolder_trio.kernel.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from poolder_trio.kernel.job import Job

#: How many are kept; the others are counted. A traceback holds on to what its frames hold.
_KEPT = 100


class Unseen:
    """The first of them, and how many there are."""

    __slots__ = ("_count", "_kept")

    def __init__(self) -> None:
        self._count = 0
        self._kept: dict[Job[Any], None] = {}

    def add(self, job: Job[Any]) -> None:
        """Keep a job that has failed."""
        self._count += 1
        if len(self._kept) < _KEPT:
            self._kept[job] = None

    def remove(self, job: Job[Any]) -> None:
        """Forget a job: somebody looks at it."""
        self._count -= 1
        self._kept.pop(job, None)

    def errors(self) -> Iterator[Exception]:
        """Yield what the first of them failed with, and then one error that counts the others."""
        left = self._count - len(self._kept)
        for job in tuple(self._kept):
            job.look()
            error = job.value.again()
            add_note(error, "nobody looked at this failed job: wait() for it, or execute()")
            yield error
        if left:
            yield JobError(f"{left} more jobs failed, and nobody looked at them")
