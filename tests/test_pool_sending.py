"""Routing, order and back-pressure of a pool."""

import math

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poolder_trio import (
    Closed,
    JobAbandoned,
    Pool,
    Queue,
    QueueFull,
    TooManyRequests,
    Worker,
    phash,
)


class Recorder(Worker):
    """Appends (seat, job) to the pool's log; waits at the pool's gate if there is one."""

    async def handle_job(self, job):
        if self.pool.gate is not None:
            await self.pool.gate.wait()
        self.pool.log.append((self.index, job))
        return self.index, job


class Recording(Pool):
    worker = Recorder
    gate = None

    def __init__(self, **options):
        super().__init__(**options)
        self.log = []

    def hold(self):
        self.gate = trio.Event()
        return self.gate

    def jobs(self, seat=None):
        return [job for index, job in self.log if seat in (None, index)]


async def test_round_robin_starts_at_worker_0_and_takes_turns():
    async with Recording(pool_size=3) as pool:
        for job in range(7):
            pool.cast_nowait(job)
    assert pool.jobs(0) == [0, 3, 6]
    assert pool.jobs(1) == [1, 4]
    assert pool.jobs(2) == [2, 5]


async def test_jobs_to_one_worker_run_one_at_a_time_in_the_order_sent():
    running = 0
    seen = []

    class Careful(Worker):
        async def handle_job(self, job):
            nonlocal running
            running += 1
            assert running == 1
            await trio.lowlevel.checkpoint()
            seen.append(job)
            running -= 1

    async with Pool(Careful, pool_size=1) as pool:
        for job in range(50):
            await pool.cast(job)
        assert await pool.call(50) is None
    assert seen == list(range(51))


async def test_phash_sends_a_key_to_the_seat_that_phash_names():
    async with Recording(pool_size=5, mode="phash", key=lambda job: job["id"]) as pool:
        for number in range(40):
            pool.cast_nowait({"id": number})
        await pool.cast({"id": 7}, key="by hand")
    for index, job in pool.log[:-1]:
        assert index == phash(job["id"], 5) or job == {"id": 7}
    assert (phash("by hand", 5), {"id": 7}) in pool.log


async def test_phash_of_something_without_stable_content_is_refused_where_it_is_sent():
    async with Recording(pool_size=2, mode="phash") as pool:
        with pytest.raises(TypeError, match=r"key= function"):
            pool.cast_nowait(object())
        with pytest.raises(TypeError, match=r"key= function"):
            await pool.call(object())
        assert pool.statistics().submitted == 0


async def test_a_key_function_is_taken_as_it_stands():
    class Declared(Recording):
        pool_size = 3
        mode = "phash"

        def key(job):  # noqa: N805  # a function of the job, not a method
            return job[0]

    async with Declared() as pool:
        pool.cast_nowait(("a", 1))
        pool.cast_nowait(("a", 2))
    assert pool.jobs(phash("a", 3)) == [("a", 1), ("a", 2)]


async def test_random_with_a_seed_is_repeatable():
    logs = []
    for _ in range(2):
        async with Recording(pool_size=4, mode="random", seed=7) as pool:
            await pool.cast_many(range(40))
        logs.append([pool.jobs(seat) for seat in range(4)])
    assert logs[0] == logs[1]
    assert all(logs[0])


async def test_monotonic_goes_by_the_clocks_nanoseconds(mock_clock):
    async with Recording(pool_size=3, mode="monotonic") as pool:
        for step in range(6):
            pool.cast_nowait(step)
            await wait_all_tasks_blocked()
            expected = int(trio.current_time() * 1_000_000_000) % 3
            assert pool.log[-1] == (expected, step)
            mock_clock.jump(1e-9 * (step + 1))


async def test_least_loaded_picks_the_fewest_waiting_and_running_lowest_index_first():
    async with Recording(pool_size=3, mode="least_loaded") as pool:
        gate = pool.hold()
        await pool[0].cast("x")
        await pool[0].cast("x")
        await pool[2].cast("x")
        for job in range(3):
            await pool.cast(job)  # seat 1 has 0, then 1 and 2 have 1 each
        await wait_all_tasks_blocked()
        gate.set()
    assert sorted(pool.jobs(1)) == [0, 1]
    assert pool.jobs(2) == ["x", 2]


async def test_available_gives_the_next_job_to_the_first_free_worker():
    async with Recording(pool_size=2, mode="available") as pool:
        gate = pool.hold()
        await pool.cast("slow")
        await pool.cast("slow")
        await wait_all_tasks_blocked()
        pool.gate = None
        for job in range(5):
            await pool.cast(job)
        assert pool.log == []  # both are held
        gate.set()
    assert [job for job in pool.jobs() if job != "slow"] == list(range(5))


async def test_available_keeps_the_order_of_assignment():
    async with Recording(pool_size=1, mode="available") as pool:
        await pool.cast_many(range(30))
    assert pool.jobs() == list(range(30))


async def test_a_dispatch_of_ones_own_is_asked_with_key_clock_and_loads(autojump_clock):
    asked = []

    class Own:
        def pick(self, key, now, loads):
            asked.append((key, now, list(loads)))
            return len(loads) - 1

    async with Recording(pool_size=2, mode=Own(), key=str) as pool:
        gate = pool.hold()
        await trio.sleep(3)
        begun = trio.current_time()
        await pool.cast(1)
        await pool.cast(2)
        await pool.cast(3, key="mine")
        gate.set()
    assert asked == [("1", begun, [0, 0]), ("2", begun, [0, 1]), ("mine", begun, [0, 2])]
    assert pool.jobs(1) == [1, 2, 3]


@pytest.mark.parametrize("wrong", [2, -1, None, "0"])
async def test_a_wrong_pick_is_refused_and_nothing_is_sent(wrong):
    class Own:
        def pick(self, key, now, loads):
            return wrong

    async with Recording(pool_size=2, mode=Own()) as pool:
        with pytest.raises(ValueError, match=r"index from 0 to 1, got .* \(Own\)"):
            await pool.cast(1)
        assert pool.statistics().submitted == 0


async def test_broadcast_mode_reaches_every_worker_and_a_call_returns_the_replies_by_seat():
    async with Recording(pool_size=3, mode="broadcast") as pool:
        pool.cast_nowait("a")
        await pool.cast("b")
        await pool.cast_many(["c", "d"])
        assert await pool.call("e") == [(0, "e"), (1, "e"), (2, "e")]
        assert pool.statistics().submitted == 15
    for seat in range(3):
        assert pool.jobs(seat) == list("abcde")


async def test_broadcast_works_in_any_mode_with_inboxes():
    async with Recording(pool_size=3) as pool:
        await pool.broadcast("a")
        assert await pool.broadcast_call("b") == [(0, "b"), (1, "b"), (2, "b")]
    assert sorted(pool.log) == [(seat, job) for seat in range(3) for job in "ab"]


async def test_a_broadcast_call_raises_all_failures_by_seat_when_all_are_done(autojump_clock):
    done = []

    class Some(Worker):
        async def handle_call(self, request):
            await trio.sleep(3 - self.index)
            done.append(self.index)
            if self.index != 1:
                raise ValueError(self.index)

    async with Pool(Some, pool_size=3) as pool:
        with pytest.raises(Exception, match="2 of 3 workers failed") as caught:
            await pool.broadcast_call("x")
        assert [error.args for error in caught.value.exceptions] == [(0,), (2,)]
        assert done == [2, 1, 0]


async def test_a_broadcast_without_waiting_reaches_all_or_none():
    async with Recording(pool_size=2, mode="broadcast", queue=Queue(max=1)) as pool:
        gate = pool.hold()
        await pool[0].cast("x")
        await pool[0].cast("x")
        with pytest.raises(QueueFull):
            pool.cast_nowait("all")
        assert pool.statistics().submitted == 2
        gate.set()
    assert pool.jobs() == ["x", "x"]


async def test_a_broadcast_waits_for_each_inbox_that_is_full(autojump_clock):
    async with Recording(pool_size=2, mode="broadcast", queue=Queue(max=1)) as pool:
        gate = pool.hold()
        await pool[0].cast("x")
        await pool[0].cast("x")
        with trio.move_on_after(1) as scope:
            await pool.cast("all")
        assert scope.cancelled_caught
        assert pool.statistics().submitted == 3  # worker 1 had room
        gate.set()
    assert pool.jobs(1) == ["all"]


async def test_available_has_one_inbox_so_nothing_can_be_sent_to_one_worker():
    async with Recording(pool_size=2, mode="available") as pool:
        assert [ref.index for ref in pool] == [0, 1]
        with pytest.raises(TypeError, match="no inbox of its own"):
            pool[0].cast_nowait(1)
        with pytest.raises(TypeError, match="inboxes of their own"):
            await pool.broadcast(1)


async def test_a_targeted_send_reaches_its_seat():
    async with Recording(pool_size=3) as pool:
        ref = pool[2]
        assert (ref.index, ref.alive) == (2, True)
        ref.cast_nowait("a")
        await ref.cast("b")
        assert await ref.call("c") == (2, "c")
        assert [other.index for other in pool] == [0, 1, 2]
        assert len(pool) == 3
        assert ref == pool[2]
        assert ref != pool[1]
        with pytest.raises(IndexError):
            pool[3]
    assert pool.jobs(2) == ["a", "b", "c"]
    assert not ref.alive
    with pytest.raises(Closed):
        ref.cast_nowait("d")


# -- full inboxes


async def fill(pool, waiting):
    """Let the only worker hold one job, and ``waiting`` others wait."""
    gate = pool.hold()
    await pool.cast("held")
    await wait_all_tasks_blocked()
    for number in range(waiting):
        pool.cast_nowait(number)
    return gate


async def test_a_full_queue_refuses_nowait_and_makes_a_cast_wait():
    async with Recording(pool_size=1, queue=Queue(max=2)) as pool:
        gate = await fill(pool, 2)
        with pytest.raises(QueueFull):
            pool.cast_nowait("no")
        with pytest.raises(trio.WouldBlock):
            pool.cast_nowait("no")
        assert pool.statistics().submitted == 3
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.cast, "later")
            await wait_all_tasks_blocked()
            assert pool.statistics().submitted == 3
            gate.set()
    assert pool.jobs() == ["held", 0, 1, "later"]


async def test_those_who_wait_for_room_get_it_in_their_order(autojump_clock):
    async with Recording(pool_size=1, queue=Queue(max=1)) as pool:
        gate = await fill(pool, 1)
        async with trio.open_nursery() as nursery:
            for number in range(10, 15):
                nursery.start_soon(pool.cast, number)
                await wait_all_tasks_blocked()
            with pytest.raises(QueueFull):
                pool.cast_nowait("pushy")
            gate.set()
    assert pool.jobs() == ["held", 0, *range(10, 15)]


async def test_a_cast_that_is_cancelled_while_it_waits_has_sent_nothing(autojump_clock):
    async with Recording(pool_size=1, queue=Queue(max=1)) as pool:
        gate = await fill(pool, 1)
        with trio.move_on_after(1) as scope:
            await pool.cast("never")
        assert scope.cancelled_caught
        gate.set()
    assert pool.jobs() == ["held", 0]


async def test_max_0_takes_a_job_only_for_a_worker_that_is_free(autojump_clock):
    async with Recording(pool_size=1, queue=Queue(max=0)) as pool:
        gate = pool.hold()
        pool.cast_nowait("a")
        with pytest.raises(QueueFull):
            pool.cast_nowait("b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.cast, "c")
            await wait_all_tasks_blocked()
            gate.set()
    assert pool.jobs() == ["a", "c"]


async def test_reject_raises_and_counts_as_dropped():
    async with Recording(pool_size=1, queue=Queue(max=1, overflow="reject")) as pool:
        gate = await fill(pool, 1)
        for send in (pool.cast, pool.call):
            with pytest.raises(TooManyRequests) as caught:
                await send("no")
            assert (caught.value.rule, caught.value.waited, caught.value.waiting) == (
                "reject",
                0.0,
                1,
            )
        with pytest.raises(TooManyRequests):
            pool.cast_nowait("no")
        assert pool.statistics().dropped == 3
        assert pool.statistics().submitted == 5
        gate.set()
    assert pool.report.dropped == 3


async def test_drop_oldest_drops_what_waits_longest_and_tells_its_caller(autojump_clock):
    errors = []

    async def call(pool):
        with pytest.raises(TooManyRequests) as caught:
            await pool.call("called")
        errors.append(caught.value)

    async with Recording(pool_size=1, queue=Queue(max=2, overflow="drop_oldest")) as pool:
        gate = await fill(pool, 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, pool)
            await trio.sleep(2)
            pool.cast_nowait(1)
            pool.cast_nowait(2)
            await wait_all_tasks_blocked()
            (error,) = errors
            assert (error.rule, error.waited, error.waiting) == ("drop_oldest", 2.0, 2)
            pool.cast_nowait(3)
            gate.set()
    assert pool.jobs() == ["held", 2, 3]
    assert pool.report.dropped == 2


async def test_drop_newest_drops_the_newcomer_in_silence_unless_it_is_called():
    async with Recording(pool_size=1, queue=Queue(max=1, overflow="drop_newest")) as pool:
        gate = await fill(pool, 1)
        pool.cast_nowait("dropped")
        await pool.cast("dropped")
        with pytest.raises(TooManyRequests):
            await pool.call("dropped")
        assert pool.statistics().dropped == 3
        gate.set()
    assert pool.jobs() == ["held", 0]


# -- many at once


async def test_cast_many_keeps_the_order_with_none_between():
    async with Recording(pool_size=1) as pool:
        async with trio.open_nursery() as nursery:
            for start in (0, 100, 200):
                nursery.start_soon(pool.cast_many, range(start, start + 20))
    jobs = pool.jobs()
    for start in (0, 100, 200):
        at = jobs.index(start)
        assert jobs[at : at + 20] == list(range(start, start + 20))


async def test_cast_many_waits_for_room_for_one_then_takes_all(autojump_clock):
    async with Recording(pool_size=1, queue=Queue(max=2)) as pool:
        gate = await fill(pool, 2)
        with trio.move_on_after(1) as scope:
            await pool.cast_many(range(10, 20))
        assert scope.cancelled_caught
        assert pool.statistics().submitted == 3
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.cast_many, range(10, 20))
            await wait_all_tasks_blocked()
            gate.set()
    assert pool.jobs() == ["held", 0, 1, *range(10, 20)]


async def test_cast_many_is_refused_whole_where_the_rule_is_to_reject():
    async with Recording(pool_size=1, queue=Queue(max=1, overflow="reject")) as pool:
        gate = await fill(pool, 1)
        with pytest.raises(TooManyRequests):
            await pool.cast_many([1, 2, 3])
        assert pool.statistics().dropped == 3
        gate.set()
    assert pool.jobs() == ["held", 0]


async def test_cast_many_of_nothing_does_nothing():
    async with Recording(pool_size=1) as pool:
        await pool.cast_many([])
        assert pool.statistics().submitted == 0


# -- ranks


async def test_priority_runs_the_greatest_first_and_equals_in_order():
    queue = Queue(order="priority")
    async with Recording(pool_size=1, mode="available", queue=queue) as pool:
        gate = await fill(pool, 0)
        pool.cast_nowait("low", priority=-1)
        pool.cast_nowait("first")
        await pool.cast("urgent", priority=10)
        await pool.cast_many(["second", "third"], priority=0)
        gate.set()
    assert pool.jobs() == ["held", "urgent", "first", "second", "third", "low"]


async def test_fair_takes_turns_between_keys():
    queue = Queue(order="fair")
    async with Recording(pool_size=1, mode="available", queue=queue) as pool:
        gate = await fill(pool, 0)
        for job in ("a1", "a2", "a3"):
            pool.cast_nowait(job, key="a")
        pool.cast_nowait("b1", key="b")
        await pool.cast("c1", key="c")
        await pool.cast("c2", key="c")
        gate.set()
    assert pool.jobs() == ["held", "a1", "b1", "c1", "a2", "c2", "a3"]


async def test_fair_asks_the_pools_key_function_where_no_key_is_given():
    queue = Queue(order="fair")
    async with Recording(pool_size=1, mode="available", queue=queue, key=lambda j: j[0]) as pool:
        gate = await fill(pool, 0)
        await pool.cast_many(["a1", "a2", "b1"])
        gate.set()
    assert pool.jobs() == ["held", "a1", "b1", "a2"]


async def test_a_priority_or_key_that_nothing_looks_at_is_refused():
    async with Recording(pool_size=1) as pool:
        with pytest.raises(TypeError, match="priority=3 needs"):
            pool.cast_nowait(1, priority=3)
        with pytest.raises(TypeError, match="key='a' needs"):
            await pool.call(1, key="a")


# -- pause


async def test_a_paused_pool_accepts_and_starts_nothing_until_it_resumes():
    async with Recording(pool_size=2) as pool:
        pool.pause()
        await pool.cast_many(range(4))
        await wait_all_tasks_blocked()
        assert pool.log == []
        assert pool.statistics().waiting == 4
        pool.resume()
        await pool.wait_idle()
        assert sorted(pool.jobs()) == [0, 1, 2, 3]


async def test_a_pause_lets_the_job_in_hand_finish_and_starts_no_other():
    async with Recording(pool_size=1) as pool:
        gate = await fill(pool, 2)
        pool.pause()
        gate.set()
        await wait_all_tasks_blocked()
        assert pool.jobs() == ["held"]
        pool.resume()
    assert pool.jobs() == ["held", 0, 1]


async def test_leaving_the_block_resumes():
    async with Recording(pool_size=1) as pool:
        pool.pause()
        await pool.cast(1)
    assert pool.jobs() == [1]


async def test_a_pause_bounds_what_waits():
    async with Recording(pool_size=1, queue=Queue(max=2)) as pool:
        pool.pause()
        pool.cast_nowait(1)
        pool.cast_nowait(2)
        with pytest.raises(QueueFull):
            pool.cast_nowait(3)


@pytest.mark.parametrize("mode", ["round_robin", "available"])
async def test_those_who_wait_while_it_is_paused_go_on_when_it_resumes(mode, autojump_clock):
    for max_waiting in (0, 1):
        queue = Queue(max=max_waiting)
        async with Recording(pool_size=1, mode=mode, queue=queue) as pool:
            pool.pause()
            async with trio.open_nursery() as nursery:
                for job in range(4):
                    nursery.start_soon(pool.cast, job)
                await wait_all_tasks_blocked()
                pool.resume()
        assert sorted(pool.jobs()) == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", ["round_robin", "available"])
async def test_a_job_handed_to_a_parked_worker_moment_before_a_pause_still_ends_once(mode):
    async with Recording(pool_size=2, mode=mode) as pool:
        pool.cast_nowait(1)
        pool.pause()
        pool.cast_nowait(2)
        pool.resume()
    assert sorted(pool.jobs()) == [1, 2]


# -- casting from handlers


async def test_handlers_may_cast_to_their_pool_while_its_block_is_left():
    class Crawler(Worker):
        async def handle_job(self, depth):
            self.pool.log.append(depth)
            if depth:
                await self.pool.cast(depth - 1)
                self.pool.cast_nowait(depth - 1)

    async with Recording(worker=Crawler, pool_size=3, queue=Queue(max=math.inf)) as pool:
        await pool.cast(4)
    assert len(pool.log) == 1 + 2 + 4 + 8 + 16


async def test_after_close_a_handlers_own_casts_are_abandoned_and_others_are_refused():
    calls = []

    class Handler(Worker):
        async def handle_job(self, job):
            await self.pool.gate.wait()
            self.pool.cast_nowait(("nowait", job))
            await self.pool.cast(("cast", job))
            await self.pool.cast_many([("many", job), ("more", job)])
            try:
                await self.pool.call(("call", job))
            except JobAbandoned as error:
                calls.append(error)

    async with Recording(worker=Handler, pool_size=1) as pool:
        gate = pool.hold()
        await pool.cast(1)
        await wait_all_tasks_blocked()
        pool.close()
        with pytest.raises(Closed):
            pool.cast_nowait(2)
        with pytest.raises(trio.ClosedResourceError):
            await pool.call(2)
        gate.set()
    assert pool.report.abandoned == (
        ("nowait", 1),
        ("cast", 1),
        ("many", 1),
        ("more", 1),
        ("call", 1),
    )
    assert len(calls) == 1
    assert pool.report.completed == 1
