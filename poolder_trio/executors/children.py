"""Processes that trio-parallel starts: without an ear for Ctrl-C, and how they ended."""

from __future__ import annotations

import signal
import sys
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def deafen(context: Any) -> None:  # noqa: ANN401  # what is changed of it has no types
    """Let the processes of a trio-parallel context start with SIGINT blocked.

    They ignore it once they run, but while they start it would kill them: a terminal sends it to
    all of its processes. The context has no option for it, so its class of workers is replaced.
    """
    if sys.platform == "win32":
        return
    ordinary: Any = context._worker_class  # noqa: SLF001

    class Worker(ordinary):  # type: ignore[misc]  # a class that is known at run time
        def __init__(self, *args: Any) -> None:  # noqa: ANN401  # whatever those are
            super().__init__(*args)
            start = self.proc.start

            def start_deaf() -> None:
                del self.proc.start  # a process is pickled for its start
                _start(start)

            self.proc.start = start_deaf

    # Its attrs class is frozen, and sets this in the same way.
    context.__dict__["_worker_class"] = Worker


def _start(start: Callable[[], None]) -> None:
    """Call ``start`` in a thread that has SIGINT blocked, which what it starts inherits."""
    from multiprocessing import resource_tracker  # noqa: PLC0415  # POSIX has it

    # The first process starts this one as well, which unblocks SIGINT on its way.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def how_it_ended(error: Exception) -> str:
    """Say with what exit code, or by which signal, the process of a broken worker ended."""
    for process in error.args:
        if isinstance(process, BaseProcess) and process.exitcode is not None:
            code = process.exitcode
            return f": signal {_name(-code)}" if code < 0 else f": exit code {code}"
    return ""


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        return str(number)
