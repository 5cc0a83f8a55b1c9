"""Options: declared as class attributes or passed as keyword arguments, and checked either way."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ClassVar, cast

from poolder_trio.kernel.naming import a, hint, misspelt
from poolder_trio.policies.unstarted import REMEDY, close_unstarted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from typing import NoReturn

    from poolder_trio.policies.checks import Check

#: All hooks that any class has, each with where it belongs.
BELONGS: Mapping[str, str] = {
    "handle_init": "a Worker, Pool, FactoryPool, Batcher or Scheduler",
    "handle_job": "a Worker or Scheduler",
    "handle_call": "a Worker or GenPool",
    "handle_periodic_job": "a Worker",
    "handle_error": "a Worker, Batcher or Scheduler, or where functions run",
    "handle_hibernate": "a Worker, Batcher or Scheduler",
    "handle_stop": "a Worker",
    "handle_batch": "a Batcher",
    "handle_down": "a FactoryPool",
    "handle_cast": "a GenPool",
    "handle_info": "a GenPool",
    "handle_continue": "a GenPool",
}


class Options:
    """Base of the classes whose options can be declared in a subclass or passed.

    Subclasses name their options in ``OPTIONS``, each with its check, give each a default of the
    same name, and list in ``HOOKS`` the methods that users override and that must be async.
    """

    OPTIONS: ClassVar[Mapping[str, Check]] = {}
    HOOKS: ClassVar[Iterable[str]] = ()
    #: Options that can be set on an instance, under all their names.
    LIMITS: ClassVar[Sequence[str]] = ()

    #: Names that were found to be no slip for one of ours.
    _free: ClassVar[set[str]]
    _described = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls._free = set()
        if "OPTIONS" in vars(cls):
            return  # this class says what the options are
        # What a mixin brings counts as well, so this looks at more than the class's own names.
        for name, check in cls.OPTIONS.items():
            if hasattr(cls, name):
                check(name, cls.declared(name), cls.__name__)
        for name in cls.HOOKS:
            _check_hook(name, cls.declared(name), cls.__name__)
        cls._refuse_lost_names({*cls.HOOKS, *cls.called_by_name()})
        if "__init__" in vars(cls):
            cls.__init__ = _demanding(cls.__init__)  # type: ignore[method-assign]  # the same, checked

    @classmethod
    def _refuse_lost_names(cls, called: Collection[str]) -> None:
        """Raise ``TypeError`` for what looks like a hook or an option and is none."""
        for base in cls.__mro__:
            for name in () if "OPTIONS" in vars(base) else vars(base):
                if name in BELONGS and name not in called:
                    raise TypeError(cls._never_called(name))
        for name in vars(cls):
            known = name in cls.OPTIONS or name in called or hasattr(super(cls, cls), name)
            if not known and not name.startswith("_"):
                near = cls._misspelt(name)
                if near is not None:
                    raise TypeError(
                        f"{cls.__name__}.{name} nearly spells {near!r}: "
                        f"write that, or a name less like it"
                    )

    @classmethod
    def called_by_name(cls) -> Collection[str]:
        """Return the names of methods that are called though they are no hooks."""
        return ()

    @classmethod
    def declared(cls, name: str) -> object:
        """Return an option's declared value; a function is taken as it stands, not bound."""
        value = inspect.getattr_static(cls, name)
        return value.__func__ if isinstance(value, staticmethod) else value

    @classmethod
    def _misspelt(cls, name: str) -> str | None:
        return misspelt(name, [*cls.OPTIONS, *cls.LIMITS, *cls.HOOKS], BELONGS)

    @classmethod
    def _never_called(cls, name: str) -> str:
        library = next(base.__name__ for base in cls.__mro__ if "OPTIONS" in vars(base))
        return (
            f"{cls.__name__}.{name} would never be called: {name} is a hook of {BELONGS[name]}, "
            f"and {cls.__name__} is a {library}, which has: {', '.join(cls.HOOKS) or 'none'}"
        )

    @classmethod
    def _refuse_to_set(cls, name: str) -> None:
        """Raise ``AttributeError`` if an attribute of users' own must not be called so."""
        if name in cls._free:
            return
        if name in cls.OPTIONS:
            _refuse_change(cls, name, "set")
        if name in BELONGS and name not in cls.HOOKS:
            raise AttributeError(cls._never_called(name))
        near = None if hasattr(cls, name) else cls._misspelt(name)
        if near is not None:
            raise AttributeError(
                f"{cls.__name__} has no {name!r}: did you mean {near!r}? "
                f"If it is an attribute of your own, choose a name less like it"
            )
        cls._free.add(name)

    def take(self, passed: Mapping[str, object]) -> None:
        """Set every option on this instance: to what was passed, else to what was declared."""
        where = type(self).__name__
        for name in passed:
            if name not in self.OPTIONS:
                message = f"{where} has no option {name!r}{hint(name, self.OPTIONS)}"
                raise TypeError(message)
        for name, check in self.OPTIONS.items():
            value = passed[name] if name in passed else self.declared(name)
            check(name, value, where)
            self._put(name, value)
        self._described = True

    def require_described(self) -> None:
        """Raise unless ``__init__`` of the library's class has run."""
        if not self._described:
            kind = type(self).__name__
            raise TypeError(
                f"{kind}.__init__ must call super().__init__(), with the options if it takes any: "
                f"it did not, so this {kind} has none"
            )

    def refuse_positional(self, values: Sequence[object], option: str) -> None:
        """Raise ``TypeError`` if options are passed by position; ``option``: which it may be."""
        if values:
            kind = type(self).__name__
            first = repr(values[0])
            raise TypeError(
                f"{kind} takes its options by keyword, got {first}: write {option}={first}, if "
                f"that is what it is; options are: {', '.join(sorted(self.OPTIONS))}"
            )

    def _put(self, name: str, value: object) -> None:
        """Set an option on this instance, where nobody refuses it."""
        object.__setattr__(self, name, value)

    def override(self, name: str, value: object) -> None:
        """Set an option on this instance for whoever runs it, as the command line does.

        Raises:
            TypeError, ValueError: the value is wrong.
        """
        self.OPTIONS[name](name, value, type(self).__name__)
        self._put(name, value)

    def _set_live(self, name: str, value: object) -> None:
        """Set one of ``LIMITS``."""

    # Type checkers know what there is, and take this for leave to set whatever one likes.
    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: object) -> None:
            if name[:1] == "_":
                object.__setattr__(self, name, value)
            elif name in self.LIMITS:
                if not self._described:
                    raise AttributeError(
                        f"{name} of {a(type(self))} can be set when super().__init__() has run: "
                        f"pass it there, super().__init__({name}={value!r})"
                    )
                self._set_live(name, value)
            else:
                self._refuse_to_set(name)
                object.__setattr__(self, name, value)

        def __delattr__(self, name: str) -> None:
            if name in self.OPTIONS or name in self.LIMITS:
                _refuse_change(type(self), name, "deleted")
            object.__delattr__(self, name)


def _refuse_change(kind: type[Options], name: str, what: str) -> NoReturn:
    settable = f"; what can be set is {', '.join(kind.LIMITS)}" if kind.LIMITS else ""
    raise AttributeError(
        f"{name} of {a(kind)} can't be {what} on an instance: pass it, "
        f"{kind.__name__}({name}=...), or declare it in a subclass, {name} = ...{settable}"
    )


def _demanding(init: Callable[..., None]) -> Callable[..., None]:
    """Return an ``__init__`` that tells who forgot to call that of the base class."""

    @functools.wraps(init)
    def __init__(self: Options, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401, N807  # as given
        init(self, *args, **kwargs)
        self.require_described()

    return cast("Callable[..., None]", __init__)


def _check_hook(name: str, value: object, where: str) -> None:
    if not inspect.iscoroutinefunction(value):
        message = f"{name} must be an async def function, got {_described(value)} ({where})"
        raise TypeError(message)


def _described(value: object) -> str:
    if inspect.isasyncgenfunction(value):
        return "an async generator: return instead of yielding"
    if close_unstarted(value):
        return f"{value!r}: {REMEDY}"
    return "a plain def: write async def" if inspect.isfunction(value) else repr(value)
