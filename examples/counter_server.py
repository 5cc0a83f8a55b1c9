"""A counter that is asked for more than it can do: it answers in time, or refuses at once.

    python examples/counter_server.py

Five workers share one number. For a second, callers come twice as fast as it can be counted.
"""

from __future__ import annotations

import trio

from poolder_trio import Broker, GenPool, TooManyRequests, Update

LOOKUP = 0.02  # seconds


class Counter(GenPool[int, int, int]):
    """Adds what it is told, and replies with the sum."""

    pool_size = 5
    broker = Broker(max=10, timeout=0.1)

    async def init(self) -> int:
        """Begin at zero."""
        return 0

    async def handle_call(self, request: int, state: int) -> Update[int, int]:  # noqa: ARG002
        """Look the number up somewhere, which five workers do at once; then add it."""
        await trio.sleep(LOOKUP)
        return Update(lambda total: total + request, reply=lambda total: total)


async def main() -> None:
    """Ask for too much, and say what came of it."""
    sums: list[int] = []
    refused, slowest = 0, 0.0

    async def ask() -> None:
        nonlocal refused, slowest
        began = trio.current_time()
        try:
            sums.append(await counter.call(1))
        except TooManyRequests:
            refused += 1
        slowest = max(slowest, trio.current_time() - began)

    async with Counter() as counter:
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(ask)
                await trio.sleep(LOOKUP / 5 / 2)
        total = await counter.get_state()
    print(f"{len(sums)} answered, {refused} refused, none after more than {slowest:.2f} s")
    print(f"the state is {total}, {len(set(sums))} different sums up to {max(sums)}")


if __name__ == "__main__":
    trio.run(main)
