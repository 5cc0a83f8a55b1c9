"""Checked by mypy and pyright, never run: the types of servers, right uses and wrong ones."""

from __future__ import annotations

import math

from typing_extensions import assert_type

from poolder_trio import (
    Broker,
    Continue,
    GenPool,
    GenPoolWorker,
    ShutdownReport,
    SQLiteState,
    Stop,
    Update,
    reads_state,
)


class Counter(GenPool[int]):
    pool_size = 5
    shared_state = True
    broker = Broker(order="fifo", timeout=5.0, min=0, max=math.inf)
    backend = SQLiteState("counter.db")

    async def init(self, start: int = 0) -> int:
        return start

    async def handle_call(self, request: object, state: int) -> tuple[int, int]:
        return state, state + 1

    async def handle_cast(self, request: object, state: int) -> int:
        return state + 1


class Sizer(GenPool[list[str], str, int]):
    async def init(self) -> Continue[list[str], int]:
        return Continue("load", state=[])

    @reads_state
    async def handle_call(
        self, request: str, state: list[str]
    ) -> Update[list[str], int] | tuple[int, list[str]] | Stop:
        if not request:
            return Stop(len(state))
        return Update(lambda words: [*words, request], reply=len)

    async def handle_continue(self, arg: str, state: list[str]) -> list[str]:
        return [*state, arg]

    async def terminate(self, reason: object, state: list[str]) -> None:
        await self.get_state()


class Wrong(GenPool[int, str, int]):
    async def handle_call(self, request: bytes, state: int) -> tuple[int, int]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return len(request), state

    async def handle_cast(self, request: str, state: int) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return request


async def right(sizer: Sizer) -> None:
    async with Counter(args={"start": 1}, isolation="optimistic", name="counter") as counter:
        assert_type(counter, Counter)
        assert_type(await counter.call(("add", 1)), object)
        await counter.cast("anything")
        assert_type(await counter.get_state(), int)
    assert_type(await sizer.call("word"), int)
    sizer.cast_nowait("word", priority=1)
    sizer.send_info(object())
    assert_type(await sizer.get_state(0), list[str])
    assert_type(sizer.children(), list[GenPoolWorker])
    assert_type(sizer.report, ShutdownReport[str])
    assert_type(Broker(max=5).shared(), Broker)
    sizer.stop("reason")


async def wrong(sizer: Sizer) -> None:
    await sizer.call(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await sizer.cast(b"")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Sizer(brokers=Broker())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Broker(worker="lifo")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
