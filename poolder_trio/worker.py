"""What users subclass to handle jobs."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import trio

from poolder_trio.kernel.notes import describe
from poolder_trio.kernel.options import Options
from poolder_trio.policies import checks
from poolder_trio.policies.retry import Retry
from poolder_trio.policies.slices import SLICES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AsyncExitStack

    from poolder_trio.verdicts import Backoff, Directive, ErrorVerdict

M = TypeVar("M")
R = TypeVar("R")

_CALLBACKS = checks.Check(
    "a mapping of names to functions",
    lambda v: isinstance(v, dict) and all(isinstance(k, str) and callable(v[k]) for k in v),
)
_HOOKS = (
    "handle_init",
    "handle_job",
    "handle_call",
    "handle_periodic_job",
    "handle_error",
    "handle_hibernate",
    "handle_stop",
)


class Worker(Options, Generic[M, R]):
    """Handles the jobs of a pool, one at a time, in the order sent. Its state is ``self``.

    ``Worker[M, R]`` takes messages of type ``M`` and replies with ``R``. Subclass it, write
    `handle_job`, and give the class to a pool, which makes one instance per seat; after a crash
    it makes a fresh one.

    Options are class attributes.

    Options:
        retry: a `Retry`: how often a job is tried.
        callbacks: functions, sync or async, that ``Emit(name, *args)`` calls by name.
        priority: a share of the event loop. All workers of a pool together hold it for at most
            1 ms per pass with ``"normal"``, 5 ms with ``"high"``, one job each with ``"low"``,
            and 50 ms with ``"max"``. The last makes everything else in the program wait that
            long, again and again: time-outs come late, and servers answer late.
        hibernate_after: seconds without a job after which `handle_hibernate` runs.

    Attributes:
        index: the number of the seat, from 0.
        name: ``"<pool>[<index>]"``.
        pool: the pool.
        stack: an ``AsyncExitStack`` that is closed when this worker ends: what is entered in
            `handle_init` is left then. A handler may enter a connection, say, that is opened
            late; nurseries, components and cancel scopes are for `handle_init` alone, and
            elsewhere a ``RuntimeError``.
    """

    OPTIONS: ClassVar[Mapping[str, checks.Check]] = {
        "retry": checks.instance_of(Retry, "a Retry"),
        "callbacks": _CALLBACKS,
        "priority": checks.one_of(*SLICES),
        "hibernate_after": checks.POSITIVE_SECONDS,
    }
    HOOKS: ClassVar[Iterable[str]] = _HOOKS

    retry: Retry = Retry()
    callbacks: Mapping[str, Callable[..., object]] = {}
    priority: str = "normal"
    hibernate_after: float = math.inf

    # There is nothing to describe, and what handlers keep on it costs what it costs elsewhere.
    _described = True
    if not TYPE_CHECKING:
        __setattr__, __delattr__ = object.__setattr__, object.__delattr__

    index: int
    name: str
    pool: Any
    stack: AsyncExitStack

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for name in cls.HOOKS:
            hook = cls.declared(name)
            # Workers are called from code that Ctrl-C does not interrupt; they are user code.
            if inspect.isfunction(hook):
                trio.lowlevel.disable_ki_protection(hook)

    # What it takes is the user's choice; with this signature, type checkers let any override it.
    async def handle_init(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Prepare the worker; the pool's ``args`` come as keyword arguments.

        What it raises fails the entering of the pool, or counts as a crash after a restart.
        """

    async def handle_job(self, job: M, /) -> R | Directive | None:
        """Handle a message that was cast. `handle_call` calls it too, unless that is overridden.

        The return value may be ``Emit``, ``Exit`` or ``Stop``; any other is the reply to a call.
        What it raises is a try that failed: `handle_error` is asked.
        """
        kind = type(self).__name__
        raise NotImplementedError(
            f"{kind} has no handle_job: write async def handle_job(self, job), which gets what is "
            f"cast or broadcast, or send it by call ({describe(job)})"
        )

    async def handle_call(self, request: M, /) -> R | Directive:
        """Handle a message that was called, and return the reply."""
        return await self.handle_job(request)  # type: ignore[return-value]  # a call has a reply

    async def handle_periodic_job(self, event: str, /) -> Any:  # noqa: ANN401  # overrides may say more
        """Handle a firing of the pool's ``schedules``, when the mode chose this worker for it.

        It may return ``Reschedule(trigger)`` to change the trigger of ``event`` for good,
        ``Reschedule(name, trigger)`` to set another's, ``Exit()`` to fire this one no more,
        ``Stop()`` to fire none any more, or ``Emit``. Here these end no worker and no pool.

        Args:
            event: the name that ``schedules`` gives it.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no handle_periodic_job: write async def "
            f"handle_periodic_job(self, event), which gets firings of schedules ({describe(event)})"
        )

    async def handle_error(
        self,
        job: M,  # noqa: ARG002
        attempt: int,  # noqa: ARG002
        error: Exception,  # noqa: ARG002
        /,
    ) -> ErrorVerdict | Backoff | None:
        """Say what to do about a try that failed: ``RETRY``, ``Backoff(seconds)``, ``HALT``.

        ``None`` does as ``retry`` says. What it raises fails the job.

        Args:
            job: the message; for a firing of the pool's ``schedules``, its name.
            attempt: which try it was, from 1.
            error: what it failed with.
        """
        return None

    async def handle_hibernate(self) -> None:
        """Rest: runs once when no job came for ``hibernate_after`` seconds, before the next job."""

    async def handle_stop(self) -> None:
        """Clean up: runs whenever the worker ends, for whatever reason, once it was ready.

        One whose `handle_init` has failed was not: what that entered in ``stack`` is left all the
        same. If the worker was cancelled, what waits in here is cancelled too, as in a ``finally``.
        """


def only_answers(worker: type[Worker[Any, Any]]) -> bool:
    """Tell whether a class handles calls, and nothing that is cast."""
    return worker.handle_job is Worker.handle_job
