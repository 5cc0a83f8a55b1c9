"""Components by name, within one Trio run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio.lowlevel import RunVar

from poolder_trio.errors import DuplicateName

if TYPE_CHECKING:
    from poolder_trio.kernel.service import Service

_names: RunVar[dict[str, Service]] = RunVar("poolder_trio.names")


def _named() -> dict[str, Service]:
    try:
        return _names.get()
    except LookupError:
        named: dict[str, Service] = {}
        _names.set(named)
        return named


def register(name: str, service: Service) -> None:
    """Let `whereis` find ``service``; raise `DuplicateName` if the name is taken."""
    other = _named().setdefault(name, service)
    if other is not service:
        message = f"a component named {name!r} is open already: {other!r}"
        raise DuplicateName(message)


def unregister(name: str) -> None:
    """Free the name."""
    del _named()[name]


def whereis(name: str) -> Service:
    """Return the component of this name that is open, or opening or closing, in this Trio run.

    Raises:
        LookupError: no component of this name is open.
        RuntimeError: called outside of a Trio run.
    """
    try:
        return _named()[name]
    except KeyError:
        known = ", ".join(map(repr, sorted(_named()))) or "none"
        message = f"no open component is named {name!r}; named ones: {known}"
        raise LookupError(message) from None
