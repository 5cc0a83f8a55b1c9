"""Workers that run any number of jobs at once, and are no more than it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

import trio

from poolder_trio.kernel.crew import Crew
from poolder_trio.kernel.job import Job
from poolder_trio.kernel.runner import Runner
from poolder_trio.kernel.terms import ONE
from poolder_trio.verdicts import Directive, Emit

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.scheduled import Task
    from poolder_trio.kernel.seat import Seat
    from poolder_trio.kernel.spell import Spell
    from poolder_trio.policies.retry import Retry

#: How many workers stay when there is nothing to do.
_SPARE = 8


class Relay(Crew):
    """A crew of which one worker at most looks for work while all others are in handlers.

    Jobs that never wait are so run back to back by one worker, and each that waits costs one
    worker more, called in when it has begun: a task for each job would cost several times the job.
    Whoever is awake and in no handler looks into the waiting room before it rests; so only when
    nobody is, there is a vacancy.
    """

    leaves_to_rest = False
    #: How many workers are in a handler.
    in_hand = 0
    #: When the crew may rest; ``None``: never.
    spell: Spell | None = None

    @trio.lowlevel.enable_ki_protection
    def step_in(self) -> None:
        """Note that a worker goes into a handler, and see to it that what waits is looked at."""
        self.in_hand += 1
        self._offer()

    @trio.lowlevel.enable_ki_protection
    def step_out(self) -> None:
        """Note that a worker has left a handler: it looks for work now."""
        self.in_hand -= 1
        self.vacancies = 0
        if self.spell is not None and not self.in_hand:
            self.spell.interrupt()

    def _offer(self) -> None:
        self.vacancies = int(self.in_hand >= self.awake)
        assert self.shared is not None
        if self.vacancies and self.shared.room.ready:
            self.shared.start_one()
            self.vacancies = int(self.in_hand >= self.awake)

    @trio.lowlevel.enable_ki_protection
    def restore(self, box: Mailbox, item: object) -> None:
        """Put a job into the waiting room, or give it to a worker, if nobody is to look there."""
        if self.in_hand < self.awake and box.open and type(item) is Job:
            item.place = box
            box.room.restore(item, 0.0)  # no rule of this room asks about the time
        else:
            super().restore(box, item)

    def rests(self, seat: Seat) -> None:
        """Let a worker who is about to park go, if enough of them are parked."""
        if seat.box.parked > _SPARE:
            self.dismiss(seat)

    def _gone(self, seat: Seat) -> None:
        super()._gone(seat)
        # It may have been the one that was to look.
        if not self.ended.value:
            self._offer()


class Hooks(Protocol):
    """The component whose jobs they are."""

    retry: Retry
    priority: str
    hibernate_after: float

    async def handle_error(self, name: str, attempt: int, error: Exception, /) -> object:
        """Say what to do about a failed try."""
        ...

    async def handle_hibernate(self) -> None:
        """Rest."""
        ...


class RelayRunner(Runner):
    """Runs scheduled jobs on a seat.

    Args:
        seat: the seat.
        crew: its crew.
        hooks: the component.
        obey: does what a job's return value asks for, and returns the reply.
    """

    __slots__ = ("_crew", "_hooks", "_obey", "priority")

    def __init__(
        self, seat: Seat, crew: Relay, hooks: Hooks, obey: Callable[[str, object], object]
    ) -> None:
        super().__init__(seat, hooks.retry, hooks.hibernate_after, hooks.handle_error, None)
        self.priority = hooks.priority
        self._crew = crew
        self._hooks = hooks
        self._obey = obey

    @trio.lowlevel.disable_ki_protection
    async def handle_call(self, job: Job[Any]) -> object:
        """Run the job, in its context, and do as it says."""
        # What `Runner.handle_call` does, without the frame that it would take.
        self._crew.step_in()
        try:
            fn: Any = job.message
            given: Any = job.given
            if self.is_away(job.terms.context):
                await self.enter(job.terms.context)
            one = job.terms.form is ONE
            del job  # who keeps an error keeps this frame
            reply = await (fn(given) if one else fn(*given))
            if not isinstance(reply, Directive):
                return reply
            reply = self._obey(cast("Task", fn).name, reply)
            if isinstance(reply, Emit):
                message = f"{reply!r} means nothing to a scheduler: it has no callbacks"
                raise TypeError(message)
            return reply
        finally:
            self._crew.step_out()

    async def handle_error(self, call: Any, attempt: int, error: Exception) -> object:  # noqa: ANN401
        """Ask the component."""
        self._crew.step_in()
        try:
            return await super().handle_error(call, attempt, error)
        finally:
            self._crew.step_out()

    async def handle_hibernate(self) -> None:
        """Let the component rest, once per idle spell, if this is the last worker to idle."""
        spell = self._crew.spell
        assert spell is not None
        if spell.may_rest(self._hooks.hibernate_after):
            await self._rest()
        elif not spell.rested:
            # Others are at work, or were just before: ask again when that has been long enough.
            self._seat.hibernated = False
            self.hibernate_after = spell.left(self._hooks.hibernate_after)

    @trio.lowlevel.disable_ki_protection
    async def _rest(self) -> None:
        await self._hooks.handle_hibernate()
