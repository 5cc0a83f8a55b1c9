"""A program from start to end: `trio.run`, with signals that stop it gracefully."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import trio

from poolder_trio.application import Application
from poolder_trio.kernel.family import unwrapped

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from typing_extensions import Self

    from poolder_trio.application import ApplicationReport

_log = logging.getLogger("poolder_trio.application")
_NAMES = ("SIGINT", "SIGTERM")


def run(
    app: Application,
    *,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> ApplicationReport:
    """Run an application until `Application.close` is called, or until a signal, and report.

    The first SIGTERM or SIGINT (Ctrl-C) closes the application, the last child first, and either
    way all children together have ``app.grace`` seconds to finish what they have accepted. What is
    left then is cancelled, or at once on a second signal. If the first comes before all children
    are open, those that are not will not be.

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
    with Signals() as signals:
        report = trio.run(_main, app, signals, clock=clock, instruments=instruments)
    signals.pass_on()
    return report


def run_to_the_end(app: Application, signals: Signals) -> ApplicationReport:
    """Do as `run`, with signals that are listened to for longer: by a program that ends then."""
    return trio.run(_main, app, signals)


class Signals:
    """Those that stop a program, for as long as this is entered; in the main thread only.

    `trio.open_signal_receiver` would do, but for the ends of it. A signal that comes when the
    application has ended, but nobody has read its report, must not kill the program: the receiver
    raises it again.

    Args:
        settling: seconds after the end for which signals go unheard, and no longer, so that
            whatever hangs then can be ended; 0 restores the handlers of before.
    """

    def __init__(self, settling: float = 0.0) -> None:
        self._settling = settling
        #: Those that came and were not told yet, in order.
        self._heard: list[signal.Signals] = []
        self._any_told = False
        self._wake: Callable[[], None] | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in _NAMES:
                number = signal.Signals[name]
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        until = time.monotonic() + self._settling

        def late(number: int, _: FrameType | None) -> None:
            if time.monotonic() >= until:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)

        for number, before in self._before.items():
            handler = late if self._settling else before
            if handler is not None:  # it is, if it was not set by Python
                signal.signal(number, handler)  # type: ignore[arg-type]  # what it returned

    def pass_on(self) -> None:
        """Raise again what came, if it has stopped nothing, for whoever listens now."""
        if self._heard and not self._any_told:
            signal.raise_signal(self._heard[0])

    def end(self) -> None:
        """Let the signals that come from here on wake nobody.

        Trio closes what they wake it by before it says so, and each that comes in between would be
        told on stderr, with a traceback.
        """
        self._wake = None
        if self._before:
            signal.set_wakeup_fd(-1)

    async def next(self) -> signal.Signals:
        """Wait for the next one."""
        token = trio.lowlevel.current_trio_token()
        came = trio.Event()
        self._wake = lambda: token.run_sync_soon(came.set, idempotent=True)
        if not self._heard:  # or it came before there was anyone to wake
            await came.wait()
        await trio.lowlevel.checkpoint()
        self._any_told = True
        return self._heard.pop(0)

    def _hear(self, number: int, _: FrameType | None) -> None:
        self._heard.append(signal.Signals(number))
        if self._wake is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._wake()


def ignore_signals() -> None:
    """Ignore those that stop a program, until its very end.

    For what an interpreter does last: there, Python's own handlers are gone, and a signal would
    kill a program whose exit code is known.
    """
    for name in _NAMES:
        signal.signal(signal.Signals[name], signal.SIG_IGN)


async def _main(app: Application, signals: Signals) -> ApplicationReport:
    all_of_it = trio.CancelScope()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_listen, app, signals, all_of_it)
            with all_of_it:
                await app.run()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # Nothing is handled here: what leaves is what left the application's own block, without
        # the group that this nursery has put around it.
        inner = unwrapped(group)
        raise inner from inner.__cause__
    finally:
        signals.end()
    return app.report


async def _listen(app: Application, signals: Signals, all_of_it: trio.CancelScope) -> None:
    number = await signals.next()
    _log.info("signal=%s action=close grace=%s", number.name, app.grace)
    # `all_of_it` also bounds the opening of a child, which `grace` by itself does not.
    all_of_it.deadline = trio.current_time() + app.grace
    app.close()
    number = await signals.next()
    _log.info("signal=%s action=cancel", number.name)
    all_of_it.cancel()
