"""Functions, at most so many at once: limits, keys, rates, contexts, failures, the end."""

import contextvars
import functools
import gc
import logging
import math
import random
import re
import sys
import weakref

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio import (
    HALT,
    Backoff,
    Closed,
    Instrument,
    JobAbandoned,
    JobCancelled,
    JobError,
    JobHalted,
    JobTimeout,
    Queue,
    QueueFull,
    Rate,
    Restart,
    RestartLimitExceeded,
    Retry,
    Stop,
    Tasker,
    TooManyRequests,
    as_completed,
    await_many,
    whereis,
)

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


def without_address(value):
    """A name for a case that is the same in every process."""
    return re.sub(r" at 0x\w+", "", str(value))


class Gauge:
    """Counts how many of its runs there are at once."""

    def __init__(self):
        self.now = self.most = 0
        self.order = []

    async def run(self, what=None, seconds=1.0):
        self.order.append(what)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await trio.sleep(seconds)
        finally:
            self.now -= 1
        return what


async def double(number):
    await trio.lowlevel.checkpoint()
    return 2 * number


async def fail(text="broken"):
    await trio.lowlevel.checkpoint()
    raise ValueError(text)


def raised(group, kind):
    """All exceptions of a kind in a group."""
    matching = group.subgroup(kind)
    return [] if matching is None else list(matching.exceptions)


# -- Poolder's README


async def test_readme_a_named_tasker_runs_a_hundred_functions_two_at_once(autojump_clock):
    begun = trio.current_time()
    gauge = Gauge()
    async with Tasker(name="mytasker", limit=2, hibernate_after=60.0) as tasker:
        assert whereis("mytasker") is tasker
        for number in range(1, 101):
            await tasker.execute(gauge.run, number)
    assert sorted(gauge.order) == list(range(1, 101))
    assert gauge.most == 2
    assert trio.current_time() - begun == pytest.approx(50.0)
    assert tasker.report.completed == 100


async def test_bug_one_tasks_end_leaves_the_others_alone(autojump_clock):
    gauge = Gauge()
    async with Tasker(limit=2, restart=Restart(mode="temporary")) as tasker:
        for number in range(10):
            await tasker.execute(gauge.run, number)
            await tasker.execute(fail)
    assert sorted(gauge.order) == list(range(10))
    assert (tasker.report.completed, tasker.report.failed) == (10, 10)


async def test_bug_each_job_has_its_own_result():
    async with Tasker() as tasker:
        jobs = [await tasker.submit(double, number) for number in range(20)]
        assert await await_many(reversed(jobs)) == [2 * n for n in reversed(range(20))]


async def test_bug_close_runs_what_was_accepted(autojump_clock):
    gauge = Gauge()
    async with Tasker(limit=1) as tasker:
        for number in range(5):
            tasker.execute_nowait(gauge.run, number)
        tasker.close()
        with pytest.raises(Closed):
            tasker.execute_nowait(gauge.run)
    assert gauge.order == list(range(5))


# -- the limit


@given(limit=st.integers(1, 5), sizes=st.lists(st.integers(0, 3), max_size=20))
def test_never_more_at_once_than_the_limit_and_always_as_many_as_can_be(limit, sizes):
    async def main():
        gauge = Gauge()
        async with Tasker(limit=limit) as tasker:
            for seconds in sizes:
                await tasker.execute(gauge.run, None, seconds)
            await trio.testing.wait_all_tasks_blocked()
            assert gauge.now == min(limit, sum(1 for seconds in sizes if seconds))
        assert gauge.most <= limit

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@given(changes=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 5)), max_size=15))
def test_a_limit_that_changes_while_it_runs_holds_from_then_on(changes):
    async def main():
        gauge = Gauge()
        async with Tasker(limit=3) as tasker:
            for _ in range(40):
                await tasker.execute(gauge.run)
            await trio.testing.wait_all_tasks_blocked()
            for limit, seconds in changes:
                before = gauge.now
                tasker.limit = limit
                await trio.sleep(seconds + 0.5)
                await trio.testing.wait_all_tasks_blocked()
                left = tasker.statistics().waiting
                # What ran before may run to its end; nothing is started beyond the limit.
                assert gauge.now <= max(limit, before if seconds == 0 else 0)
                if seconds and left:
                    assert gauge.now == limit
        assert tasker.report.completed == 40

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_limit_lowered_below_what_runs_starts_nothing_until_enough_has_ended(
    autojump_clock,
):
    gauge = Gauge()
    async with Tasker(limit=4) as tasker:
        for seconds in (1, 2, 3, 4):
            await tasker.execute(gauge.run, seconds, seconds)
        for _ in range(3):
            await tasker.execute(gauge.run, "later", 1)
        await trio.sleep(0.5)
        tasker.limit = 2
        await trio.sleep(1)  # one has ended
        assert gauge.now == 3
        await trio.sleep(1)  # two have
        assert gauge.now == 2
        tasker.limit = 4
        await trio.sleep(0.1)
        assert gauge.now == 4


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "3"])
async def test_a_wrong_limit_is_refused_at_once(wrong):
    with pytest.raises((TypeError, ValueError), match=r"limit must be an int >= 1"):
        Tasker(limit=wrong)
    tasker = Tasker()
    with pytest.raises((TypeError, ValueError), match=r"limit must be an int >= 1"):
        tasker.limit = wrong


async def test_idle_tasks_end_and_come_back_with_the_next_job(autojump_clock):
    async with trio.open_nursery() as nursery:
        async with Tasker(limit=100, hibernate_after=5.0) as tasker:
            tasks = trio.lowlevel.current_statistics
            before = tasks().tasks_living
            await await_many([await tasker.submit(double, n) for n in range(100)])
            assert tasks().tasks_living > before
            await trio.sleep(6)
            assert tasks().tasks_living == before
            assert await tasker.call(double, 4) == 8
        nursery.cancel_scope.cancel()


async def test_a_thousand_places_cost_no_task_before_they_are_needed():
    async with Tasker(limit=1000) as tasker:
        before = trio.lowlevel.current_statistics().tasks_living
        await tasker.call(double, 1)
        assert trio.lowlevel.current_statistics().tasks_living - before <= 1


# -- keys


async def test_so_many_at_once_for_one_key(autojump_clock):
    gauges = {key: Gauge() for key in "abc"}
    async with Tasker(limit=10, limit_per_key=2) as tasker:
        for key in "aaaaaabbbc":
            await tasker.execute(gauges[key].run, key=key)
    assert [gauges[key].most for key in "abc"] == [2, 2, 1]
    assert trio.current_time() == pytest.approx(3.0)


async def test_a_key_that_is_full_holds_up_nobody_else(autojump_clock):
    gauge = Gauge()
    async with Tasker(limit=2, limit_per_key=1) as tasker:
        for what in ("a1", "a2", "a3", "b1", "b2"):
            await tasker.execute(gauge.run, what, key=what[0])
        await tasker.execute(gauge.run, "free")
    assert set(gauge.order[:2]) == {"a1", "b1"}
    assert sorted(gauge.order) == ["a1", "a2", "a3", "b1", "b2", "free"]
    assert gauge.most == 2
    assert trio.current_time() == pytest.approx(3.0)


async def test_a_key_is_free_again_after_failures_cancellations_and_between_tries(autojump_clock):
    async with Tasker(limit=5, limit_per_key=1, retry=Retry(attempts=2, backoff=10.0)) as tasker:
        failing = await tasker.submit(fail, key="k")
        await trio.sleep(1)
        assert failing.status == "backing-off"
        assert await tasker.call(double, 1, key="k") == 2
        running = await tasker.submit(trio.sleep, 100, key="k")
        handed = await tasker.submit(double, 3, key="k")
        await trio.sleep(1)
        running.cancel()
        assert await handed.wait() == 6
        with pytest.raises(ValueError, match="broken"):
            await failing.wait()
        assert await tasker.call(double, 2, key="k") == 4


async def test_a_key_that_nothing_looks_at_is_refused():
    async with Tasker() as tasker:
        with pytest.raises(TypeError, match="key='k' needs"):
            await tasker.execute(double, 1, key="k")


# -- rates


async def test_starts_keep_a_rate(autojump_clock):
    starts = []

    async def start():
        starts.append(trio.current_time())

    async with Tasker(limit=100, rate=Rate(10)) as tasker:
        for _ in range(25):
            await tasker.execute(start)
    assert starts == pytest.approx([n / 10 for n in range(25)])


async def test_several_rates_are_all_kept(autojump_clock):
    starts = []

    async def start():
        starts.append(trio.current_time())

    async with Tasker(limit=100, rate=(Rate(10, burst=5), Rate(20, per=10.0))) as tasker:
        for _ in range(25):
            await tasker.execute(start)
    assert starts == pytest.approx([n / 2 for n in range(25)])


async def test_a_job_that_is_cancelled_while_it_waits_gives_its_slot_back(autojump_clock):
    async with Tasker(limit=10, rate=Rate(1)) as tasker:
        jobs = [await tasker.submit(double, n) for n in range(5)]
        await trio.sleep(0.5)
        for job in jobs[1:4]:
            job.cancel()
        await jobs[4].wait()
        assert trio.current_time() == pytest.approx(1.0)


@pytest.mark.parametrize("wrong", [(), (Rate(1), 2), 3, [Rate(1)]])
def test_a_wrong_rate_is_refused(wrong):
    with pytest.raises(TypeError, match="rate must be a Rate, a tuple of them, or None"):
        Tasker(rate=wrong)


# -- what can be run

var = contextvars.ContextVar("var", default="outside")


async def read():
    await trio.lowlevel.checkpoint()
    return var.get()


async def write(value):
    var.set(value)
    await trio.lowlevel.checkpoint()
    return var.get()


async def test_a_function_sees_a_copy_of_its_submitters_context():
    async with Tasker(limit=2) as tasker:
        var.set("first")
        jobs = [await tasker.submit(read) for _ in range(5)]
        var.set("second")
        jobs += [tasker.submit_nowait(read) for _ in range(5)]
        assert await await_many(jobs) == ["first"] * 5 + ["second"] * 5
        assert await tasker.call(read) == "second"


async def test_a_function_that_sets_a_variable_sets_it_for_nobody_else():
    async with Tasker(limit=1) as tasker:
        jobs = []
        for value in "abc":
            jobs += [await tasker.submit(write, value), await tasker.submit(read)]
        assert await await_many(jobs) == ["a", "outside", "b", "outside", "c", "outside"]
    assert var.get() == "outside"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([read, write])), max_size=15))
def test_contexts_never_mix(steps):
    async def main():
        async with Tasker(limit=2) as tasker:
            jobs = []
            for value, fn in steps:
                var.set(value)
                jobs.append(tasker.submit_nowait(fn, *((f"set {value}",) if fn is write else ())))
            wanted = [f"set {value}" if fn is write else value for value, fn in steps]
            assert await await_many(jobs) == wanted

    contextvars.copy_context().run(trio.run, main)


class Callable:
    async def __call__(self, number):
        return await double(number)

    async def method(self, number):
        return await double(number)


@pytest.mark.parametrize(
    "fn", [double, functools.partial(double), Callable(), Callable().method], ids=without_address
)
async def test_anything_async_can_be_run(fn):
    async with Tasker() as tasker:
        assert await tasker.call(fn, 4) == 8
        assert await (await tasker.submit(fn, 4)).wait() == 8
        assert await tasker.submit_nowait(fn, 4).wait() == 8


async def stream():
    yield 1


@pytest.mark.parametrize(
    ("fn", "hint"),
    [
        (lambda: 3, "a lambda: pass fn"),
        (print, "executor=ThreadExecutor"),
        (functools.partial(print), "executor=ThreadExecutor"),
        (stream, "async generator"),
        (3, "got 3"),
        (None, "got None"),
    ],
    ids=without_address,
)
async def test_anything_else_is_refused_with_the_remedy(fn, hint):
    async with Tasker() as tasker:
        for send in (tasker.execute, tasker.submit, tasker.call):
            with pytest.raises(TypeError, match=f"expected an async function.*{hint}"):
                await send(fn)
        for send in (tasker.execute_nowait, tasker.submit_nowait):
            with pytest.raises(TypeError, match=f"expected an async function.*{hint}"):
                send(fn)
        with pytest.raises(TypeError, match="expected an async function"):
            tasker.map(fn, [1])
    assert tasker.statistics().submitted == 0


async def test_a_coroutine_in_place_of_a_function_is_refused_and_can_be_closed():
    coroutine = double(1)
    async with Tasker() as tasker:
        with pytest.raises(TypeError, match=r"arguments apart.*pass fn, \*args"):
            await tasker.submit(coroutine)
    coroutine.close()


async def test_what_a_function_returns_is_its_value_whatever_it_is():
    async def stop():
        await trio.lowlevel.checkpoint()
        return Stop("value")

    async with Tasker() as tasker:
        assert await tasker.call(stop) == Stop("value")
        assert await (await tasker.submit(stop)).wait() == Stop("value")
        await tasker.execute(stop)
        await tasker.wait_idle()
        assert await tasker.call(double, 1) == 2


# -- failures


async def test_an_executed_function_that_fails_leaves_the_block_with_a_note():
    with pytest.raises(ExceptionGroup) as caught:
        async with Tasker() as tasker:
            await tasker.execute(fail)
    (error,) = raised(caught.value, ValueError)
    notes = " ".join(error.__notes__)
    assert "fail() on Tasker[0], attempt 1 of 1" in notes
    assert "restart=" in notes


async def test_a_rule_logs_crashes_until_there_are_too_many(caplog):
    with pytest.raises(ExceptionGroup) as caught:
        async with Tasker(limit=1, restart=Restart(2)) as tasker:
            for number in range(3):
                await tasker.execute(fail, str(number))
    (error,) = raised(caught.value, RestartLimitExceeded)
    assert [str(crash) for crash in error.crashes] == ["0", "1", "2"]
    assert [record.name for record in caplog.records] == ["poolder_trio.tasker"] * 2
    assert all(record.levelno == logging.ERROR for record in caplog.records)


async def test_a_submitted_function_that_fails_tells_whoever_looks():
    async with Tasker(retry=Retry(attempts=3)) as tasker:
        job = await tasker.submit(fail)
        with pytest.raises(ValueError, match="broken") as caught:
            await job.wait()
        assert "attempt 3 of 3" in caught.value.__notes__[0]
        with pytest.raises(ValueError, match="broken"):
            job.result()
        assert (job.status, job.attempt) == ("failed", 3)
        quiet = await tasker.submit(fail)
        await quiet.wait_done()


async def test_failed_jobs_that_nobody_looked_at_leave_the_block():
    with pytest.raises(ExceptionGroup) as caught:
        async with Tasker() as tasker:
            looked_at = await tasker.submit(fail, "seen")
            for number in range(3):
                await tasker.submit(fail, str(number))
            await looked_at.wait_done()
    assert sorted(str(error) for error in caught.value.exceptions) == ["0", "1", "2"]


async def test_beyond_a_hundred_they_are_counted():
    with pytest.raises(ExceptionGroup) as caught:
        async with Tasker() as tasker:
            jobs = [tasker.submit_nowait(fail, str(number)) for number in range(250)]
            await tasker.wait_idle()
            for job in jobs[:7]:
                with pytest.raises(ValueError, match=r"\d"):
                    job.result()
    *errors, count = caught.value.exceptions
    assert len(errors) + int(str(count).split()[0]) == 243
    assert len(errors) <= 100
    assert isinstance(count, JobError)


async def test_they_come_beside_what_else_leaves_the_block():
    with pytest.raises(ExceptionGroup) as caught:
        async with Tasker() as tasker:
            await tasker.submit(fail)
            await tasker.wait_idle()
            raise KeyError("body")
    assert {type(error) for error in caught.value.exceptions} == {KeyError, ValueError}


async def test_a_cancelled_waiter_has_not_looked():
    with pytest.raises(ExceptionGroup) as caught:
        async with Tasker() as tasker:
            job = await tasker.submit(fail)
            with trio.CancelScope() as scope:
                scope.cancel()
                await job.wait()
    assert raised(caught.value, ValueError)


async def test_a_halted_job_counts_as_handled(autojump_clock):
    class Careful(Tasker):
        async def handle_error(self, call, attempt, error):
            assert (call.fn, call.args) == (fail, ("x",))
            return Backoff(1.0) if attempt == 1 else HALT

    async with Careful(retry=Retry(attempts=5)) as tasker:
        job = await tasker.submit(fail, "x")
        await tasker.execute(fail, "x")
        with pytest.raises(JobHalted):
            await job.wait()
        await tasker.submit(fail, "x")
    assert tasker.report.failed == 3


async def test_a_job_over_its_time_fails(autojump_clock):
    async with Tasker(job_timeout=2.0) as tasker:
        job = await tasker.submit(trio.sleep, 5)
        with pytest.raises(JobTimeout):
            await job.wait()
        assert trio.current_time() == pytest.approx(2.0)
        assert await tasker.call(double, 1) == 2


# -- calls, and waiting for oneself


async def test_a_cancelled_caller_takes_its_call_along(autojump_clock):
    gauge = Gauge()
    async with Tasker(limit=1) as tasker:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tasker.call, gauge.run, "first", 10)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(tasker.call, gauge.run, "second", 10)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert gauge.now == 0
        assert await tasker.call(double, 1) == 2
    assert gauge.order == ["first"]
    assert tasker.report.cancelled == 2


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_functions_that_all_wait_for_their_own_tasker_are_refused(limit, autojump_clock):
    async def dig(depth):
        return await tasker.call(dig, depth + 1)

    async def submit_and_wait():
        return await (await tasker.submit(double, 1)).wait()

    async def map_on():
        async with tasker.map(double, [1, 2], ordered=True) as results:
            return [result async for result in results]

    async with Tasker(limit=limit) as tasker:
        with trio.fail_after(5):
            with pytest.raises(RuntimeError, match="for ever"):
                await tasker.call(dig, 0)
            for fn, wanted in ((submit_and_wait, 2), (map_on, [2, 4])):
                if limit > 1:
                    assert await tasker.call(fn) == wanted
                else:
                    with pytest.raises(RuntimeError, match="for ever"):
                        await tasker.call(fn)


async def test_a_function_may_send_to_its_own_tasker_without_waiting(autojump_clock):
    seen = []

    async def crawl(depth):
        seen.append(depth)
        if depth < 5:
            await tasker.execute(crawl, depth + 1)

    async with Tasker(limit=1) as tasker:
        await tasker.execute(crawl, 0)
    assert seen == [0, 1, 2, 3, 4, 5]


async def test_what_a_submitted_function_starts_does_not_wait_for_its_submitter(autojump_clock):
    # Only a call is waited for: a function submitted by a function is on its own.
    async def outer():
        await tasker.execute(inner)

    async def inner():
        assert await tasker.call(double, 1) == 2

    async with Tasker(limit=2) as tasker:
        await tasker.execute(outer)


# -- the waiting room


async def test_with_no_waiting_room_a_job_needs_a_free_place(autojump_clock):
    async with Tasker(limit=2, queue=Queue(max=0)) as tasker:
        tasker.execute_nowait(trio.sleep, 1)
        tasker.execute_nowait(trio.sleep, 1)
        with pytest.raises(QueueFull):
            tasker.execute_nowait(trio.sleep, 1)
        await tasker.execute(trio.sleep, 1)
        assert trio.current_time() == pytest.approx(1.0)


async def test_a_burst_before_anything_runs_fills_places_and_room_and_no_more():
    async with Tasker(limit=3, queue=Queue(max=4)) as tasker:
        for _ in range(7):
            tasker.submit_nowait(double, 1)
        with pytest.raises(QueueFull):
            tasker.submit_nowait(double, 1)
    assert tasker.report.completed == 7


async def test_rules_of_overflow(autojump_clock):
    async with Tasker(limit=1, queue=Queue(max=1, overflow="reject")) as tasker:
        first = tasker.submit_nowait(trio.sleep, 1)
        second = tasker.submit_nowait(trio.sleep, 1)
        with pytest.raises(TooManyRequests):
            tasker.submit_nowait(trio.sleep, 1)
        await await_many([first, second])
    async with Tasker(limit=1, queue=Queue(max=1, overflow="drop_oldest")) as tasker:
        jobs = [tasker.submit_nowait(trio.sleep, 1) for _ in range(3)]
        with pytest.raises(TooManyRequests):
            await jobs[1].wait()
        await await_many([jobs[0], jobs[2]])
    assert tasker.report.dropped == 1


async def test_order_by_priority_and_fair_between_keys(autojump_clock):
    gauge = Gauge()
    async with Tasker(limit=1, queue=Queue(order="priority")) as tasker:
        tasker.execute_nowait(gauge.run, "running")
        for priority in (1, 3, 2):
            tasker.execute_nowait(gauge.run, priority, priority=priority)
    assert gauge.order == ["running", 3, 2, 1]
    gauge = Gauge()
    async with Tasker(limit=1, queue=Queue(order="fair")) as tasker:
        tasker.execute_nowait(gauge.run, "running", key="z")
        for what in ("a1", "a2", "a3", "b1", "b2"):
            tasker.execute_nowait(gauge.run, what, key=what[0])
    assert gauge.order == ["running", "a1", "b1", "a2", "b2", "a3"]


# -- pause and end


async def test_paused_it_accepts_and_starts_nothing(autojump_clock):
    gauge = Gauge()
    async with Tasker(limit=3) as tasker:
        tasker.pause()
        for number in range(5):
            await tasker.execute(gauge.run, number)
        await trio.sleep(10)
        assert gauge.order == []
        assert tasker.statistics().waiting == 5
        tasker.resume()
        await trio.testing.wait_all_tasks_blocked()
        assert gauge.now == 3
        assert set(gauge.order) == {0, 1, 2}
    assert sorted(gauge.order) == list(range(5))


async def test_leaving_with_grace_cuts_what_is_left(autojump_clock):
    async with Tasker(limit=1, grace=2.0) as tasker:
        running = await tasker.submit(trio.sleep, 10)
        waiting = await tasker.submit(double, 21)
    assert trio.current_time() == pytest.approx(2.0)
    with pytest.raises(JobCancelled):
        running.result()
    with pytest.raises(JobAbandoned):
        waiting.result()
    (abandoned,) = tasker.report.abandoned
    assert (abandoned.fn, abandoned.args) == (double, (21,))
    assert repr(abandoned) == "double(21)"


async def test_an_empty_tasker_closes_at_once():
    async with Tasker() as tasker:
        tasker.close()
        await tasker.wait_closed()
    async with tasker:
        assert await tasker.call(double, 1) == 2
    async with Tasker() as tasker:
        tasker.cancel()
        await tasker.wait_closed()


async def test_own_functions_that_submit_after_the_close_get_abandoned_jobs(autojump_clock):
    jobs = []

    async def late():
        await trio.sleep(1)
        jobs.append(await tasker.submit(double, 1))
        await tasker.execute(double, 2)

    async with Tasker() as tasker:
        await tasker.execute(late)
        tasker.close()
    with pytest.raises(JobAbandoned):
        jobs[0].result()
    assert len(tasker.report.abandoned) == 2


async def test_outside_of_its_block_it_is_closed():
    tasker = Tasker()
    for send in (tasker.execute, tasker.submit, tasker.call):
        with pytest.raises(Closed):
            await send(double, 1)
    with pytest.raises(Closed):
        tasker.submit_nowait(double, 1)
    async with tasker:
        pass
    with pytest.raises(Closed):
        tasker.submit_nowait(double, 1)


async def test_instruments_see_every_function(autojump_clock):
    events = []

    class Watch(Instrument):
        def job_submitted(self, source, job):
            events.append(("submitted", repr(job.subject)))

        def job_done(self, source, job):
            events.append(("done", repr(job.subject)))

        def job_failed(self, source, job, error):
            events.append(("failed", repr(job.subject)))

    async with Tasker(instruments=[Watch()]) as tasker:
        assert await tasker.call(double, 1) == 2
        await tasker.execute(double, 2)
        await tasker.wait_idle()
        with pytest.raises(ValueError, match="broken"):
            await tasker.call(fail)
    assert events == [
        ("submitted", "double(1)"),
        ("done", "double(1)"),
        ("submitted", "double(2)"),
        ("done", "double(2)"),
        ("submitted", "fail()"),
        ("failed", "fail()"),
    ]


def test_a_declared_tasker_is_checked_at_its_class_statement():
    class Fetching(Tasker):
        limit = 3
        rate = Rate(10)

    assert Fetching().limit == 3
    assert Fetching(limit=4).limit == 4
    with pytest.raises(ValueError, match="limit must be an int >= 1, got 0"):
        type("Bad", (Tasker,), {"limit": 0})
    with pytest.raises(TypeError, match="limits"):
        type("Bad", (Tasker,), {"limits": 5})
    with pytest.raises(TypeError, match="did you mean 'limit'"):
        Tasker(limt=3)
    assert Tasker().queue.max == 1000
    assert math.isinf(Tasker().hibernate_after)


# -- races, each seen with some order of the tasks that wake at one moment


async def quick():
    await trio.lowlevel.checkpoint()
    return "quick"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"limit": 3},
        {"limit_per_key": 1},
        {"queue": Queue(order="lifo")},
        {"queue": Queue(max=0)},
        {"rate": Rate(1)},
        {"rate": Rate(1), "limit": 2},
    ],
    ids=without_address,
)
@pytest.mark.parametrize("seed", range(25))
def test_a_job_that_comes_as_the_idle_worker_leaves_is_run(options, seed, monkeypatch):
    async def main():
        async with Tasker(**{"limit": 1, "hibernate_after": 1.0, **options}) as tasker:
            with trio.fail_after(60):
                for _ in range(3):
                    assert await tasker.call(quick) == "quick"
                    await trio.sleep(1.0)
                    jobs = [tasker.submit_nowait(quick)]
                    assert await await_many(jobs) == ["quick"]

    monkeypatch.setattr(trio._core._run, "_r", random.Random(seed))  # noqa: S311
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


class Anything:
    """Equal to everything, or to nothing that can be asked."""

    def __init__(self, answer):
        self.answer = answer

    def __eq__(self, other):
        if self.answer is None:
            raise ValueError("ask me not")
        return self.answer

    __hash__ = None


@pytest.mark.parametrize("answer", ["a dict", 1, None])
async def test_equal_values_of_two_submitters_are_not_mixed_up_nor_compared(answer):
    def make():
        return {} if answer == "a dict" else Anything(answer)

    async def put(value):
        var.set(value)

    async with Tasker(limit=1) as tasker:
        for _ in range(3):
            mine, other = make(), make()
            var.set(mine)
            first = tasker.submit_nowait(read)
            await tasker.execute(put, other)
            second = await tasker.submit(read)
            var.set(other)
            third = tasker.submit_nowait(read)
            got = await await_many([first, second, third])
            assert got[0] is got[1] is mine
            assert got[2] is other


async def test_an_idle_tasker_holds_on_to_nothing_of_what_it_ran():
    class Thing:
        pass

    async def give(thing):
        await trio.lowlevel.checkpoint()
        return Thing()

    async def run_one():
        argument, value = Thing(), Thing()
        var.set(value)
        job = await tasker.submit(give, argument)
        refs = [weakref.ref(argument), weakref.ref(value), weakref.ref(await job.wait())]
        await tasker.execute(give, argument)
        return refs

    async with Tasker(limit=2) as tasker:
        async with trio.open_nursery() as nursery:
            refs = []

            async def collect():
                refs.extend(await run_one())

            nursery.start_soon(collect)
        await tasker.wait_idle()
        await trio.testing.wait_all_tasks_blocked()
        var.set(None)
        tasker.submit_nowait(quick)
        await tasker.wait_idle()
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        assert [ref() for ref in refs] == [None] * 3


async def test_a_limit_lowered_before_anything_has_begun_holds_at_once(autojump_clock):
    gauge = Gauge()
    async with Tasker(limit=5) as tasker:
        for number in range(5):
            tasker.submit_nowait(gauge.run, number)
        tasker.limit = 1
        assert tasker.statistics().waiting == 5
    assert gauge.most == 1
    assert tasker.report.completed == 5


async def test_a_raised_limit_lets_a_map_read_on_at_once(autojump_clock):
    gauge = Gauge()
    async with Tasker(limit=1) as tasker:
        async with tasker.map(functools.partial(gauge.run, seconds=100), range(5)) as results:
            await trio.sleep(1)
            tasker.limit = 5
            await trio.sleep(1)
            assert gauge.now == 5
            assert len([result async for result in results]) == 5


async def test_as_completed_of_its_own_full_tasker_is_refused(autojump_clock):
    async def selfish():
        async with as_completed([await tasker.submit(quick)]) as ended:
            return [job.result() async for job in ended]

    async with Tasker(limit=1) as tasker:
        with trio.fail_after(5), pytest.raises(RuntimeError, match="for ever"):
            await tasker.call(selfish)
        tasker.limit = 2
        assert await tasker.call(selfish) == ["quick"]


async def test_a_thousand_workers_come_and_go(autojump_clock):
    async with Tasker(limit=1000, hibernate_after=5.0) as tasker:
        for _ in range(3):
            await await_many([tasker.submit_nowait(trio.sleep, n % 7) for n in range(1000)])
            await trio.sleep(10)
        assert len(tasker._crew.seats) == 0


async def test_a_lowered_limit_holds_though_idle_workers_are_just_leaving(autojump_clock):
    running = most = 0

    async def job(seconds):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(seconds)
        running -= 1

    async with Tasker(limit=5) as tasker:
        for _ in range(5):
            tasker.execute_nowait(job, 1)
        await tasker.wait_idle()
        tasker.execute_nowait(job, 10)
        tasker.execute_nowait(job, 10)
        await trio.sleep(1)
        most = 0
        tasker.limit = 2
        for _ in range(3):
            tasker.execute_nowait(job, 1)
        assert tasker.statistics().waiting == 3
    assert most == 2
    assert tasker.report.completed == 10


async def test_a_lowered_limit_counts_what_was_just_handed_to_an_idle_worker(autojump_clock):
    running = most = 0

    async def job(seconds):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(seconds)
        running -= 1

    for _ in range(10):  # which of the idle workers is handed it is up to Trio
        async with Tasker(limit=4) as tasker:
            for _ in range(4):
                tasker.execute_nowait(job, 1)
            await tasker.wait_idle()
            tasker.execute_nowait(job, 10)
            await trio.sleep(1)
            most = 0
            tasker.execute_nowait(job, 10)
            tasker.limit = 2
            for _ in range(3):
                tasker.execute_nowait(job, 10)
            await trio.sleep(5)
            assert running == 2
        assert most == 2
        assert tasker.report.completed == 9


async def test_the_log_says_of_a_function_that_it_failed_and_nothing_of_a_crash(caplog):
    async def wrong() -> None:
        raise ValueError("wrong")

    async with Tasker(limit=1, restart=Restart(max_restarts=1)) as tasker:
        await tasker.execute(wrong)
    (record,) = caplog.records
    assert record.getMessage() == "worker=Tasker[0] event=function-failed"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)
