"""Clocks that are set back: what goes by dates goes on, whatever was done before it is noticed."""

from datetime import datetime, time, timedelta, timezone

import pytest
import trio

from poolder_trio import At, Every, JobPool, Pool, Reschedule, Scheduler, Worker
from poolder_trio.kernel.wall import WallClock

UTC = timezone.utc
NOW = datetime(2024, 2, 28, 22, 0, tzinfo=UTC)
HOUR = 3600.0
YEARS = 10 * 365 * 86400.0


def seconds(n):
    return timedelta(seconds=n)


class Jumpy:
    """A clock that goes as Trio's does, and can be set."""

    offset = 0.0

    def __call__(self):
        return NOW + seconds(trio.current_time() + self.offset)


@pytest.fixture
def jumpy(monkeypatch):
    """Make every wall clock one that is read again and again, as under Trio's own clock."""
    made = WallClock.__init__

    def make(self, read=None):
        made(self, read)
        self._offset = None

    monkeypatch.setattr(WallClock, "__init__", make)
    return Jumpy()


class Hourly:
    """A trigger of one's own."""

    def next(self, after):
        return after.replace(minute=0, second=0, microsecond=0) + seconds(HOUR)


async def nothing():
    pass


def other(trigger):
    return lambda scheduler: scheduler.schedule("other", trigger, nothing)


def together(*ways):
    def touch(scheduler):
        for way in ways:
            way(scheduler)

    return touch


SOON = seconds(1)
WAYS = {
    "nothing": lambda scheduler: None,
    "cron": other("*/5 * * * * *"),
    "at": lambda scheduler: scheduler.schedule("other", At(scheduler.clock() + SOON), nothing),
    "every": lambda scheduler: scheduler.schedule(
        "other", Every(1, start=scheduler.clock()), nothing
    ),
    "own": other(Hourly()),
    "interval": other(5.0),
    "unschedule": together(
        other("*/5 * * * * *"), lambda scheduler: scheduler.unschedule("other"), other("@hourly")
    ),
    "fire": together(lambda scheduler: scheduler.fire("other"), other("*/5 * * * * *")),
    "verdict": lambda scheduler: scheduler.fire("changes another"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("trigger", "back"),
    [
        ("* * * * *", 2 * HOUR),
        ("* * * * *", 5.0 + HOUR),
        ("* * * * *", YEARS),
        ("30 * * * *", YEARS),
        (Every(60.0, start=NOW - seconds(YEARS)), 2 * HOUR),
        (Hourly(), 2 * HOUR),
        (Hourly(), YEARS),
        ("30 22 * * *", YEARS),
    ],
)
async def test_however_the_agenda_is_touched_dates_do_not_wait_until_the_clock_has_caught_up(
    way, trigger, back, jumpy, autojump_clock
):
    ran = []

    async def run():
        ran.append(trio.current_time())

    async def change():
        return Reschedule("other", "*/5 * * * * *")

    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("other", 1e6, nothing)
        scheduler.schedule("changes another", 1e6, change)
        scheduler.schedule("job", trigger, run)
        await trio.sleep(2 * HOUR + 10)
        assert ran
        del ran[:]
        jumpy.offset -= back
        await trio.sleep(0.5)
        WAYS[way](scheduler)
        await trio.sleep(0.25)
        WAYS[way](scheduler)
        scheduler.schedule("other", 1e6, nothing)
        await trio.sleep(86400 if trigger == "30 22 * * *" else 2.5 * HOUR)
    first = ran[0] - (2 * HOUR + 10)
    if trigger == "30 22 * * *":
        assert len(ran) == 1
    else:
        assert first <= HOUR + 60
        assert len(ran) >= 2


async def test_what_is_touched_all_the_time_is_noticed_too(jumpy, autojump_clock):
    ran = []

    async def run():
        ran.append(trio.current_time())

    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("job", "* * * * *", run)
        await trio.sleep(90)
        jumpy.offset -= 2 * HOUR
        for n in range(600):
            scheduler.schedule("other", At(jumpy() + SOON), nothing)
            await trio.sleep(1.5 if n % 2 else 0.5)
    assert len(ran) >= 10


async def test_sub_second_corrections_add_up(jumpy, autojump_clock):
    """Nobody is told of each; but an hour of them is an hour for which nothing came."""
    ran = []

    async def run():
        ran.append(jumpy())

    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("job", "* * * * * *", run)
        await trio.sleep(10)
        for _ in range(1000):
            jumpy.offset -= 0.9
            await trio.sleep(0.1)
            scheduler.schedule("other", 1e6, nothing)
        del ran[:]
        await trio.sleep(100)
    assert len(ran) >= 35  # within a minute it goes on


async def test_corrections_of_less_than_a_second_repeat_nothing(jumpy, autojump_clock):
    ran = []

    async def run():
        ran.append(jumpy().replace(microsecond=0))

    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("job", "* * * * *", run)
        for n in range(600):
            jumpy.offset += 0.4 if n % 2 else -0.4
            await trio.sleep(7)
    assert len(ran) == len(set(ran)) >= 69


@pytest.mark.parametrize(
    ("steps", "runs"),
    [
        ([2.9 * HOUR], 0),
        ([3.1 * HOUR], 1),
        ([2 * HOUR, 2 * HOUR], 1),  # 4 h behind what it showed
        ([2 * HOUR] * 5, 1),
        ([1.0 * HOUR, 1.0 * HOUR], 0),
    ],
)
async def test_a_fixed_time_comes_again_once_the_clock_is_three_hours_behind(
    steps, runs, jumpy, autojump_clock
):
    ran = []

    async def run():
        ran.append(jumpy())

    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("nightly", "0 22 * * *", run)
        await trio.sleep(86400 + 60)
        assert len(ran) == 1
        for step in steps:
            jumpy.offset -= step
            await trio.sleep(70)
        await trio.sleep(sum(steps) + 600)
    assert len(ran) - 1 == runs


async def test_small_set_backs_that_were_made_up_for_do_not_add_up(jumpy, autojump_clock):
    ran = []

    async def run():
        ran.append(jumpy())

    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("nightly", "0 22 * * *", run)
        for _ in range(5):
            await trio.sleep(86400 + 60)
            jumpy.offset -= 2 * HOUR
    assert [at.day for at in ran] == [29, 1, 2, 3]


class Periodic(Worker):
    async def handle_job(self, job):
        raise AssertionError

    async def handle_periodic_job(self, event):
        self.pool.ran.append((trio.current_time(), event))
        if event == "touch" and trio.current_time() < 150:
            return Reschedule("other", "@hourly")
        return None


@pytest.mark.parametrize("touched", [True, False])
async def test_a_pools_schedules_go_on(touched, jumpy, autojump_clock):
    class Pools(Pool):
        worker = Periodic
        pool_size = 1
        schedules = {"minutes": "*/10 * * * *", "touch": 100.0, "nightly": "0 22 * * *"}
        ran = []

    if not touched:
        Pools.schedules = {"minutes": "*/10 * * * *", "nightly": "0 22 * * *"}
    async with Pools(clock=jumpy) as pool:
        await trio.sleep(90)
        jumpy.offset -= YEARS
        await trio.sleep(86400)
        assert len([1 for _, event in pool.ran if event == "minutes"]) >= 143
        assert len([1 for _, event in pool.ran if event == "nightly"]) == 1


@pytest.mark.parametrize("touched", [True, False])
async def test_times_of_day_were_meant_of_the_right_clock(touched, jumpy, autojump_clock):
    """With a clock that was years fast at boot, a time of day is not years away."""
    ran = []

    async def run(name):
        ran.append((name, jumpy()))

    jumpy.offset = YEARS
    async with JobPool(clock=jumpy) as pool:
        await pool.perform_at(time(3), run, "time")
        date = jumpy() + seconds(HOUR)
        dated = await pool.perform_at(date, run, "date")
        await trio.sleep(30)
        jumpy.offset = 0.0
        if touched:
            await pool.perform_at(jumpy() + SOON, run, "other")
        await trio.sleep(86400)
        assert [(name, at.hour) for name, at in ran if name == "time"] == [("time", 3)]
        assert dated.remaining() > YEARS - 2 * 86400
        assert await dated.cancel() is not None


async def test_a_time_of_day_that_comes_twice_by_a_small_set_back_is_the_one_meant(
    jumpy, autojump_clock
):
    ran = []

    async def run():
        ran.append(trio.current_time())

    async with JobPool(clock=jumpy) as pool:
        await pool.perform_at(time(22), run)  # it is 22:00: tomorrow
        await trio.sleep(60)
        jumpy.offset -= 2 * HOUR
        await trio.sleep(86400)
        assert ran == []
        await trio.sleep(2 * HOUR)
    assert len(ran) == 1
