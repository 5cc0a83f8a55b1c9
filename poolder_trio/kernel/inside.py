"""Whose handler is running: so that waiting for oneself is refused and not a hang."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.seat import Seat

#: The seats whose handlers wait for the code that reads this, the innermost last. Handlers open
#: nurseries of their own, whose tasks inherit it. So do tasks that a handler starts elsewhere, for
#: which it does not wait: see `_marks`.
_seats: ContextVar[tuple[Seat, ...]] = ContextVar("poolder_trio.seats", default=())
#: In the context of a call that was submitted: the seats whose handlers wait for it.
_callers: ContextVar[tuple[Seat, ...]] = ContextVar("poolder_trio.callers", default=())


def enter(seat: Seat, outer: tuple[Seat, ...]) -> None:
    """Mark this task, and what it starts from here on, as the handler of ``seat``."""
    _seats.set((*outer, seat))


def take_over(seat: Seat) -> None:
    """Mark the current context, a copy of a submitter's, as that of a function on ``seat``."""
    _seats.set((*seat.crew.outer, *_callers.get(), seat))
    _callers.set(())


def call() -> None:
    """Mark the current context, to be submitted, as that of a function that its caller awaits."""
    _callers.set(waiting_seats())


def _marks() -> tuple[Seat, ...]:
    """Return the seats whose handlers wait for the code that asks, the innermost last.

    A handler waits for the tasks in the nurseries that it has opened and not left. One that it
    started in another, the worker's own or somebody else's, may outlive it: it is a stranger.
    Where the innermost waits, so do those who opened its component, or called it.
    """
    seats = _seats.get()
    if not seats:
        return seats
    for count in range(len(seats), 0, -1):
        if _waits(seats[count - 1]):
            return seats[:count]
    return ()


def _waits(seat: Seat) -> bool:
    """Tell whether the handler on ``seat`` waits for the task that asks."""
    if seat.elsewhere:
        return seat.busy  # the thread that it waits for reaches Trio by a task of its own
    return awaited_by(seat.home, seat.below)


def awaited_by(home: trio.lowlevel.Task | None, below: int = 0) -> bool:
    """Tell whether the code that asks runs in ``home``, or in a nursery of it.

    Args:
        home: a task.
        below: how many of its nurseries do not count, from the outermost.
    """
    task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
    while task is not None:
        if task is home:
            return True
        nursery = task.parent_nursery
        task = None if nursery is None else nursery.parent_task
        if task is home and task is not None:
            return nursery in task.child_nurseries[below:]
    return False


def waiting_seats() -> tuple[Seat, ...]:
    """Return the seats that have a job in hand which waits for the code that asks.

    What a worker opened outside of a job (in its ``handle_init``, say) is not waited for.
    """
    return tuple(seat for seat in _marks() if seat.busy)


def anywhere() -> bool:
    """Tell whether the code that asks may run in a handler at all; it is quick to say no."""
    return bool(_seats.get())


def inside(crew: Crew) -> bool:
    """Tell whether the code that asks runs in a handler of this crew, or of its family."""
    family = crew.family
    if family is None:
        return any(seat.crew is crew for seat in _marks())
    return any(seat.crew is crew or seat.crew.family is family for seat in _marks())


def in_family(family: object) -> bool:
    """Tell whether the code that asks runs in a handler of a crew of this family."""
    return any(seat.crew.family is family for seat in _marks())


def on(place: object) -> bool:
    """Tell whether ``place`` is a seat whose handler runs the code that asks."""
    return place in _marks()


def refuse_inside(crew: Crew, what: str) -> None:
    """Raise ``RuntimeError`` if a handler of ``crew`` asks: it would wait for itself."""
    if inside(crew):
        raise RuntimeError(_hopeless(crew, what))


def refuse_while_starting(crew: Crew, what: str) -> None:
    """Raise ``RuntimeError`` if a worker of ``crew`` asks that is not ready: it would wait."""
    if any(seat.crew is crew and not seat.opened for seat in _seats.get()):
        raise RuntimeError(_hopeless(crew, what))


def refuse_on(seat: Seat, what: str) -> None:
    """Raise ``RuntimeError`` if the handler on ``seat`` asks: it would wait for itself."""
    if seat in _marks():
        raise RuntimeError(_hopeless(seat.crew, what))


class waiting_for:  # noqa: N801  # used as a function: ``with waiting_for(crew, box, what):``
    """Surround a wait for the workers that serve ``box``.

    A class: ``contextlib.contextmanager`` assigns to the exceptions that pass through it, and some
    refuse that.

    Raises:
        RuntimeError: (on entering) a handler of ``crew`` asks, and every worker that could serve
            it waits likewise: for itself, in the end.
    """

    __slots__ = ("_box", "_crew", "_seat", "_what")

    def __init__(self, crew: Crew, box: Mailbox, what: str) -> None:
        self._crew = crew
        self._box = box
        self._what = what
        self._seat: Seat | None = None

    def __enter__(self) -> None:
        crew, box = self._crew, self._box
        seat = next((seat for seat in reversed(_marks()) if seat.crew is crew), None)
        if seat is None:
            return
        servers = [other for other in crew.live if other.box is box]
        stuck = all(other is seat or crew.stuck[other] for other in servers)
        if seat.box is box and stuck and crew.vacancies <= 0:
            raise RuntimeError(_hopeless(crew, self._what))
        crew.stuck[seat] += 1
        self._seat = seat

    def __exit__(self, *_: object) -> None:
        seat, self._seat = self._seat, None
        if seat is not None:
            stuck = self._crew.stuck
            stuck[seat] -= 1
            if not stuck[seat]:
                del stuck[seat]


def _hopeless(crew: Crew, what: str) -> str:
    return (
        f"{what} from inside a handler of {crew.name} would wait for that very handler, for ever: "
        f"return first and do it elsewhere, or in the form that does not wait"
    )
