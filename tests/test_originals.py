"""What Poolder's pool promises, as its README shows it, and the bugs it has, not repeated here."""

import math
import tracemalloc

import pytest
import trio

from poolder_trio import (
    HALT,
    RETRY,
    Backoff,
    Emit,
    Exit,
    Pool,
    Queue,
    Restart,
    Retry,
    Stop,
    Worker,
)


class Echo(Worker):
    async def handle_job(self, job):
        return self.index, job


# -- its README


class MyWorker(Worker):
    """The worker of the README's first example, in Python's terms."""

    retry = Retry(attempts=5, backoff=1.0)
    priority = "normal"
    events = []
    pushes = []
    callbacks = {
        "event": lambda *args: MyWorker.events.append(args),
        "push": lambda *args: MyWorker.pushes.append(args),
    }

    async def handle_init(self, *, key=0):
        self.key = key

    async def handle_job(self, job):
        match_on, *rest = job
        if match_on == "push":
            return Emit("push", *rest)
        if match_on == "hardwork" and rest[1:] == ["notify"]:
            return Emit("event", "done", self.heavy_work(rest[0]))
        if match_on == "hardwork":
            return self.heavy_work(rest[0])
        if match_on == "stop_worker":
            return Exit()
        if match_on == "stop_pool":
            return Stop()
        raise LookupError(match_on)

    async def handle_call(self, request):
        return self.key if request == "get_state" else self.heavy_work(request)

    async def handle_error(self, job, attempt, error):
        if attempt == 1:
            self.key = 5  # retry at once, with another state
            return RETRY
        if attempt == 2:
            return Backoff(5.0)
        return HALT if attempt == 4 else None

    def heavy_work(self, message):
        return message


class MyPool(Pool):
    name = "mypool"
    pool_size = 10
    dynamic = True
    mode = "round_robin"
    worker = MyWorker
    ready = False

    async def handle_init(self):
        self.ready = True


async def test_the_readmes_pool_works(autojump_clock):
    MyWorker.events.clear()
    MyWorker.pushes.clear()
    async with MyPool() as pool:
        assert pool.ready
        await pool.cast(("push", "lobby", "Hello Worker!"))
        await pool[5].cast(("hardwork", "Hello Worker!", "notify"))
        for index in range(len(pool)):
            await pool[index].cast(("hardwork", index))
        assert await pool[3].call("get_state") == 0
        assert await pool.call("hardwork") == "hardwork"
        await pool[3].cast(("no such job",))  # tried, backed off, halted at the fourth attempt
        await pool.wait_idle()
        assert trio.current_time() == 5 + 1
        assert await pool[3].call("get_state") == 5
        await pool.start_child()
        assert len(pool) == 11
        await pool.stop_child()
        await pool[4].cast(("stop_worker",))
        await pool.wait_idle()
        assert len(pool) == 9
        await pool.cast(("stop_pool",))
        await pool.wait_closed()
    assert MyWorker.pushes == [("lobby", "Hello Worker!")]
    assert MyWorker.events == [("done", "Hello Worker!")]
    assert pool.report.failed == 1


# -- its bugs


async def test_broadcast_mode_works():
    async with Pool(Echo, pool_size=2, mode="broadcast") as pool:
        await pool.cast("x")
        assert await pool.call("y") == [(0, "y"), (1, "y")]


async def test_a_grown_pool_uses_its_new_workers_and_a_shrunk_one_forgets_the_gone():
    async with Pool(Echo, pool_size=1, dynamic=True) as pool:
        await pool.resize(3)
        assert {(await pool.call(0))[0] for _ in range(6)} == {0, 1, 2}
        await pool.resize(2)
        assert {(await pool.call(0))[0] for _ in range(6)} == {0, 1}


async def test_a_cast_right_after_start_is_handled():
    async with Pool(Echo, pool_size=3) as pool:
        pool.cast_nowait(1)
    assert pool.report.completed == 1


async def test_a_call_swallows_nothing_and_no_late_reply_answers_the_next(autojump_clock):
    class Slow(Worker):
        async def handle_job(self, job):
            with trio.CancelScope(shield=job == "late"):
                await trio.sleep(2)
            return job

    async with Pool(Slow, pool_size=1) as pool:
        inbox, outbox = trio.open_memory_channel(5)
        await inbox.send("kept")
        with trio.move_on_after(1):
            assert await pool.call("late") == "late"
        assert await pool.call("next") == "next"
        assert outbox.receive_nowait() == "kept"


async def test_a_handler_that_fails_answers_its_caller_at_once(autojump_clock):
    class Failing(Worker):
        async def handle_job(self, job):
            raise ValueError(job)

    async with Pool(Failing, pool_size=1) as pool:
        with pytest.raises(ValueError, match="x"):
            await pool.call("x")
        assert trio.current_time() == 0


async def test_halt_keeps_the_worker_and_its_jobs():
    done = []

    class Halting(Worker):
        async def handle_job(self, job):
            if job == 0:
                raise ValueError
            done.append(job)

        async def handle_error(self, job, attempt, error):
            return HALT

    async with Pool(Halting, pool_size=1) as pool:
        await pool.cast_many(range(5))
        await pool.wait_idle()
        assert len(pool) == 1
    assert done == [1, 2, 3, 4]


async def test_no_error_inside_a_handler_is_dropped_in_silence():
    class Matching(Worker):
        async def handle_job(self, job):
            (first, second) = job
            return first, second

    with pytest.RaisesGroup(ValueError):
        async with Pool(Matching, pool_size=1) as pool:
            await pool.cast((1, 2, 3))
            await trio.sleep_forever()


async def test_memory_does_not_grow_with_the_jobs_a_busy_worker_has_handled():
    class Busy(Worker):
        async def handle_job(self, job):
            pass

    queue = Queue(max=math.inf)
    async with Pool(Busy, pool_size=2, queue=queue, restart=Restart(max_restarts=1)) as pool:
        await pool.cast_many([None] * 5000)
        await pool.wait_idle()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(10):
                await pool.cast_many([None] * 5000)
                for _ in range(20):
                    await pool.call(None)
                await pool.wait_idle()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert after - before < 50_000  # 50,000 jobs: not a byte each
