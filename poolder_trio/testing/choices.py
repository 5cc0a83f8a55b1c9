"""What Trio and ``random`` choose, drawn from a seed: all that is replaced of Trio is in this file.

Trio leaves open in which order it runs tasks that are ready at once, tells those that are cancelled
at once, and looks at scopes whose deadlines are the same. It takes what comes: a random number, the
order of a set, an address in memory. Here each of these is drawn, or counted, and nothing else of
Trio's is changed. Threads would be chance as well, so functions for them are called at once.

A Trio run in another thread goes on as it would without.
"""

from __future__ import annotations

import importlib
import itertools
import random
from operator import attrgetter
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any

import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

__all__ = ["Choices"]

_ONE_AT_A_TIME = Lock()


class Choices:
    """Makes all choices in this thread those of ``seed``, from `take` to `give_back`."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._taken = False
        self._replaced: list[tuple[ModuleType, dict[str, object]]] = []
        self._drawn: Any = None

    @trio.lowlevel.enable_ki_protection
    def take(self) -> None:
        """Begin.

        Raises:
            RuntimeError: another simulation runs in this process, or this release of Trio has not
                all that is replaced here.
        """
        if not _ONE_AT_A_TIME.acquire(blocking=False):
            raise RuntimeError(
                "another simulation runs in this process: run one after the other, or each in a "
                "process of its own"
            )
        self._taken = True
        self._drawn = random.getstate()
        try:
            run = importlib.import_module("trio._core._run")
            threads = importlib.import_module("trio._threads")
            in_run, in_threads = _found(run, _IN_RUN), _found(threads, _IN_THREADS)
        except (ImportError, AttributeError) as error:
            raise RuntimeError(
                f"a simulation replaces things that are private to Trio, and Trio "
                f"{trio.__version__} has not all of them ({error}): use a release from 0.30 to "
                f"0.35, or a later one of poolder_trio"
            ) from error
        self._replaced = [(run, in_run), (threads, in_threads)]
        # One seed, but words of their own: what the program draws says nothing of Trio's order.
        random.seed(f"program {self._seed}")
        vars(run).update(_for_run(in_run, self._seed))
        vars(threads).update(_for_threads(in_threads))

    @trio.lowlevel.enable_ki_protection
    def give_back(self) -> None:
        """Leave everything as it was; nothing happens if that is done."""
        if not self._taken:
            return
        for module, before in self._replaced:
            vars(module).pop("id", None)  # which is Python's own
            vars(module).update(before)
        random.setstate(self._drawn)
        self._taken = False
        _ONE_AT_A_TIME.release()


_IN_RUN = (
    *("_r", "_ALLOW_DETERMINISTIC_SCHEDULING", "CancelStatus"),
    *("CancelStatus._tasks", "CancelStatus._children", "Task._counter"),
)
_IN_THREADS = ("start_thread_soon",)


def _found(module: ModuleType, names: Iterable[str]) -> dict[str, Any]:
    """Return what of a module is replaced; an ``AttributeError`` says what is not there."""
    found = {name: attrgetter(name)(module) for name in names}
    return {name: value for name, value in found.items() if "." not in name}


def _for_run(before: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return what to put in place of what was in ``trio._core._run``."""
    here = get_ident()
    told = random.Random(f"told {seed}")  # noqa: S311  # an order, no secret
    numbers = itertools.count()
    make = before["CancelStatus"]

    def status(*args: object, **kwargs: object) -> object:
        made = make(*args, **kwargs)
        if get_ident() == here:
            made._tasks, made._children = _Members(told), _Members(told)  # noqa: SLF001
        return made

    def number(thing: object) -> int:
        # Scopes of one deadline are told apart by this. Nothing else asks for more than to be
        # told from others, so that all get one.
        return next(numbers) if get_ident() == here else id(thing)

    return {
        # It shuffles tasks that were sorted by when they were made.
        "_r": _Drawn(random.Random(f"order {seed}"), before["_r"]),  # noqa: S311  # as above
        "_ALLOW_DETERMINISTIC_SCHEDULING": True,
        "CancelStatus": status,
        "id": number,
    }


def _for_threads(before: dict[str, Any]) -> dict[str, Any]:
    """Return what to put in place of what was in ``trio._threads``."""
    here = get_ident()
    start = before["start_thread_soon"]

    def start_thread_soon(
        fn: Callable[[], Any],
        deliver: Callable[[outcome.Outcome[Any]], object],
        name: str | None = None,
    ) -> None:
        if get_ident() == here:
            deliver(outcome.capture(_call, fn))
        else:
            start(fn, deliver, name)

    return {"start_thread_soon": start_thread_soon}


@trio.lowlevel.disable_ki_protection
def _call(fn: Callable[[], Any]) -> Any:  # noqa: ANN401  # what a thread's function returns
    return fn()


class _Drawn:
    """Random numbers: ours in the thread that makes this, and those of before in all others."""

    def __init__(self, ours: random.Random, before: random.Random) -> None:
        self._here = get_ident()
        self._ours = ours
        self._before = before

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # any method of a Random
        return getattr(self._ours if get_ident() == self._here else self._before, name)


class _Members(dict[object, None]):
    """What Trio needs of a set; the order in which it is gone through is drawn."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self._draw = draw

    def add(self, member: object) -> None:
        self[member] = None

    def remove(self, member: object) -> None:
        del self[member]

    def __iter__(self) -> Iterator[object]:
        members = list(self.keys())
        self._draw.shuffle(members)
        return iter(members)
