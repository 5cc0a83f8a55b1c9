"""Options: declared as class attributes or passed as keyword arguments, and checked either way."""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from poolder_trio.policies.checks import Check


class Options:
    """Base of the classes whose options can be declared in a subclass or passed.

    Subclasses name their options in ``OPTIONS``, each with its check, give each a default of the
    same name, and list in ``HOOKS`` the methods that users override and that must be async.
    """

    OPTIONS: ClassVar[Mapping[str, Check]] = {}
    HOOKS: ClassVar[Iterable[str]] = ()

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "OPTIONS" in vars(cls):
            return  # this class says what the options are
        # What a mixin brings counts as well, so this looks at more than the class's own names.
        for name, check in cls.OPTIONS.items():
            if hasattr(cls, name):
                check(name, cls.declared(name), cls.__name__)
        for name in cls.HOOKS:
            _check_hook(name, cls.declared(name), cls.__name__)
        for name in vars(cls):
            known = name in cls.OPTIONS or hasattr(super(cls, cls), name)
            if not known and not name.startswith("_"):
                _refuse_misspelt(name, [*cls.OPTIONS, *cls.HOOKS], cls.__name__)

    @classmethod
    def declared(cls, name: str) -> object:
        """Return an option's declared value; a function is taken as it stands, not bound."""
        value = inspect.getattr_static(cls, name)
        return value.__func__ if isinstance(value, staticmethod) else value

    def take(self, passed: Mapping[str, object]) -> None:
        """Set every option on this instance: to what was passed, else to what was declared."""
        where = type(self).__name__
        for name in passed:
            if name not in self.OPTIONS:
                message = f"{where} has no option {name!r}{_hint(name, self.OPTIONS)}"
                raise TypeError(message)
        for name, check in self.OPTIONS.items():
            value = passed[name] if name in passed else self.declared(name)
            check(name, value, where)
            setattr(self, name, value)


def _check_hook(name: str, value: object, where: str) -> None:
    if not inspect.iscoroutinefunction(value):
        message = f"{name} must be an async def function, got {_described(value)} ({where})"
        raise TypeError(message)


def _described(value: object) -> str:
    if inspect.isasyncgenfunction(value):
        return "an async generator: return instead of yielding"
    return "a plain def: write async def" if inspect.isfunction(value) else repr(value)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


_LONG = 6  # letters: below that, a word is an anagram of another by chance


def _letters(name: str) -> list[str]:
    return sorted(_plain(name))


def _nearest(name: str, known: Iterable[str], cutoff: float) -> str | None:
    by_plain = {_plain(other): other for other in known}
    close = difflib.get_close_matches(_plain(name), by_plain, n=1, cutoff=cutoff)
    return by_plain[close[0]] if close else None


def _hint(name: str, known: Iterable[str]) -> str:
    if name in ("retry", "callbacks", "priority", "hibernate_after"):
        return ": it is an option of the Worker, declared in its class"
    near = _nearest(name, known, 0.6)
    return f": did you mean {near!r}?" if near else f"; it has: {', '.join(sorted(known))}"


def _refuse_misspelt(name: str, known: Iterable[str], where: str) -> None:
    # 0.9 lets "model" pass beside "mode". Letters that changed places are a slip, too.
    near = _nearest(name, known, 0.9) or next(
        (other for other in known if len(name) >= _LONG and _letters(other) == _letters(name)), None
    )
    if near is not None:
        message = f"{where}.{name} nearly spells {near!r}: write that, or a name less like it"
        raise TypeError(message)
