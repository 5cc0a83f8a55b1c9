"""The pool's accounts against a model, under random sends, cancellations, crashes and resizes."""

import collections
import contextlib
import logging
import math

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from poolder_trio import (
    Backoff,
    Exit,
    JobError,
    Pool,
    Queue,
    QueueFull,
    Rate,
    Restart,
    Retry,
    TooManyRequests,
    Worker,
)
from poolder_trio.policies.dispatch import MODES

JOBS = st.tuples(
    st.sampled_from(["ok", "nap", "flaky", "back off", "fail", "long", "exit"]),
    st.integers(0, 5),
)
STEPS = st.one_of(
    st.tuples(st.just("cast_nowait"), JOBS),
    st.tuples(st.just("cast"), JOBS),
    st.tuples(st.just("cast_many"), st.lists(JOBS, max_size=4)),
    st.tuples(st.just("call"), JOBS),
    st.tuples(st.just("call, cancelled after"), JOBS, st.sampled_from([0, 0.5, 1, 2])),
    st.tuples(st.just("broadcast"), JOBS),
    st.tuples(st.just("resize"), st.integers(1, 4)),
    st.tuples(st.just("sleep"), st.sampled_from([0, 0.5, 1, 3])),
    st.tuples(st.just("pause")),
    st.tuples(st.just("resume")),
)


class Model:
    """What must be true of a pool, whatever is done to it."""

    def __init__(self):
        self.accepted = 0
        self.unsure = 0  # sends that raised or were cut: accepted or not
        self.begun = collections.Counter()
        self.ended = collections.Counter()
        self.running = 0
        self.most_running = 0
        self.ids = iter(range(10**6))

    def check(self, pool):
        stats = pool.statistics()
        parts = (
            stats.completed
            + stats.failed
            + stats.cancelled
            + stats.dropped
            + stats.abandoned
            + stats.running
            + stats.waiting
        )
        assert stats.submitted == parts
        assert min(vars_of(stats)) >= 0
        assert self.accepted <= stats.submitted <= self.accepted + self.unsure
        assert stats.completed == self.ended.total()
        assert stats.running >= self.running


def vars_of(stats):
    return [getattr(stats, name) for name in ("running", "waiting", "submitted", "cancelled")]


def make_worker(model):
    class Random(Worker):
        retry = Retry(attempts=3, backoff=0.0)

        async def handle_job(self, job):
            (kind, number), ident = job
            model.begun[ident] += 1
            model.running += 1
            try:
                model.check(self.pool)
                return await self.act(kind, number, ident)
            finally:
                model.running -= 1

        async def act(self, kind, number, ident):
            if kind == "nap":
                await trio.sleep(number / 4)
            elif kind == "long":
                await trio.sleep(100)
            elif kind == "fail" or (
                kind in ("flaky", "back off") and model.begun[ident] <= number % 3
            ):
                raise ValueError(kind)
            model.ended[ident] += 1
            return Exit(ident) if kind == "exit" and number == 0 else ident

        async def handle_error(self, job, attempt, error):
            return Backoff(1) if job[0][0] == "back off" else None

    return Random


async def act(pool, model, nursery, step):  # noqa: C901  # a table of steps
    kind, *args = step

    def stamp(job):
        return job, next(model.ids)

    async def send(send, *jobs):
        model.unsure += len(jobs)
        try:
            await send(*jobs)
        except (QueueFull, trio.ClosedResourceError):
            model.unsure -= len(jobs)
        except (TooManyRequests, JobError, ValueError):
            pass
        else:
            model.unsure -= len(jobs)
            model.accepted += len(jobs)

    async def cut_after(seconds, job):
        with trio.move_on_after(seconds):
            await send(pool.call, job)

    if kind == "cast_nowait":

        async def nowait(job):
            pool.cast_nowait(job)

        await send(nowait, stamp(args[0]))
    elif kind in ("cast", "call"):
        nursery.start_soon(send, getattr(pool, kind), stamp(args[0]))
    elif kind == "cast_many":
        jobs = [stamp(job) for job in args[0]]

        async def many(*jobs):
            await pool.cast_many(jobs)

        nursery.start_soon(send, many, *jobs)
    elif kind == "call, cancelled after":
        nursery.start_soon(cut_after, args[1], stamp(args[0]))
    elif kind == "resize":
        try:
            await pool.resize(args[0])
        except trio.ClosedResourceError:
            pass
    elif kind == "sleep":
        await trio.sleep(args[0])
    elif kind in ("pause", "resume"):
        getattr(pool, kind)()


@settings(max_examples=150, deadline=None)
@given(
    mode=st.sampled_from([mode for mode in MODES if mode != "broadcast"]),
    size=st.integers(1, 3),
    queue=st.builds(
        Queue,
        max=st.sampled_from([0, 1, 3, math.inf]),
        order=st.sampled_from(["fifo", "lifo", "priority", "fair"]),
        overflow=st.sampled_from(["wait", "reject", "drop_oldest", "drop_newest"]),
    ),
    restart=st.sampled_from(
        [Restart(max_restarts=10**6), Restart(mode="temporary"), Restart(10**6, mode="permanent")]
    ),
    rate=st.sampled_from([None, Rate(4)]),
    job_timeout=st.sampled_from([math.inf, 2.0]),
    end=st.sampled_from(["leave", "grace", "close", "cancel", "raise"]),
    steps=st.lists(STEPS, max_size=25) | st.lists(STEPS, min_size=12, max_size=25),
)
def test_every_job_is_accounted_for_exactly_once(  # noqa: PLR0917
    mode, size, queue, restart, rate, job_timeout, end, steps
):
    model = Model()

    async def main():
        pool = Pool(
            make_worker(model),
            pool_size=size,
            mode=mode,
            queue=queue,
            restart=restart,
            rate=rate,
            job_timeout=job_timeout,
            dynamic=True,
            key=lambda job: job[1],
            grace=5 if end == "grace" else math.inf,
        )
        before = trio.lowlevel.current_statistics().tasks_living
        expected = pytest.RaisesGroup(pytest.RaisesGroup(KeyError))
        with expected if end == "raise" else contextlib.nullcontext():
            async with trio.open_nursery() as nursery, pool:
                for step in steps:
                    try:
                        await act(pool, model, nursery, step)
                    except trio.ClosedResourceError:
                        break  # its last worker is gone
                    model.check(pool)
                if end in ("close", "cancel"):
                    getattr(pool, end)()
                elif end == "raise":
                    raise KeyError
        model.check(pool)
        stats = pool.statistics()
        assert stats.running == stats.waiting == 0
        report = pool.report
        abandoned = [ident for _, ident in report.abandoned]
        assert len(set(abandoned)) == len(abandoned)
        assert not any(model.begun[ident] for ident in abandoned)
        assert all(count == 1 for count in model.ended.values())
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert not pool._crew.backing_off
        assert not pool._crew.stuck

    logging.getLogger("poolder_trio.pool").disabled = True
    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    finally:
        logging.getLogger("poolder_trio.pool").disabled = False
