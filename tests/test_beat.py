"""The beats of an interval, in floating-point seconds."""

from itertools import islice

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poolder_trio import Every
from poolder_trio.policies.beat import beat

PERIODS = st.floats(0.001, 1e7)
MOMENTS = st.floats(0, 1e9)


def beats(every, anchor):
    at = anchor
    while True:
        found = beat(every, anchor, at)
        assert found > at
        yield found
        at = found


@given(PERIODS, MOMENTS)
@example(0.1, 1e9)
def test_the_nth_is_exactly_n_periods_after_the_anchor(period, anchor) -> None:
    some = list(islice(beats(Every(period), anchor), 50))
    assert some == [anchor + n * period for n in range(1, 51)]


@given(PERIODS, MOMENTS, st.floats(0, 1e6))
@example(0.1, 0.0, 0.3)
@example(0.3, 1e9, 1e5 * 0.3)
def test_it_finds_the_first_after_any_moment(period, anchor, later) -> None:
    after = anchor + later * period
    found = beat(Every(period), anchor, after)
    n = round((found - anchor) / period)
    assert found == anchor + n * period
    assert found > after
    assert n == 1 or anchor + (n - 1) * period <= after


def test_it_does_not_drift_in_a_million_beats() -> None:
    at = 0.0
    for _ in range(1_000_000):
        at = beat(Every(0.1), 0.0, at) if at else 0.1
        if at > 1000:
            break
    assert at == pytest.approx(1000.1, abs=1e-9)


@given(
    period=PERIODS,
    jitter=st.floats(0.001, 1e8),
    seed=st.integers(),
    anchor=st.floats(0, 1e6),
    part=st.floats(0, 0.99),
)
def test_jitter_delays_each_but_not_to_the_next(period, jitter, seed, anchor, part) -> None:
    every = Every(period, jitter, seed=seed)
    some = list(islice(beats(every, anchor), 20))
    for n, found in enumerate(some, 1):
        assert anchor + n * period <= found
        assert found - (anchor + n * period) <= jitter + 1e-6
        assert found <= anchor + (n + 1) * period
    # Whoever asks between a due time and its firing still gets that firing.
    after = anchor + (some[-1] - anchor) * part
    assert beat(every, anchor, after) == next(each for each in some if each > after)
