"""Move from aiometer to a Tasker: the same limits, and nothing runs away from a slow reader.

python examples/moving_from_aiometer.py
"""

from itertools import pairwise

import aiometer
import trio
from trio.testing import MockClock

from poolder_trio import Rate, Tasker

NUMBERS = range(60)


class Site:
    """Has pages, and watches how they are fetched and read."""

    def __init__(self) -> None:
        """Begin with nothing fetched."""
        self.now = self.most = self.ahead = 0
        self.starts, self.pages = list[float](), list[str]()

    async def fetch(self, number: int) -> str:
        """Return a page: some take longer than others."""
        self.starts.append(trio.current_time())
        self.ahead = max(self.ahead, len(self.starts) - len(self.pages))
        self.now += 1
        self.most = max(self.most, self.now)
        await trio.sleep(0.5 + number % 4 * 0.5)
        self.now -= 1
        return f"page {number}"

    async def read(self, page: str) -> None:
        """Read a page, which takes half a second."""
        self.pages.append(page)
        await trio.sleep(0.5)


async def before(site: Site) -> None:
    """Fetch at most five pages at once, and ten a second."""
    async with aiometer.amap(site.fetch, NUMBERS, max_at_once=5, max_per_second=10) as pages:
        async for page in pages:
            await site.read(page)


async def after(site: Site) -> None:
    """Do the same."""
    async with Tasker(limit=5, rate=Rate(10)) as tasker, tasker.map(site.fetch, NUMBERS) as pages:
        async for page in pages:
            await site.read(page)


for way in (before, after):
    trio.run(way, site := Site(), clock=MockClock(autojump_threshold=0))
    gap = min(later - sooner for sooner, later in pairwise(site.starts))
    print(f"{way.__name__}: {len(set(site.pages))} pages, {site.most} at once", end=", ")
    print(f"{gap:.1f} s between starts, {site.ahead} pages ahead of the reader")
