"""What becomes of firings that are found overdue, against lists."""

import math
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio.policies.halving import last_firing
from poolder_trio.policies.overdue import Overdue


class Listed:
    """A course that is a list; it counts so many seconds at once, or can't."""

    def __init__(self, dues, at_once):
        self.dues, self.at_once, self.calls = dues, at_once, 0

    def step(self, after):
        self.calls += 1
        at = bisect_right(self.dues, after)
        return self.dues[at] if at < len(self.dues) else math.inf

    def passed(self, after, until):
        if self.at_once is None:
            return None
        self.calls += 1
        until = min(until, after + self.at_once)
        return bisect_right(self.dues, until) - bisect_right(self.dues, after), until

    def last(self, at, until):
        return self.dues[bisect_right(self.dues, until) - 1]


def meet_all(overdue, course, due, free=math.inf):
    """Meet all; return those that ran. So many may run at once, the others are refused."""
    ran, more, at_once = [], True, overdue.meet(due)
    while more:
        if at_once is not None and len(ran) < free:
            ran.append(at_once)
        elif at_once is not None:
            overdue.refuse(at_once)
        more, at_once = overdue.go_on(course)
    last = overdue.end(course)
    return ran if last is None else [*ran, last]


DUES = st.lists(st.integers(0, 100), min_size=1, max_size=30, unique=True).map(sorted)
GRACE = st.one_of(st.integers(0, 120), st.just(math.inf))
COALESCE = st.sampled_from(["latest", "earliest", "all"])
AT_ONCE = st.one_of(st.none(), st.integers(1, 200))


@given(
    dues=DUES,
    late=st.integers(0, 50),
    rules=st.tuples(GRACE, COALESCE),
    at_once=AT_ONCE,
    free=st.one_of(st.just(math.inf), st.integers(0, 3)),
)
def test_each_runs_or_is_missed(dues, late, rules, at_once, free) -> None:
    (grace, coalesce), to_come = rules, 1
    now = dues[-1] + late
    overdue = Overdue(grace, coalesce, now, dues[0])
    ran = meet_all(overdue, Listed([*dues, now + to_come], at_once), dues[0], free)
    fresh = [due for due in dues if now - due <= grace]
    expected = {"latest": fresh[-1:], "earliest": fresh[:1], "all": fresh}[coalesce]
    refused = []
    if coalesce == "all" and free < len(expected):
        expected, refused = expected[:free], expected[free:]
    assert ran == expected
    assert overdue.refused == len(refused)
    assert overdue.missed == len(dues) - len(ran) - len(refused)
    missed = [due for due in dues if due not in ran and due not in refused]
    assert not missed or overdue.since == missed[0]
    assert not refused or overdue.refused_since == refused[0]
    assert overdue.following == now + to_come


@given(
    dues=DUES,
    late=st.integers(0, 50),
    rules=st.tuples(GRACE, COALESCE),
    at_once=AT_ONCE,
    when=st.tuples(st.integers(0, 120), st.integers(0, 20)),
)
def test_cut_short_what_was_met_runs_or_is_missed(dues, late, rules, at_once, when) -> None:
    (grace, coalesce), (back, after) = rules, when
    now = dues[-1] + late
    course = Listed([*dues, now + 1], at_once)
    overdue = Overdue(grace, coalesce, now, dues[0])
    ran, more, at_once, calls = [], True, overdue.meet(dues[0]), 0
    while more:
        ran += [] if at_once is None else [at_once]
        if calls == after:
            overdue.cut(now - back)
        calls += 1
        more, at_once = overdue.go_on(course)
    last = overdue.end(course)
    ran += [] if last is None else [last]
    met = len(ran) + overdue.missed
    assert met <= len(dues)
    fresh = [due for due in dues[:met] if now - due <= grace]
    assert ran == {"latest": fresh[-1:], "earliest": fresh[:1], "all": fresh}[coalesce]
    if calls > after:
        assert met >= sum(due <= now - back for due in dues)
        assert overdue.following > now - back


@given(dues=DUES, grace=GRACE, coalesce=COALESCE, at_once=AT_ONCE, after=st.integers(0, 20))
def test_given_up_what_was_met_is_missed(dues, grace, coalesce, at_once, after) -> None:
    overdue = Overdue(grace, coalesce, dues[-1], dues[0])
    course = Listed(dues, at_once)
    ran = [] if overdue.meet(dues[0]) is None else [dues[0]]
    for _ in range(after):
        more, found = overdue.go_on(course)
        if not more:
            break
        ran += [] if found is None else [found]
    overdue.give_up()
    met = len(ran) + overdue.missed
    assert 1 <= met <= len(dues)
    assert not overdue.missed or overdue.since in dues
    if at_once is None:
        assert met == min(len(dues), 1 + after)


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


class Seconds:
    """A firing at each second, counted without steps."""

    calls = 0

    def step(self, after):
        self.calls += 1
        return math.floor(after) + 1.0

    def passed(self, after, until):
        self.calls += 1
        return math.floor(until) - math.floor(after), until

    def last(self, at, until):
        return float(math.floor(until))


@pytest.mark.parametrize("coalesce", ["latest", "earliest", "all"])
@pytest.mark.parametrize("grace", [math.inf, 500.0])
def test_of_millions_few_are_met_and_all_are_counted(coalesce, grace) -> None:
    now, course = 10.0**9, Seconds()
    overdue = Overdue(grace, coalesce, now, 1.0)
    ran = meet_all(overdue, course, 1.0, free=1)
    assert course.calls < 10
    first = 1.0 if grace == math.inf else now - grace
    assert ran == [now if coalesce == "latest" else first]
    assert overdue.missed + overdue.refused == 10**9 - 1
    assert overdue.following == now + 1
