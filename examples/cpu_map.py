"""Count primes with one process for each processor, and compare that with one process.

    python examples/cpu_map.py

It needs the extra: pip install 'poolder-trio[process]'.
"""

from __future__ import annotations

import os
import time

import trio

from poolder_trio import ProcessExecutor, Tasker

STEP = 10_000
STARTS = range(0, 300_000, STEP)


def count_primes(start: int) -> int:
    """Count the primes from ``start`` on, below ``start + STEP``, by trial division."""
    return sum(
        number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
        for number in range(start, start + STEP)
    )


async def count_with(processes: int) -> tuple[int, float]:
    """Return how many primes there are, and the seconds that it took to count them."""
    async with Tasker(limit=processes, executor=ProcessExecutor()) as tasker:
        # The processes start here, all at once, so that what is measured is the counting.
        async with tasker.map(time.sleep, [0.2] * processes) as woken:
            async for _ in woken:
                pass
        began, found = time.perf_counter(), 0
        async with tasker.map(count_primes, STARTS) as counts:
            async for count in counts:
                found += count
        return found, time.perf_counter() - began


async def main() -> None:
    """Count twice."""
    processes = os.cpu_count() or 1
    alone, seconds_alone = await count_with(1)
    together, seconds_together = await count_with(processes)
    print(f"{alone} primes below {STARTS.stop}, counted by 1 process")
    print(f"{together} primes below {STARTS.stop}, counted by {processes} processes")
    print(f"{processes} processes were {seconds_alone / seconds_together:.2f} times as fast as 1")


if __name__ == "__main__":
    trio.run(main)
