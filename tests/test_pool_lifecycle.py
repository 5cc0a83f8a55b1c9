"""Opening, leaving, closing and cancelling a pool; names; verdicts that end things."""

import gc
import weakref

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poolder_trio import (
    Closed,
    DuplicateName,
    Emit,
    Exit,
    Pool,
    Queue,
    Restart,
    Retry,
    ShutdownReport,
    Stop,
    Worker,
    whereis,
)


class Sleeper(Worker):
    async def handle_job(self, job):
        await trio.sleep(job)
        return job


# -- entering


async def test_a_cast_right_after_entering_finds_every_worker_ready(autojump_clock):
    ready = []

    class Slow(Worker):
        async def handle_init(self):
            await trio.sleep(1)
            ready.append(self.index)

        async def handle_job(self, job):
            assert len(ready) == 3

    async with Pool(Slow, pool_size=3) as pool:
        assert sorted(ready) == [0, 1, 2]
        assert trio.current_time() == 1  # they started together
        pool.cast_nowait(1)
    assert pool.report.completed == 1


async def test_a_handle_init_that_fails_fails_the_entering_at_once_grouped_never_restarted():
    starts = []

    class Bad(Worker):
        async def handle_init(self):
            starts.append(self.index)
            raise ValueError("init")

        async def handle_job(self, job):
            pass

    with pytest.RaisesGroup(ValueError):
        async with Pool(Bad, pool_size=5, restart=Restart(max_restarts=9)):
            raise AssertionError("never entered")
    assert len(starts) == 1  # none begins to start when another has failed to


async def test_workers_that_had_started_are_stopped_when_another_fails_to_start(autojump_clock):
    stopped = []

    class Some(Worker):
        async def handle_init(self):
            await trio.sleep(self.index)
            if self.index == 2:
                raise ValueError("init")

        async def handle_job(self, job):
            pass

        async def handle_stop(self):
            stopped.append(self.index)

    with pytest.RaisesGroup(ValueError):
        async with Pool(Some, pool_size=4):
            raise AssertionError("never entered")
    assert sorted(stopped) == [0, 1]


async def test_a_cancelled_entering_leaves_nothing_behind(autojump_clock):
    class Slow(Worker):
        async def handle_init(self):
            await trio.sleep(10)

        async def handle_job(self, job):
            pass

    pool = Pool(Slow, name="slow")
    with trio.move_on_after(1) as scope:
        async with pool:
            raise AssertionError("never entered")
    assert scope.cancelled_caught
    with pytest.raises(LookupError):
        whereis("slow")
    async with pool:  # and it can be opened again
        pass


async def test_the_pools_own_handle_init_runs_when_the_pool_can_be_used():
    class Eager(Pool):
        worker = Sleeper

        async def handle_init(self):
            assert len(self) == 10
            await self.cast(0)

    async with Eager() as pool:
        pass
    assert pool.report.completed == 1


async def test_a_pools_handle_init_that_fails_fails_the_entering():
    class Bad(Pool):
        worker = Sleeper

        async def handle_init(self):
            raise ValueError

    with pytest.RaisesGroup(ValueError):
        async with Bad():
            raise AssertionError("never entered")


async def test_opening_twice_at_once_is_refused_and_twice_in_turn_is_fresh(autojump_clock):
    pool = Pool(Sleeper, name="again")
    async with pool:
        await pool.cast(1)
        with pytest.raises(RuntimeError, match="again is open already"):
            async with pool:
                pass
    assert pool.report.completed == 1
    async with pool:
        assert pool.report == ShutdownReport(
            completed=0, failed=0, cancelled=0, dropped=0, abandoned=()
        )
        await pool.cast_many([1, 1])
    assert pool.report.completed == 2


async def test_use_before_entering_and_after_leaving_is_closed():
    pool = Pool(Sleeper, dynamic=True)

    async def refused():
        with pytest.raises(Closed):
            pool.cast_nowait(1)
        for send in (pool.cast, pool.call, pool.broadcast, pool.broadcast_call):
            with pytest.raises(trio.ClosedResourceError):
                await send(1)
        with pytest.raises(Closed):
            await pool.cast_many([1])
        with pytest.raises(Closed):
            await pool.start_child()
        with pytest.raises(Closed):
            pool.pause()
        with pytest.raises(Closed):
            pool.resume()

    async def allowed():
        pool.close()
        pool.cancel()
        await pool.wait_idle()
        await pool.wait_closed()
        assert pool.statistics().submitted == 0
        assert pool.report.abandoned == ()

    await refused()
    await allowed()
    async with pool:
        pass
    await refused()
    await allowed()


# -- leaving


async def test_leaving_waits_for_all_that_was_accepted(autojump_clock):
    async with Pool(Sleeper, pool_size=2) as pool:
        await pool.cast_many([1, 2, 3, 4])
    assert trio.current_time() == 6
    assert pool.report.completed == 4


async def test_grace_bounds_the_leaving_and_what_is_left_is_cancelled(autojump_clock):
    async with Pool(Sleeper, pool_size=1, grace=5) as pool:
        await pool.cast_many([3, 3, 3, 3])
    assert trio.current_time() == 5
    assert pool.report == ShutdownReport(
        completed=1, failed=0, cancelled=1, dropped=0, abandoned=(3, 3)
    )


async def test_grace_bounds_the_workers_own_clean_up_too(autojump_clock):
    class Lingering(Sleeper):
        async def handle_stop(self):
            await trio.sleep(100)

    async with Pool(Lingering, pool_size=1, grace=5):
        pass
    assert trio.current_time() == 5


async def test_leaving_by_an_exception_cancels_at_once(autojump_clock):
    with pytest.RaisesGroup(KeyError):
        async with Pool(Sleeper, pool_size=1) as pool:
            await pool.cast_many([100, 200])
            await wait_all_tasks_blocked()
            raise KeyError
    assert trio.current_time() == 0
    assert (pool.report.cancelled, pool.report.abandoned) == (1, (200,))


async def test_cancellation_from_outside_cancels_at_once(autojump_clock):
    with trio.move_on_after(1):
        async with Pool(Sleeper, pool_size=1) as pool:
            await pool.cast_many([100, 200])
    assert trio.current_time() == 1
    assert (pool.report.cancelled, pool.report.abandoned) == (1, (200,))


async def test_waiters_for_room_are_served_while_the_block_is_left(autojump_clock):
    async with trio.open_nursery() as nursery:
        async with Pool(Sleeper, pool_size=1, queue=Queue(max=1)) as pool:
            for _ in range(5):
                nursery.start_soon(pool.cast, 1)
            await wait_all_tasks_blocked()
    assert pool.report.completed == 5


async def test_nothing_of_the_pool_is_running_after_its_block(autojump_clock):
    before = trio.lowlevel.current_statistics().tasks_living
    async with Pool(Sleeper, pool_size=3, job_timeout=50, restart=Restart(max_restarts=1)) as pool:
        await pool.cast(1)
        await trio.sleep(2)
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_a_pool_that_has_ended_keeps_no_message_alive(autojump_clock):
    class Message:
        pass

    message = Message()
    ref = weakref.ref(message)

    class Quick(Worker):
        async def handle_job(self, job):
            pass

    pool = Pool(Quick, pool_size=1)
    async with pool:
        await pool.cast(message)
        await pool.call(message)
    del message
    gc.collect()
    assert ref() is None


# -- closing and cancelling by hand


async def test_close_finishes_what_was_accepted_while_the_block_goes_on(autojump_clock):
    async with Pool(Sleeper, pool_size=1) as pool:
        await pool.cast_many([1, 1])
        pool.close()
        pool.close()
        with pytest.raises(Closed, match="is closing"):
            await pool.cast(1)
        await pool.wait_closed()
        assert trio.current_time() == 2
        await trio.sleep(1)
        assert len(pool) == 0
    assert pool.report.completed == 2


async def test_close_turns_away_those_who_wait_for_room(autojump_clock):
    async with Pool(Sleeper, pool_size=1, queue=Queue(max=1)) as pool:
        async with trio.open_nursery() as nursery:
            await pool.cast(1)
            await wait_all_tasks_blocked()
            await pool.cast(1)

            async def late():
                with pytest.raises(Closed):
                    await pool.cast(1)
                with pytest.raises(Closed):
                    await pool.call(1)

            nursery.start_soon(late)
            await wait_all_tasks_blocked()
            pool.close()
    assert pool.report.completed == 2


async def test_cancel_ends_the_work_and_not_the_block(autojump_clock):
    async with Pool(Sleeper, pool_size=1) as pool:
        await pool.cast_many([100, 200])
        await wait_all_tasks_blocked()
        pool.cancel()
        await pool.wait_closed()
        await trio.sleep(1)
        with pytest.raises(Closed):
            pool.cast_nowait(1)
    assert trio.current_time() == 1
    assert (pool.report.cancelled, pool.report.abandoned) == (1, (200,))


async def test_a_pool_cancelled_by_its_own_handler_runs_no_other_job():
    seen = []

    class Canceller(Worker):
        async def handle_job(self, job):
            seen.append(job)
            self.pool.cancel()

    async with Pool(Canceller, pool_size=1) as pool:
        await pool.cast_many([1, 2, 3])
    assert seen == [1]
    assert pool.report.abandoned == (2, 3)


async def test_run_is_open_until_it_is_closed(autojump_clock):
    async with trio.open_nursery() as nursery:
        pool = await nursery.start(Pool(Sleeper, pool_size=1).run)
        assert await pool.call(1) == 1
        await pool.cast(3)
        pool.close()
    assert trio.current_time() == 4
    assert pool.report.completed == 2


async def test_wait_idle_waits_for_waiting_running_and_backing_off(autojump_clock):
    class Flaky(Worker):
        retry = Retry(attempts=2, backoff=10)
        failed = False

        async def handle_job(self, job):
            await trio.sleep(1)
            if not self.failed:
                self.failed = True
                raise ValueError

    async with Pool(Flaky, pool_size=1) as pool:
        await pool.wait_idle()
        await pool.cast_many([1, 2])
        await pool.wait_idle()
        assert trio.current_time() == 12
        pool.pause()
        await pool.cast(3)
        with trio.move_on_after(5) as scope:
            await pool.wait_idle()
        assert scope.cancelled_caught


# -- verdicts


async def test_exit_ends_the_worker_and_its_jobs_move():
    seen = []
    stopped = []

    class Leaving(Worker):
        async def handle_job(self, job):
            seen.append((self.index, job))
            return Exit("bye") if job == "exit" else job

        async def handle_stop(self):
            stopped.append(self.index)

    async with Pool(Leaving, pool_size=2) as pool:
        pool.pause()
        await pool[0].cast("exit")
        for job in range(4):
            await pool[0].cast(job)
        pool.resume()
        await pool.wait_idle()
        assert len(pool) == 1
        assert [ref.index for ref in pool] == [1]
        assert not pool[0].alive
        with pytest.raises(Closed, match=r"Pool\[0\] has ended"):
            await pool[0].cast(1)
        await pool.cast(9)
        assert await pool.call("exit") == "bye"
        await pool.wait_closed()  # the last one is gone
    assert seen == [(0, "exit"), *((1, job) for job in range(4)), (1, 9), (1, "exit")]
    assert sorted(stopped) == [0, 1]


async def test_a_permanent_worker_that_ends_by_itself_is_replaced():
    workers = []

    class Leaving(Worker):
        async def handle_init(self):
            workers.append(self)

        async def handle_job(self, job):
            return Exit(job)

    async with Pool(Leaving, pool_size=1, restart=Restart(mode="permanent")) as pool:
        for number in range(3):
            assert await pool.call(number) == number
        assert len(pool) == 1
    assert len(workers) == 4


async def test_phash_sends_the_jobs_of_an_ended_seat_to_the_next_live_one():
    seen = []

    class Leaving(Worker):
        async def handle_job(self, job):
            seen.append((self.index, job))
            return Exit() if job == "exit" else None

    async with Pool(Leaving, pool_size=3, mode="phash") as pool:
        before = {}
        for number in range(30):
            await pool.call(number)
        before = {job: index for index, job in seen}
        await pool[1].call("exit")
        seen.clear()
        for number in range(30):
            await pool.call(number)
    after = {job: index for index, job in seen}
    assert after == {job: 2 if index == 1 else index for job, index in before.items()}


async def test_stop_closes_the_pool_finishes_what_was_accepted_and_leaves_the_body_alone(
    autojump_clock,
):
    class Stopping(Worker):
        async def handle_job(self, job):
            await trio.sleep(1)
            return Stop(job) if job == "stop" else job

    async with Pool(Stopping, pool_size=1) as pool:
        await pool.cast_many(["stop", 1, 2])
        await trio.sleep(1.5)
        with pytest.raises(Closed):
            await pool.cast(3)
        await pool.wait_closed()
        assert trio.current_time() == 3
        await trio.sleep(1)
    assert pool.report.completed == 3


async def test_stop_replies_to_its_caller():
    class Stopping(Worker):
        async def handle_job(self, job):
            return Stop(job)

    async with Pool(Stopping, pool_size=2) as pool:
        assert await pool.call("bye") == "bye"


async def test_emit_calls_the_workers_callback_and_its_value_is_the_reply():
    calls = []

    def note(*args):
        calls.append(args)
        return "noted"

    async def publish(*args):
        await trio.lowlevel.checkpoint()
        return args

    class Emitting(Worker):
        callbacks = {"event": note, "push": publish}

        async def handle_job(self, job):
            return Emit(*job)

    async with Pool(Emitting, pool_size=1) as pool:
        await pool.cast(("event", 1, 2))
        assert await pool.call(("event", 3)) == "noted"
        assert await pool.call(("push", "lobby", "hi")) == ("lobby", "hi")
        assert calls == [(1, 2), (3,)]
        with pytest.raises(LookupError, match=r"no callback 'nobody'; it has: 'event', 'push'"):
            await pool.call(("nobody",))


async def test_a_callback_that_fails_fails_the_attempt():
    tries = []

    def flaky():
        tries.append(1)
        if len(tries) == 1:
            raise ValueError

    class Emitting(Worker):
        retry = Retry(attempts=2)
        callbacks = {"flaky": flaky}

        async def handle_job(self, job):
            return Emit("flaky")

    async with Pool(Emitting, pool_size=1) as pool:
        await pool.call(1)
    assert len(tries) == 2


# -- names


async def test_a_named_pool_is_found_in_its_run_and_forgotten_after_it():
    with pytest.raises(LookupError, match="named ones: none"):
        whereis("sleepers")
    async with Pool(Sleeper, name="sleepers") as pool:
        assert whereis("sleepers") is pool
        with pytest.raises(LookupError, match="named ones: 'sleepers'"):
            whereis("others")
        with pytest.raises(DuplicateName, match="'sleepers' is open already"):
            async with Pool(Sleeper, name="sleepers"):
                pass
        assert whereis("sleepers") is pool
    with pytest.raises(LookupError):
        whereis("sleepers")


def test_names_belong_to_one_trio_run():
    async def main():
        async with Pool(Sleeper, name="mine", pool_size=1):
            assert whereis("mine").pool_size == 1

    trio.run(main)
    trio.run(main)
    with pytest.raises(RuntimeError):
        whereis("mine")
