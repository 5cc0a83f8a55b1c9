"""An application's options as a TOML file and the environment write them."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from poolder_trio.errors import DuplicateName
from poolder_trio.kernel.service import Service
from poolder_trio.policies.queues import Queue
from poolder_trio.policies.rate import Rate
from poolder_trio.policies.restart import Restart
from poolder_trio.policies.retry import Retry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PREFIX = "POOLDER_TRIO_"
#: The keys of the table. What is here is also what an environment variable may override.
KEYS = ("default_pool", "pool_size", "extra_pools", "grace", "name")
#: Options that are objects in Python are tables in TOML, with the arguments of their classes.
_DESCRIBED: Mapping[str, Callable[..., object]] = {
    "queue": Queue,
    "rate": Rate,
    "restart": Restart,
    "retry": Retry,
}


def hint(name: str, known: Iterable[str]) -> str:
    """Return what to add to an error about a name that is not ``known``."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f": did you mean {near[0]!r}?" if near else f"; there is {', '.join(names) or 'none'}"


def located(error: TypeError | ValueError, where: str) -> TypeError | ValueError:
    """Return an error like ``error`` that says ``where`` it comes from.

    What is made anew is one of three classes, since others may take other arguments than a text.
    """
    plain = TypeError if isinstance(error, TypeError) else ValueError
    kind = DuplicateName if isinstance(error, DuplicateName) else plain
    return kind(f"{where}: {error}")


def find(target: str, where: str) -> object:
    """Import what ``module:attribute`` names.

    Args:
        target: a module's full name, a colon, and a name in it, with dots for names inside.
        where: where it was written, for errors.

    Raises:
        ValueError: it has another form.
        ImportError: there is no such module, or nothing of that name in it.
        Exception: whatever the module itself raises.
    """
    module_name, colon, attributes = target.partition(":")
    if not colon or not all(
        name.isidentifier() for name in (*module_name.split("."), *attributes.split("."))
    ):
        raise ValueError(f"expected 'module:attribute', got {target!r} ({where})")
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # it is there, and imports something that is not
        raise ImportError(f"there is no module {error.name!r} ({where}: {target!r})") from error
    for name in attributes.split("."):
        if not hasattr(found, name):
            there = hint(name, [other for other in dir(found) if not other.startswith("_")])
            raise ImportError(f"{target!r} has no {name!r}{there} ({where})")
        found = getattr(found, name)
    return found


def read(path: str | os.PathLike[str]) -> dict[str, object]:
    """Return the options that a file describes.

    Raises:
        OSError: the file cannot be read.
        TypeError, ValueError, ImportError: it is wrong; it says where.
    """
    where = os.fspath(path)
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # no TOML, or no UTF-8
        raise ValueError(f"{where} is no TOML file: {error}") from error
    table = _table(document, where)
    for key in table:
        if key not in (*KEYS, "children", "options"):
            raise ValueError(
                f"{where} has an unknown key {key!r}{hint(key, (*KEYS, 'children', 'options'))}"
            )
    options = dict(table)
    if "children" in table:
        options["children"] = _children(table["children"], where)
    if "options" in table:
        options["options"] = {
            name: described(_mapping(its, f"options.{name}", where), f"{where}: options.{name}")
            for name, its in _mapping(table["options"], "options", where).items()
        }
    return options


def overrides(environ: Mapping[str, str]) -> dict[str, tuple[str, object]]:
    """Return, by the names of environment variables, the options that they set, and to what.

    Raises:
        ValueError: one of our prefix is unknown, or cannot be read.
    """
    found: dict[str, tuple[str, object]] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        key = variable[len(PREFIX) :].lower()
        if key not in KEYS:
            known = [PREFIX + name.upper() for name in KEYS]
            raise ValueError(f"the environment has an unknown {variable}{hint(variable, known)}")
        try:
            found[variable] = key, _READERS[key](text)
        except ValueError:
            raise ValueError(f"{variable} must be {_FORMS[key]}, got {text!r}") from None
    return found


def described(options: Mapping[str, object], where: str) -> dict[str, object]:
    """Return a child's options, with tables turned into what they describe."""
    made = dict(options)
    for name, value in options.items():
        if name in _DESCRIBED and isinstance(value, Mapping):
            try:
                made[name] = _DESCRIBED[name](**cast("Mapping[str, object]", value))
            except (TypeError, ValueError) as error:
                raise located(error, f"{where}.{name}") from error
    return made


def _table(document: Mapping[str, object], where: str) -> Mapping[str, object]:
    tool = document.get("tool")
    if isinstance(tool, Mapping) and "poolder-trio" in tool:
        return _mapping(tool["poolder-trio"], "tool.poolder-trio", where)
    if Path(where).name == "pyproject.toml":
        raise ValueError(f"{where} has no table [tool.poolder-trio]")
    return document


def _mapping(value: object, name: str, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a table, got {value!r} ({where})")
    return cast("Mapping[str, object]", value)


def _children(listed: object, where: str) -> list[object]:
    if not isinstance(listed, list):
        raise TypeError(f"children must be an array, got {listed!r} ({where})")
    return [
        _child(entry, f"{where}: children[{number}]")
        for number, entry in enumerate(cast("list[object]", listed))
    ]


def _child(entry: object, where: str) -> object:
    if isinstance(entry, str):
        return find(entry, where)
    options = dict(cast("Mapping[str, object]", entry)) if isinstance(entry, Mapping) else {}
    target = options.pop("use", None)
    if not isinstance(target, str):
        raise TypeError(
            f"a child must be 'module:attribute', or a table with that under 'use' and the "
            f"options beside it, got {entry!r} ({where})"
        )
    found = find(target, where)
    if not (isinstance(found, type) and issubclass(found, Service)):
        raise TypeError(f"only a class of components takes options, got {found!r} ({where})")
    made = described(options, where)
    try:
        return found(**made)
    except (TypeError, ValueError) as error:
        raise located(error, where) from error


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


_READERS: Mapping[str, Callable[[str], object]] = {
    "default_pool": lambda text: False if text.lower() == "false" else text,
    "pool_size": int,
    "extra_pools": _words,
    "grace": float,
    "name": str,
}
_FORMS = {"pool_size": "an int >= 1", "grace": "a number of seconds >= 0"}
