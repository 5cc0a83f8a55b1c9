"""What backends that keep states as bytes have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import TYPE_CHECKING

import attrs

from poolder_trio.abc import Codec, StateSource
from poolder_trio.backends.codec import decoded, encoded
from poolder_trio.backends.line import Ask, Line
from poolder_trio.policies.checks import NATURAL

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from poolder_trio.abc import StateBackend


def opened(backend: StateBackend) -> AbstractAsyncContextManager[StateBackend]:
    """Open ``backend``, if it is a description; else it is used as it is."""
    return backend.open() if isinstance(backend, StateSource) else nullcontext(backend)


@attrs.frozen
class Opened:
    """A state that is asked for over a line, in bytes."""

    line: Line
    codec: Codec

    async def load(self) -> tuple[object, int]:
        """Return the state and its version; ``(None, 0)`` if there is none."""
        answer = await self.line.ask(Ask())
        assert isinstance(answer, tuple)
        data, version = answer
        return (decoded(self.codec, data, self.line.where) if version else None), version

    def encode(self, state: object) -> bytes:
        """Return ``state`` as it would be stored."""
        return encoded(self.codec, state, self.line.where)

    async def store(self, state: object, expected_version: int) -> bool:
        """Store ``state`` if the version is still the expected one; return whether it was."""
        NATURAL("expected_version", expected_version, "store")
        data = self.encode(state)
        return bool(await self.line.ask(Ask(expected_version, data)))


class Described(ABC):
    """Base of descriptions. They may be used directly: each call then opens one for itself."""

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[Opened]:
        """Open it, for many calls at once."""

    async def load(self) -> tuple[object, int]:
        """Open it, load, and close it; see `abc.StateBackend`."""
        async with self.open() as state:
            return await state.load()

    async def store(self, state: object, expected_version: int) -> bool:
        """Open it, store, and close it; see `abc.StateBackend`."""
        async with self.open() as place:
            return await place.store(state, expected_version)
