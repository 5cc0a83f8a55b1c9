"""Whether two contexts are alike: that is, hold the very same values."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextvars import Context

_MISSING = object()


def alike(one: Context, other: Context) -> bool:
    """Tell whether both hold the same objects.

    Comparing contexts would compare what they hold: objects that are equal are not the same, and
    to compare them is to run their code.
    """
    if len(one) != len(other):
        return False
    for variable, value in one.items():  # noqa: SIM110  # all() would make a generator of it
        if other.get(variable, _MISSING) is not value:
            return False
    return True
