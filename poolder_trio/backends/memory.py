"""A state in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from poolder_trio.kernel.blocks import block
from poolder_trio.policies.checks import NATURAL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["MemoryState"]


@attrs.define(eq=False)
class MemoryState:
    """Keeps a state in memory, as the object that it is, for as long as it is open.

    Each opening starts without a state. An instance that is used without opening it keeps one
    of its own, which its openings do not see.
    """

    _state: object = attrs.field(default=None, init=False, repr=False)
    _version: int = attrs.field(default=0, init=False, repr=False)

    @block
    async def open(self) -> AsyncGenerator[MemoryState]:
        """Open one that holds no state yet."""
        yield MemoryState()

    async def load(self) -> tuple[object, int]:
        """Return the state and its version; ``(None, 0)`` if there is none."""
        # In this order nothing comes between a load and the store that follows it at once.
        await trio.lowlevel.checkpoint()
        return self._state, self._version

    async def store(self, state: object, expected_version: int) -> bool:
        """Store ``state`` if the version is still the expected one; return whether it was."""
        NATURAL("expected_version", expected_version, "store")
        await trio.lowlevel.checkpoint_if_cancelled()
        stored = self._replace(state, expected_version)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return stored

    @trio.lowlevel.enable_ki_protection
    def _replace(self, state: object, expected_version: int) -> bool:
        if expected_version != self._version:
            return False
        self._state, self._version = state, self._version + 1
        return True
