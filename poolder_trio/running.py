"""A program from start to end: `trio.run`, with signals that stop it gracefully."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import trio

from poolder_trio.application import Application
from poolder_trio.kernel.family import unwrapped

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from poolder_trio.application import ApplicationReport

_log = logging.getLogger("poolder_trio.application")


def run(
    app: Application,
    *,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> ApplicationReport:
    """Run an application until `Application.close` is called, or until a signal, and report.

    The first SIGTERM or SIGINT (Ctrl-C) closes the application, the last child first, and gives
    all children together ``app.grace`` seconds to finish what they have accepted. What is left
    then is cancelled, or at once on a second signal. If the first comes before all children are
    open, those that are not will not be.

    In another thread than the main one there are no signals to listen to.

    Args:
        app: what to run.
        clock: as `trio.run` takes it.
        instruments: as `trio.run` takes them.

    Raises:
        TypeError: it is no application.
        BaseExceptionGroup: what left the application's block.
    """
    if not isinstance(app, Application):
        raise TypeError(f"run needs an Application, got {app!r}: write run(Application(...))")
    return trio.run(_main, app, clock=clock, instruments=instruments)


async def _main(app: Application) -> ApplicationReport:
    told, all_of_it = trio.CancelScope(), trio.CancelScope()
    try:
        with ExitStack() as stack:
            signals = None
            if threading.current_thread() is threading.main_thread():
                signals = stack.enter_context(trio.open_signal_receiver(*_signals()))
            async with trio.open_nursery() as nursery:
                if signals is not None:
                    nursery.start_soon(_listen, app, signals, told, all_of_it)
                with all_of_it:
                    async with app:
                        with told:
                            await app.wait_closed()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        inner = unwrapped(group)
        raise inner from inner.__cause__
    return app.report


def _signals() -> list[signal.Signals]:
    return [getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name)]


async def _listen(
    app: Application,
    signals: AsyncIterator[int],
    told: trio.CancelScope,
    all_of_it: trio.CancelScope,
) -> None:
    is_first = True
    async for number in signals:
        name = signal.Signals(number).name
        if is_first:
            _log.info("signal=%s action=close grace=%s", name, app.grace)
            # `all_of_it` also bounds the opening of a child, which `grace` by itself does not.
            all_of_it.deadline = trio.current_time() + app.grace
            app.close()
            told.cancel()
        else:
            _log.info("signal=%s action=cancel", name)
            all_of_it.cancel()
        is_first = False
