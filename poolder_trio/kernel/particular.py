"""Sending to workers some of which only answer calls: a cast that nobody handles is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolder_trio.kernel.notes import describe
from poolder_trio.kernel.post import Post

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from poolder_trio.errors import Closed
    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.routing import Router


class Particular(Post):
    """Refuses a cast where it is sent, if whoever would get it has no handler for casts.

    A look at each is dear where all workers handle all: those have a plain `Post`.

    Args:
        only_answers: returns the class of who takes from a mailbox, if it only answers calls.
    """

    __slots__ = ("_only_answers",)

    def __init__(
        self,
        crew: Crew,
        router: Router,
        refusal: Callable[[], Closed],
        *,
        records: bool,
        uses_keys: bool,
        only_answers: Callable[[Mailbox], type | None],
    ) -> None:
        super().__init__(crew, router, refusal, records=records, uses_keys=uses_keys)
        self._only_answers = only_answers

    def _item(
        self,
        message: object,
        box: Mailbox,
        key: Hashable,
        priority: float | None,
        *,
        awaited: bool = False,
    ) -> object:
        self._require_handler(message, box)
        return super()._item(message, box, key, priority, awaited=awaited)

    def _put_in_each(
        self, boxes: list[Mailbox], message: object, key: Hashable, priority: float | None
    ) -> list[tuple[Mailbox, object]]:
        for box in boxes:  # before any of them gets it
            self._require_handler(message, box)
        return super()._put_in_each(boxes, message, key, priority)

    def _require_handler(self, message: object, box: Mailbox) -> None:
        """Raise ``TypeError`` if a cast cannot be handled; a call is not asked about here."""
        kind = self._only_answers(box)
        if kind is not None:
            raise TypeError(
                f"{kind.__name__} has no handle_job: write async def handle_job(self, job), which "
                f"gets what is cast or broadcast, or send it by call ({describe(message)})"
            )
