"""Which worker gets the next job: one small class per mode."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any, TypeVar, cast

from poolder_trio.policies.phash import phash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from poolder_trio.abc import Dispatch

T = TypeVar("T")


class RoundRobin:
    """Each worker in turn, index 0 first."""

    __slots__ = ("_dealt", "_turns")

    def __init__(self) -> None:
        self._dealt: Sequence[Any] = ()
        self._turns: Iterator[Any] = iter(())

    def deal(self, targets: Sequence[T]) -> Iterator[T]:
        """Return ``targets`` in turn, for ever, going on where the last round stopped.

        What it returns and `pick` take turns with one another; it is the one without a call into
        Python.
        """
        start = self._dealt.index(next(self._turns)) % len(targets) if self._dealt else 0
        self._dealt = targets
        self._turns = itertools.cycle([*targets[start:], *targets[:start]])
        return self._turns

    def pick(self, key: object, now: float, loads: Sequence[int]) -> int:  # noqa: ARG002
        """Return the next index in turn."""
        if len(loads) != len(self._dealt):
            self.deal(range(len(loads)))
        return cast("int", next(self._turns))


class Random:
    """Uniformly at random; the same ``seed`` gives the same choices.

    Without one, it comes from the module `random`: who seeds that has the same choices as well.
    """

    __slots__ = ("_random",)

    def __init__(self, seed: int | str | bytes | None = None) -> None:
        chosen = random.getrandbits(64) if seed is None else seed
        self._random = random.Random(chosen)  # noqa: S311  # spreads load, guards nothing

    def pick(self, key: object, now: float, loads: Sequence[int]) -> int:  # noqa: ARG002
        """Return any index."""
        return self._random.randrange(len(loads))


class Monotonic:
    """By the clock: its nanoseconds modulo the number of workers."""

    __slots__ = ()

    def pick(self, key: object, now: float, loads: Sequence[int]) -> int:  # noqa: ARG002
        """Return the index for this nanosecond."""
        return int(now * 1_000_000_000) % len(loads)


class Phash:
    """By the key's content: see `phash`."""

    __slots__ = ()

    #: Indices are seats, those of ended workers included: others' ends move no key.
    by_seat = True

    def pick(self, key: object, now: float, loads: Sequence[int]) -> int:  # noqa: ARG002
        """Return the key's seat."""
        return phash(key, len(loads))


class LeastLoaded:
    """The worker with the fewest jobs waiting and running, the lowest index among equals."""

    __slots__ = ()

    def pick(self, key: object, now: float, loads: Sequence[int]) -> int:  # noqa: ARG002
        """Return the index of the smallest load."""
        return min(range(len(loads)), key=loads.__getitem__)


#: Modes in which one worker is picked on arrival. The two others, "broadcast" and "available",
#: pick nobody: every worker gets the job, or the first that is free takes it.
PICKING = ("round_robin", "random", "monotonic", "phash", "least_loaded")
MODES = (*PICKING, "broadcast", "available")


def dispatch(mode: str, seed: int | str | bytes | None = None) -> Dispatch:
    """Return a fresh dispatch for one of the `PICKING` modes."""
    if mode == "random":
        return Random(seed)
    build: dict[str, Callable[[], Dispatch]] = {
        "round_robin": RoundRobin,
        "monotonic": Monotonic,
        "phash": Phash,
        "least_loaded": LeastLoaded,
    }
    return build[mode]()
