"""One function, a stream of inputs: each task has one completion, and slow ones hold up nobody."""

import contextvars
import itertools
import math
import random
import time
from contextlib import nullcontext

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from outcome import Error, Value
from trio.testing import MockClock, wait_all_tasks_blocked

from poolder_trio import (
    HALT,
    AsyncPool,
    Closed,
    Completion,
    JobAbandoned,
    JobCancelled,
    JobHalted,
    JobTimeout,
    Queue,
    QueueFull,
    Rate,
    Ref,
    Restart,
    Retry,
    ThreadExecutor,
)
from poolder_trio.testing import CancelAt

SECONDS = 60  # of virtual time, for what is not to hang


async def nap(seconds):
    await trio.sleep(seconds)
    return seconds


async def double(number):
    return 2 * number


async def refuse(number):
    raise ValueError(number)


async def drained(pool):
    """All that is left in the results of a pool that has ended."""
    with trio.fail_after(SECONDS):
        return [completion async for completion in pool.results]


async def values(pool):
    return [completion.value for completion in await drained(pool)]


# -- the README's example and goals


async def test_results_come_as_messages_with_the_ref_of_their_task(autojump_clock):
    async with AsyncPool(nap, max_workers=3) as pool:
        refs = {await pool.add_task(seconds): seconds for seconds in (3, 1, 2)}
        assert trio.current_time() == 0
    assert {c.ref: c.value for c in await drained(pool)} == refs


async def test_a_producer_can_look_for_results_without_waiting(autojump_clock):
    seen = []
    async with AsyncPool(nap, max_workers=3) as pool:
        for _ in range(5):
            await pool.add_task(1)
            try:
                seen.append(pool.results.receive_nowait().value)
            except trio.WouldBlock:
                pass
    assert 0 < len(seen) < 5
    assert seen + await values(pool) == [1] * 5


async def test_the_number_of_workers_is_kept_and_three_by_default(autojump_clock):
    for options, workers in (({}, 3), ({"max_workers": 1}, 1), ({"max_workers": 7}, 7)):
        start = trio.current_time()
        async with AsyncPool(nap, **options) as pool:
            for _ in range(21):
                await pool.add_task(1)
            await wait_all_tasks_blocked()
            assert pool.statistics().running == workers
        assert trio.current_time() - start == 21 / workers


async def test_max_workers_can_be_set_while_it_is_open(autojump_clock):
    async with AsyncPool(nap, max_workers=1) as pool:
        await pool.add_task(1)
        with pytest.raises(QueueFull):
            pool.add_task_nowait(1)
        pool.max_workers = 2
        pool.add_task_nowait(1)
    assert trio.current_time() == 1


async def test_slow_tasks_hold_up_no_fast_ones(autojump_clock):
    async with AsyncPool(nap, max_workers=3) as pool:
        await pool.add_task(1000)
        await pool.add_task(999)
        for _ in range(100):
            await pool.add_task(1)
        assert trio.current_time() == 99
        for _ in range(100):
            assert (await pool.results.receive()).value == 1
        assert trio.current_time() == 100
    assert await values(pool) == [999, 1000]


async def test_results_come_in_the_order_in_which_tasks_end(autojump_clock):
    async with AsyncPool(nap, max_workers=5) as pool:
        for seconds in (5, 3, 1, 4, 2):
            await pool.add_task(seconds)
    assert await values(pool) == [1, 2, 3, 4, 5]


async def test_tasks_that_never_wait_come_in_order_whoever_added_them():
    async with AsyncPool(double, max_workers=1) as pool, trio.open_nursery() as nursery:
        begun = []

        async def add(number):
            begun.append(number)
            await pool.add_task(number)

        for number in range(50):
            nursery.start_soon(add, number)
            await trio.lowlevel.checkpoint()
    assert await values(pool) == [2 * number for number in begun]


# -- the original's bugs


async def test_a_task_that_raises_is_an_outcome_and_kills_nobody(autojump_clock):
    async with AsyncPool(refuse) as pool:
        refs = [await pool.add_task(number) for number in range(200)]
    completions = {c.ref: c for c in await drained(pool)}
    assert completions.keys() == set(refs)  # and nothing left the block as not looked at
    for _ in range(2):  # a value can be read as often as you like
        with pytest.raises(ValueError, match=r"^7\n"):
            _ = completions[refs[7]].value
    assert all(isinstance(c.outcome, Error) for c in completions.values())
    assert pool.report.failed == 200


class Steps(trio.abc.Instrument):
    count = 0

    def before_task_step(self, task):
        self.count += 1


async def test_add_task_sleeps_while_it_waits(autojump_clock):
    async with AsyncPool(nap, max_workers=1) as pool:
        await pool.add_task(1000)
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        await pool.add_task(0)
        trio.lowlevel.remove_instrument(steps)
        assert trio.current_time() == 1000
    assert steps.count < 10


async def test_a_cancelled_add_task_has_added_nothing(autojump_clock):
    async with AsyncPool(nap, max_workers=1) as pool:
        await pool.add_task(100)
        for number in range(20):
            with trio.move_on_after(0.25) as scope:
                await pool.add_task(number)
            assert scope.cancelled_caught
        assert trio.current_time() == 5
        assert pool.statistics().submitted == 1
    assert trio.current_time() == 100
    assert await values(pool) == [100]


async def test_a_hundred_asked_for_with_a_limit_are_not_more(autojump_clock):
    taken = 0
    async with AsyncPool(nap, max_workers=10) as pool:
        for _ in range(100):
            with trio.move_on_after(0.005):
                await pool.add_task(0.04)
                taken += 1
    assert len(await drained(pool)) == taken == pool.report.completed
    assert 10 < taken < 100


async def test_the_places_of_cancelled_adds_are_free_again(autojump_clock):
    async with AsyncPool(nap, max_workers=1, max_results=2) as pool:
        await pool.add_task(10)
        for _ in range(5):
            with trio.move_on_after(1):
                await pool.add_task(0)
            with pytest.raises(QueueFull, match="workers of AsyncPool are busy"):
                pool.add_task_nowait(0)
        await pool.add_task(0)
        await wait_all_tasks_blocked()
    assert await values(pool) == [10, 0]


# -- without waiting


async def test_add_task_nowait_says_that_no_worker_is_free(autojump_clock):
    async with AsyncPool(nap, max_workers=2) as pool:
        refs = [pool.add_task_nowait(1), pool.add_task_nowait(2)]
        with pytest.raises(QueueFull, match="all 2 workers of AsyncPool are busy: await"):
            pool.add_task_nowait(3)
        with pytest.raises(trio.WouldBlock):
            pool.add_task_nowait(3)
        await trio.sleep(1.5)
        refs.append(pool.add_task_nowait(3))
    assert [c.ref for c in await drained(pool)] == refs


async def test_add_task_nowait_says_that_results_have_no_place(autojump_clock):
    async with AsyncPool(nap, max_results=1) as pool:
        pool.add_task_nowait(1)
        with pytest.raises(QueueFull, match="max_results=1 completions wait or are under way"):
            pool.add_task_nowait(1)
        await trio.sleep(2)
        with pytest.raises(QueueFull):
            pool.add_task_nowait(1)
        await pool.results.receive()
        pool.add_task_nowait(1)


async def test_refs_are_handles_one_for_each_task():
    async with AsyncPool(double, max_workers=5) as pool:
        refs = [await pool.add_task(0) for _ in range(5)]
    assert len(set(refs)) == 5
    assert repr(refs[2]) == "<Ref 3>"
    with pytest.raises(AttributeError):
        refs[0].number = 5
    assert Ref(1) != Ref(1)
    assert Completion(refs[0], Value(0)) == (await drained(pool))[0]


# -- places for results


async def test_results_that_nobody_reads_hold_up_add_task(autojump_clock):
    async with AsyncPool(double, max_workers=1, max_results=10) as pool:
        for number in range(10):
            await pool.add_task(number)
        with trio.move_on_after(100) as scope:
            await pool.add_task(10)
        assert scope.cancelled_caught
        assert len(pool.results) == 10
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.add_task, 10)
            await wait_all_tasks_blocked()
            assert (await pool.results.receive()).value == 0
    assert await values(pool) == list(range(2, 22, 2))


async def test_running_tasks_count_as_results_to_come(autojump_clock):
    async with AsyncPool(nap, max_workers=10, max_results=4) as pool:
        for _ in range(4):
            await pool.add_task(1)
        with trio.move_on_after(0.5) as scope:
            await pool.add_task(1)
        assert scope.cancelled_caught
        assert pool.statistics().running == 4


async def test_a_thousand_results_wait_unread_by_default_and_any_number_if_so_asked(autojump_clock):
    async with AsyncPool(double) as pool:
        for number in range(1000):
            await pool.add_task(number)
        with trio.move_on_after(1) as scope:
            await pool.add_task(0)
        assert scope.cancelled_caught
    async with AsyncPool(double, max_results=math.inf) as pool:
        for number in range(1500):
            await pool.add_task(number)
    assert len(await drained(pool)) == 1500


async def test_there_is_no_bound_while_the_block_is_left(autojump_clock):
    async def crawl(depth):
        await trio.sleep(1)
        if depth:
            await pool.add_task(depth - 1)
        return depth

    with trio.fail_after(SECONDS):
        async with AsyncPool(crawl, max_workers=2, max_results=1) as pool:
            await pool.add_task(5)
            await trio.sleep(5)  # the callback has been waiting for a place, and now gets one
    assert await values(pool) == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("max_results", [1, 2, 3])
async def test_closing_sends_away_those_who_wait_for_a_place_or_a_worker(
    max_results, autojump_clock
):
    refused = []
    pool = AsyncPool(nap, max_workers=1, max_results=max_results)

    async def add():
        with pytest.raises(Closed):
            await pool.add_task(1)
        refused.append(trio.current_time())

    async with trio.open_nursery() as nursery, pool:
        await pool.add_task(10)
        nursery.start_soon(add)
        nursery.start_soon(add)
        await trio.sleep(1)
        pool.close()
        await trio.sleep(1)  # closing does it, before the block is left
    assert refused == [1, 1]
    assert await values(pool) == [10]


async def test_results_that_nobody_wants_take_no_places(autojump_clock):
    async with AsyncPool(double, max_results=1) as pool:
        await pool.add_task(1)
        await wait_all_tasks_blocked()
        await pool.results.aclose()
        with trio.fail_after(SECONDS):
            for number in range(10):
                await pool.add_task(number)
        with pytest.raises(trio.ClosedResourceError):
            await pool.results.receive()
    assert pool.report.completed == 11


# -- the channel's life


async def test_results_end_when_the_block_has_ended_and_all_was_read():
    async with AsyncPool(double) as pool:
        await pool.add_task(1)
        await wait_all_tasks_blocked()
        assert pool.results.receive_nowait().value == 2
        with pytest.raises(trio.WouldBlock):
            pool.results.receive_nowait()
    with pytest.raises(trio.EndOfChannel):
        await pool.results.receive()


async def test_results_end_after_close_so_that_a_loop_in_the_block_ends(autojump_clock):
    async with AsyncPool(nap) as pool:
        for seconds in (3, 1, 2):
            await pool.add_task(seconds)
        pool.close()
        assert await values(pool) == [1, 2, 3]
        with pytest.raises(Closed):
            await pool.add_task(1)


async def test_each_opening_has_results_of_its_own():
    pool = AsyncPool(double, max_results=2)
    with pytest.raises(Closed, match="is not open"):
        _ = pool.results
    with pytest.raises(Closed, match="is not open"):
        await pool.add_task(1)
    with pytest.raises(Closed, match="is not open"):
        pool.add_task_nowait(1)
    async with pool:
        await pool.add_task(1)
    first = pool.results
    with pytest.raises(Closed, match="has ended"):
        await pool.add_task(1)
    async with pool:
        await pool.add_task(2)
        await pool.add_task(3)
        assert pool.results is not first
        assert [c.value async for c in first] == [2]  # frees no place of this opening
        with pytest.raises(QueueFull):
            pool.add_task_nowait(4)
    assert await values(pool) == [4, 6]


async def test_tasks_cut_by_cancel_have_completions_too(autojump_clock):
    async with AsyncPool(nap, max_workers=2) as pool:
        refs = [await pool.add_task(100) for _ in range(2)]
        await trio.sleep(1)
        pool.cancel()
    assert trio.current_time() == 1
    completions = await drained(pool)
    assert {c.ref for c in completions} == set(refs)
    for completion in completions:
        with pytest.raises(JobCancelled):
            _ = completion.value
    assert pool.report.cancelled == 2


async def test_tasks_cut_by_grace_or_by_an_error_have_completions_too(autojump_clock):
    async with AsyncPool(nap, grace=5) as pool:
        await pool.add_task(100)
        await pool.add_task(1)
    assert trio.current_time() == 5
    assert [type(c.outcome) for c in await drained(pool)] == [Value, Error]
    with pytest.RaisesGroup(OSError):
        async with AsyncPool(nap) as pool:
            await pool.add_task(100)
            raise OSError
    assert [type(c.outcome) for c in await drained(pool)] == [Error]


async def test_what_a_callback_adds_after_close_is_abandoned_and_said_so(autojump_clock):
    refs = []

    async def late(data):
        if data == "outer":
            await trio.sleep(2)
            refs.append(await pool.add_task("inner"))
            refs.append(pool.add_task_nowait("inner"))

    async with AsyncPool(late) as pool:
        await pool.add_task("outer")
        await trio.sleep(1)
        pool.close()
    *inner, outer = await drained(pool)
    assert [c.ref for c in inner] == refs
    assert all(isinstance(c.outcome.error, JobAbandoned) for c in inner)
    assert outer.value is None
    assert len(pool.report.abandoned) == 2


async def test_a_callback_that_waits_for_a_worker_when_the_pool_closes_is_abandoned(autojump_clock):
    async def adding(data):
        if data == "outer":
            await pool.add_task("inner")
        else:
            await trio.sleep(5)

    async with AsyncPool(adding, max_workers=2) as pool:
        await pool.add_task("slow")
        await pool.add_task("outer")
        await trio.sleep(1)
        pool.close()
    kinds = [getattr(c.outcome, "error", None) for c in await drained(pool)]
    assert [type(kind) for kind in kinds] == [JobAbandoned, type(None), type(None)]


# -- reply_to


async def test_a_completion_goes_where_reply_to_says(autojump_clock):
    send, receive = trio.open_memory_channel(math.inf)
    async with AsyncPool(nap) as pool:
        here = await pool.add_task(2)
        there = await pool.add_task(1, reply_to=send)
        also_there = pool.add_task_nowait(1.5, reply_to=send)
        assert (await receive.receive()).ref is there
        assert (await receive.receive()).ref is also_there
    assert [c.ref for c in await drained(pool)] == [here]


async def test_a_slow_receiver_holds_up_nobody_and_gets_all_in_order(autojump_clock):
    send, receive = trio.open_memory_channel(0)
    got = []

    async def read():
        async for completion in receive:
            got.append(completion.value)
            await trio.sleep(10)

    async with trio.open_nursery() as nursery:
        async with AsyncPool(nap, max_workers=1) as pool:
            nursery.start_soon(read)
            for number in range(1, 11):
                await pool.add_task(number / 10, reply_to=send)
            await pool.add_task(0)
            assert (await pool.results.receive()).value == 0
            assert trio.current_time() == pytest.approx(5.5)  # what the tasks themselves take
        send.close()
    assert got == [number / 10 for number in range(1, 11)]
    assert await drained(pool) == []


async def test_leaving_waits_for_deliveries(autojump_clock):
    send, receive = trio.open_memory_channel(0)

    async def read_late():
        await trio.sleep(100)
        assert [(await receive.receive()).value for _ in range(2)] == [0, 0]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_late)
        async with AsyncPool(nap) as pool:
            await pool.add_task(0, reply_to=send)
            await pool.add_task(0, reply_to=send)
        assert trio.current_time() == 100
    assert await drained(pool) == []


@pytest.mark.parametrize("how", ["grace", "cancel", "error"])
async def test_deliveries_that_are_cut_go_to_results(how, autojump_clock):
    send, receive = trio.open_memory_channel(1)
    with pytest.RaisesGroup(OSError) if how == "error" else nullcontext():
        async with AsyncPool(nap, grace=5) as pool:
            refs = [await pool.add_task(n / 10, reply_to=send) for n in range(3)]
            slow = await pool.add_task(100, reply_to=send)
            await trio.sleep(2)
            if how == "cancel":
                pool.cancel()
            elif how == "error":
                raise OSError
    assert trio.current_time() == (7 if how == "grace" else 2)
    assert receive.receive_nowait().ref is refs[0]
    assert [c.ref for c in await drained(pool)] == [*refs[1:], slow]
    assert receive.statistics().current_buffer_used == 0


async def test_grace_is_for_deliveries_as_well_as_for_tasks(autojump_clock):
    send, _receive = trio.open_memory_channel(0)
    async with AsyncPool(nap, grace=5) as pool:
        ref = await pool.add_task(1, reply_to=send)
    assert trio.current_time() == 5
    assert [c.ref for c in await drained(pool)] == [ref]
    assert pool.report.completed == 1


async def test_delivered_completions_hold_no_places(autojump_clock):
    send, receive = trio.open_memory_channel(math.inf)
    async with AsyncPool(nap, max_results=1) as pool:
        with trio.fail_after(SECONDS):
            for _ in range(10):
                await pool.add_task(1, reply_to=send)
    assert receive.statistics().current_buffer_used == 10


async def test_undelivered_completions_hold_places(autojump_clock):
    send, receive = trio.open_memory_channel(0)
    async with AsyncPool(nap, max_results=3) as pool:
        for _ in range(3):
            await pool.add_task(0, reply_to=send)
        await trio.sleep(1)
        assert pool.statistics().completed == 3
        with pytest.raises(QueueFull, match="max_results=3"):
            pool.add_task_nowait(0)
        await receive.receive()
        await wait_all_tasks_blocked()
        await pool.add_task(0)
        receive.close()


@pytest.mark.parametrize("when", ["before", "while it runs", "while it is delivered"])
@pytest.mark.parametrize("end", ["send", "receive"])
async def test_what_a_closed_reply_to_does_not_take_goes_to_results(when, end, autojump_clock):
    send, receive = trio.open_memory_channel(0)
    closing = send if end == "send" else receive
    async with AsyncPool(nap, max_results=4) as pool:
        if when == "before":
            closing.close()
        refs = [await pool.add_task(1, reply_to=send), await pool.add_task(2, reply_to=send)]
        await trio.sleep(0 if when == "while it runs" else 3)
        closing.close()
        await trio.sleep(3)
        assert len(pool.results) == 2  # they hold their places like others
        refs += [await pool.add_task(0), await pool.add_task(0)]
        with pytest.raises(QueueFull):
            pool.add_task_nowait(0)
    assert [c.ref for c in await drained(pool)] == refs


class Custom(trio.abc.SendChannel):
    """A channel of the user's own, which may fail in a way of its own."""

    def __init__(self, error=None):
        self.sent = []
        self.error = error

    async def send(self, value):
        await trio.sleep(1)
        if self.error is not None:
            raise self.error
        self.sent.append(value)

    async def aclose(self):
        await trio.lowlevel.checkpoint()


async def test_any_send_channel_will_do(autojump_clock):
    channel = Custom()
    async with AsyncPool(double, max_workers=1) as pool:
        refs = [await pool.add_task(number, reply_to=channel) for number in range(3)]
    assert [c.ref for c in channel.sent] == refs
    assert trio.current_time() == 3
    with pytest.raises(TypeError, match=r"reply_to must be a trio.abc.SendChannel or None, got 5"):
        await pool.add_task(1, reply_to=5)


async def test_a_channel_that_fails_in_a_way_of_its_own_is_logged_and_harms_nobody(
    autojump_clock, caplog
):
    async with AsyncPool(double) as pool:
        ref = await pool.add_task(1, reply_to=Custom(OSError("disk")))
        await trio.sleep(1)
        other = await pool.add_task(2)
    assert {c.ref for c in await drained(pool)} == {ref, other}
    (record,) = caplog.records
    assert record.name == "poolder_trio.async_pool"
    assert "disk" in str(record.exc_info[1])


# -- what it shares with the other components


async def test_a_callback_that_adds_to_its_own_full_pool_is_refused(autojump_clock):
    async def adding(data):
        await trio.sleep(1)
        if data:
            await pool.add_task(0)
        return data

    with trio.fail_after(SECONDS):
        async with AsyncPool(adding, max_workers=2) as pool:
            await pool.add_task(1)
            await pool.add_task(1)
    refused, *others = sorted(await drained(pool), key=lambda c: not isinstance(c.outcome, Error))
    with pytest.raises(RuntimeError, match="would wait for that very handler"):
        _ = refused.value
    assert sorted(c.value for c in others) == [0, 1]


async def test_a_callback_sees_the_context_of_who_added_the_task(autojump_clock):
    user = contextvars.ContextVar("user", default="nobody")

    async def who(_):
        seen = user.get()
        user.set("somebody")
        return seen

    async with AsyncPool(who, max_workers=1) as pool:
        for name in ("ann", "bob", "ann"):
            user.set(name)
            await pool.add_task(None)
    assert await values(pool) == ["ann", "bob", "ann"]
    assert user.get() == "ann"


async def test_retries_verdicts_timeouts_and_rates_work_as_elsewhere(autojump_clock):
    tries = []

    class Flaky(AsyncPool):
        retry = Retry(attempts=3)
        job_timeout = 10
        rate = Rate(1, per=1)

        async def handle_error(self, call, attempt, error):
            return HALT if call.args == ("halt",) else None

    async def flaky(data):
        tries.append((data, trio.current_time()))
        if data == "slow":
            await trio.sleep(20)
        if data == "halt" or tries.count(data) + len(tries) < 3:
            raise ValueError(data)
        return data

    async with Flaky(flaky, max_workers=1) as pool:
        for data in ("good", "halt"):
            await pool.add_task(data)
    good, halted = await drained(pool)
    assert good.value == "good"
    assert isinstance(halted.outcome.error, JobHalted)
    assert [at for _, at in tries] == [0, 1, 2, 3]
    pool = Flaky(flaky, retry=Retry())
    async with pool:
        await pool.add_task("slow")
    assert isinstance((await drained(pool))[0].outcome.error, JobTimeout)


async def test_a_plain_function_runs_in_an_executor():
    def plain(number):
        time.sleep(0.001)
        return number * 2

    async with AsyncPool(plain, executor=ThreadExecutor()) as pool:
        for number in range(5):
            await pool.add_task(number)
    assert sorted(await values(pool)) == [0, 2, 4, 6, 8]


async def test_report_and_statistics_count_tasks(autojump_clock):
    async def some(number):
        await trio.sleep(number)
        if number == 2:
            raise ValueError
        return number

    async with AsyncPool(some, max_workers=4) as pool:
        for number in (1, 2, 3, 4):
            await pool.add_task(number)
        await trio.sleep(2.5)
        stats = pool.statistics()
        assert (stats.completed, stats.failed, stats.running, stats.submitted) == (1, 1, 2, 4)
        await trio.sleep(1)
        pool.cancel()
    report = pool.report
    assert (report.completed, report.failed, report.cancelled) == (2, 1, 1)


async def test_it_says_what_it_is():
    pool = AsyncPool(double, name="crawl", max_workers=7)
    assert repr(pool) == "<crawl, max_workers 7, new>"


# -- options


async def test_a_declared_callback_is_taken_as_it_stands():
    class Double(AsyncPool):
        callback = double
        max_workers = 1

    async with Double() as pool:
        pool.add_task_nowait(4)
        with pytest.raises(QueueFull):
            pool.add_task_nowait(4)
    assert await values(pool) == [8]
    async with Double(nap) as pool:
        await pool.add_task(0.0)
    assert await values(pool) == [0.0]


def plain_function(data):
    return data


def test_a_wrong_declaration_fails_at_the_class_statement():
    with pytest.raises(TypeError, match=r"callback: expected an async function.*\(Bad\)"):

        class Bad(AsyncPool):
            callback = plain_function

    with pytest.raises(TypeError, match=r"callback: .*\(Bad\)"):

        class Bad(AsyncPool):
            callback = double
            executor = ThreadExecutor()

    with pytest.raises(ValueError, match="max_workers must be an int >= 1, got 0"):

        class Bad(AsyncPool):
            max_workers = 0

    class Good(AsyncPool):
        callback = plain_function
        executor = ThreadExecutor()

    assert Good().callback is plain_function


@pytest.mark.parametrize(
    "declared", [{"queue": Queue()}, {"restart": Restart()}, {"limit_per_key": 1}]
)
def test_what_has_no_meaning_here_is_no_option(declared):
    (name,) = declared
    with pytest.raises(TypeError, match=f"{name} is not an option of an AsyncPool"):
        type("Bad", (AsyncPool,), declared)
    with pytest.raises(TypeError, match=f"no option '{name}'"):
        AsyncPool(double, **declared)


def test_wrong_options_are_refused_at_the_call():
    with pytest.raises(TypeError, match="AsyncPool needs a callback"):
        AsyncPool()
    with pytest.raises(TypeError, match="callback must be a function of one argument, got 5"):
        AsyncPool(5)
    with pytest.raises(TypeError, match="got a lambda"):
        AsyncPool(lambda data: data)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=r"max_results must be an int >= 1 or math.inf"):
            AsyncPool(double, max_results=wrong)
    for wrong in (1.5, True, "5", math.nan):
        with pytest.raises(TypeError, match=r"max_results must be an int >= 1 or math.inf"):
            AsyncPool(double, max_results=wrong)
    assert not hasattr(AsyncPool, "submit")
    assert not hasattr(AsyncPool, "map")


# -- exactly one completion for each task, wherever it is cut


def once_each(refs, pool, completions, replies):
    """Each accepted task has one completion; tasks whose add was cut may have been taken, too."""
    seen = [completion.ref for completion in (*completions, *replies)]
    assert len(seen) == len(set(seen))
    assert set(refs) <= set(seen)
    assert len(seen) == pool.statistics().submitted
    assert pool.statistics().running == pool.statistics().waiting == 0


async def some_life(refs, pool, reply_to, receive, replies):
    async def add(number):
        try:
            refs.append(await pool.add_task(number, reply_to=reply_to if number % 2 else None))
        except Closed:
            pass

    async def read():
        async for completion in receive:
            replies.append(completion)
            await trio.sleep(0.5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        async with pool, trio.open_nursery() as adders:
            for number in range(6):
                adders.start_soon(add, number)
            await trio.sleep(0.1)
            for number in range(6, 9):
                await add(number)
        reply_to.close()


async def some_task(number):
    if number % 3 == 0:
        await trio.sleep(number % 4)
    if number % 4 == 1:
        raise ValueError(number)
    return number


async def test_each_ref_has_one_completion_when_the_block_is_cut_at_any_step(autojump_clock):
    for step in itertools.count(1):
        refs, replies = [], []
        pool = AsyncPool(some_task, max_workers=2)
        send, receive = trio.open_memory_channel(0)
        with CancelAt(step) as cut:
            await some_life(refs, pool, send, receive, replies)
        if pool._returns is not None:
            once_each(refs, pool, await drained(pool), replies)
        if not cut.reached:
            assert len(refs) == 9
            break
    assert step > 30


@pytest.mark.parametrize("max_results", [1, 1000])
async def test_an_add_that_is_cut_at_any_step_adds_once_or_not_at_all(max_results, autojump_clock):
    for step in itertools.count(1):
        refs = []
        async with AsyncPool(nap, max_workers=1, max_results=max_results) as pool:
            refs.append(await pool.add_task(0.1))
            async with trio.open_nursery() as nursery:
                if max_results == 1:
                    nursery.start_soon(pool.results.receive)
                with CancelAt(step) as cut:
                    refs.append(await pool.add_task(0.1))
                nursery.cancel_scope.cancel()
            await pool.wait_idle()
            assert pool.statistics().completed == len(refs)
        if not cut.reached:
            break
    assert len(refs) == 2


@given(st.integers(), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2))
def test_each_ref_has_one_completion_under_random_cancellation(  # noqa: C901  # one random life
    seed, workers, places, room
):
    chance = random.Random(seed)  # noqa: S311
    refs, replies = [], []
    pool = AsyncPool(
        some_task, max_workers=workers, max_results=places, grace=chance.choice((1, 99))
    )

    async def add(number, reply_to):
        await trio.sleep(chance.random() * 3)
        with trio.move_on_after(chance.random() * 3):
            try:
                refs.append(await pool.add_task(number, reply_to=chance.choice((reply_to, None))))
            except Closed:
                pass

    async def read(channel, into):
        while True:
            try:
                into.append(await channel.receive())
            except (trio.EndOfChannel, trio.ClosedResourceError):
                return
            await trio.sleep(chance.random())
            if chance.random() < 0.05:
                return

    async def main():
        results = []
        send, receive = trio.open_memory_channel(room)
        with trio.move_on_after(chance.random() * 15):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, receive, replies)
                async with pool, trio.open_nursery() as adders:
                    if chance.random() < 0.7:
                        nursery.start_soon(read, pool.results, results)
                    for number in range(20):
                        adders.start_soon(add, number, send)
                    await trio.sleep(chance.random() * 10)
                    chance.choice((pool.close, pool.cancel, receive.close, int))()
                send.close()
        if pool._returns is not None:
            left = [*results, *await drained(pool)]
            while True:
                try:
                    replies.append(receive.receive_nowait())
                except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                    break
            return left
        return None

    left = trio.run(main, clock=MockClock(autojump_threshold=0))
    # What is in the buffer of a channel that its receiver closed is lost with it.
    if left is not None and room == 0:
        once_each(refs, pool, left, replies)


async def test_a_task_that_backs_off_holds_up_no_others(autojump_clock):
    async def fetch(number):
        await trio.sleep(1)
        if number == 0 and trio.current_time() < 50:
            raise ValueError(number)
        return number

    async with AsyncPool(fetch, max_workers=1, retry=Retry(attempts=2, backoff=60.0)) as pool:
        for number in range(3):
            await pool.add_task(number)
        assert trio.current_time() < 3
        got = [(await pool.results.receive()).value for _ in range(3)]
    assert got == [1, 2, 0]
