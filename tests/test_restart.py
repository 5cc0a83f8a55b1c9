"""When crashes are forgiven: a sliding window, against counting them all again each time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio import Restart
from poolder_trio.policies.restart import AfterCrash

replacing_modes = st.sampled_from(["transient", "permanent"])
# Whole numbers of seconds: the ends of the window are then exact.
gaps = st.lists(st.integers(0, 6), min_size=1, max_size=40)


def crash_at(rule, *times):
    crashes = rule.build()
    return [crashes.record(OSError(now), now) for now in times]


@given(st.integers(0, 5), st.integers(1, 12), replacing_modes, gaps)
def test_crashes_escalate_when_more_than_max_restarts_are_within(limit, within, mode, gaps):
    crashes = Restart(max_restarts=limit, within=within, mode=mode).build()
    errors = []
    now = 0
    for gap in gaps:
        now += gap
        errors.append((now, OSError(now)))
        answer = crashes.record(errors[-1][1], now)
        recent = [error for time, error in errors if now - time < within]
        assert crashes.counted == tuple(recent)
        expected = AfterCrash.ESCALATE if len(recent) > limit else AfterCrash.REPLACE
        assert answer is expected


def test_by_default_the_first_crash_escalates():
    assert crash_at(Restart(), 0.0) == [AfterCrash.ESCALATE]


def test_the_crash_after_the_last_forgiven_one_escalates():
    replace = [AfterCrash.REPLACE] * 3
    assert crash_at(Restart(max_restarts=3), 0, 1, 2, 4.9) == [*replace, AfterCrash.ESCALATE]


def test_crashes_that_are_far_enough_apart_never_escalate():
    rule = Restart(max_restarts=2, within=1.0)
    assert set(crash_at(rule, *(n / 2 for n in range(1000)))) == {AfterCrash.REPLACE}


def test_the_window_slides_and_does_not_start_anew_with_each_period():
    answers = crash_at(Restart(max_restarts=2, within=10), 8, 9, 11)
    assert answers[-1] is AfterCrash.ESCALATE


def test_without_end_of_the_period_no_crash_is_forgotten():
    answers = crash_at(Restart(max_restarts=2, within=math.inf), 0, 1e6, 1e12)
    assert answers == [AfterCrash.REPLACE, AfterCrash.REPLACE, AfterCrash.ESCALATE]


@given(gaps, st.integers(0, 3))
def test_a_temporary_worker_is_retired_however_often_it_crashes(gaps, limit):
    crashes = Restart(max_restarts=limit, mode="temporary").build()
    answers = {crashes.record(OSError(), now) for now in gaps}
    assert answers == {AfterCrash.RETIRE}
    assert crashes.counted == ()


def test_each_opening_has_a_memory_of_its_own():
    rule = Restart(max_restarts=1)
    first, second = rule.build(), rule.build()
    first.record(OSError(), 0.0)
    assert second.counted == ()
    assert second.record(OSError(), 0.0) is AfterCrash.REPLACE


@pytest.mark.parametrize(
    ("option", "value", "error", "expected"),
    [
        ("max_restarts", -1, ValueError, "an int >= 0"),
        ("max_restarts", 1.0, TypeError, "an int >= 0"),
        ("max_restarts", True, TypeError, "an int >= 0"),
        ("max_restarts", math.inf, TypeError, "an int >= 0"),
        ("within", 0, ValueError, "a number of seconds > 0"),
        ("within", -5.0, ValueError, "a number of seconds > 0"),
        ("within", math.nan, ValueError, "a number of seconds > 0"),
        ("within", True, TypeError, "a number of seconds > 0"),
        ("within", "5", TypeError, "a number of seconds > 0"),
        ("mode", "always", ValueError, "one of 'transient', 'permanent', 'temporary'"),
        ("mode", None, TypeError, "one of 'transient', 'permanent', 'temporary'"),
    ],
)
def test_a_wrong_option_is_refused_where_it_is_written(option, value, error, expected):
    with pytest.raises(error) as caught:
        Restart(**{option: value})
    assert str(caught.value) == f"{option} must be {expected}, got {value!r} (Restart)"
