"""Notes on exceptions: which job, where, and what to do."""

from __future__ import annotations

import contextlib
import reprlib

import trio

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_LONGEST = 300


@trio.lowlevel.disable_ki_protection
def describe(message: object) -> str:
    """Return a short repr, whatever ``repr`` itself does."""
    try:
        text = _short.repr(message)
    except Exception as error:  # noqa: BLE001  # a broken repr must not hide the error it is for
        return f"<{type(message).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def add_note(error: BaseException, note: str) -> None:
    """Add a note as PEP 678 says, also on Python 3.10; the same note is added once.

    An exception that takes no notes goes without: to fail here would
    put another error in its place.
    """
    with contextlib.suppress(Exception):
        notes: list[str] = getattr(error, "__notes__", [])
        if note not in notes:
            error.__dict__["__notes__"] = [*notes, note]


def set_context(error: BaseException, context: BaseException) -> None:
    """Say what was handled when ``error`` was raised, also to one that refuses attributes."""
    BaseException.__setattr__(error, "__context__", context)
