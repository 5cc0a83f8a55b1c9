"""Starts at a rate: never too many in any window, none too late, no drift and no bursts."""

import itertools
import math
import random
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poolder_trio import Rate

# Powers of two, and times in sixteenths of a second: float arithmetic is then exact.
rates = st.builds(
    Rate,
    st.sampled_from([0.5, 1, 2, 4, 8]),
    st.sampled_from([0.5, 1.0, 2.0, 4]),
    st.integers(1, 5),
)
gaps = st.lists(st.integers(0, 96).map(lambda n: n / 16), min_size=1, max_size=25)


def space_of(rate):
    return rate.per / rate.count


def serve(rate, arrivals, lateness=()):
    """Return when each job starts; those that have to wait start late, as told."""
    slots = rate.build()
    late = itertools.chain(lateness, itertools.repeat(0.0))
    starts = []
    now = 0.0
    for arrival in arrivals:
        now = max(now, arrival)
        due = slots.next(now)
        assert due >= now
        waited = due > now
        now = due + next(late) if waited else now
        slots.take(now, waited=waited)
        starts.append(now)
    return starts


def token_bucket(rate, arrivals):
    """Return when each job starts by the other well-known algorithm, in exact arithmetic."""
    space = Fraction(space_of(rate))
    tokens = Fraction(rate.burst)
    filled_at = now = Fraction(0)
    starts = []
    for arrival in arrivals:
        now = max(now, Fraction(arrival))
        tokens = min(Fraction(rate.burst), tokens + (now - filled_at) / space)
        if tokens < 1:
            now += (1 - tokens) * space
            tokens = Fraction(1)
        filled_at = now
        tokens -= 1
        starts.append(now)
    return starts


def windows(starts):
    """Each closed window that begins and ends with a start: its length, and its starts."""
    for first, last in itertools.combinations_with_replacement(range(len(starts)), 2):
        yield starts[last] - starts[first], last - first + 1


@given(rates, gaps)
def test_punctual_starts_never_exceed_the_rate_in_any_window(rate, gaps):
    starts = serve(rate, itertools.accumulate(gaps))
    for length, count in windows(starts):
        assert count <= rate.burst + math.floor(length / space_of(rate))


@given(rates, gaps)
def test_punctual_starts_are_as_early_as_those_of_a_token_bucket(rate, gaps):
    arrivals = list(itertools.accumulate(gaps))
    assert serve(rate, arrivals) == token_bucket(rate, arrivals)


@given(rates, gaps, st.lists(st.integers(0, 400).map(lambda n: n / 16), max_size=25))
def test_late_starts_exceed_the_rate_by_one_at_most(rate, gaps, lateness):
    starts = serve(rate, itertools.accumulate(gaps), lateness)
    for length, count in windows(starts):
        assert count <= rate.burst + math.floor(length / space_of(rate)) + 1


@given(rates, st.integers(0, 10**6))
def test_after_a_quiet_time_as_many_as_burst_start_at_once(rate, quiet):
    starts = serve(rate, [0.0] * 10 + [1000.0 + quiet] * 20)[10:]
    assert starts[: rate.burst] == [starts[0]] * rate.burst
    later = starts[rate.burst - 1 :]
    assert {b - a for a, b in itertools.pairwise(later)} == {space_of(rate)}


@pytest.mark.parametrize("burst", [1, 3])
def test_ten_thousand_late_starts_do_not_drift(burst):
    rate = Rate(8, burst=burst)
    chance = random.Random(1)  # noqa: S311  # lateness, not a secret
    slots = rate.build()
    now = 0.0
    for number in range(10_000):
        due = slots.next(now)
        assert due == max(0, number - burst + 1) / 8
        now = due if due == now else due + chance.random() * 0.010
        slots.take(now, waited=due > 0)


def test_a_space_that_is_no_binary_fraction_does_not_drift_either():
    chance = random.Random(1)  # noqa: S311  # lateness, not a secret
    slots = Rate(10).build()
    now = 0.0
    for number in range(10_000):
        due = slots.next(now)
        assert due == pytest.approx(number / 10, abs=1e-6)
        now = due + chance.random() * 0.010 if number else due
        slots.take(now, waited=number > 0)


@given(st.floats(0.0101, 100), st.sampled_from([0.0001, 0.001, 1, 60]))
def test_a_start_that_comes_more_than_ten_milliseconds_late_moves_those_after_it(late, space):
    starts = serve(Rate(1, per=space), [0.0] * 5, [0.0, late])
    expected = [0, space, 2 * space + late, 3 * space + late, 4 * space + late]
    assert starts == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(st.floats(0, 0.010), st.sampled_from([0.0005, 0.001, 0.01, 1, 60]))
def test_a_start_that_comes_less_late_keeps_its_slot(late, space):
    slots = Rate(1, per=space).build()
    slots.take(0.0)
    slots.take(space + late, waited=True)
    assert slots.next(0.0) == 2 * space


@given(
    st.builds(Rate, st.floats(0.01, 1e5), st.floats(0.01, 100), st.integers(1, 50)),
    st.lists(st.tuples(st.floats(0, 0.05), st.floats(0, 0.03)), min_size=1, max_size=60),
)
def test_no_lateness_lets_more_start_than_ten_milliseconds_make_up_for(rate, steps):
    """GCRA's bound, in each window, whoever waits and however late starts come."""
    slots, now, starts = rate.build(), 0.0, []
    for gap, late in steps:
        now += gap
        due = slots.next(now)
        waited = due > now
        now = due + late if waited else now
        while slots.next(now) <= now and len(starts) < 200:
            slots.take(now, waited=waited)
            starts.append(now)
    for length, count in windows(starts):
        assert count <= rate.burst + (length + 0.0100001) / space_of(rate) + 1e-6


@given(rates, gaps)
def test_a_slot_that_is_given_back_is_open_at_once(rate, gaps):
    slots, untouched = rate.build(), rate.build()
    for now in itertools.accumulate(gaps):
        due = slots.next(now)
        assert due == untouched.next(now)
        slots.take(due, waited=due > now)
        slots.give_back()
        slots.take(due, waited=due > now)
        untouched.take(due, waited=due > now)


def test_a_fast_rate_is_reached_though_each_start_is_found_a_millisecond_late():
    slots, now, starts = Rate(2000).build(), 0.0, 0
    while now < 1.0:
        while slots.next(now) <= now:
            slots.take(now, waited=starts > 0)
            starts += 1
        now = slots.next(now) + 0.0011
    assert 1990 <= starts <= 2001


def test_a_start_that_did_not_wait_takes_the_schedule_along():
    slots = Rate(1).build()
    slots.take(0.0)
    slots.take(1.5)
    assert slots.next(1.5) == 2.5


def test_the_count_may_be_a_fraction():
    assert serve(Rate(0.5), [0.0] * 3) == [0, 2, 4]
    assert serve(Rate(1, per=60), [0.0] * 3) == [0, 60, 120]


def test_asking_uses_no_slot():
    slots = Rate(1).build()
    assert {slots.next(5.0) for _ in range(10)} == {5.0}


def test_each_opening_has_a_schedule_of_its_own():
    rate = Rate(1)
    first, second = rate.build(), rate.build()
    first.take(0.0)
    assert second.next(0.0) == 0.0


@pytest.mark.parametrize(
    ("option", "value", "error", "expected"),
    [
        ("count", 0, ValueError, "a finite number > 0"),
        ("count", -1, ValueError, "a finite number > 0"),
        ("count", math.inf, ValueError, "a finite number > 0"),
        ("count", math.nan, ValueError, "a finite number > 0"),
        ("count", "10", TypeError, "a finite number > 0"),
        ("count", True, TypeError, "a finite number > 0"),
        ("per", 0, ValueError, "a finite number of seconds > 0"),
        ("per", math.inf, ValueError, "a finite number of seconds > 0"),
        ("per", math.nan, ValueError, "a finite number of seconds > 0"),
        ("per", None, TypeError, "a finite number of seconds > 0"),
        ("burst", 0, ValueError, "an int >= 1"),
        ("burst", 2.5, TypeError, "an int >= 1"),
        ("burst", True, TypeError, "an int >= 1"),
        ("burst", math.inf, TypeError, "an int >= 1"),
    ],
)
def test_a_wrong_option_is_refused_where_it_is_written(option, value, error, expected):
    with pytest.raises(error) as caught:
        Rate(**{"count": 1, option: value})
    assert str(caught.value) == f"{option} must be {expected}, got {value!r} (Rate)"


@pytest.mark.parametrize(
    ("count", "per", "burst"),
    [
        (5e-324, 1.0, 1),
        (0.1, 1e308, 1),
        (1e-300, 1e300, 3),
        (1e308, 1e-300, 1),
        (10**308, 5e-324, 1),
        (1, 1e300, 10**10),
        (1e-10, 1e298, 5),
        (1, 1.0, 10**400),
    ],
)
def test_what_makes_no_number_of_seconds_is_refused_where_it_is_written(count, per, burst):
    """It would never limit anything, or start nothing ever."""
    with pytest.raises(ValueError, match=r"burst must (be an int|make a finite number of seconds)"):
        Rate(count, per, burst)


numbers = st.integers() | st.floats()


@given(numbers, numbers, st.integers())
@example(10**400, 1.0, 1)
@example(1, 10**400, 1)
@example(5e-324, 1e308, 1)
def test_a_rate_that_is_accepted_never_fails_later(count, per, burst):
    try:
        rate = Rate(count, per, burst)
    except ValueError:
        return
    space = Fraction(rate.per) / Fraction(rate.count)
    for now in (0.0, 1e6):
        slots = rate.build()
        for _ in range(min(burst, 100)):
            # As near as a float of that size can say.
            assert slots.next(now) == pytest.approx(now, abs=float(space) * 1e-12)
            slots.take(now)
        following = slots.next(now)
        assert following < math.inf
        if burst <= 100:
            # What a clock of floats can tell.
            assert following - now >= float(space) * (1 - 1e-6) - 1e-7
