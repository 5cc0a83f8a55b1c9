"""Maintenance by the clock, in the time zone of each site: four days, in a moment.

python examples/maintenance.py
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import trio
from trio.testing import MockClock

from poolder_trio import Backoff, Cron, Retry, Scheduler, cron
from poolder_trio.testing import wall_clock

SITES = {"paris": ZoneInfo("Europe/Paris"), "new york": ZoneInfo("America/New_York")}
# The night after, clocks in Paris go from 2 to 3.
clock = wall_clock(datetime(2024, 3, 30, tzinfo=SITES["paris"]))


class Maintenance(Scheduler):
    """Backs up two sites at half past two, each by its own clocks, and reports on Mondays."""

    jobs = {name: Cron("30 2 * * *", zone) for name, zone in SITES.items()}
    timezone = "Europe/Paris"
    retry = Retry(attempts=3)
    misfire_grace = 3600.0  # a backup at noon would be worse than none

    failed = False

    async def handle_job(self, name: str) -> None:
        """Back up a site; the first backup of New York fails."""
        now = clock().astimezone(SITES[name])
        if name == "new york" and not self.failed:
            self.failed = True
            raise OSError("no space left")
        print(f"{now:%a %d %b %H:%M} backed up {name}")

    @cron("0 9 * * mon")
    async def summary(self) -> None:
        """Say what was done, at nine in Paris."""
        counts = self.statistics()
        now = clock().astimezone(SITES["paris"])
        print(f"{now:%a %d %b %H:%M} {counts.completed} runs so far")

    async def handle_error(self, name: str, attempt: int, error: Exception) -> Backoff:
        """Wait ten minutes before the next try."""
        print(f"{name}, try {attempt}: {error}")
        return Backoff(600)


async def main() -> None:
    """Let four days pass, on a clock that does not wait."""
    async with Maintenance(clock=clock):
        await trio.sleep(4 * 24 * 3600)


trio.run(main, clock=MockClock(autojump_threshold=0))
