"""Calls the hooks of those who watch a component."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from poolder_trio.abc import Instrument
from poolder_trio.kernel import aside
from poolder_trio.kernel.notes import describe, shown
from poolder_trio.policies import checks

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence


INSTRUMENTS = checks.Check(
    "a list or tuple of Instrument objects",
    lambda v: isinstance(v, (list, tuple)) and all(isinstance(i, Instrument) for i in v),
)


class Instruments:
    """The instruments of one opening of a component. One that raises is logged and removed."""

    __slots__ = ("_log", "_source", "_watching")

    def __init__(
        self, source: object, instruments: Sequence[Instrument], log: logging.Logger
    ) -> None:
        self._source = source
        self._watching = list(instruments)
        self._log = log

    def tell(self, hook: str, *args: object) -> None:
        """Call ``hook(source, *args)`` on each instrument, as soon as user code may run."""
        aside.call(self._tell, hook, args)

    @trio.lowlevel.disable_ki_protection
    def _tell(self, hook: str, args: tuple[object, ...]) -> None:
        for instrument in tuple(self._watching):
            try:
                getattr(instrument, hook)(self._source, *args)
            except Exception:  # noqa: BLE001  # logged, with its traceback
                self._watching.remove(instrument)
                self._log.exception(
                    "instrument=%s hook=%s event=raised then=removed",
                    shown(describe(instrument)),
                    hook,
                )
