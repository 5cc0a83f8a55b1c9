"""The same key at the same seat, in every process and on every Python version."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import hashlib
import math
import uuid
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Digits and zeros of a ``Decimal``: to write out ten times as many takes half a second.
_LONGEST = 10_000
#: What a key may hold, and how deep, which bounds the time for one that holds itself, as well.
_MOST, _DEEPEST = 100_000, 250


def phash(key: object, size: int) -> int:
    """Return the seat for ``key`` among ``size`` seats, from 0 to ``size - 1``.

    Equal keys get equal seats. When ``size`` grows by one, a key stays or moves to the new seat.

    The digest is BLAKE2b over an encoding of the key's content; the seat is chosen by jump
    consistent hashing (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm",
    2014).

    Args:
        key: str, bytes, a number, ``None``, an enum member, a UUID, a date or time, a tuple,
            list, set or mapping of such, or a dataclass or attrs instance made of them that
            compares by its fields.
        size: the number of seats, at least 1.

    Raises:
        TypeError: the key has no content that is the same in another process, or too much of it,
            or ``size`` is no int.
        ValueError: ``size`` is less than 1.
    """
    if not isinstance(size, int):
        message = f"size must be an int >= 1, got {size!r} (phash)"
        raise TypeError(message)
    if size < 1:
        message = f"size must be an int >= 1, got {size!r} (phash)"
        raise ValueError(message)
    try:
        content = _encode(key)
    except RecursionError:  # the caller is deep in the stack itself
        raise _Contents.refusal() from None
    state = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
    seat, jump = 0, 0
    while jump < size:
        seat = jump
        state = (state * 2862933555777941757 + 1) & 0xFFFFFFFFFFFFFFFF
        jump = int((seat + 1) * (0x80000000 / ((state >> 33) + 1)))
    return seat


_TICK = dt.timedelta(microseconds=1)


class _Contents:
    """What one key holds, in containers: counted, so that the time for it has a bound."""

    __slots__ = ("_depth", "_left")

    def __init__(self) -> None:
        self._left = _MOST
        self._depth = 0

    def encode(self, values: Iterable[object]) -> Iterator[bytes]:
        """Yield the encoding of each of the ``values`` in a container."""
        if self._depth == _DEEPEST:
            raise self.refusal()
        self._depth += 1
        for value in values:
            if not self._left:
                raise self.refusal()
            self._left -= 1
            yield _encode(value, self)
        self._depth -= 1

    @staticmethod
    def refusal() -> TypeError:
        """Return the error for a key that holds too much."""
        return TypeError(
            f"a key must not hold more than {_MOST} values, or be nested {_DEEPEST} deep, or hold "
            f"itself; give the pool a key= function that returns a str, int or tuple"
        )


def _encode(value: object, inside: _Contents | None = None) -> bytes:  # noqa: C901, PLR0911, PLR0912  # a table of types, in order
    """Return bytes that differ for values that differ, and agree for values that are equal."""
    if isinstance(value, str):
        return _tagged(b"s", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _tagged(b"b", bytes(value))
    if isinstance(value, (int, float, decimal.Decimal, fractions.Fraction)):
        return _tagged(b"n", _encode_number(value))
    if value is None:
        return b"0"
    inside = inside or _Contents()
    if isinstance(value, enum.Enum):
        # A combined flag has a name on some versions of Python and none on others.
        member = value.value if isinstance(value, enum.Flag) else value.name
        return _tagged(b"e", b"".join(inside.encode((type(value).__qualname__, member))))
    if isinstance(value, uuid.UUID):
        return _tagged(b"u", value.bytes)
    if isinstance(value, dt.datetime):
        return _tagged(b"d", _encode_datetime(value))
    if isinstance(value, dt.time):
        return _tagged(b"t", _encode_time(value))
    if isinstance(value, dt.date):
        return _tagged(b"t", value.isoformat().encode())
    if isinstance(value, dt.timedelta):
        return _tagged(b"i", b"%d" % (value // _TICK))
    if isinstance(value, tuple):
        return _tagged(b"(", b"".join(inside.encode(value)))
    if isinstance(value, list):
        return _tagged(b"[", b"".join(inside.encode(value)))
    if isinstance(value, AbstractSet):
        return _tagged(b"{", b"".join(sorted(inside.encode(value))))
    if isinstance(value, Mapping):
        pairs = sorted(b"".join(inside.encode(pair)) for pair in value.items())
        return _tagged(b"m", b"".join(pairs))
    fields = _compared_fields(value)
    if fields is not None:
        return _tagged(b"f", b"".join(inside.encode([type(value).__qualname__, *fields])))
    raise _unstable(value)


def _unstable(value: object) -> TypeError:
    return TypeError(
        f"{type(value).__qualname__} has no content that is the same in every process, so it can "
        f"not choose a seat; give the pool a key= function that returns a str, int or tuple"
    )


def _tagged(tag: bytes, content: bytes) -> bytes:
    return b"%b%d:%b" % (tag, len(content), content)


def _encode_number(value: float | decimal.Decimal | fractions.Fraction) -> bytes:
    """Return one encoding for all numbers that are equal: 1, 1.0, True and Decimal(1)."""
    if isinstance(value, int):
        return b"%x/1" % value
    if isinstance(value, decimal.Decimal) and value.is_snan():
        raise _unstable(value)  # it has no hash either
    if isinstance(value, decimal.Decimal):
        finite = value.is_finite()
    else:
        finite = isinstance(value, fractions.Fraction) or math.isfinite(value)
    if not finite:
        return str(float(value)).encode()
    if isinstance(value, decimal.Decimal):
        if not value:
            return b"0/1"
        if len(str(value)) + abs(value.adjusted()) > _LONGEST:
            raise TypeError(
                f"a Decimal of more than {_LONGEST} digits can't choose a seat; "
                f"give the pool a key= function that returns a str, int or tuple"
            )
    above, below = value.as_integer_ratio()
    return b"%x/%x" % (above, below)


def _encode_datetime(value: dt.datetime) -> bytes:
    """Return one encoding for the same moment in all zones; times without a zone stand apart."""
    # Equality overlooks the second pass of an hour that is repeated.
    value = value.replace(fold=0)
    offset = value.utcoffset()
    if offset is not None:
        try:
            value = value.astimezone(dt.timezone.utc)
        except OverflowError:  # it has no date in UTC
            return b"%d" % ((value.replace(tzinfo=None) - dt.datetime.min - offset) // _TICK)  # noqa: DTZ901  # no zones left
    return value.isoformat().encode()


def _encode_time(value: dt.time) -> bytes:
    """Return one encoding for the same time of day in all zones."""
    offset = value.utcoffset()
    if offset is None:
        return value.replace(tzinfo=None).isoformat().encode()
    clock = dt.timedelta(
        hours=value.hour,
        minutes=value.minute,
        seconds=value.second,
        microseconds=value.microsecond,
    )
    return b"%dZ" % ((clock - offset) // _TICK)


def _compared_fields(value: object) -> list[object] | None:
    """Return what a dataclass or attrs instance compares by, if it compares by content."""
    if type(value).__eq__ is object.__eq__:
        return None
    if attrs.has(type(value)):
        fields = [field for field in attrs.fields(cast("Any", type(value))) if field.eq]
        contents = [(getattr(value, field.name), field.eq_key) for field in fields]
        return [content if key is None else key(content) for content, key in contents]
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value) if field.compare]
    return None
