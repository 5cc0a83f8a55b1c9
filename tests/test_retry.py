"""Waits against the formula, and how many tries there are."""

import math
import sys
from fractions import Fraction

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from poolder_trio import RETRY, Backoff, Batcher, Pool, Retry, Tasker, Worker

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

# What is longer than this, in seconds, counts as for ever.
LONG = 1e300

seconds = st.just(0) | st.integers(1, 10**6) | st.floats(1e-6, 1e6)
factors = st.integers(0, 100) | st.floats(0, 100, allow_subnormal=False)
bounds = st.just(math.inf) | st.floats(0, 1e9)
fractions = st.integers(0, 64).map(lambda n: n / 64)
attempts = st.integers(1, 1500)
retries = st.builds(Retry, backoff=seconds, factor=factors, max_backoff=bounds, jitter=fractions)


def formula(retry, attempt, chance):
    """Return what the docs promise, in exact arithmetic."""
    wait = Fraction(retry.backoff) * Fraction(retry.factor) ** (attempt - 1)
    if retry.max_backoff != math.inf:
        wait = min(Fraction(retry.max_backoff), wait)
    wait *= 1 + Fraction(retry.jitter) * (2 * Fraction(chance) - 1)
    return float(wait) if wait < LONG else math.inf


def close(wait, expected):
    if expected == math.inf:
        return wait >= LONG
    return math.isclose(wait, expected, rel_tol=1e-6, abs_tol=1e-200)


@given(retries, attempts, fractions)
def test_the_wait_is_the_formula(retry, attempt, chance):
    assert close(retry.wait(attempt, chance), formula(retry, attempt, chance))


@pytest.mark.parametrize(
    ("retry", "attempt", "expected"),
    [
        pytest.param(Retry(), 1, 0, id="the default is not to wait"),
        pytest.param(Retry(backoff=3), 7, 3, id="the same each time"),
        pytest.param(Retry(backoff=0.5, factor=2), 1, 0.5, id="the first is backoff itself"),
        pytest.param(Retry(backoff=0.5, factor=2), 4, 4, id="doubling"),
        pytest.param(Retry(backoff=8, factor=0.5), 4, 1, id="halving"),
        pytest.param(Retry(backoff=3, factor=0), 1, 3, id="factor 0 waits once"),
        pytest.param(Retry(backoff=3, factor=0), 2, 0, id="and then no more"),
        pytest.param(Retry(backoff=1, factor=2, max_backoff=10), 5, 10, id="capped"),
        pytest.param(Retry(backoff=9, max_backoff=0), 1, 0, id="capped at nothing"),
    ],
)
def test_a_wait_by_hand(retry, attempt, expected):
    assert retry.wait(attempt, 0.5) == expected


@given(retries, attempts, fractions)
@example(Retry(backoff=1, factor=2), 1100, 0.5)
@example(Retry(backoff=1, factor=2.0, jitter=1.0), 1100, 0.0)
@example(Retry(backoff=4.0, factor=2.0, jitter=1.0), 1024, 0.0)
@example(Retry(backoff=0, factor=2.0), 1100, 0.5)
def test_no_wait_overflows(retry, attempt, chance):
    assert 0 <= retry.wait(attempt, chance) <= 2 * retry.max_backoff


def test_no_backoff_is_none_however_often_it_is_multiplied():
    retry = Retry(attempts=5000, factor=2.0)
    assert {retry.wait(attempt, 0.5) for attempt in range(1, 5000)} == {0}


def test_whole_numbers_are_multiplied_as_floats_are():
    whole, real = Retry(backoff=1, factor=2), Retry(backoff=1.0, factor=2.0)
    for attempt in range(1, 2000):
        assert whole.wait(attempt, 0.5) == real.wait(attempt, 0.5)


@given(st.floats(1e-3, 1e3), fractions, fractions)
def test_jitter_spreads_a_wait_by_its_fraction_to_either_side(backoff, jitter, chance):
    retry = Retry(backoff=backoff, jitter=jitter)
    low, high = retry.wait(1, 0.0), retry.wait(1, 1.0)
    assert low == pytest.approx(backoff * (1 - jitter))
    assert high == pytest.approx(backoff * (1 + jitter))
    assert low <= retry.wait(1, chance) <= high
    assert retry.wait(1, 0.5) == backoff


def test_a_wait_is_capped_before_it_is_spread():
    retry = Retry(backoff=100, max_backoff=10, jitter=0.5)
    assert [retry.wait(1, chance) for chance in (0.0, 0.5, 1.0)] == [5, 10, 15]


def test_backoff_may_be_a_function_of_the_attempt_that_failed():
    asked = []

    def backoff(attempt):
        asked.append(attempt)
        return 10.0 * attempt

    retry = Retry(attempts=4, backoff=backoff, factor=99, max_backoff=25, jitter=0.1)
    waits = [retry.next_try(attempt, OSError(), None, 1.0) for attempt in (1, 2, 3, 4)]
    assert asked == [1, 2, 3]
    assert waits == [pytest.approx(11), pytest.approx(22), pytest.approx(27.5), None]


@pytest.mark.parametrize(
    ("returned", "error"),
    [(-1, ValueError), (math.nan, ValueError), (math.inf, ValueError), (None, TypeError)],
)
def test_a_function_that_returns_no_wait_is_told_so(returned, error):
    retry = Retry(attempts=2, backoff=lambda attempt: returned)
    with pytest.raises(error, match=rf"^backoff\(attempt\) must be .* got {returned!r} \(Retry\)$"):
        retry.next_try(1, OSError(), None, 0.5)


@given(st.integers(1, 20), st.sampled_from([None, RETRY, Backoff(3)]))
def test_attempts_counts_all_tries_and_bounds_every_verdict(attempts, verdict):
    retry = Retry(attempts=attempts, backoff=1)
    tries = 1
    while retry.next_try(tries, OSError(), verdict, 0.5) is not None:
        tries += 1
    assert tries == attempts
    assert retry.next_try(attempts + 5, OSError(), verdict, 0.5) is None


@pytest.mark.parametrize(
    ("verdict", "wait"),
    [(None, 7), (RETRY, 0), (Backoff(3), 3), (Backoff(0), 0)],
)
def test_a_verdict_decides_how_long_to_wait(verdict, wait):
    retry = Retry(attempts=2, backoff=7, max_backoff=8, jitter=1.0)
    assert retry.next_try(1, OSError(), verdict, 0.5) == wait


def test_a_backoff_verdict_is_neither_capped_nor_spread():
    retry = Retry(attempts=2, max_backoff=1, jitter=1.0)
    assert retry.next_try(1, OSError(), Backoff(60), 0.0) == 60


@pytest.mark.parametrize(
    ("on", "error", "tried"),
    [
        (OSError, OSError(), True),
        (OSError, ConnectionError(), True),
        (OSError, ValueError(), False),
        ((OSError, ValueError), ValueError(), True),
        ((OSError, ValueError), KeyError(), False),
    ],
)
def test_only_errors_of_the_named_kinds_are_worth_another_try(on, error, tried):
    retry = Retry(attempts=2, backoff=1, on=on)
    assert (retry.next_try(1, error, None, 0.5) is not None) == tried


@pytest.mark.parametrize(("verdict", "wait"), [(RETRY, 0), (Backoff(3), 3)])
def test_handle_error_may_ask_for_another_try_at_any_error(verdict, wait):
    retry = Retry(attempts=2, backoff=1, on=OSError)
    assert retry.next_try(1, ValueError(), verdict, 0.5) == wait


@pytest.mark.parametrize(
    ("option", "value", "error", "expected"),
    [
        ("attempts", 0, ValueError, "an int >= 1"),
        ("attempts", -1, ValueError, "an int >= 1"),
        ("attempts", 2.0, TypeError, "an int >= 1"),
        ("attempts", True, TypeError, "an int >= 1"),
        ("attempts", math.inf, TypeError, "an int >= 1"),
        ("attempts", None, TypeError, "an int >= 1"),
        (
            "backoff",
            -0.1,
            ValueError,
            "a finite number of seconds >= 0 or a function of the attempt",
        ),
        ("backoff", math.nan, ValueError, "a finite number of seconds >= 0 or a function"),
        ("backoff", "1", TypeError, "a finite number of seconds >= 0 or a function of the attempt"),
        (
            "backoff",
            False,
            TypeError,
            "a finite number of seconds >= 0 or a function of the attempt",
        ),
        ("factor", -1, ValueError, "a finite number >= 0"),
        ("factor", math.nan, ValueError, "a finite number >= 0"),
        ("factor", None, TypeError, "a finite number >= 0"),
        ("max_backoff", -1, ValueError, "a number of seconds >= 0"),
        ("max_backoff", math.nan, ValueError, "a number of seconds >= 0"),
        ("max_backoff", None, TypeError, "a number of seconds >= 0"),
        ("jitter", 1.01, ValueError, "a fraction from 0 to 1"),
        ("jitter", -0.01, ValueError, "a fraction from 0 to 1"),
        ("jitter", math.nan, ValueError, "a fraction from 0 to 1"),
        ("jitter", True, TypeError, "a fraction from 0 to 1"),
        ("on", BaseException, TypeError, "an Exception class or a tuple of them"),
        ("on", (OSError, KeyboardInterrupt), TypeError, "an Exception class or a tuple of them"),
        ("on", (), TypeError, "an Exception class or a tuple of them"),
        ("on", [OSError], TypeError, "an Exception class or a tuple of them"),
        ("on", OSError(), TypeError, "an Exception class or a tuple of them"),
    ],
)
def test_a_wrong_option_is_refused_where_it_is_written(option, value, error, expected):
    with pytest.raises(error) as caught:
        Retry(**{option: value})
    assert str(caught.value).startswith(f"{option} must be {expected}")
    assert str(caught.value).endswith(f", got {value!r} (Retry)")


@given(
    st.sampled_from(["backoff", "factor", "max_backoff", "jitter"]),
    st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=3),
)
@example("backoff", math.inf)
@example("factor", math.inf)
@example("factor", 10**400)
@example("backoff", 10**400)
def test_an_option_that_is_accepted_never_fails_later(option, value):
    try:
        retry = Retry(**{"attempts": sys.maxsize, "backoff": 1, option: value})
    except (TypeError, ValueError):
        return
    for attempt in (1, 2, 3, 100):
        for chance in (0.0, 0.5, 1.0):
            assert retry.next_try(attempt, OSError(), None, chance) >= 0


class Ours(ExceptionGroup):
    pass


LEAF, OTHER = OSError(), KeyError()


@pytest.mark.parametrize(
    ("on", "error", "again"),
    [
        (OSError, ExceptionGroup("", [LEAF]), True),
        (OSError, ExceptionGroup("", [LEAF, ConnectionError()]), True),
        (OSError, ExceptionGroup("", [ExceptionGroup("", [LEAF]), LEAF]), True),
        (OSError, ExceptionGroup("", [LEAF, OTHER]), False),
        (OSError, ExceptionGroup("", [LEAF, ExceptionGroup("", [LEAF, OTHER])]), False),
        ((OSError, KeyError), ExceptionGroup("", [LEAF, ExceptionGroup("", [OTHER])]), True),
        (Ours, Ours("", [OTHER]), True),
        (Ours, ExceptionGroup("", [Ours("", [OTHER])]), True),
        (Ours, ExceptionGroup("", [OTHER]), False),
        (ExceptionGroup, ExceptionGroup("", [OTHER]), True),
        (Exception, ExceptionGroup("", [OTHER]), True),
        (ExceptionGroup, OTHER, False),
    ],
)
def test_a_group_is_worth_another_try_if_all_in_it_are_or_its_own_class(on, error, again):
    assert (Retry(attempts=2, on=on).next_try(1, error, None, 0.0) is not None) is again


@pytest.mark.parametrize("component", ["Pool", "Tasker", "Batcher"])
async def test_what_a_nursery_in_a_handler_raises_is_tried_again(component, autojump_clock):
    tries = []

    async def connect():
        tries.append(len(tries))
        if len(tries) < 3:
            raise OSError

    async def handle(batch):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
        return [len(tries)]

    class Connecting(Worker):
        retry = Retry(attempts=3, on=OSError)

        async def handle_job(self, job):
            await handle(job)

    rule = Retry(attempts=3, on=OSError)
    if component == "Tasker":
        async with Tasker(retry=rule) as tasker:
            await tasker.call(handle, [1])
    else:
        pool = Pool(Connecting) if component == "Pool" else Batcher(handle, retry=rule, limit=1)
        async with pool:
            await pool.call(1)
    assert tries == [0, 1, 2]
