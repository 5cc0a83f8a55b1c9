"""States that others may change as well: what a store that is durable costs, alone and together."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from benchmarks.harness import Contest, Contestant, require_all
from poolder_trio import MemoryState, SQLiteState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from poolder_trio import StateBackend

CALLERS = 32


class Counter:
    """Stores the next number, each caller over what the one before it is about to store."""

    def __init__(self, state: StateBackend) -> None:
        self.state = state
        self.head = 0

    async def add(self, times: int) -> None:
        """Add one, so many times; each is stored for good before the next."""
        for _ in range(times):
            before, self.head = self.head, self.head + 1
            require_all(await self.state.store(before + 1, before), True)  # noqa: FBT003


async def stores(state: StateBackend, callers: int, n: int) -> float:
    """Return the microseconds per store."""
    counter = Counter(state)
    begun = perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(counter.add, n // callers)
    spent = perf_counter() - begun
    stored = n // callers * callers
    require_all((await state.load())[1], stored)
    return spent / stored * 1e6


@asynccontextmanager
async def in_a_file() -> AsyncIterator[StateBackend]:
    """Open a state in a file of a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        async with SQLiteState(Path(folder, "state.db")).open() as state:
            yield state


async def sqlite(callers: int, n: int) -> float:
    """Store in a file."""
    async with in_a_file() as state:
        return await stores(state, callers, n)


async def memory(n: int) -> float:
    """Store in memory."""
    async with MemoryState().open() as state:
        return await stores(state, CALLERS, n)


CONTESTS = [
    Contest(
        "stores in one state, each durable before its caller goes on",
        "us/store",
        3200,
        [
            Contestant("SQLiteState, 32 callers", partial(trio.run, sqlite, CALLERS)),
            Contestant("SQLiteState, one caller", partial(trio.run, sqlite, 1), least=8),
            Contestant("MemoryState, 32 callers", partial(trio.run, memory)),
        ],
    ),
]
