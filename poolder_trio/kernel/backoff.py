"""A job between two tries: off its worker, and back in its waiting room when its time comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from typing import Any

    from poolder_trio.kernel.job import Job
    from poolder_trio.kernel.mailbox import Mailbox


class BackOff:
    """Holds a job until its next try. It keeps its place in the ``max`` of its waiting room."""

    __slots__ = ("_box", "_job", "_timer")

    @trio.lowlevel.enable_ki_protection
    def __init__(self, job: Job[Any], box: Mailbox, seconds: float) -> None:
        self._job = job
        self._box = box
        job.place = self
        job.status = "backing-off"
        box.room.reserved += 1
        box.rearm()
        box.crew.backing_off[self] = None
        self._timer = box.crew.timers.at(trio.current_time() + seconds, self._over)

    def _over(self) -> None:
        self._leave()
        self._job.status = "waiting"
        self._box.crew.restore(self._box, self._job)
        self._box.admit()
        self._box.crew.check_idle()

    @trio.lowlevel.enable_ki_protection
    def withdraw(self, job: Job[Any]) -> bool:
        """End the job."""
        self._timer.cancel()
        self._leave()
        self._box.crew.ledger.cancel(job, "backed off")
        self._box.admit()
        self._box.crew.check_idle()
        return True

    def end(self) -> None:
        """End the job because its component is cancelled."""
        self.withdraw(self._job)

    def _leave(self) -> None:
        del self._box.crew.backing_off[self]
        self._box.room.reserved -= 1
