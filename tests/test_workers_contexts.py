"""Workers live in the context of who opened their component, whoever calls them in."""

from contextvars import ContextVar, copy_context

import pytest
import trio

from poolder_trio import Batcher, FactoryPool, GenPool, Pool, Restart, Scheduler, Tasker, Worker

where = ContextVar("where", default="nowhere")


async def elsewhere(place, fn, *args, **kwargs):
    """Await a function in a context of its own."""
    result = None

    async def run():
        nonlocal result
        where.set(place)
        result = await fn(*args, **kwargs)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
    return result


class Telling(Worker):
    hibernate_after = 5.0

    def __init__(self):
        self.seen = [("made", where.get())]

    async def handle_init(self):
        self.seen.append(("init", where.get()))

    async def handle_job(self, job):
        if job == "crash":
            raise ValueError
        return where.get()

    async def handle_hibernate(self):
        self.seen.append(("hibernate", where.get()))


async def test_workers_that_others_start_see_what_the_opener_saw(autojump_clock):
    where.set("opener")
    async with Pool(Telling, pool_size=1, dynamic=True) as pool:
        ref = await elsewhere("starter", pool.start_child)
        assert await elsewhere("caller", ref.call, 1) == "opener"
        await elsewhere("resizer", pool.resize, 4)
        for ref in pool:
            assert await elsewhere("caller", ref.call, 1) == "opener"
            assert ref.seat.worker.seen == [("made", "opener"), ("init", "opener")]


async def test_a_worker_that_replaces_another_sees_it_too(autojump_clock):
    where.set("opener")
    rule = Restart(max_restarts=3)
    async with Pool(Telling, pool_size=1, dynamic=True, restart=rule) as pool:
        ref = await elsewhere("starter", pool.start_child)
        await elsewhere("caster", ref.cast, "crash")
        await pool.wait_idle()
        assert await elsewhere("caller", ref.call, 1) == "opener"


async def test_children_of_groups_see_what_the_opener_of_the_factory_saw(autojump_clock):
    where.set("opener")
    seen = []

    async def child(inbox):
        seen.append(where.get())
        async for request in inbox:
            request.reply(where.get())

    async with FactoryPool() as factory:
        one = await elsewhere("starter", factory.start_child, "a", Telling)
        two = await elsewhere("other", factory.start_child, "a", Telling)
        three = await elsewhere("third", factory.start_child, "b", child)
        await elsewhere("group", factory.start_group, "c", Telling, pool_size=2)
        for ref in (one, two, three, *factory.children("c")):
            assert await elsewhere("caller", factory.call, ref, 1) == "opener"
    assert seen == ["opener"]


@pytest.mark.parametrize("seconds", [0.001, 5.0])
async def test_batches_run_in_the_context_of_who_opened_the_batcher(seconds, autojump_clock):
    where.set("opener")
    seen = []

    class Telling(Batcher):
        async def handle_batch(self, batch):
            seen.append(("batch", where.get()))
            if len(seen) == 1:
                raise ValueError
            return [where.get()] * len(batch)

        async def handle_error(self, batch, attempt, error):
            seen.append(("error", where.get()))

        async def handle_hibernate(self):
            seen.append(("hibernate", where.get()))

    rule = Restart(mode="temporary")
    async with Telling(
        limit=2, timeout=seconds, concurrency=2, restart=rule, hibernate_after=5
    ) as batcher:
        await elsewhere("one", batcher.push, 1)
        await elsewhere("two", batcher.push, 2)
        await trio.sleep(10)
        await elsewhere("three", batcher.push, 3)  # a timer sends it off
        await trio.sleep(20)
        assert await elsewhere("four", batcher.call, 4) == "opener"
        batcher_pushes = copy_context()
        batcher_pushes.run(where.set, "five")
        batcher_pushes.run(batcher.push_nowait, 5)
        await elsewhere("six", batcher.flush)
    assert {kind for kind, _ in seen} == {"batch", "error", "hibernate"}
    assert {place for _, place in seen} == {"opener"}


async def test_a_server_and_a_scheduler_tell_the_same(autojump_clock):
    where.set("opener")
    seen = []

    class Server(GenPool):
        async def handle_call(self, request, state):
            return where.get(), state

    class Upkeep(Scheduler):
        jobs = {"tick": 5.0}

        async def tick(self):
            seen.append(where.get())

        async def handle_hibernate(self):
            seen.append(where.get())

    async with Server(pool_size=2) as server, Upkeep(hibernate_after=1):
        assert await elsewhere("caller", server.call, None) == "opener"
        await trio.sleep(11)
    assert set(seen) == {"opener"}


async def test_functions_see_a_copy_of_their_submitters_context(autojump_clock):
    where.set("opener")

    async def tell():
        return where.get()

    async with Tasker() as tasker:
        for place in ("one", "two", "one"):
            assert await elsewhere(place, tasker.call, tell) == place
