"""Retries, crashes and restarts: who learns of a failure, and what it leaves intact."""

import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poolder_trio import (
    HALT,
    RETRY,
    Backoff,
    Pool,
    Queue,
    QueueFull,
    Restart,
    RestartLimitExceeded,
    Retry,
    Worker,
)


class Failing(Worker):
    """Fails as often as a job says, then logs it; answers ``handle_error`` from ``verdicts``."""

    retry = Retry(attempts=4)
    verdicts = {}

    async def handle_job(self, job):
        name, failures = job
        tries = self.pool.tries
        tries.append((name, trio.current_time()))
        if sum(other == name for other, _ in tries) <= failures:
            raise ValueError(name)
        return name

    async def handle_error(self, job, attempt, error):
        self.pool.asked.append((job, attempt, str(error)))
        return self.verdicts.get(attempt)


class Tried(Pool):
    worker = Failing
    pool_size = 1

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.tries = []
        self.asked = []

    @property
    def order(self):
        return [name for name, _ in self.tries]


# -- retries


async def test_a_job_is_tried_as_often_as_retry_says_and_handle_error_sees_each_failure():
    async with Tried() as pool:
        assert await pool.call(("a", 3)) == "a"
    assert pool.order == ["a"] * 4
    assert pool.asked == [(("a", 3), attempt, "a") for attempt in (1, 2, 3)]
    assert pool.report.completed == 1


async def test_attempts_bound_every_verdict():
    class Eager(Failing):
        verdicts = dict.fromkeys(range(10), RETRY)

    async with Tried(Eager) as pool:
        with pytest.raises(ValueError, match="a") as caught:
            await pool.call(("a", 9))
        assert caught.value.__notes__ == ["job ('a', 9) on Tried[0], attempt 4 of 4"]
    assert pool.order == ["a"] * 4
    assert len(pool.asked) == 4


async def test_a_retry_without_wait_comes_before_any_other_job():
    async with Tried() as pool:
        await pool.cast_many([("a", 2), ("b", 0)])
    assert pool.order == ["a", "a", "a", "b"]


async def test_a_retry_that_backs_off_goes_behind_and_frees_its_worker(autojump_clock):
    class Backing(Failing):
        verdicts = {1: Backoff(5)}

    async with Tried(Backing) as pool:
        await pool.cast_many([("a", 1), ("b", 0)])
        await trio.sleep(4)
        pool.pause()
        await pool.cast_many([("c", 0), ("d", 0)])
        await trio.sleep(2)
        pool.resume()
    assert pool.tries == [("a", 0), ("b", 0), ("c", 6), ("d", 6), ("a", 6)]


async def test_the_waits_are_those_of_retry(autojump_clock):
    class Waiting(Failing):
        retry = Retry(attempts=5, backoff=1, factor=2, max_backoff=3)

    async with Tried(Waiting) as pool:
        await pool.cast(("a", 4))
    assert [when for _, when in pool.tries] == [0, 1, 3, 6, 9]


async def test_a_backoff_of_0_is_a_retry_now():
    class Now(Failing):
        verdicts = {1: Backoff(0)}

    async with Tried(Now) as pool:
        await pool.cast_many([("a", 1), ("b", 0)])
    assert pool.order == ["a", "a", "b"]


async def test_errors_that_retry_is_not_for_fail_at_once_unless_a_verdict_says_otherwise():
    class Picky(Failing):
        retry = Retry(attempts=4, on=KeyError)

    class Insistent(Picky):
        verdicts = {1: RETRY}

    async with Tried(Picky) as pool:
        with pytest.raises(ValueError, match="a"):
            await pool.call(("a", 1))
    async with Tried(Insistent) as pool:
        assert await pool.call(("a", 1)) == "a"


async def test_a_backing_off_job_counts_as_waiting_and_keeps_its_place_in_max(autojump_clock):
    class Backing(Failing):
        verdicts = {1: Backoff(10)}

    async with Tried(Backing, queue=Queue(max=2)) as pool:
        await pool.cast(("a", 1))
        await pool.cast(("b", 1))
        await wait_all_tasks_blocked()
        assert pool.statistics().waiting == 2
        with pytest.raises(QueueFull):  # though the worker is free
            pool.cast_nowait(("c", 0))
        with trio.move_on_after(1) as scope:
            await pool.cast(("c", 0))
        assert scope.cancelled_caught
        await pool.cast(("d", 0))
        assert trio.current_time() == 10
    assert pool.report.completed == 3


async def test_failing_jobs_do_not_get_around_back_pressure_by_backing_off(autojump_clock):
    most = 0

    class Hopeless(Failing):
        retry = Retry(attempts=3, backoff=60)

        async def handle_job(self, job):
            nonlocal most
            stats = self.pool.statistics()
            most = max(most, stats.waiting + stats.running)
            raise ValueError(job)

        async def handle_error(self, job, attempt, error):
            return HALT if attempt == 3 else None

    async with Tried(Hopeless, queue=Queue(max=5)) as pool:
        for number in range(50):
            await pool.cast(number)
    assert most <= 6
    assert pool.report.failed == 50


async def test_a_handle_error_that_raises_fails_the_job_with_that_error():
    class Broken(Failing):
        async def handle_error(self, job, attempt, error):
            raise KeyError("handle_error")

    async with Tried(Broken) as pool:
        with pytest.raises(KeyError) as caught:
            await pool.call(("a", 9))
        assert isinstance(caught.value.__context__, ValueError)
    assert pool.order == ["a"]


async def test_a_verdict_that_is_none_fails_the_job_and_says_what_was_expected():
    class Wrong(Failing):
        verdicts = {1: "something"}

    async with Tried(Wrong) as pool:
        with pytest.raises(TypeError, match=r"RETRY, HALT, .* got 'something' \(Wrong\)"):
            await pool.call(("a", 9))


async def test_a_backoff_function_that_raises_fails_the_job():
    def backoff(attempt):
        raise ZeroDivisionError

    class Wrong(Failing):
        retry = Retry(attempts=3, backoff=backoff)

    async with Tried(Wrong) as pool:
        with pytest.raises(ZeroDivisionError) as caught:
            await pool.call(("a", 9))
        assert isinstance(caught.value.__context__, ValueError)


async def test_a_halted_cast_is_handled():
    class Halting(Failing):
        verdicts = {2: HALT}

    async with Tried(Halting) as pool:
        await pool.cast(("a", 9))
        await pool.cast(("b", 0))
    assert pool.order == ["a", "a", "b"]
    assert (pool.report.completed, pool.report.failed) == (1, 1)


# -- crashes


async def test_by_default_the_first_crash_leaves_the_block_as_from_a_nursery(caplog):
    with pytest.RaisesGroup(ValueError) as caught:
        async with Tried() as pool:
            await pool.cast(("a", 9))
            await trio.sleep_forever()
    (error,) = caught.value.exceptions
    job, what_to_do = error.__notes__
    assert job == "job ('a', 9) on Tried[0], attempt 4 of 4"
    assert "restart=Restart(max_restarts=...)" in what_to_do
    assert pool.report.failed == 1
    assert not caplog.records


async def test_a_crash_cancels_the_others_and_accounts_for_them(autojump_clock):
    class Mixed(Worker):
        async def handle_job(self, job):
            if job == "bad":
                raise ValueError(job)
            await trio.sleep_forever()

    with pytest.RaisesGroup(ValueError):
        async with Pool(Mixed, pool_size=3) as pool:
            await pool.cast_many(["good", "good", "bad", 1, 2, 3])
            await trio.sleep_forever()
    report = pool.report
    assert (report.failed, report.cancelled, sorted(report.abandoned)) == (1, 2, [1, 2, 3])


async def test_a_crashed_worker_is_replaced_by_a_fresh_one_that_keeps_the_seats_jobs(caplog):
    seen = []

    class Stateful(Worker):
        async def handle_init(self):
            self.count = 0

        async def handle_job(self, job):
            self.count += 1
            seen.append((self.index, job, self.count))
            if job == "bad":
                raise ValueError(job)

    caplog.set_level(logging.ERROR, "poolder_trio.pool")
    async with Pool(Stateful, pool_size=2, restart=Restart(max_restarts=1)) as pool:
        await pool.cast_many(["bad", "x", "a", "y", "b", "z"])
    assert [entry for entry in seen if entry[0] == 0] == [(0, "bad", 1), (0, "a", 1), (0, "b", 2)]
    (record,) = caplog.records
    assert record.name == "poolder_trio.pool"
    assert record.exc_info[1].args == ("bad",)
    assert "Pool[0]" in record.getMessage()


async def test_one_crash_too_many_leaves_the_block_and_carries_the_crashes(autojump_clock, caplog):
    class Bad(Worker):
        async def handle_job(self, job):
            raise ValueError(job)

    with pytest.RaisesGroup(RestartLimitExceeded) as caught:
        async with Pool(Bad, pool_size=1, restart=Restart(max_restarts=2, within=5)) as pool:
            for number in range(9):
                await pool.cast(number)
                await trio.sleep(1)
    (error,) = caught.value.exceptions
    assert [crash.args for crash in error.crashes] == [(0,), (1,), (2,)]
    assert isinstance(error.__cause__, ValueError)
    assert "more crashes than max_restarts=2 within 5 s" in str(error)


async def test_crashes_that_come_slowly_never_escalate(autojump_clock, caplog):
    class Bad(Worker):
        async def handle_job(self, job):
            raise ValueError(job)

    async with Pool(Bad, pool_size=1, restart=Restart(max_restarts=1, within=5)) as pool:
        for number in range(20):
            await pool.cast(number)
            await trio.sleep(5)
    assert pool.report.failed == 20
    assert len(caplog.records) == 20


async def test_a_temporary_worker_is_not_replaced_and_its_jobs_move(caplog):
    seen = []

    class Seeing(Worker):
        async def handle_job(self, job):
            seen.append((self.index, job))
            if job == "bad":
                raise ValueError(job)

    async with Pool(Seeing, pool_size=2, restart=Restart(mode="temporary")) as pool:
        await pool.cast_many(["bad", 1, 2, 3, 4, 5])
        await pool.wait_idle()
        assert len(pool) == 1
        assert not pool[0].alive
    assert [job for index, job in seen if index == 0] == ["bad"]
    assert sorted(job for index, job in seen if index == 1) == [1, 2, 3, 4, 5]
    assert len(caplog.records) == 1


async def test_when_the_last_worker_is_gone_the_pool_closes(caplog):
    class Bad(Worker):
        async def handle_job(self, job):
            raise ValueError(job)

    async with Pool(Bad, pool_size=1, restart=Restart(mode="temporary")) as pool:
        await pool.cast_many([1, 2, 3])
        await pool.wait_closed()
        assert len(pool) == 0
    assert pool.report.failed == 1
    assert pool.report.abandoned == (2, 3)


async def test_a_handle_stop_that_raises_is_a_crash():
    class Sore(Worker):
        async def handle_job(self, job):
            pass

        async def handle_stop(self):
            raise KeyError("stop")

    with pytest.RaisesGroup(KeyError):
        async with Pool(Sore, pool_size=1) as pool:
            await pool.cast(1)
    assert pool.report.completed == 1


async def test_a_replacement_that_cannot_start_is_one_more_crash(caplog):
    started = []

    class Once(Worker):
        async def handle_init(self):
            started.append(self)
            if len(started) > 1:
                raise KeyError("init")

        async def handle_job(self, job):
            raise ValueError(job)

    with pytest.RaisesGroup(RestartLimitExceeded) as caught:
        async with Pool(Once, pool_size=1, restart=Restart(max_restarts=2)) as pool:
            await pool.cast(1)
            await trio.sleep_forever()
    (error,) = caught.value.exceptions
    assert [type(crash) for crash in error.crashes] == [ValueError, KeyError, KeyError]
    assert len(started) == 3


async def test_a_clean_up_that_raises_in_a_cancelled_pool_is_not_tried_again(autojump_clock):
    asked = []

    class Messy(Worker):
        retry = Retry(attempts=5)

        async def handle_job(self, job):
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("clean-up")

        async def handle_error(self, job, attempt, error):
            asked.append(job)

    with pytest.RaisesGroup(KeyError):
        async with Pool(Messy, pool_size=1) as pool:
            await pool.cast(1)
            await wait_all_tasks_blocked()
            pool.cancel()
    assert asked == []
    assert pool.report.failed == 1


async def test_base_exceptions_pass_through():
    class Fatal(BaseException):
        pass

    class Dying(Worker):
        retry = Retry(attempts=5)

        async def handle_job(self, job):
            raise Fatal

    with pytest.RaisesGroup(Fatal):
        async with Pool(Dying, pool_size=1, restart=Restart(max_restarts=9)) as pool:
            await pool.cast(1)
            await trio.sleep_forever()
    assert pool.report.cancelled == 1


async def test_a_job_whose_repr_raises_still_fails_with_its_own_error():
    class Ugly:
        def __repr__(self):
            raise RuntimeError("repr")

    class Bad(Worker):
        async def handle_job(self, job):
            raise ValueError("own")

    async with Pool(Bad, pool_size=1) as pool:
        with pytest.raises(ValueError, match="own") as caught:
            await pool.call(Ugly())
        assert "Ugly" in caught.value.__notes__[0]
