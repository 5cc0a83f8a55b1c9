"""Checked by mypy and pyright, never run: right uses of factories, and wrong ones refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import assert_type

from poolder_trio import FactoryPool, Request, Restart, ShutdownReport, Worker, WorkerRef

if TYPE_CHECKING:
    from trio.abc import ReceiveChannel


class Sizer(Worker[str, int]):
    async def handle_job(self, job: str, /) -> int:
        return len(job)


async def shout(inbox: ReceiveChannel[Request[str, bytes]], *, end: str = "!") -> None:
    async for request in inbox:
        assert_type(request, Request[str, bytes])
        request.reply((request.message + end).encode())
        request.reply("")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Declared(FactoryPool):
    restart = Restart(3, mode="permanent")
    mode = "random"

    async def handle_down(self, ref: WorkerRef[Any, Any], reason: Exception | str) -> None:
        await self.start_child(None, Sizer)


async def right(factory: FactoryPool) -> None:
    async with Declared(grace=5.0) as entered:
        assert_type(entered, Declared)
    sizer = await factory.start_child("a", Sizer, host="x")
    shouter = await factory.start_child("a", shout, end="?")
    assert_type(sizer, WorkerRef[str, int])
    assert_type(shouter, WorkerRef[str, bytes])
    assert_type(await factory.call(sizer, "a", group="a"), int)
    assert_type(await factory.call(shouter, "a"), bytes)
    await factory.cast(sizer, "a")
    assert_type(factory.children(), list[WorkerRef[Any, Any]])
    refs = await factory.start_group("b", Sizer, pool_size=2, mode="phash", args={"host": "x"})
    assert_type(refs, list[WorkerRef[Any, Any]])
    await factory.configure_group("b", pool_size=3)
    assert_type(factory.report, ShutdownReport[object])


async def wrong(factory: FactoryPool, ref: WorkerRef[str, int]) -> None:
    await factory.cast(ref, 1)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    await factory.call(ref, b"")  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    await factory.start_child("a", 5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await factory.start_group("a", Sizer, poolsize=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    FactoryPool(pool_size=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
