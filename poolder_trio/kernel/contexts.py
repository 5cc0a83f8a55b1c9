"""Whether two contexts are alike: that is, hold the very same values."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextvars import Context


def alike(one: Context, other: Context) -> bool:
    """Tell whether both hold the same objects.

    Comparing contexts would compare what they hold: objects that are equal are not the same, and
    to compare them is to run their code.
    """
    return (
        len(one) == len(other)
        and all(map(is_, one, other))
        and all(map(is_, one.values(), other.values()))
    )
