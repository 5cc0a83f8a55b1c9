"""A slot of a rate is for what starts: what was withdrawn before it ran uses none."""

import math

import pytest
import trio

from poolder_trio import (
    AsyncPool,
    FactoryPool,
    GenPool,
    JobPool,
    Pool,
    Queue,
    Rate,
    Retry,
    Tasker,
    Worker,
)

RATES = [Rate(1), (Rate(1), Rate(10, burst=9)), Rate(1, burst=2)]


class Noting(Worker):
    async def handle_job(self, job):
        job()


async def note(job):
    job()


class Server(GenPool):
    async def handle_call(self, request, state):
        request()
        return None, state


class Starts:
    """Each start, and when it was."""

    def __init__(self):
        self.begun = []

    def __call__(self):
        self.begun.append(trio.current_time())


async def call_and_leave(call, *args):
    with trio.CancelScope() as scope:
        scope.cancel()
        await call(*args)


def called(component, call=None):
    """A component, what sends a job that is cancelled at once, and what sends one that stays."""

    async def gone(job):
        await call_and_leave(component.call, *(call or ()), job)

    async def stays(job):
        await component.call(*(call or ()), job)

    return component, gone, stays


def submitted(component):
    async def gone(job):
        component.submit_nowait(note, job).cancel()

    async def stays(job):
        component.submit_nowait(note, job)

    return component, gone, stays


def everywhere(rate):
    yield submitted(Tasker(rate=rate))
    yield submitted(Tasker(rate=rate, limit_per_key=2))
    yield submitted(JobPool(rate=rate))
    yield called(Tasker(rate=rate), [note])
    if isinstance(rate, Rate):
        yield called(Server(rate=rate))
        for mode in ("round_robin", "available", "least_loaded"):
            yield called(Pool(Noting, pool_size=3, mode=mode, rate=rate))
            yield called(Pool(Noting, pool_size=1, mode=mode, rate=rate, queue=Queue(max=0)))
            yield called(Pool(Noting, pool_size=2, mode=mode, rate=rate, job_timeout=5))


@pytest.mark.parametrize("rate", RATES)
async def test_what_was_withdrawn_before_it_began_leaves_its_slot_to_the_next(rate, autojump_clock):
    for component, gone, stays in everywhere(rate):
        starts, never = Starts(), Starts()
        async with component:
            await trio.sleep(10)
            now = trio.current_time()
            for _ in range(5):
                await gone(never)
            await stays(starts)
            await component.wait_idle()
        assert never.begun == []
        assert starts.begun == [now], component


@pytest.mark.parametrize("rate", [Rate(1), (Rate(1), Rate(10, burst=9))])
async def test_one_that_waits_for_its_slot_gets_that_of_one_withdrawn(rate, autojump_clock):
    starts, never = Starts(), Starts()
    async with Tasker(rate=rate) as tasker:
        await trio.sleep(10)
        first = tasker.submit_nowait(note, never)
        for _ in range(3):
            tasker.submit_nowait(note, starts)
        first.cancel()
    assert never.begun == []
    assert starts.begun == [10, 11, 12]


async def test_a_withdrawn_task_of_an_async_pool_uses_no_slot(autojump_clock):
    starts = Starts()
    async with AsyncPool(note, rate=Rate(1)) as pool:
        for _ in range(3):
            with trio.CancelScope() as scope:
                scope.cancel()
                await pool.add_task(starts)
        await pool.add_task(starts)
        await pool.add_task(starts)
    assert starts.begun == [0, 1]


async def test_a_map_that_is_left_uses_no_slot_of_what_did_not_begin(autojump_clock):
    starts = Starts()
    async with Tasker(limit=3, rate=Rate(1)) as tasker:
        async with tasker.map(note, [starts] * 3) as results:
            await results.receive()
        assert starts.begun == [0]
        await tasker.call(note, starts)
    assert starts.begun == [0, 1]


async def test_what_a_child_did_not_take_uses_no_slot(autojump_clock):
    begun = []

    async def takes_one(inbox):
        async for request in inbox:
            begun.append((trio.current_time(), request.message))
            request.reply(None)
            return

    async with FactoryPool(rate=Rate(1)) as factory:
        await factory.start_group("group", takes_one, pool_size=3, mode="available")
        for number in range(3):
            await factory.dispatch("group", number)
        await trio.sleep(20)
    assert begun == [(0, 0), (1, 1), (2, 2)]


async def test_a_retry_that_is_cut_while_it_waits_for_its_slot_uses_none(autojump_clock):
    tries = []

    async def fails(number):
        tries.append((trio.current_time(), number))
        if number == 0:
            raise ValueError

    async with Tasker(rate=Rate(1), retry=Retry(attempts=5)) as tasker:
        job = tasker.submit_nowait(fails, 0)
        await trio.sleep(0.5)
        job.cancel()
        tasker.submit_nowait(fails, 1)
    assert tries == [(0, 0), (1, 1)]


async def test_never_more_start_than_a_rate_allows_whatever_is_withdrawn(autojump_clock):
    starts = Starts()
    async with Tasker(limit=10, rate=Rate(10, burst=3), queue=Queue(max=math.inf)) as tasker:
        jobs = []
        for step in range(200):
            jobs.append(tasker.submit_nowait(note, starts))
            if step % 3:
                jobs[step // 2].cancel()
            if not step % 7:
                await trio.sleep(0.05)
    for first, begin in enumerate(starts.begun):
        for last, end in enumerate(starts.begun[first:], first):
            assert last - first + 1 <= 3 + (end - begin + 0.0100001) * 10 + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 10])
async def test_a_rate_of_two_thousand_a_second_is_reached(workers):
    """Real time, because it is the granularity of real sleeps that would cap it."""
    starts = Starts()
    async with Pool(Noting, pool_size=workers, mode="available", rate=Rate(2000)) as pool:
        await pool.cast_many([starts] * 2000)
    seconds = starts.begun[-1] - starts.begun[0]
    assert 0.98 <= seconds <= 2.2
