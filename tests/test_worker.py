"""What a worker is given, and when its hooks run."""

import contextvars
import math
import time

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poolder_trio import HALT, Pool, Queue, Restart, Worker


async def test_a_worker_knows_its_index_name_pool_and_arguments():
    class Curious(Worker):
        async def handle_init(self, *, host, port=80):
            self.address = host, port

        async def handle_job(self, job):
            return self.index, self.name, self.pool, self.address

    async with Pool(Curious, pool_size=2, name="web", args={"host": "here"}) as pool:
        assert await pool[0].call(1) == (0, "web[0]", pool, ("here", 80))
        assert await pool[1].call(1) == (1, "web[1]", pool, ("here", 80))


async def test_a_nested_class_worker_makes_a_pool_of_one_class():
    class Mailer(Pool):
        pool_size = 1

        class worker(Worker):  # noqa: N801  # the option's name
            async def handle_job(self, job):
                return job.upper()

    async with Mailer() as pool:
        assert await pool.call("a") == "A"


async def test_the_stack_is_closed_when_the_worker_ends_after_handle_stop():
    events = []

    class Connected(Worker):
        async def handle_init(self):
            self.stack.callback(events.append, "closed")

        async def handle_job(self, job):
            if job == "bad":
                raise ValueError

        async def handle_stop(self):
            events.append("stop")

    async with Pool(Connected, pool_size=1, restart=Restart(max_restarts=1)) as pool:
        await pool.cast("bad")
        await pool.wait_idle()
        assert events == ["stop", "closed"]
    assert events == ["stop", "closed"] * 2


async def test_the_stack_is_closed_when_handle_init_fails():
    events = []

    class Half(Worker):
        async def handle_init(self):
            self.stack.callback(events.append, "closed")
            raise ValueError

        async def handle_job(self, job):
            pass

    with pytest.RaisesGroup(ValueError):
        async with Pool(Half, pool_size=1):
            pass
    assert events == ["closed"]


async def test_handle_stop_runs_when_the_pool_is_cancelled():
    stopped = []

    class Stopping(Worker):
        async def handle_job(self, job):
            await trio.sleep_forever()

        async def handle_stop(self):
            stopped.append(self.index)

    async with Pool(Stopping, pool_size=3) as pool:
        await pool.cast_many([1, 2])
        await wait_all_tasks_blocked()
        pool.cancel()
    assert sorted(stopped) == [0, 1, 2]


async def test_workers_see_their_own_context_and_not_their_callers():
    variable = contextvars.ContextVar("variable", default="default")

    class Reading(Worker):
        async def handle_job(self, job):
            return variable.get()

    async with Pool(Reading, pool_size=1) as pool:
        variable.set("caller")
        assert await pool.call(1) == "default"


# -- hibernation


async def test_a_worker_hibernates_once_per_idle_spell(autojump_clock):
    naps = []

    class Tired(Worker):
        hibernate_after = 10

        async def handle_job(self, job):
            pass

        async def handle_hibernate(self):
            naps.append(trio.current_time())

    async with Pool(Tired, pool_size=1) as pool:
        await trio.sleep(55)
        assert naps == [10]
        await pool.cast(1)
        await trio.sleep(5)
        await pool.cast(1)
        await trio.sleep(100)
        assert naps == [10, 70]


async def test_a_job_that_comes_while_a_worker_hibernates_waits_for_the_hook(autojump_clock):
    events = []

    class Tired(Worker):
        hibernate_after = 10

        async def handle_job(self, job):
            events.append((job, trio.current_time()))

        async def handle_hibernate(self):
            await trio.sleep(5)
            events.append(("rested", trio.current_time()))

    async with Pool(Tired, pool_size=1) as pool:
        await trio.sleep(12)
        await pool.cast("job")
    assert events == [("rested", 15), ("job", 15)]


async def test_a_job_that_comes_at_the_moment_of_hibernation_is_not_lost(autojump_clock):
    done = []

    class Tired(Worker):
        hibernate_after = 1

        async def handle_job(self, job):
            done.append(job)

    async with Pool(Tired, pool_size=1) as pool:
        for number in range(50):
            await trio.sleep(1)
            await pool.cast(number)
    assert done == list(range(50))


async def test_without_hibernate_after_the_hook_never_runs(autojump_clock):
    class Awake(Worker):
        async def handle_job(self, job):
            pass

        async def handle_hibernate(self):
            raise AssertionError

    assert Awake.hibernate_after == math.inf
    async with Pool(Awake, pool_size=1):
        await trio.sleep(80_000)


async def test_a_handle_hibernate_that_raises_is_a_crash(autojump_clock):
    class Sore(Worker):
        hibernate_after = 1

        async def handle_job(self, job):
            pass

        async def handle_hibernate(self):
            raise ValueError

    with pytest.RaisesGroup(ValueError):
        async with Pool(Sore, pool_size=1):
            await trio.sleep(10)


# -- shares of the event loop: these look at real time, because that is what they bound


def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def jobs_per_pass(priority, workers=4):
    """How many jobs of 50 µs all workers run between two steps of another task."""

    class Busy(Worker):
        async def handle_job(self, job):
            spin(50e-6)

    Busy.priority = priority
    counts = []
    async with Pool(Busy, pool_size=workers, queue=Queue(max=math.inf)) as pool:
        await pool.cast_many(range(4000))
        while pool.statistics().waiting:
            before = pool.statistics().completed
            await trio.lowlevel.checkpoint()
            counts.append(pool.statistics().completed - before)
        pool.cancel()
    return sorted(counts)[len(counts) // 2]


async def test_priority_is_a_share_of_the_event_loop():
    low = await jobs_per_pass("low")
    normal = await jobs_per_pass("normal")
    high = await jobs_per_pass("high")
    assert low <= 4  # one job each
    assert low < normal <= 30  # 1 ms are 20 jobs of 50 µs, and each worker ends with a whole one
    assert normal < high <= 130
    assert high < await jobs_per_pass("max")


async def test_a_busy_worker_lets_others_run():
    class Busy(Worker):
        async def handle_job(self, job):
            pass

    ticks = 0
    async with Pool(Busy, pool_size=1, queue=Queue(max=math.inf)) as pool:
        pool.pause()
        await pool.cast_many(range(100_000))
        pool.resume()
        while pool.statistics().waiting:
            await trio.lowlevel.checkpoint()
            ticks += 1
    assert ticks > 5


# -- what is in hand


async def test_the_job_in_hand_counts_as_running_whatever_ran_before_it_in_the_same_burst():
    seen = []

    class Counting(Worker):
        async def handle_job(self, job):
            stats = self.pool.statistics()
            seen.append((job, stats.running, stats.submitted))
            if job == "halted":
                raise ValueError

        async def handle_error(self, job, attempt, error):
            return HALT

    async with Pool(Counting, pool_size=1) as pool:
        pool.pause()
        async with trio.open_nursery() as nursery:
            pool.cast_nowait("a")
            nursery.start_soon(pool.call, "called")
            await wait_all_tasks_blocked()
            pool.cast_nowait("b")
            pool.cast_nowait("halted")
            pool.cast_nowait("c")
            pool.resume()
    assert seen == [(job, 1, 5) for job in ("a", "called", "b", "halted", "c")]
