"""Another number of workers: those that are missing start at once, and the last wish counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from poolder_trio.kernel import inside

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.seat import Seat


def begin(crew: Crew, size: int) -> tuple[object, list[Seat]]:
    """Note that ``size`` workers are wanted, whatever was before; return the wish.

    Those that start by an earlier wish, and are too many by this one, are given up: their seats
    are returned, too.
    """
    crew.wish = wish = object()
    return wish, crew.give_up(len(crew.live) + len(crew.growing) - size)


async def grow(
    crew: Crew, size: int, wish: object, start: Callable[[int], Awaitable[object]]
) -> None:
    """Start what is missing, and wait until all are ready, unless there is another wish by then.

    Args:
        crew: whose workers they are.
        size: how many there are to be.
        wish: what `begin` returned.
        start: starts so many, and returns when they are ready.

    Raises:
        RuntimeError: a worker that is getting ready asks, and would wait for itself.
    """
    while crew.wish is wish and len(crew.live) < size:
        # Who was cancelled together with the component is told that, and not that it has closed.
        await trio.lowlevel.checkpoint_if_cancelled()
        missing = size - len(crew.live) - crew.starting.value
        if missing > 0:
            await start(missing)
        else:
            # Others have begun to start enough; if these fail, it is for us to start some.
            inside.refuse_while_starting(crew, "a resize to so many")
            await crew.starting.wait_transition()
