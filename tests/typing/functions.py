"""Checked by mypy and pyright, never run: functions keep their arguments' and results' types."""

from __future__ import annotations

from datetime import time
from typing import Any

import outcome
from typing_extensions import assert_type

from poolder_trio import (
    AsyncPool,
    Completion,
    Job,
    JobPool,
    ProcessExecutor,
    Rate,
    Ref,
    Tasker,
    ThreadExecutor,
    Timer,
    as_completed,
    async_perform,
    await_many,
    perform,
)


async def size(text: str, factor: int = 1) -> int:
    return len(text) * factor


def plain(text: str) -> bytes:
    return text.encode()


class Slow(Tasker):
    limit = 3
    rate = (Rate(10), Rate(100, per=60.0))


async def a_tasker(tasker: Tasker) -> None:
    await tasker.execute(size, "a", 2, key="k", priority=1.0)
    tasker.execute_nowait(size, "a", 2)
    assert_type(await tasker.submit(size, "a", 2), Job[int])
    assert_type(tasker.submit_nowait(size, "a", 2), Job[int])
    assert_type(await tasker.call(size, "a", 2), int)
    assert_type(await await_many([await tasker.submit(size, "a", 2)]), list[int])
    async with as_completed([tasker.submit_nowait(size, "a", 2)]) as ended:
        async for job in ended:
            assert_type(job, Job[int])
    async with tasker.map(size, ["a"]) as results:
        assert_type(await results.receive(), int)
    async with tasker.map(size, ["a"], outcomes=True) as results_or_errors:
        assert_type(await results_or_errors.receive(), outcome.Outcome[int])
    tasker.limit = 3


async def elsewhere() -> None:
    async with Tasker(executor=ThreadExecutor()) as threads:
        assert_type(await threads.call(plain, "a"), bytes)
    async with Slow(executor=ProcessExecutor()) as processes:
        assert_type(processes, Slow)
        assert_type(await processes.submit(plain, "a"), Job[bytes])


async def a_job_pool(pool: JobPool) -> None:
    assert_type(await pool.async_perform(size, "a", 2), Job[int])
    assert_type(await pool.async_perform_many(size, ["a"]), list[Job[int]])
    assert_type(await pool.async_perform("size", "a"), Job[Any])
    assert_type(await pool.perform_after(1.0, size, "a", 2), Timer)
    assert_type(await pool.perform_at(time(3), size, "a", 2), Timer)
    assert_type(await async_perform("job", size, "a", 2), Job[int])
    await perform("job", size, "a", 2)


async def an_async_pool() -> None:
    async with AsyncPool(size, max_workers=2) as pool:
        assert_type(pool, AsyncPool[str, int])
        assert_type(await pool.add_task("a"), Ref)
        completion = await pool.results.receive()
        assert_type(completion, Completion[int])
        assert_type(completion.value, int)


async def wrong(tasker: Tasker, pool: AsyncPool[str, int]) -> None:
    await tasker.execute(size, 1, 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await pool.add_task(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Tasker(limt=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Tasker(limit="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Tasker(rate=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
