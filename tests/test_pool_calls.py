"""Calls: every caller gets its own answer, or takes its request back."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poolder_trio import (
    HALT,
    Backoff,
    Closed,
    JobCancelled,
    JobHalted,
    Pool,
    Queue,
    Retry,
    Worker,
)


class Doubler(Worker[int, int]):
    async def handle_call(self, request):
        await trio.sleep(1)
        return 2 * request


async def test_a_call_returns_its_own_reply_among_a_thousand(autojump_clock):
    replies = {}

    async def call(pool, number):
        replies[number] = await pool.call(number)

    async with Pool(Doubler, pool_size=10) as pool, trio.open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(call, pool, number)
    assert replies == {number: 2 * number for number in range(1000)}


async def test_handle_call_is_handle_job_unless_it_is_overridden():
    class Both(Worker):
        async def handle_job(self, job):
            return "job", job

    async with Pool(Both, pool_size=1) as pool:
        assert await pool.call(1) == ("job", 1)


async def test_a_failing_call_raises_the_handlers_own_exception_and_the_worker_goes_on():
    class Keeps(Worker):
        count = 0

        async def handle_job(self, job):
            self.count += 1
            if job == "bad":
                raise ValueError(job)
            return self.count

    async with Pool(Keeps, pool_size=1, name="keeps") as pool:
        assert await pool.call("good") == 1
        with pytest.raises(ValueError, match="bad") as caught:
            await pool.call("bad")
        assert caught.value.__notes__ == ["job 'bad' on keeps[0], attempt 1 of 1"]
        assert await pool.call("good") == 3  # the same worker, with its state
    assert (pool.report.completed, pool.report.failed) == (2, 1)


async def test_a_halted_call_raises_job_halted_from_the_error():
    class Halting(Worker):
        async def handle_job(self, job):
            raise ValueError(job)

        async def handle_error(self, job, attempt, error):
            return HALT

    async with Pool(Halting, pool_size=1) as pool:
        with pytest.raises(JobHalted, match="halted") as caught:
            await pool.call(1)
        assert isinstance(caught.value.__cause__, ValueError)
        await pool.cast(2)
    assert pool.report.failed == 2


async def test_a_cancelled_caller_withdraws_a_request_that_waits(autojump_clock):
    seen = []

    class Slow(Worker):
        async def handle_job(self, job):
            await trio.sleep(5)
            seen.append(job)

    async with Pool(Slow, pool_size=1) as pool:
        await pool.cast("first")
        with trio.move_on_after(1) as scope:
            await pool.call("withdrawn")
        assert scope.cancelled_caught
        assert trio.current_time() == pytest.approx(1)
        stats = pool.statistics()
        assert (stats.waiting, stats.running, stats.cancelled) == (0, 1, 1)
    assert seen == ["first"]


async def test_a_withdrawn_request_gives_its_place_in_the_queue_back(autojump_clock):
    async with Pool(Doubler, pool_size=1, queue=Queue(max=1)) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.call, 1)
            await wait_all_tasks_blocked()
            for _ in range(3):
                with trio.move_on_after(0.1):
                    await pool.call(2)
            pool.cast_nowait  # noqa: B018
            assert await pool.call(3) == 6


async def test_a_request_cancelled_between_hand_over_and_start_never_runs():
    seen = []

    class Seeing(Worker):
        async def handle_job(self, job):
            seen.append(job)

    async with Pool(Seeing, pool_size=1) as pool:
        await wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await pool.call("never")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.call, "maybe")
            nursery.cancel_scope.cancel()
        assert await pool.call("real") is None
        assert pool.statistics().running == pool.statistics().waiting == 0
    assert "never" not in seen
    assert seen[-1] == "real"


async def test_a_cancelled_caller_cancels_its_running_handler_and_leaves_when_it_has_stopped(
    autojump_clock,
):
    events = []

    class Cleaning(Worker):
        async def handle_job(self, job):
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(3, shield=True):
                    await trio.sleep(2)
                events.append(("stopped", trio.current_time()))

    async with Pool(Cleaning, pool_size=1) as pool:
        begun = trio.current_time()
        with trio.move_on_after(1):
            await pool.call("x")
        events.append(("left", trio.current_time()))
        assert events == [("stopped", begun + 3), ("left", begun + 3)]
    assert pool.report.cancelled == 1


async def test_a_cancelled_call_that_completed_all_the_same_returns_its_result(autojump_clock):
    class Stubborn(Worker):
        async def handle_job(self, job):
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            return "done"

    async with Pool(Stubborn, pool_size=1) as pool:
        with trio.move_on_after(1) as scope:
            assert await pool.call("x") == "done"
        assert not scope.cancelled_caught
        # The scope that was cancelled for the first job is not the next one's.
        assert await pool.call("y") == "done"
    assert pool.report.completed == 2


async def test_a_cancel_that_comes_when_the_job_is_done_does_not_hit_the_next_job(autojump_clock):
    """The job is done, and its scope cancelled, in the same scheduler pass, in either order."""
    for delay in (0.999, 1.0, 1.001):
        async with Pool(Doubler, pool_size=1) as pool:
            for _ in range(20):
                with trio.move_on_after(delay):
                    await pool.call(1)
                assert await pool.call(2) == 4
            assert pool.statistics().running == 0


async def test_what_clean_up_raises_goes_to_the_caller_and_the_worker_lives_on(autojump_clock):
    class Messy(Worker):
        async def handle_job(self, job):
            if job == "ok":
                return id(self)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("clean-up")

    async with Pool(Messy, pool_size=1) as pool:
        before = await pool.call("ok")
        with trio.move_on_after(1), pytest.raises(KeyError, match="clean-up"):
            await pool.call("x")
        assert await pool.call("ok") == before
    assert pool.report.failed == 1


async def test_clean_up_in_a_nursery_of_the_handler_settles_the_job_too(autojump_clock):
    class Nested(Worker):
        async def handle_job(self, job):
            if job == "ok":
                return "ok"
            await self.fail()
            return None

        async def fail(self):
            async def bad():
                try:
                    await trio.sleep_forever()
                finally:
                    raise KeyError("clean-up")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(bad)
                nursery.start_soon(trio.sleep_forever)

    async with Pool(Nested, pool_size=1) as pool:
        with trio.move_on_after(1), pytest.raises(Exception, match="nursery") as caught:
            await pool.call("x")
        assert [type(error) for error in caught.value.exceptions] == [KeyError]
        assert await pool.call("ok") == "ok"


async def test_a_cancelled_caller_ends_a_job_that_backs_off(autojump_clock):
    tries = []

    class Failing(Worker):
        retry = Retry(attempts=5)

        async def handle_job(self, job):
            tries.append(job)
            raise ValueError(job)

        async def handle_error(self, job, attempt, error):
            return Backoff(10)

    async with Pool(Failing, pool_size=1, queue=Queue(max=1)) as pool:
        with trio.move_on_after(1) as scope:
            await pool.call(1)
        assert scope.cancelled_caught
        assert pool.statistics().waiting == 0
        await trio.sleep(100)
    assert tries == [1]
    assert pool.report.cancelled == 1


async def test_a_cancel_during_handle_error_ends_the_job(autojump_clock):
    class Asking(Worker):
        retry = Retry(attempts=5)

        async def handle_job(self, job):
            if job:
                raise ValueError(job)
            return "ok"

        async def handle_error(self, job, attempt, error):
            await trio.sleep(10)

    async with Pool(Asking, pool_size=1) as pool:
        with trio.move_on_after(1) as scope:
            await pool.call(1)
        assert scope.cancelled_caught
        assert await pool.call(0) == "ok"


async def test_a_late_reply_never_answers_another_call(autojump_clock):
    class Echo(Worker):
        async def handle_job(self, job):
            number, shielded = job
            with trio.CancelScope(shield=shielded):
                await trio.sleep(2)
            return number

    async with Pool(Echo, pool_size=1) as pool:
        for number in range(10):
            with trio.move_on_after(1):
                assert await pool.call((number, number % 2 == 0)) == number
            assert await pool.call((100 + number, False)) == 100 + number


async def test_a_caller_outside_the_block_learns_that_the_pool_was_cancelled(autojump_clock):
    errors = []

    async def call(pool, number):
        try:
            await pool.call(number)
        except Exception as error:  # noqa: BLE001
            errors.append(type(error).__name__)

    async with trio.open_nursery() as nursery:
        async with Pool(Doubler, pool_size=1) as pool:
            for number in range(3):
                nursery.start_soon(call, pool, number)
            await wait_all_tasks_blocked()
            pool.cancel()
    assert sorted(errors) == ["JobAbandoned", "JobAbandoned", "JobCancelled"]
    assert (pool.report.cancelled, len(pool.report.abandoned)) == (1, 2)


async def test_call_needs_an_open_pool():
    pool = Pool(Doubler)
    with pytest.raises(Closed, match="enter it"):
        await pool.call(1)
    async with pool:
        pass
    with pytest.raises(Closed, match="has ended"):
        await pool.call(1)
    assert issubclass(JobCancelled, Exception)


@pytest.mark.parametrize("mode", ["round_robin", "available", "phash", "broadcast"])
async def test_every_async_method_is_a_checkpoint_and_cancellable(mode, autojump_clock):
    class Quick(Worker):
        async def handle_job(self, job):
            return job

    async with Pool(Quick, pool_size=2, mode=mode, dynamic=True) as pool:
        sends = [
            lambda: pool.cast(1),
            lambda: pool.cast_many([1, 2]),
            lambda: pool.cast_many([]),
            lambda: pool.call(1),
            pool.wait_idle,
            pool.start_child,
            pool.stop_child,
            lambda: pool.resize(3),
            lambda: pool.resize(3),
        ]
        if mode != "available":
            sends += [
                lambda: pool.broadcast(1),
                lambda: pool.broadcast_call(1),
                lambda: pool[0].cast(1),
                lambda: pool[0].call(1),
            ]
        for send in sends:
            with trio.testing.assert_checkpoints():
                await send()
        for send in sends:
            with trio.CancelScope() as scope:
                scope.cancel()
                await send()
            assert scope.cancelled_caught


# -- what nothing looks at is refused, and what something looks at counts


async def test_the_priority_of_a_call_is_its_rank_among_those_that_wait(autojump_clock):
    order = []

    class Noting(Worker):
        async def handle_job(self, job):
            order.append(job)
            await trio.sleep(1)

    queue = Queue(order="priority")
    async with Pool(Noting, pool_size=1, queue=queue) as pool, trio.open_nursery() as nursery:
        await pool.cast("first")
        await wait_all_tasks_blocked()
        for rank in (1, 3, 2):

            async def call(rank=rank):
                await pool.call(rank, priority=rank)

            nursery.start_soon(call)
            await wait_all_tasks_blocked()
    assert order == ["first", 3, 2, 1]


@pytest.mark.parametrize("mode", ["round_robin", "available", "broadcast"])
async def test_a_key_or_a_priority_that_nothing_looks_at_is_refused_at_every_call(
    mode, autojump_clock
):
    class Replying(Worker):
        async def handle_job(self, job):
            return job

    async with Pool(Replying, pool_size=2, mode=mode) as pool:
        for _ in range(3):
            for given in ({"key": 1}, {"priority": 1}):
                for send in (pool.call, pool.cast, pool.broadcast, pool.broadcast_call):
                    if mode == "available" and "broadcast" in send.__name__:
                        continue
                    with pytest.raises(TypeError, match="needs"):
                        await send(1, **given)
                with pytest.raises(TypeError, match="needs"):
                    pool.cast_nowait(1, **given)
            await pool.call(1)
    assert pool.report.completed == 3 * (2 if mode == "broadcast" else 1)


async def test_the_priority_of_a_broadcast_is_its_rank_too(autojump_clock):
    order = []

    class Noting(Worker):
        async def handle_job(self, job):
            order.append(job)
            await trio.sleep(1)

    async with Pool(Noting, pool_size=1, queue=Queue(order="priority")) as pool:
        await pool.cast("first")
        await wait_all_tasks_blocked()
        for rank in (1, 3, 2):
            await pool.broadcast(rank, priority=rank)
    assert order == ["first", 3, 2, 1]
