"""The whole block is cancelled at every scheduler step: nothing is lost, nothing done twice."""

import collections
import itertools

import pytest
import trio

from poolder_trio import (
    RETRY,
    Backoff,
    JobAbandoned,
    JobCancelled,
    Pool,
    Queue,
    Rate,
    Restart,
    Retry,
    TooManyRequests,
    Worker,
)
from poolder_trio.policies.dispatch import MODES
from poolder_trio.testing import CancelAt

LIMIT = 3000  # more steps than any of these blocks takes


class Log:
    """What happened to the jobs of one run, as their senders and their handlers saw it."""

    def __init__(self):
        self.accepted = collections.Counter()  # sends that returned
        self.offered = collections.Counter()  # sends that were begun
        self.begun = collections.Counter()
        self.ended = collections.Counter()
        self.answers = {}

    def check(self, pool, copies=1):
        stats, report = pool.statistics(), pool.report
        accounted = (
            report.completed
            + report.failed
            + report.cancelled
            + report.dropped
            + len(report.abandoned)
        )
        assert stats.running == stats.waiting == 0
        assert stats.submitted == accounted
        assert self.accepted.total() * copies <= accounted <= self.offered.total() * copies
        abandoned = collections.Counter(report.abandoned)
        # What was abandoned never began, on as many workers as it was abandoned for.
        for job, count in abandoned.items():
            assert count + min(1, self.begun[job]) <= copies
        # Nothing ran to its end more often than it was sent.
        assert all(count <= copies for count in self.ended.values())
        assert report.completed == self.ended.total()


async def cancel_at_every_step(block, *, check=Log.check):
    """Run ``block(log)``, which leaves its pool in ``log.pool``, cancelled at each step in turn."""
    for step in itertools.count(1):
        log = Log()
        with CancelAt(step) as cut:
            await block(log)
        check(log, log.pool)
        assert trio.lowlevel.current_statistics().tasks_living <= log_tasks_before(log)
        if not cut.reached:
            assert log.offered == log.accepted
            return step
        assert step < LIMIT
    raise AssertionError


def log_tasks_before(log):
    return log.tasks


def worker(log, *, nap=0):
    class Recorder(Worker):
        async def handle_job(self, job):
            log.begun[job] += 1
            if nap is None:
                pass
            elif nap:
                await trio.sleep(nap)
            else:
                await trio.lowlevel.checkpoint()
            log.ended[job] += 1
            return job

    return Recorder


async def cast(log, pool, job):
    log.offered[job] += 1
    await pool.cast(job)
    log.accepted[job] += 1


async def call(log, pool, request):
    log.offered[request] += 1
    log.answers[request] = await pool.call(request)
    log.accepted[request] += 1


def begin(log, pool):
    log.pool = pool
    log.tasks = trio.lowlevel.current_statistics().tasks_living
    return pool


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("nap", [None, 0, 0.01])
async def test_casts_are_accounted_for_at_every_step(mode, nap, autojump_clock):
    size = 3

    async def block(log):
        pool = begin(log, Pool(worker(log, nap=nap), pool_size=size, mode=mode, queue=Queue(max=2)))
        async with pool:
            for job in range(7):
                await cast(log, pool, job)

    copies = size if mode == "broadcast" else 1

    def check(log, pool):
        if mode != "broadcast":
            log.check(pool, copies)
            return
        # A broadcast that is cut has reached some workers, so only the sum can be told.
        stats, report = pool.statistics(), pool.report
        assert stats.running == stats.waiting == 0
        assert report.completed == log.ended.total()
        assert log.accepted.total() * copies <= stats.submitted <= log.offered.total() * copies

    assert await cancel_at_every_step(block, check=check) > 10


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "broadcast"])
async def test_calls_are_answered_or_taken_back_at_every_step(mode, autojump_clock):
    async def block(log):
        pool = begin(log, Pool(worker(log), pool_size=2, mode=mode, queue=Queue(max=1)))
        async with pool, trio.open_nursery() as nursery:
            for request in range(6):
                nursery.start_soon(call, log, pool, request)

    def check(log, pool):
        log.check(pool)
        assert all(answer == request for request, answer in log.answers.items())

    assert await cancel_at_every_step(block, check=check) > 10


async def test_one_cancelled_caller_disturbs_no_other_at_every_step(autojump_clock):
    """Only the caller is cut: the pool and the other calls go on."""

    async def other_calls(log, pool):
        async with trio.open_nursery() as nursery:
            for request in range(4):
                nursery.start_soon(call, log, pool, request)

    for step in itertools.count(1):
        log = Log()
        pool = begin(log, Pool(worker(log), pool_size=2))
        async with pool, trio.open_nursery() as nursery:
            nursery.start_soon(other_calls, log, pool)
            with CancelAt(step) as cut:
                await call(log, pool, "victim")
            await pool.wait_idle()
            stats = pool.statistics()
            assert stats.running == stats.waiting == 0
            # No seat is left occupied, no reply is stale: every worker answers again.
            async with trio.open_nursery() as again:
                for request in range(10, 14):
                    again.start_soon(call, log, pool, request)
        log.check(pool)
        expected = {request: request for request in (*range(4), *range(10, 14))}
        assert {k: v for k, v in log.answers.items() if k != "victim"} == expected
        if not cut.reached:
            break
        assert step < LIMIT
    assert step > 5


async def test_retries_and_back_offs_are_accounted_for_at_every_step(autojump_clock):
    async def block(log):
        class Flaky(Worker):
            retry = Retry(attempts=3, backoff=0.5)

            async def handle_job(self, job):
                log.begun[job] += 1
                await trio.lowlevel.checkpoint()
                if log.begun[job] < 3:
                    raise ValueError(job)
                log.ended[job] += 1

            async def handle_error(self, job, attempt, error):
                await trio.lowlevel.checkpoint()
                return RETRY if job % 2 else Backoff(1.0)

        pool = begin(log, Pool(Flaky, pool_size=2, queue=Queue(max=2)))
        async with pool:
            for job in range(5):
                await cast(log, pool, job)

    await cancel_at_every_step(block)


async def test_crashes_and_restarts_are_accounted_for_at_every_step(autojump_clock):
    async def block(log):
        class Crashing(Worker):
            async def handle_init(self):
                await trio.lowlevel.checkpoint()

            async def handle_job(self, job):
                log.begun[job] += 1
                await trio.lowlevel.checkpoint()
                if job % 3 == 0:
                    raise ValueError(job)
                log.ended[job] += 1

            async def handle_stop(self):
                await trio.lowlevel.checkpoint()

        pool = begin(log, Pool(Crashing, pool_size=2, restart=Restart(max_restarts=10)))
        async with pool:
            for job in range(6):
                await cast(log, pool, job)

    await cancel_at_every_step(block)


async def test_resizing_is_accounted_for_at_every_step(autojump_clock):
    async def block(log):
        pool = begin(log, Pool(worker(log, nap=0.1), pool_size=2, dynamic=True))
        async with pool:
            for job in range(6):
                await cast(log, pool, job)
            await pool.resize(4)
            for job in range(6, 10):
                await cast(log, pool, job)
            await pool.resize(1)
            await pool.start_child()
            await pool.stop_child()
            for job in range(10, 12):
                await cast(log, pool, job)

    await cancel_at_every_step(block)


async def test_time_outs_and_rates_are_accounted_for_at_every_step(autojump_clock):
    async def block(log):
        class Slow(Worker):
            retry = Retry(attempts=2)

            async def handle_job(self, job):
                log.begun[job] += 1
                await trio.sleep(5 if job == 1 and log.begun[job] == 1 else 0.1)
                log.ended[job] += 1

        pool = begin(log, Pool(Slow, pool_size=2, job_timeout=1.0, rate=Rate(10)))
        async with pool:
            for job in range(5):
                await cast(log, pool, job)

    await cancel_at_every_step(block)


async def test_cast_many_sends_all_or_nothing_at_every_step(autojump_clock):
    async def block(log):
        pool = begin(log, Pool(worker(log), pool_size=2, mode="available", queue=Queue(max=2)))
        async with pool:
            for start in (0, 10, 20):
                jobs = range(start, start + 4)
                log.offered.update(jobs)
                await pool.cast_many(jobs)
                log.accepted.update(jobs)

    def check(log, pool):
        log.check(pool)
        assert pool.statistics().submitted % 4 == 0

    await cancel_at_every_step(block, check=check)


@pytest.mark.parametrize("overflow", ["wait", "reject", "drop_oldest", "drop_newest"])
@pytest.mark.parametrize("order", ["fifo", "lifo", "priority", "fair"])
async def test_every_order_and_overflow_keeps_accounts_at_every_step(
    order, overflow, autojump_clock
):
    async def try_call(log, pool, request):
        log.offered[request] += 1
        try:
            log.answers[request] = await pool.call(request)
        except (TooManyRequests, JobAbandoned, JobCancelled):
            pass
        log.accepted[request] += 1

    async def block(log):
        queue = Queue(max=2, order=order, overflow=overflow)
        pool = begin(log, Pool(worker(log), pool_size=2, mode="available", queue=queue))
        async with pool, trio.open_nursery() as nursery:
            for request in range(8):
                nursery.start_soon(try_call, log, pool, request)

    await cancel_at_every_step(block)
