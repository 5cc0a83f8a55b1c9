"""A state that many change, here and elsewhere: what is known of it, and what is on its way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import trio

from poolder_trio.kernel import interruptible
from poolder_trio.kernel.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolder_trio.abc import StateBackend

S = TypeVar("S")

#: Seconds that a change may take to be stored, all in all: they bound who is cancelled meanwhile.
PATIENCE = 10.0


class Group:
    """Changes that are stored by one store, or thrown away together.

    Attributes:
        state: what they made.
        size: how many they are.
        verdict: whether they are stored; a failure, if nobody knows; ``None``: not yet.
    """

    __slots__ = ("size", "state", "verdict")

    def __init__(self) -> None:
        self.state: object = None
        self.size = 0
        self.verdict: bool | Failure[Exception] | None = None


class Look(Generic[S]):
    """The state as somebody saw it, and what has to hold for that to have been right."""

    __slots__ = ("epoch", "group", "image", "revision", "state")

    def __init__(
        self,
        state: S,
        revision: int,
        epoch: int,
        group: Group | None,
        image: bytes | None = None,
    ) -> None:
        #: What the state was in bytes, where that can be told.
        self.image = image
        self.state = state
        self.revision = revision
        self.epoch = epoch
        #: The changes in it that were not stored yet.
        self.group = group


class SharedState(Generic[S]):
    """The newest state. A change is made here first, and holds when it is stored.

    At most one store is under way, for all changes that were made before it began, and the next
    takes those made meanwhile. (With one store for each change, all under way at once, the second
    may follow the first's version though somebody else has made that: it would undo a change of
    theirs, and bring in one that was thrown away.) A store that fails because others were first
    throws away what it was for, and whatever was built on that; who made it begins anew.

    Args:
        backend: where it is stored.
        where: what messages call it.
        alone: whether nobody else can change what is stored.
        bounded: whether the backend itself ends each call in time.
        encode: turns a state to bytes, where the backend keeps it as such.

    Attributes:
        state: the newest state, while ``known``.
        revision: counts changes, and times when changes were thrown away.
        epoch: counts only the latter.
        settled: nobody else changes it, and all changes are stored: what is seen holds.
    """

    def __init__(
        self,
        backend: StateBackend,
        where: str,
        *,
        alone: bool,
        bounded: bool,
        encode: Callable[[object], bytes] | None = None,
    ) -> None:
        self._encode = encode
        #: The state that was last turned to bytes, and these.
        self._image: tuple[object, bytes | None] = (self, None)
        self.state: S
        self.settled = False
        self._backend = backend
        self._where = where
        self._alone = alone
        self._patience = math.inf if bounded else PATIENCE
        self._known = False
        self.revision = 0
        self.epoch = 0
        #: The version that was stored last, by us or before.
        self._version = 0
        self._storing = trio.Lock()
        #: Those whose store has not begun.
        self._pending: list[Group] = []
        #: The newest that is not stored: pending, or under way.
        self._newest: Group | None = None
        #: Whether each change gets a store of its own, because one of several made a store fail.
        self._apart = False

    async def load(self) -> bool:
        """Get to know what is stored; return ``False`` if nothing is."""
        state, version = await interruptible.wait(self._backend.load)
        if not version:
            return False
        self.state, self._version, self._known = cast("S", state), version, True
        self.settled = self._alone
        return True

    async def begin(self, state: S) -> bool:
        """Store the first state; return ``False`` if somebody else has."""
        if not await interruptible.wait(self._backend.store, state, 0):
            return False
        self.state, self._version, self._known = state, 1, True
        self.settled = self._alone
        return True

    async def look(self) -> Look[S]:
        """Return the newest state."""
        if not self._known:
            async with self._storing:
                if not self._known and not await self.load():
                    gone = f"{self._where} is gone from its backend: others have removed it"
                    raise LookupError(gone)
        return self.seen()

    def seen(self) -> Look[S]:
        """Return the newest state, which is known."""
        if self._encode is not None and self._image[0] is not self.state:
            image = self._in_bytes(self.state)
            # A codec may write one state in many ways: then nothing can be told by its bytes.
            self._image = self.state, image if image == self._in_bytes(self.state) else None
        return Look(self.state, self.revision, self.epoch, self._newest, self._image[1])

    def _in_bytes(self, state: object) -> bytes | None:
        assert self._encode is not None
        try:
            return interruptible.call(self._encode, state)
        except Exception:  # noqa: BLE001  # to store it raises that again
            return None

    def was_changed_in_place(self, look: Look[S]) -> bool:
        """Tell whether the object that ``look`` saw is another state than it was; then forget it.

        What is stored is as it was: the next who looks gets that.
        """
        if look.image is None or self._in_bytes(look.state) == look.image:
            return False
        self._image = (self, None)
        self._forget()
        return True

    def require_unchanged(self, look: Look[S], what: str) -> None:
        """Raise ``RuntimeError`` if ``what`` changed the state that it returned, or kept."""
        if self.was_changed_in_place(look):
            raise RuntimeError(
                f"{what} changed the state in place and returned no other, which means that it has "
                f"not changed; nothing was stored: return a new one, such as {{**state, ...}}, "
                f"[*state, ...] or a changed copy.deepcopy(state) ({self._where})"
            )

    @trio.lowlevel.enable_ki_protection
    def propose(self, look: Look[S], state: S) -> Group | None:
        """Make a change if nothing has changed since ``look``; `confirm` it at once, if it is made.

        Returns what it is stored with, or ``None``.
        """
        if look.revision != self.revision:
            return None
        self.state = state
        self.revision += 1
        self.settled = False
        if not self._pending or self._apart:
            self._newest = Group()
            self._pending.append(self._newest)
        group = self._pending[-1]
        group.state = state
        group.size += 1
        return group

    async def confirm(self, group: Group) -> bool:
        """Wait until a change is stored; return ``False`` if it was thrown away.

        Not cancelled: the change is seen by others, and its caller has to know what came of it.

        Raises:
            Exception: what the backend raised; the change may be stored, or not.
        """
        if group.verdict is None:
            until = trio.current_time() + self._patience
            with trio.CancelScope(shield=True, deadline=until):
                async with self._storing:
                    if group.verdict is None:
                        await self._store(group)
            if group.verdict is None:
                group.verdict = Failure(TimeoutError(f"{self._where} was not stored in time"))
                self._forget()
        if isinstance(group.verdict, Failure):
            raise group.verdict.again()
        return group.verdict

    async def holds(self, look: Look[S]) -> bool:
        """Tell whether what ``look`` saw was the state at some moment since."""
        if look.group is not None:
            return await self.confirm(look.group)
        if self._alone:
            return True
        _, version = await interruptible.wait(self._backend.load)
        if version != self._version:
            # It may be ours: a store that is done there, and under way here.
            async with self._storing:
                pass
        if self.epoch != look.epoch:
            return False
        if version > self._version or not version:
            self._forget()
            return False
        return True

    async def _store(self, group: Group) -> None:
        """Store what ``group`` is for. Its turn has come: what was before it is stored."""
        self._pending.remove(group)
        until = trio.current_time() + PATIENCE
        before = self._version
        try:
            stored = await interruptible.wait(self._backend.store, group.state, before)
        except Exception as error:  # noqa: BLE001  # those who wait for it raise it
            await self._failed(group, error, until)
        else:
            group.verdict = stored
            if stored:
                self._stored(group, before + 1)
            else:
                self._forget()

    @trio.lowlevel.enable_ki_protection
    def _stored(self, group: Group, version: int) -> None:
        self._version = version
        if not self._pending:
            self._apart = False
        if self._newest is group:
            self._newest = None
            self.settled = self._alone

    async def _failed(self, group: Group, error: Exception, until: float) -> None:
        """Find out whose fault it was that a store failed, if that is known by ``until``."""
        verdict: bool | Exception = error
        try:
            with trio.CancelScope(deadline=until):
                _, version = await interruptible.wait(self._backend.load)
                if group.size > 1 and version == self._version:
                    # One of several can't be stored, say, and nothing was. Each is tried alone.
                    verdict, self._apart = False, True
        except Exception:  # noqa: BLE001, S110  # the first error says more
            pass
        finally:
            group.verdict = verdict if isinstance(verdict, bool) else Failure(verdict)
            self._forget()

    @trio.lowlevel.enable_ki_protection
    def _forget(self) -> None:
        """Throw away what is not stored."""
        self._known = self.settled = False
        self.revision += 1
        self.epoch += 1
        for group in self._pending:
            group.verdict = False
        self._pending.clear()
        self._newest = None
