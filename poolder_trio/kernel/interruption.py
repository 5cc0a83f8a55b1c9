"""What ends a program and is nobody's failure: Ctrl-C, ``SystemExit``, and their like."""

from __future__ import annotations

import sys

import trio

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


def interruption(error: BaseException | None) -> BaseException | None:
    """Return ``error`` if it is more than a failure, without the cancellations in it; or ``None``.

    It leaves the block. Whoever waits in there is cancelled with that, and others raise a copy.
    """
    rest: BaseException | None = error
    if isinstance(error, BaseExceptionGroup):
        rest = error.split(trio.Cancelled)[1]
    return None if isinstance(rest, (Exception, trio.Cancelled)) else rest
