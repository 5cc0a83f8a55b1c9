"""States as bytes: JSON that comes back as what it was, and checks of codecs that users bring."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from poolder_trio.abc import Codec
from poolder_trio.kernel.notes import add_note, describe
from poolder_trio.policies.checks import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

CODEC = Check(
    "a Codec, an object with encode(state) -> bytes and decode(data) -> state",
    lambda value: isinstance(value, Codec) and not isinstance(value, type),
)

_PLAIN = frozenset({str, int, float, bool, type(None)})


@attrs.frozen
class JSONCodec:
    """Keeps a state as JSON, and refuses one that JSON would change.

    That is what is not made of ``str``, ``int``, finite ``float``, ``bool``, ``None``, lists and
    dicts with ``str`` keys, these very types: a tuple would come back as a list, an `enum.IntEnum`
    as a number, and a key ``1`` as ``"1"``.
    """

    def encode(self, state: object, /) -> bytes:
        """Return ``state`` as JSON in ASCII.

        Raises:
            TypeError: JSON would change something in it, or cannot hold it.
        """
        try:
            text = json.dumps(state, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            raise _refusal("the state", str(error)) from error
        if type(state) not in _PLAIN:
            _refuse_changed(state)
        return text.encode("ascii")

    def decode(self, data: bytes, /) -> object:
        """Return the state that ``data`` was made of.

        Raises:
            ValueError: ``data`` is not JSON.
        """
        state: object = json.loads(data)
        return state


@attrs.frozen
class _Part:
    """A value inside a state. How to get there is told only if someone has to know."""

    value: object
    key: object = None
    outer: _Part | None = None

    def __str__(self) -> str:
        return "state" if self.outer is None else f"{self.outer}[{describe(self.key)}]"

    def parts(self) -> Iterator[_Part]:
        """Its items, or a ``TypeError``: it is neither a list nor a dict."""
        if type(self.value) is list:
            for index, value in enumerate(self.value):
                yield _Part(value, index, self)
        elif type(self.value) is dict:
            for key, value in self.value.items():
                if type(key) is not str:
                    raise _refusal(f"a key of {self}", f"{describe(key)} would become a str")
                yield _Part(value, key, self)
        else:
            kind = type(self.value).__qualname__
            raise _refusal(str(self), f"{describe(self.value)}, a {kind}, would change its type")


def _refuse_changed(state: object) -> None:
    """Raise ``TypeError`` if JSON, which could hold ``state``, would not give it back."""
    left = [_Part(state)]
    while left:
        left.extend(part for part in left.pop().parts() if type(part.value) not in _PLAIN)


def _refusal(what: str, why: str) -> TypeError:
    remedy = "keep plain data, or give the backend a codec="
    return TypeError(f"{what} can't be kept as JSON: {why}; {remedy}")


def encoded(codec: Codec, state: object, where: str) -> bytes:
    """Return ``state`` as bytes.

    Raises:
        TypeError: the codec returned something else.
        Exception: what the codec raised, with a note that says which state it was.
    """
    try:
        data: object = codec.encode(state)
    except Exception as error:
        add_note(error, f"{where} was to be stored; nothing was written")
        raise
    if not isinstance(data, bytes):
        raise TypeError(
            f"{codec!r}.encode must return bytes, got {describe(data)} for {where}; "
            f"nothing was written"
        )
    return data


def decoded(codec: Codec, data: bytes, where: str) -> object:
    """Return the state that ``data`` was made of.

    Raises:
        ValueError: the codec can't decode it; what it raised is the cause.
    """
    try:
        return codec.decode(data)
    except Exception as error:
        raise ValueError(
            f"{codec!r} can't decode {where}, {describe(data)}: {error}; "
            f"was it stored with another codec?"
        ) from error
