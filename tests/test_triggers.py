"""What may say when something happens, and the clock for tests of it."""

from datetime import datetime, time, timedelta, timezone
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio import At, Cron, Every, JobPool, Trigger
from poolder_trio.kernel.wall import WallClock
from poolder_trio.policies.triggers import follows_the_wall, make_trigger
from poolder_trio.testing import wall_clock

UTC = timezone.utc
NOW = datetime(2024, 2, 28, 22, 0, 0, 5, tzinfo=UTC)
PERIODS = st.one_of(st.floats(0.001, 1e7), st.integers(1, 10**7))


def firings(trigger, after):
    while (found := trigger.next(after)) is not None:
        assert found > after
        assert found.tzinfo is UTC
        yield found
        after = found


def seconds(n: float) -> timedelta:
    return timedelta(seconds=n)


# -- every so often


@given(period=PERIODS, ago=st.floats(-1e9, 1e9))
def test_it_keeps_to_its_start_however_long_ago(period, ago) -> None:
    start = NOW - seconds(ago)
    found = Every(period, start=start).next(NOW)
    n = max(0, int(ago / period))
    assert found in [start + seconds((n + step) * period) for step in (-1, 0, 1, 2)]
    assert found > NOW
    assert found == start or found - seconds(period) <= NOW + timedelta.resolution


def test_a_start_to_come_is_the_first() -> None:
    start = NOW.astimezone(ZoneInfo("Asia/Tokyo")) + seconds(7)
    some = list(islice(firings(Every(5, start=start), NOW), 3))
    assert some == [NOW + seconds(n) for n in (7, 12, 17)]


def test_its_seconds_are_real_ones_where_clocks_change() -> None:
    start = datetime(2024, 3, 31, 0, 30, tzinfo=ZoneInfo("Europe/Paris"))
    some = list(islice(firings(Every(3600, start=start), NOW), 3))
    assert [each.astimezone(start.tzinfo).hour for each in some] == [0, 1, 3]


def test_without_a_start_it_counts_from_when_it_is_asked() -> None:
    assert Every(5).next(NOW) == NOW + seconds(5)
    assert Every(5).next(NOW + seconds(1)) == NOW + seconds(6)


def test_what_goes_on_by_the_wall_when_it_is_set_back() -> None:
    assert follows_the_wall(Every(5, start=NOW))
    assert follows_the_wall(Cron("*/5 * * * *"))
    assert follows_the_wall(Cron("30 * * * *"))
    assert not follows_the_wall(Cron("30 2 * * *"))
    assert not follows_the_wall(At(NOW))


def test_equal_intervals_share_one_trigger() -> None:
    assert make_trigger(5.0) is make_trigger(5.0)
    assert make_trigger(5.0) is not make_trigger(6.0)


@given(
    period=st.floats(0.001, 1e5),
    jitter=st.floats(0, 1e6),
    seed=st.integers(),
    part=st.floats(0, 1),
)
def test_jitter_delays_each_but_not_to_the_next(period, jitter, seed, part) -> None:
    trigger = Every(period, jitter, start=NOW, seed=seed)
    some = list(islice(firings(trigger, NOW - timedelta.resolution), 20))
    for n, found in enumerate(some):
        late = found - (NOW + seconds(n * period))
        assert timedelta(0) <= late <= seconds(jitter)
        assert found < NOW + seconds((n + 1) * period)
    # Whoever asks, and whenever, hears of the same firings.
    asked = NOW + (some[-1] - NOW) * part * 0.99
    assert trigger.next(asked) == next(each for each in some if each > asked)


def test_jitter_spreads() -> None:
    trigger = Every(60, jitter=30, start=NOW, seed=1)
    late = [(found - NOW).total_seconds() % 60 for found in islice(firings(trigger, NOW), 1000)]
    assert 0 <= min(late) < 1
    assert 29 < max(late) < 30
    assert 14 < sum(late) / 1000 < 16


def test_a_seed_repeats_it() -> None:
    def three(seed):
        return list(islice(firings(Every(60, jitter=30, start=NOW, seed=seed), NOW), 3))

    assert three(1) == three(1) != three(2)


def test_periods_beyond_all_years_never_come() -> None:
    assert Every(1e12).next(NOW) is None
    assert Every(1e300, jitter=5).next(NOW) is None
    assert Every(10**300, start=NOW).next(NOW - seconds(1)) == NOW
    assert Every(5, jitter=1e300, start=NOW).next(NOW) is not None


# -- once


def test_at_comes_once() -> None:
    when = NOW.astimezone(ZoneInfo("America/New_York"))
    assert list(firings(At(when), NOW - seconds(1))) == [NOW]
    assert At(when).next(NOW) is None


# -- what stands for a trigger


class Never:
    def next(self, after: datetime) -> datetime | None:
        return None


NEVER = Never()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, Every(5)),
        (0.5, Every(0.5)),
        (timedelta(minutes=2), Every(120)),
        ("*/15 * * * * *", Cron("*/15 * * * * *", "Europe/Paris")),
        ("@daily", Cron("@daily", "Europe/Paris")),
        (NOW, At(NOW)),
        (Every(3, 1.0), Every(3, 1.0)),
        (Cron("@daily", "Asia/Tokyo"), Cron("@daily", "Asia/Tokyo")),
        (NEVER, NEVER),
    ],
)
def test_it_becomes_a_trigger(value, expected) -> None:
    trigger = make_trigger(value, "Europe/Paris")
    assert isinstance(trigger, Trigger)
    assert trigger == expected


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, TypeError, r"^jobs\['prune'\] must be a number of seconds, .* got None \(Mine\)"),
        (True, TypeError, r"^jobs\['prune'\] must be a number of seconds, .* got True"),
        (Every, TypeError, r"^jobs\['prune'\] must be .* got <class"),
        (time(3), TypeError, r"^jobs\['prune'\] must be .* got datetime.time"),
        (0, ValueError, r"^jobs\['prune'\] in Mine: seconds must be .* got 0 \(Every\)"),
        (float("nan"), ValueError, r"got nan"),
        (float("inf"), ValueError, r"got inf"),
        (timedelta(0), ValueError, r"got 0\.0"),
        ("* *", ValueError, r"^jobs\['prune'\] in Mine: expression must be .* got '\* \*'"),
        (NOW.replace(tzinfo=None), ValueError, r"in Mine: when must be an aware datetime, .* got"),
    ],
)
def test_what_is_no_trigger_is_refused(value, error, message) -> None:
    with pytest.raises(error, match=message):
        make_trigger(value, "UTC", "jobs['prune']", "Mine")


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"^seconds must be .*, got '5' \(Every\)"):
        Every("5")
    with pytest.raises(ValueError, match=r"^jitter must be .*, got inf \(Every\)"):
        Every(5, float("inf"))
    with pytest.raises(ValueError, match=r"^start must be an aware datetime, .* \(Every\)"):
        Every(5, start=NOW.replace(tzinfo=None))
    with pytest.raises(TypeError, match=r"^seed must be an int, got 'x' \(Every\)"):
        Every(5, seed="x")
    with pytest.raises(TypeError, match=r"^when must be an aware datetime, .* got 5 \(At\)"):
        At(5)


@pytest.mark.parametrize("trigger", [Every(5), Every(5, start=NOW), At(NOW), Cron("@daily")])
def test_naive_moments_are_refused(trigger) -> None:
    with pytest.raises(ValueError, match=r"^after must be an aware datetime"):
        trigger.next(NOW.replace(tzinfo=None))


# -- the clock for tests


async def test_a_year_passes_in_a_second(autojump_clock) -> None:
    wall = WallClock(wall_clock(NOW))
    trigger = make_trigger("30 2 * * *", "Europe/Paris")
    count = 0
    while (due := trigger.next(wall.now())) < NOW + timedelta(days=365):
        await trio.sleep((due - wall.now()).total_seconds())
        assert wall.now() == due
        count += 1
    assert count == 365


async def test_the_clock_goes_on_from_when_it_was_made(autojump_clock) -> None:
    await trio.sleep(5)
    clock = wall_clock(NOW.astimezone(ZoneInfo("Asia/Tokyo")))
    assert clock() == NOW
    await trio.sleep(5)
    assert clock() == NOW + seconds(5)
    assert clock().tzinfo is UTC


def test_a_clock_made_outside_of_a_run_starts_when_it_is_read(mock_clock) -> None:
    clock = wall_clock(NOW)

    async def read() -> None:
        mock_clock.jump(7)
        assert clock() == NOW
        mock_clock.jump(7)
        assert clock() == NOW + seconds(7)

    trio.run(read, clock=mock_clock)


async def test_components_take_the_clock(autojump_clock) -> None:
    done = []

    async def note() -> None:
        done.append(trio.current_time())

    async with JobPool(clock=wall_clock(NOW)) as pool:
        await pool.perform_at(time(3), note)
        await trio.sleep(6 * 3600)
    assert done == [pytest.approx(5 * 3600, abs=1e-3)]


def test_a_clock_starts_at_an_aware_datetime() -> None:
    with pytest.raises(ValueError, match=r"^start must be an aware datetime, .* \(wall_clock\)"):
        wall_clock(NOW.replace(tzinfo=None))
    with pytest.raises(TypeError, match=r"^start must be an aware datetime, .* got 5"):
        wall_clock(5)
