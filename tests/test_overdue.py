"""What becomes of firings that are found overdue, against lists."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio.policies.halving import last_firing
from poolder_trio.policies.overdue import Overdue


@given(
    dues=st.lists(st.integers(0, 100), min_size=1, max_size=30, unique=True).map(sorted),
    late=st.integers(0, 50),
    grace=st.one_of(st.integers(0, 120), st.just(math.inf)),
    coalesce=st.sampled_from(["latest", "earliest", "all"]),
)
def test_each_runs_or_is_missed(dues, late, grace, coalesce) -> None:
    now = dues[-1] + late
    overdue = Overdue(grace, coalesce)
    ran = [found for due in dues if (found := overdue.meet(due, now)) is not None]
    if (last := overdue.last()) is not None:
        ran.append(last)
    fresh = [due for due in dues if now - due <= grace]
    expected = {"latest": fresh[-1:], "earliest": fresh[:1], "all": fresh}[coalesce]
    assert ran == expected
    assert overdue.missed == len(dues) - len(ran)
    missed = [due for due in dues if due not in ran]
    assert overdue.since == missed[0] if missed else math.isnan(overdue.since)


@given(
    dues=st.lists(st.integers(0, 10**6), min_size=1, max_size=30, unique=True).map(sorted),
    until=st.integers(0, 10**6),
)
def test_the_last_of_many_is_found_by_halves(dues, until) -> None:
    asked = 0

    def step(after):
        nonlocal asked
        asked += 1
        return next((due for due in dues if due > after), None)

    at = dues[0]
    found = last_firing(step, at, max(at, until))
    assert found == max(due for due in dues if due <= max(at, until))


@pytest.mark.parametrize("coalesce", ["latest", "earliest"])
@pytest.mark.parametrize("grace", [math.inf, 500.0])
def test_of_millions_few_are_met(coalesce, grace) -> None:
    overdue, now, met, at = Overdue(grace, coalesce), 10.0**9, 0, 1.0
    while at <= now:
        assert overdue.meet(at, now) is None
        met += 1
        following = at + 1
        if overdue.tiring and following <= now:
            following = overdue.pass_over(lambda after: math.floor(after) + 1.0, following, now)
        at = following
    assert met < 10_010
    expected = {"latest": now, "earliest": 1.0 if grace == math.inf else now - grace}
    assert overdue.last() == expected[coalesce]
