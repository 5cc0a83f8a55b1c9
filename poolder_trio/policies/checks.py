"""Checks of options: what was expected, what came, and where it was written."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import attrs

from poolder_trio.policies.unstarted import REMEDY, close_unstarted

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _always(_: object) -> bool:
    return True


@attrs.frozen
class Check:
    """One option's rule, applied by calling it.

    Raises:
        TypeError: ``right_type`` refuses the value.
        ValueError: ``right_value`` refuses it.
    """

    expected: str
    right_type: Callable[[object], bool]
    right_value: Callable[[object], bool] = _always

    def __call__(self, name: str, value: object, where: str) -> None:
        """Check the ``value`` of the option ``name``, written in ``where``."""
        if not self.right_type(value):
            raise TypeError(self._message(name, value, where))
        if not self.right_value(value):
            raise ValueError(self._message(name, value, where))

    def _message(self, name: str, value: object, where: str) -> str:
        remedy = f": {REMEDY}" if close_unstarted(value) else ""
        return f"{name} must be {self.expected}, got {value!r}{remedy} ({where})"

    def field(self, instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        """Check a field of an attrs class: the form in which attrs calls validators."""
        self(attribute.name, value, type(instance).__name__)


def is_number(value: object) -> bool:
    """Tell whether ``value`` is an int or a float, and no bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_int(value: object) -> bool:
    """Tell whether ``value`` is an int, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def at_least(
    bound: float, *, above: bool = False, finite: bool = False
) -> Callable[[object], bool]:
    """Return a test for numbers from ``bound`` on, without it if ``above``.

    A nan never passes, nor does an int that no float is as large as.
    """

    def test(value: object) -> bool:
        assert isinstance(value, (int, float))
        large_enough = value > bound if above else value >= bound
        return large_enough and (value <= sys.float_info.max or (value == math.inf and not finite))

    return test


def one_of(*values: str) -> Check:
    """Return a check for one of a few words."""
    return Check(
        "one of " + ", ".join(map(repr, values)),
        lambda value: isinstance(value, str),
        values.__contains__,
    )


def instance_of(kind: type, expected: str) -> Check:
    """Return a check for instances of ``kind``."""
    return Check(expected, lambda value: isinstance(value, kind))


COUNT = Check("an int >= 1", is_int, at_least(1))
COUNT_FROM_0_OR_INF = Check(
    "an int >= 0 or math.inf",
    lambda v: is_int(v) or (isinstance(v, float) and v == math.inf),
    at_least(0),
)
NATURAL = Check("an int >= 0", is_int, at_least(0))
SECONDS = Check("a number of seconds >= 0", is_number, at_least(0))
POSITIVE_SECONDS = Check("a number of seconds > 0", is_number, at_least(0, above=True))
FINITE_SECONDS = Check("a finite number of seconds >= 0", is_number, at_least(0, finite=True))
FINITE_POSITIVE_SECONDS = Check(
    "a finite number of seconds > 0", is_number, at_least(0, above=True, finite=True)
)
FLAG = instance_of(bool, "True or False")
