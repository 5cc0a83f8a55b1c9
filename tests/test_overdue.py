"""What becomes of firings that are found overdue, against lists."""

import math

from hypothesis import given
from hypothesis import strategies as st

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
