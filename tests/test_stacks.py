"""What handle_init enters in a stack is left in order, whatever it is; handlers enter no scopes."""

from contextlib import asynccontextmanager, contextmanager

import pytest
import trio

from poolder_trio import (
    Batcher,
    FactoryPool,
    MemoryState,
    Pool,
    Scheduler,
    SQLiteState,
    Tasker,
    Worker,
)


class Idle(Worker):
    async def handle_job(self, job):
        return job


class Recorder:
    """A component whose handle_init enters something, and its journal."""

    def __init__(self, enter):
        self.enter = enter
        self.journal = []

    async def init(self, stack):
        stack.callback(self.journal.append, "left")
        self.entered = await self.enter(stack)
        self.journal.append("entered")


def in_worker(recorder):
    class Entering(Idle):
        async def handle_init(self):
            await recorder.init(self.stack)

    return Pool(Entering, pool_size=1)


def with_hook(base, *args, **options):
    def component(recorder):
        class Entering(base):
            async def handle_init(self):
                await recorder.init(self.stack)

        return Entering(*args, **options)

    return component


async def handle(batch):
    return [None] * len(batch)


EVERYWHERE = {
    "worker": in_worker,
    "batcher": with_hook(Batcher, handle),
    "pool": with_hook(Pool, Idle, pool_size=2),
    "factory_pool": with_hook(FactoryPool),
    "scheduler": with_hook(Scheduler),
}
everywhere = pytest.mark.parametrize("kind", EVERYWHERE)


async def nursery(stack):
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    nursery.start_soon(trio.sleep_forever)
    return nursery


async def component(stack):
    tasker = await stack.enter_async_context(Tasker())
    await tasker.execute(trio.sleep, 1)


async def scope(stack):
    return stack.enter_context(trio.move_on_after(1000))


async def several(stack):
    await scope(stack)
    await nursery(stack)
    await component(stack)
    await nursery(stack)


THINGS = [nursery, component, scope, several]


@everywhere
@pytest.mark.parametrize("thing", THINGS)
async def test_what_handle_init_enters_is_left_in_order(kind, thing, autojump_clock):
    recorder = Recorder(thing)
    with trio.fail_after(50):
        async with EVERYWHERE[kind](recorder):
            await trio.sleep(2)
            assert recorder.journal == ["entered"]
    assert recorder.journal == ["entered", "left"]
    await trio.sleep(1)


@everywhere
@pytest.mark.parametrize("thing", THINGS)
async def test_so_it_is_where_the_block_is_cut(kind, thing, autojump_clock):
    recorder = Recorder(thing)
    with trio.move_on_after(5) as cut:
        async with EVERYWHERE[kind](recorder):
            await trio.sleep_forever()
    assert cut.cancelled_caught
    assert recorder.journal == ["entered", "left"]


@everywhere
async def test_so_it_is_where_the_body_raises(kind, autojump_clock):
    recorder = Recorder(several)
    with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
        async with EVERYWHERE[kind](recorder):
            raise ValueError
    assert recorder.journal == ["entered", "left"]


@everywhere
async def test_so_it_is_where_handle_init_fails_after_that(kind, autojump_clock):
    async def fails(stack):
        await several(stack)
        raise ValueError

    recorder = Recorder(fails)
    with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
        async with EVERYWHERE[kind](recorder):
            raise AssertionError
    assert recorder.journal == ["left"]


@everywhere
async def test_what_fails_in_its_nursery_leaves_the_block(kind, autojump_clock):
    async def fails():
        await trio.sleep(1)
        raise ValueError

    async def failing(stack):
        (await nursery(stack)).start_soon(fails)

    recorder = Recorder(failing)
    with trio.fail_after(50), pytest.RaisesGroup(ValueError, flatten_subgroups=True):
        async with EVERYWHERE[kind](recorder):
            await trio.sleep_forever()
    assert recorder.journal == ["entered", "left"]


async def test_a_state_that_is_opened_there_is_closed(tmp_path):
    async def state(stack):
        return await stack.enter_async_context(SQLiteState(tmp_path / "state.db").open())

    for make in EVERYWHERE.values():
        recorder = Recorder(state)
        with trio.fail_after(20):
            async with make(recorder):
                assert await recorder.entered.load() == (None, 0)
        assert recorder.journal == ["entered", "left"]
    assert MemoryState() is not None


# -- in a handler


@asynccontextmanager
async def connection(journal):
    with trio.fail_after(5):
        await trio.sleep(1)
    journal.append("opened")
    yield "connection"
    journal.append("closed")


@asynccontextmanager
async def hidden_scope(journal):
    with trio.CancelScope():
        yield "scope"
    journal.append("scope left")


@contextmanager
def hidden(journal):
    with trio.CancelScope():
        yield
    journal.append("scope left")


def handling(stack_of, journal):
    async def handler(owner, job):
        return await job(stack_of(owner), journal)

    return handler


async def enters_connection(stack, journal):
    return await stack.enter_async_context(connection(journal))


async def enters_nursery(stack, journal):
    await stack.enter_async_context(trio.open_nursery())


async def enters_component(stack, journal):
    await stack.enter_async_context(Tasker())


async def enters_scope(stack, journal):
    stack.enter_context(trio.CancelScope())


async def enters_hidden_scope(stack, journal):
    await stack.enter_async_context(hidden_scope(journal))


async def enters_hidden(stack, journal):
    stack.enter_context(hidden(journal))


async def call_in_worker(job, journal):
    class Entering(Worker):
        async def handle_job(self, job):
            return await job(self.stack, journal)

    async with Pool(Entering, pool_size=1) as pool:
        await pool.call(job)
        assert await pool.call(enters_connection) == "connection"


async def call_in_group(job, journal):
    class Entering(Worker):
        async def handle_job(self, job):
            return await job(self.stack, journal)

    async with FactoryPool() as factory:
        ref = await factory.start_child(None, Entering)
        await factory.call(ref, job)


async def call_in_batcher(job, journal):
    class Entering(Batcher):
        async def handle_batch(self, batch):
            return [await job(self.stack, journal) for job in batch]

    async with Entering(limit=1) as batcher:
        await batcher.call(job)


async def run_in_scheduler(job, journal):
    class Entering(Scheduler):
        async def tick(self):
            await job(self.stack, journal)

        jobs = {"tick": 1.0}

    async with Entering():
        await trio.sleep(1.5)


CALLS = [call_in_worker, call_in_group, call_in_batcher, run_in_scheduler]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "job",
    [enters_nursery, enters_component, enters_scope, enters_hidden_scope, enters_hidden],
)
async def test_a_handler_that_enters_a_scope_there_is_told_what_to_do(call, job, autojump_clock):
    journal = []
    with (
        trio.fail_after(20),
        pytest.RaisesGroup(
            pytest.RaisesExc(RuntimeError, match="enter it there, or with `async with`"),
            flatten_subgroups=True,
            allow_unwrapped=False,
        ),
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, job, journal)
    await trio.sleep(1)


@pytest.mark.parametrize("call", CALLS)
async def test_a_handler_may_enter_a_connection_that_is_opened_late(call, autojump_clock):
    journal = []
    with trio.fail_after(20):
        await call(enters_connection, journal)
    assert set(journal) == {"opened", "closed"}
