"""Runs contestants in turn, and prints their medians, ratios and what is demanded of them."""

from __future__ import annotations

import gc
import math
import statistics
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    Args:
        name: how the table calls it.
        run: does about that many jobs and returns its figure, in the contest's unit.
        least: its figure has to be at least so many times the first contestant's.
        most: its figure may be at most so many times the first contestant's.
        limit: its figure may be at most this.
    """

    name: str
    run: Callable[[int], float]
    least: float | None = None
    most: float | None = None
    limit: float | None = None

    def verdict(self, figure: float, ratio: float) -> tuple[str, bool]:
        """Return what is demanded, and whether it holds."""
        if self.least is not None:
            return f"at least {self.least:g}x", ratio >= self.least
        if self.most is not None:
            return f"at most {self.most:g}x", ratio <= self.most
        if self.limit is not None:
            return f"at most {self.limit:g}", figure <= self.limit
        return "", True


@dataclass(frozen=True)
class Contest:
    """Contestants who do the same work; the others are held against the first.

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


def measure(contest: Contest, repeats: int, jobs: int) -> list[float]:
    """Return each contestant's median. They take turns: a busy moment hits all alike."""
    figures: list[list[float]] = [[] for _ in contest.contestants]
    for _ in range(repeats):
        for contestant, its in zip(contest.contestants, figures, strict=True):
            # Nobody pays for what the one before has left, nor for what an import has set.
            gc.collect()
            its.append(Context().run(contestant.run, jobs))
    return [statistics.median(its) for its in figures]


def show(contest: Contest, *, repeats: int, most: int | None = None) -> bool:
    """Run a contest and print its table; return whether everything demanded holds.

    Args:
        contest: what to run.
        repeats: how often each contestant runs.
        most: how many jobs a run may have. A short run shows that all is handled; its figures
            mean nothing, and are not judged.
    """
    jobs = contest.jobs if most is None else min(contest.jobs, most)
    medians = measure(contest, repeats, jobs)
    width = max(len(contestant.name) for contestant in contest.contestants)
    all_hold = True
    print(f"\n{contest.title}\n{'':{width}}  {contest.unit:>11}   ratio   demanded")
    for contestant, figure in zip(contest.contestants, medians, strict=True):
        ratio = figure / medians[0] if medians[0] else math.nan
        demand, holds = contestant.verdict(figure, ratio)
        row = f"{contestant.name:{width}}  {figure:11.3f}  {ratio:6.2f}   {demand:14}"
        if demand and most is None:
            row += "  holds" if holds else "  MISSED"
            all_hold &= holds
        print(row.rstrip())
    return all_hold


def require_all(handled: int, sent: int) -> None:
    """Raise unless every job was handled: the figure of one who skips some means nothing."""
    if handled != sent:
        raise RuntimeError(f"expected {sent} jobs to be handled, got {handled}")
