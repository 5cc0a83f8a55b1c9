"""Crews that come and go in one component: opened, summed up, and told of when a seat is left."""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Protocol

import attrs
import trio
import trio_util

from poolder_trio.errors import Closed
from poolder_trio.kernel import inside
from poolder_trio.kernel.accounts import Statistics, Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.seat import Handler, Seat
    from poolder_trio.kernel.service import Service

#: The components whose ``handle_down`` waits for the code that reads this, and its task.
_telling: ContextVar[tuple[tuple[object, trio.lowlevel.Task], ...]] = ContextVar(
    "poolder_trio.telling", default=()
)

_COUNTS = tuple(field.name for field in attrs.fields(Statistics))


class Group(Protocol):
    """A component whose crew is one of several."""

    #: Set when it can be used, or has ended before that.
    opened: trio.Event
    #: Why its seats are left, if it is not because of the component around it.
    reason: str | None

    @property
    def service(self) -> Service:
        """The component, to be entered."""
        ...

    @property
    def crew(self) -> Crew | None:
        """Its crew, if it has got that far."""
        ...

    def child_gone(self) -> None:
        """One of its seats is empty."""
        ...

    def group_gone(self) -> None:
        """Its tasks have ended."""
        ...


@attrs.define(eq=False)
class Child:
    """The role of one seat: who sits on it, for which group, and how it was left."""

    group: Group
    #: Makes the worker, and makes another after a crash.
    make: Callable[[Seat], Handler]
    terminated: bool = False
    #: Set when nobody sits here any more, and all that was to be told of it was told.
    down: trio.Event = attrs.Factory(trio.Event)


def role_of(seat: Seat) -> Child:
    """Return what the seat of a group is there for."""
    assert isinstance(seat.role, Child)
    return seat.role


class Groups:
    """The engine of a component made of groups; the family of their crews.

    Args:
        name: of the component.
        nursery: where all groups live, whoever starts them.
        handle_down: is called once for each child's end that is its own, with its seat and why.

    Attributes:
        tally: what became of the jobs of groups that have gone.
        members: the groups that have tasks, in the order of their start.
        nursery: where all groups live.
    """

    def __init__(
        self,
        name: str,
        nursery: trio.Nursery,
        handle_down: Callable[[Seat, Exception | str], Awaitable[None]],
    ) -> None:
        self.name = name
        self.tally = Tally()
        self.members: dict[Group, None] = {}
        self.closing = False
        self.paused = False
        self.ended = trio_util.AsyncValue(False)  # noqa: FBT003
        self.nursery = nursery
        self._handle_down = handle_down
        #: What starts a group, or ends a child, lends it neither its place nor its variables.
        self._context = copy_context()
        self._telling = trio_util.AsyncValue(0)

    # -- groups

    @trio.lowlevel.enable_ki_protection
    def open(self, group: Group) -> None:
        """Start a group; its event ``opened`` tells when it can be used, or has ended."""
        self.members[group] = None
        self._start(self._keep, group)

    def _start(self, fn: Callable[..., Awaitable[None]], *args: object) -> None:
        self._context.copy().run(self.nursery.start_soon, fn, *args)

    @trio.lowlevel.enable_ki_protection
    async def _keep(self, group: Group) -> None:
        """Keep a group open until it is closed. This is the task all its tasks are under."""
        try:
            async with group.service:
                if self.paused:
                    group.service.pause()
                if self.closing or group.reason is not None:
                    # It was told to end before its task had begun.
                    group.service.cancel()
                group.opened.set()
                await group.service.wait_closed()
        finally:
            self._gone(group)

    @trio.lowlevel.enable_ki_protection
    def _gone(self, group: Group) -> None:
        del self.members[group]
        if group.crew is not None:
            _add(self.tally, group.crew.tally)
        group.opened.set()
        group.group_gone()
        self._check_end()

    # -- children

    @trio.lowlevel.enable_ki_protection
    def departed(self, seat: Seat) -> None:
        """Tell of a seat that is empty; one that nobody was ready on was nobody's."""
        child = role_of(seat)
        reason = self._reason(seat, child)
        seat.crash = None
        if reason is None:
            child.down.set()
        else:
            self._telling.value += 1
            self._start(self._tell, seat, reason)
        child.group.child_gone()

    @staticmethod
    def _reason(seat: Seat, child: Child) -> Exception | str | None:
        if not seat.opened:
            return None
        if seat.crash is not None:
            return seat.crash
        if child.terminated:
            return "terminated"
        if seat.leaving and not seat.dismissed:
            return "exit"
        cut = seat.life.cancel_called or trio.current_effective_deadline() < trio.current_time()
        if child.group.reason is None and not (cut or seat.dismissed):
            return "exit"  # what it had in its stack has absorbed what ended it
        return None if cut and child.group.reason != "terminated" else child.group.reason

    async def _tell(self, seat: Seat, reason: Exception | str) -> None:
        _telling.set((*_telling.get(), (self, trio.lowlevel.current_task())))
        try:
            await self._handle_down(seat, reason)
        except Closed:
            # Whoever starts another child in place of this one cannot know that it is too late.
            if not self.closing:
                raise
        finally:
            role_of(seat).down.set()
            self._telling.value -= 1
            self._check_end()

    # -- what a component asks of its engine

    def total(self) -> Tally:
        """Return what became of the jobs of all groups, those that have gone included."""
        total = Tally()
        _add(total, self.tally)
        for crew in self._crews():
            _add(total, crew.tally)
        return total

    def _crews(self) -> list[Crew]:
        return [group.crew for group in self.members if group.crew is not None]

    def statistics(self) -> Statistics:
        """Return the counts of this moment, over all groups."""
        parts = [self.tally.statistics(0, 0), *(crew.statistics() for crew in self._crews())]
        return Statistics(**{name: sum(getattr(p, name) for p in parts) for name in _COUNTS})

    def unseen(self) -> list[Exception]:
        """Return nothing: what nobody has looked at leaves the group, and so this."""
        return []

    @trio.lowlevel.enable_ki_protection
    def pause(self) -> None:
        """Start no more jobs, in any group."""
        self.paused = True
        for crew in self._crews():
            crew.pause()

    @trio.lowlevel.enable_ki_protection
    def resume(self) -> None:
        """Start jobs again."""
        self.paused = False
        for crew in self._crews():
            crew.resume()

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Finish what was accepted, then end."""
        self.closing, self.paused = True, False
        for group in tuple(self.members):
            group.service.close()
        self._check_end()

    @trio.lowlevel.enable_ki_protection
    def cancel(self) -> None:
        """End at once."""
        self.closing = True
        for group in tuple(self.members):
            group.service.cancel()
        self._check_end()

    def _check_end(self) -> None:
        if self.closing and not self.members and not self._telling.value:
            self.ended.value = True

    def refuse_own_wait(self, what: str) -> None:
        """Raise ``RuntimeError`` if a child of any group, or ``handle_down``, asks."""
        told = any(one is self and inside.awaited_by(task) for one, task in _telling.get())
        if told or inside.in_family(self):
            where = f"{what} from inside a handler of {self.name}"
            message = f"{where} would wait for that very handler, for ever: return first"
            raise RuntimeError(message)

    async def wait_idle(self) -> None:
        """Wait until no group has anything to do, and nobody is told of a child that ended."""
        await trio.lowlevel.checkpoint()
        while True:
            for group in tuple(self.members):
                await group.opened.wait()
                if group.crew is not None and not group.crew.is_idle:
                    await group.crew.wait_idle()
            if self._telling.value:
                await self._telling.wait_value(0)
            elif self._is_idle:
                return

    @property
    def _is_idle(self) -> bool:
        return all(group.opened.is_set() for group in self.members) and all(
            crew.is_idle for crew in self._crews()
        )


def _add(total: Tally, part: Tally) -> None:
    total.completed += part.completed
    total.failed += part.failed
    total.cancelled += part.cancelled
    total.dropped += part.dropped
    total.abandoned.extend(part.abandoned)
