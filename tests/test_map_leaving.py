"""However a map is left, and whatever fails in it: nothing of it runs on, and nobody is misled."""

import itertools
import sys
from contextlib import nullcontext
from functools import partial

import outcome
import pytest
import trio
import trio.testing

from poolder_trio import (
    AsyncPool,
    Closed,
    JobAbandoned,
    JobCancelled,
    Queue,
    Rate,
    Restart,
    Retry,
    Tasker,
    TooManyRequests,
    as_completed,
)
from poolder_trio.testing import CancelAt, simulate

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

LONG = 1000.0


async def sleep_long(_):
    await trio.sleep(LONG)


async def fail_at(number, wrong=3):
    await trio.sleep(number)
    if number == wrong:
        raise ValueError(number)
    return number


async def is_idle(tasker):
    """Nothing of a map is left in ``tasker``, and it works."""
    with trio.fail_after(1):
        await tasker.wait_idle()
        assert await tasker.call(fail_at, 0) == 0


class Source:
    """Inputs that raise at a given point, in either of the two ways of iterating."""

    def __init__(self, at):
        self.at = at
        self.number = -1

    def begin(self):
        if self.at == "iter":
            raise KeyError("input")
        return self

    def step(self):
        self.number += 1
        if self.number == self.at:
            raise KeyError("input")
        return self.number


class PlainSource(Source):
    def __iter__(self):
        return self.begin()

    def __next__(self):
        return self.step()


class AsyncSource(Source):
    def __aiter__(self):
        return self.begin()

    async def __anext__(self):
        await trio.lowlevel.checkpoint()
        return self.step()


# -- entering


@pytest.mark.parametrize("options", [{}, {"ordered": True}, {"outcomes": True}])
async def test_entering_under_a_cancelled_scope_begins_nothing(options, autojump_clock):
    read = []
    async with Tasker(limit=5) as tasker:
        with trio.move_on_after(0) as scope:
            async with tasker.map(sleep_long, map(read.append, range(20)), **options):
                pytest.fail("the block was entered")
        assert scope.cancelled_caught
        assert trio.current_time() == 0
        assert read == []
        assert tasker.statistics().submitted == 0
        await is_idle(tasker)


@pytest.mark.parametrize("options", [{}, {"ordered": True}, {"outcomes": True}, {"key": str}])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_map_cancelled_at_any_step_leaves_at_once(options, is_async, autojump_clock):
    async def stream():
        for number in range(20):
            yield number
            await trio.lowlevel.checkpoint()

    for step in itertools.count(1):
        begun = trio.current_time()
        async with Tasker(limit=5, limit_per_key=1) as tasker:
            with CancelAt(step) as cut:
                async with tasker.map(
                    sleep_long, stream() if is_async else range(20), **options
                ) as results:
                    with trio.move_on_after(1):
                        await results.receive()
            assert trio.current_time() in (begun, begun + 1)
            await is_idle(tasker)
        if not cut.reached:
            assert step > 10
            break


@pytest.mark.parametrize("options", [{}, {"ordered": True}, {"outcomes": True}])
async def test_a_map_cancelled_at_any_step_survives_a_failure_meanwhile(options, autojump_clock):
    async def fail_when_cut(_):
        try:
            await trio.sleep(LONG)
        finally:
            raise ValueError("while it was cut")

    for step in itertools.count(1):
        begun = trio.current_time()
        async with Tasker(limit=5) as tasker:
            with CancelAt(step) as cut:
                async with tasker.map(fail_when_cut, range(20), **options) as results:
                    with trio.move_on_after(1):
                        await results.receive()
            assert trio.current_time() in (begun, begun + 1)
            await is_idle(tasker)
        if not cut.reached:
            assert step > 10
            break


async def test_what_surrounds_a_map_cancels_its_jobs_while_the_block_is_shielded(autojump_clock):
    cut_at = []

    async def work(_):
        try:
            await trio.sleep(LONG)
        finally:
            cut_at.append(trio.current_time())

    async with Tasker(limit=5) as tasker:
        with trio.move_on_after(1):
            async with tasker.map(work, range(3)) as results:
                with trio.CancelScope(shield=True):
                    await trio.sleep(10)
                    with pytest.raises(trio.BrokenResourceError, match="cancelled"):
                        await results.receive()
        assert cut_at == [1, 1, 1]
        assert trio.current_time() == 10


@pytest.mark.parametrize("way", ["break", "raise", "deadline"])
async def test_leaving_cancels_what_runs_whatever_the_way(way, autojump_clock):
    raises = pytest.RaisesGroup(LookupError) if way == "raise" else nullcontext()
    async with Tasker(limit=5) as tasker:
        with raises, trio.move_on_after(2):
            inputs = [0, LONG, LONG, LONG]
            async with tasker.map(trio.sleep, inputs) as results:
                async for _ in results:
                    if way == "break":
                        break
                    if way == "raise":
                        raise LookupError
                else:
                    pytest.fail("one of four was taken for all")
        assert trio.current_time() == (2 if way == "deadline" else 0)
        await is_idle(tasker)


# -- inputs that fail


@pytest.mark.parametrize("kind", [PlainSource, AsyncSource])
@pytest.mark.parametrize("at", ["iter", 0, 1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"ordered": True}, {"outcomes": True}, {"key": str}, {"key": bool}]
)
async def test_inputs_that_raise_leave_the_block_at_once(kind, at, options, autojump_clock):
    async with Tasker(limit=5, limit_per_key=1) as tasker:
        with pytest.raises(ExceptionGroup) as caught:
            async with tasker.map(sleep_long, kind(at), **options) as results:
                async for _ in results:
                    pass
                pytest.fail("the results ended as if all were done")
        assert [type(error) for error in caught.value.exceptions] == [KeyError]
        assert trio.current_time() == 0
        await is_idle(tasker)


async def test_inputs_that_raise_while_a_handler_fails_do_not_harm_the_tasker(autojump_clock):
    async def fail_when_cut(_):
        try:
            await trio.sleep(LONG)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            raise ValueError("while it was cut")

    async def late():
        yield 0
        yield 1
        await trio.sleep(1)
        raise KeyError("input")

    async with Tasker(limit=5, restart=Restart(max_restarts=0)) as tasker:
        with pytest.raises(ExceptionGroup):
            async with tasker.map(fail_when_cut, late()):
                await trio.sleep_forever()
        assert trio.current_time() == 2
        await is_idle(tasker)


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
async def test_a_key_that_raises_leaves_the_block_at_once(error, autojump_clock):
    def key(number):
        if number == 2:
            raise error("key")
        return number

    async with Tasker(limit=5, limit_per_key=1) as tasker:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with tasker.map(sleep_long, range(9), key=key) as results:
                await results.receive()
        assert [type(each) for each in caught.value.exceptions] == [error]
        assert trio.current_time() == 0
        await is_idle(tasker)


# -- failures, and who receives


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 10])
async def test_what_stands_after_the_loop_does_not_run_after_a_failure(
    ordered, limit, autojump_clock
):
    got = []
    async with Tasker(limit=limit) as tasker:
        with pytest.raises(ExceptionGroup) as caught:
            async with tasker.map(fail_at, range(10), ordered=ordered) as results:
                async for number in results:
                    got.append(number)  # noqa: PERF401  # what came before the failure stays
                pytest.fail("three of ten were taken for all")
        assert [type(error) for error in caught.value.exceptions] == [ValueError]
        assert got == [0, 1, 2]
        await is_idle(tasker)


async def test_a_failure_among_the_last_inputs_ends_nothing_in_silence(autojump_clock):
    async with Tasker(limit=10) as tasker:
        with pytest.raises(ExceptionGroup):
            async with tasker.map(fail_at, [1, 3, 3, 3]) as results:
                async for _ in results:
                    pass
                pytest.fail("one of four was taken for all")


@pytest.mark.parametrize("drain", [False, True])
async def test_receiving_without_waiting_ends_in_the_failure_alone(drain, autojump_clock):
    got = []
    async with Tasker(limit=10) as tasker:
        with pytest.raises(ExceptionGroup) as caught:
            async with tasker.map(fail_at, range(10)) as results:
                while True:
                    if drain:
                        got.append(await results.receive())
                    try:
                        while True:
                            got.append(results.receive_nowait())
                    except trio.WouldBlock:
                        await trio.sleep(0.3)
                    except trio.EndOfChannel:
                        pytest.fail("three of ten were taken for all")
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert got == [0, 1, 2]


async def receive_all(results, got):
    """Receive as a task that the block's cancellation does not reach."""
    try:
        async for number in results:
            got.append(number)
        got.append("all")
    except trio.BrokenResourceError:
        got.append("broken")
    except trio.ClosedResourceError:
        got.append("closed")


@pytest.mark.parametrize("why", ["a failure", "an input", "the end of the tasker", "cancelled"])
async def test_a_receiver_in_another_task_is_told_that_a_map_has_failed(why, autojump_clock):
    inputs = itertools.chain(range(3), PlainSource(0)) if why == "an input" else range(10)
    got = []
    async with Tasker(limit=10) as tasker, trio.open_nursery() as others:
        try:
            with trio.move_on_after(2.5 if why == "cancelled" else LONG):
                async with tasker.map(partial(fail_at, wrong=3), inputs) as results:
                    others.start_soon(receive_all, results, got)
                    await trio.sleep(2.5)
                    if why == "the end of the tasker":
                        tasker.cancel()
                    await trio.sleep_forever()
        except ExceptionGroup:
            pass
    # Where the block is left in the same step, the channel is closed first.
    assert got[-1] == "broken" or (why, got[-1]) == ("cancelled", "closed")
    assert got[:-1] == list(range(len(got) - 1))


async def test_a_receiver_in_another_task_is_told_that_the_block_was_left(autojump_clock):
    got = []
    async with Tasker(limit=10) as tasker, trio.open_nursery() as others:
        async with tasker.map(fail_at, range(10)) as results:
            others.start_soon(receive_all, results, got)
            await trio.sleep(1.5)
        await trio.testing.wait_all_tasks_blocked()
    assert got == [0, 1, "closed"]


async def test_a_receiver_in_another_task_sees_the_end_when_all_is_done(autojump_clock):
    got = []
    async with Tasker(limit=10) as tasker:
        async with tasker.map(fail_at, [0, 1, 2]) as results, trio.open_nursery() as others:
            others.start_soon(receive_all, results, got)
    assert got == [0, 1, 2, "all"]


async def test_a_shielded_receiver_does_not_wait_for_ever(autojump_clock):
    async with Tasker(limit=10) as tasker:
        with pytest.raises(ExceptionGroup) as caught:
            async with tasker.map(fail_at, range(10)) as results:
                with trio.CancelScope(shield=True):
                    await receive_all(results, [])
        assert [type(error) for error in caught.value.exceptions] == [ValueError]
        assert trio.current_time() == 3


async def test_with_outcomes_inputs_that_fail_do_not_end_the_results(autojump_clock):
    async with Tasker(limit=10) as tasker:
        with pytest.raises(ExceptionGroup) as caught:
            inputs = itertools.chain(range(4), PlainSource(0))
            async with tasker.map(fail_at, inputs, outcomes=True) as results:
                async for result in results:
                    assert isinstance(result, outcome.Value)
                pytest.fail("what was read was taken for all")
        assert [type(error) for error in caught.value.exceptions] == [KeyError]


async def test_a_tasker_that_closes_under_a_map_is_said(autojump_clock):
    async with Tasker(limit=1) as tasker:
        with pytest.raises(ExceptionGroup) as caught:
            async with tasker.map(fail_at, [1, 1, 1], outcomes=True) as results:
                await results.receive()
                tasker.close()
                async for _ in results:
                    pass
                pytest.fail("what was sent was taken for all")
    assert caught.group_contains(Closed)


async def test_a_full_queue_that_is_waited_for_is_left_at_once(autojump_clock):
    async with Tasker(limit=1, queue=Queue(max=1)) as tasker:
        await tasker.execute(trio.sleep, 5)
        await tasker.execute(trio.sleep, 5)
        with trio.move_on_after(1):
            async with tasker.map(sleep_long, range(3)) as results:
                await results.receive()
        assert trio.current_time() == 1
        assert tasker.statistics().submitted == 2


async def test_a_receiver_of_ended_jobs_in_another_task_is_told_that_the_block_was_left(
    autojump_clock,
):
    got = []
    async with Tasker(limit=10) as tasker, trio.open_nursery() as others:
        jobs = [await tasker.submit(fail_at, number) for number in range(3)]
        async with as_completed(jobs) as ended:
            others.start_soon(receive_all, ended, got)
            await trio.sleep(1.5)
        await trio.testing.wait_all_tasks_blocked()
    assert got == [*jobs[:2], "closed"]


@pytest.mark.parametrize("way", ["raise", "cancel", "base"])
async def test_results_of_an_async_pool_end_after_all_that_was_accepted(way, autojump_clock):
    """However its block ends: what was cut has a completion as well, so nothing is missing."""

    async def work(number):
        await trio.sleep(number)
        if number == 2 and way == "base":
            raise KeyboardInterrupt
        return number

    got = []
    pool = AsyncPool(work, max_workers=5)
    raises = nullcontext() if way == "cancel" else pytest.raises(BaseExceptionGroup)
    async with trio.open_nursery() as nursery:
        with raises:
            async with pool:
                nursery.start_soon(receive_all, pool.results, got)
                for number in range(1, 6):
                    await pool.add_task(number)
                await trio.sleep(1.5)
                if way == "raise":
                    raise LookupError
                if way == "cancel":
                    pool.cancel()
                else:
                    await trio.sleep_forever()
    *completions, end = got
    assert end == "all"
    assert [type(each.outcome) for each in completions] == [outcome.Value] + [outcome.Error] * 4


# -- when its component ends


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"queue": Queue(timeout=1.0)},
        {"limit_per_key": 1},
        {"rate": Rate(1)},
        {"retry": Retry(attempts=9, backoff=LONG)},
    ],
    ids=["plain", "aged", "keys", "rate", "backing off"],
)
async def test_a_map_whose_component_is_cancelled_fails_and_breaks_nothing(
    options, ordered, autojump_clock
):
    async def fail_or_sleep(number):
        if number < 3:
            raise ValueError(number)
        await trio.sleep(LONG)

    fn = fail_or_sleep if "retry" in options else sleep_long
    tasker = Tasker(limit=2, restart=Restart(mode="temporary"), **options)
    with trio.fail_after(9 * LONG):
        with pytest.raises(ExceptionGroup) as caught:
            async with tasker:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(take_all, tasker.map(fn, range(9), ordered=ordered))
                    await trio.sleep(0.5)
                    tasker.cancel()
    assert caught.value.split((JobAbandoned, JobCancelled))[1] is None
    counts = tasker.statistics()
    assert counts.running == counts.waiting == 0
    assert counts.submitted == counts.cancelled + counts.abandoned


async def take_all(mapped):
    async with mapped as results:
        async for _ in results:
            pass


async def test_jobs_of_a_map_that_are_dropped_together_end_once(autojump_clock):
    async with Tasker(limit=5, queue=Queue(timeout=1.0)) as tasker:
        for _ in range(5):
            await tasker.execute(trio.sleep, 5)
        with pytest.raises(ExceptionGroup) as caught:
            async with tasker.map(sleep_long, range(9)) as results:
                await results.receive()
        assert all(isinstance(each, TooManyRequests) for each in caught.value.exceptions)
        assert trio.current_time() == 1
    counts = tasker.statistics()
    assert counts.submitted == counts.completed + counts.dropped + counts.cancelled


@pytest.mark.parametrize("seed", range(10))
def test_a_map_that_has_ended_is_not_broken_by_a_late_cancellation(seed):
    # The receiver was woken by the end, and may run after all else of the map.
    async def main():
        for step in itertools.count(1):
            async with Tasker(limit=5) as tasker:
                with CancelAt(step) as cut:
                    async with tasker.map(trio.sleep, (0,)) as results:
                        async for _ in results:
                            pass
            if not cut.reached:
                break

    simulate(main, seed=seed)
