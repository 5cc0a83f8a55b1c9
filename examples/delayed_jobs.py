"""Send reminders later: after some seconds, at a time of the clock, or not at all.

python examples/delayed_jobs.py
"""

from __future__ import annotations

import datetime as dt
import time

import trio

from poolder_trio import JobPool

BEGAN = time.monotonic()
reminders = JobPool("reminders", pool_size=2)


@reminders.job
async def remind(user: str, what: str) -> None:
    """Pretend to send a message."""
    await trio.sleep(0.05)
    print(f"{since_start():3.1f} s: {user}, {what}")


def since_start() -> float:
    """Return the seconds since the program began."""
    return time.monotonic() - BEGAN


async def main() -> None:
    """Set timers, cancel one, and wait for the others."""
    async with reminders:
        await reminders.perform("remind", "Ada", "your order has arrived")
        await reminders.perform_after(1.0, remind, "Ada", "your basket is waiting")
        soon = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=0.5)
        await reminders.perform_at(soon, remind, "Grace", "the sale begins")
        unpaid = await reminders.perform_after(1.5, remind, "Grace", "your bill is due")
        await reminders.perform_after(3600.0, remind, "Ada", "how do you like it?")

        await trio.sleep(0.8)
        left = await unpaid.cancel()  # she has paid
        print(f"{since_start():3.1f} s: a reminder was cancelled, {left:.1f} s early")

        await trio.sleep(0.5)
        waiting = len(reminders.jobs().delayed)
        print(f"{since_start():3.1f} s: {waiting} timer is left, which holds up nothing")
    report = reminders.report
    print(f"{report.completed} reminders were sent, {len(report.abandoned)} abandoned")


if __name__ == "__main__":
    trio.run(main)
