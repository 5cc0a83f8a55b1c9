"""What is used in a way that it is not meant for says in which it is."""

import datetime as dt
import inspect

import pytest
import trio

from poolder_trio import (
    Application,
    AsyncPool,
    Batcher,
    FactoryPool,
    GenPool,
    JobPool,
    Pool,
    Retry,
    Scheduler,
    Tasker,
    ThreadExecutor,
    Update,
    Worker,
    every,
    named,
    reads_state,
)
from poolder_trio.testing import simulate

NOON = dt.time(12)


async def double(x):
    return 2 * x


async def test_a_map_that_is_not_entered_says_how(autojump_clock):
    async with Tasker() as tasker:
        with pytest.raises(TypeError, match="async with pool"):
            async for _ in tasker.map(double, [1]):
                pass
        with pytest.raises(TypeError, match="async with pool"):
            await tasker.map(double, [1])
        with pytest.raises(TypeError, match="async with pool"):
            list(tasker.map(double, [1]))
        with pytest.raises(TypeError, match="async with pool"), tasker.map(double, [1]):
            pass


class Answering(GenPool):
    async def handle_call(self, request, state):
        return request, state


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Tasker, "limit"), (Scheduler, "jobs"), (FactoryPool, "mode"), (Answering, "pool_size")],
)
def test_an_option_by_position_says_its_name(kind, name):
    with pytest.raises(TypeError, match=f"options by keyword, got 10: write {name}=10"):
        kind(10)


@pytest.mark.parametrize("make", [Tasker, Scheduler, lambda: Batcher(double)])
def test_a_component_is_entered_with_async_with(make):
    with pytest.raises(TypeError, match="entered with `async with`"), make():
        pass


@pytest.mark.parametrize(
    ("kind", "first", "option"),
    [
        (Pool, lambda: Resting, "pool_size"),
        (Batcher, lambda: double, "limit"),
        (AsyncPool, lambda: double, "max_workers"),
        (JobPool, lambda: "email", "pool_size"),
    ],
    ids=["Pool", "Batcher", "AsyncPool", "JobPool"],
)
def test_so_does_a_second_one(kind, first, option):
    with pytest.raises(TypeError, match=f"options by keyword, got 10: write {option}=10"):
        kind(first(), 10)


@pytest.mark.parametrize("name", ["call", "submit", "execute"])
async def test_keyword_arguments_of_a_function_say_what_to_write(name, autojump_clock):
    async with Tasker() as tasker:
        with pytest.raises(TypeError, match=r"pass functools.partial\(double, x=...\)"):
            await getattr(tasker, name)(double, x=1)
        with pytest.raises(TypeError, match=r"pass fn, \*args"):
            await getattr(tasker, name)(double(1))


#: All ways to send a function, or to set it apart; those of `JobPool` by its name, too.
WAYS = {
    "execute": lambda pool, fn, **kw: pool.execute(fn, 1, **kw),
    "execute_nowait": lambda pool, fn, **kw: pool.execute_nowait(fn, 1, **kw),
    "submit": lambda pool, fn, **kw: pool.submit(fn, 1, **kw),
    "call": lambda pool, fn, **kw: pool.call(fn, 1, **kw),
    "map": lambda pool, fn, **kw: pool.map(fn, [1], **kw),
    "perform": lambda pool, fn, **kw: pool.perform(fn, 1, **kw),
    "perform_nowait": lambda pool, fn, **kw: pool.perform_nowait(fn, 1, **kw),
    "async_perform": lambda pool, fn, **kw: pool.async_perform(fn, 1, **kw),
    "perform_many": lambda pool, fn, **kw: pool.perform_many(fn, [1], **kw),
    "async_perform_many": lambda pool, fn, **kw: pool.async_perform_many(fn, [1], **kw),
    "perform_after": lambda pool, fn, **kw: pool.perform_after(1, fn, 1, **kw),
    "perform_at": lambda pool, fn, **kw: pool.perform_at(NOON, fn, 1, **kw),
    "perform_many_after": lambda pool, fn, **kw: pool.perform_many_after(1, fn, [1], **kw),
    "perform_many_at": lambda pool, fn, **kw: pool.perform_many_at(NOON, fn, [1], **kw),
}
NAMED = {
    "named.perform": lambda fn, **kw: named.perform("p", fn, 1, **kw),
    "named.async_perform": lambda fn, **kw: named.async_perform("p", fn, 1, **kw),
    "named.perform_many": lambda fn, **kw: named.perform_many("p", fn, [1], **kw),
    "named.async_perform_many": lambda fn, **kw: named.async_perform_many("p", fn, [1], **kw),
    "named.perform_after": lambda fn, **kw: named.perform_after("p", 1, fn, 1, **kw),
    "named.perform_at": lambda fn, **kw: named.perform_at("p", NOON, fn, 1, **kw),
    "named.perform_many_after": lambda fn, **kw: named.perform_many_after("p", 1, fn, [1], **kw),
    "named.perform_many_at": lambda fn, **kw: named.perform_many_at("p", NOON, fn, [1], **kw),
}
ALL_WAYS = {
    **WAYS,
    # Without room for keyword arguments: to look at these costs the quickest ways of all.
    "submit_nowait": lambda pool, fn: pool.submit_nowait(fn, 1),
    "async_perform_nowait": lambda pool, fn: pool.async_perform_nowait(fn, 1),
    "job": lambda pool, fn: pool.job(fn),
    **{name: lambda _, fn, way=way, **kw: way(fn, **kw) for name, way in NAMED.items()},
}


async def refused(sent):
    if inspect.isawaitable(sent):
        await sent


@pytest.mark.parametrize(
    "name", sorted(ALL_WAYS.keys() - {"submit_nowait", "async_perform_nowait", "job"})
)
async def test_keyword_arguments_say_it_on_every_way(name, autojump_clock):
    async with JobPool("p") as pool:
        with pytest.raises(TypeError, match=r"pass functools.partial\(double, x=..., y=...\)"):
            await refused(ALL_WAYS[name](pool, double, x=1, y=2))
        assert pool.statistics().submitted == 0


@pytest.mark.parametrize("executor", [None, ThreadExecutor()], ids=["tasks", "threads"])
@pytest.mark.parametrize("name", ALL_WAYS)
async def test_a_coroutine_in_place_of_a_function_says_it_on_every_way(
    name, executor, autojump_clock
):
    coroutine = double(1)
    async with JobPool("p", executor=executor) as pool:
        with pytest.raises(TypeError, match=r"pass (fn, \*args|the function itself)"):
            await refused(ALL_WAYS[name](pool, coroutine))
        assert pool.statistics().submitted == 0
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


TAKES = {
    "callback": AsyncPool,
    "callback in threads": lambda it: AsyncPool(it, executor=ThreadExecutor()),
    "callback, declared": lambda it: type("Mine", (AsyncPool,), {"callback": it}),
    "handle_batch": Batcher,
    "handle_batch, declared": lambda it: type("Mine", (Batcher,), {"handle_batch": it}),
    "key": lambda it: Batcher(double, key=it),
    "weight": lambda it: Batcher(double, weight=it),
    "worker": Pool,
    "key of a pool": lambda it: Pool(Resting, key=it),
    "clock of a pool": lambda it: Pool(Resting, clock=it),
    "clock of a JobPool": lambda it: JobPool("p", clock=it),
    "clock": lambda it: Scheduler(clock=it),
    "callbacks": lambda it: type("Mine", (Worker,), {"callbacks": {"then": it}}),
    "handle_job": lambda it: type("Mine", (Worker,), {"handle_job": it}),
    "handle_call": lambda it: type("Mine", (GenPool,), {"handle_call": it}),
    "handle_error": lambda it: type("Mine", (Tasker,), {"handle_error": it}),
    "a job's method": lambda it: type("Mine", (Scheduler,), {"jobs": {"tick": 1}, "tick": it}),
    "backoff": lambda it: Retry(backoff=it),
    "on": lambda it: Retry(on=it),
    "Update": Update,
    "every": every(5),
    "reads_state": reads_state,
    "simulate": lambda it: simulate(it, seed=1),
    "Application": Application,
}


@pytest.mark.parametrize("where", TAKES)
def test_so_it_does_wherever_a_function_is_declared(where):
    coroutine = double(1)
    with pytest.raises((TypeError, ValueError), match="coroutine object double"):
        TAKES[where](coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


async def test_a_coroutine_that_somebody_else_awaits_is_left_alone(autojump_clock):
    async def wait():
        await trio.sleep(1)
        return "done"

    coroutine = wait()
    done = []

    async def own():
        done.append(await coroutine)

    async with Tasker() as tasker, trio.open_nursery() as nursery:
        nursery.start_soon(own)
        await trio.sleep(0.5)
        with pytest.raises(TypeError, match="pass fn"):
            await tasker.call(coroutine)
    assert done == ["done"]


async def test_a_schedule_and_a_child_say_it_too(autojump_clock):
    async with Scheduler() as scheduler, FactoryPool() as factory:
        with pytest.raises(TypeError, match=r"pass functools.partial\(double, x=...\)"):
            scheduler.schedule("tick", 5, double, x=1)
        for send in (
            lambda it: scheduler.schedule("tick", 5, it),
            lambda it: factory.start_child("g", it),
            lambda it: factory.start_group("g", it),
        ):
            coroutine = double(1)
            with pytest.raises(TypeError, match=r"pass fn, \*args"):
                await refused(send(coroutine))
            assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


class Resting(Worker):
    async def handle_job(self, job):
        """Do nothing."""


class Connected(Worker):
    def __init__(self, host):
        self.host = host

    async def handle_job(self, job):
        """Do nothing."""


async def test_a_child_takes_its_arguments_in_handle_init(autojump_clock):
    async with FactoryPool() as factory:
        for start in (
            lambda: factory.start_child("g", Connected, host="h"),
            lambda: factory.start_group("g", Connected, args={"host": "h"}),
        ):
            with pytest.raises(TypeError, match=r"Connected.__init__ must take no .*handle_init"):
                await start()
        assert factory.count_all() == 0


def test_a_worker_takes_its_arguments_in_handle_init():
    with pytest.raises(TypeError, match=r"Connected.__init__ must take no .*handle_init.*args="):
        Pool(Connected)
