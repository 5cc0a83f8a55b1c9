"""What users may have meant by a name that is none of a class's."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LONG = 6  # letters: below that, a word differs from another by a letter, or an order, by chance
_FIVE = 5  # letters: below that, most of what a slip makes are words


def a(kind: type) -> str:
    """Return the name of ``kind`` with its article."""
    return f"{'an' if kind.__name__[:1] in 'AEIOU' else 'a'} {kind.__name__}"


def hint(name: str, known: Iterable[str]) -> str:
    """Return what to add to an error about an option ``name`` that is not ``known``."""
    if name in ("retry", "callbacks", "priority", "hibernate_after"):
        return ": it is an option of the Worker, declared in its class"
    near = _nearest(name, known, 0.6)
    return f": did you mean {near!r}?" if near else f"; it has: {', '.join(sorted(known))}"


def misspelt(name: str, known: Iterable[str], others: Iterable[str] = ()) -> str | None:
    """Return which name ``name`` nearly spells, if any.

    Args:
        name: what a user called something.
        known: what it may have been meant to be.
        others: the same; but these have to be nearer.
    """
    # 0.9 lets "model" pass beside "mode". Letters that changed places are a slip, too.
    near = _nearest(name, known, 0.9)
    if near is None:
        near = next((each for each in known if _is_a_slip(name, each)), None)
    return near or _nearest(name, others, 0.94)


def _is_a_slip(name: str, known: str) -> bool:
    name, known = _plain(name), _plain(known)
    if len(name) >= _LONG and len(name) == len(known):
        wrong = [i for i, letter in enumerate(name) if letter != known[i]]
        one_inside = len(wrong) == 1 and 0 < wrong[0] < len(name) - 1
        if one_inside or sorted(name) == sorted(known):
            return True
    return name in _slips(known)


def _slips(word: str) -> Iterator[str]:
    """Yield ``word`` without a letter that is inside of it, and with neighbours swapped."""
    if len(word) >= _FIVE:
        for i in range(1, len(word) - 1):
            yield word[:i] + word[i + 1 :]
        for i in range(len(word) - 1):
            yield word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _nearest(name: str, known: Iterable[str], cutoff: float) -> str | None:
    by_plain = {_plain(other): other for other in known}
    close = difflib.get_close_matches(_plain(name), by_plain, n=1, cutoff=cutoff)
    return by_plain[close[0]] if close else None
