"""Checked by mypy and pyright, never run: right calls have their types, wrong ones are refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio
from typing_extensions import assert_type

from poolder_trio import (
    HALT,
    RETRY,
    Backoff,
    Emit,
    ErrorVerdict,
    Exit,
    Job,
    Pool,
    Queue,
    Rate,
    Restart,
    Retry,
    ScheduleStatistics,
    ShutdownReport,
    Worker,
    WorkerRef,
    phash,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolder_trio.verdicts import Directive


class Sizer(Worker[str, int]):
    retry = Retry(attempts=3, backoff=lambda attempt: attempt * 0.5, on=(ValueError, OSError))
    callbacks = {"note": print}
    priority = "high"
    hibernate_after = 60.0

    async def handle_init(self, *, factor: int) -> None:
        self.factor = factor

    async def handle_job(self, job: str, /) -> int | Directive:
        if job == "exit":
            return Exit(0)
        return Emit("note", job) if job == "note" else len(job) * self.factor

    async def handle_error(
        self, job: str, attempt: int, error: Exception, /
    ) -> ErrorVerdict | Backoff | None:
        if attempt == 1:
            return RETRY
        return HALT if job else Backoff(1.5)


class Last:
    def pick(self, key: object, now: float, loads: Sequence[int]) -> int:
        assert_type(now, float)
        return len(loads) - 1


class Declared(Pool[str, int]):
    worker = Sizer
    pool_size = 3
    mode = "phash"
    queue = Queue(max=math.inf, order="fair", overflow="reject")
    restart = Restart(max_restarts=3, within=5.0, mode="permanent")

    async def handle_init(self) -> None:
        await self.cast("ready")


async def right() -> None:
    pool = Pool(Sizer, pool_size=4, mode=Last(), rate=Rate(10, per=1.0), job_timeout=5.0)
    assert_type(pool, Pool[str, int])
    async with pool as entered:
        assert_type(entered, Pool[str, int])
        await pool.cast("a", key="k", priority=1.0)
        pool.cast_nowait("a")
        await pool.cast_many(["a", "b"])
        assert_type(await pool.call("a"), int)
        assert_type(await pool.broadcast_call("a"), list[int])
        assert_type(pool[0], WorkerRef[str, int])
        assert_type(await pool[0].call("a"), int)
        assert_type(await pool.start_child(factor=2), WorkerRef[str, int])
        for ref in pool:
            assert_type(ref, WorkerRef[str, int])
        assert_type(pool.statistics(), ScheduleStatistics)
    assert_type(pool.report, ShutdownReport[str])
    assert_type(phash("a", 3), int)
    async with Declared(pool_size=2) as declared:
        assert_type(declared, Declared)
        assert_type(await declared.call("a"), int)
    async with trio.open_nursery() as nursery:
        await nursery.start(Declared().run)


async def a_job(job: Job[int]) -> None:
    assert_type(await job.wait(), int)
    assert_type(job.result(), int)


async def wrong(pool: Pool[str, int], job: Job[int]) -> None:
    await pool.cast(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    pool.cast_nowait(b"")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await pool.call(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await pool.cast_many([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    Pool(Sizer, poolsize=4)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Pool(Sizer, pool_size="4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Pool(Sizer, mode=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Pool(int)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    text: str = await job.wait()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del text
