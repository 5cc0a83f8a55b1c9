"""Firings that are overdue together, after a long sleep: each is counted, and told in one line."""

import math
from datetime import datetime, timedelta, timezone
from itertools import product
from time import perf_counter

import pytest
import trio

from poolder_trio import Cron, Every, Instrument, Pool, Scheduler, Worker
from poolder_trio.kernel.wall import WallClock

NOW = datetime(2024, 2, 28, 22, 0, tzinfo=timezone.utc)
DAY = 86400.0
TEN_YEARS = 3653 * DAY


@pytest.fixture
def slept(monkeypatch):
    """By how much the clock is before Trio's; it is read again and again, as the real one."""
    made = WallClock.__init__

    def make(self, read=None):
        made(self, read)
        self._offset = None

    monkeypatch.setattr(WallClock, "__init__", make)
    return [0.0]


@pytest.fixture
def clock(slept):
    return lambda: NOW + timedelta(seconds=trio.current_time() + slept[0])


class Own:
    """A trigger of one's own: nobody but it knows how many firings there are."""

    def __init__(self, seconds):
        self.seconds = seconds

    def next(self, after):
        return NOW + timedelta(seconds=((after - NOW) // self.step + 1) * self.seconds)

    @property
    def step(self):
        return timedelta(seconds=self.seconds)


class Relative(Own):
    """One that goes by what it is asked alone."""

    def next(self, after):
        return after + self.step


TRIGGERS = {
    "seconds": ("* * * * * *", 1.0, TEN_YEARS),
    "minutes": ("*/5 * * * *", 300.0, TEN_YEARS),
    "fixed": (Cron("0 3 * * *", "Europe/Paris"), DAY, TEN_YEARS),
    "cron with jitter": (Cron("*/5 * * * *", "America/New_York", 60.0, seed=1), 300.0, TEN_YEARS),
    "every": (Every(1.0, start=NOW), 1.0, TEN_YEARS),
    "every with jitter": (Every(7.0, 3.0, NOW, seed=1), 7.0, TEN_YEARS),
    "own": (Own(60.0), 60.0, 8 * DAY),
    "relative": (Relative(60.0), 60.0, 8 * DAY),
}
OVERLAPS = ["queue", "skip", "replace", "allow"]


class Told(Instrument):
    def __init__(self):
        self.fired, self.missed, self.at = [], [], None

    def schedule_fired(self, source, name, due):
        self.fired.append(due)

    def schedule_missed(self, source, name, due, count, why):
        self.missed.append((why, count, due))
        if self.at is None:
            self.at, self.counts = source.clock(), source.statistics()


def dues(trigger, until, period):
    """The first two firings, and the last."""
    trigger = Cron(trigger) if isinstance(trigger, str) else trigger
    first = trigger.next(NOW)
    at = (
        first
        if isinstance(trigger, Relative)
        else trigger.next(until - timedelta(seconds=3 * period))
    )
    some = [at]
    while (at := trigger.next(at)) <= until:
        some.append(at)
    return first, trigger.next(first), some[-1]


@pytest.mark.parametrize("way", TRIGGERS)
@pytest.mark.parametrize(
    "how", list(product(["latest", "earliest", "all"], OVERLAPS, [0.0, 10 * DAY]))
)
async def test_after_ten_years_each_is_counted(way, how, slept, clock, autojump_clock):
    (trigger, period, sleep), (coalesce, overlap, lasts) = TRIGGERS[way], how
    grace = math.inf
    if coalesce == "all" and overlap == "allow":
        grace = 20 * period  # those run, so many that it is no good to wait for them
    told, ended, began = Told(), 0, perf_counter()

    async def run():
        nonlocal ended
        await trio.sleep(lasts)
        ended += 1

    options = {"coalesce": coalesce, "overlap": overlap, "misfire_grace": grace}
    async with Scheduler(clock=clock, instruments=[told], **options) as scheduler:
        scheduler.schedule("job", trigger, run)
        await trio.sleep(0.5)
        slept[0] = sleep
        await trio.sleep(300 if way in {"minutes", "fixed"} or "jitter" in way else 60)
        counts = told.counts
        scheduler.unschedule("job")
    assert perf_counter() - began < 20
    until = told.at
    first, second, last = dues(trigger, until, period)
    every = counts.missed + counts.skipped + counts.fired
    total = int((until - NOW).total_seconds() / period)
    if way == "fixed":
        total = 3652
    assert abs(every - total) <= 2
    assert every == total or "jitter" in way or way == "fixed"
    assert counts.missed + counts.skipped == told.missed[0][1]  # so it was told in one line
    del told.missed[1:]
    del told.fired[counts.fired :]
    if grace < math.inf:
        assert 19 <= counts.fired <= 21
        assert told.missed == [("missed", every - counts.fired, first)]
    elif coalesce == "latest":
        assert told.fired == [last]
        assert told.missed == [("missed", every - 1, first)]
    elif coalesce == "earliest":
        assert told.fired == [first]
        assert told.missed == [("missed", every - 1, second)]
    elif overlap == "skip":
        assert told.fired == [first]
        assert told.missed == [("skipped", every - 1, second)]
    elif overlap == "queue":  # one runs and one waits
        assert told.fired == [first, second]
        assert told.missed[0][:2] == ("missed", every - 2)
    else:  # each replaces the one before, until one has begun
        assert told.fired[:2] == [first, second]
        assert told.missed[0][:2] == ("missed", every - counts.fired)


@pytest.mark.parametrize(
    "case",
    list(product(["* * * * * *", Every(1.0, start=NOW), Own(1.0)], ["queue", "skip", "replace"])),
)
async def test_what_gives_way_after_a_long_sleep_is_told_in_one_line(
    case, slept, clock, autojump_clock, caplog
):
    trigger, overlap = case

    async def run():
        await trio.sleep(100)

    async with Scheduler(clock=clock, coalesce="all", overlap=overlap) as scheduler:
        scheduler.schedule("job", trigger, run)
        await trio.sleep(0.5)
        slept[0] = 28_800.0
        await trio.sleep(0.6)
        counts = scheduler.statistics()
        scheduler.unschedule("job")
    assert counts.missed + counts.skipped + counts.fired == 28_801
    why, count = ("skipped", counts.skipped) if overlap == "skip" else ("missed", counts.missed)
    assert count >= (28_000 if overlap == "replace" else 28_799)
    assert len([line for line in caplog.messages if f"{why}=" in line]) == 1
    assert f"{why}={count} " in caplog.text


@pytest.mark.parametrize("coalesce", ["latest", "earliest"])
@pytest.mark.parametrize("grace", [math.inf, 0.0, 3600.0])
@pytest.mark.parametrize("jitter", [0.0, 0.5])
async def test_beats_of_ten_years_are_counted(coalesce, grace, jitter, autojump_clock):
    async def run():
        pass

    options = {"coalesce": coalesce, "misfire_grace": grace}
    async with Scheduler(**options) as scheduler:
        scheduler.schedule("job", Every(1.0, jitter, seed=3), run)
        autojump_clock.jump(TEN_YEARS + 0.75)
        await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        counts = scheduler.statistics()
        assert counts.missed + counts.fired == TEN_YEARS
        assert counts.fired == (grace > 1)
        scheduler.unschedule("job")


@pytest.mark.parametrize("trigger", ["* * * * * *", Own(60.0)])
async def test_a_pools_schedules_are_counted(trigger, slept, clock, autojump_clock, caplog):
    class Silent(Worker):
        async def handle_periodic_job(self, event):
            await trio.lowlevel.checkpoint()

        async def handle_job(self, job):
            raise AssertionError

    sleep = TEN_YEARS if isinstance(trigger, str) else 30 * DAY
    async with Pool(Silent, pool_size=2, clock=clock, schedules={"job": trigger}) as pool:
        await trio.sleep(0.5)
        slept[0] = sleep
        await trio.sleep(60)
        pool.close()
    line = next(line for line in caplog.messages if "missed=" in line)
    expected = sleep if isinstance(trigger, str) else sleep / 60
    assert f"missed={expected:.0f} " in line


async def test_paused_it_counts_all_the_same(slept, clock, autojump_clock):
    ran = []

    async def run():
        ran.append(trio.current_time())

    async with Scheduler(clock=clock) as scheduler:
        scheduler.schedule("job", "* * * * * *", run)
        scheduler.pause()
        await trio.sleep(0.5)
        slept[0] = TEN_YEARS
        await trio.sleep(0.6)
        assert scheduler.statistics().missed == TEN_YEARS
        assert not ran
        scheduler.unschedule_all()


async def test_while_one_is_caught_up_others_fire(slept, clock, autojump_clock):
    """Firings of one's own trigger are met by steps, a few in each pass of the event loop."""
    asked, other = 0, []

    class Asked(Own):
        def next(self, after):
            nonlocal asked
            asked += 1
            return super().next(after)

    async def run():
        other.append(asked)

    async def nothing():
        pass

    async with Scheduler(clock=clock) as scheduler:
        scheduler.schedule("long", Asked(60.0), nothing)
        scheduler.schedule("short", "0 22 * * *", run)
        scheduler.schedule("steady", 10.0, run)
        await trio.sleep(9.95)
        slept[0] = 30 * DAY
        await trio.sleep(51)
        scheduler.unschedule_all()
    assert asked > 43_000
    assert len(other) >= 6
    assert scheduler.report.completed >= 7
    assert [n for n in other if 1 < n < 1_000]


HOW = {
    "unschedule": lambda scheduler: scheduler.unschedule("job"),
    "unschedule_all": lambda scheduler: scheduler.unschedule_all(),
    "reschedule": lambda scheduler: scheduler.reschedule({"other": 5.0}),
    "schedule": lambda scheduler: scheduler.schedule("job", "0 0 1 1 *"),
    "close": lambda scheduler: scheduler.close(),
}


@pytest.mark.parametrize("coalesce", ["latest", "earliest", "all"])
@pytest.mark.parametrize("how", HOW)
async def test_taken_off_while_it_is_caught_up_what_was_met_is_told(
    coalesce, how, slept, clock, autojump_clock
):
    told, done = Told(), False
    asked = 0

    class Meddling(Own):
        def next(self, after):
            nonlocal asked, done
            asked += 1
            if asked == 5000 and not done:
                done = True
                trio.lowlevel.spawn_system_task(meddle)
            return super().next(after)

    async def meddle():
        HOW[how](scheduler)

    async def nothing():
        await trio.lowlevel.checkpoint()

    class Both(Scheduler):
        async def handle_job(self, name):
            await nothing()

    options = {"coalesce": coalesce, "overlap": "queue"}
    async with Both(clock=clock, instruments=[told], **options) as scheduler:
        scheduler.schedule("job", Meddling(60.0))
        await trio.sleep(0.5)
        slept[0] = 300 * DAY
        await trio.sleep(70)
        counts = scheduler.statistics()
        assert done
        assert asked < 6_000
        assert 4_990 < counts.missed < 6_000
        assert counts.fired <= (3 if coalesce == "all" else 0) + 14 * (how == "reschedule")
        (missed,) = told.missed
        assert missed[0] == "missed"
        assert missed[1] == counts.missed
        if how != "close":
            scheduler.unschedule_all()


@pytest.mark.parametrize("coalesce", ["latest", "earliest", "all"])
@pytest.mark.parametrize("back", [2 * 3600.0, 299 * DAY, 300 * DAY, 3000 * DAY])
async def test_set_back_while_it_is_caught_up_it_goes_on_at_once(
    coalesce, back, slept, clock, autojump_clock
):
    told, asked, done = Told(), 0, False
    ran = []

    class Meddling(Own):
        def next(self, after):
            nonlocal asked, done
            asked += 1
            if asked == 5000 and not done:
                done = True
                slept[0] -= back
            return super().next(after)

    async def run():
        ran.append(clock())

    async with Scheduler(clock=clock, instruments=[told], coalesce=coalesce) as scheduler:
        scheduler.schedule("job", Meddling(60.0), run)
        await trio.sleep(0.5)
        slept[0] = 300 * DAY
        await trio.sleep(200)
        assert done
        counts = scheduler.statistics()
        total = (300 * DAY + 200 - back) // 60
        if back < 299 * DAY:
            assert total <= counts.missed + len(told.fired) <= total + 4
        else:
            assert 4_990 <= counts.missed <= 6_000
        assert len(told.missed) == 1
        # From then on, by the clock as it is.
        assert scheduler.next_fire("job") == Own(60.0).next(clock())
        assert len(ran) >= 2
        scheduler.unschedule("job")


async def test_a_fixed_time_that_is_caught_up_goes_on_though_the_clock_is_set_back(
    slept, clock, autojump_clock
):
    ran = []

    async def run():
        ran.append(trio.current_time())
        if len(ran) == 150:
            slept[0] -= 7200

    options = {"coalesce": "all", "overlap": "allow"}
    async with Scheduler(clock=clock, **options) as scheduler:
        scheduler.schedule("job", "0 12 * * *", run)
        await trio.sleep(0.5)
        slept[0] = 1000 * DAY
        await trio.sleep(70)
        scheduler.unschedule("job")
    assert len(ran) == 1000
    assert ran[-1] < 61


async def test_a_trigger_without_end_is_caught_up_bit_by_bit(slept, clock, autojump_clock):
    """The clock goes on while it is asked; each time it is met up to when it was found."""

    class Dense(Own):
        def next(self, after):
            slept[0] += 0.0005
            return after + timedelta(seconds=0.001)

    told = Told()

    async def nothing():
        pass

    with trio.fail_after(100):
        async with Scheduler(clock=clock, instruments=[told]) as scheduler:
            scheduler.schedule("job", Dense(1.0), nothing)
            slept[0] = 10.0
            await trio.sleep(0.01)
            assert told.missed
            scheduler.unschedule("job")
    assert told.fired
    assert told.missed[0][1] >= 9_999
