"""What costs n times as much for n: bytecodes are counted, so that no busy machine can disturb."""

import math
import sys

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from poolder_trio import (
    AsyncPool,
    Backoff,
    Batcher,
    Exit,
    FactoryPool,
    GenPool,
    JobPool,
    Pool,
    Queue,
    Restart,
    Retry,
    Scheduler,
    Tasker,
    Worker,
)


def cost(scenario, n):
    """How many bytecodes of Python it takes, those of Trio included."""
    count = 0

    def step(frame, event, _):
        nonlocal count
        if event == "opcode":
            count += 1
        return step

    def enter(frame, event, _):
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        trio.run(scenario, n, clock=MockClock(autojump_threshold=0))
    finally:
        sys.settrace(before)
    return count


class Idle(Worker):
    async def handle_job(self, job):
        await trio.sleep(1)


class Server(GenPool):
    async def handle_call(self, request, state):
        return request, state


async def leaving_a_pool(n):
    async with Pool(Idle, pool_size=n):
        pass


async def leaving_an_available_pool_that_works(n):
    async with Pool(Idle, pool_size=n, mode="available", queue=Queue(max=n)) as pool:
        for job in range(n):
            pool.cast_nowait(job)


async def closing_a_paused_pool(n):
    async with Pool(Idle, pool_size=n) as pool:
        pool.pause()
        for job in range(n):
            pool.cast_nowait(job)
        pool.close()
        await pool.wait_closed()


async def cancelling_a_pool(n):
    async with Pool(Idle, pool_size=n) as pool:
        for job in range(n):
            pool.cast_nowait(job)
        await wait_all_tasks_blocked()
        pool.cancel()


async def leaving_a_server(n):
    async with Server(pool_size=n):
        pass


async def many_functions_at_once(n):
    async with Tasker(limit=n, queue=Queue(max=n)) as tasker:
        for _ in range(n):
            tasker.execute_nowait(trio.sleep, 1)


async def many_functions_one_after_the_other(n):
    async with Tasker(limit=n, hibernate_after=1) as tasker:
        for number in range(n):
            tasker.execute_nowait(trio.sleep, 1 + number / n)
        await trio.sleep(100)


async def an_async_pool_of_many(n):
    async with AsyncPool(trio.sleep, max_workers=n, max_results=math.inf) as pool:
        for _ in range(n):
            await pool.add_task(1)


async def resizing_up(n):
    async with Pool(Idle, pool_size=1, dynamic=True) as pool:
        await pool.resize(n)


async def starting_children_one_by_one(n):
    async with Pool(Idle, pool_size=1, dynamic=True) as pool:
        for _ in range(n):
            await pool.start_child()


async def resizing_down_with_jobs(n):
    async with Pool(Idle, pool_size=n, dynamic=True) as pool:
        for job in range(3 * n):
            pool.cast_nowait(job)
        await pool.resize(1)
        pool.cancel()


async def stopping_children_one_by_one(n):
    async with Pool(Idle, pool_size=n, dynamic=True) as pool:
        for _ in range(n - 1):
            await pool.stop_child()


async def workers_that_exit(n):
    class Leaving(Worker):
        async def handle_job(self, job):
            await trio.sleep(job)
            return Exit()

    async with Pool(Leaving, pool_size=n) as pool:
        for job in range(n):
            pool.cast_nowait(job)


async def workers_that_crash(n):
    class Crashing(Worker):
        async def handle_job(self, job):
            raise OSError(job)

    async with Pool(Crashing, pool_size=n, restart=Restart(max_restarts=10**9)) as pool:
        for job in range(n):
            pool.cast_nowait(job)


async def terminating_children_of_one_group(n):
    async with FactoryPool() as factory:
        refs = await factory.start_group("them", Idle, pool_size=n)
        async with trio.open_nursery() as nursery:
            for ref in refs:
                nursery.start_soon(factory.terminate, ref)


async def terminating_a_group(n):
    async with FactoryPool() as factory:
        await factory.start_group("them", Idle, pool_size=n)
        await factory.terminate_group("them")


async def terminating_many_groups(n):
    async with FactoryPool() as factory:
        for group in range(n):
            await factory.start_child(group, Idle)
        async with trio.open_nursery() as nursery:
            for group in range(n):
                nursery.start_soon(factory.terminate_group, group)


async def cancel_callers(batcher, n):
    scopes = []

    async def call(item):
        with trio.CancelScope() as scope:
            scopes.append(scope)
            await batcher.call(item)

    async with trio.open_nursery() as nursery:
        for item in range(n):
            nursery.start_soon(call, item)
        await wait_all_tasks_blocked()
        for scope in reversed(scopes):  # the newest is found last, where one searches
            scope.cancel()


async def handle_batch(batch):
    return list(batch)


async def callers_that_leave_a_window(n):
    async with Batcher(handle_batch, limit=2 * n, queue=Queue(max=n)) as batcher:
        await cancel_callers(batcher, n)


async def callers_that_leave_a_window_that_weighs(n):
    async with Batcher(
        handle_batch, limit=2 * n, queue=Queue(max=n), weight=lambda _: 0.1, max_weight=1e9
    ) as batcher:
        await cancel_callers(batcher, n)


async def callers_that_leave_windows_of_keys(n):
    async with Batcher(
        handle_batch, limit=2 * n, queue=Queue(max=n), key=lambda item: item % 20
    ) as batcher:
        await cancel_callers(batcher, n)


class Failing(Batcher):
    retry = Retry(attempts=2)

    async def handle_batch(self, batch):
        raise OSError

    async def handle_error(self, batch, attempt, error):
        return Backoff(1000)


async def callers_that_leave_a_batch_that_backs_off(n):
    async with Failing(limit=n, queue=Queue(max=n)) as batcher:
        await cancel_callers(batcher, n)


async def callers_that_leave_batches_that_back_off(n):
    async with Failing(limit=1, queue=Queue(max=n)) as batcher:
        await cancel_callers(batcher, n)


async def dropping_the_oldest_of_a_window(n):
    queue = Queue(max=n, overflow="drop_oldest")
    async with Batcher(handle_batch, limit=2 * n, queue=queue, concurrency=1) as batcher:
        for item in range(3 * n):
            batcher.push_nowait(item)


async def dropping_timers(n):
    async with JobPool() as pool:
        for number in range(n):
            await pool.perform_after(1 + number, trio.sleep, 0)


async def unscheduling_all(n):
    async with Scheduler(jobs={}) as scheduler:
        for number in range(n):
            scheduler.schedule(str(number), 100.0, trio.sleep_forever)
        scheduler.unschedule_all()


async def calls_taken_back_from_a_paused_pool(n):
    async with Pool(Idle, pool_size=n) as pool:
        pool.pause()
        async with trio.open_nursery() as nursery:
            for number in range(n):
                nursery.start_soon(pool.call, number)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


SCENARIOS = [
    leaving_a_pool,
    leaving_an_available_pool_that_works,
    closing_a_paused_pool,
    cancelling_a_pool,
    leaving_a_server,
    many_functions_at_once,
    many_functions_one_after_the_other,
    an_async_pool_of_many,
    resizing_up,
    starting_children_one_by_one,
    resizing_down_with_jobs,
    stopping_children_one_by_one,
    workers_that_exit,
    workers_that_crash,
    terminating_children_of_one_group,
    terminating_a_group,
    terminating_many_groups,
    callers_that_leave_a_window,
    callers_that_leave_a_window_that_weighs,
    callers_that_leave_windows_of_keys,
    callers_that_leave_a_batch_that_backs_off,
    callers_that_leave_batches_that_back_off,
    dropping_the_oldest_of_a_window,
    dropping_timers,
    unscheduling_all,
    calls_taken_back_from_a_paused_pool,
]


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda fn: fn.__name__)
def test_each_of_many_costs_no_more_than_each_of_few(scenario):
    start, few, many = 5, 50, 300
    base = cost(scenario, start)
    each_of_few = (cost(scenario, few) - base) / (few - start)
    each_of_many = (cost(scenario, many) - base) / (many - start)
    assert each_of_many < 1.2 * each_of_few
