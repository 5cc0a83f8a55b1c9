"""The life of a component: opened, left, closed, cancelled. Every component is a nursery."""

from __future__ import annotations

import enum
import math
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, ClassVar, Protocol

import trio

from poolder_trio.errors import Closed
from poolder_trio.kernel import registry
from poolder_trio.kernel.accounts import Tally
from poolder_trio.kernel.home import Home
from poolder_trio.kernel.notes import printable
from poolder_trio.kernel.opening import Opening
from poolder_trio.kernel.options import Options
from poolder_trio.policies import checks

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import NoReturn

    import trio_util
    from typing_extensions import Self

    from poolder_trio.kernel.accounts import ShutdownReport, Statistics


class Stage(enum.Enum):
    """How far a component's life is."""

    NEW = enum.auto()
    OPENING = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()
    ENDED = enum.auto()


#: What is told to those who use a component at the wrong time.
_NOT_OPEN = {
    Stage.NEW: "is not open: enter it with `async with` first",
    Stage.OPENING: "is not open yet: its workers are still starting",
    Stage.CLOSING: "is closing and accepts no more",
    Stage.ENDED: "has ended: enter it again to use it again",
}


class Engine(Protocol):
    """What runs the work of one opening of a component."""

    tally: Tally
    ended: trio_util.AsyncValue[bool]

    def statistics(self) -> Statistics:
        """Return the counts of this moment."""
        ...

    def unseen(self) -> Sequence[Exception]:
        """Return the failures that nobody has looked at."""
        ...

    def pause(self) -> None:
        """Start no more work."""
        ...

    def resume(self) -> None:
        """Start work again."""
        ...

    def close(self) -> None:
        """Finish what was accepted, then end."""
        ...

    def cancel(self) -> None:
        """End at once."""
        ...

    def refuse_own_wait(self, what: str) -> None:
        """Raise ``RuntimeError`` if a handler of this engine asks to ``what``."""
        ...

    async def wait_idle(self) -> None:
        """Wait until there is nothing to do."""
        ...


class Service(Options):
    """What all components share: options, a name, and a life that is an ``async with`` block.

    To enter it waits until it is ready. To leave it waits until what was accepted has ended, and
    then nothing of it runs; what is left after ``grace`` seconds is cancelled. An exception, or a
    cancellation from outside, cancels at once. What leaves the block is in an ``ExceptionGroup``.
    A component that has ended may be entered again, and begins anew.

    Options:
        name: by which `whereis` finds it while it is open.
        grace: seconds that leaving the block waits for what was accepted.

    Raises:
        RuntimeError: (on entering) it is open already.
        DuplicateName: (on entering) another one of its name is open.
    """

    OPTIONS: ClassVar[Mapping[str, checks.Check]] = {
        "name": checks.Check("a str or None", lambda v: v is None or isinstance(v, str)),
        "grace": checks.SECONDS,
    }

    name: str | None = None
    grace: float = math.inf

    _stage = Stage.NEW
    _engine: Engine | None = None
    _entering: Opening | None = None
    #: Whether it is to be closed as soon as it is open.
    _closes_early = False
    _is_left = False
    _exit: AsyncExitStack
    _home: Home | None = None

    async def _start(self, nursery: trio.Nursery) -> Engine:
        """Build this opening's engine; return when it is ready."""
        raise NotImplementedError

    async def _prepare(self, stack: AsyncExitStack) -> None:
        """Enter what has to outlive the component's tasks."""

    async def _furnish(self, stack: AsyncExitStack) -> None:
        """Enter what is to be left when the work has ended, inside of the component's tasks."""

    async def _opened(self) -> None:
        """Run the component's own hook, once it can be used."""

    def _leaving(self) -> None:
        """The block begins to be left; what was accepted goes on."""

    async def _settled(self) -> None:
        """Wait for what remains when the work has ended; ``grace`` is for this, too."""

    @property
    def _title(self) -> str:
        return printable(self.name or type(self).__name__)

    def _refusal(self) -> Closed:
        return Closed(f"{self._title} {_NOT_OPEN[self._stage]}")

    # -- entering and leaving

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        self.require_described()
        if self._stage not in (Stage.NEW, Stage.ENDED):
            message = f"{self._title} is open already: make a second one to open it twice"
            raise RuntimeError(message)
        async with AsyncExitStack() as stack:
            opening = self._entering = Opening()
            stack.callback(self._entered)
            stack.enter_context(opening.scope)
            await self._enter(stack)
            # Whoever was cut until here has not entered; from here on the scope is left alone.
            await trio.lowlevel.checkpoint_if_cancelled()
            self._entered()
            self._exit = stack.pop_all()
            return self
        # It was cancelled before it was open, and nothing of it is left; the block goes on.
        async with AsyncExitStack() as stack:
            self._stage = Stage.CLOSING
            stack.callback(self._end)
            await stack.enter_async_context(trio.open_nursery())
            self._exit = stack.pop_all()
        return self

    async def _enter(self, stack: AsyncExitStack) -> None:
        if self.name is not None:
            registry.register(self.name, self)
            stack.callback(registry.unregister, self.name)
        self._home = Home(self._title)
        self._stage = Stage.OPENING
        self._is_left = self._closes_early = False
        self._engine = None
        stack.callback(self._end)
        stack.push(self._raise_unseen)
        await self._prepare(stack)
        nursery = await stack.enter_async_context(trio.open_nursery())
        await self._furnish(stack)
        stack.push_async_exit(self._leave)
        await self._start(nursery)
        self._stage = Stage.OPEN
        if self._closes_early:
            self.close()
        await self._opened()

    def _entered(self) -> None:
        if self._entering is not None:
            self._entering.over.set()
            self._entering = None

    if not TYPE_CHECKING:

        def __enter__(self) -> NoReturn:
            kind = type(self).__name__
            raise TypeError(f"a {kind} is entered with `async with`, got `with`")

        def __exit__(self, *_: object) -> None:
            """Nothing was entered."""

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._exit.__aexit__(exc_type, exc, traceback)

    @trio.lowlevel.enable_ki_protection
    async def _leave(
        self,
        exc_type: type[BaseException] | None,  # noqa: ARG002
        exc: BaseException | None,
        traceback: TracebackType | None,  # noqa: ARG002
    ) -> None:
        drained = False
        try:
            if exc is None and self._engine is not None:
                with trio.move_on_after(self.grace):
                    self._is_left = True
                    self._leaving()
                    self.resume()
                    await self._engine.wait_idle()
                    self.close()
                    await self._engine.ended.wait_value(True)  # noqa: FBT003
                    await self._settled()
                    drained = True
        finally:
            if not drained:
                self._stage = Stage.CLOSING
                self.cancel()

    def _raise_unseen(
        self,
        exc_type: type[BaseException] | None,  # noqa: ARG002
        exc: BaseException | None,
        traceback: TracebackType | None,  # noqa: ARG002
    ) -> None:
        """Let failures that nobody has looked at leave the block, beside what leaves it anyway."""
        unseen = [] if self._engine is None else self._engine.unseen()
        if not unseen:
            return
        if isinstance(exc, BaseExceptionGroup):
            raise exc.derive([*exc.exceptions, *unseen]) from exc.__cause__
        others = [] if exc is None else [exc]
        text = f"{self._title}: jobs failed, and nobody looked at them"
        raise BaseExceptionGroup(text, [*others, *unseen])

    def _end(self) -> None:
        self._stage = Stage.ENDED
        if self._engine is not None:
            # Where nothing ever ran, nothing has told those who wait for the end.
            self._engine.ended.value = True

    async def run(self, *, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED) -> None:
        """Be open until it was closed: ``pool = await nursery.start(Pool(...).run)``.

        Waits until its work has ended. ``nursery.start`` returns the component when it is ready.

        Args:
            task_status: what ``nursery.start`` passes.
        """
        async with self:
            task_status.started(self)
            await self.wait_closed()

    def _require_home(self) -> None:
        """Raise ``RuntimeError`` if it is open in another Trio run than this, if this is one."""
        if self._home is not None and self._stage not in (Stage.NEW, Stage.ENDED):
            self._home.require()

    # -- for users

    def close(self) -> None:
        """Accept no more. What was accepted is finished; the block goes on.

        A component that is paused resumes. One that is being opened is closed when it is open.
        """
        self._require_home()
        if self._stage is Stage.OPENING:
            self._closes_early = True
            return
        if self._stage is Stage.OPEN:
            self._stage = Stage.CLOSING
        if self._engine is not None:
            self._engine.close()

    def cancel(self) -> None:
        """Accept no more, abandon what waits, and cancel what runs. The block goes on.

        Of one that is being opened, the opening is cancelled, at once, and its block begins when
        nothing of it runs.
        """
        self._require_home()
        if self._entering is not None:
            self._entering.scope.cancel()
        if self._engine is not None and self._stage is not Stage.OPENING:
            self._engine.cancel()  # first: closing starts what a pause was holding up
        self.close()

    def pause(self) -> None:
        """Go on accepting, but start nothing. Of one that closes, or is left, this has no effect.

        Raises:
            Closed: it is not open.
        """
        self._require_home()
        if self._stage not in (Stage.OPEN, Stage.CLOSING):
            raise self._refusal()
        if self._engine is not None and self._stage is Stage.OPEN and not self._is_left:
            self._engine.pause()

    def resume(self) -> None:
        """Start what waits, and what comes. Closing, and leaving the block, resume, too.

        Raises:
            Closed: it is not open.
        """
        self._require_home()
        if self._stage not in (Stage.OPEN, Stage.CLOSING):
            raise self._refusal()
        if self._engine is not None:
            self._engine.resume()

    async def wait_idle(self) -> None:
        """Wait until nothing waits, backs off or runs.

        Raises:
            RuntimeError: called by a handler of this component, which would wait for itself.
        """
        if self._engine is None:
            await trio.lowlevel.checkpoint()
            return
        self._engine.refuse_own_wait("wait_idle()")
        await self._engine.wait_idle()

    async def wait_closed(self) -> None:
        """Wait until the component was closed and its work has ended.

        Raises:
            RuntimeError: called by a handler of this component, or by what is waited for before it
                is open, a ``handle_init`` say: they would wait for themselves.
        """
        opening = self._entering
        if opening is not None and opening.is_here():
            raise RuntimeError(
                f"wait_closed() from inside the opening of {self._title} would wait for that very "
                f"opening, for ever: return first"
            )
        if opening is not None and self._engine is None:
            await opening.over.wait()
        if self._engine is None:
            await trio.lowlevel.checkpoint()
            return
        self._engine.refuse_own_wait("wait_closed()")
        await self._engine.ended.wait_value(True)  # noqa: FBT003

    def statistics(self) -> Statistics:
        """Return the counts of this moment, or the last ones of a component that has ended."""
        return Tally().statistics(0, 0) if self._engine is None else self._engine.statistics()

    @property
    def report(self) -> ShutdownReport[object]:
        """What became of the jobs of this opening, or of the last one."""
        return (Tally() if self._engine is None else self._engine.tally).report()
