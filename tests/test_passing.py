"""How many firings there are in a span: against steps from each to the next."""

from datetime import datetime, timedelta, timezone
from time import perf_counter
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from poolder_trio import Cron, Every
from poolder_trio.policies.beat import beat, beats
from poolder_trio.policies.crontab import read
from poolder_trio.policies.passing import passed

UTC = timezone.utc
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
ZONES = [
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Africa/Cairo",
    "America/Santiago",
    "Asia/Kathmandu",
]
TURNS = [
    "2024-03-10",
    "2024-03-31",
    "2024-04-07",
    "2024-04-14",
    "2024-04-26",
    "2024-09-08",
    "2024-10-06",
    "2024-10-27",
    "2024-10-31",
    "2024-11-03",
    "2023-12-31",
    "2024-02-29",
]


def counted(trigger, after, until):
    count = 0
    while after < until:
        found, reached = passed(trigger, after, until)
        assert after < reached <= until
        count, after = count + found, reached
    return count


def some(low, high):
    numbers = st.integers(low, high)
    return st.one_of(
        st.just("*"),
        st.integers(2, 30).map(lambda n: f"*/{n}"),
        st.sets(numbers, min_size=1, max_size=3).map(lambda s: ",".join(map(str, sorted(s)))),
        st.tuples(numbers, numbers).map(lambda pair: f"{pair[0]}-{pair[1]}"),
    )


DAYS = st.one_of(
    st.just("*"), some(1, 31), st.sampled_from(["L", "15W", "1W", "31W", "L,5-9", "*/2", "29"])
)
WEEK = st.one_of(
    st.just("*"), some(0, 7), st.sampled_from(["5#3", "mon#1,L5", "L0", "*/2", "sun-2", "1#5"])
)
EXPRESSIONS = st.tuples(
    st.one_of(st.just(""), some(0, 59)),
    st.one_of(some(0, 59), st.just("0")),
    some(0, 23),
    DAYS,
    st.one_of(st.just("*"), some(1, 12)),
    WEEK,
).map(lambda fields: " ".join(fields).strip())
MOMENTS = st.builds(
    lambda day, seconds, part: (
        datetime.fromisoformat(day).replace(tzinfo=UTC)
        + timedelta(seconds=seconds, microseconds=part)
    ),
    st.sampled_from(TURNS),
    st.integers(-86400, 86400),
    st.sampled_from([0, 0, 1, 999_999]),
)
JITTERS = st.sampled_from([0.0, 0.0, 0.7, 90.0, 5000.0])


def cron_of(expression, zone, jitter=0.0):
    try:
        return Cron(expression, zone, jitter, seed=7)
    except ValueError:  # there is no such date
        reject()


@settings(deadline=None, max_examples=60)
@given(
    expression=EXPRESSIONS,
    zone=st.sampled_from(ZONES),
    jitter=JITTERS,
    after=MOMENTS,
    spans=st.tuples(st.timedeltas(timedelta(0), 2 * DAY), st.integers(0, 800)),
)
@example("30 2 * * *", "Europe/Paris", 0.0, datetime(2024, 10, 27, 1, 10, tzinfo=UTC), (DAY, 0))
@example("0 2,3 * * *", "Europe/Paris", 0.0, datetime(2024, 3, 31, 0, 0, tzinfo=UTC), (DAY, 0))
@example("0 3,9 30 12 *", "Pacific/Apia", 0.0, datetime(2011, 12, 29, tzinfo=UTC), (3 * DAY, 0))
@example("*/7 * * * *", "America/Recife", 0.0, datetime(2000, 10, 1, tzinfo=UTC), (30 * DAY, 0))
def test_dates_of_cron_are_counted_as_by_steps(expression, zone, jitter, after, spans) -> None:
    cron = cron_of(expression, zone, jitter)
    until = after + spans[0]
    for limit in (until, until + spans[1] * DAY):
        count, until = few(cron, after, limit)
        assert counted(cron, after, until) == count
        if count > 100:  # what comes seldom is looked at for longer
            break


def few(trigger, after, until):
    """How many firings there are by steps, and up to when they were counted."""
    count, at = 0, after
    while (at := trigger.next(at)) is not None and at <= until:
        count += 1
        if count == 150:
            return count, at
    return count, until


@settings(deadline=None, max_examples=30)
@given(
    expression=st.tuples(some(0, 59), some(0, 23)).filter(lambda two: "*" in "".join(two)),
    zone=st.sampled_from(ZONES),
    after=MOMENTS,
    minutes=st.integers(0, 3000),
)
def test_what_follows_the_clocks_is_counted_as_by_a_walk(expression, zone, after, minutes) -> None:
    cron = cron_of(f"{expression[0]} {expression[1]} * * *", zone)
    table = read(f"{expression[0]} {expression[1]} * * *")
    start = after.replace(second=0, microsecond=0)
    place, count = ZoneInfo(zone), 0
    for n in range(1, minutes + 1):
        shown = (start + n * timedelta(minutes=1)).astimezone(place)
        count += shown.minute in table.minute and shown.hour in table.hour
    assert counted(cron, after, start + minutes * timedelta(minutes=1)) == count


@settings(deadline=None)
@given(
    period=st.one_of(st.floats(0.001, 100), st.integers(1, 10)),
    jitter=JITTERS,
    early=st.floats(-1000, 1e6),
    ticks=st.floats(0, 200),
)
@example(0.1, 0.0, 0.0, 3.0)
def test_an_interval_is_counted_as_by_steps(period, jitter, early, ticks) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    every = Every(period, jitter, start, seed=3)
    after = start + timedelta(seconds=early)
    until = max(start, after) + timedelta(seconds=ticks * period)
    count, until = few(every, after, until)
    assert counted(every, after, until) == count


@settings(deadline=None)
@given(
    period=st.floats(0.001, 1e6),
    jitter=JITTERS,
    anchor=st.floats(0, 1e9),
    early=st.floats(0, 1e5),
    ticks=st.floats(0, 200),
)
def test_beats_are_counted_as_by_steps(period, jitter, anchor, early, ticks) -> None:
    every = Every(period, jitter, seed=3)
    after = anchor + early * period
    until, count, at = after + ticks * period, 0, after
    while (at := beat(every, anchor, at)) <= until:
        count += 1
    assert beats(every, anchor, until) - beats(every, anchor, after) == count


@pytest.mark.parametrize(
    ("expression", "zone", "count"),
    [
        ("* * * * * *", "UTC", 3653 * 86400),
        ("* * * * * *", "Europe/Paris", 3653 * 86400),
        ("*/5 * * * *", "America/New_York", 3653 * 288),
        ("30 2 * * *", "Europe/Paris", 3653),
        ("0 0 29 2 */6", "UTC", 1),  # 2020-02-29, a Saturday
        ("0 0 29 2 *", "Australia/Lord_Howe", 3),
        ("0 0 L * *", "Africa/Casablanca", 120),
    ],
)
def test_ten_years_are_counted_at_once(expression, zone, count) -> None:
    after = datetime(2015, 6, 1, tzinfo=UTC)
    cron = Cron(expression, zone)
    began = perf_counter()
    assert counted(cron, after, after + 3653 * DAY) == count
    assert perf_counter() - began < 2


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "America/New_York"])
def test_it_counts_to_the_last_year_that_there_is(zone) -> None:
    cron, last = Cron("0 12 * * *", zone), datetime.max.replace(tzinfo=UTC)
    after = last - 20 * DAY
    assert counted(cron, after, last) == few(cron, after, last)[0]
    first = datetime.min.replace(tzinfo=UTC)
    assert counted(cron, first + DAY, first + 9 * DAY) == 8


def test_nobody_but_itself_knows_a_trigger_of_ones_own() -> None:
    class Odd(Every):
        def next(self, after):
            return super().next(after + SECOND)

    now = datetime(2024, 1, 1, tzinfo=UTC)
    assert passed(Odd(5, start=now), now, now + DAY) is None


def test_what_was_found_for_a_rare_date_is_remembered(monkeypatch) -> None:
    cron, at = Cron("0 0 29 2 */7"), datetime(2024, 1, 1, tzinfo=UTC)
    asked = 0
    step = croniter.get_next

    def counting(*args, **kwargs):
        nonlocal asked
        asked += 1
        return step(*args, **kwargs)

    monkeypatch.setattr(croniter, "get_next", counting)
    first = cron.next(at)
    for days in range(30):
        assert cron.next(at + days * DAY) == first
    assert asked <= 1
    assert cron.next(first) > first
    assert cron.next(at) == first
