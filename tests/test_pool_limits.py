"""job_timeout, overrun_warning and rate."""

import itertools
import logging
import math

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poolder_trio import JobTimeout, Pool, Queue, Rate, Restart, Retry, Worker


class Sleeper(Worker):
    async def handle_job(self, job):
        await trio.sleep(job)
        return job


# -- job_timeout


async def test_a_job_over_its_time_is_cancelled_then_and_fails_with_job_timeout(autojump_clock):
    async with Pool(Sleeper, pool_size=2, job_timeout=5) as pool:
        await trio.sleep(1.5)
        with pytest.raises(JobTimeout, match="job_timeout=5 s") as caught:
            await pool.call(100)
        assert trio.current_time() == 6.5
        assert isinstance(caught.value, trio.TooSlowError)
        assert await pool.call(4.9) == 4.9
    assert (pool.report.completed, pool.report.failed) == (1, 1)


async def test_the_time_of_a_job_begins_when_it_starts_and_not_when_it_is_sent(autojump_clock):
    async with Pool(Sleeper, pool_size=1, job_timeout=3) as pool:
        await pool.cast_many([2] * 10)
    assert pool.report.completed == 10


async def test_each_of_many_jobs_is_cut_at_its_own_time(autojump_clock):
    cuts = []

    class Cut(Worker):
        retry = Retry(attempts=1)

        async def handle_job(self, job):
            begun = trio.current_time()
            try:
                await trio.sleep(job)
            finally:
                cuts.append((job, round(trio.current_time() - begun, 6)))

    async with Pool(Cut, pool_size=7, job_timeout=2, restart=Restart(mode="temporary")) as pool:
        for number in range(7):
            await pool[number].cast(1.5 if number % 2 else 50)
            await trio.sleep(0.3)
    assert sorted(cuts) == [(1.5, 1.5)] * 3 + [(50, 2)] * 4


async def test_a_time_out_counts_as_a_failed_attempt(autojump_clock):
    asked = []

    class Slow(Worker):
        retry = Retry(attempts=3, backoff=1)

        async def handle_job(self, job):
            await trio.sleep(10 if len(asked) < 2 else 1)
            return "done"

        async def handle_error(self, job, attempt, error):
            asked.append((attempt, type(error)))

    async with Pool(Slow, pool_size=1, job_timeout=5) as pool:
        assert await pool.call(1) == "done"
    assert asked == [(1, JobTimeout), (2, JobTimeout)]
    assert trio.current_time() == 5 + 1 + 5 + 1 + 1


async def test_a_cast_over_its_time_is_a_crash_unless_it_is_handled(autojump_clock):
    with pytest.RaisesGroup(JobTimeout) as caught:
        async with Pool(Sleeper, pool_size=1, job_timeout=5) as pool:
            await pool.cast(100)
    assert "job 100 on Pool[0], attempt 1 of 1" in caught.value.exceptions[0].__notes__


async def test_a_time_out_hits_its_own_job_and_the_worker_goes_on_with_its_state(autojump_clock):
    class Counting(Worker):
        count = 0

        async def handle_job(self, job):
            self.count += 1
            await trio.sleep(job)
            return self.count

    async with Pool(Counting, pool_size=1, job_timeout=5) as pool:
        with pytest.raises(JobTimeout):
            await pool.call(5.1)
        assert await pool.call(4) == 2
        assert await pool.call(0) == 3


async def test_a_handler_that_completes_in_spite_of_its_time_out_has_completed(autojump_clock):
    class Stubborn(Worker):
        async def handle_job(self, job):
            with trio.CancelScope(shield=True):
                await trio.sleep(job)
            return job

    async with Pool(Stubborn, pool_size=1, job_timeout=5) as pool:
        assert await pool.call(7) == 7
        await pool.cast(8)
        assert await pool.call(1) == 1
    assert pool.report.completed == 3


async def test_what_a_timed_out_handler_raises_while_it_stops_is_the_cause(autojump_clock):
    class Messy(Worker):
        async def handle_job(self, job):
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("clean-up")

    async with Pool(Messy, pool_size=1, job_timeout=5) as pool:
        with pytest.raises(JobTimeout) as caught:
            await pool.call(1)
        assert isinstance(caught.value.__cause__, KeyError)


async def test_a_caller_that_leaves_during_a_time_out_takes_the_job_along(autojump_clock):
    tries = []

    class Slow(Worker):
        retry = Retry(attempts=5)

        async def handle_job(self, job):
            tries.append(job)
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(2, shield=True):
                    await trio.sleep_forever()

    async with Pool(Slow, pool_size=1, job_timeout=5) as pool:
        with trio.move_on_after(6) as scope:  # the handler stops at 7, for the time-out at 5
            await pool.call(1)
        assert scope.cancelled_caught
        assert trio.current_time() == 7
    assert tries == [1]
    assert pool.report.cancelled == 1


async def test_an_idle_pool_with_a_time_out_has_no_timer(autojump_clock):
    async with Pool(Sleeper, pool_size=1, job_timeout=5) as pool:
        await pool.call(1)
        await trio.sleep(10)
        with trio.fail_after(1e9):
            await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf


# -- overrun_warning


async def test_a_job_that_runs_long_is_logged_once_with_its_stack_and_goes_on(
    autojump_clock, caplog
):
    class Slow(Worker):
        async def handle_job(self, job):
            await self.somewhere_deep(job)

        async def somewhere_deep(self, job):
            await trio.sleep(job)

    async with Pool(Slow, pool_size=2, overrun_warning=5) as pool:
        await pool.cast_many([30, 4])
        await pool.wait_idle()
        assert trio.current_time() == 30
        await pool.call(6)
    assert pool.report.completed == 3
    first, second = caplog.records
    assert first.levelno == logging.WARNING
    assert "job=30" in first.getMessage()
    assert "somewhere_deep" in first.getMessage()
    assert "job=6" in second.getMessage()


# -- rate


async def starts(jobs, *, nap=0.0, **options):
    begun = []

    class Noting(Worker):
        async def handle_job(self, job):
            begun.append(trio.current_time())
            await trio.sleep(nap)

    async with Pool(Noting, **options) as pool:
        await pool.cast_many(range(jobs))
    return begun


@pytest.mark.parametrize("mode", ["round_robin", "available"])
async def test_a_rate_spaces_the_starts_of_all_workers_together(mode, autojump_clock):
    begun = await starts(25, pool_size=3, mode=mode, rate=Rate(10))
    assert begun == pytest.approx([number / 10 for number in range(25)])


async def test_a_burst_may_start_at_once(autojump_clock):
    begun = await starts(7, pool_size=9, rate=Rate(2, per=1, burst=4))
    assert begun == pytest.approx([0, 0, 0, 0, 0.5, 1.0, 1.5])


async def test_slow_jobs_do_not_save_up_starts(autojump_clock):
    begun = await starts(5, nap=1, pool_size=1, rate=Rate(10))
    assert begun == pytest.approx([0, 1, 2, 3, 4])


async def test_what_waits_for_its_slot_waits_in_the_queue_and_can_be_taken_back(autojump_clock):
    begun = []

    class Noting(Worker):
        async def handle_job(self, job):
            begun.append((job, trio.current_time()))

    async with Pool(Noting, pool_size=5, mode="available", rate=Rate(1)) as pool:
        await pool.cast("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.call, "taken back")
            await wait_all_tasks_blocked()
            assert pool.statistics().waiting == 1
            nursery.cancel_scope.cancel()
        await pool.cast("b")  # gets the slot that was given back
    assert begun == [("a", 0), ("b", 1)]


async def test_every_try_takes_a_slot(autojump_clock):
    begun = []

    class Flaky(Worker):
        retry = Retry(attempts=3)

        async def handle_job(self, job):
            begun.append((job, trio.current_time()))
            if job == "flaky" and len(begun) < 4:
                raise ValueError

    async with Pool(Flaky, pool_size=2, mode="available", rate=Rate(1)) as pool:
        await pool.cast_many(["flaky", "other"])
    assert [when for _, when in begun] == pytest.approx([0, 1, 2, 3])
    assert begun[0][0] == "flaky"


async def test_a_rate_bounds_the_queue_and_makes_senders_wait(autojump_clock):
    async with Pool(Sleeper, pool_size=2, rate=Rate(1), queue=Queue(max=2)) as pool:
        for number in range(8):
            await pool.cast(0)
            # Two inboxes of two, and one job on its way to its worker.
            assert pool.statistics().waiting <= 5, number
    assert trio.current_time() == pytest.approx(7)
    assert pool.report.completed == 8


async def test_a_rate_is_kept_through_pause_and_resume(autojump_clock):
    begun = []

    class Noting(Worker):
        async def handle_job(self, job):
            begun.append(trio.current_time())

    async with Pool(Noting, pool_size=2, rate=Rate(1)) as pool:
        await pool.cast_many(range(6))
        await trio.sleep(1.5)
        pool.pause()
        await trio.sleep(10)
        assert len(begun) == 2
        pool.resume()
    assert len(begun) == 6
    gaps = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert min(gaps) >= 1 - 1e-9


@pytest.mark.parametrize("mode", ["round_robin", "available"])
async def test_a_rate_goes_together_with_a_queue_in_which_nothing_waits(mode, autojump_clock):
    async with Pool(Sleeper, pool_size=2, mode=mode, rate=Rate(1), queue=Queue(max=0)) as pool:
        for _ in range(4):
            await pool.cast(0)
    assert trio.current_time() == pytest.approx(3)
    assert pool.report.completed == 4


async def test_wait_idle_waits_for_those_who_wait_for_a_slot(autojump_clock):
    async with Pool(Sleeper, pool_size=4, rate=Rate(1)) as pool:
        await pool.cast_many([0, 0, 0])
        await pool.wait_idle()
        assert trio.current_time() == pytest.approx(2)


async def test_a_cancelled_pool_starts_nothing_at_its_next_slot(autojump_clock):
    async with Pool(Sleeper, pool_size=1, rate=Rate(1)) as pool:
        await pool.cast_many([0, 1, 2])
        await trio.sleep(0.5)
        pool.cancel()
        await trio.sleep(10)
    assert pool.report.completed == 1
    assert pool.report.abandoned == (1, 2)
