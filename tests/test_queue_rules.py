"""Queues with time rules in components: who is told of a drop, and when, and what it costs."""

import contextlib
import math

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from poolder_trio import (
    AsyncPool,
    Backoff,
    Batcher,
    Closed,
    CoDel,
    Instrument,
    JobPool,
    Pool,
    Queue,
    QueueFull,
    Rate,
    Retry,
    Tasker,
    TooManyRequests,
    Worker,
)


class Sleeper(Worker):
    """Sleeps for as many seconds as it is told."""

    async def handle_job(self, seconds):
        await trio.sleep(seconds)
        return seconds


async def nap(seconds):
    await trio.sleep(seconds)
    return seconds


class Served:
    """A component with one worker, and how jobs of some seconds are sent to it."""

    def __init__(self, kind):
        self.kind = kind

    def __repr__(self):
        return self.kind

    def open(self, queue, **options):
        if self.kind in ("pool", "available"):
            mode = "round_robin" if self.kind == "pool" else "available"
            return Pool(Sleeper, pool_size=1, mode=mode, queue=queue, **options)
        if self.kind == "tasker":
            return Tasker(limit=1, queue=queue, **options)
        return JobPool(pool_size=1, queue=queue, **options)

    def _sender(self, component, pool, tasker, job_pool):
        if self.kind in ("pool", "available"):
            return getattr(component, pool)
        fn = getattr(component, tasker if self.kind == "tasker" else job_pool)
        return lambda seconds: fn(nap, seconds)

    def cast(self, component, seconds):
        self._sender(component, "cast_nowait", "execute_nowait", "perform_nowait")(seconds)

    async def call(self, component, seconds):
        if self.kind == "job_pool":
            job = await component.async_perform(nap, seconds)
            return await job.wait()
        return await self._sender(component, "call", "call", "")(seconds)


SERVED = [Served(kind) for kind in ("pool", "available", "tasker", "job_pool")]
every_component = pytest.mark.parametrize("served", SERVED, ids=repr)


class Told(Instrument):
    """Keeps why jobs were dropped, and checks the accounts when it is told."""

    def __init__(self):
        self.drops = []

    def job_dropped(self, source, job, reason):
        self.drops.append((job.subject, job.status, reason, source.statistics()))


def balanced(stats):
    """Return whether no count is below 0 and ``submitted`` is the sum of the others."""
    ended = stats.completed + stats.failed + stats.cancelled + stats.dropped + stats.abandoned
    parts = (ended, stats.running, stats.waiting)
    return min(parts) >= 0 and stats.submitted == sum(parts)


def timers(component):
    """Return how many timers of a component are set."""
    heap = component._crew.timers._heap
    return sum(timer.fn is not None for _, _, timer in heap)


# -- timeout


@every_component
async def test_a_call_that_waits_for_too_long_is_told_at_that_moment(served, autojump_clock):
    async with served.open(Queue(timeout=2)) as component:
        served.cast(component, 100)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        with pytest.raises(TooManyRequests) as caught:
            await served.call(component, 1)
        assert trio.current_time() == began + 2
        assert caught.value.rule == "timeout"
        assert caught.value.waited == 2
        assert caught.value.waiting == 0
        assert "'timeout' after 2 s" in str(caught.value)
        stats = component.statistics()
        assert (stats.dropped, stats.running, stats.waiting) == (1, 1, 0)
        component.cancel()


@every_component
async def test_a_job_that_starts_in_time_may_run_for_longer(served, autojump_clock):
    async with served.open(Queue(timeout=2)) as component:
        served.cast(component, 1)
        assert await served.call(component, 10) == 10
    assert component.statistics().dropped == 0


@every_component
async def test_a_dropped_cast_is_counted_and_told_to_instruments(served, autojump_clock):
    told = Told()
    async with served.open(Queue(timeout=2, max=math.inf), instruments=[told]) as component:
        for seconds in (5, 1, 1, 1):
            served.cast(component, seconds)
    assert [(status, reason) for _, status, reason, _ in told.drops] == [("dropped", "timeout")] * 3
    # All that are dropped together are in the accounts before anyone is told of the first.
    assert [stats.dropped for *_, stats in told.drops] == [3, 3, 3]
    assert all(balanced(stats) and stats.submitted == 4 for *_, stats in told.drops)
    assert component.report.completed == 1
    assert component.report.dropped == 3


@every_component
async def test_min_are_kept_however_long_they_wait(served, autojump_clock):
    async with served.open(Queue(timeout=1, min=2)) as component:
        for seconds in (50, 0, 0):
            served.cast(component, seconds)
        await trio.sleep(20)
        assert component.statistics().waiting == 2
        served.cast(component, 0)
        await trio.testing.wait_all_tasks_blocked()
        assert component.statistics().waiting == 2
        assert component.statistics().dropped == 1
    assert component.report.completed == 3


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority", "fair"])
async def test_a_timeout_holds_in_every_order(order, autojump_clock):
    began = trio.current_time()
    async with Tasker(limit=1, queue=Queue(order=order, timeout=3)) as tasker:
        tasker.execute_nowait(nap, 10)
        await trio.sleep(1)
        early = tasker.submit_nowait(nap, 1)
        await trio.sleep(1)
        late = tasker.submit_nowait(nap, 1)
        await early.wait_done()
        assert trio.current_time() == began + 4
        assert (early.status, late.status) == ("dropped", "waiting")
        with pytest.raises(TooManyRequests, match=r"after 3 s, with 1 waiting"):
            early.result()
        await late.wait_done()
        assert late.status == "dropped"
    assert tasker.report.completed == 1


async def test_a_timeout_holds_where_so_many_may_run_for_one_key(autojump_clock):
    async with Tasker(limit=5, limit_per_key=1, queue=Queue(timeout=2)) as tasker:
        tasker.execute_nowait(nap, 5, key="a")
        held = tasker.submit_nowait(nap, 1, key="a")
        free = tasker.submit_nowait(nap, 1, key="b")
        assert await free.wait() == 1
        await held.wait_done()
        assert trio.current_time() == 2
        assert held.status == "dropped"
        later = tasker.submit_nowait(nap, 1, key="a")
        await trio.sleep(1.5)
        assert later.status == "waiting"
    assert later.status == "dropped"


async def test_what_is_not_taken_at_once_is_dropped_where_the_timeout_is_0(autojump_clock):
    async with Pool(Sleeper, pool_size=1, queue=Queue(timeout=0)) as pool:
        await trio.testing.wait_all_tasks_blocked()
        pool.cast_nowait(5)
        with pytest.raises(TooManyRequests) as caught:
            await pool.call(1)
        assert (caught.value.rule, caught.value.waited) == ("timeout", 0)
        await pool.cast_many([1, 1, 1])
        await trio.testing.wait_all_tasks_blocked()
        assert pool.statistics().dropped == 4


def test_what_has_expired_is_dropped_as_a_worker_comes_for_it_though_no_timer_ran():
    clock = MockClock()

    async def main():
        async with Pool(Sleeper, pool_size=1, queue=Queue(timeout=2)) as pool:
            await trio.testing.wait_all_tasks_blocked()
            pool.cast_nowait(100)
            await trio.testing.wait_all_tasks_blocked()
            pool.cast_nowait(7)
            clock.jump(2)
            with pytest.raises(IndexError):
                pool._crew.seats[0].box.take()
            assert pool.statistics().dropped == 1
            assert pool.statistics().submitted == 2
            pool.cancel()

    trio.run(main, clock=clock)


def test_what_has_expired_makes_room_before_the_timer_runs():
    clock = MockClock()

    async def main():
        queue = Queue(max=1, timeout=2)
        async with Pool(Sleeper, pool_size=1, queue=queue) as pool:
            await trio.testing.wait_all_tasks_blocked()
            pool.cast_nowait(100)
            await trio.testing.wait_all_tasks_blocked()
            pool.cast_nowait(1)
            with pytest.raises(QueueFull):
                pool.cast_nowait(2)
            clock.jump(2)
            pool.cast_nowait(3)
            assert pool.statistics().dropped == 1
            pool.cancel()

    trio.run(main, clock=clock)


def test_nobody_begins_what_has_expired_though_no_timer_ran():
    clock = MockClock()

    async def main():
        queue = Queue(timeout=2)
        async with Tasker(limit=2, limit_per_key=1, queue=queue) as tasker:
            tasker.pause()
            late = tasker.submit_nowait(nap, 1)
            clock.jump(2)
            tasker.resume()
            assert late.status == "dropped"
            tasker.execute_nowait(nap, 100, key="a")
            await trio.testing.wait_all_tasks_blocked()
            late = tasker.submit_nowait(nap, 1, key="a")
            box = tasker._crew.shared
            box.room.release("a")  # as when the first is done
            clock.jump(2)
            assert not box.start_one()
            assert late.status == "dropped"
            box.room.begin("a")
            tasker.cancel()

    trio.run(main, clock=clock)


def test_what_has_expired_makes_room_for_a_broadcast():
    clock = MockClock()

    async def main():
        async with Pool(Sleeper, pool_size=2, mode="broadcast", queue=Queue(max=1, timeout=2)) as p:
            await trio.testing.wait_all_tasks_blocked()
            p.cast_nowait(100)
            await trio.testing.wait_all_tasks_blocked()
            p.cast_nowait(1)
            with pytest.raises(QueueFull):
                p.cast_nowait(2)
            clock.jump(2)
            p.cast_nowait(3)
            assert p.statistics().dropped == 2
            p.cancel()

    trio.run(main, clock=clock)


async def test_a_drop_lets_the_next_sender_in(autojump_clock):
    async with Tasker(limit=1, queue=Queue(max=1, timeout=2)) as tasker:
        tasker.execute_nowait(nap, 100)
        tasker.execute_nowait(nap, 1)
        await tasker.execute(nap, 2)  # waits for room
        assert trio.current_time() == 2
        assert tasker.statistics().dropped == 1
        with pytest.raises(TooManyRequests) as caught:
            await tasker.call(nap, 3)
        # Two seconds for room, and two in the queue: the former are not part of its age.
        assert trio.current_time() == 6
        assert caught.value.waited == 2
        tasker.cancel()


async def test_a_job_that_backed_off_is_as_new(autojump_clock):
    class Fails(Worker):
        retry = Retry(attempts=2)

        async def handle_job(self, seconds):
            await trio.sleep(seconds)
            if seconds == 1:
                raise ValueError
            return seconds

        async def handle_error(self, job, attempt, error):
            return Backoff(5)

    async with Pool(Fails, pool_size=1, queue=Queue(timeout=3)) as pool, trio.open_nursery() as n:
        errors = []

        async def ask():
            try:
                await pool.call(1)
            except TooManyRequests as error:
                errors.append((trio.current_time(), error.waited))

        n.start_soon(ask)
        await trio.sleep(2)  # it fails at 1, and comes back at 6
        pool.cast_nowait(20)
        await trio.sleep(6.5)
        assert errors == []
        await trio.sleep(2)
    assert errors == [(9, 3)]


# -- rest and pause


async def test_a_drop_that_empties_a_paused_component_lets_it_rest(autojump_clock):
    for served in SERVED:
        began = trio.current_time()
        async with served.open(Queue(timeout=3)) as component:
            component.pause()
            served.cast(component, 1)
            with trio.fail_after(10):
                await component.wait_idle()
            assert trio.current_time() == began + 3
            assert component.statistics().dropped == 1


async def test_ages_go_on_while_a_component_is_paused(autojump_clock):
    async with Tasker(limit=1, queue=Queue(timeout=3)) as tasker:
        tasker.pause()
        first = tasker.submit_nowait(nap, 1)
        await trio.sleep(2)
        second = tasker.submit_nowait(nap, 1)
        await trio.sleep(1.5)
        assert (first.status, second.status) == ("dropped", "waiting")
        tasker.resume()
        assert await second.wait() == 1


async def test_a_drop_lets_a_component_with_a_rate_rest(autojump_clock):
    async with Tasker(limit=5, rate=Rate(1, per=100), queue=Queue(timeout=3)) as tasker:
        for _ in range(3):
            tasker.execute_nowait(nap, 0)
        await tasker.wait_idle()
        assert trio.current_time() == 3
        assert tasker.statistics().completed == 1
        assert tasker.statistics().dropped == 2


async def test_leaving_the_block_waits_for_no_job_that_is_dropped(autojump_clock):
    for served in SERVED:
        began = trio.current_time()
        async with served.open(Queue(timeout=3)) as component:
            for seconds in (5, 1, 1, 1):
                served.cast(component, seconds)
        assert trio.current_time() == began + 5
        assert component.report.completed == 1
        assert component.report.dropped == 3
        assert component.report.abandoned == ()


async def test_what_waits_when_a_component_is_cancelled_is_abandoned_and_no_timer_is_left():
    for served in SERVED:
        async with served.open(Queue(timeout=3)) as component:
            for seconds in (5, 1, 1, 1):
                served.cast(component, seconds)
            crew = component._crew
            component.cancel()
        assert component.statistics().abandoned >= 3
        assert component.statistics().dropped == 0
        assert not crew.timers._heap


# -- cancellation


@pytest.mark.parametrize("served", SERVED[:3], ids=repr)
async def test_a_caller_that_leaves_takes_its_place_along(served, autojump_clock):
    async with served.open(Queue(timeout=10, max=2)) as component:
        served.cast(component, 20)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(5):
            with trio.move_on_after(1):
                await served.call(component, 1)
        stats = component.statistics()
        assert (stats.cancelled, stats.waiting, stats.dropped) == (5, 0, 0)
        served.cast(component, 1)
        served.cast(component, 1)
    assert component.report.dropped == 2


def test_who_leaves_shows_that_the_others_are_too_late():
    clock = MockClock()

    async def main():
        async with Tasker(limit=1, queue=Queue(timeout=2)) as tasker:
            tasker.execute_nowait(nap, 100)
            await trio.testing.wait_all_tasks_blocked()
            first, second = (tasker.submit_nowait(nap, 1) for _ in range(2))
            clock.jump(2)
            second.cancel()
            assert (first.status, second.status) == ("dropped", "cancelled")
            tasker.cancel()

    trio.run(main, clock=clock)


# -- CoDel


def overload(component, served, seconds):
    """Return a function that sends more jobs than one worker can do, for some seconds."""

    async def send():
        for _ in range(int(seconds / 0.08)):
            served.cast(component, 0.1)
            assert balanced(component.statistics())
            await trio.sleep(0.08)

    return send


@every_component
async def test_codel_sheds_under_overload_where_a_plain_queue_grows(served, autojump_clock):
    waiting = {}
    for rule in (None, CoDel(target=0.2, interval=1.0)):
        told = Told()
        queue = Queue(max=math.inf, codel=rule)
        async with served.open(queue, instruments=[told]) as component:
            await overload(component, served, 120)()
            waiting[rule] = component.statistics().waiting
        stats = component.statistics()
        assert stats.completed + stats.dropped == stats.submitted == 1500
        assert len(told.drops) == stats.dropped
        assert {reason for _, _, reason, _ in told.drops} == ({"codel"} if rule else set())
    plain, controlled = waiting.values()
    assert plain > 200
    assert controlled < 30


async def test_a_call_that_codel_drops_says_so(autojump_clock):
    queue = Queue(codel=CoDel(target=1, interval=5))
    async with Tasker(limit=1, queue=queue) as tasker:
        tasker.execute_nowait(nap, 100)
        first, second = (tasker.submit_nowait(nap, 1) for _ in range(2))
        with pytest.raises(TooManyRequests) as caught:
            await first.wait()
        assert trio.current_time() == 6
        assert (caught.value.rule, caught.value.waited, caught.value.waiting) == ("codel", 6, 1)
        await second.wait_done()
        assert trio.current_time() == 11
        # The worker that comes back finds nothing waiting, and the dropping is over.
        await tasker.wait_idle()
        tasker.execute_nowait(nap, 5.5)
        third = tasker.submit_nowait(nap, 1)
        assert await third.wait() == 1


# -- what it costs


@every_component
async def test_ten_thousand_that_wait_need_one_timer(served, autojump_clock):
    async with served.open(Queue(max=math.inf, timeout=30)) as component:
        served.cast(component, 1000)
        for number in range(10_000):
            served.cast(component, 0)
            if number % 1000 == 0:
                await trio.sleep(1)
            assert timers(component) <= 1
        assert timers(component) == 1
        await trio.sleep(100)
        assert component.statistics().dropped == 10_000
        assert timers(component) == 0
        component.cancel()


async def test_a_look_that_is_due_sooner_takes_the_place_of_the_timer(autojump_clock):
    queue = Queue(codel=CoDel(target=1, interval=100))
    async with Tasker(limit=1, queue=queue) as tasker:
        tasker.execute_nowait(nap, 2)
        tasker.execute_nowait(nap, 0)
        await tasker.wait_idle()
        assert timers(tasker) == 1  # for the end of the interval
        tasker.execute_nowait(nap, 0)
        tasker.execute_nowait(nap, 0)  # this one is late sooner
        assert timers(tasker) == 1


async def test_a_worker_that_goes_leaves_no_timer(autojump_clock):
    async with Pool(Sleeper, pool_size=2, dynamic=True, queue=Queue(timeout=50)) as pool:
        for _ in range(4):
            pool.cast_nowait(20)
        await trio.sleep(1)
        assert timers(pool) == 2
        await pool.resize(1)
        await trio.sleep(25)
        assert len(pool) == 1
        assert timers(pool) == 1


async def test_jobs_that_never_wait_set_no_timer(autojump_clock):
    async with Pool(Sleeper, pool_size=2, queue=Queue(timeout=30, codel=CoDel())) as pool:
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(10):
            await pool.call(0)
        assert timers(pool) == 0


async def test_a_queue_without_time_rules_goes_the_quick_way(autojump_clock):
    for queue, quick in [(Queue(min=2), True), (Queue(timeout=5), False)]:
        async with Pool(Sleeper, pool_size=1, queue=queue) as pool:
            await trio.testing.wait_all_tasks_blocked()
            pool.cast_nowait(1)
            box = pool._crew.seats[0].box
            assert (box.bound > 0) is quick
            assert (box.take == box.line.popleft) is quick


# -- where it is refused, or means nothing


def test_a_batcher_refuses_rules_that_would_tear_batches_apart():
    async def handle(batch): ...

    for queue in (Queue(timeout=5), Queue(codel=CoDel())):
        with pytest.raises(ValueError, match=r"without timeout and codel: Batcher\(timeout=...\)"):
            Batcher(handle, queue=queue)
        with pytest.raises(ValueError, match="without timeout and codel"):
            type("Declared", (Batcher,), {"queue": queue, "handle_batch": handle})


def test_an_async_pool_has_no_queue_to_describe():
    with pytest.raises(TypeError, match="queue"):
        AsyncPool(nap, queue=Queue(timeout=5))


# -- the accounts, whatever is done

QUEUES = st.builds(
    Queue,
    max=st.sampled_from([0, 1, 3, math.inf]),
    order=st.sampled_from(["fifo", "lifo", "priority", "fair"]),
    overflow=st.sampled_from(["wait", "reject", "drop_oldest", "drop_newest"]),
    timeout=st.sampled_from([0, 0.5, 2, 5, math.inf]),
    min=st.sampled_from([0, 0, 1, 2]),
    codel=st.none() | st.builds(CoDel, st.sampled_from([0, 0.5, 1]), st.sampled_from([0.5, 2])),
)
STEP = st.tuples(
    st.sampled_from(["cast", "cast", "call", "brief call", "sleep", "pause", "resume"]),
    st.sampled_from([0, 0.5, 1, 3]),
)
STEPS = st.lists(STEP, max_size=25) | st.lists(STEP, min_size=12, max_size=25)


@settings(max_examples=200)
@given(
    served=st.sampled_from(SERVED[:3]),
    queue=QUEUES,
    rate=st.sampled_from([None, None, Rate(2)]),
    steps=STEPS,
)
def test_every_job_is_accounted_for_exactly_once(  # noqa: C901
    served, queue, rate, steps
):
    ends = {"done": 0, "dropped": 0, "refused": 0}
    errors = []

    async def call(component, seconds, limit):
        with trio.move_on_after(limit):
            try:
                await served.call(component, seconds)
            except TooManyRequests as error:
                ends["dropped"] += 1
                errors.append(error)
            except Closed:
                pass  # it waited for room until the end, and was never accepted
            else:
                ends["done"] += 1

    async def main():
        calls = casts = 0
        async with trio.open_nursery() as nursery, served.open(queue, rate=rate) as component:
            for what, seconds in steps:
                if what == "cast":
                    with contextlib.suppress(QueueFull):
                        try:
                            served.cast(component, seconds)
                        except TooManyRequests:
                            ends["refused"] += 1
                        casts += 1
                elif what.endswith("call"):
                    calls += 1
                    limit = math.inf if what == "call" else 1
                    nursery.start_soon(call, component, seconds, limit)
                elif what == "sleep":
                    await trio.sleep(seconds)
                else:
                    getattr(component, what)()
                stats = component.statistics()
                assert balanced(stats)
                assert casts <= stats.submitted <= casts + calls
        stats = component.statistics()
        assert balanced(stats)
        assert stats.running == stats.waiting == stats.failed == stats.abandoned == 0
        assert stats.dropped >= ends["dropped"] + ends["refused"]
        assert stats.completed >= ends["done"]

    trio.run(main, clock=MockClock(autojump_threshold=0))
    for error in errors:
        assert error.rule in ("timeout", "codel", queue.overflow)
        # As long as the limit, but for what the difference of two floats loses.
        assert error.waited >= (queue.timeout - 1e-6 if error.rule == "timeout" else 0)
