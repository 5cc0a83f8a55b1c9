"""Jitter of jobs: drawn from the job's name, so that what is set anew does not draw again."""

import subprocess
import sys
from datetime import datetime, timedelta, timezone

import attrs
import pytest
import trio

from poolder_trio import Application, Cron, Every, Pool, Reschedule, Scheduler, Worker, cron
from poolder_trio.overview import firings, overview
from poolder_trio.policies.beat import beat
from poolder_trio.policies.jitter import seed_of
from poolder_trio.policies.triggers import seeded
from poolder_trio.testing import wall_clock

UTC = timezone.utc
NOW = datetime(2024, 2, 28, 22, 0, tzinfo=UTC)


ODD = timezone(timedelta(hours=-3), "a\nb")


def nightly():
    return Cron("0 2 * * *", jitter=3600)


@pytest.mark.parametrize("minutes", range(0, 75, 3))
@pytest.mark.parametrize("way", ["schedule", "reschedule", "restart", "verdict"])
async def test_set_anew_at_any_moment_a_job_runs_once_a_night(minutes, way, autojump_clock):
    ran = []
    clock = wall_clock(NOW)

    async def run():
        ran.append(clock())

    async def change():
        return Reschedule("backup", nightly())

    moment = 4 * 3600 + minutes * 60
    async with Scheduler(clock=clock) as scheduler:
        scheduler.schedule("backup", nightly(), run)
        scheduler.schedule("change", 1e6, change)
        await trio.sleep(moment)
        if way == "schedule":
            scheduler.schedule("backup", nightly())
        elif way == "reschedule":
            scheduler.reschedule({"backup": nightly()})
        elif way == "verdict":
            scheduler.fire("change")
        if way != "restart":
            await trio.sleep(8 * 3600 - moment)
    if way == "restart":
        async with Scheduler(clock=clock) as scheduler:
            scheduler.schedule("backup", nightly(), run)
            await trio.sleep(8 * 3600 - moment)
    assert len(ran) == 1
    assert NOW + timedelta(hours=4) <= ran[0] < NOW + timedelta(hours=5)


async def test_two_jobs_of_one_trigger_are_late_by_what_is_each_ones_own(autojump_clock):
    class Both(Scheduler):
        jobs = dict.fromkeys(["one", "other"], nightly())

        async def handle_job(self, name):
            pass

        @cron("0 2 * * *", jitter=3600)
        async def marked(self):
            pass

    async with Both(clock=wall_clock(NOW)) as scheduler, Both(clock=wall_clock(NOW)) as again:
        dates = [scheduler.next_fire(name) for name in ("one", "other", "marked")]
        assert len(set(dates)) == 3
        assert dates == [again.next_fire(name) for name in ("one", "other", "marked")]
        scheduler.schedule("one", Cron("0 2 * * *", jitter=3600, seed=7))
        assert scheduler.next_fire("one") == Cron("0 2 * * *", jitter=3600, seed=7).next(NOW)


async def test_schedules_of_a_pool_draw_from_the_name(autojump_clock):
    fired = []

    class Periodic(Worker):
        async def handle_job(self, job):
            pass

        async def handle_periodic_job(self, event):
            fired.append(trio.current_time())

    trigger = Every(60, jitter=30)
    async with Pool(Periodic, schedules={"beat": trigger}, pool_size=1):
        start = trio.current_time()
        await trio.sleep(200)
    expected = attrs.evolve(trigger, seed=seed_of("beat"))
    assert fired[0] == pytest.approx(beat(expected, start, start))
    assert seed_of("beat") != seed_of("beat2")


def test_the_seed_of_a_name_is_the_same_in_every_process() -> None:
    code = "from poolder_trio.policies.jitter import seed_of; print(seed_of('b\\udcff\\n'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) == seed_of("b\udcff\n")


def test_check_shows_the_firings_that_will_be_and_the_zone_of_the_job() -> None:
    paris = Cron("0 2 * * *", "Europe/Paris", jitter=3600)
    (first, *_) = firings("backup", paris, "Scheduler", NOW, "Europe/Paris")
    due = seeded(paris, "backup").next(NOW)
    local = due + timedelta(hours=1)
    assert first == f"{due:%Y-%m-%d %H:%M:%S} UTC ({local:%Y-%m-%d %H:%M:%S} Europe/Paris)"

    class Jobs(Scheduler):
        timezone = "Asia/Tokyo"
        jobs = {
            "tokyo": "0 9 * * *",
            "grid": Every(86400, start=NOW),
            "own": Cron("30 1 * * *", ODD),
            "plain": Cron("30 1 * * *"),
        }

        async def handle_job(self, name):
            pass

    text = "\n".join(overview(Application(Jobs(), name="app"), NOW))
    assert "fires tokyo: 2024-02-29 00:00:00 UTC (2024-02-29 09:00:00 Asia/Tokyo), " in text
    assert "fires grid: 2024-02-29 22:00:00 UTC (2024-03-01 07:00:00 Asia/Tokyo), " in text
    assert "fires own: 2024-02-29 04:30:00 UTC (2024-02-29 01:30:00 " in text
    assert "a\nb" not in text
    assert "fires plain: 2024-02-29 01:30:00 UTC, " in text
