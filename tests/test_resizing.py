"""Workers that are added together start at once; failures, cancellations and other wishes in it."""

import itertools
import sys

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poolder_trio import Closed, FactoryPool, Pool, Worker
from poolder_trio.testing import CancelAt

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


class Slow(Worker):
    """Takes a second to get ready; ``pool.failing`` says which seats fail instead, and when."""

    async def handle_init(self):
        self.pool.begun.append(self.index)
        try:
            await trio.sleep(self.pool.failing.get(self.index, 1))
        except trio.Cancelled:
            self.pool.begun.remove(self.index)
            raise
        if self.index in self.pool.failing:
            self.pool.begun.remove(self.index)
            raise OSError(self.index)

    async def handle_job(self, job):
        return self.index

    async def handle_stop(self):
        self.pool.begun.remove(self.index)


class Resized(Pool):
    worker = Slow
    pool_size = 1
    dynamic = True

    def __init__(self, **options):
        super().__init__(**options)
        self.begun, self.failing = [], {}


def shape(pool):
    assert sorted(pool.begun) == [ref.index for ref in pool]
    return len(pool)


async def test_workers_that_are_missing_start_at_once(autojump_clock):
    async with Resized() as pool:
        await pool.resize(20)
        assert trio.current_time() == 2
        assert shape(pool) == 20
        assert [ref.index for ref in pool] == list(range(20))
        assert {await pool.call(0) for _ in range(20)} == set(range(20))


async def test_children_of_a_group_start_at_once(autojump_clock):
    class Factory(FactoryPool):
        begun, failing = [], {}

    async with Factory() as factory:
        refs = await factory.start_group("them", Slow, pool_size=20)
        assert trio.current_time() == 1
        assert [ref.index for ref in refs] == list(range(20))
        await factory.configure_group("them", pool_size=40)
        assert trio.current_time() == 2
        assert factory.count("them") == 40


@pytest.mark.parametrize("when", [0.5, 1, 1.5])
async def test_if_one_fails_those_that_are_not_ready_are_given_up(when, autojump_clock):
    async with Resized() as pool:
        pool.failing[3] = when
        with pytest.raises(OSError, match="3"):
            await pool.resize(8)
        assert trio.current_time() == 1 + min(when, 2)
        assert shape(pool) in (range(1, 9) if when == 1 else [{0.5: 1, 1.5: 7}[when]])
        pool.failing.clear()
        await pool.resize(8)
        assert shape(pool) == 8
        assert await pool.call(1) in range(8)


async def test_those_that_fail_at_the_same_moment_are_all_told(autojump_clock):
    async with Resized() as pool:
        pool.failing.update({2: 0.5, 3: 0.5})
        with pytest.raises(OSError, match=r"[23]") as caught:
            await pool.resize(8)
        both = str(caught.value) + "".join(getattr(caught.value, "__notes__", ()))
        assert "2" in both
        assert "3" in both


async def test_a_group_with_a_child_that_fails_is_ended_again(autojump_clock):
    class Factory(FactoryPool):
        begun, failing = [], {2: 0.5}

    async with Factory() as factory:
        with pytest.raises(OSError, match="2"):
            await factory.start_group("them", Slow, pool_size=5)
        await factory.wait_idle()
        assert factory.count_all() == 0
        assert factory.begun == []
        Factory.failing.clear()
        await factory.start_group("them", Slow, pool_size=5)


async def test_cancelled_at_any_step_nothing_half_started_remains(autojump_clock):
    for step in itertools.count(1):
        async with Resized() as pool:
            with CancelAt(step) as cut:
                await pool.resize(5)
            count = shape(pool)
            await trio.sleep(5)
            assert shape(pool) == count
            there = {ref.index for ref in pool}
            assert {await pool.call(0) for _ in range(count)} == there
            with trio.fail_after(5):
                await pool.resize(5)
            assert shape(pool) == 5
        if not cut.reached:
            break
    assert step > 5


@pytest.mark.parametrize("first", [2, 5, 9])
@pytest.mark.parametrize("second", [1, 2, 5, 9])
@pytest.mark.parametrize("delay", [0, 0.5, 1, 1.5])
async def test_of_two_at_once_the_last_one_counts(first, second, delay, autojump_clock):
    async with Resized(pool_size=3) as pool:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.resize, first)
                await trio.sleep(delay)
                if not delay:
                    await wait_all_tasks_blocked()
                await pool.resize(second)
                assert shape(pool) == second
            assert shape(pool) == second
        await trio.sleep(5)
        assert shape(pool) == second


async def test_a_smaller_size_gives_up_what_starts_at_once(autojump_clock):
    async with Resized() as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.resize, 9)
            await trio.sleep(0.5)
            await pool.resize(1)
            assert trio.current_time() == 1.5
            assert shape(pool) == 1


async def test_what_a_worker_raises_that_is_given_up_is_told_to_who_wanted_it(autojump_clock):
    class Clumsy(Slow):
        async def handle_init(self):
            try:
                await super().handle_init()
            except trio.Cancelled:
                raise OSError("half a greeting") from None

    told = []

    async def grow():
        with pytest.raises(OSError, match="half a greeting") as caught:
            await pool.resize(3)
        told.append(caught.value)

    async with Resized(worker=Clumsy) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(grow)
            await trio.sleep(0.5)
            await pool.resize(1)
        assert shape(pool) == 1
    assert len(told) == 1
    assert "half a greeting" in told[0].__notes__[0]


@pytest.mark.parametrize("end", ["cancelled", "fails"])
async def test_who_waits_for_what_another_starts_starts_it_if_that_comes_to_nothing(
    end, autojump_clock
):
    async def first():
        try:
            await pool.resize(5)
        except OSError:
            pool.failing.clear()

    async with Resized() as pool:
        if end == "fails":
            pool.failing[2] = 0.5
        async with trio.open_nursery() as outer:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first)
                await wait_all_tasks_blocked()
                outer.start_soon(pool.resize, 5)
                await trio.sleep(0.4)
                if end == "cancelled":
                    nursery.cancel_scope.cancel()
        assert shape(pool) == 5


async def test_a_worker_that_is_getting_ready_may_not_wait_for_itself(autojump_clock):
    class Asking(Worker):
        async def handle_init(self):
            if self.index:
                await self.pool.resize(2)

        async def handle_job(self, job):
            pass

    with trio.fail_after(10):
        async with Pool(Asking, pool_size=1, dynamic=True) as pool:
            with pytest.raises(RuntimeError, match="for ever"):
                await pool.resize(2)
            assert len(pool) == 1


@pytest.mark.parametrize("end", ["close", "cancel"])
async def test_a_pool_that_ends_meanwhile_ends_the_resizing(end, autojump_clock):
    with trio.fail_after(10):
        async with Resized() as pool:
            async with trio.open_nursery() as nursery:

                async def ask():
                    with pytest.raises(Closed):
                        await pool.resize(5)

                nursery.start_soon(ask)
                await wait_all_tasks_blocked()
                getattr(pool, end)()
                await pool.wait_closed()
    assert pool.begun == []


async def test_a_block_that_is_left_by_an_error_while_it_resizes_leaves_nothing(autojump_clock):
    pool = Resized()
    with pytest.raises(ExceptionGroup):
        async with pool:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.resize, 5)
                await trio.sleep(0.5)
                raise KeyError
    assert pool.begun == []
