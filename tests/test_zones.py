"""Zones that cannot say what their clocks show, and moments beyond the years of UTC."""

import datetime as dt
import zoneinfo
from datetime import datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
import trio

from poolder_trio import At, Cron, Every, JobPool, Pool, Scheduler, Worker, cron
from poolder_trio.testing import wall_clock

UTC = timezone.utc
NOW = datetime(2024, 2, 28, 22, 0, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")
HOUR = timedelta(hours=1)
TOO_LATE = datetime.max.replace(tzinfo=timezone(-5 * HOUR))
TOO_EARLY = datetime.min.replace(tzinfo=timezone(5 * HOUR))


class Ptz(tzinfo):
    """A zone as pytz has them: one object for each offset, and local mean time to begin with."""

    def __init__(self, of=None, offset=timedelta(minutes=9), dst=timedelta(0)):
        self.of, self.offset, self.is_dst = of or self, offset, dst

    def utcoffset(self, when):
        return self.offset

    def dst(self, when):
        return self.is_dst

    def tzname(self, when):
        return "LMT"

    def fromutc(self, when):
        shown = when.replace(tzinfo=UTC).astimezone(PARIS)
        return shown.replace(tzinfo=Ptz(self.of, shown.utcoffset(), shown.dst()))

    def localize(self, when):
        shown = when.replace(tzinfo=PARIS)
        return when.replace(tzinfo=Ptz(self.of, shown.utcoffset(), shown.dst()))


class NoFold(tzinfo):
    """Paris, without PEP 495, as in many a recipe."""

    def utcoffset(self, when):
        return when.replace(tzinfo=PARIS, fold=0).utcoffset()

    def dst(self, when):
        return when.replace(tzinfo=PARIS, fold=0).dst()

    def tzname(self, when):
        return "Paris"


class NoDst(NoFold):
    def utcoffset(self, when):
        return HOUR

    def dst(self, when):
        return None


class Bare(tzinfo):
    def utcoffset(self, when):
        return HOUR


class Wrapped(NoFold):
    """A zone of one's own that is right."""

    def utcoffset(self, when):
        return when.replace(tzinfo=PARIS).utcoffset()

    def dst(self, when):
        return when.replace(tzinfo=PARIS).dst()

    def fromutc(self, when):
        return when.replace(tzinfo=UTC).astimezone(PARIS).replace(tzinfo=self)


class Worker1(Worker):
    async def handle_job(self, job):
        pass


def a_job():
    async def job(self):
        pass

    return job


WRONG = [Ptz(), NoFold(), NoDst(), Bare()]


@pytest.mark.parametrize("zone", WRONG, ids=lambda zone: type(zone).__name__)
@pytest.mark.parametrize(
    "use",
    [
        lambda zone: Cron("@daily", zone),
        lambda zone: Scheduler(timezone=zone),
        lambda zone: Pool(Worker1, timezone=zone),
        lambda zone: JobPool(timezone=zone),
        lambda zone: cron("@daily", timezone=zone)(a_job()),
    ],
    ids=["Cron", "Scheduler", "Pool", "JobPool", "@cron"],
)
def test_a_zone_that_cannot_read_its_clocks_is_refused_with_the_remedy(zone, use) -> None:
    with pytest.raises(
        ValueError, match=r"timezone must be .*zoneinfo.ZoneInfo\('Europe/Berlin'\)"
    ):
        use(zone)


@pytest.mark.parametrize("zone", WRONG, ids=lambda zone: type(zone).__name__)
async def test_so_is_one_of_a_time_of_day(zone, autojump_clock) -> None:
    async with JobPool() as pool:
        with pytest.raises(ValueError, match=r"tzinfo must be .*zoneinfo.ZoneInfo"):
            await pool.perform_at(time(3, tzinfo=zone), trio.sleep, 0)


def test_one_of_ones_own_that_is_right_is_taken() -> None:
    night = datetime(2024, 10, 26, 12, tzinfo=UTC)
    for text in ("30 2 * * *", "*/30 2 * * *"):
        assert Cron(text, Wrapped()).next(night) == Cron(text, PARIS).next(night)
    assert At(datetime(2024, 3, 31, 2, 30, tzinfo=PARIS)).next(NOW) is not None


@pytest.mark.parametrize(
    "use",
    [
        At,
        lambda when: Every(5, start=when),
        lambda when: Cron("@daily").next(when),
        lambda when: At(NOW).next(when),
        lambda when: Every(5).next(when),
        wall_clock,
    ],
    ids=["At", "Every", "Cron.next", "At.next", "Every.next", "wall_clock"],
)
@pytest.mark.parametrize(
    ("when", "says"),
    [
        (TOO_LATE, "between the years 1 and 9999 of UTC"),
        (TOO_EARLY, "between the years 1 and 9999 of UTC"),
        (datetime(2024, 7, 1, tzinfo=Ptz()), "local mean time: give it a zoneinfo.ZoneInfo"),
    ],
    ids=["late", "early", "unasked"],
)
def test_a_moment_that_is_none_in_utc_is_a_value_error(use, when, says) -> None:
    with pytest.raises(ValueError, match=says):
        use(when)


def test_a_localized_moment_is_read_right() -> None:
    assert At(Ptz().localize(datetime(2024, 7, 1, 12))).next(NOW).hour == 10  # noqa: DTZ001


@pytest.mark.parametrize(
    "when",
    [TOO_LATE, TOO_EARLY, datetime(2030, 7, 1, tzinfo=Ptz())],
    ids=["late", "early", "unasked"],
)
async def test_perform_at_refuses_it_too(when, autojump_clock) -> None:
    async with JobPool() as pool:
        with pytest.raises(ValueError, match=r"years 1 and 9999|local mean time"):
            await pool.perform_at(when, trio.sleep, 0)


async def test_at_the_end_of_all_years_nothing_more_fires(autojump_clock) -> None:
    ran = []

    async def run(name):
        ran.append(name)

    clock = wall_clock(datetime(9999, 12, 31, 23, 58, 30, tzinfo=UTC))
    async with Scheduler(clock=clock) as scheduler:
        scheduler.schedule("cron", "* * * * *", run, "cron")
        scheduler.schedule("late", Cron("* * * * *", jitter=50.0), run, "late")
        scheduler.schedule("grid", Every(30, start=clock()), run, "grid")
        scheduler.schedule("tick", 50.0, run, "tick")
        scheduler.schedule("never", 1e300, run, "never")
        scheduler.schedule("last", At(datetime.max.replace(tzinfo=UTC)), run, "last")
        assert scheduler.next_fire("never") is None
        assert scheduler.next_fire("last") == datetime.max.replace(tzinfo=UTC)
        await trio.sleep(301)
    assert ran.count("cron") == 1
    assert ran.count("grid") == 2
    assert ran.count("tick") == 6
    clock = wall_clock(datetime(9999, 12, 31, 23, 58, 30, tzinfo=UTC))
    async with JobPool(clock=clock) as pool:
        with pytest.raises(ValueError, match="before the year 10000"):
            await pool.perform_at(time(3), run, "no")


class Ticking(Worker):
    async def handle_periodic_job(self, event):
        """Do nothing."""

    async def handle_job(self, job):
        """Do nothing."""


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (timezone, r"write timezone.utc, or 'UTC'"),
        (ZoneInfo, "pass an instance of that class"),
        (zoneinfo, "made by what is in that module"),
        (dt, "made by what is in that module"),
    ],
    ids=["timezone", "ZoneInfo", "zoneinfo", "datetime"],
)
def test_what_is_called_like_a_zone_and_is_none_is_told_what_was_meant(value, says):
    for take in (
        lambda: Scheduler(timezone=value),
        lambda: JobPool("p", timezone=value),
        lambda: Pool(Ticking, timezone=value),
        lambda: Cron("0 1 * * *", timezone=value),
        *(
            lambda base=base: type("Mine", (base,), {"timezone": value})
            for base in (Scheduler, JobPool, Pool)
        ),
    ):
        with pytest.raises(TypeError, match=f"timezone must be the IANA name .*{says}"):
            take()


def test_the_name_of_the_option_is_one_of_the_class_statement_alone():
    class Before(Scheduler):
        jobs = {"once": datetime(2030, 1, 1, tzinfo=timezone.utc)}
        timezone = timezone.utc

        async def handle_job(self, name):
            """Do nothing."""

        def when(self):
            return datetime.now(timezone.utc)

    assert Before().when().utcoffset() == timedelta(0)
    with pytest.raises(AttributeError, match="utc"):

        class After(Scheduler):
            timezone = "UTC"
            jobs = {"once": datetime(2030, 1, 1, tzinfo=timezone.utc)}
