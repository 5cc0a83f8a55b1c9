"""Instruments see what happens, and cannot break it."""

import logging

import pytest
import trio

from poolder_trio import (
    HALT,
    Backoff,
    Exit,
    Instrument,
    Job,
    Pool,
    Queue,
    Restart,
    Retry,
    TooManyRequests,
    Worker,
)

HOOKS = [name for name in vars(Instrument) if not name.startswith("_")]


class Recording(Instrument):
    def __init__(self):
        self.events = []

    def __getattribute__(self, name):
        if name not in HOOKS:
            return super().__getattribute__(name)

        def hook(source, subject, *details):
            assert isinstance(source, Pool)
            if isinstance(subject, Job):
                self.events.append((name, subject.message, subject.status, subject.attempt))
            else:
                self.events.append((name, subject.index))

        return hook

    def about(self, message):
        return [event for event in self.events if event[1:2] == (message,)]


class Various(Worker):
    retry = Retry(attempts=3)

    async def handle_job(self, job):
        if job == "exit":
            return Exit()
        if job == "sleep":
            await trio.sleep(10)
        if job in ("flaky", "fails", "halted", "crash"):
            self.tries = getattr(self, "tries", 0) + 1
            if job != "flaky" or self.tries < 3:
                raise ValueError(job)
        return job

    async def handle_error(self, job, attempt, error):
        if job == "flaky" and attempt == 2:
            return Backoff(1)
        return HALT if job == "halted" else None


async def test_every_job_is_seen_from_submission_to_end(autojump_clock):
    seen = Recording()
    async with Pool(Various, pool_size=1, instruments=[seen]) as pool:
        await pool.call("fine")
        await pool.cast("flaky")
        await pool.wait_idle()
        with pytest.raises(ValueError, match="fails"):
            await pool.call("fails")
        await pool.cast("halted")
    assert seen.about("fine") == [
        ("job_submitted", "fine", "waiting", 0),
        ("job_started", "fine", "running", 1),
        ("job_done", "fine", "done", 1),
    ]
    assert seen.about("flaky") == [
        ("job_submitted", "flaky", "waiting", 0),
        ("job_started", "flaky", "running", 1),
        ("job_retried", "flaky", "running", 1),
        ("job_started", "flaky", "running", 2),
        ("job_retried", "flaky", "running", 2),
        ("job_started", "flaky", "running", 3),
        ("job_done", "flaky", "done", 3),
    ]
    assert seen.about("fails")[-1] == ("job_failed", "fails", "failed", 3)
    assert seen.about("halted")[-1] == ("job_failed", "halted", "halted", 1)
    assert seen.events[0] == ("worker_started", 0)
    assert seen.events[-1] == ("worker_stopped", 0)


async def test_drops_cancellations_and_abandoned_jobs_are_seen_with_their_reason(autojump_clock):
    reasons = []

    class Reasons(Instrument):
        def job_dropped(self, source, job, reason):
            reasons.append((job.message, reason, job.status))

    queue = Queue(max=1, overflow="drop_oldest")
    async with Pool(Various, pool_size=1, queue=queue, instruments=[Reasons()]) as pool:
        await pool.cast("sleep")
        await trio.sleep(1)
        await pool.cast("oldest")
        await pool.cast("left")
        pool.cancel()
    assert reasons[0] == ("oldest", "drop_oldest", "dropped")
    assert sorted(reasons[1:]) == [
        ("left", "abandoned", "abandoned"),
        ("sleep", "cancelled", "cancelled"),
    ]


async def test_crashes_and_replacements_are_seen(caplog):
    seen = Recording()
    async with Pool(
        Various, pool_size=1, instruments=[seen], restart=Restart(max_restarts=1)
    ) as pool:
        await pool.cast("crash")
        await pool.wait_idle()
    assert [event for event in seen.events if event[0].startswith("worker")] == [
        ("worker_started", 0),
        ("worker_stopped", 0),
        ("worker_crashed", 0),
        ("worker_started", 0),
        ("worker_stopped", 0),
    ]


async def test_an_instrument_that_raises_is_logged_and_removed_and_the_others_go_on(caplog):
    class Bad(Instrument):
        def job_started(self, source, job, worker):
            raise KeyError("instrument")

    seen = Recording()
    async with Pool(Various, pool_size=1, instruments=[Bad(), seen]) as pool:
        assert await pool.call(1) == 1
        assert await pool.call(2) == 2
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info[0] is KeyError
    assert len(seen.about(2)) == 3


async def test_counts_seen_by_a_hook_add_up(autojump_clock):
    sums = []

    class Adding(Instrument):
        def check(self, source):
            stats = source.statistics()
            parts = stats.completed + stats.failed + stats.cancelled + stats.dropped
            parts += stats.abandoned + stats.running + stats.waiting
            assert stats.submitted == parts
            sums.append(stats.submitted)

        def job_done(self, source, job):
            self.check(source)

        def job_started(self, source, job, worker):
            self.check(source)

        def job_failed(self, source, job, error):
            self.check(source)

        def job_dropped(self, source, job, reason):
            self.check(source)

    async with Pool(Various, pool_size=2, instruments=[Adding()]) as pool:
        await pool.cast_many([1, 2, "halted", 3])
        await pool.wait_idle()
        queue_is_full = TooManyRequests
        assert queue_is_full
    assert sums
    assert set(sums) == {4}


async def test_a_pool_without_instruments_makes_no_record_of_a_cast():
    kinds = set()

    class Looking(Worker):
        async def handle_job(self, job):
            line = self.pool[0]._seat.box.room.line
            kinds.update(map(type, line))

    async with Pool(Looking, pool_size=1) as pool:
        await pool.cast_many([1, 2, 3])
    assert kinds == {int}
