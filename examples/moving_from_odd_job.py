"""Move from OddJob: named pools, and jobs to forget, to wait for, or for later.

    python examples/moving_from_odd_job.py

What this does was, in Elixir (docs/moving.md has more words):

    config :odd_job, default_pool: :work, pool_size: 2, extra_pools: [:email]

    job = OddJob.async_perform(:work, fn -> Shop.price("tea") end)
    price = OddJob.await(job)
    OddJob.perform(:email, fn -> Mail.send("ada", price) end)
    OddJob.perform_at(~T[03:00:00], :email, fn -> Mail.send("staff", "tidy up") end)
    timer = OddJob.perform_after(3_600_000, :email, fn -> Mail.send("ada", "any tea?") end)
    Process.cancel_timer(timer)
"""

import datetime as dt

import trio
from trio.testing import MockClock

from poolder_trio import Application, async_perform, perform, perform_after, perform_at
from poolder_trio.testing import wall_clock

clock = wall_clock(dt.datetime(2024, 1, 1, 22, tzinfo=dt.timezone.utc))


async def price(article: str) -> int:
    """Look a price up, which takes a second."""
    await trio.sleep(1)
    return len(article)


async def send(user: str, text: object) -> None:
    """Pretend to send a message."""
    print(f"{clock():%a %H:%M:%S} to {user}: {text}")


async def main() -> None:
    """Let a night pass, on a clock that does not wait."""
    options = {"email": {"clock": clock}}
    pools = Application(default_pool="work", pool_size=2, extra_pools=["email"], options=options)
    async with pools:
        job = await async_perform("work", price, "tea")
        await perform("email", send, "ada", await job.wait())
        await perform_at("email", dt.time(3), send, "staff", "tidy up")
        timer = await perform_after("email", 3600.0, send, "ada", "any tea?")
        await trio.sleep(60)
        print(f"cancelled, {await timer.cancel()} s early")
        await trio.sleep(12 * 3600)
    for name, its in pools.report.children.items():
        print(f"{name}: {its.completed} done, {len(its.abandoned)} abandoned")


trio.run(main, clock=MockClock(autojump_threshold=0))
