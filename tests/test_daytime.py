"""Times of day where the clocks change, against a plain walk over the seconds."""

from datetime import datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio.policies.daytime import next_time_of_day, zone_of

UTC = timezone.utc


def utc(*args: int) -> datetime:
    return datetime(*args, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "at", "after", "expected"),
    [
        pytest.param("UTC", time(3), utc(2024, 1, 1, 2), utc(2024, 1, 1, 3), id="today"),
        pytest.param("UTC", time(3), utc(2024, 1, 1, 4), utc(2024, 1, 2, 3), id="tomorrow"),
        pytest.param("UTC", time(3), utc(2024, 1, 1, 3), utc(2024, 1, 2, 3), id="at the moment"),
        pytest.param(
            "Europe/Berlin", time(2, 30), utc(2024, 3, 31), utc(2024, 3, 31, 1), id="in a gap"
        ),
        pytest.param(
            "Europe/Berlin",
            time(2, 30),
            utc(2024, 3, 31, 1),
            utc(2024, 4, 1, 0, 30),
            id="after a gap",
        ),
        pytest.param(
            "Europe/Berlin",
            time(2, 30),
            utc(2024, 10, 26, 22),
            utc(2024, 10, 27, 0, 30),
            id="repeated: the first",
        ),
        pytest.param(
            "Europe/Berlin",
            time(2, 30),
            utc(2024, 10, 27, 0, 30),
            utc(2024, 10, 28, 1, 30),
            id="repeated: not the second",
        ),
        pytest.param(
            "Pacific/Apia", time(12), utc(2011, 12, 30, 5), utc(2011, 12, 30, 10), id="no such day"
        ),
        pytest.param(
            "Australia/Lord_Howe",
            time(2, 15, 0, 7),
            utc(2024, 10, 5, 15),
            utc(2024, 10, 5, 15, 30),
            id="a gap of half an hour",
        ),
    ],
)
def test_the_next_time_of_day(zone: str, at: time, after: datetime, expected: datetime) -> None:
    assert next_time_of_day(at, after, ZoneInfo(zone)) == expected


@given(
    zone=st.sampled_from(
        ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana"]
    ),
    minute=st.integers(0, 24 * 60 - 1),
    after=st.datetimes(datetime(2024, 1, 1), datetime(2024, 12, 31)),  # noqa: DTZ001
)
def test_it_is_when_clocks_first_come_to_that_time_or_pass_it(
    zone: str, minute: int, after: datetime
) -> None:
    place = ZoneInfo(zone)
    after = after.replace(second=0, microsecond=0, tzinfo=UTC)
    at = time(*divmod(minute, 60))

    # A clock comes to the time on each date once: at the first minute that shows it or more.
    moment = after - timedelta(days=1)
    seen = {moment.astimezone(place).date()}  # this day's may have passed
    while True:
        moment += timedelta(minutes=1)
        local = moment.astimezone(place)
        if local.date() not in seen and local.time() >= at:
            seen.add(local.date())
            if moment > after:
                break
    assert next_time_of_day(at, after, place) == moment


def test_utc_needs_no_data_base() -> None:
    assert zone_of("UTC") is UTC
