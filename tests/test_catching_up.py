"""Firings that are overdue together, after a long sleep: each is counted, and told in one line."""

from datetime import datetime, timedelta, timezone

import pytest
import trio

from poolder_trio import Every, Scheduler
from poolder_trio.kernel.wall import WallClock

NOW = datetime(2024, 2, 28, 22, 0, tzinfo=timezone.utc)


@pytest.fixture
def slept(monkeypatch):
    """By how much the clock is before Trio's; it is read again and again, as the real one."""
    made = WallClock.__init__

    def make(self, read=None):
        made(self, read)
        self._offset = None

    monkeypatch.setattr(WallClock, "__init__", make)
    return [0.0]


@pytest.mark.parametrize("trigger", ["* * * * * *", Every(1.0, start=NOW)], ids=["cron", "every"])
@pytest.mark.parametrize("overlap", ["queue", "skip"])
async def test_what_gives_way_after_a_long_sleep_is_told_in_one_line(
    trigger, overlap, slept, autojump_clock, caplog
):
    def clock():
        return NOW + timedelta(seconds=trio.current_time() + slept[0])

    async def run():
        await trio.sleep(100)

    async with Scheduler(clock=clock, coalesce="all", overlap=overlap) as scheduler:
        scheduler.schedule("job", trigger, run)
        await trio.sleep(0.5)
        slept[0] = 600.0
        await trio.sleep(0.6)
        counts = scheduler.statistics()
        scheduler.unschedule("job")
    assert counts.missed + counts.skipped + counts.fired == 601
    why, count = ("skipped", counts.skipped) if overlap == "skip" else ("missed", counts.missed)
    assert count >= 598
    assert len([line for line in caplog.messages if f"{why}=" in line]) == 1
    assert f"{why}={count} " in caplog.text
