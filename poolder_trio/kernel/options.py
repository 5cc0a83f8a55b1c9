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
        known = [*cls.OPTIONS, *cls.HOOKS]
        for name, value in list(vars(cls).items()):
            if name in cls.OPTIONS:
                cls.OPTIONS[name](name, as_it_stands(value), cls.__name__)
            elif name in cls.HOOKS:
                _check_hook(name, value, cls.__name__)
            elif not name.startswith("_") and not hasattr(super(cls, cls), name):
                _refuse_misspelt(name, known, cls.__name__)

    def declared(self, name: str) -> object:
        """Return an option's declared value; a function is taken as it stands, not bound."""
        return as_it_stands(inspect.getattr_static(type(self), name))

    def take(self, passed: Mapping[str, object]) -> None:
        """Set every option on this instance: to what was passed, else to what was declared."""
        where = type(self).__name__
        for name, value in passed.items():
            if name not in self.OPTIONS:
                message = f"{where} has no option {name!r}{_hint(name, self.OPTIONS)}"
                raise TypeError(message)
            self.OPTIONS[name](name, value, where)
        for name in self.OPTIONS:
            setattr(self, name, passed[name] if name in passed else self.declared(name))


def as_it_stands(value: object) -> object:
    """Return what a class attribute holds."""
    return value.__func__ if isinstance(value, staticmethod) else value


def _check_hook(name: str, value: object, where: str) -> None:
    if not inspect.iscoroutinefunction(as_it_stands(value)):
        message = f"{name} must be an async def function, got {value!r} ({where})"
        raise TypeError(message)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _nearest(name: str, known: Iterable[str], cutoff: float) -> str | None:
    by_plain = {_plain(other): other for other in known}
    close = difflib.get_close_matches(_plain(name), by_plain, n=1, cutoff=cutoff)
    return by_plain[close[0]] if close else None


def _hint(name: str, known: Iterable[str]) -> str:
    near = _nearest(name, known, 0.6)
    return f": did you mean {near!r}?" if near else f"; it has: {', '.join(sorted(known))}"


def _refuse_misspelt(name: str, known: Iterable[str], where: str) -> None:
    near = _nearest(name, known, 0.88)
    if near is not None:
        message = f"{where}.{name} nearly spells {near!r}: write that, or a name less like it"
        raise TypeError(message)
