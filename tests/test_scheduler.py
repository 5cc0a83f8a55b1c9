"""Things run by the clock: when, how often, and what becomes of those that can't."""

import itertools
import logging
import math
import sys
from collections import Counter
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import attrs
import pytest
import trio
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from poolder_trio import (
    HALT,
    RETRY,
    At,
    Backoff,
    Closed,
    Cron,
    DuplicateName,
    Emit,
    Every,
    Exit,
    Instrument,
    JobTimeout,
    Reschedule,
    Restart,
    RestartLimitExceeded,
    Retry,
    Scheduler,
    Stop,
    cron,
    every,
    whereis,
)
from poolder_trio.kernel.wall import WallClock
from poolder_trio.testing import CancelAt, wall_clock

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

UTC = timezone.utc
NOW = datetime(2024, 2, 28, 22, 0, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")


def seconds(n):
    return timedelta(seconds=n)


class Log:
    """What ran, and when."""

    def __init__(self):
        self.ran = []

    async def run(self, name="job", lasts=0.0, value=None):
        """A job: note that it began, take some time, and return a value."""
        self.ran.append((trio.current_time(), name))
        await trio.sleep(lasts)
        return value

    @property
    def times(self):
        return [at for at, _ in self.ran]


@pytest.fixture
def log():
    return Log()


# -- what the READMEs of the original show


class MyPeriodicJobs(Scheduler):
    name = "myjobs"
    jobs = {  # cron style or interval style
        "prune": "*/15 * * * * *",
        "update": "*/10 * * * * *",
        "five_seconds": 5.0,
    }
    retry = Retry(attempts=5, backoff=1.0)
    hibernate_after = 60.0
    priority = "low"
    clock = staticmethod(lambda: NOW)

    async def handle_init(self):
        self.ran = []
        self.asked = []
        self.rested = []

    async def prune(self):
        self.ran.append(("prune", trio.current_time()))

    async def update(self):
        self.ran.append(("update", trio.current_time()))

    async def five_seconds(self):
        self.ran.append(("five_seconds", trio.current_time()))

    async def handle_error(self, name, attempt, error):
        self.asked.append((name, attempt, str(error)))

    async def handle_hibernate(self):
        self.rested.append(trio.current_time())


async def test_readme_a_scheduler_runs_cron_style_and_interval_style_jobs(autojump_clock):
    async with MyPeriodicJobs() as jobs:
        assert whereis("myjobs") is jobs
        await trio.sleep(31)
    times = {name: [at for other, at in jobs.ran if other == name] for name, _ in jobs.ran}
    assert times == {
        "prune": [15, 30],
        "update": [10, 20, 30],
        "five_seconds": [5, 10, 15, 20, 25, 30],
    }


async def test_readme_set_changes_the_interval_for_good(autojump_clock, log):
    class Jobs(Scheduler):
        jobs = {"five_seconds": 5.0}

        async def five_seconds(self):
            await log.run()
            return Reschedule(2 * 3600) if len(log.ran) == 1 else None

    async with Jobs():
        await trio.sleep(5 + 3 * 7200 + 1)
    assert log.times == [5, 5 + 7200, 5 + 2 * 7200, 5 + 3 * 7200]


async def test_readme_set_with_a_name_creates_a_new_job_for_good(autojump_clock, log):
    class Jobs(Scheduler):
        jobs = {"five_seconds": 5.0}
        clock = wall_clock(NOW)

        async def five_seconds(self):
            if trio.current_time() == 5:
                return Reschedule("new_scheduler_name", "0 0 0 * * *")
            return Exit()

        async def new_scheduler_name(self):
            await log.run()

    async with Jobs():
        await trio.sleep(2 * 3600 + 3 * 86400)
    assert log.times == [2 * 3600 + day * 86400 for day in range(4)][: len(log.times)]
    assert len(log.times) >= 3


async def test_readme_stop_stops_all_scheduled_jobs(autojump_clock, log):
    class Jobs(Scheduler):
        jobs = {"tick": 1.0, "other": 1.5}

        async def tick(self):
            await log.run()
            return Stop() if trio.current_time() >= 3 else None

        async def other(self):
            await log.run("other")

    async with Jobs() as scheduler:
        await scheduler.wait_closed()
        await trio.sleep(100)
    assert [at for at, name in log.ran if name == "job"] == [1, 2, 3]
    assert max(log.times) == 3


async def test_readme_exit_stops_the_current_job_and_no_other(autojump_clock, log):
    class Jobs(Scheduler):
        jobs = {"once": 2.0, "tick": 3.0}

        async def once(self):
            await log.run("once")
            return Exit()

        async def tick(self):
            await log.run("tick")

    async with Jobs() as scheduler:
        await trio.sleep(10)
        with pytest.raises(LookupError, match="no job 'once'; it has: 'tick'"):
            scheduler.next_fire("once")
    assert log.ran == [(2, "once"), (3, "tick"), (6, "tick"), (9, "tick")]


async def test_readme_any_other_return_value_continues_the_job(autojump_clock, log):
    async with Scheduler() as scheduler:
        for value in (None, 0, "stop", ("set", 5), RETRY, HALT):
            scheduler.schedule(f"returns {value!r}", 1, log.run, repr(value), 0, value)
        await trio.sleep(3.5)
    assert Counter(log.ran) == {
        (at, repr(value)): 1
        for at in (1, 2, 3)
        for value in (None, 0, "stop", ("set", 5), RETRY, HALT)
    }


async def test_readme_handle_error_learns_name_attempt_and_error(autojump_clock):
    class Jobs(MyPeriodicJobs):
        jobs = {"five_seconds": 5.0}
        tries = 0

        async def five_seconds(self):
            self.tries += 1
            if self.tries % 5:
                raise OSError(f"no {self.tries}")
            self.ran.append(trio.current_time())

    async with Jobs() as jobs:
        await trio.sleep(9.5)
    assert jobs.asked == [("five_seconds", n, f"no {n}") for n in range(1, 5)]
    assert jobs.ran == [9]


async def test_readme_handle_hibernate_runs_once_per_idle_spell(autojump_clock):
    class Jobs(MyPeriodicJobs):
        jobs = {"five_seconds": 300.0}

    async with Jobs() as jobs:
        await trio.sleep(1000)
    assert jobs.rested == [60, 360, 660, 960]


async def test_readme_a_job_without_a_method_runs_handle_job_with_its_name(autojump_clock):
    class Jobs(Scheduler):
        jobs = {"a": 1.0, "b with blanks": 1.0}

        async def handle_init(self):
            self.names = []

        async def handle_job(self, name):
            self.names.append(name)

    async with Jobs() as scheduler:
        await trio.sleep(1.5)
    assert sorted(scheduler.names) == ["a", "b with blanks"]


# -- declared


async def test_methods_are_marked_with_their_triggers(autojump_clock, log):
    class Jobs(Scheduler):
        clock = wall_clock(NOW)
        timezone = "Europe/Paris"

        @every(7)
        async def often(self):
            await log.run("often")

        @cron("30 23 * * *")
        async def late(self):
            await log.run("late")

        @cron("30 22 * * *", timezone="UTC")
        async def also_late(self):
            await log.run("also late")

    async with Jobs() as scheduler:
        assert scheduler.next_fire("often") == NOW + seconds(7)
        assert scheduler.next_fire("late") == NOW + seconds(1800)
        assert scheduler.next_fire("also_late") == NOW + seconds(1800)
        await trio.sleep(15)
    assert log.ran == [(7, "often"), (14, "often")]


async def test_jobs_may_be_passed_to_a_class_that_has_their_methods(autojump_clock, log):
    class Jobs(Scheduler):
        async def tick(self):
            await log.run()

    async with Jobs(jobs={"tick": timedelta(seconds=2)}):
        await trio.sleep(5)
    assert log.times == [2, 4]


def refused(error, match, **attributes):
    async def some(self):
        pass

    return pytest.param(error, match, {"some": some, **attributes}, id=match)


async def takes_name(self, name):
    pass


def plain(self):
    pass


@pytest.mark.parametrize(
    ("error", "match", "attributes"),
    [
        refused(ValueError, r"^jobs\['some'\] in Jobs: expression must be", jobs={"some": "* * *"}),
        refused(ValueError, r"jobs\['some'\] in Jobs: seconds must be", jobs={"some": 0}),
        refused(TypeError, r"jobs\['some'\] must be a number of seconds", jobs={"some": None}),
        refused(ValueError, r"there is no such date", jobs={"some": "0 0 30 2 *"}),
        refused(ValueError, r"must be an aware datetime", jobs={"some": datetime(2024, 1, 1)}),  # noqa: DTZ001
        refused(
            TypeError, r"jobs\['other'\] has nothing to run: write async def", jobs={"other": 1}
        ),
        refused(
            TypeError,
            r"must be an async def method, got <function plain",
            jobs={"plain": 1},
            plain=plain,
        ),
        refused(
            ValueError,
            r"must not be named as something that Scheduler has, got 'fire'",
            jobs={"fire": 1},
            handle_job=takes_name,
        ),
        refused(
            TypeError,
            r"jobs must have names that are str, got 5",
            jobs={5: 1},
            handle_job=takes_name,
        ),
        refused(TypeError, r"jobs must be a dict", jobs=["some"]),
        refused(TypeError, r"Jobs.overlaps nearly spells 'overlap'", overlaps="skip"),
        refused(ValueError, r"overlap must be one of 'queue', 'skip'", overlap="wait"),
        refused(ValueError, r"coalesce must be one of", coalesce="none"),
        refused(ValueError, r"priority must be one of", priority="urgent"),
        refused(
            ValueError, r"misfire_grace must be a number of seconds >= 0, got -1", misfire_grace=-1
        ),
        refused(ValueError, r"timezone must be", timezone="Europe/Nowhere"),
        refused(TypeError, r"clock must be", clock=NOW),
        refused(TypeError, r"handle_job must be an async def", handle_job=plain),
    ],
)
def test_what_is_wrong_is_refused_at_the_class_statement(error, match, attributes) -> None:
    with pytest.raises(error, match=match):
        type("Jobs", (Scheduler,), attributes)


def test_a_wrong_mark_is_refused_where_the_method_is_written() -> None:
    with pytest.raises(ValueError, match=r"^@every on tick: seconds must be .* got -1"):

        class Jobs(Scheduler):
            @every(-1)
            async def tick(self): ...

    with pytest.raises(
        ValueError, match=r"^@cron on tick: expression must be .* got '61 \* \* \* \*'"
    ):

        class Others(Scheduler):
            @cron("61 * * * *")
            async def tick(self): ...

    with pytest.raises(TypeError, match="@every takes an async def method, got <function plain"):
        every(5)(plain)
    with pytest.raises(TypeError, match="tick has a trigger already: a job has one"):

        class More(Scheduler):
            @every(5)
            @cron("@daily")
            async def tick(self): ...

    with pytest.raises(ValueError, match="the method has a trigger already"):

        class Twice(Scheduler):
            jobs = {"tick": 5}

            @every(5)
            async def tick(self): ...


def test_what_is_wrong_is_refused_when_it_is_passed() -> None:
    with pytest.raises(TypeError, match=r"jobs\['tick'\] has nothing to run"):
        Scheduler(jobs={"tick": 5})
    with pytest.raises(TypeError, match="Scheduler has no option 'job': did you mean 'jobs'"):
        Scheduler(job={})
    with pytest.raises(ValueError, match=r"jobs\['prune'\] in MyPeriodicJobs: expression"):
        MyPeriodicJobs(jobs={"prune": "x"})


# -- at run time


async def test_a_new_job_counts_from_when_it_is_scheduled(autojump_clock, log):
    async with Scheduler() as scheduler:
        await trio.sleep(3)
        scheduler.schedule("tick", 5, log.run, "ticked")
        await trio.sleep(11)
    assert log.ran == [(8, "ticked"), (13, "ticked")]


async def test_a_changed_trigger_takes_effect_now_and_keeps_what_runs(autojump_clock, log):
    async with Scheduler() as scheduler:
        scheduler.schedule("tick", 100, log.run, "first")
        await trio.sleep(1)
        scheduler.schedule("tick", 5)
        await trio.sleep(6)
        scheduler.schedule("tick", 50, log.run, "second")
        await trio.sleep(51)
    assert log.ran == [(6, "first"), (57, "second")]


async def test_intervals_do_not_drift_however_long_runs_last(autojump_clock, log):
    async with Scheduler() as scheduler:
        scheduler.schedule("tick", 0.1, log.run, "tick", 0.07)
        await trio.sleep(1000.05)
    assert log.times == [n * 0.1 for n in range(1, 10_001)]


async def test_reschedule_replaces_all(autojump_clock, log):
    async with Scheduler() as scheduler:
        scheduler.schedule("kept", 10, log.run, "kept")
        scheduler.schedule("dropped", 10, log.run, "dropped")
        await trio.sleep(1)
        scheduler.reschedule({"kept": 3})
        with pytest.raises(LookupError):
            scheduler.next_fire("dropped")
        await trio.sleep(7)
    assert log.ran == [(4, "kept"), (7, "kept")]


@pytest.mark.parametrize(
    ("jobs", "error"),
    [
        ({"kept": 3, "new": 5}, TypeError),
        ({"kept": 3, "other": "x"}, ValueError),
        ({"kept": 3, "other": NOW - seconds(5)}, ValueError),
        (["kept"], TypeError),
    ],
)
async def test_reschedule_changes_nothing_if_one_is_wrong(autojump_clock, log, jobs, error):
    async with Scheduler(clock=wall_clock(NOW)) as scheduler:
        scheduler.schedule("kept", 10, log.run, "kept")
        scheduler.schedule("other", 11, log.run, "other")
        with pytest.raises(error):
            scheduler.reschedule(jobs)
        await trio.sleep(12)
    assert log.ran == [(10, "kept"), (11, "other")]


async def test_unschedule_cancels_the_run_and_reschedule_does_not(autojump_clock, log):
    ended = []

    async def long(name):
        try:
            await trio.sleep(10)
            ended.append(name)
        finally:
            log.ran.append((trio.current_time(), name))

    async with Scheduler() as scheduler:
        scheduler.schedule("cancelled", 5, long, "cancelled")
        scheduler.schedule("changed", 5, long, "changed")
        await trio.sleep(7)
        scheduler.unschedule("cancelled")
        scheduler.schedule("changed", 1000)
        await trio.sleep(100)
        assert log.ran == [(7, "cancelled"), (15, "changed")]
        assert ended == ["changed"]
        assert scheduler.statistics().cancelled == 1
    assert scheduler.report.cancelled == 1


async def test_a_job_that_unschedules_itself_runs_to_its_end(autojump_clock, log):
    async with Scheduler() as scheduler:

        async def last():
            scheduler.unschedule("last")
            await trio.sleep(5)
            await log.run()

        scheduler.schedule("last", 1, last)
        await trio.sleep(20)
    assert log.times == [6]
    assert scheduler.report.completed == 1


async def test_unschedule_all_leaves_nothing_scheduled(autojump_clock, log):
    async with Scheduler() as scheduler:
        for n in range(5):
            scheduler.schedule(f"job{n}", 3, log.run, n, 10)
        await trio.sleep(4)
        scheduler.unschedule_all()
        await trio.sleep(100)
        assert len(log.ran) == 5
        assert scheduler.statistics().cancelled == 5
        for n in range(5):
            with pytest.raises(LookupError):
                scheduler.unschedule(f"job{n}")


async def test_fire_runs_it_now_and_leaves_its_trigger_alone(autojump_clock, log):
    async with Scheduler() as scheduler:
        scheduler.schedule("tick", 10, log.run)
        await trio.sleep(4)
        scheduler.fire("tick")
        await trio.sleep(7)
        with pytest.raises(LookupError, match="no job 'tock'"):
            scheduler.fire("tock")
    assert log.times == [4, 10]
    assert scheduler.statistics().fired == 2


async def test_next_fire_tells_the_moment_in_utc(autojump_clock, log):
    async with Scheduler(clock=wall_clock(NOW)) as scheduler:
        scheduler.schedule("interval", 5, log.run)
        scheduler.schedule("date", NOW.astimezone(PARIS) + seconds(7), log.run)
        scheduler.schedule("cron", "@hourly", log.run)
        assert scheduler.next_fire("interval") == NOW + seconds(5)
        assert scheduler.next_fire("date") == NOW + seconds(7)
        assert scheduler.next_fire("cron") == NOW + seconds(3600)
        assert scheduler.next_fire("cron").tzinfo is UTC
        await trio.sleep(6)
        assert scheduler.next_fire("interval") == NOW + seconds(10)


async def test_what_fires_once_is_gone_when_it_has_run(autojump_clock, log):
    async with Scheduler(clock=wall_clock(NOW)) as scheduler:
        scheduler.schedule("once", At(NOW + seconds(5)), log.run, "once", 2)
        await trio.sleep(6)
        assert scheduler.next_fire("once") is None
        await trio.sleep(2)
        with pytest.raises(LookupError):
            scheduler.next_fire("once")
    assert log.times == [5]


async def test_a_date_that_has_passed_is_refused_at_the_call_and_missed_if_declared(
    autojump_clock, log, caplog
):
    class Jobs(Scheduler):
        jobs = {"once": NOW - seconds(1), "later": NOW + seconds(1)}
        clock = wall_clock(NOW)

        async def handle_job(self, name):
            await log.run(name)

    async with Jobs() as scheduler:
        assert scheduler.statistics().missed == 1
        with pytest.raises(ValueError, match=r"jobs\['x'\] must have a date to come, got At"):
            scheduler.schedule("x", NOW - seconds(1), log.run)
        await trio.sleep(5)
    assert log.ran == [(1, "later")]
    assert "job=once missed=1" in caplog.text


@pytest.mark.parametrize(
    ("args", "error", "match"),
    [
        (("x", "* *", trio.sleep), ValueError, r"jobs\['x'\] in Scheduler: expression must be"),
        (("x", 5), TypeError, r"jobs\['x'\] has nothing to run"),
        (("x", 5, print), TypeError, r"jobs\['x'\] in Scheduler: expected an async function, got"),
        (([], 5, trio.sleep), TypeError, r"a job's name must be a str, got \[\]"),
        (
            ("close", 5, trio.sleep),
            ValueError,
            r"must not be named as something that Scheduler has",
        ),
        (("", 5, trio.sleep), TypeError, r"a job's name must be a str, got ''"),
        ((5, 5, trio.sleep), TypeError, r"a job's name must be a str, got 5"),
        (("x", 5, None, 1), TypeError, r"schedule takes arguments for fn, got \(1,\) and no fn"),
    ],
)
async def test_what_is_wrong_is_refused_at_the_call(args, error, match):
    async with Scheduler() as scheduler:
        with pytest.raises(error, match=match):
            scheduler.schedule(*args)


async def test_a_function_runs_in_a_copy_of_the_context_it_was_scheduled_in(autojump_clock):
    variable = ContextVar("variable", default="default")
    seen = []

    async def look():
        seen.append(variable.get())
        variable.set("changed by a run")

    async with Scheduler() as scheduler:
        variable.set("one")
        scheduler.schedule("a", 2, look)
        variable.set("other")
        scheduler.schedule("b", 3, look)
        await trio.sleep(7)
    assert seen == ["one", "other", "one", "other", "one"][: len(seen)]
    assert len(seen) == 5


# -- overlaps


async def overlapping(overlap, log, *, until=20.5, period=2, lasts=5, **options):
    """Run a job that lasts longer than its period."""
    async with Scheduler(overlap=overlap, **options) as scheduler:
        scheduler.schedule("job", period, log.run, "job", lasts)
        await trio.sleep(until)
        return scheduler.statistics()


async def test_queue_lets_one_run_wait_and_misses_others(autojump_clock, log, caplog):
    counts = await overlapping("queue", log)
    assert log.times == [2, 7, 12, 17, 22]
    # Of 2, 4, ... 20: one runs, the next waits until it has ended.
    assert counts.fired == 5
    assert counts.missed == 5
    assert counts.waiting == 1
    assert "job=job missed=1 since=" in caplog.text


async def test_skip_skips_what_comes_while_it_runs(autojump_clock, log, caplog):
    counts = await overlapping("skip", log)
    assert log.times == [2, 8, 14, 20]
    assert (counts.fired, counts.skipped, counts.missed) == (4, 6, 0)
    assert "job=job skipped=1" in caplog.text


async def test_allow_lets_them_run_beside_one_another(autojump_clock, log):
    counts = await overlapping("allow", log)
    assert log.times == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert counts.running == 3  # those that began at 16, 18 and 20
    assert counts.fired == 10


async def test_replace_cancels_the_one_that_runs(autojump_clock, log):
    counts = await overlapping("replace", log)
    assert log.times == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert counts.cancelled == 9
    assert (counts.completed, counts.running) == (0, 1)


async def test_replace_waits_until_the_old_run_has_cleaned_up(autojump_clock):
    running = 0
    begun = []

    async def slow_to_stop():
        nonlocal running
        running += 1
        assert running == 1
        begun.append(trio.current_time())
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            running -= 1

    async with Scheduler(overlap="replace") as scheduler:
        scheduler.schedule("job", 3, slow_to_stop)
        await trio.sleep(10.5)
        scheduler.cancel()
    assert begun == [3, 7, 10]


async def test_a_run_that_backs_off_is_a_run_still(autojump_clock, log):
    async def fails_twice():
        await log.run()
        if len(log.ran) < 3:
            raise OSError

    retry = Retry(attempts=3, backoff=4.0)
    async with Scheduler(retry=retry, overlap="skip") as scheduler:
        scheduler.schedule("job", 3, fails_twice)
        await trio.sleep(13)
        assert scheduler.statistics().skipped == 2
    assert log.times == [3, 7, 11, 12]


async def test_one_job_that_runs_does_not_hold_up_another(autojump_clock, log):
    async with Scheduler() as scheduler:
        for n in range(100):
            scheduler.schedule(f"job{n}", 5, log.run, n, 1000)
        await trio.sleep(6)
        assert sorted(log.ran) == [(5, n) for n in range(100)]
        assert scheduler.statistics().running == 100
        scheduler.cancel()


# -- failures


async def test_a_run_that_fails_for_good_leaves_the_block(autojump_clock):
    async def fail():
        raise OSError("no")

    with pytest.raises(ExceptionGroup) as caught:
        async with Scheduler() as scheduler:
            scheduler.schedule("job", 2, fail)
            await trio.sleep(100)
    (error,) = caught.value.exceptions
    assert isinstance(error, OSError)
    notes = "\n".join(error.__notes__)
    assert "job 'job' on Scheduler[0], attempt 1 of 1" in notes
    assert "restart=Restart(max_restarts=...)" in notes
    assert scheduler.report.failed == 1


async def test_restart_forgives_as_many_failures_as_it_says(autojump_clock, log, caplog):
    async def fail():
        await log.run()
        raise OSError("no")

    with pytest.raises(ExceptionGroup) as caught:
        async with Scheduler(restart=Restart(max_restarts=2, within=100)) as scheduler:
            scheduler.schedule("job", 2, fail)
            await trio.sleep(100)
    assert caught.group_contains(RestartLimitExceeded)
    assert log.times == [2, 4, 6]
    assert caplog.text.count("OSError: no") == 2


async def test_a_failing_job_is_scheduled_still(autojump_clock, log, caplog):
    async def fail():
        await log.run()
        raise OSError("no")

    async with Scheduler(restart=Restart(mode="temporary")) as scheduler:
        scheduler.schedule("job", 2, fail)
        await trio.sleep(9)
        assert scheduler.statistics().failed == 4
    assert log.times == [2, 4, 6, 8]


@pytest.mark.parametrize(
    ("verdict", "times"),
    [(RETRY, [2, 2, 2]), (Backoff(0.25), [2, 2.25, 2.5]), (HALT, [2]), (None, [2, 3, 4])],
)
async def test_verdicts_of_handle_error(autojump_clock, log, verdict, times):
    class Jobs(Scheduler):
        retry = Retry(attempts=3, backoff=1.0)
        restart = Restart(mode="temporary")
        jobs = {"job": 2.0}
        overlap = "skip"

        async def job(self):
            await log.run()
            raise OSError

        async def handle_error(self, name, attempt, error):
            return verdict

    async with Jobs() as scheduler:
        await trio.sleep(2.9)
        scheduler.unschedule("job") if verdict is HALT else scheduler.schedule("job", 1000)
        await trio.sleep(100)
    assert log.times == times


async def test_a_wrong_verdict_of_a_job_is_its_failure(autojump_clock):
    async def emits():
        return Emit("event")

    async def bad_trigger():
        return Reschedule("* * *")

    for fn, error, match in (
        (emits, TypeError, "means nothing to a scheduler"),
        (bad_trigger, ValueError, r"jobs\['job'\] in Scheduler: expression must be"),
    ):
        with pytest.raises(ExceptionGroup) as caught:
            async with Scheduler() as scheduler:
                scheduler.schedule("job", 1, fn)
                await trio.sleep(5)
        assert caught.group_contains(error, match=match)


async def test_a_trigger_that_raises_leaves_the_block(autojump_clock, log):
    class Broken:
        def next(self, after):
            if after > NOW:
                raise OSError("calendar")
            return NOW + seconds(5)

    with pytest.raises(ExceptionGroup) as caught:
        async with Scheduler(clock=wall_clock(NOW)) as scheduler:
            scheduler.schedule("job", Broken(), log.run)
            await trio.sleep(100)
    (error,) = caught.value.exceptions
    assert "from the firing of 'job' in Scheduler" in error.__notes__


async def test_a_trigger_that_does_not_go_on_is_refused(autojump_clock, log):
    class Stuck:
        def next(self, after):
            return NOW + seconds(5)

    with pytest.raises(ExceptionGroup) as caught:
        async with Scheduler(clock=wall_clock(NOW)) as scheduler:
            scheduler.schedule("job", Stuck(), log.run)
            await trio.sleep(100)
    assert caught.group_contains(ValueError, match="must return a date after .* got .* \\(Stuck\\)")


async def test_a_trigger_of_ones_own(autojump_clock, log):
    class Primes:
        def next(self, after):
            n = int((after - NOW).total_seconds()) + 1
            while any(n % d == 0 for d in range(2, n)) or n < 2:
                n += 1
            return NOW + seconds(n) if n < 20 else None

    async with Scheduler(clock=wall_clock(NOW)) as scheduler:
        scheduler.schedule("job", Primes(), log.run)
        await trio.sleep(30)
    assert log.times == [2, 3, 5, 7, 11, 13, 17, 19]


async def test_a_run_over_its_time_is_cut_and_has_failed(autojump_clock, log):
    with pytest.raises(ExceptionGroup) as caught:
        async with Scheduler(job_timeout=3) as scheduler:
            scheduler.schedule("job", 2, log.run, "job", 100)
            await trio.sleep(50)
    assert caught.group_contains(JobTimeout)


# -- late


@attrs.define
class Jumpy:
    """A wall clock that a test sets, which a scheduler reads as it reads the machine's."""

    offset: float = 0.0

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


async def test_a_clock_set_forward_is_noticed_within_a_minute_and_one_run_stands_for_all(
    autojump_clock, log, jumpy, caplog
):
    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("each minute", "* * * * *", log.run)
        await trio.sleep(130)
        jumpy.offset += 8 * 3600  # the machine was asleep
        await trio.sleep(120)
        counts = scheduler.statistics()
    assert log.times[:2] == [60, 120]
    assert 130 <= log.times[2] <= 190
    assert counts.missed == 8 * 60 - 1 or counts.missed == 8 * 60
    assert counts.fired == len(log.times) == 4


async def test_a_daily_job_is_not_missed_when_the_clock_jumps_over_it(autojump_clock, log, jumpy):
    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("nightly", "30 2 * * *", log.run)
        await trio.sleep(60)
        jumpy.offset += 10 * 3600  # from 22:01 to 08:01
        await trio.sleep(100)
    assert len(log.times) == 1


async def test_a_fixed_time_does_not_come_twice_when_the_clock_is_set_back(
    autojump_clock, log, jumpy
):
    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("nightly", "30 22 * * *", log.run)
        await trio.sleep(1800 + 60)
        assert len(log.ran) == 1
        jumpy.offset -= 2 * 3600
        await trio.sleep(6 * 3600)
        assert len(log.ran) == 1


async def test_what_follows_the_wall_goes_on_when_the_clock_is_set_back(autojump_clock, log, jumpy):
    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("often", "*/10 * * * *", log.run)
        scheduler.schedule("grid", Every(600, start=NOW - seconds(86460)), log.run, "grid")
        await trio.sleep(605)
        jumpy.offset -= 2 * 3600
        await trio.sleep(1300)
    assert len([name for at, name in log.ran if name == "job"]) in (3, 4)
    assert max(at for at, name in log.ran if name == "grid") > 1200


async def test_a_clock_that_was_wrong_by_years_is_not_waited_for(autojump_clock, log, jumpy):
    jumpy.offset = 10 * 365 * 86400
    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("nightly", "30 2 * * *", log.run)
        await trio.sleep(60)
        jumpy.offset = 0.0
        await trio.sleep(86400)
    assert len(log.times) == 1


async def test_intervals_do_not_notice_when_the_clock_is_set(autojump_clock, log, jumpy):
    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("tick", 10, log.run)
        await trio.sleep(25)
        jumpy.offset += 86400
        await trio.sleep(10)
        jumpy.offset -= 7 * 86400
        await trio.sleep(20)
    assert log.times == [10, 20, 30, 40, 50]
    assert scheduler.statistics().missed == 0


@pytest.mark.parametrize(
    ("options", "counted"),
    [
        ({}, (1, 5)),
        ({"coalesce": "earliest"}, (1, 5)),
        ({"coalesce": "all", "overlap": "allow"}, (6, 0)),
        ({"misfire_grace": 100.0}, (1, 5)),
        ({"misfire_grace": 0.0}, (0, 6)),
        ({"misfire_grace": 125.0, "coalesce": "all", "overlap": "allow"}, (2, 4)),
    ],
)
async def test_what_is_overdue_runs_or_is_missed_as_the_options_say(
    autojump_clock, log, jumpy, options, counted
):
    runs, missed = counted
    told = []

    class Watch(Instrument):
        def schedule_fired(self, source, name, due):
            told.append(("fired", name, due))

        def schedule_missed(self, source, name, due, count, why):
            told.append((why, count, due))

    async with Scheduler(clock=jumpy, instruments=[Watch()], **options) as scheduler:
        scheduler.schedule("job", "* * * * *", log.run)
        await trio.sleep(1)
        # Of 22:01 to 22:06 the latest is 35 s ago when the clock is looked at, at 22:06:35.
        jumpy.offset += 335
        await trio.sleep(60)
        counts = scheduler.statistics()
    assert len([at for at in log.times if at <= 60]) == runs
    assert counts.missed == missed
    assert counts.fired == len(log.times)
    if options.get("coalesce", "latest") == "latest" and runs:
        assert told[0] == ("fired", "job", NOW + seconds(360))
        assert told[1] == ("missed", 5, NOW + seconds(60))
    elif options.get("coalesce") == "earliest":
        assert told[0] == ("fired", "job", NOW + seconds(60))


async def test_a_night_of_seconds_is_caught_up_without_holding_the_loop(autojump_clock, log, jumpy):
    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("each second", "* * * * * *", log.run)
        await trio.sleep(1.5)
        jumpy.offset += 3600
        await trio.sleep(0.6)
        counts = scheduler.statistics()
    assert counts.missed in (3599, 3600)
    assert counts.fired == len(log.times) <= 3


# -- paused, closed, left


async def test_paused_it_fires_and_starts_nothing(autojump_clock, log):
    async with Scheduler() as scheduler:
        scheduler.schedule("tick", 2, log.run)
        await trio.sleep(3)
        scheduler.pause()
        await trio.sleep(10)
        assert log.times == [2]
        assert scheduler.statistics().waiting == 2  # one is to run, and one waits for it
        scheduler.resume()
        await trio.sleep(0.5)
        assert log.times == [2, 13, 13]


async def test_leaving_waits_for_runs_and_fires_nothing_more(autojump_clock, log):
    async with Scheduler() as scheduler:
        scheduler.schedule("long", 2, log.run, "long", 50)
        scheduler.schedule("tick", 3, log.run, "tick")
        await trio.sleep(2.5)
    assert log.ran == [(2, "long")]
    assert trio.current_time() == 52
    assert scheduler.report.completed == 1


async def test_grace_bounds_the_leaving(autojump_clock, log):
    async with Scheduler(grace=5) as scheduler:
        scheduler.schedule("long", 2, log.run, "long", 50)
        await trio.sleep(4.5)  # at 4 the second fires, and waits
    assert trio.current_time() == 9.5
    assert scheduler.report.cancelled == 1
    assert scheduler.report.abandoned == ("long",)


async def test_close_fires_no_more_and_the_block_goes_on(autojump_clock, log):
    async with Scheduler() as scheduler:
        scheduler.schedule("tick", 2, log.run, "tick", 5)
        await trio.sleep(2.5)
        scheduler.close()
        for use in (
            lambda: scheduler.schedule("x", 1, log.run),
            lambda: scheduler.fire("tick"),
            lambda: scheduler.reschedule({}),
            lambda: scheduler.unschedule("tick"),
            scheduler.unschedule_all,
            lambda: scheduler.next_fire("tick"),
        ):
            with pytest.raises(Closed, match="is closing and accepts no more"):
                use()
        await scheduler.wait_closed()
        await trio.sleep(20)
    assert log.times == [2]
    assert scheduler.report.completed == 1


async def test_before_and_after_the_block_use_is_refused(log):
    scheduler = Scheduler()
    with pytest.raises(Closed, match="is not open"):
        scheduler.schedule("x", 1, log.run)
    async with scheduler:
        pass
    with pytest.raises(Closed, match="has ended"):
        scheduler.schedule("x", 1, log.run)
    assert scheduler.statistics().fired == 0


async def test_one_that_has_ended_opens_afresh(autojump_clock, log):
    scheduler = Scheduler()
    for _ in range(2):
        async with scheduler:
            scheduler.schedule("tick", 2, log.run)
            await trio.sleep(5)
            assert scheduler.statistics().fired == 2


async def test_a_job_of_a_closing_scheduler_may_fire_and_schedule_in_vain(autojump_clock, log):
    async with Scheduler() as scheduler:

        async def late():
            scheduler.close()
            scheduler.fire("late")
            scheduler.schedule("other", 1, log.run)
            return Reschedule(5)

        scheduler.schedule("late", 1, late)
        await trio.sleep(20)
    assert log.ran == []
    assert scheduler.report.abandoned == ("late",)
    assert scheduler.report.completed == 1


async def test_handle_init_may_schedule_and_nothing_runs_before_it_has_ended(autojump_clock, log):
    class Jobs(Scheduler):
        async def handle_init(self):
            self.schedule("early", 1, log.run, "early")
            await trio.sleep(5)

    async with Jobs():
        assert log.ran == []
        await trio.sleep(0.5)
    assert set(log.ran) == {(5, "early")}


async def test_a_failing_handle_init_fails_the_entering(autojump_clock):
    class Jobs(Scheduler):
        async def handle_init(self):
            raise OSError("no")

    with pytest.raises(ExceptionGroup) as caught:
        async with Jobs():
            pytest.fail("it opened")
    assert caught.group_contains(OSError)


async def test_a_job_may_not_wait_for_its_own_scheduler(autojump_clock):
    refused = []
    async with Scheduler() as scheduler:

        async def waits():
            for wait in (scheduler.wait_idle, scheduler.wait_closed):
                with pytest.raises(RuntimeError, match="would wait for that very handler"):
                    await wait()
            refused.append(True)

        scheduler.schedule("job", 1, waits)
        await trio.sleep(2)
    assert refused


async def test_wait_idle_waits_for_runs_and_not_for_firings(autojump_clock, log):
    async with Scheduler() as scheduler:
        scheduler.schedule("tick", 10, log.run, "tick", 3)
        await scheduler.wait_idle()
        assert trio.current_time() == 0
        await trio.sleep(11)
        await scheduler.wait_idle()
        assert trio.current_time() == 13


async def test_run_is_open_until_it_is_closed(autojump_clock, log):
    async with trio.open_nursery() as nursery:
        scheduler = await nursery.start(Scheduler(name="upkeep").run)
        with pytest.raises(DuplicateName):
            async with Scheduler(name="upkeep"):
                pass
        scheduler.schedule("tick", 1, log.run)
        await trio.sleep(3.5)
        scheduler.close()
    assert log.times == [1, 2, 3]


async def test_idle_workers_do_not_pile_up(autojump_clock, log):
    async with Scheduler() as scheduler:
        for n in range(500):
            scheduler.schedule(f"job{n}", 100, log.run, n, 1)
        await trio.sleep(0.5)
        before = trio.lowlevel.current_statistics().tasks_living
        await trio.sleep(100)
        assert trio.lowlevel.current_statistics().tasks_living >= before + 500
        await trio.sleep(20)
        assert trio.lowlevel.current_statistics().tasks_living < before + 20


async def test_jobs_that_never_wait_share_few_workers(autojump_clock):
    most = 0

    async def tick():
        nonlocal most
        most = max(most, trio.lowlevel.current_statistics().tasks_living)

    async with Scheduler() as scheduler:
        for n in range(2000):
            scheduler.schedule(f"job{n}", 10, tick)
        await trio.sleep(11)
        assert scheduler.statistics().completed == 2000
    assert most < 20


async def test_a_run_keeps_the_function_and_the_arguments_it_was_made_with(autojump_clock):
    called = []

    async def old(a, b):
        called.append(("old", a, b))
        await trio.sleep(5)

    async def new(c):
        called.append(("new", c))

    async with Scheduler() as scheduler:
        scheduler.schedule("job", 2, old, 1, 2)
        await trio.sleep(4.5)  # one runs, and one waits
        scheduler.schedule("job", 4, new, 3)
        await trio.sleep(7.9)
    assert called == [("old", 1, 2), ("old", 1, 2), ("new", 3)]


async def test_exit_withdraws_the_run_that_waits(autojump_clock, log):
    async with Scheduler() as scheduler:
        scheduler.schedule("job", 1, log.run, "job", 1.5, Exit())
        await trio.sleep(10)
        assert scheduler.statistics().cancelled == 1
    assert log.times == [1]


async def test_unscheduled_and_scheduled_again_two_runs_do_not_overlap(autojump_clock):
    running = 0

    async def slow_to_stop():
        nonlocal running
        running += 1
        assert running == 1
        try:
            await trio.sleep(10)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            running -= 1

    async with Scheduler() as scheduler:
        scheduler.schedule("job", 1, slow_to_stop)
        await trio.sleep(1.5)
        scheduler.unschedule("job")
        scheduler.schedule("job", 1, slow_to_stop)
        await trio.sleep(5)
        scheduler.unschedule_all()


async def test_rest_comes_after_a_spell_though_others_were_busy_when_it_began(autojump_clock):
    rested = []

    class Jobs(Scheduler):
        hibernate_after = 5.0

        async def handle_hibernate(self):
            rested.append(trio.current_time())

    async with Jobs() as scheduler:
        for n in range(12):
            scheduler.schedule(f"short{n}", 1000, trio.sleep, 1)
            scheduler.fire(f"short{n}")
        scheduler.schedule("long", 1000, trio.sleep, 20)
        scheduler.fire("long")
        await trio.sleep(100)
    assert rested == [25]


async def test_jobs_of_a_closing_scheduler_may_ask_and_unschedule(autojump_clock, log):
    async with Scheduler() as scheduler:

        async def job():
            scheduler.close()
            assert scheduler.next_fire("other") is None
            scheduler.unschedule("other")
            with pytest.raises(LookupError):
                scheduler.fire("nonsense")
            await log.run()

        scheduler.schedule("other", 50, log.run)
        scheduler.schedule("job", 1, job)
        await trio.sleep(2)
    assert log.times == [1]


async def test_a_trigger_that_raises_when_the_clock_is_set_back_leaves_the_block(
    autojump_clock, log, jumpy
):
    class Fragile:
        def next(self, after):
            if after < NOW:
                raise OSError("history")
            return after + seconds(500)

    with pytest.raises(ExceptionGroup) as caught:
        async with Scheduler(clock=jumpy) as scheduler:
            scheduler.schedule("job", Fragile(), log.run)
            await trio.sleep(70)
            jumpy.offset -= 86400
            await trio.sleep(200)
    (error,) = caught.value.exceptions
    assert "from the firing of 'job' in Scheduler" in error.__notes__


async def test_what_fires_once_does_so_though_the_clock_is_set_back(autojump_clock, log, jumpy):
    async with Scheduler(clock=jumpy) as scheduler:
        scheduler.schedule("once", At(NOW + seconds(100)), log.run, "once", 5000)
        await trio.sleep(150)
        jumpy.offset -= 86400
        await trio.sleep(4000)
        assert scheduler.next_fire("once") is None
    assert len(log.ran) == 1


@pytest.mark.parametrize("coalesce", ["latest", "earliest"])
async def test_half_a_century_of_seconds_is_passed_over(autojump_clock, log, jumpy, coalesce):
    jumpy.offset = -50 * 365 * 86400
    told = []

    class Watch(Instrument):
        def schedule_fired(self, source, name, due):
            told.append(due)

    options = {"misfire_grace": 3600.0, "coalesce": coalesce, "instruments": [Watch()]}
    async with Scheduler(clock=jumpy, **options) as scheduler:
        scheduler.schedule("each second", "* * * * * *", log.run)
        await trio.sleep(0.5)
        jumpy.offset = 0
        await trio.sleep(1)  # the next look, at the second
        assert len(log.ran) == 1
        assert scheduler.statistics().missed >= 10_000
    assert told == [NOW + seconds(1 if coalesce == "latest" else 1 - 3600)]


async def test_paused_while_it_is_left_it_is_left_all_the_same(autojump_clock, log):
    async with Scheduler() as scheduler:

        async def pauses():
            await trio.sleep(3)
            scheduler.pause()

        scheduler.schedule("job", 1, pauses)
        await trio.sleep(2.5)
    assert scheduler.report.completed == 2


async def test_replaced_by_hand_it_is_listed_until_its_run_has_ended(autojump_clock, log):
    async with Scheduler(overlap="replace", clock=wall_clock(NOW)) as scheduler:
        scheduler.schedule("once", At(NOW + seconds(1)), log.run)
        scheduler.pause()
        await trio.sleep(2)
        scheduler.fire("once")
        assert scheduler.next_fire("once") is None
        scheduler.resume()
        await trio.sleep(1)
    assert log.times == [2]


async def test_an_override_has_the_mark_of_what_it_overrides(autojump_clock, log):
    class Base(Scheduler):
        @every(5)
        async def ping(self):
            await log.run("base")

    class Derived(Base):
        async def ping(self):
            await log.run("derived")

    class Other(Base):
        jobs = {"ping": 3.0}

    async with Derived(), Other():
        await trio.sleep(5.5)
    assert log.ran == [(3, "base"), (5, "derived")]


# -- against models


@settings(deadline=None, max_examples=20)
@given(
    jobs=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "*/3 * * * *",
                    "*/7 * * * *",
                    "30 2 * * *",
                    "5,35 */3 * * *",
                    "0 0 * * 1",
                    "15 2 * * *",
                ]
            ),
            st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe"]),
        ),
        min_size=1,
        max_size=4,
    ),
    start=st.sampled_from(
        [
            datetime(2024, 3, 30, 12, 3, tzinfo=UTC),
            datetime(2024, 10, 26, 20, 58, tzinfo=UTC),
            datetime(2024, 11, 2, 23, 0, tzinfo=UTC),
            datetime(2024, 10, 5, 1, 0, tzinfo=UTC),
            datetime(2024, 6, 1, 0, 0, tzinfo=UTC),
        ]
    ),
)
def test_cron_jobs_over_a_changing_night_run_as_a_loop_over_dates_says(jobs, start) -> None:
    minutes = 32 * 60
    expected = Counter()
    for number, (expression, zone) in enumerate(jobs):
        trigger = Cron(expression, zone)
        at = start
        while (at := trigger.next(at)) <= start + timedelta(minutes=minutes):
            expected[number, at] += 1
    ran = Counter()

    async def main():
        clock = wall_clock(start)

        async def note(number):
            ran[number, clock()] += 1

        async with Scheduler(clock=clock) as scheduler:
            for number, (expression, zone) in enumerate(jobs):
                scheduler.schedule(f"job{number}", Cron(expression, zone), note, number)
            await trio.sleep(minutes * 60 + 1)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert ran == expected


SOME = st.one_of(st.just(None), st.sets(st.integers(0, 23), min_size=1, max_size=4))


@settings(deadline=None, max_examples=30)
@given(
    jobs=st.lists(st.tuples(SOME, SOME, SOME), min_size=1, max_size=4),
    start=st.datetimes(datetime(2024, 1, 1), datetime(2025, 12, 30)),  # noqa: DTZ001
)
def test_cron_jobs_run_as_a_plain_loop_over_the_minutes_says(jobs, start) -> None:
    start = start.replace(second=30, microsecond=0, tzinfo=UTC)

    def field(values, first=0):
        return "*" if values is None else ",".join(str(max(first, value)) for value in values)

    expected = Counter()
    for minute in range(1, 26 * 60):
        at = start.replace(second=0) + timedelta(minutes=minute)
        for number, (minutes, hours, days) in enumerate(jobs):
            if (
                (minutes is None or at.minute in minutes)
                and (hours is None or at.hour in hours)
                and (days is None or at.day in {max(1, day) for day in days})
            ):
                expected[number, at] += 1
    ran = Counter()

    async def main():
        clock = wall_clock(start)

        async def note(number):
            ran[number, clock()] += 1

        async with Scheduler(clock=clock) as scheduler:
            for number, (minutes, hours, days) in enumerate(jobs):
                expression = f"{field(minutes)} {field(hours)} {field(days, 1)} * *"
                scheduler.schedule(f"job{number}", expression, note, number)
            await trio.sleep(26 * 3600 - 61)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert ran == expected


async def test_a_firing_by_cron_takes_one_step_of_croniter(autojump_clock, log, monkeypatch):
    steps = 0
    step = croniter.get_next

    def counted(*args, **kwargs):
        nonlocal steps
        steps += 1
        return step(*args, **kwargs)

    async with Scheduler(clock=wall_clock(NOW), timezone="Europe/Paris") as scheduler:
        scheduler.schedule("job", "*/5 * * * *", log.run)
        monkeypatch.setattr(croniter, "get_next", counted)
        await trio.sleep(3601)
    assert len(log.ran) == 12
    assert steps == 12


PERIODS = st.integers(1, 12)


@settings(deadline=None)
@given(
    overlap=st.sampled_from(["queue", "skip", "allow", "replace"]),
    jobs=st.lists(st.tuples(PERIODS, st.integers(0, 30)), min_size=1, max_size=5),
)
def test_overlaps_are_as_a_loop_over_the_seconds_says(overlap, jobs) -> None:
    # However many follow one another, no run ends at the moment of a firing.
    async def main():
        log = Log()
        async with Scheduler(overlap=overlap) as scheduler:
            for number, (period, lasts) in enumerate(jobs):
                scheduler.schedule(f"job{number}", period, log.run, number, lasts + 0.5003)
            await trio.sleep(60.75)
            counts = scheduler.statistics()
            scheduler.cancel()
        return log.ran, counts

    ran, counts = trio.run(main, clock=MockClock(autojump_threshold=0))
    expected = []
    fired = skipped = missed = 0
    for number, (period, lasts) in enumerate(jobs):
        free_at, waits, takes = 0.0, False, lasts + 0.5003
        for half in range(122):
            now = half / 2
            if waits and now >= free_at:
                expected.append((free_at, number))
                free_at, waits = free_at + takes, False
            if not half or now % period:
                continue
            runs = now < free_at
            if overlap == "skip" and runs:
                skipped += 1
            elif overlap == "queue" and runs:
                missed += waits
                fired += not waits
                waits = True
            else:
                fired += 1
                expected.append((now, number))
                free_at = now + takes
        if waits and free_at <= 60.75:
            expected.append((free_at, number))
    assert sorted(ran) == sorted(expected)
    assert (counts.fired, counts.skipped, counts.missed) == (fired, skipped, missed)


async def test_cancelled_at_every_step_nothing_is_lost(autojump_clock):
    for step in itertools.count(1):
        begun, ended = Counter(), Counter()
        # One that fails as the block is cancelled has no next try, and leaves no other mark.
        scheduler = Scheduler(
            retry=Retry(attempts=2, backoff=1.0), restart=Restart(mode="temporary")
        )

        async def job(name, begun=begun, ended=ended):
            begun[name] += 1
            if name == "retried" and begun[name] == 1:
                raise OSError
            await trio.sleep(3)
            ended[name] += 1

        with CancelAt(step) as cut:
            async with scheduler:
                scheduler.schedule("a", 2, job, "a")
                scheduler.schedule("retried", 3, job, "retried")
                scheduler.fire("a")
                await trio.sleep(5)
                scheduler.unschedule("a")
        counts, report = scheduler.statistics(), scheduler.report
        assert counts.running == counts.waiting == 0
        assert counts.fired == counts.submitted
        assert report.completed == ended.total()
        assert report.failed == 0 or cut.reached
        if not cut.reached:
            break
    assert step > 20


def test_a_year_of_a_nightly_job_runs_in_a_moment() -> None:
    async def main():
        ran = []
        clock = wall_clock(datetime(2024, 1, 1, tzinfo=PARIS))

        async def nightly():
            ran.append(clock().astimezone(PARIS))

        async with Scheduler(clock=clock, timezone="Europe/Paris") as scheduler:
            scheduler.schedule("nightly", "30 2 * * *", nightly)
            await trio.sleep(366 * 86400)
        return ran

    ran = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert len(ran) == 366
    assert len({at.date() for at in ran}) == 366
    odd = [at for at in ran if (at.hour, at.minute) != (2, 30)]
    assert odd == [datetime(2024, 3, 31, 3, 0, tzinfo=PARIS)]  # the night that skips 02:30


async def test_statistics_are_frozen_and_balanced(autojump_clock, log):
    async with Scheduler() as scheduler:
        scheduler.schedule("a", 1, log.run, "a", 3)
        for _ in range(20):
            await trio.sleep(0.7)
            counts = scheduler.statistics()
            rest = counts.completed + counts.failed + counts.cancelled + counts.dropped
            assert counts.submitted == rest + counts.abandoned + counts.running + counts.waiting
            assert counts.submitted == counts.fired
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            counts.fired = 0


async def test_an_overrun_is_logged(autojump_clock, log, caplog):
    async with Scheduler(overrun_warning=2) as scheduler:
        scheduler.schedule("slow", 1, log.run, "slow", 5)
        await trio.sleep(1.5)
        scheduler.schedule("slow", math.floor(1e6))
    assert "slow" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize("decorator", [every, cron])
def test_a_decorator_without_its_trigger_is_refused_where_it_is_written(decorator):
    with pytest.raises(TypeError, match=rf"@{decorator.__name__} needs its trigger, as in @.*\("):

        class Jobs(Scheduler):
            @decorator
            async def ping(self):
                """Would never run."""
