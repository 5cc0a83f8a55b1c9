"""Move from a nursery and a CapacityLimiter to a Tasker: the same pages, by fewer tasks.

python examples/moving_from_nursery.py
"""

import trio

from poolder_trio import Tasker

PAGES = range(200)


class Site:
    """Has pages, and watches how many are fetched at once, and how many tasks there are."""

    now = most = tasks = 0

    async def fetch(self, number: int) -> str:
        """Return a page, after a while."""
        self.now += 1
        self.most = max(self.most, self.now)
        self.tasks = max(self.tasks, trio.lowlevel.current_statistics().tasks_living)
        await trio.sleep(0.01)
        self.now -= 1
        return f"page {number}"


async def before(site: Site) -> list[str]:
    """Start a task for each page; ten of them at once hold a token."""
    limiter, pages = trio.CapacityLimiter(10), dict[int, str]()

    async def run(number: int) -> None:
        async with limiter:
            pages[number] = await site.fetch(number)

    async with trio.open_nursery() as nursery:
        for number in PAGES:
            nursery.start_soon(run, number)
    return [pages[number] for number in PAGES]


async def after(site: Site) -> list[str]:
    """Let ten tasks fetch the pages."""
    async with Tasker(limit=10) as tasker, tasker.map(site.fetch, PAGES, ordered=True) as pages:
        return [page async for page in pages]


results: list[list[str]] = []
for way in (before, after):
    site = Site()
    results.append(trio.run(way, site))
    text = "".join(results[-1])
    print(f"{way.__name__}: {len(text)} characters, {site.most} at once, {site.tasks} tasks")
print(f"the same pages: {results[0] == results[1]}")
