"""What sits on a seat of a batcher: it hands batches to the batcher's handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import trio

from poolder_trio.kernel.notes import add_note, describe
from poolder_trio.verdicts import Backoff, Directive, Exit, Stop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AsyncExitStack

    from poolder_trio.kernel.batches import Batches
    from poolder_trio.kernel.parcel import Parcel
    from poolder_trio.policies.retry import Retry


class Hooks(Protocol):
    """What a batcher tells its workers."""

    retry: Retry
    priority: str
    hibernate_after: float
    stream: bool

    async def handle_error(self, batch: Any, attempt: int, error: Exception, /) -> object:  # noqa: ANN401
        """Say what to do about a failed try."""
        ...

    async def handle_hibernate(self) -> None:
        """Rest."""
        ...


class BatchWorker:
    """Handles one batch at a time. There is nothing to restart: the state is the batcher's."""

    __slots__ = (
        "_crew",
        "_handle_batch",
        "_hooks",
        "hibernate_after",
        "index",
        "name",
        "priority",
        "retry",
        "stack",
    )

    callbacks: Mapping[str, Callable[..., object]] = {}
    stack: AsyncExitStack

    def __init__(
        self,
        crew: Batches,
        hooks: Hooks,
        handle_batch: Callable[..., Awaitable[object]],
        index: int,
        name: str,
    ) -> None:
        self.index, self.name = index, name
        self.retry = hooks.retry
        self.priority = hooks.priority
        self.hibernate_after = hooks.hibernate_after
        self._crew = crew
        self._hooks = hooks
        self._handle_batch = handle_batch

    async def handle_init(self) -> None:
        """Nothing to prepare."""

    async def handle_job(self, parcel: Parcel) -> Sequence[object] | None:
        """Handle a batch; return one result per item, or ``None`` if there are none."""
        self._crew.begin(parcel)
        value = await self._handle(parcel)
        if isinstance(value, Directive):
            value = self._obey(value)
        if isinstance(value, (list, tuple)) and len(value) == len(parcel):
            # Here, where the batch is in hand: what describes an item is user code.
            for item, result in zip(parcel, value, strict=True):
                if isinstance(result, Exception):
                    add_note(result, f"result of {describe(item)} in its batch")
            return value
        if parcel.callers:
            raise _wrong_results(value, len(parcel))
        return None

    async def handle_call(self, parcel: Parcel) -> Sequence[object] | None:
        """As `handle_job`."""
        return await self.handle_job(parcel)

    @trio.lowlevel.disable_ki_protection
    async def _handle(self, parcel: Parcel) -> object:
        return await self._handle_batch(parcel.hand_out(stream=self._hooks.stream))

    def _obey(self, directive: Directive) -> object:
        if isinstance(directive, (Exit, Stop)):
            self._crew.stop()
            return directive.reply
        message = f"{directive!r} means nothing to a batcher: return Stop(results), or the results"
        raise TypeError(message)

    async def handle_error(self, parcel: Parcel, attempt: int, error: Exception) -> object:
        """Ask the batcher; what it does not want again is done."""
        verdict = await self._ask(parcel, attempt, error)
        if not isinstance(verdict, Backoff) or verdict.only is None:
            return verdict
        self._crew.keep_only(parcel, verdict.only)
        return Backoff(verdict.seconds)

    @trio.lowlevel.disable_ki_protection
    async def _ask(self, parcel: Parcel, attempt: int, error: Exception) -> object:
        return await self._hooks.handle_error(parcel.hand_out(), attempt, error)

    async def handle_hibernate(self) -> None:
        """Let the batcher rest, once per idle spell, if it is the last of its workers to idle."""
        if self._crew.spell.may_rest(self.hibernate_after):
            await self._rest()

    @trio.lowlevel.disable_ki_protection
    async def _rest(self) -> None:
        await self._hooks.handle_hibernate()

    async def handle_stop(self) -> None:
        """Nothing to clean up."""


def _wrong_results(value: object, expected: int) -> Exception:
    wanted = (
        f"handle_batch must return a list of {expected} results, one per item in order, "
        f"because an item was sent by call()"
    )
    if isinstance(value, (list, tuple)):
        return ValueError(f"{wanted}; got {len(value)}")
    return TypeError(f"{wanted}; got {value!r}")
