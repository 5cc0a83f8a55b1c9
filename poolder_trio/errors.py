"""Every error that poolder_trio raises on its own account.

::

    PoolderError
    ├── Closed                  (also trio.ClosedResourceError)
    ├── QueueFull               (also trio.WouldBlock)
    ├── TooManyRequests         refused or dropped by a queue's rule
    ├── DuplicateName           (also ValueError)
    ├── RestartLimitExceeded    carries the crashes that led to it
    └── JobError                what a job ends with when it has no exception of its own
        ├── JobNotDone          its result was asked for too early
        ├── JobHalted           handle_error gave it up; the error is the cause
        ├── JobCancelled        it was withdrawn, or cut while it ran
        ├── JobAbandoned        it was accepted and never ran
        ├── JobTimeout          (also trio.TooSlowError) it ran longer than job_timeout
        └── WorkerCrashed       its worker died under it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Sequence


class PoolderError(Exception):
    """The root of this library's errors."""


class Closed(PoolderError, trio.ClosedResourceError):
    """The component, or the worker that was addressed, takes no more work."""


class QueueFull(PoolderError, trio.WouldBlock):
    """The waiting room is full, and a ``_nowait`` method does not wait for space."""


class TooManyRequests(PoolderError):
    """A queue's rule refused or dropped the work.

    Attributes:
        rule: the rule that decided: ``"reject"``, ``"drop_oldest"``, ``"drop_newest"``,
            ``"timeout"`` or ``"codel"``.
        waited: seconds that the work had waited when it was dropped; 0.0 if it was refused
            on arrival; ``None`` where the queue's rule takes no times.
        waiting: how many others waited at that moment.
    """

    def __init__(self, rule: str, waited: float | None, waiting: int) -> None:
        super().__init__(rule, waited, waiting)
        self.rule = rule
        self.waited = waited
        self.waiting = waiting

    def __str__(self) -> str:
        waited = "" if self.waited is None else f" after {self.waited:.3g} s"
        return f"dropped by the queue's rule {self.rule!r}{waited}, with {self.waiting} waiting"


class DuplicateName(PoolderError, ValueError):
    """A component of this name is already open in this Trio run."""


class RestartLimitExceeded(PoolderError):
    """Workers crashed more often than ``restart=`` allows.

    Attributes:
        crashes: the exceptions that were counted, oldest first.
    """

    def __init__(self, message: str, crashes: Sequence[Exception]) -> None:
        self.crashes = tuple(crashes)
        super().__init__(message, self.crashes)

    def __str__(self) -> str:
        return str(self.args[0])


class JobError(PoolderError):
    """A job has no result, and no exception of its own to raise instead."""


class JobNotDone(JobError):
    """The job's result was asked for before it ended."""


class JobHalted(JobError):
    """``handle_error`` gave the job up; the handler's error is this error's cause."""


class JobCancelled(JobError):
    """The job was withdrawn while it waited, or cut while it ran."""


class JobAbandoned(JobError):
    """The job was accepted, but its component ended before it ran."""


class JobTimeout(JobError, trio.TooSlowError):
    """An attempt at the job ran longer than ``job_timeout``."""


class WorkerCrashed(JobError):
    """The job's worker, or the process it ran in, died under it."""
