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
    return printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def printable(text: str) -> str:
    """Return ``text`` on one line: what is no printable character, as Python would write it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def shown(name: object) -> str:
    """Return a name as one word of a log's ``key=value``, quoted if it could be taken for more."""
    text = printable(str(name))
    if text and not set(text) & {" ", "=", '"'}:
        return text
    quoted = text.replace('"', '\\"')
    return f'"{quoted}"'


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
