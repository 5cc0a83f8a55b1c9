"""Batchers: every item is handled in one batch, or is in the report."""

import collections
import itertools
import math
import sys

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio import (
    HALT,
    RETRY,
    Backoff,
    Batch,
    Batcher,
    BatchStream,
    Closed,
    Exit,
    Instrument,
    JobAbandoned,
    JobCancelled,
    JobHalted,
    Pool,
    Queue,
    QueueFull,
    Restart,
    RestartLimitExceeded,
    Retry,
    Stop,
    TooManyRequests,
    Worker,
    whereis,
)
from poolder_trio.testing import CancelAt

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


class Seen(list):
    """A handler that notes its batches, and takes its time."""

    def __init__(self, seconds=0.0):
        super().__init__()
        self.seconds = seconds

    async def __call__(self, batch):
        self.append((list(batch), batch.reason))
        if self.seconds:
            await trio.sleep(self.seconds)
        return [item * 10 for item in batch] if type(batch[0]) is int else None

    @property
    def items(self):
        return [items for items, _ in self]


def accounts(batcher):
    stats = batcher.statistics()
    ended = stats.completed + stats.failed + stats.cancelled + stats.dropped + stats.abandoned
    assert stats.submitted == ended + stats.running + stats.waiting
    return stats


# -- what a batch is


async def test_batches_go_by_size_and_the_rest_when_the_block_is_left(autojump_clock):
    seen = Seen()
    async with Batcher(seen, limit=3) as batcher:
        for item in range(8):
            batcher.push_nowait(item)
    assert seen == [([0, 1, 2], "size"), ([3, 4, 5], "size"), ([6, 7], "close")]
    assert batcher.report.completed == accounts(batcher).submitted == 8


async def test_the_clock_of_a_batch_starts_with_its_first_item(autojump_clock):
    times = []

    async def handle(batch):
        times.append((trio.current_time(), list(batch), batch.reason))

    async with Batcher(handle, limit=3, timeout=5) as batcher:
        await trio.sleep(3)
        await batcher.push("a")  # due at 8
        await trio.sleep(4)
        await batcher.push_many("bcd")  # full at 7
        await trio.sleep(100)
        await batcher.push("e")
        await trio.sleep(6)
    assert times == [
        (7, ["a", "b", "c"], "size"),
        (12, ["d"], "timeout"),
        (112, ["e"], "timeout"),
    ]


async def test_weight_is_a_ceiling_and_heavier_items_are_refused(autojump_clock):
    seen = Seen()
    async with Batcher(seen, limit=99, weight=len, max_weight=5) as batcher:
        for item in ("aaa", "bbb", "cc", "d"):
            await batcher.push(item)
        with pytest.raises(ValueError, match="at most max_weight=5, got 6"):
            batcher.push_nowait("eeeeee")
    assert seen == [(["aaa"], "weight"), (["bbb", "cc"], "weight"), (["d"], "close")]


async def test_each_key_has_its_own_batches(autojump_clock):
    batches = []

    async def handle(batch):
        batches.append((batch.key, list(batch)))

    async with Batcher(handle, limit=2, key=lambda word: word[0]) as batcher:
        await batcher.push_many(["a1", "b1", "a2", "b2", "b3", "b4"])
        await batcher.push("a3")
        assert batcher.pop_at(0, key="a") == "a3"
        with pytest.raises(TypeError, match="needs key="):
            batcher.pop_at(0)
        with pytest.raises(IndexError):
            batcher.pop_at(0, key="zz")
    assert batches == [("a", ["a1", "a2"]), ("b", ["b1", "b2"]), ("b", ["b3", "b4"])]


async def test_a_handler_gets_what_the_options_say(autojump_clock):
    got = []

    class Both(Batcher):
        limit, reverse, indexed, stream = 3, True, True, True

        async def handle_batch(self, batch):
            assert iter(batch) is batch
            got.append((batch.reason, batch.key, list(batch)))

    async with Both() as batcher:
        await batcher.push_many("abc")
        await batcher.push("d")
    assert got == [
        ("size", None, [(2, "c"), (1, "b"), (0, "a")]),
        ("close", None, [(0, "d")]),
    ]


async def test_as_many_batches_at_once_as_concurrency_says(autojump_clock):
    seen = Seen(seconds=1)
    async with Batcher(seen, limit=2, concurrency=3) as batcher:
        await batcher.push_many(range(12))
        await trio.sleep(0.5)
        assert (accounts(batcher).running, accounts(batcher).waiting) == (6, 6)
    assert trio.current_time() == 2


# -- the originals


async def test_the_readmes_batcher(autojump_clock):
    printed = []

    class MyBatcher(Batcher):
        name = "mybatcher"
        limit = 100
        timeout = 10.0
        reverse = False
        stream = True
        indexed = False
        retry = Retry(attempts=3, backoff=1.0)
        hibernate_after = 600.0
        priority = "high"

        async def handle_init(self):
            self.label = "batch"

        async def handle_batch(self, batch_stream):
            printed.append((self.label, list(batch_stream)))

        async def handle_hibernate(self):
            printed.append("hibernating")

    async with MyBatcher() as batcher:
        await batcher.push("yellow")
        await whereis("mybatcher").push(5)
        await batcher.push_front("Amsterdam")
        await batcher.push_many(["red", "blue", "green"])
        assert batcher.pop_at(2) == 5
        await batcher.push_many(["orange", "apple", "watermelon"])
        assert len(batcher) == 8
        await batcher.flush()
        await trio.sleep(601)
    words = ["Amsterdam", "yellow", "red", "blue", "green", "orange", "apple", "watermelon"]
    assert printed == [("batch", words), "hibernating"]


async def test_a_batcher_with_a_name_is_pushed_to_by_that_name(autojump_clock):
    seen = Seen()
    async with Batcher(seen, name="mybatcher"):
        await whereis("mybatcher").push(5)
    assert seen.items == [[5]]


async def test_a_push_to_the_front_is_handled_before_those_that_wait(autojump_clock):
    seen = Seen()
    async with Batcher(seen, limit=100) as batcher:
        await batcher.push("yellow")
        await batcher.push("blue")
        await batcher.push_front("Amsterdam")
    assert seen.items == [["Amsterdam", "yellow", "blue"]]


async def test_without_a_timeout_a_batch_waits_until_it_is_full(autojump_clock):
    seen = Seen()
    async with Batcher(seen, limit=2) as batcher:
        await batcher.push("a")
        await trio.sleep(9000)
        assert not seen
        await batcher.push("b")
        await batcher.wait_idle()
        assert seen == [(["a", "b"], "size")]


async def test_reverse_has_the_newest_first(autojump_clock):
    seen = Seen()
    async with Batcher(seen, limit=3, reverse=True) as batcher:
        await batcher.push_many("abcd")
    assert seen.items == [["c", "b", "a"], ["d"]]


async def test_stream_gives_an_iterator_and_its_absence_a_list(autojump_clock):
    got = []

    async def handle(batch):
        got.append((type(batch), next(iter(batch))))

    for stream in (True, False):
        async with Batcher(handle, stream=stream) as batcher:
            await batcher.push("a")
    assert got == [(BatchStream, "a"), (Batch, "a")]


async def test_indexed_gives_pairs_of_position_and_item(autojump_clock):
    seen = []

    async def handle(batch):
        seen.append(list(batch))

    async with Batcher(handle, limit=2, indexed=True) as batcher:
        await batcher.push_many("abc")
    assert seen == [[(0, "a"), (1, "b")], [(0, "c")]]


async def test_flush_handles_a_batch_that_is_not_full(autojump_clock):
    seen = Seen()
    async with Batcher(seen, limit=100) as batcher:
        await batcher.push("a")
        await batcher.flush()
        assert seen == [(["a"], "flush")]


@pytest.mark.parametrize(("priority", "between"), [("low", 1), ("max", 20)])
async def test_priority_is_a_share_of_the_event_loop(priority, between):
    passes, handled_in_one = 0, collections.Counter()

    async def handle(batch):
        handled_in_one[passes] += 1

    async with Batcher(handle, limit=1, priority=priority) as batcher:
        batcher.pause()
        for item in range(20):
            batcher.push_nowait(item)
        batcher.resume()
        while sum(handled_in_one.values()) < 20:
            await trio.lowlevel.checkpoint()
            passes += 1
    # A pass of this task may come before or after the worker's, and so two meet in one.
    assert between <= max(handled_in_one.values()) <= between * 2


async def test_a_retry_keeps_the_items_and_the_batcher(autojump_clock):
    tries = []

    async def handle(batch):
        tries.append(list(batch))
        batch.clear()
        if "a" in tries[-1] and tries.count(tries[-1]) < 3:
            raise ValueError("not yet")

    async with Batcher(handle, limit=2, retry=Retry(attempts=3, backoff=1.0)) as batcher:
        await batcher.push_many("ab")
        await batcher.push("c")
    assert sorted(tries) == [["a", "b"], ["a", "b"], ["a", "b"], ["c"]]
    assert batcher.report.completed == 3


async def test_the_default_options_start(autojump_clock):
    seen = Seen()
    async with Batcher(seen) as batcher:
        await batcher.push_many("abcdef")
    assert seen.items == [list("abcde"), ["f"]]


async def test_a_popped_item_does_not_bring_the_batch_forward(autojump_clock):
    seen = Seen()
    async with Batcher(seen, limit=3) as batcher:
        await batcher.push_many("ab")
        assert batcher.pop_at(0) == "a"
        assert len(batcher) == 1
        await batcher.push("c")
        await trio.sleep(1)
        assert seen == []
        await batcher.push("d")
    assert seen == [(["b", "c", "d"], "size")]
    assert (batcher.report.completed, batcher.report.cancelled) == (3, 1)


async def test_what_handle_init_prepares_is_there_and_is_left_at_the_end(autojump_clock):
    log = []

    class Inits(Batcher):
        async def handle_init(self):
            self.stack.callback(log.append, "left")
            self.prefix = "p"

        async def handle_batch(self, batch):
            log.append(self.prefix + batch[0])

    async with Inits() as batcher:
        await batcher.push("a")
    assert log == ["pa", "left"]


# -- results and failures


async def test_each_caller_gets_its_own_result(autojump_clock):
    async def handle(batch):
        return [ValueError(item) if item == 2 else item * 10 for item in batch]

    results = {}

    async def ask(item):
        try:
            results[item] = await batcher.call(item)
        except ValueError as error:
            results[item] = error

    async with Batcher(handle, limit=4, reverse=True) as batcher, trio.open_nursery() as nursery:
        for item in range(4):
            nursery.start_soon(ask, item)
    assert isinstance(results.pop(2), ValueError)
    assert results == {0: 0, 1: 10, 3: 30}
    assert (batcher.report.completed, batcher.report.failed) == (3, 1)


async def test_a_call_among_pushes_gets_its_result_and_the_handler_plain_items(autojump_clock):
    seen, answers = Seen(), []

    async def ask(item):
        answers.append(await batcher.call(item))

    async with Batcher(seen, limit=4) as batcher, trio.open_nursery() as nursery:
        await batcher.push(1)
        nursery.start_soon(ask, 2)
        await trio.testing.wait_all_tasks_blocked()
        await batcher.push_many([3, 4])
    assert (seen.items, answers) == ([[1, 2, 3, 4]], [20])


@pytest.mark.parametrize(
    ("value", "error"), [([1, 2], ValueError), (None, TypeError), ("x", TypeError)]
)
async def test_a_wrong_number_of_results_says_so(value, error, autojump_clock):
    async def handle(batch):
        return value

    async with Batcher(handle, limit=1) as batcher:
        with pytest.raises(error, match="list of 1 results, one per item"):
            await batcher.call("a")
        await batcher.push("nobody asks")
    assert (batcher.report.completed, batcher.report.failed) == (1, 1)


async def test_an_exception_for_a_pushed_item_is_a_crash(autojump_clock):
    async def handle(batch):
        return [KeyError("lost"), "fine"]

    with pytest.raises(ExceptionGroup) as caught:
        async with Batcher(handle, limit=2) as batcher:
            await batcher.push_many("ab")
    assert [type(error) for error in caught.value.exceptions] == [KeyError]
    assert (batcher.report.completed, batcher.report.failed) == (1, 1)


async def fail(batch):
    raise ValueError(batch[0])


async def test_a_failed_batch_is_its_callers_or_a_crash(autojump_clock):
    async with Batcher(fail, limit=2) as batcher:
        await batcher.push("pushed")
        with pytest.raises(ValueError, match="pushed"):
            await batcher.call("called")
        assert accounts(batcher).failed == 2
    with pytest.raises(ExceptionGroup) as caught:
        async with Batcher(fail, limit=2) as batcher:
            await batcher.push_many("abc")
            await trio.sleep(1)
    (error,) = caught.value.exceptions
    assert any("Restart(max_restarts=...)" in note for note in error.__notes__)
    assert batcher.report.failed == 2
    assert batcher.report.abandoned == ("c",)


async def test_restart_forgives_and_limits(autojump_clock):
    async with Batcher(fail, limit=1, restart=Restart(mode="temporary")) as batcher:
        await batcher.push_many("abc")
    assert batcher.report.failed == 3
    with pytest.raises(ExceptionGroup) as caught:
        async with Batcher(fail, limit=1, restart=Restart(max_restarts=1)) as batcher:
            await batcher.push_many("abc")
    assert isinstance(caught.value.exceptions[0], RestartLimitExceeded)


async def test_handle_error_decides(autojump_clock):
    class Decides(Batcher):
        limit = 3
        retry = Retry(attempts=4)
        verdicts = None

        async def handle_batch(self, batch):
            tried.append((trio.current_time(), list(batch)))
            if self.verdicts:
                raise ValueError("bad")
            return [item.upper() for item in batch]

        async def handle_error(self, batch, attempt, error):
            assert type(batch) is Batch
            return self.verdicts.pop(0)

    tried, answers = [], []

    async def ask(item):
        answers.append((item, await batcher.call(item)))

    async with Decides() as batcher:
        batcher.verdicts = [RETRY, Backoff(2.0, only=["b"])]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "b")
            await batcher.push_many("ac")
        assert sorted(tried[0][1]) == sorted(tried[1][1]) == ["a", "b", "c"]
        assert tried[2] == (2, ["b"])
        assert answers == [("b", "B")]
        assert accounts(batcher).completed == 3
        batcher.verdicts = [HALT]
        await batcher.push_many("ab")
        with pytest.raises(JobHalted):
            await batcher.call("c")
        batcher.verdicts = [Backoff(1, only=["other"]), None]
        await batcher.push_many("ab")
        with pytest.raises(ValueError, match="'other'"):
            await batcher.call("c")


async def test_backoff_with_only_is_for_batchers(autojump_clock):
    class Fails(Worker):
        retry = Retry(attempts=2)

        async def handle_job(self, job):
            raise KeyError(job)

        async def handle_error(self, job, attempt, error):
            return Backoff(1, only=[job])

    async with Pool(Fails) as pool:
        with pytest.raises(TypeError, match="Batcher"):
            await pool.call(1)
    with pytest.raises(ValueError, match="only"):
        Backoff(1, only=[])


async def test_others_are_handled_while_a_batch_backs_off(autojump_clock):
    order = []

    class Slow(Batcher):
        limit = 1
        retry = Retry(attempts=2, backoff=5)

        async def handle_batch(self, batch):
            order.append(batch[0])
            if order == ["a"]:
                raise ValueError

    async with Slow() as batcher:
        await batcher.push_many("ab")
        await trio.sleep(1)
        assert (accounts(batcher).waiting, len(batcher)) == (1, 1)
    assert order == ["a", "b", "a"]


@pytest.mark.parametrize("verdict", [Stop, Exit])
async def test_stop_and_exit_close_the_batcher(verdict, autojump_clock):
    async def handle(batch):
        return verdict([item.upper() for item in batch])

    async with Batcher(handle, limit=2) as batcher:
        await batcher.push("a")
        assert await batcher.call("b") == "B"
        await batcher.wait_closed()
        with pytest.raises(Closed):
            batcher.push_nowait("c")


# -- back-pressure


async def test_a_full_queue_makes_pushers_wait(autojump_clock):
    seen = Seen(seconds=1)
    async with Batcher(seen, limit=2, queue=Queue(max=4)) as batcher:
        await batcher.push_many(range(2))
        await trio.testing.wait_all_tasks_blocked()
        await batcher.push_many(range(2, 6))
        with pytest.raises(QueueFull):
            batcher.push_nowait(6)
        await batcher.push(6)
        assert trio.current_time() == 1
        assert len(batcher) == 3
    assert seen.items == [[0, 1], [2, 3], [4, 5], [6]]


@pytest.mark.parametrize("overflow", ["reject", "drop_oldest", "drop_newest"])
async def test_rules_of_a_full_queue(overflow, autojump_clock):
    seen = Seen(seconds=1)
    async with Batcher(seen, limit=2, queue=Queue(max=3, overflow=overflow)) as batcher:
        await batcher.push_many(range(2))
        await trio.testing.wait_all_tasks_blocked()
        for item in range(2, 5):
            await batcher.push(item)
        if overflow == "reject":
            with pytest.raises(TooManyRequests):
                await batcher.push(5)
        else:
            await batcher.push(5)
        assert (len(batcher), accounts(batcher).dropped) == (3, 1)
    handled = sorted(itertools.chain(*seen.items))
    assert handled == ([0, 1, 3, 4, 5] if overflow == "drop_oldest" else [0, 1, 2, 3, 4])


async def test_a_batch_that_went_to_a_free_worker_has_no_place_in_the_queue(autojump_clock):
    seen = Seen(seconds=1)
    queue = Queue(max=1, overflow="drop_oldest")
    async with Batcher(seen, limit=1, queue=queue) as batcher:
        # Nothing is awaited: the worker has been handed the first item, and not begun.
        for item in range(3):
            batcher.push_nowait(item)
        assert (len(batcher), accounts(batcher).dropped) == (2, 1)
    assert seen.items == [[0], [2]]


async def test_a_batch_that_backs_off_has_its_place_in_the_queue(autojump_clock):
    class Slow(Batcher):
        limit = 2
        queue = Queue(max=2)
        retry = Retry(attempts=2, backoff=5)
        broken = True

        async def handle_batch(self, batch):
            broken, self.broken = self.broken, False
            if broken:
                raise ValueError

    async with Slow() as batcher:
        await batcher.push_many("ab")
        await trio.sleep(1)
        with pytest.raises(QueueFull):
            batcher.push_nowait("c")
        await batcher.push("c")
        assert trio.current_time() == 5


@pytest.mark.parametrize("overflow", ["wait", "reject", "drop_newest"])
async def test_windows_that_cannot_grow_are_sent_off(overflow, autojump_clock):
    seen = Seen()
    queue = Queue(max=3, overflow=overflow)
    async with Batcher(seen, limit=9, key=lambda item: item, queue=queue) as batcher:
        for item in range(3):
            await batcher.push(item)
        with trio.fail_after(1):
            try:
                await batcher.push(3)
            except TooManyRequests:
                pass
            await trio.sleep(0.5)
            await batcher.push(4)
    assert {reason for _, reason in seen} == {"size", "close"}


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_batcher_does_not_wait_for_itself(concurrency, autojump_clock):
    refused = []

    async def handle(batch):
        if batch[0] != "a":
            return
        waits = [batcher.flush, batcher.wait_idle]
        if concurrency == 1:
            batcher.push_nowait("y")
            waits += [lambda: batcher.call("x"), lambda: batcher.push("z")]
        for wait in waits:
            with pytest.raises(RuntimeError, match="for that very handler"):
                await wait()
            refused.append(wait)

    async with Batcher(handle, limit=1, concurrency=concurrency, queue=Queue(max=1)) as batcher:
        await batcher.push("a")
    assert len(refused) == (4 if concurrency == 1 else 2)


# -- life


async def test_flush_waits_for_what_waited(autojump_clock):
    seen = Seen(seconds=1)
    async with Batcher(seen, limit=2) as batcher:
        await batcher.flush()
        await batcher.push_many(range(5))
        await batcher.flush()
        assert trio.current_time() == 3
        assert [reason for _, reason in seen] == ["size", "size", "flush"]


async def test_a_handler_may_push_while_the_block_is_left(autojump_clock):
    handled = []

    async def handle(batch):
        handled.extend(batch)
        for item in batch:
            if item < 20:
                await batcher.push(item * 2)

    async with Batcher(handle, limit=3, timeout=1000) as batcher:
        await batcher.push(1)
    assert handled == [1, 2, 4, 8, 16, 32]
    assert trio.current_time() < 1


async def test_a_handlers_call_is_answered_while_the_block_is_left(autojump_clock):
    answers = []

    async def handle(batch):
        if batch[0] == "a":
            await trio.sleep(1)
            with trio.move_on_after(100):
                answers.append(await batcher.call("b"))
        return [item.upper() for item in batch]

    async with Batcher(handle, limit=5, concurrency=2) as batcher:
        await batcher.push("a")
    assert answers == ["B"]
    assert trio.current_time() == 1


async def test_what_is_pushed_while_the_block_is_left_does_not_wait_for_a_batch_that_backs_off(
    autojump_clock,
):
    times = []

    class Slow(Batcher):
        retry = Retry(attempts=2, backoff=1000)

        async def handle_batch(self, batch):
            times.append((trio.current_time(), list(batch)))
            if times == [(0, ["a"])]:
                batcher.push_nowait("early")
                raise ValueError

    async def late():
        await trio.sleep(5)
        await batcher.push("late")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(late)
        async with Slow() as batcher:
            await batcher.push("a")
    assert times == [(0, ["a"]), (0, ["early"]), (5, ["late"]), (1000, ["a"])]


async def test_pause_starts_nothing_and_close_abandons_what_handlers_push(autojump_clock):
    seen = Seen()
    async with Batcher(seen, limit=2) as batcher:
        batcher.pause()
        await batcher.push_many("abc")
        await trio.sleep(1)
        assert (seen, len(batcher)) == ([], 3)
        batcher.resume()
        batcher.close()
        await batcher.wait_closed()
    assert [reason for _, reason in seen] == ["size", "close"]

    async def again(batch):
        batcher.close()
        await batcher.push("late")
        with pytest.raises(JobAbandoned):
            await batcher.call("late, too")

    async with Batcher(again, limit=1, concurrency=2) as batcher:
        await batcher.push("a")
    assert batcher.report.abandoned == ("late", "late, too")


async def test_cancel_and_grace_abandon_items(autojump_clock):
    async with Batcher(Seen(seconds=10), limit=2, grace=1) as batcher:
        await batcher.push_many("abcde")
    assert trio.current_time() == 1
    assert (batcher.report.cancelled, sorted(batcher.report.abandoned)) == (2, ["c", "d", "e"])


async def test_popping_what_is_called_and_leaving_a_call(autojump_clock):
    seen = Seen(seconds=1)
    async with Batcher(seen, limit=2) as batcher, trio.open_nursery() as nursery:

        async def popped():
            with pytest.raises(JobCancelled):
                await batcher.call(1)

        nursery.start_soon(popped)
        await trio.testing.wait_all_tasks_blocked()
        assert batcher.pop_at(0) == 1
        with trio.move_on_after(0.25):
            await batcher.call(2)
        assert len(batcher) == 0
        await batcher.push(3)
        with trio.move_on_after(0.25):
            await batcher.call(4)
        assert trio.current_time() == 0.5
        assert accounts(batcher).running == 2
    assert seen.items == [[3, 4]]
    assert (batcher.report.completed, batcher.report.cancelled) == (2, 2)


async def test_a_caller_in_the_middle_of_a_window_takes_its_own_item_back(autojump_clock):
    seen, answers = Seen(), {}

    async with Batcher(seen, limit=9) as batcher:
        scopes = [trio.CancelScope() for _ in range(5)]

        async def ask(item):
            with scopes[item]:
                answers[item] = await batcher.call(item)

        async with trio.open_nursery() as nursery:
            for item in range(5):
                nursery.start_soon(ask, item)
            await trio.testing.wait_all_tasks_blocked()
            scopes[2].cancel()
            scopes[3].cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert (len(batcher), accounts(batcher).cancelled) == (3, 2)
            await batcher.flush()
    assert [sorted(items) for items in seen.items] == [[0, 1, 4]]
    assert answers == {0: 0, 1: 10, 4: 40}


@pytest.mark.parametrize("others", [[], [1]])
async def test_a_call_that_is_cancelled_already_is_not_handled(others, autojump_clock):
    seen = Seen()
    async with Batcher(seen, limit=9) as batcher:
        await batcher.push_many(others)
        with trio.CancelScope() as scope:
            scope.cancel()
            await batcher.call(2)
        assert len(batcher) == len(others)
    assert seen.items == [others][: len(others)]


async def test_hibernates_once_per_idle_spell(autojump_clock):
    rests = []

    class Rests(Batcher):
        limit, concurrency, hibernate_after = 1, 2, 10.0

        async def handle_batch(self, batch):
            await trio.sleep(batch[0])

        async def handle_hibernate(self):
            rests.append(trio.current_time())

    async with Rests() as batcher:
        await trio.sleep(30)
        await batcher.push_many([1, 5])
        await trio.sleep(30)
    assert rests == [10, 45]


async def test_instruments_see_batches(autojump_clock):
    events = []

    class Watch(Instrument):
        def batch_flushed(self, source, batch):
            events.append(("flushed", list(batch), batch.reason))

        def job_done(self, source, job):
            events.append(("done", list(job.message), job.status))

        def job_dropped(self, source, job, reason):
            events.append(("dropped", job.message, reason))

    queue = Queue(max=2, overflow="drop_newest")
    async with Batcher(Seen(), limit=2, queue=queue, instruments=[Watch()]) as batcher:
        # The first two go to a free worker: they wait for nothing.
        await batcher.push_many("abcde")
    assert events == [
        ("flushed", ["a", "b"], "size"),
        ("flushed", ["c", "d"], "size"),
        ("dropped", "e", "drop_newest"),
        ("done", ["a", "b"], "done"),
        ("done", ["c", "d"], "done"),
    ]


# -- options


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"limit": 0}, ValueError, "limit must be an int >= 1, got 0"),
        ({"timeout": "1"}, TypeError, "timeout"),
        ({"max_weight": 3}, ValueError, "needs weight"),
        ({"queue": Queue(order="lifo")}, ValueError, "order 'fifo'"),
        ({"queue": Queue(max=0)}, ValueError, "max >= 1"),
        ({"concurency": 2}, TypeError, "concurrency"),
        ({"stream": 1}, TypeError, "stream"),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Batcher(fail, **options)
    if "max_weight" not in options:
        with pytest.raises(error, match=message):
            type("Declared", (Batcher,), {"handle_batch": fail, **options})(**options)


def test_a_batcher_needs_an_async_handler():
    with pytest.raises(TypeError, match="needs a handle_batch"):
        Batcher()
    with pytest.raises(TypeError, match="async"):
        Batcher(print)


# -- properties


STEPS = st.one_of(
    st.tuples(st.just("push"), st.integers(0, 3)),
    st.tuples(st.just("front"), st.integers(0, 3)),
    st.tuples(st.just("many"), st.integers(0, 4)),
    st.tuples(st.just("pop"), st.integers(0, 3)),
    st.tuples(st.just("call"), st.sampled_from([0.0, 0.5, 2.0, math.inf])),
    st.tuples(st.just("sleep"), st.sampled_from([0.25, 1.0, 3.0])),
    st.just(("flush",)),
)


@given(
    steps=st.lists(STEPS, max_size=25),
    limit=st.integers(1, 4),
    concurrency=st.integers(1, 3),
    timeout=st.sampled_from([0.7, 5.0, math.inf]),
    room=st.integers(1, 6),
    overflow=st.sampled_from(["wait", "reject", "drop_oldest", "drop_newest"]),
    weight=st.booleans(),
    flaky=st.booleans(),
    end=st.sampled_from(["leave", "cancel", "close"]),
)
def test_every_item_ends_once(  # noqa: C901, PLR0915, PLR0917  # a model and its run
    steps, limit, concurrency, timeout, room, overflow, weight, flaky, end
):
    handled, popped, offered = collections.Counter(), [], []
    in_flight = tries = 0

    async def handle(batch):
        nonlocal in_flight, tries
        in_flight += 1
        tries += 1
        try:
            assert 1 <= len(batch) <= limit
            assert in_flight <= concurrency
            if weight:
                assert sum(item % 4 for item in batch) <= 5
            await trio.sleep(0.3)
            if flaky and tries % 3 == 0:
                raise ValueError(tries)
            handled.update(batch)
            return [-item for item in batch]
        finally:
            in_flight -= 1

    async def call(batcher, item, seconds):
        with trio.move_on_after(seconds):
            try:
                assert await batcher.call(item) == -item
            except (TooManyRequests, JobCancelled, JobAbandoned, Closed, ValueError):
                pass

    async def main():  # noqa: C901  # a branch for each verb
        options = {"weight": lambda item: item % 4, "max_weight": 5} if weight else {}
        numbers = itertools.count(1)
        batcher = Batcher(
            handle,
            limit=limit,
            timeout=timeout,
            concurrency=concurrency,
            queue=Queue(max=room, overflow=overflow),
            restart=Restart(mode="temporary"),
            retry=Retry(attempts=2, backoff=0.5),
            **options,
        )
        async with trio.open_nursery() as nursery:
            async with batcher:
                for what, *args in steps:
                    try:
                        if what in ("push", "front"):
                            offered.append(next(numbers))
                            verb = batcher.push if what == "push" else batcher.push_front
                            await verb(offered[-1])
                        elif what == "many":
                            items = list(itertools.islice(numbers, args[0]))
                            offered.extend(items)
                            await batcher.push_many(items)
                        elif what == "call":
                            offered.append(next(numbers))
                            nursery.start_soon(call, batcher, offered[-1], args[0])
                        elif what == "pop":
                            popped.append(batcher.pop_at(args[0]))
                        elif what == "flush":
                            await batcher.flush()
                        else:
                            await trio.sleep(args[0])
                    except (TooManyRequests, IndexError):
                        pass
                    stats = accounts(batcher)
                    assert len(batcher) == stats.waiting
                if end == "cancel":
                    batcher.cancel()
                elif end == "close":
                    batcher.close()
        stats, report = accounts(batcher), batcher.report
        assert stats.running == stats.waiting == 0
        assert all(count == 1 for count in handled.values())
        assert report.completed == sum(handled.values())
        assert not set(handled) & set(popped)
        assert not set(handled) & set(report.abandoned)
        if end == "leave" and overflow == "wait":
            assert not report.abandoned
        known = len(handled) + len(report.abandoned) + report.cancelled + report.dropped
        assert known + report.failed == stats.submitted <= len(offered)
        gone = set(offered) - set(handled) - set(report.abandoned) - set(popped)
        assert len(gone) >= report.dropped + report.failed

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@given(
    count=st.integers(0, 40),
    limit=st.integers(1, 7),
    reverse=st.booleans(),
)
def test_batches_are_those_of_itertools(count, limit, reverse):
    seen = Seen()

    async def main():
        async with Batcher(seen, limit=limit, reverse=reverse) as batcher:
            for item in range(count):
                batcher.push_nowait(item)

    trio.run(main)
    items = iter(range(count))
    expected = list(iter(lambda: list(itertools.islice(items, limit)), []))
    assert seen.items == [batch[::-1] if reverse else batch for batch in expected]


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("verb", ["push", "call", "many", "flush", "retry"])
async def test_cancelled_at_every_step(verb, concurrency, autojump_clock):  # noqa: C901  # all verbs
    async def block():
        nonlocal batcher
        tries = itertools.count()

        async def handle(batch):
            begun.update(batch)
            await trio.sleep(0.01)
            if verb == "retry" and next(tries) % 2 == 0:
                raise ValueError
            ended.update(batch)
            return list(batch)

        batcher = Batcher(
            handle,
            limit=2,
            concurrency=concurrency,
            timeout=1.0,
            queue=Queue(max=3),
            retry=Retry(attempts=9, backoff=0.1),
        )
        async with batcher, trio.open_nursery() as nursery:
            for item in range(7):
                offered.append(item)
                if verb == "call":
                    nursery.start_soon(batcher.call, item)
                    if item % 3 == 2:
                        await batcher.flush()
                    continue
                if verb == "many":
                    await batcher.push_many([item])
                else:
                    await batcher.push(item)
                accepted.append(item)
                if verb == "flush" and item % 3 == 0:
                    await batcher.flush()
            if verb == "call":
                await trio.testing.wait_all_tasks_blocked()
                await batcher.flush()

    tasks = trio.lowlevel.current_statistics().tasks_living
    for step in itertools.count(1):
        batcher = None
        begun, ended = collections.Counter(), collections.Counter()
        accepted, offered = [], []
        with CancelAt(step) as cut:
            await block()
        stats, report = accounts(batcher), batcher.report
        assert stats.running == stats.waiting == 0
        assert len(accepted) <= stats.submitted <= len(offered)
        assert report.completed == sum(ended.values())
        assert all(count == 1 for count in ended.values())
        if verb != "retry":
            assert not set(begun) & set(report.abandoned)
        assert set(accepted) <= set(begun) | set(report.abandoned)
        assert trio.lowlevel.current_statistics().tasks_living <= tasks
        if not cut.reached:
            assert report.completed == 7
            break
        assert step < 3000
    assert step > 10


async def test_one_batch_at_a_time_also_at_the_moment_of_hibernation(autojump_clock):
    class Resting(Batcher):
        limit = 1
        hibernate_after = 5.0
        running = most = 0

        async def handle_hibernate(self):
            await trio.sleep(0.5)

        async def handle_batch(self, batch):
            self.running += 1
            self.most = max(self.most, self.running)
            await trio.sleep(1)
            self.running -= 1

    for _ in range(20):  # which of the two comes first is up to Trio
        async with Resting() as batcher:
            await trio.sleep(5)
            for item in range(4):
                batcher.push_nowait(item)
        assert batcher.most == 1
        assert batcher.report.completed == 4
