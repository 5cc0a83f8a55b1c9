"""What a handler starts elsewhere, and what outlives it, is not the handler."""

import pytest
import trio

from poolder_trio import (
    AsyncPool,
    Batcher,
    Closed,
    FactoryPool,
    GenPool,
    JobPool,
    Pool,
    Scheduler,
    Tasker,
    Worker,
)


class Doing(Worker):
    async def handle_init(self):
        self.nursery = await self.stack.enter_async_context(trio.open_nursery())

    async def handle_job(self, job):
        await job()


async def do(job):
    await job()


class Server(GenPool):
    async def handle_call(self, request, state):
        await request()
        return None, state

    async def handle_cast(self, request, state):
        await request()
        return state


class Component:
    """Something that runs handlers: how one is sent, and how one is asked and waited for."""

    def __init__(self, opened, send, ask):
        self.opened, self.send, self.ask = opened, send, ask


def pool(mode):
    it = Pool(Doing, pool_size=1, mode=mode)
    return Component(it, it.cast_nowait, it.call)


def gen_pool():
    it = Server(pool_size=1)
    return Component(it, it.cast_nowait, it.call)


def tasker():
    it = Tasker(limit=1)
    return Component(it, lambda job: it.execute_nowait(do, job), lambda job: it.call(do, job))


def job_pool():
    it = JobPool(pool_size=1)
    return Component(it, lambda job: it.perform_nowait(do, job), lambda job: it.call(do, job))


def async_pool():
    it = AsyncPool(do, max_workers=1)

    async def ask(job):
        await it.add_task(job)
        await it.results.receive()

    return Component(it, it.add_task_nowait, ask)


def batcher():
    async def handle(batch):
        for job in batch:
            await job()
        return [None] * len(batch)

    it = Batcher(handle, limit=1)
    return Component(it, it.push_nowait, it.call)


def scheduler():
    it = Scheduler()

    def send(job):
        it.schedule("job", 1000.0, job)
        it.fire("job")

    async def ask(job):
        send(job)
        await it.wait_idle()

    return Component(it, send, ask)


def factory_pool():
    it = FactoryPool()

    async def ask(job):
        (ref,) = it.children() or [await it.start_child(None, Doing)]
        await it.call(ref, job)

    def send(job):
        (ref,) = it.children()
        ref.cast_nowait(job)

    return Component(it, send, ask)


def group_of_functions():
    it = FactoryPool()

    async def child(inbox):
        async for request in inbox:
            await request.message()
            if request.called:
                request.reply(None)

    async def ask(job):
        (ref,) = it.children() or [await it.start_child(None, child)]
        await it.call(ref, job)

    def send(job):
        (ref,) = it.children()
        ref.cast_nowait(job)

    return Component(it, send, ask)


EVERYWHERE = {
    "pool": lambda: pool("round_robin"),
    "available": lambda: pool("available"),
    "gen_pool": gen_pool,
    "tasker": tasker,
    "job_pool": job_pool,
    "async_pool": async_pool,
    "batcher": batcher,
    "scheduler": scheduler,
    "factory_pool": factory_pool,
    "group_of_functions": group_of_functions,
}
everywhere = pytest.mark.parametrize("kind", EVERYWHERE)


async def nothing():
    pass


@everywhere
async def test_a_task_that_outlives_its_handler_may_wait_for_the_component(kind, autojump_clock):
    component = EVERYWHERE[kind]()
    done = []

    async def later():
        await trio.sleep(5)
        with trio.fail_after(5):
            await component.ask(nothing)
            await component.opened.wait_idle()
        done.append(trio.current_time())

    async with trio.open_nursery() as outer, component.opened:

        async def starts():
            outer.start_soon(later)

        await component.ask(starts)
        await trio.sleep(20)
    assert done == [5]


@everywhere
async def test_such_a_task_may_do_so_while_another_handler_runs(kind, autojump_clock):
    component = EVERYWHERE[kind]()
    done = []

    async def slow():
        await trio.sleep(10)

    async def later():
        await trio.sleep(5)
        with trio.fail_after(20):
            await component.opened.wait_idle()
            await component.ask(nothing)
        done.append(trio.current_time())

    async with trio.open_nursery() as outer, component.opened:

        async def starts():
            outer.start_soon(later)

        await component.ask(starts)
        component.send(slow)
        await trio.sleep(30)
    assert done == [10]


@everywhere
async def test_it_marks_no_worker_as_waiting_so_that_calls_of_handlers_are_served(
    kind, autojump_clock
):
    """It waits for the component, and a handler of another asks that meanwhile."""
    component = EVERYWHERE[kind]()
    asked = []

    async def slow():
        await trio.sleep(2)

    async def later():
        await trio.sleep(1)
        await component.ask(slow)

    async with trio.open_nursery() as outer, component.opened, Tasker() as other:

        async def starts():
            outer.start_soon(later)

        async def asks():
            await trio.sleep(0.5)
            await component.ask(nothing)
            asked.append(trio.current_time())

        await component.ask(starts)
        await trio.sleep(1)
        with trio.fail_after(20):
            await other.call(asks)
        await trio.sleep(10)
    assert len(asked) == 1


@everywhere
async def test_it_is_told_that_the_component_is_closing(kind, autojump_clock):
    component = EVERYWHERE[kind]()
    told = []

    async def slow():
        await trio.sleep(10)

    async def later():
        await trio.sleep(5)
        try:
            component.send(nothing)
        except Closed as error:
            told.append(error)

    async with trio.open_nursery() as outer, component.opened:

        async def starts():
            outer.start_soon(later)

        await component.ask(starts)
        component.send(slow)
        await trio.sleep(1)
        component.opened.close()
        await trio.sleep(6)
    assert len(told) == 1
    assert component.opened.report.abandoned == ()


@everywhere
async def test_a_task_of_the_handlers_own_nursery_is_refused_still(kind, autojump_clock):
    component = EVERYWHERE[kind]()
    refused = []

    async def waits():
        await trio.sleep(1)
        try:
            await component.opened.wait_idle()
        except RuntimeError as error:
            refused.append(error)

    async def handler():
        async with trio.open_nursery() as nursery:

            async def deeper():
                async with trio.open_nursery() as inner:
                    inner.start_soon(waits)

            nursery.start_soon(deeper)
            nursery.start_soon(waits)

    async with component.opened:
        with trio.fail_after(10):
            await component.ask(handler)
    assert len(refused) == 2


async def test_a_task_in_the_workers_own_nursery_is_a_stranger(autojump_clock):
    told = []

    class Background(Doing):
        async def handle_job(self, job):
            if job == "start":
                self.nursery.start_soon(self.watch)

        async def watch(self):
            await trio.sleep(5)
            with trio.fail_after(5):
                await self.pool.wait_idle()
                told.append(await self.pool.call("nothing"))
            self.pool.close()
            try:
                self.pool.cast_nowait("late")
            except Closed as error:
                told.append(type(error))

    async with Pool(Background, pool_size=1) as pool:
        await pool.cast("start")
        await trio.sleep(20)
    assert told == [None, Closed]
    assert pool.report.abandoned == ()


async def test_what_a_called_function_started_elsewhere_waits_for_neither(autojump_clock):
    """A handler calls a tasker; a function there leaves a task behind."""
    done = []

    class Calling(Worker):
        async def handle_job(self, job):
            await tasker.call(starts)

    async def later():
        await trio.sleep(5)
        await pool.call(None) if not done else None
        done.append(trio.current_time())

    async def starts():
        if not done:
            done.append(0)
            outer.start_soon(later)

    async with (
        trio.open_nursery() as outer,
        Tasker(limit=1) as tasker,
        Pool(Calling, pool_size=1) as pool,
    ):
        await pool.call(None)
        await trio.sleep(6)
    assert done == [0, 5]


async def test_what_handle_down_started_elsewhere_may_wait_for_the_factory(autojump_clock):
    done = []

    class Factory(FactoryPool):
        async def handle_down(self, ref, reason):
            outer.start_soon(later)

    async def later():
        await trio.sleep(1)
        await factory.wait_idle()
        done.append(True)

    async with trio.open_nursery() as outer, Factory() as factory:
        ref = await factory.start_child(None, Doing)
        await factory.terminate(ref)
        await trio.sleep(5)
    assert done == [True]
