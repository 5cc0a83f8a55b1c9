"""Pools that grow and shrink."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poolder_trio import Closed, Pool, Queue, Restart, Worker


class Recorder(Worker):
    async def handle_init(self, *, tag="none"):
        self.tag = tag
        self.pool.started.append((self.index, tag))

    async def handle_job(self, job):
        if self.pool.gate is not None:
            await self.pool.gate.wait()
        self.pool.log.append((self.index, job))
        return self.tag


class Recording(Pool):
    worker = Recorder
    dynamic = True
    gate = None

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.log = []
        self.started = []

    def hold(self):
        self.gate = trio.Event()
        return self.gate

    def jobs(self, seat):
        return [job for index, job in self.log if index == seat]


async def test_a_grown_pool_uses_its_new_workers():
    async with Recording(pool_size=2) as pool:
        await pool.resize(4)
        assert len(pool) == 4
        await pool.cast_many(range(8))
    assert [pool.jobs(seat) for seat in range(4)] == [[0, 4], [1, 5], [2, 6], [3, 7]]


async def test_a_shrunk_pool_routes_to_no_worker_that_is_gone():
    async with Recording(pool_size=4) as pool:
        await pool.resize(2)
        assert len(pool) == 2
        assert [ref.index for ref in pool] == [0, 1]
        await pool.cast_many(range(8))
    assert [len(pool.jobs(seat)) for seat in range(4)] == [4, 4, 0, 0]


async def test_start_child_returns_a_ref_of_the_new_worker_started_with_its_own_arguments():
    async with Recording(pool_size=1, args={"tag": "pool"}) as pool:
        ref = await pool.start_child(tag="own")
        other = await pool.start_child()
        assert (ref.index, other.index) == (1, 2)
        assert await ref.call(1) == "own"
        assert await other.call(1) == "pool"
        assert await pool[0].call(1) == "pool"


async def test_start_child_that_fails_raises_its_error_and_leaves_the_pool_as_it_was():
    class Refusing(Recorder):
        async def handle_init(self, *, fail=False):
            if fail:
                raise ValueError("init")
            await super().handle_init()

    async with Recording(Refusing, pool_size=2) as pool:
        with pytest.raises(ValueError, match="init"):
            await pool.start_child(fail=True)
        assert len(pool) == 2
        assert (await pool.start_child()).index == 2
        await pool.cast_many(range(6))
    assert [len(pool.jobs(seat)) for seat in range(3)] == [2, 2, 2]


async def test_stop_child_ends_the_last_worker_after_its_job_and_its_waiting_jobs_move(
    autojump_clock,
):
    async with Recording(pool_size=3) as pool:
        gate = pool.hold()
        await pool.cast_many(range(9))
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.stop_child)
            await wait_all_tasks_blocked()
            assert len(pool) == 2
            assert pool.statistics().waiting == 6
            gate.set()
    assert pool.jobs(2) == [2]
    assert sorted(job for _, job in pool.log) == list(range(9))


async def test_a_cast_that_waits_for_room_at_a_seat_that_goes_away_picks_again(autojump_clock):
    class Last:
        def pick(self, key, now, loads):
            return len(loads) - 1

    async with Recording(pool_size=2, queue=Queue(max=1), mode=Last()) as pool:
        gate = pool.hold()
        await pool[0].cast("x")
        await pool[1].cast("held")
        await wait_all_tasks_blocked()
        await pool[1].cast("moves")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.cast, "waits")
            await wait_all_tasks_blocked()
            nursery.start_soon(pool.stop_child)
            await wait_all_tasks_blocked()
            gate.set()
    assert sorted(pool.jobs(0)) == ["moves", "waits", "x"]
    assert pool.jobs(1) == ["held"]


async def test_a_targeted_cast_that_waits_at_a_seat_that_goes_away_is_refused(autojump_clock):
    async with Recording(pool_size=2, queue=Queue(max=1)) as pool:
        gate = pool.hold()
        ref = pool[1]
        await ref.cast("held")
        await wait_all_tasks_blocked()
        await ref.cast("moves")
        async with trio.open_nursery() as nursery:

            async def late():
                with pytest.raises(Closed, match=r"\[1\] has ended"):
                    await ref.cast("late")

            nursery.start_soon(late)
            await wait_all_tasks_blocked()
            nursery.start_soon(pool.stop_child)
            await wait_all_tasks_blocked()
            gate.set()
    assert pool.report.completed == 2


async def test_a_new_child_takes_the_lowest_free_index():
    async with Recording(pool_size=3) as pool:
        ref = pool[2]
        await pool.stop_child()
        assert not ref.alive
        again = await pool.start_child()
        assert again.index == 2
        assert again != ref
        assert not ref.alive


async def test_stopping_the_only_worker_finishes_what_waits_and_closes_the_pool(autojump_clock):
    async with Recording(pool_size=1) as pool:
        await pool.cast_many(range(4))
        await pool.stop_child()
        with pytest.raises(Closed):
            await pool.cast(9)
        with pytest.raises(Closed):
            await pool.start_child()
    assert pool.jobs(0) == [0, 1, 2, 3]


async def test_a_fixed_pool_refuses_to_be_resized():
    async with Recording(pool_size=2, dynamic=False) as pool:
        for change in (pool.start_child, pool.stop_child, lambda: pool.resize(3)):
            with pytest.raises(TypeError, match="needs dynamic=True"):
                await change()


@pytest.mark.parametrize(("size", "kind"), [(0, ValueError), (-1, ValueError), (2.5, TypeError)])
async def test_a_wrong_size_is_refused(size, kind):
    async with Recording(pool_size=2) as pool:
        with pytest.raises(kind, match=r"size must be an int >= 1, got"):
            await pool.resize(size)


async def test_available_can_grow_and_shrink_under_load(autojump_clock):
    class Slow(Worker):
        async def handle_job(self, job):
            await trio.sleep(1)

    async with Pool(Slow, pool_size=1, mode="available", dynamic=True) as pool:
        await pool.cast_many(range(100))
        await pool.resize(20)
        await trio.sleep(2)
        await pool.resize(1)
        await pool.start_child()
    assert pool.report.completed == 100


@pytest.mark.parametrize("mode", ["round_robin", "available", "least_loaded", "phash"])
async def test_no_job_is_lost_while_workers_come_and_go(mode, autojump_clock):
    done = []

    class Napping(Worker):
        async def handle_job(self, job):
            await trio.sleep(0.01 * (job % 3))
            done.append(job)

    async with Pool(Napping, pool_size=2, mode=mode, dynamic=True, queue=Queue(max=3)) as pool:
        async with trio.open_nursery() as nursery:

            async def produce(start):
                for job in range(start, start + 50):
                    await pool.cast(job)

            for start in (0, 1000, 2000):
                nursery.start_soon(produce, start)
            for size in (5, 1, 8, 2, 1, 3):
                await trio.sleep(0.05)
                await pool.resize(size)
    assert sorted(done) == [*range(50), *range(1000, 1050), *range(2000, 2050)]


async def test_thousands_of_children_come_and_go_without_a_leak(autojump_clock):
    async with Recording(pool_size=1, restart=Restart(mode="temporary")) as pool:
        tasks = trio.lowlevel.current_statistics().tasks_living
        for _ in range(300):
            await pool.resize(5)
            await pool.resize(1)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert len(pool._crew.seats) == 1
        assert len(pool._crew._gaps) <= 1
