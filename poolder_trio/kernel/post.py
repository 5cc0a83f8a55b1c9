"""Sending: from a message to an accepted job, with or without waiting, with or without a reply."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import trio

from poolder_trio.errors import Closed, JobAbandoned, QueueFull, TooManyRequests
from poolder_trio.kernel import aside, inside
from poolder_trio.kernel.calls import Calls
from poolder_trio.kernel.job import Call, Job, record
from poolder_trio.kernel.senders import Parcel
from poolder_trio.kernel.terms import AWAITED, MESSAGE, SENT, Terms, form_of, packed
from poolder_trio.policies.ranked import PRIORITY

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from poolder_trio.abc import Dispatch
    from poolder_trio.kernel.crew import Crew
    from poolder_trio.kernel.mailbox import Mailbox
    from poolder_trio.kernel.routing import Router
    from poolder_trio.kernel.seat import Seat

_NO_GUARD = nullcontext()


class Post:
    """Takes messages to mailboxes.

    Args:
        crew: whose mailboxes they are.
        router: picks among them.
        refusal: returns the error for those who send when nothing is accepted.
        records: whether every message gets a `Job`, for instruments to see; a function gets one in
            any case.
        uses_keys: whether the router looks at keys.
    """

    __slots__ = (
        "_crew",
        "_functions",
        "_order",
        "_overflow",
        "_records",
        "_refusal",
        "_terms",
        "_uses_keys",
        "accepting",
        "looks_closer",
        "router",
    )

    def __init__(
        self,
        crew: Crew,
        router: Router,
        refusal: Callable[[], Closed],
        *,
        records: bool,
        uses_keys: bool,
    ) -> None:
        queue = crew.rules.queue
        self._crew = crew
        self._refusal = refusal
        self._order = queue.order
        self._overflow = queue.overflow
        self._uses_keys = uses_keys or crew.keyed or queue.order == "fair"
        #: The last terms that were plain: those of the next job are often the same.
        self._terms = SENT
        #: Whether a call's record needs more than the message: a key, or the time.
        self.looks_closer = queue.order == "fair" or queue.overflow != "wait"
        #: Whether messages are calls of functions.
        self._functions = crew.limit is not None
        self._records = records or self._functions or queue.order in ("priority", "fair")
        self.router = router
        self.accepting = True

    @trio.lowlevel.enable_ki_protection
    def shut(self) -> None:
        """Accept no more."""
        self.accepting = False
        self.forget()
        self.router.shut()

    @trio.lowlevel.enable_ki_protection
    def forget(self) -> None:
        """Hold the last context no more."""
        self._terms = SENT

    def change(
        self, dispatch: Dispatch | None, key: Callable[..., Hashable] | None, *, uses_keys: bool
    ) -> None:
        """Route by another dispatch from the next message on."""
        self._uses_keys = uses_keys or self._crew.keyed or self._order == "fair"
        self.router.change(dispatch, key)

    # -- one message to one worker

    @trio.lowlevel.enable_ki_protection
    def send_nowait(
        self,
        message: object,
        key: Hashable = None,
        priority: float | None = None,
        *,
        seat: Seat | None = None,
        awaited: bool = False,
    ) -> object:
        """Send a message, and return what was put in: the message, or its record.

        Args:
            message: what is sent.
            key: what the router or the queue goes by.
            priority: its rank in the queue.
            seat: who is to get it.
            awaited: whether it gets a record that somebody looks at later.

        Raises:
            QueueFull, TooManyRequests: the mailbox is full; which, its rule says.
            Closed: nothing is accepted, or ``seat`` has ended.
        """
        self.check(key, priority)
        if self._is_late():
            return self._abandoned(message, awaited=awaited)
        box = self._box(message, key, seat)
        item = self._item(message, box, key, priority, awaited=awaited)
        box.put_nowait(item)
        self._accepted(item)
        return item

    @trio.lowlevel.enable_ki_protection
    async def send(
        self,
        message: object,
        key: Hashable = None,
        priority: float | None = None,
        *,
        seat: Seat | None = None,
        awaited: bool = False,
    ) -> object:
        """Send a message as `send_nowait` does; wait for room, where the rule says so."""
        self.check(key, priority)
        await trio.lowlevel.checkpoint()
        while not self._is_late():
            box = self._box(message, key, seat)
            item = self._item(message, box, key, priority, awaited=awaited)
            try:
                box.put_nowait(item)
            except QueueFull:
                with self._guard(box, "a send to a full inbox"):
                    if not await box.wait_for_room([Parcel(box, item)]):
                        continue
            self._accepted(item)
            return item
        return self._abandoned(message, awaited=awaited)

    @trio.lowlevel.enable_ki_protection
    async def call(
        self,
        message: object,
        key: Hashable = None,
        priority: float | None = None,
        *,
        seat: Seat | None = None,
    ) -> Any:  # noqa: ANN401  # its reply type is the user's
        """Send a message and wait for the reply. A cancelled caller takes the job along."""
        self.check(key, priority)
        while True:
            if not self.accepting:
                # Only here: a cancelled caller whose job is accepted takes it back at once.
                await trio.lowlevel.checkpoint_if_cancelled()
                if self._came_too_late(message):
                    break
            box = self._box(message, key, seat)
            job = self._record(message, box, key, priority, awaited=True)
            if inside.anywhere():
                self._terms = SENT  # the context is this call's alone
            with self._guard(box, "a call"):
                try:
                    if await self.deliver(box, job):
                        return await job.answer()
                finally:
                    del job  # who keeps an error keeps this frame
        await trio.lowlevel.checkpoint()
        text = f"{self._crew.name} is closing: the call of its own handler is not going to run"
        raise JobAbandoned(text)

    @trio.lowlevel.enable_ki_protection
    async def deliver(self, box: Mailbox, job: Job[Any]) -> bool:
        """Put ``job`` in, waiting for room if need be. Return ``False`` if ``box`` has closed."""
        try:
            box.put_nowait(job)
        except QueueFull:
            if not await box.wait_for_room([Parcel(box, job)]):
                return False
        self._accepted(job)
        return True

    # -- many messages, many workers

    @trio.lowlevel.enable_ki_protection
    async def send_many(
        self,
        messages: Sequence[object],
        key: Hashable = None,
        priority: float | None = None,
        *,
        to_all: bool = False,
        awaited: bool = False,
    ) -> list[object]:
        """Send messages in order, with none between: wait for room for the first, then take all.

        Returns what was put in, as `send_nowait` does.
        """
        self.check(key, priority)
        await trio.lowlevel.checkpoint()
        while messages and not self._is_late():
            shared = self._crew.shared
            if shared is not None and not to_all:
                items = self._items(messages, shared, key, priority, awaited=awaited)
                if not await self._send_to_one(shared, items):
                    continue
                return items
            parcels = [
                Parcel(box, self._item(message, box, key, priority, awaited=awaited))
                for message in messages
                for box in (self.router.everyone() if to_all else [self._box(message, key, None)])
            ]
            try:
                self._send_all(parcels)
            except QueueFull:
                with self._guard(parcels[0].box, "a send to a full inbox"):
                    if not await parcels[0].box.wait_for_room(parcels):
                        continue
            items = [parcel.item for parcel in parcels]
            self._all_accepted(items)
            return items
        return [self._abandoned(message, awaited=awaited) for message in messages]

    @trio.lowlevel.enable_ki_protection
    async def _send_to_one(self, box: Mailbox, items: Sequence[object]) -> bool:
        """Send items to the one mailbox there is; return ``False`` if it closes first."""
        try:
            self._put_all(box, items)
        except QueueFull:
            with self._guard(box, "a send to a full inbox"):
                if not await box.wait_for_room([Parcel(box, item) for item in items]):
                    return False
        self._all_accepted(items)
        return True

    @trio.lowlevel.enable_ki_protection
    def accept(self, messages: Sequence[object]) -> None:
        """Send messages that were promised to the one mailbox there is; this raises nothing.

        Where the rule is to wait for room, they go in beyond the bound. What another rule drops
        or refuses is in the accounts.
        """
        box = self._crew.shared
        assert box is not None
        if not messages:
            return
        items = self._items(messages, box, None, None)
        try:
            self._put_all(box, items)
        except QueueFull:
            for item in items:
                self._crew.restore(box, item)
        except TooManyRequests:
            return
        self._all_accepted(items)

    @aside.whole
    def _put_all(self, box: Mailbox, items: Sequence[object]) -> None:
        try:
            box.put_many_nowait(items)
        except TooManyRequests:
            for item in items[1:]:
                self._crew.ledger.drop(item, self._overflow, len(box.room))
            raise

    @aside.whole
    def _send_all(self, parcels: list[Parcel]) -> None:
        first, *others = parcels
        try:
            first.box.put_nowait(first.item)
        except TooManyRequests:
            for parcel in others:
                self._crew.ledger.drop(parcel.item, self._overflow, len(parcel.box.room))
            raise
        for parcel in others:
            if self._overflow in ("wait", "reject"):
                parcel.box.restore(parcel.item)
            else:
                parcel.box.put_nowait(parcel.item)

    @trio.lowlevel.enable_ki_protection
    def send_to_all_nowait(
        self, message: object, key: Hashable = None, priority: float | None = None
    ) -> None:
        """Send a message to every worker, or to none if one has no room and the rule is to wait."""
        self.check(key, priority)
        if self._came_too_late(message):
            return
        boxes = self.router.everyone()
        if self._overflow == "wait":
            for box in boxes:
                box.require_room()
        self._put_in_each(boxes, message, key, priority)

    @trio.lowlevel.enable_ki_protection
    async def send_to_all(
        self, message: object, key: Hashable = None, priority: float | None = None
    ) -> None:
        """Send a message to every worker; those that have no room get it last.

        A sender that is cancelled while it waits has sent it to those before.
        """
        self.check(key, priority)
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._came_too_late(message):
            full = self._put_in_each(self.router.everyone(), message, key, priority)
            for box, item in full:
                # While this waited for another box, this one may have got room, or have closed.
                if not (self.accepting and box.open):
                    await trio.lowlevel.checkpoint_if_cancelled()
                    if self._came_too_late(message):
                        break
                    continue
                try:
                    box.put_nowait(item)
                except QueueFull:
                    with self._guard(box, "a broadcast to a full inbox"):
                        sent = await box.wait_for_room([Parcel(box, item)])
                    if not sent:
                        await trio.lowlevel.checkpoint_if_cancelled()
                        if self._came_too_late(message):
                            break
                        continue
                self._accepted(item)
        await trio.lowlevel.cancel_shielded_checkpoint()

    @trio.lowlevel.enable_ki_protection
    def _put_in_each(
        self, boxes: list[Mailbox], message: object, key: Hashable, priority: float | None
    ) -> list[tuple[Mailbox, object]]:
        """Put ``message`` where there is room, and return where there is none."""
        full = []
        refused: TooManyRequests | None = None
        for box in boxes:
            item = self._item(message, box, key, priority)
            try:
                box.put_nowait(item)
            except QueueFull:
                full.append((box, item))
            except TooManyRequests as error:
                refused = error
            else:
                self._accepted(item)
        if refused is not None:
            raise refused
        return full

    # -- what all of them need

    def check(self, key: Hashable, priority: float | None) -> None:
        """Raise ``TypeError`` if nothing looks at ``key`` or ``priority``."""
        if priority is not None and self._order != "priority":
            wrong = f"priority={priority!r} needs queue=Queue(order='priority'), which looks at it"
            raise TypeError(wrong)
        if key is not None and not self._uses_keys:
            wrong = (
                f"key={key!r} needs something that looks at keys: mode='phash', limit_per_key= "
                f"or queue=Queue(order='fair')"
            )
            raise TypeError(wrong)
        if priority is not None:
            PRIORITY("priority", priority, self._crew.name)

    def require_accepting(self) -> None:
        """Raise `Closed` unless messages are accepted."""
        if not self.accepting:
            raise self._refusal()

    def _is_late(self) -> bool:
        """Tell whether a message comes too late, and is to be abandoned; raise if it is refused."""
        if self.accepting:
            return False
        if self._crew.ended.value or not inside.inside(self._crew):
            raise self._refusal()
        return True

    def _abandoned(self, message: object, *, awaited: bool) -> object:
        """Enter a message that comes too late, and return it, or its record."""
        item = message
        if awaited:
            assert self._crew.shared is not None, "jobs of one seat are not handed out"
            item = self._record(message, self._crew.shared, None, None, awaited=True)
        self._crew.ledger.abandon(item)
        return item

    def _came_too_late(self, message: object) -> bool:
        """Enter a message that comes too late; tell whether it does."""
        if not self._is_late():
            return False
        self._crew.ledger.abandon(message)
        return True

    def _box(self, message: object, key: Hashable, seat: Seat | None) -> Mailbox:
        if seat is None:
            return self.router.route(message, key)
        if seat.box is self._crew.shared:
            wrong = f"{seat.name} has no inbox of its own: in mode 'available' all share one"
            raise TypeError(wrong)
        if not seat.alive:
            gone = f"{seat.name} has ended"
            raise Closed(gone)
        return seat.box

    def _item(
        self,
        message: object,
        box: Mailbox,
        key: Hashable,
        priority: float | None,
        *,
        awaited: bool = False,
    ) -> object:
        if awaited or self._records or key is not None or type(message) is Job:
            return self._record(message, box, key, priority, awaited=awaited)
        return message

    def _items(
        self,
        messages: Sequence[object],
        box: Mailbox,
        key: Hashable,
        priority: float | None,
        *,
        awaited: bool = False,
    ) -> list[object]:
        """Return what is put in for each message, as `_item` does."""
        plain = key is None and not priority and not self.looks_closer
        if plain and isinstance(messages, Calls):
            return messages.jobs(box, awaited=awaited)
        return [self._item(each, box, key, priority, awaited=awaited) for each in messages]

    def _record(
        self,
        message: object,
        box: Mailbox,
        key: Hashable,
        priority: float | None,
        *,
        awaited: bool = False,
    ) -> Job[Any]:
        if self._order == "fair":
            if key is None:
                key = self.router.own_key(message)
            hash(key)  # a key without one is refused here, before anything is sent
        since = None if self._overflow == "wait" else trio.current_time()
        plain = key is None and not priority and since is None
        if not self._functions:
            if plain:
                return record(message, box, AWAITED if awaited else SENT)
            terms = Terms(awaited, MESSAGE, None, key, priority or 0, since)
            return record(message, box, terms)
        assert isinstance(message, Call)
        context, form = message.context, form_of(message.args)
        terms = self._terms
        if not (
            plain and context is terms.context and form is terms.form and awaited is terms.awaited
        ):
            terms = Terms(awaited, form, context, key, priority or 0, since)
            if plain and self.accepting:
                self._terms = terms
        return record(message.fn, box, terms, packed(message.args))

    def _guard(self, box: Mailbox, what: str) -> AbstractContextManager[None]:
        return inside.waiting_for(self._crew, box, what) if inside.anywhere() else _NO_GUARD

    def _all_accepted(self, items: Sequence[object]) -> None:
        if self._crew.ledger.instruments is not None:
            for item in items:
                self._accepted(item)

    def _accepted(self, item: object) -> None:
        instruments = self._crew.ledger.instruments
        if instruments is not None and type(item) is Job and not item.ended:
            instruments.tell("job_submitted", item)
