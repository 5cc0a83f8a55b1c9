"""What comes together seldom: workers that die under their jobs, and ends in awkward moments."""

import math

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poolder_trio import (
    Backoff,
    Closed,
    Exit,
    Pool,
    Queue,
    Rate,
    Restart,
    Retry,
    Worker,
    WorkerCrashed,
)


class Dying(Worker):
    """Keeps a nursery in its stack, whose failure ends the worker in the middle of a job."""

    async def handle_init(self):
        self.nursery = await self.stack.enter_async_context(trio.open_nursery())

    async def handle_job(self, job):
        if job == "die":
            self.nursery.start_soon(self.fail)
            await trio.sleep_forever()

    async def fail(self):
        await trio.sleep(1)
        raise OSError


async def test_a_call_whose_worker_dies_under_it_raises_worker_crashed(autojump_clock, caplog):
    async with Pool(Dying, pool_size=1, restart=Restart(max_restarts=1)) as pool:
        with pytest.raises(WorkerCrashed, match=r"Pool\[0\] was ended under job 'die'") as caught:
            await pool.call("die")
        assert isinstance(caught.value.__cause__, Exception)
        await pool.call("live")
    assert (pool.report.completed, pool.report.failed) == (1, 1)


async def test_a_cast_whose_worker_dies_under_it_has_failed(autojump_clock, caplog):
    async with Pool(Dying, pool_size=1, restart=Restart(max_restarts=1)) as pool:
        await pool.cast_many(["die", "live"])
        await pool.wait_idle()
        assert pool.statistics().running == 0
    assert (pool.report.completed, pool.report.failed) == (1, 1)


@pytest.mark.parametrize("how", ["stop_child", "exit"])
async def test_jobs_that_cannot_be_routed_go_to_a_live_worker_when_theirs_has_gone(
    how, autojump_clock, caplog
):
    seen = []

    class Leaving(Worker):
        async def handle_job(self, job):
            if job == "exit":
                return Exit()
            seen.append(self.index)
            await trio.sleep(1)
            return None

    async with Pool(Leaving, pool_size=2, mode="phash", dynamic=True) as pool:
        pool.pause()
        if how == "exit":
            await pool[1].cast("exit")
        for _ in range(3):
            await pool[1].cast(object())  # no key: it was sent to a seat
        pool.resume()
        if how == "stop_child":
            await pool.stop_child()
    assert pool.report.abandoned == ()
    assert pool.report.failed == 0
    assert len(seen) == 3
    assert "event=not-routable" in caplog.text


@pytest.mark.parametrize("most", [0, 1, 2, 1000])
async def test_a_rate_holds_while_senders_wait_for_room_and_so_does_the_order(most, autojump_clock):
    begun = []

    class Noting(Worker):
        async def handle_job(self, job):
            begun.append((job, trio.current_time()))

    queue = Queue(max=most)
    async with Pool(Noting, pool_size=4, mode="available", rate=Rate(2), queue=queue) as pool:
        async with trio.open_nursery() as nursery:
            for job in range(8):
                nursery.start_soon(pool.cast, job)
                await wait_all_tasks_blocked()
    assert [job for job, _ in begun] == list(range(8))
    assert [when for _, when in begun] == pytest.approx([number / 2 for number in range(8)])


@pytest.mark.parametrize("end", ["close", "cancel"])
async def test_an_end_that_is_asked_for_while_workers_start_comes_when_they_have(
    end, autojump_clock
):
    class Ending(Worker):
        async def handle_init(self):
            getattr(self.pool, end)()
            await trio.sleep(1)

        async def handle_job(self, job):
            pass

    with trio.fail_after(100):
        async with Pool(Ending, pool_size=2) as pool:
            with pytest.raises(Closed):
                pool.cast_nowait(1)
            await pool.wait_closed()
    assert pool.statistics().submitted == 0


@pytest.mark.parametrize(
    ("order", "rank", "error"),
    [
        ("priority", {"priority": math.nan}, ValueError),
        ("priority", {"priority": "high"}, TypeError),
        ("fair", {"key": ["no", "hash"]}, TypeError),
    ],
)
async def test_a_rank_that_cannot_be_used_is_refused_where_it_is_written(order, rank, error):
    class Held(Worker):
        async def handle_job(self, job):
            await gate.wait()

    gate = trio.Event()
    queue = Queue(max=1, order=order)
    async with Pool(Held, pool_size=1, mode="available", queue=queue) as pool:
        for full in (False, True):
            with pytest.raises(error):
                await pool.cast("bad", **rank)
            with pytest.raises(error):
                await pool.cast_many(["bad", "worse"], **rank)
            if not full:
                await pool.cast_many(["held", "waits"])
        gate.set()
    assert pool.report.completed == 2


async def test_a_caller_cancelled_during_handle_error_does_not_wait_for_the_next_try(
    autojump_clock,
):
    class Asking(Worker):
        retry = Retry(attempts=3)

        async def handle_job(self, job):
            raise OSError

        async def handle_error(self, job, attempt, error):
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            return Backoff(100)

    async with Pool(Asking, pool_size=1) as pool:
        with trio.move_on_after(0.5) as scope:
            await pool.call("x")
        assert scope.cancelled_caught
        assert trio.current_time() == 1
    assert pool.report.cancelled == 1


async def test_a_broadcast_that_waits_for_room_learns_that_the_pool_closed(autojump_clock):
    class Slow(Worker):
        async def handle_job(self, job):
            await trio.sleep(1)

    async with Pool(Slow, pool_size=1, mode="broadcast", queue=Queue(max=1)) as pool:
        async with trio.open_nursery() as nursery:
            await pool.cast(1)
            await wait_all_tasks_blocked()
            await pool.cast(2)

            async def late():
                with pytest.raises(Closed):
                    await pool.cast(3)

            nursery.start_soon(late)
            await wait_all_tasks_blocked()
            pool.close()
    assert pool.report.completed == 2


async def test_a_broadcast_job_of_a_worker_that_is_stopped_runs_twice_nowhere(autojump_clock):
    seen = []

    class Slow(Worker):
        async def handle_job(self, job):
            await trio.sleep(1)
            seen.append((self.index, job))

    async with Pool(Slow, pool_size=2, mode="broadcast", dynamic=True) as pool:
        await pool.cast_many("abc")
        await wait_all_tasks_blocked()
        await pool.stop_child()
    assert sorted(seen) == [(0, "a"), (0, "b"), (0, "c"), (1, "a")]
    assert pool.report.abandoned == ("b", "c")


@pytest.mark.parametrize("why", ["rate", "pause"])
async def test_a_pool_is_idle_when_the_last_job_that_waited_was_taken_back(why, autojump_clock):
    class Quick(Worker):
        async def handle_job(self, job):
            pass

    async with Pool(Quick, pool_size=1, rate=Rate(0.01) if why == "rate" else None) as pool:
        await pool.call(0)
        if why == "pause":
            pool.pause()
        scope = trio.CancelScope()

        async def call():
            with scope:
                await pool.call(1)

        with trio.fail_after(50):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await wait_all_tasks_blocked()
                nursery.start_soon(pool.wait_idle)
                await wait_all_tasks_blocked()
                scope.cancel()


async def test_two_that_resize_at_once_end_at_the_size_they_asked_for(autojump_clock):
    class Slow(Worker):
        async def handle_init(self):
            await trio.sleep(1)

        async def handle_job(self, job):
            pass

    async with Pool(Slow, pool_size=1, dynamic=True) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.resize, 3)
            nursery.start_soon(pool.resize, 3)
        assert len(pool) == 3


async def test_a_worker_that_is_still_starting_takes_no_keys_from_others(autojump_clock):
    class Slow(Worker):
        async def handle_init(self, *, nap=0):
            await trio.sleep(nap)
            if nap == 20:
                raise ValueError("late")

        async def handle_job(self, job):
            return self.index

    async with Pool(Slow, pool_size=3, mode="phash", dynamic=True) as pool:
        before = [await pool.call(key) for key in range(50)]

        async def grow():
            with pytest.raises(ValueError, match="late"):
                await pool.start_child(nap=20)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(grow)
            await trio.sleep(5)
            assert [await pool.call(key) for key in range(50)] == before
        assert [await pool.call(key) for key in range(50)] == before


async def test_a_worker_hibernates_again_after_a_job_that_came_while_it_did(autojump_clock):
    naps = []

    class Tired(Worker):
        hibernate_after = 1

        async def handle_job(self, job):
            pass

        async def handle_hibernate(self):
            naps.append(trio.current_time())
            await trio.sleep(0.5)

    async with Pool(Tired, pool_size=1) as pool:
        await trio.sleep(1.2)
        await pool.cast(1)
        await trio.sleep(20)
    assert naps == [1, 2.5]


async def test_a_pool_that_has_ended_has_no_workers_to_point_at():
    class Quick(Worker):
        async def handle_job(self, job):
            pass

    async with Pool(Quick, pool_size=1) as pool:
        assert pool[-1].index == 0
        with pytest.raises(IndexError, match="seats 0 to 0, got 1"):
            pool[1]
    with pytest.raises(Closed):
        pool[0]
    with pytest.raises(Closed):
        list(pool)
