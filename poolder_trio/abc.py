"""The contracts of what users may bring of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

__all__ = [
    "Codec",
    "Dispatch",
    "Executor",
    "Instrument",
    "Run",
    "StateBackend",
    "StateSource",
    "Trigger",
]

T = TypeVar("T")


@runtime_checkable
class Dispatch(Protocol):
    """Chooses the worker for a job. Set as a pool's ``mode``."""

    def pick(self, key: object, now: float, loads: Sequence[int]) -> int:
        """Return the index of a worker, from 0 to ``len(loads) - 1``; it must not wait.

        Args:
            key: the job's key: ``key=`` of the send, else the pool's ``key(job)``, else the job.
            now: Trio's clock, in seconds.
            loads: waiting + running jobs of each live worker, by seat; read it, do not keep it.
        """
        ...


class Instrument:
    """Watches a component. Subclass it and override the hooks you want; each must return soon.

    ``source`` is the component; ``job`` is its record, whose ``message`` is what was sent.
    A hook that raises is logged, and its instrument is removed from that component.
    """

    def job_submitted(self, source: object, job: object) -> None:
        """``job`` was accepted."""

    def job_started(self, source: object, job: object, worker: object) -> None:
        """An attempt at ``job`` begins on ``worker``; ``job.attempt`` says which."""

    def job_retried(self, source: object, job: object, error: Exception, wait: float) -> None:
        """An attempt failed with ``error``; the next comes in ``wait`` seconds."""

    def job_done(self, source: object, job: object) -> None:
        """``job`` completed."""

    def job_failed(self, source: object, job: object, error: Exception) -> None:
        """``job`` failed, or was halted, with ``error``."""

    def job_dropped(self, source: object, job: object, reason: str) -> None:
        """``job`` ended without a result.

        ``reason`` is the queue's rule that dropped it, ``"cancelled"`` or ``"abandoned"``.
        """

    def batch_flushed(self, source: object, batch: object) -> None:
        """``batch`` is complete and goes to be handled; ``batch.reason`` says why.

        In a batcher, the ``job`` of the other hooks is that of a whole batch, its ``message``.
        """

    def schedule_fired(self, source: object, name: str, due: datetime) -> None:
        """The scheduled job ``name``, due at ``due`` (in UTC), is to run."""

    def schedule_missed(
        self, source: object, name: str, due: datetime, count: int, why: str
    ) -> None:
        """``count`` firings of ``name``, of which the first was due at ``due``, do not run.

        ``why`` is ``"missed"`` (too late, or one run stands for several) or ``"skipped"``.
        """

    def worker_started(self, source: object, worker: object) -> None:
        """``worker`` is ready: its ``handle_init`` has returned."""

    def worker_stopped(self, source: object, worker: object) -> None:
        """``worker`` ended, for whatever reason."""

    def worker_crashed(self, source: object, worker: object, error: Exception) -> None:
        """``worker`` ended by ``error``; ``restart`` decides what follows."""


class Run(Protocol):
    """Runs functions in the place that an `Executor` opened."""

    async def __call__(self, fn: Callable[..., T], args: tuple[object, ...]) -> T:
        """Return what ``fn(*args)`` returns, or raise what it raises.

        Cancelled, it ends the function where it runs, as far as that place allows, and leaves.

        Raises:
            WorkerCrashed: what ran the function died under it.
        """
        ...


@runtime_checkable
class Executor(Protocol):
    """Where functions run, if not in tasks of this Trio. It only describes, and holds no state."""

    def check(self, fn: object) -> None:
        """Raise ``TypeError`` if ``fn`` cannot run here, and say what can; it must not wait.

        Called for each function when it is sent, unless it is the same as the one before.
        """
        ...

    def open(self, *, idle: float) -> AbstractAsyncContextManager[Run]:
        """Open the place, for as long as a component is open.

        Args:
            idle: seconds after which what is idle there may end; it comes back when needed.
        """
        ...


@runtime_checkable
class Trigger(Protocol):
    """Says when something is to happen. It only describes, and holds no state."""

    def next(self, after: datetime) -> datetime | None:
        """Return the first moment after ``after``, never ``after`` itself; ``None``: never again.

        Asked with what it returned, it goes on to the one after that. It must not wait.

        Args:
            after: an aware datetime in UTC, as is what it returns.
        """
        ...


@runtime_checkable
class Codec(Protocol):
    """Turns a state to bytes and back."""

    def encode(self, state: object, /) -> bytes:
        """Return ``state`` as bytes from which `decode` makes an equal one; raise if it can't."""
        ...

    def decode(self, data: bytes, /) -> object:
        """Return the state that ``data`` was made of; raise if it was not."""
        ...


@runtime_checkable
class StateBackend(Protocol):
    """Keeps one state, which others may change as well; its versions tell whether they have.

    The first state that is stored has version 1, and each store makes the next version.
    """

    async def load(self) -> tuple[object, int]:
        """Return the state that was stored last, and its version.

        ``(None, 0)`` says that nothing was stored yet: a state may be ``None`` as well, so it is
        the version that tells. What is returned is stored for good: no crash takes it back.
        """
        ...

    async def store(self, state: object, expected_version: int) -> bool:
        """Store ``state`` if the version is still the expected one, and return whether it was.

        A version of 0 is expected where nothing was stored yet. Returns when it is stored for good.
        When it raises because the way to the state was lost, it may have been stored. Cancelled,
        it leaves before it stores, or when that is decided.
        """
        ...


@runtime_checkable
class StateSource(StateBackend, Protocol):
    """A backend that only describes where the state is; who uses it opens it first."""

    def open(self) -> AbstractAsyncContextManager[StateBackend]:
        """Open it, for as long as a component is open."""
        ...
