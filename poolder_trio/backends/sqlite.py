"""A state in an SQLite file."""

from __future__ import annotations

import math
import os
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from poolder_trio.backends.codec import CODEC, JSONCodec
from poolder_trio.backends.described import Described, Opened
from poolder_trio.backends.line import Line, attended
from poolder_trio.backends.sqlite_file import StateFile
from poolder_trio.kernel.blocks import block
from poolder_trio.kernel.simulated import refuse_simulated
from poolder_trio.policies.checks import Check, instance_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from poolder_trio.abc import Codec

__all__ = ["SQLiteState"]

_PATH = Check(
    "the path of a file",
    lambda value: isinstance(value, (str, os.PathLike)),
    lambda value: str(value) not in {"", ":memory:"},  # SQLite's words for files that are none
)
_KEY = instance_of(str, "a str")


@attrs.frozen
class SQLiteState(Described):
    """Keeps a state in an SQLite file, which any number of processes of one machine may share.

    A call is answered when its change is durable. Calls that wait at the same time are committed
    together, in the order in which they came, so a store may expect the version that one before it
    is about to make. The file is made if there is none; one that is not ours is left alone.

    Args:
        path: the file. SQLite puts two more beside it while it is in use.
        codec: turns the state to bytes; JSON by default.
        key: which state of the file: several servers may share one.

    Raises:
        TypeError, ValueError: one of them is wrong.
        ValueError: (when opened or used) the file is damaged, or of another program.
        TimeoutError: (when opened or used) other processes kept it locked for ten seconds.
        OSError: (when opened or used) it can't be read or written.
    """

    path: str | os.PathLike[str] = attrs.field(validator=_PATH.field)
    codec: Codec = attrs.field(factory=JSONCodec, validator=CODEC.field)
    key: str = attrs.field(default="state", kw_only=True, validator=_KEY.field)

    @block
    async def open(self) -> AsyncGenerator[Opened]:
        """Open the file. Its connection, and the thread that uses it, serve this opening alone."""
        refuse_simulated(self, "MemoryState()")
        # Threads wait by the machine's clock, whatever Trio's is.
        line = Line(f"the state {self.key!r} in {os.fspath(self.path)}", time.monotonic)
        # Trio's default limiter is shared by all of a program: a state would wait for strangers.
        in_thread = partial(trio.to_thread.run_sync, limiter=trio.CapacityLimiter(math.inf))
        try:
            file = await in_thread(StateFile, Path(self.path), self.key)
        except (sqlite3.Error, OSError) as error:
            raise _told(error, line.where) from error

        async def attend() -> None:
            while await line.some():
                asks = line.take()
                try:
                    # A thread can't be cut: it is SQLite's patience with others that ends it.
                    answers = await in_thread(file.settle, asks, line.left(asks))
                except Exception as error:  # noqa: BLE001  # those who asked raise it
                    line.fail(asks, partial(_told, error, line.where))
                else:
                    line.answer(asks, answers)

        try:
            async with attended(line, attend):
                yield Opened(line, self.codec)
        finally:
            with trio.CancelScope(shield=True):  # as above
                await in_thread(file.close)


def _told(error: Exception, where: str) -> Exception:
    """Return what to raise to those who asked: what went wrong, and where."""
    told: Exception
    if isinstance(error, sqlite3.OperationalError):
        if "locked" in str(error):
            told = TimeoutError(f"{where} was locked by others for {Line.PATIENCE:g} s")
        else:
            told = OSError(f"{where} can't be used: {error}")
    elif isinstance(error, OSError):
        told = OSError(f"{where} can't be used: {error}")
    elif isinstance(error, sqlite3.Error):
        told = ValueError(f"{where} can't be used, and is left as it is: {error}")
    else:
        told = RuntimeError(f"{where} can't be used: {error!r}")
    told.__cause__ = error
    return told
