"""One function over many inputs, and jobs that are waited for together."""

import gc
import itertools
import sys

import outcome
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio import (
    Closed,
    JobAbandoned,
    JobNotDone,
    Queue,
    Tasker,
    TooManyRequests,
    as_completed,
    await_many,
)
from poolder_trio.testing import CancelAt

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


async def double(number):
    await trio.lowlevel.checkpoint()
    return 2 * number


async def sleep_for(seconds):
    await trio.sleep(seconds)
    return seconds


async def fail_at(number, wrong=3):
    await trio.sleep(number)
    if number == wrong:
        raise ValueError(number)
    return number


async def counting(upto, read):
    for number in range(upto):
        read.append(number)
        yield number
        await trio.lowlevel.checkpoint()


@given(
    limit=st.integers(1, 4),
    inputs=st.lists(st.integers(0, 4), max_size=12),
    ordered=st.booleans(),
    is_async=st.booleans(),
)
def test_every_input_gives_one_result_in_the_order_asked_for(limit, inputs, ordered, is_async):
    async def stream():
        for seconds in inputs:
            yield seconds

    async def main():
        async with Tasker(limit=limit) as tasker:
            source = stream() if is_async else iter(inputs)
            async with tasker.map(sleep_for, source, ordered=ordered) as results:
                got = [seconds async for seconds in results]
            assert got == inputs if ordered else sorted(got) == sorted(inputs)
            if limit >= len(inputs) and not ordered:
                assert got == sorted(inputs)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("ordered", [True, False])
async def test_inputs_are_read_at_most_the_limit_ahead_of_the_results(ordered, autojump_clock):
    read = []
    async with Tasker(limit=4) as tasker:
        async with tasker.map(double, counting(10**9, read), ordered=ordered) as results:
            await trio.sleep(1)
            assert len(read) == 4
            for taken in range(1, 6):
                await results.receive()
                await trio.sleep(1)
                assert len(read) == 4 + taken
    assert len(read) == 9


async def test_leaving_early_cancels_what_runs_at_once(autojump_clock):
    cancelled = []

    async def work(number):
        try:
            await trio.sleep(1 if number == 0 else 100)
        except trio.Cancelled:
            cancelled.append(number)
            raise

    async with Tasker(limit=3) as tasker:
        other = await tasker.submit(trio.sleep, 5)
        async with tasker.map(work, itertools.count()) as results:
            await results.receive()
            await trio.lowlevel.checkpoint()
        assert trio.current_time() == pytest.approx(1.0)
        assert sorted(cancelled) in ([1], [1, 2])
        assert tasker.statistics().running == 1
        await other.wait()


async def test_leaving_early_waits_until_the_handlers_have_stopped(autojump_clock):
    stopped = []

    async def stubborn(number):
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            stopped.append(number)

    async with Tasker(limit=2) as tasker:
        with trio.move_on_after(1):
            async with tasker.map(stubborn, range(5)) as results:
                await results.receive()
        assert sorted(stopped) == [0, 1]
        assert trio.current_time() == pytest.approx(4.0)


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_first_failure_cancels_the_rest_and_leaves_the_block(ordered, autojump_clock):
    got = []
    async with Tasker(limit=10) as tasker:
        with pytest.raises(ExceptionGroup) as caught:
            async with tasker.map(fail_at, range(10), ordered=ordered) as results:
                async for number in results:
                    got.append(number)  # noqa: PERF401  # what came before the failure stays
        assert trio.current_time() == pytest.approx(3.0)
        assert got == [0, 1, 2]
        assert [type(error) for error in caught.value.exceptions] == [ValueError]
        assert tasker.statistics().running == 0


async def test_with_outcomes_a_failure_is_a_result(autojump_clock):
    async with Tasker(limit=10) as tasker:
        async with tasker.map(fail_at, range(5), outcomes=True) as results:
            got = [result async for result in results]
    assert [type(result) for result in got] == [outcome.Value] * 3 + [outcome.Error, outcome.Value]
    with pytest.raises(ValueError, match="3"):
        got[3].unwrap()


async def test_inputs_have_keys(autojump_clock):
    running, most = [], {}

    async def visit(url):
        host = url[0]
        running.append(host)
        most[host] = max(most.get(host, 0), running.count(host))
        await trio.sleep(1)
        running.remove(host)

    async with Tasker(limit=10, limit_per_key=2) as tasker:
        async with tasker.map(
            visit, ["a1", "a2", "a3", "a4", "b1"], key=lambda url: url[0]
        ) as done:
            assert len([result async for result in done]) == 5
    assert most == {"a": 2, "b": 1}
    assert trio.current_time() == pytest.approx(2.0)


@pytest.mark.parametrize("wrong", [5, None, double])
async def test_what_is_no_iterable_is_refused_at_the_call(wrong):
    async with Tasker() as tasker:
        with pytest.raises(TypeError, match="map needs an iterable"):
            tasker.map(double, wrong)


async def test_an_input_that_raises_leaves_the_block():
    def broken():
        yield 1
        raise KeyError("input")

    async with Tasker() as tasker:
        with pytest.raises(ExceptionGroup) as caught:
            async with tasker.map(double, broken()) as results:
                async for _ in results:
                    pass
        assert caught.group_contains(KeyError)


async def test_a_generator_of_inputs_is_ended_when_it_is_left_in_the_middle():
    ended = []

    async def inputs():
        try:
            for number in itertools.count():
                yield number
        finally:
            ended.append(True)

    async with Tasker() as tasker:
        async with tasker.map(double, inputs()) as results:
            await results.receive()
    assert ended == [True]


async def test_a_tasker_that_ends_under_it_abandons_its_jobs(autojump_clock):
    async with Tasker(limit=1) as tasker:
        with pytest.raises(ExceptionGroup) as caught:
            async with tasker.map(sleep_for, [1, 2, 3]) as results:
                await results.receive()
                tasker.cancel()
                await trio.sleep(10)
    assert not caught.group_contains(ValueError)
    with pytest.raises(Closed):
        tasker.map(double, [1])


async def test_a_long_map_holds_little(autojump_clock):
    async with Tasker(limit=5) as tasker:
        async with tasker.map(double, range(3000)) as results:
            most = 0
            async for number in results:
                if number % 1000 == 0:
                    gc.collect()
                    most = max(most, len(tasker._crew.shared.room))
            assert most <= 5


@pytest.mark.slow
async def test_a_map_that_is_cancelled_at_any_step_leaves_nothing_behind():
    for step in itertools.count(1):
        begun, ended = [], []

        async def work(number, begun=begun, ended=ended):
            begun.append(number)
            try:
                await trio.lowlevel.checkpoint()
                return number
            finally:
                ended.append(number)

        async with Tasker(limit=2, queue=Queue(max=1)) as tasker:
            with CancelAt(step) as cut:
                async with tasker.map(work, range(6), ordered=step % 2 == 0) as results:
                    got = [number async for number in results]
                    assert sorted(got) == list(range(6))
            assert sorted(begun) == sorted(ended)
            stats = tasker.statistics()
            assert stats.running == stats.waiting == 0
            assert await tasker.call(double, 1) == 2
        if not cut.reached:
            assert step > 20
            break


# -- jobs together


async def test_await_many_gives_results_in_the_order_given(autojump_clock):
    async with Tasker(limit=10) as tasker:
        jobs = [await tasker.submit(sleep_for, seconds) for seconds in (3, 1, 2)]
        assert await await_many(jobs) == [3, 1, 2]
        assert await await_many([]) == []
        assert await await_many(iter(jobs)) == [3, 1, 2]


async def test_await_many_raises_the_first_failure_in_that_order_and_the_others_go_on(
    autojump_clock,
):
    async with Tasker(limit=10) as tasker:
        late = await tasker.submit(sleep_for, 9)
        bad = await tasker.submit(fail_at, 3)
        fine = await tasker.submit(sleep_for, 1)
        with pytest.raises(ValueError, match="3"):
            await await_many([fine, bad, late])
        assert trio.current_time() == pytest.approx(3.0)
        assert late.status == "running"


async def test_as_completed_gives_jobs_as_they_end(autojump_clock):
    async with Tasker(limit=10) as tasker:
        jobs = [await tasker.submit(sleep_for, seconds) for seconds in (3, 1, 2)]
        jobs.append(await tasker.submit(fail_at, 4, 4))
        await jobs[1].wait()
        async with as_completed(jobs) as ended:
            seen = [(job.status, trio.current_time()) async for job in ended]
    assert [status for status, _ in seen] == ["done", "done", "done", "failed"]
    assert [time for _, time in seen] == pytest.approx([1, 2, 3, 4])


async def test_a_job_that_as_completed_did_not_give_was_not_looked_at(autojump_clock):
    with pytest.raises(ExceptionGroup) as caught:
        async with Tasker(limit=10) as tasker:
            jobs = [await tasker.submit(fail_at, n, n) for n in (1, 2)]
            async with as_completed(jobs) as ended:
                await ended.receive()
    assert [error.args for error in caught.value.exceptions] == [(2,)]


async def test_leaving_as_completed_early_leaves_the_jobs_alone(autojump_clock):
    async with Tasker(limit=10) as tasker:
        jobs = [await tasker.submit(sleep_for, seconds) for seconds in (1, 2)]
        async with as_completed(jobs) as ended:
            assert (await ended.receive()) is jobs[0]
        assert await jobs[1].wait() == 2


async def test_as_completed_of_nothing_ends_at_once():
    async with as_completed([]) as ended:
        assert [job async for job in ended] == []


async def test_a_job_says_how_far_it_is(autojump_clock):
    async with Tasker(limit=1) as tasker:
        running = await tasker.submit(sleep_for, 1)
        waiting = await tasker.submit(sleep_for, 1)
        await trio.sleep(0.5)
        assert (running.status, waiting.status) == ("running", "waiting")
        with pytest.raises(JobNotDone, match="running"):
            running.result()
        assert repr(waiting) == "<Job sleep_for(1): waiting, attempt 0>"
        await waiting.wait_done()
        assert waiting.status == running.status == "done"
        assert waiting.result() == waiting.result() == 1


async def test_cancelling_an_ended_job_does_nothing_and_a_waiter_is_told():
    async with Tasker(limit=1) as tasker:
        job = await tasker.submit(double, 1)
        assert await job.wait() == 2
        job.cancel()
        assert job.result() == 2
        tasker.pause()
        waiting = await tasker.submit(double, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting.wait_done)
            await trio.testing.wait_all_tasks_blocked()
            tasker.cancel()
    with pytest.raises(JobAbandoned):
        waiting.result()


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_input_that_the_queue_refuses_is_an_outcome_like_others(ordered, autojump_clock):
    queue = Queue(max=1, overflow="reject")
    async with Tasker(limit=1, queue=queue) as tasker:
        await tasker.execute(sleep_for, 1.5)
        await tasker.execute(sleep_for, 0)  # the one that may wait
        async with tasker.map(double, range(3), outcomes=True, ordered=ordered) as outcomes:
            first = await outcomes.receive()
            assert isinstance(first, outcome.Error)
            assert isinstance(first.error, TooManyRequests)
            await trio.sleep(2)
            rest = [await outcomes.receive() for _ in range(2)]
            with pytest.raises(trio.EndOfChannel):
                await outcomes.receive()
    # The second was read, and refused, when the first had been received.
    assert isinstance(rest[0], outcome.Error)
    assert rest[1] == outcome.Value(4)
    assert tasker.report.dropped == 2


async def test_without_outcomes_a_refused_input_leaves_the_block(autojump_clock):
    async with Tasker(limit=1, queue=Queue(max=1, overflow="reject")) as tasker:
        await tasker.execute(sleep_for, 1)
        await tasker.execute(sleep_for, 0)
        with pytest.RaisesGroup(TooManyRequests):
            async with tasker.map(double, range(3)) as results:
                await results.receive()
