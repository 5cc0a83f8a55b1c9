"""Code in a handler that would wait for that handler is refused, and does not hang."""

import pytest
import trio

from poolder_trio import Pool, Queue, Worker


class Asking(Worker):
    """Does to its pool what a job says, and replies what came of it."""

    async def handle_job(self, job):
        try:
            return await job(self)
        except RuntimeError as error:
            return error


async def ask(pool, job, seat=0):
    with trio.fail_after(5):
        return await pool[seat].call(job)


def is_refusal(reply):
    return isinstance(reply, RuntimeError) and "would wait for that very handler" in str(reply)


async def nothing(worker):
    return worker.index


async def test_a_call_to_its_own_worker_is_refused(autojump_clock):
    async def call_self(worker):
        return await worker.pool[worker.index].call(nothing)

    async def call_other(worker):
        return await worker.pool[1 - worker.index].call(nothing)

    async with Pool(Asking, pool_size=2) as pool:
        assert is_refusal(await ask(pool, call_self))
        assert await ask(pool, call_other) == 1
        stats = pool.statistics()
        assert stats.waiting == stats.running == 0
        assert not pool._crew.stuck


async def test_a_call_from_a_nursery_of_the_handler_is_refused_too(autojump_clock):
    async def call_self(worker):
        replies = []

        async def child():
            try:
                await worker.pool[worker.index].call(nothing)
            except RuntimeError as error:
                replies.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        return replies[0]

    async with Pool(Asking, pool_size=2) as pool:
        assert is_refusal(await ask(pool, call_self))


async def test_a_cast_to_its_own_full_inbox_is_refused_and_to_one_with_room_is_not(autojump_clock):
    async def cast_self(worker):
        await worker.pool[0].cast(nothing)
        return "sent"

    async def cast_many_self(worker):
        await worker.pool.cast_many([nothing, nothing])
        return "sent"

    async with Pool(Asking, pool_size=1, queue=Queue(max=1)) as pool:
        assert await ask(pool, cast_self) == "sent"
        async with trio.open_nursery() as nursery:
            replies = []

            async def one(job):
                async def twice(worker):
                    await cast_self(worker)
                    return await job(worker)

                replies.append(await ask(pool, twice))

            for job in (cast_self, cast_many_self):
                await pool.wait_idle()
                nursery.start_soon(one, job)
                await trio.sleep(1)
        assert all(map(is_refusal, replies))
        assert len(replies) == 2


async def test_in_available_mode_the_last_worker_that_could_answer_is_refused(autojump_clock):
    """One may wait for the other, but not both for each other."""
    replies = []

    async def nested(worker):
        await trio.sleep(1)
        return await worker.pool.call(nothing)

    class Nesting(Asking):
        async def handle_job(self, job):
            reply = await super().handle_job(job)
            replies.append(reply)
            return reply

    async with Pool(Nesting, pool_size=2, mode="available") as pool:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.call, nested)
                nursery.start_soon(pool.call, nested)
        assert sum(map(is_refusal, replies)) == 1
        with trio.fail_after(10):
            assert await pool.call(nested) in (0, 1)


async def test_one_worker_in_available_mode_is_refused_at_once(autojump_clock):
    async def call(worker):
        return await worker.pool.call(nothing)

    async with Pool(Asking, pool_size=1, mode="available") as pool:
        with trio.fail_after(5):
            assert is_refusal(await pool.call(call))


@pytest.mark.parametrize(
    "what",
    [
        lambda pool: pool.wait_idle(),
        lambda pool: pool.wait_closed(),
        lambda pool: pool.broadcast_call(nothing),
        lambda pool: pool.stop_child(),
        lambda pool: pool.resize(1),
    ],
    ids=["wait_idle", "wait_closed", "broadcast_call", "stop_child", "resize"],
)
async def test_other_waits_for_the_own_pool_are_refused(what, autojump_clock):
    async def wait(worker):
        return await what(worker.pool)

    async with Pool(Asking, pool_size=2, dynamic=True) as pool:
        assert is_refusal(await ask(pool, wait, seat=1))
        assert len(pool) == 2


async def test_a_handler_may_stop_another_worker(autojump_clock):
    async def shrink(worker):
        await worker.pool.stop_child()
        return len(worker.pool)

    async with Pool(Asking, pool_size=2, dynamic=True) as pool:
        assert await ask(pool, shrink, seat=0) == 1


async def test_a_pool_opened_in_a_handler_may_not_call_back_to_the_handler_that_waits_for_it(
    autojump_clock,
):
    async def open_inner(worker):
        async def call_outer(inner_worker):
            return await worker.pool[0].call(nothing)

        async with Pool(Asking, pool_size=1) as inner:
            return await inner.call(call_outer)

    async with Pool(Asking, pool_size=1) as pool:
        assert is_refusal(await ask(pool, open_inner))


async def test_a_pool_that_a_worker_keeps_may_call_back_between_jobs(autojump_clock):
    replies = []

    async def call_outer(inner_worker, outer=None):
        await trio.sleep(1)
        replies.append(await inner_worker.pool.outer[0].call(nothing))

    class Keeper(Asking):
        async def handle_init(self):
            inner = Pool(Asking, pool_size=1)
            inner.outer = self.pool
            self.inner = await self.stack.enter_async_context(inner)

    async def start(worker):
        await worker.inner.cast(call_outer)
        return "started"

    async with Pool(Keeper, pool_size=1) as pool:
        assert await ask(pool, start) == "started"
        await trio.sleep(5)
    assert replies == [0]
