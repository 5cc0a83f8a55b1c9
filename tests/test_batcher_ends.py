"""How batches end: those of handlers that send while the block is left, or the batcher closes."""

import pytest
import trio
import trio.testing

from poolder_trio import Batcher, JobAbandoned, Queue


@pytest.mark.parametrize("way", ["push", "push_nowait"])
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_what_is_sent_while_the_block_is_left_and_all_are_busy_goes_together(
    way, concurrency, autojump_clock
):
    batches = []

    async def handle(batch):
        batches.append((trio.current_time(), list(batch), batch.reason))
        if batch[0] == "first":
            for item in "xyz":
                sent = getattr(batcher, way)(item)
                if way != "push_nowait":
                    await sent
        await trio.sleep(1)

    with trio.fail_after(60):
        async with (
            Batcher(handle, limit=10, timeout=50, concurrency=concurrency) as batcher,
            trio.open_nursery() as nursery,
        ):
            for number in range(1, concurrency):
                await batcher.push(f"busy {number}")
                nursery.start_soon(batcher.flush)
                await trio.testing.wait_all_tasks_blocked()
            await batcher.push("first")
            nursery.cancel_scope.cancel()
    assert [batch for batch in batches if batch[1] == list("xyz")] == [(1, list("xyz"), "close")]
    assert batcher.report.completed == concurrency + 3


@pytest.mark.parametrize("rest", ["at once", "later"])
@pytest.mark.parametrize("key", [None, len])
async def test_a_cancelled_call_of_a_handler_to_its_own_closing_batcher_is_cancelled_and_no_more(
    rest, key, autojump_clock
):
    ended = []

    async def handle(batch):
        if batch[0] != "first":
            return batch
        batcher.close()
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await batcher.call("cancelled")
            finally:
                ended.append(scope.cancel_called)
        ended.append(scope.cancelled_caught)
        if rest == "later":
            with pytest.raises(JobAbandoned):
                await batcher.call("too late")
        return batch

    with trio.fail_after(60):
        async with Batcher(handle, limit=1, key=key, concurrency=2) as batcher:
            assert await batcher.call("first") == "first"
    assert ended == [True, True]
    assert batcher.report.abandoned == (("too late",) if rest == "later" else ())
    assert batcher.report.completed == 1


# -- what ends a batch that is not full

OPTIONS = {
    "plain": {},
    "key": {"key": str},
    "weight": {"weight": lambda _: 1, "max_weight": 9},
    "key and weight": {"key": str, "weight": lambda _: 1, "max_weight": 9},
    "stream": {"stream": True},
    "concurrency": {"concurrency": 3, "key": str},
    "queue": {"queue": Queue(max=2)},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("seconds", [None, 0.5, 1.0, 50.0])
async def test_a_call_alone_ends_by_the_timeout_and_without_one_by_a_flush(
    options, seconds, autojump_clock
):
    async def echo(batch):
        return list(batch)

    if seconds is not None:
        options = {**options, "timeout": seconds}
    with trio.fail_after(1000):
        async with Batcher(echo, **options) as batcher, trio.open_nursery() as nursery:

            async def call():
                assert await batcher.call("a") == "a"
                ended.append(trio.current_time() - began)

            ended, began = [], trio.current_time()
            nursery.start_soon(call)
            await trio.sleep(500)
            assert ended == ([] if seconds is None else [seconds])
            await batcher.flush()
        assert len(ended) == 1
        assert batcher.report.completed == 1
