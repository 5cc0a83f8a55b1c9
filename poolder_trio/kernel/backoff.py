"""A job between two tries: off its worker, and back in its waiting room when its time comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import trio

from poolder_trio.kernel import aside

if TYPE_CHECKING:
    from typing import Any

    from poolder_trio.kernel.job import Job, Status
    from poolder_trio.kernel.mailbox import Mailbox


class BackOff:
    """Holds a job until its next try. It keeps its place in the ``max`` of its waiting room."""

    __slots__ = ("_job", "_timer", "box")

    status: ClassVar[Status] = "backing-off"

    @trio.lowlevel.enable_ki_protection
    def __init__(self, job: Job[Any], box: Mailbox, seconds: float) -> None:
        self._job = job
        self.box = box
        job.place = self
        box.room.reserved += 1
        box.rearm()
        box.crew.backs_off(self, job)
        self._timer = box.crew.timers.at(trio.current_time() + seconds, self._over)

    @aside.whole
    def _over(self) -> None:
        self._leave()
        self.box.crew.restore(self.box, self._job)
        self.box.admit()
        self.box.crew.check_idle()

    @aside.whole
    def withdraw(self, job: Job[Any]) -> bool:
        """End the job."""
        self._timer.cancel()
        self._leave()
        self.box.crew.ledger.cancel(job, "backed off")
        self.box.admit()
        self.box.crew.check_idle()
        return True

    def end(self) -> None:
        """End the job because its component is cancelled."""
        self.withdraw(self._job)

    def _leave(self) -> None:
        del self.box.crew.backing_off[self]
        self.box.room.reserved -= 1
