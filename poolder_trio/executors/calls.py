"""A call, as it is made in another process."""

from __future__ import annotations

import importlib
import traceback
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import attrs

from poolder_trio.executors import group_pickling
from poolder_trio.executors.functions import name_of, refuse_coroutine
from poolder_trio.kernel.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen
class Raised:
    """What a function raised there, so that no failure of the transport is taken for it."""

    error: BaseException


def call(fn: Callable[..., object], args: tuple[object, ...]) -> object:
    """Return what ``fn(*args)`` returns, or what it raises as `Raised`."""
    try:
        result = fn(*args)
        refuse_coroutine(fn, result)
    except BaseException as error:  # noqa: BLE001  # it is raised to the caller, in this form alone
        return Raised(_portable(error, name_of(fn)))
    return result


def _portable(error: BaseException, name: str) -> BaseException:
    """Return ``error`` if it can be pickled with its traceback, else a ``TypeError`` that tells it.

    It is loaded as well: an exception may refuse its own arguments.
    """
    # trio-parallel, which carries the answer, has tblib, and decides on cloudpickle in this way.
    tblib: Any = importlib.import_module("tblib.pickling_support")
    pickle: Any = importlib.import_module("cloudpickle" if find_spec("cloudpickle") else "pickle")
    try:
        tblib.install(error)
        group_pickling.install(error)
        pickle.loads(pickle.dumps(error))
    except Exception as why:  # noqa: BLE001  # pickling runs code of any kind
        kind = type(error).__qualname__
        told = TypeError(f"{name} raised {kind}, which can't be pickled: {why}; it follows as text")
        add_note(told, "".join(traceback.format_exception(error)))
        return told
    return error
