"""Finding the last of many firings without stepping through all of them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T", float, datetime)


def last_firing(step: Callable[[T], T | None], at: T, until: T) -> T:
    """Return the last firing up to ``until``, by halves.

    Args:
        step: returns the first firing after a moment; ``None``: never again.
        at: a firing that is not after ``until``.
        until: the moment.
    """
    # `at` is a firing, and between `late` and `until` there is none.
    late = until
    while (following := step(at)) is not None and following <= late:
        middle = at + (late - at) / 2
        further = step(middle)
        if further is None or further > late:
            late = middle
        else:
            at = further
    return at
