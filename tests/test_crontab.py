"""What cron expressions mean: against a plain model that asks of each day whether it is one."""

import calendar
from datetime import date, datetime, timedelta, timezone
from itertools import islice
from time import perf_counter

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import assume, example, given, reject, settings
from hypothesis import strategies as st

from poolder_trio import Cron
from poolder_trio.policies import crontab

UTC = timezone.utc
START = datetime(2024, 1, 1, tzinfo=UTC)
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


def some(expression, count, after=START):
    found, cron = [], Cron(expression)
    while len(found) < count and (after := cron.next(after)) is not None:
        found.append(after)
    return found


# -- the model: terms as data, with the days that they mean


def spelt(low, high, names):
    """A number, in the ways in which people write it."""
    numbers = st.integers(low, high)
    ways = [numbers.map(lambda n: (str(n), n)), numbers.map(lambda n: (f"0{n}", n))]
    if names:
        ways.append(numbers.map(lambda n: (names[n - low], n)))
        ways.append(numbers.map(lambda n: (names[n - low].title(), n)))
    if high == 6:
        ways.append(st.just(("7", 7)))
    return st.one_of(ways)


def around(low, high, first, last, step):
    """The values from first to last, round the end of the field if need be, by counting."""
    ring = list(range(low, high + 1))
    if high == 6 and first == 7 and last != 7:
        first = 0  # Sunday
    if high == 6 and (first, last) == (0, 7):
        return set(range(0, 7, step))
    at, values, n = ring.index(first % 7 if high == 6 else first), set(), 0
    end = last % 7 if high == 6 else last
    while True:
        if n % step == 0:
            values.add(ring[at])
        if ring[at] == end:
            return values
        at, n = (at + 1) % len(ring), n + 1


def terms(low, high, names=None):
    number = spelt(low, high, names)
    steps = st.integers(1, 9)

    def one(value):
        return value[0], around(low, high, value[1], value[1], 1)

    def spanned(first, last, step):
        text = f"{first[0]}-{last[0]}" + (f"/{step}" if step > 1 else "")
        return text, around(low, high, first[1], last[1], step)

    def onwards(first, step):
        start = first[1] % 7 if high == 6 else first[1]
        return f"{first[0]}/{step}", set(range(start, high + 1, step))

    return st.one_of(
        number.map(one),
        st.builds(spanned, number, number, st.one_of(st.just(1), steps)),
        st.builds(onwards, number, steps),
    )


def fields(low, high, names=None):
    def joined(parts):
        return ",".join(text for text, _ in parts), set().union(*(values for _, values in parts))

    star = st.one_of(
        st.just(("*", set(range(low, high + 1)))),
        st.integers(2, 9).map(lambda n: (f"*/{n}", set(range(low, high + 1, n)))),
    )
    return st.one_of(star, st.lists(terms(low, high, names), min_size=1, max_size=3).map(joined))


def month_days(day):
    return calendar.monthrange(day.year, day.month)[1]


def nearest(n):
    def test(day):
        wanted = date(day.year, day.month, min(n, month_days(day)))
        free = [
            date(day.year, day.month, each)
            for each in range(1, month_days(day) + 1)
            if date(day.year, day.month, each).weekday() < 5
        ]
        return day == min(free, key=lambda each: abs(each - wanted))

    return test


def within(values, number):
    return lambda day: number(day) in values


def weekday(day):
    return day.isoweekday() % 7


def nth(number, n):
    return lambda day: weekday(day) == number and (day.day - 1) // 7 + 1 == n


def last(number):
    return lambda day: weekday(day) == number and day.day + 7 > month_days(day)


def any_of(parts):
    tests = [test for _, test in parts]
    return ",".join(text for text, _ in parts), lambda day: any(test(day) for test in tests)


def plainly(field, number):
    return field.map(lambda each: (each[0], within(each[1], number)))


DAYS = st.one_of(
    plainly(fields(1, 31), lambda day: day.day),
    st.just(("?", lambda day: True)),
    st.lists(
        st.one_of(
            plainly(terms(1, 31), lambda day: day.day),
            st.sampled_from([("L", lambda day: day.day == month_days(day))]),
            st.integers(1, 31).map(lambda n: (f"{n}W", nearest(n))),
            st.integers(1, 31).map(lambda n: (f"w{n}", nearest(n))),
        ),
        min_size=1,
        max_size=3,
    ).map(any_of),
)
WEEK = st.one_of(
    plainly(fields(0, 6, WEEKDAYS), weekday),
    st.just(("?", lambda day: True)),
    st.lists(
        st.one_of(
            plainly(terms(0, 6, WEEKDAYS), weekday),
            st.integers(0, 7).map(lambda n: (f"L{n}", last(n % 7))),
            st.tuples(spelt(0, 6, WEEKDAYS), st.integers(1, 5)).map(
                lambda each: (f"{each[0][0]}#{each[1]}", nth(each[0][1] % 7, each[1]))
            ),
        ),
        min_size=1,
        max_size=3,
    ).map(any_of),
)


@settings(max_examples=80, deadline=None)
@given(
    day=DAYS,
    month=fields(1, 12, MONTHS),
    week=WEEK,
    seconds=st.booleans(),
    start=st.dates(date(1990, 1, 1), date(2050, 1, 1)),
)
def test_its_days_are_those_that_a_look_at_each_finds(day, month, week, seconds, start) -> None:
    text = f"{'30 ' if seconds else ''}15 6 {day[0]} {month[0]} {week[0]}"
    both = any(field.startswith(("*", "?")) for field in (day[0], week[0]))
    expected = []
    for n in range(800):
        each = start + timedelta(days=n)
        halves = (day[1](each), week[1](each))
        if each.month in month[1] and (all(halves) if both else any(halves)):
            expected.append(each)
    assume(expected)
    clock = {"hour": 6, "minute": 15, "second": 30 if seconds else 0}
    after = datetime(start.year, start.month, start.day, tzinfo=UTC)
    got = some(text, min(len(expected), 20), after)
    assert [each.date() for each in got] == expected[:20]
    assert all(each == each.replace(**clock) for each in got)


@settings(max_examples=30, deadline=None)
@given(second=fields(0, 59), minute=fields(0, 59), hour=fields(0, 23))
def test_its_times_are_those_that_a_look_at_each_finds(second, minute, hour) -> None:
    expected = [
        START + timedelta(hours=h, minutes=m, seconds=s)
        for h in sorted(hour[1])
        for m in sorted(minute[1])
        for s in sorted(second[1])
    ][:30]
    before = START - timedelta(seconds=1)
    text = f"{second[0]} {minute[0]} {hour[0]} * * *"
    assert some(text, len(expected), before) == expected
    expected = [
        START + timedelta(hours=h, minutes=m) for h in sorted(hour[1]) for m in sorted(minute[1])
    ][:30]
    assert some(f"{minute[0]} {hour[0]} * * *", len(expected), before) == expected


@settings(max_examples=40, deadline=None)
@given(
    day=st.sampled_from(["L", "15", "1-7", "*/3", "13,L", "*"]),
    month=st.sampled_from(["*", "2", "*/2", "jan-mar"]),
    week=st.sampled_from(["*", "1", "mon-fri", "5#3", "1#1,3#2", "*/2", "sun#5"]),
)
@example("*/3", "2", "sun#5")
def test_cronsim_says_the_same_of_special_days(day, month, week) -> None:
    text = f"0 0 {day} {month} {week}"
    try:
        theirs = list(islice(CronSim(text, START), 10))
    except CronSimError:
        reject()
    if not theirs:
        with pytest.raises(ValueError, match="there is no such date"):
            Cron(text)
        return
    assert some(text, 10) == theirs


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("0 0 8 * 5#3", "01-08 01-19 02-08 02-16"),
        ("0 0 1-7 * mon#1", "01-02 01-03 01-04 01-05"),
        ("0 0 15W * mon", "01-08 01-15 01-22 01-29"),
        ("0 0 L * mon", "01-08 01-15 01-22 01-29 01-31"),
        ("0 0 8 * L5", "01-08 01-26 02-08 02-23"),
        ("0 0 L * L5", "01-26 01-31 02-23 02-29"),
        ("0 0 15W * 5#3", "01-15 01-19 02-15 02-16"),
        ("0 0 15W,L,3 * *", "01-03 01-15 01-31 02-03"),
        ("0 0 * * fri,mon#2", "01-05 01-08 01-12 01-19"),
        ("0 0 * * 1-2#2", "01-08 01-09 02-12 02-13"),
        ("0 0 */2 * mon#1", "02-05 04-01 06-03"),
        ("0 0 15W * */2", "02-15 08-15 10-15"),
        ("0 0 31 2,4 mon", "02-05 02-12 02-19 02-26"),
        ("0 0 30 2 mon", "02-05 02-12 02-19 02-26"),
        ("0 0 1 12-3/2 *", "02-01 12-01"),
        ("0 0 * * fri-tue/2", "01-02 01-05 01-07 01-09"),
        ("0 0 * * mon-1", "01-08 01-15 01-22"),
        ("0 0 * * 7-0", "01-07 01-14 01-21"),
        ("0 0 * * SUN-0/3", "01-07 01-14 01-21"),
        ("0 0 * * 0-7", "01-02 01-03 01-04"),
        ("0 0 * * 1-7", "01-02 01-03 01-04"),
        ("0 0 28-3/2 * *", "01-03 01-28 01-30 02-01"),
        ("0 0 31W * *", "01-31 02-29 03-29"),
        ("0 0 1W * *", "02-01 03-01 04-01 05-01 06-03"),
    ],
)
def test_days(expression, days) -> None:
    expected = days.split()
    found = some(expression, len(expected))
    assert [f"{each:%m-%d}" for each in found] == expected


@pytest.mark.parametrize(
    ("expression", "hours"),
    [
        ("0 23-3/2 * * *", [1, 3, 23]),
        ("0 22-4/3 * * *", [1, 4, 22]),
        ("0 05-5 * * *", [5]),
        ("0 5-05/2,9-009 * * *", [5, 9]),
        ("0 23-22 * * *", list(range(24))),
        ("0 20/2 * * *", [20, 22]),
        ("0 23/2 * * *", [23]),
        ("0 */30 * * *", [0]),
    ],
)
def test_hours(expression, hours) -> None:
    found = some(expression, len(hours), START - timedelta(seconds=1))
    assert [each.hour for each in found] == hours
    found = some(f"0 {expression}", len(hours), START - timedelta(seconds=1))
    assert [each.hour for each in found] == hours


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 LW * *",
        "0 0 L-3 * *",
        "0 0 32W * *",
        "0 0 0W * *",
        "0 0 * * L",
        "0 0 * * 5L",
        "0 0 * * L8",
        "0 0 * * 5#0",
        "0 0 * * 5#6",
        "0 0 * * *#1",
        "0 0 * * mon/2#1",
        "0 0 l/2 * *",
        "0 0 * * mon-",
        "? 0 * * *",
        "0 0 ?/2 * *",
        "*-5 * * * *",
        "*5 * * * *",
        "5/-2 * * * *",
        "5-\u0663 * * * *",  # a digit, but no ASCII one
        "0 0 30W 2 feb",
        "0 0 * jan-dec-feb *",
    ],
)
def test_what_is_no_cron_is_refused(expression) -> None:
    with pytest.raises(ValueError, match=r"^expression must be a cron expression of 5 fields"):
        Cron(expression)


def test_a_half_that_never_comes_is_looked_for_once(monkeypatch) -> None:
    half, whole = Cron("0 0 31 2,4 mon"), Cron("0 0 * 2,4 mon")
    begun = perf_counter()
    plain = some("0 0 * 2,4 mon", 50)
    middle = perf_counter()
    assert some("0 0 31 2,4 mon", 50) == plain
    assert half.next(START) == whole.next(START)
    assert len(half._steps) == 1
    # It was 200 times as long; parsing, which looks for it once, is in this.
    assert perf_counter() - middle < 100 * (middle - begun)


def test_a_half_that_is_over_leaves_the_other_one() -> None:
    after = datetime(9999, 12, 26, tzinfo=UTC)  # a Sunday
    assert some("0 0 26 * mon", 9, after) == [datetime(9999, 12, 27, tzinfo=UTC)]


def test_reading_needs_no_croniter() -> None:
    table = crontab.read("*/30 23-1 l feb-mar mon-1,fri#2")
    assert table.minute == {0, 30}
    assert table.hour == {23, 0, 1}
    assert table.days == (("l", "*"), ("*", "1"), ("*", "5#2"))
    assert not table.fixed
