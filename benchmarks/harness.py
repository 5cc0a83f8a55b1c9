"""Runs contestants in turn, and prints their medians, ratios and what is demanded of them."""

from __future__ import annotations

import gc
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    Args:
        name: how the table calls it.
        run: does about ``n`` jobs and returns its figure, in the contest's unit.
        least: the least that its figure may be, as a multiple of the first contestant's.
        most: the most that its figure may be, as a multiple of the first contestant's.
        limit: the most that its figure may be.
    """

    name: str
    run: Callable[[int], float]
    least: float | None = None
    most: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Contest:
    """Contestants that do the same work; the first is what the others are held against.

    Args:
        title: what the work is.
        unit: what the figures are in; less is better.
        jobs: the size of one run.
        contestants: who takes part.
    """

    title: str
    unit: str
    jobs: int
    contestants: Sequence[Contestant]


def measure(contest: Contest, *, repeats: int, jobs: int) -> list[float]:
    """Return each contestant's median. They take turns, so that a busy moment hits all alike."""
    figures: list[list[float]] = [[] for _ in contest.contestants]
    for _ in range(repeats):
        for contestant, its in zip(contest.contestants, figures, strict=True):
            gc.collect()  # nobody pays for what the one before has left
            its.append(contestant.run(jobs))
    return [statistics.median(its) for its in figures]


def verdicts(contestant: Contestant, figure: float, ratio: float, unit: str) -> list[str]:
    """Return what is demanded of a contestant, each with whether it holds."""
    demands = [
        (contestant.least, "at least {:g}x", lambda bound: ratio >= bound),
        (contestant.most, "at most {:g}x", lambda bound: ratio <= bound),
        (contestant.limit, f"at most {{:g}} {unit}", lambda bound: figure <= bound),
    ]
    return [
        f"{text.format(bound)}: {'holds' if holds(bound) else 'MISSED'}"
        for bound, text, holds in demands
        if bound is not None
    ]


def show(contest: Contest, *, repeats: int, most: int | None = None) -> bool:
    """Run a contest and print its table; return whether everything demanded holds.

    Args:
        contest: what to run.
        repeats: how often each contestant runs.
        most: how large a run may be: few jobs show that it works, and nothing else.
    """
    jobs = contest.jobs if most is None else min(contest.jobs, most)
    medians = measure(contest, repeats=repeats, jobs=jobs)
    width = max(len(contestant.name) for contestant in contest.contestants)
    print(f"\n{contest.title}\n{'':{width}}  {contest.unit:>10}  {'ratio':>6}")
    missed = False
    for contestant, figure in zip(contest.contestants, medians, strict=True):
        ratio = figure / medians[0] if medians[0] else 0.0
        found = verdicts(contestant, figure, ratio, contest.unit)
        missed |= any(verdict.endswith("MISSED") for verdict in found)
        line = f"{contestant.name:{width}}  {figure:10.3f}  {ratio:6.2f}  {'; '.join(found)}"
        print(line.rstrip(), flush=True)
    return not missed


def require_all(done: int, expected: int) -> None:
    """Raise unless every job was handled: who skips some has no figure."""
    if done != expected:
        raise RuntimeError(f"expected {expected} jobs to be handled, got {done}")
