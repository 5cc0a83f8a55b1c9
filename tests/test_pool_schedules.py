"""A pool's schedules: firings are jobs for workers, as the README of Poolder 0.1.3 shows it."""

import sys
from collections import Counter
from datetime import datetime, timezone

import pytest
import trio

from poolder_trio import (
    Backoff,
    Emit,
    Exit,
    Instrument,
    Pool,
    Queue,
    Reschedule,
    Restart,
    Retry,
    Stop,
    Worker,
    phash,
)
from poolder_trio.testing import wall_clock

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

NOW = datetime(2024, 2, 28, 22, 0, tzinfo=timezone.utc)


class Notes(Worker):
    """Notes what it is given, on the pool."""

    async def handle_job(self, job):
        await self.note(job)

    async def handle_periodic_job(self, event):
        await self.note(event)
        return self.pool.verdicts.get(event)

    async def note(self, what):
        self.pool.noted.append((trio.current_time(), self.index, what))
        await trio.sleep(self.pool.lasts)


class Noting(Pool):
    worker = Notes
    pool_size = 3
    lasts = 0.0

    def __init__(self, *args, lasts=0.0, verdicts=None, **options):
        super().__init__(*args, **options)
        self.noted = []
        self.lasts = lasts
        self.verdicts = verdicts or {}

    @property
    def events(self):
        return [(at, what) for at, _, what in self.noted]


# -- what the README shows


async def test_readme_a_pool_has_a_list_of_scheduled_jobs(autojump_clock):
    class MyPool(Noting):
        name = "mypool"
        pool_size = 10
        mode = "round_robin"
        schedules = {"every_ten_seconds": 10.0, "pruner": 3600.0}

    async with MyPool() as pool:
        await trio.sleep(3605)
    assert Counter(what for _, what in pool.events) == {"every_ten_seconds": 360, "pruner": 1}
    assert [at for at, what in pool.events if what == "pruner"] == [3600]


async def test_readme_set_changes_the_interval_for_good(autojump_clock):
    verdicts = {"tick": Reschedule(2 * 3600)}
    async with Noting(schedules={"tick": 10.0}, verdicts=verdicts) as pool:
        await trio.sleep(5 * 3600)
    assert pool.events == [(10, "tick"), (7210, "tick"), (14410, "tick")]


async def test_readme_set_with_a_name_creates_a_new_scheduled_job(autojump_clock):
    verdicts = {"tick": Reschedule("new", 7.0)}
    async with Noting(schedules={"tick": 100.0}, verdicts=verdicts) as pool:
        await trio.sleep(122)
    assert pool.events == [(100, "tick"), (107, "new"), (114, "new"), (121, "new")]


async def test_readme_stop_stops_all_scheduled_jobs_and_not_the_pool(autojump_clock):
    verdicts = {"stop": Stop()}
    async with Noting(schedules={"tick": 2.0, "stop": 5.0}, verdicts=verdicts) as pool:
        await trio.sleep(100)
        await pool.cast("a job")
    assert pool.events == [(2, "tick"), (4, "tick"), (5, "stop"), (100, "a job")]


async def test_readme_exit_stops_the_current_scheduled_job_and_no_worker(autojump_clock):
    async with Noting(schedules={"tick": 2.0, "once": 3.0}, verdicts={"once": Exit()}) as pool:
        await trio.sleep(7)
        assert len(pool) == 3
    assert pool.events == [(2, "tick"), (3, "once"), (4, "tick"), (6, "tick")]


async def test_readme_any_other_return_value_continues_the_scheduled_job(autojump_clock):
    async with Noting(schedules={"tick": 2.0}, verdicts={"tick": "ok"}) as pool:
        await trio.sleep(7)
    assert pool.events == [(2, "tick"), (4, "tick"), (6, "tick")]


# -- as jobs


async def test_the_mode_chooses_the_worker(autojump_clock):
    async with Noting(schedules={"tick": 1.0}, mode="round_robin") as pool:
        await trio.sleep(6.5)
    assert [index for _, index, _ in pool.noted] == [0, 1, 2, 0, 1, 2]

    async with Noting(schedules={"a": 1.0, "b": 1.0}, mode="phash") as pool:
        await trio.sleep(3.5)
    assert {(index, what) for _, index, what in pool.noted} == {
        (phash(name, 3), name) for name in "ab"
    }

    async with Noting(schedules={"tick": 1.0}, mode="broadcast") as pool:
        await trio.sleep(1.5)
    assert sorted(index for _, index, _ in pool.noted) == [0, 1, 2]


@pytest.mark.parametrize("mode", ["random", "monotonic", "least_loaded", "available"])
async def test_every_mode_takes_firings(autojump_clock, mode):
    async with Noting(schedules={"tick": 1.0}, mode=mode) as pool:
        await trio.sleep(20.5)
    assert len(pool.noted) == 20


async def test_a_run_on_all_workers_is_over_when_the_last_is(autojump_clock):
    async with Noting(schedules={"tick": 2.0}, mode="broadcast", lasts=3.0) as pool:
        await trio.sleep(2.5)
        await pool[0].cast("behind")
        await trio.sleep(4)
    # The firing of 4 waits until all have ended, at 5; that of 6 waits for it.
    assert [at for at, what in pool.events if what == "tick"] == [2, 2, 2, 5, 5, 8][:3] + [
        at for at, what in pool.events[3:] if what == "tick"
    ]
    assert sorted(at for at, what in pool.events if what == "tick")[3:5] == [5, 5]


async def test_firings_count_as_jobs_and_as_firings(autojump_clock):
    async with Noting(schedules={"tick": 2.0}, lasts=5.0, pool_size=1) as pool:
        await trio.sleep(9)
        counts = pool.statistics()
        assert (counts.fired, counts.missed, counts.skipped) == (3, 1, 0)
        assert counts.submitted == 3
        assert (counts.completed, counts.running, counts.waiting) == (1, 1, 1)
    assert pool.report.completed == 3


async def test_they_do_not_mind_a_full_inbox(autojump_clock):
    options = {"queue": Queue(max=1), "pool_size": 1, "lasts": 10.0}
    async with Noting(schedules={"a": 2.0, "b": 3.0}, **options) as pool:
        await pool.cast("x")
        await pool.cast("y")
        await trio.sleep(3.5)
    assert [what for _, what in pool.events] == ["x", "y", "a", "b"]


async def test_a_failing_run_asks_handle_error_by_the_events_name_and_is_tried_again(
    autojump_clock,
):
    asked = []

    class Failing(Worker):
        retry = Retry(attempts=3)

        async def handle_periodic_job(self, event):
            raise OSError(event)

        async def handle_job(self, job): ...

        async def handle_error(self, job, attempt, error):
            asked.append((job, attempt, trio.current_time()))
            return Backoff(1)

    with pytest.raises(ExceptionGroup) as caught:
        async with Pool(Failing, pool_size=2, schedules={"tick": 2.0}):
            await trio.sleep(100)
    assert caught.group_contains(OSError, match="tick")
    assert asked == [("tick", 1, 2), ("tick", 2, 3), ("tick", 3, 4)]


async def test_a_crash_by_a_firing_is_a_crash_as_any_other(autojump_clock, caplog):
    class Crashing(Notes):
        async def handle_periodic_job(self, event):
            await self.note(event)
            if trio.current_time() == 2:
                raise OSError("once")

    async with Noting(
        Crashing, pool_size=1, schedules={"tick": 2.0}, restart=Restart(max_restarts=1)
    ) as pool:
        await trio.sleep(7)
    assert [at for at, _ in pool.events] == [2, 4, 6]
    assert "OSError: once" in caplog.text


async def test_emit_calls_a_callback_of_the_worker(autojump_clock):
    pushed = []

    class Pushes(Worker):
        callbacks = {"push": pushed.append}

        async def handle_job(self, job): ...
        async def handle_periodic_job(self, event):
            return Emit("push", event)

    async with Pool(Pushes, schedules={"tick": 2.0}):
        await trio.sleep(5)
    assert pushed == ["tick", "tick"]


async def test_cron_schedules_go_by_the_pools_clock_and_zone(autojump_clock):
    class Nightly(Noting):
        schedules = {"nightly": "30 23 * * *"}
        timezone = "Europe/Paris"
        clock = wall_clock(NOW)

    async with Nightly() as pool:
        await trio.sleep(2 * 86400)
    assert pool.events == [(1800, "nightly"), (1800 + 86400, "nightly")]


async def test_leaving_fires_nothing_more_and_close_neither(autojump_clock):
    async with Noting(schedules={"tick": 2.0}, lasts=5.0) as pool:
        await trio.sleep(2.5)
    assert pool.events == [(2, "tick")]
    assert trio.current_time() == 7

    async with Noting(schedules={"tick": 2.0}) as pool:
        pool.close()
        await trio.sleep(20)
    assert pool.events == []


async def test_cancelled_what_waits_for_its_turn_is_abandoned(autojump_clock):
    async with Noting(schedules={"tick": 2.0}, lasts=50.0, pool_size=1) as pool:
        await trio.sleep(5)
        pool.cancel()
    assert pool.report.cancelled == 1
    assert pool.report.abandoned == ("tick",)


async def test_paused_firings_wait(autojump_clock):
    async with Noting(schedules={"tick": 2.0}) as pool:
        pool.pause()
        await trio.sleep(9)
        assert pool.events == []
        assert pool.statistics().waiting == 2
        pool.resume()
        await trio.sleep(0.5)
        assert pool.events == [(9, "tick"), (9, "tick")]


async def test_instruments_hear_of_firings(autojump_clock):
    told = []

    class Watch(Instrument):
        def schedule_fired(self, source, name, due):
            told.append(("fired", name, due))

        def schedule_missed(self, source, name, due, count, why):
            told.append((why, name, count))

        def job_done(self, source, job):
            told.append(("done", job.subject))

    options = {"clock": wall_clock(NOW), "instruments": [Watch()], "lasts": 5.0}
    async with Noting(schedules={"tick": 2.0}, **options):
        await trio.sleep(7.5)
    assert [each[0] for each in told] == ["fired", "fired", "missed", "done", "done"]
    assert told[0][2] == NOW.replace(second=2)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"schedules": {"tick": "* *"}}, ValueError, r"schedules\['tick'\] in Mine: expression"),
        ({"schedules": {"tick": 0}}, ValueError, r"schedules\['tick'\] in Mine: seconds must be"),
        ({"schedules": [("tick", 5)]}, TypeError, r"schedules must be a dict of triggers by name"),
        ({"schedules": {5: 5}}, TypeError, r"schedules must have names that are str, got 5"),
        ({"schedules": {"tick": 1}, "timezone": "x"}, ValueError, r"timezone must be"),
    ],
)
def test_what_is_wrong_is_refused_at_the_class_statement_or_the_call(options, error, match) -> None:
    with pytest.raises(error, match=match):
        type("Mine", (Noting,), dict(options))

    class Mine(Noting):
        pass

    with pytest.raises(error, match=match):
        Mine(**options)


def test_workers_without_the_handler_are_refused() -> None:
    class Plain(Worker):
        async def handle_job(self, job): ...

    match = r"schedules need a worker with handle_periodic_job\(self, event\), got Plain"
    with pytest.raises(TypeError, match=match):

        class Mine(Pool):
            worker = Plain
            schedules = {"tick": 5}

    with pytest.raises(TypeError, match=match):
        Pool(Plain, schedules={"tick": 5})


async def test_a_firing_whose_seat_goes_away_is_routed_by_its_name(autojump_clock, caplog):
    options = {"dynamic": True, "mode": "phash", "lasts": 1.5, "key": lambda job: job.user}
    names = dict.fromkeys("abcdef", 0.5)
    async with Noting(schedules=names, **options) as pool:
        await trio.sleep(1.2)  # of each one runs or waits, and another waits for that
        await pool.resize(2)
        await trio.sleep(20)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    ran_later = {(index, what) for at, index, what in pool.noted if at > 15}
    assert ran_later <= {(phash(name, 2), name) for name in names}
