"""The same key at the same seat, in every process and on every Python version."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import hashlib
import math
import uuid
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, cast

import attrs


def phash(key: object, size: int) -> int:
    """Return the seat for ``key`` among ``size`` seats, from 0 to ``size - 1``.

    Equal keys get equal seats. When ``size`` grows by one, a key stays or moves to the new seat.

    The digest is BLAKE2b over an encoding of the key's content; the seat is chosen by jump
    consistent hashing (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm",
    2014).

    Args:
        key: str, bytes, a number, ``None``, an enum member, a UUID, a date or time, a tuple,
            list, set or mapping of such, or a dataclass or attrs instance made of them.
        size: the number of seats, at least 1.

    Raises:
        TypeError: the key has no content that is the same in another process.
        ValueError: ``size`` is less than 1.
    """
    if size < 1:
        message = f"size must be an int >= 1, got {size!r} (phash)"
        raise ValueError(message)
    state = int.from_bytes(hashlib.blake2b(_encode(key), digest_size=8).digest(), "big")
    seat, jump = 0, 0
    while jump < size:
        seat = jump
        state = (state * 2862933555777941757 + 1) & 0xFFFFFFFFFFFFFFFF
        jump = int((seat + 1) * (0x80000000 / ((state >> 33) + 1)))
    return seat


def _encode(value: object) -> bytes:  # noqa: C901, PLR0911, PLR0912  # a table of types, in order
    """Return bytes that differ for values that differ, and agree for values that are equal."""
    if isinstance(value, str):
        return _tagged(b"s", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _tagged(b"b", bytes(value))
    if isinstance(value, (int, float, decimal.Decimal, fractions.Fraction)):
        return _tagged(b"n", _encode_number(value))
    if value is None:
        return b"0"
    if isinstance(value, enum.Enum):
        return _tagged(b"e", _encode(type(value).__qualname__) + _encode(value.name))
    if isinstance(value, uuid.UUID):
        return _tagged(b"u", value.bytes)
    if isinstance(value, dt.datetime):
        if value.utcoffset() is not None:
            value = value.astimezone(dt.timezone.utc)
        return _tagged(b"d", value.isoformat().encode())
    if isinstance(value, (dt.date, dt.time)):
        return _tagged(b"t", value.isoformat().encode())
    if isinstance(value, dt.timedelta):
        return _tagged(b"i", str(value // dt.timedelta(microseconds=1)).encode())
    if isinstance(value, tuple):
        return _tagged(b"(", b"".join(map(_encode, value)))
    if isinstance(value, list):
        return _tagged(b"[", b"".join(map(_encode, value)))
    if isinstance(value, AbstractSet):
        return _tagged(b"{", b"".join(sorted(map(_encode, value))))
    if isinstance(value, Mapping):
        pairs = sorted(_encode(name) + _encode(content) for name, content in value.items())
        return _tagged(b"m", b"".join(pairs))
    names = _field_names(value)
    if names is not None:
        fields = b"".join(_encode(getattr(value, name)) for name in names)
        return _tagged(b"f", _encode(type(value).__qualname__) + fields)
    message = (
        f"{type(value).__qualname__} has no content that is the same in every process, so it can "
        f"not choose a seat; give the pool a key= function that returns a str, int or tuple"
    )
    raise TypeError(message)


def _tagged(tag: bytes, content: bytes) -> bytes:
    return b"%b%d:%b" % (tag, len(content), content)


def _encode_number(value: float | decimal.Decimal | fractions.Fraction) -> bytes:
    """Return one encoding for all numbers that are equal: 1, 1.0, True and Decimal(1)."""
    if isinstance(value, int):
        return b"%x/1" % value
    if isinstance(value, (float, decimal.Decimal)) and not math.isfinite(value):
        return str(float(value)).encode()
    above, below = value.as_integer_ratio()
    return b"%x/%x" % (above, below)


def _field_names(value: object) -> list[str] | None:
    """Return the fields of a dataclass or attrs instance that compares by content."""
    if type(value).__eq__ is object.__eq__:
        return None
    if attrs.has(type(value)):
        return [field.name for field in attrs.fields(cast("Any", type(value))) if field.eq]
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is None:
        return None
    return [name for name, field in fields.items() if field.compare]
