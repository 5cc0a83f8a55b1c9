"""Checked by mypy and pyright, never run: batchers keep the types of items and results."""

from __future__ import annotations

from collections.abc import Hashable

from typing_extensions import assert_type

from poolder_trio import Backoff, Batch, Batcher, BatchStream, ErrorVerdict, ShutdownReport, Stop


async def sizes(batch: Batch[str]) -> list[int | Exception]:
    assert_type(batch.key, Hashable)
    return [len(text) for text in batch]


async def streamed(stream: BatchStream[str]) -> None:
    for text in stream:
        assert_type(text, str)
    assert_type(next(stream), str)
    if stream.reason == "size":
        stream.reason = "close"


async def numbered(batch: Batch[tuple[int, str]]) -> None:
    for index, text in batch:
        assert_type(index, int)
        assert_type(text, str)


class Sizes(Batcher[str, int]):
    limit = 100
    timeout = 0.5

    async def handle_batch(self, batch: Batch[str]) -> list[int]:
        return [len(text) for text in batch]

    async def handle_error(
        self, batch: Batch[str], attempt: int, error: Exception
    ) -> ErrorVerdict | Backoff | None:
        return Backoff(attempt * 1.0, only=batch[:1])


class Stream(Batcher[str, None]):
    stream = True
    indexed = True

    async def handle_batch(self, batch: BatchStream[tuple[int, str]]) -> None:
        for index, text in batch:
            assert_type(index, int)
            assert_type(text, str)


async def right(batcher: Batcher[str, int]) -> None:
    batcher.push_nowait("a")
    await batcher.push("a")
    await batcher.push_front("a")
    await batcher.push_many(text for text in "ab")
    assert_type(await batcher.call("a"), int)
    assert_type(batcher.pop_at(0), str)
    assert_type(batcher.pop_at(0, key="k"), str)
    assert_type(len(batcher), int)
    assert_type(batcher.report, ShutdownReport[str])
    await batcher.flush()


async def opened() -> None:
    async with Batcher(sizes, limit=2) as plain:
        assert_type(plain, Batcher[str, int])
    async with Batcher(streamed, stream=True) as stream:
        assert_type(stream, Batcher[str, object])
    async with Batcher(numbered, indexed=True) as indexed:
        assert_type(indexed, Batcher[str, object])
    async with Sizes(limit=2) as declared:
        assert_type(declared, Sizes)
        assert_type(await declared.call("a"), int)
    async with Stream() as items:
        items.push_nowait("a")


async def as_counted(batch: Batch[str]) -> Stop | list[int]:
    return Stop([len(text) for text in batch])


async def that_may_end() -> None:
    assert_type(Batcher(as_counted), Batcher[str, int])
    assert_type(Batcher(sizes, key=len, weight=len, max_weight=9.0), Batcher[str, int])


def sync(batch: Batch[str]) -> None: ...


async def wrong(batcher: Batcher[str, int]) -> None:
    batcher.push_nowait(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await batcher.push(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await batcher.push_many([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await batcher.call(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Batcher(sync)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    Batcher(sizes, stream=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    Batcher(streamed)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    Batcher(sizes, limt=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    Batcher(sizes, limit="3")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
