"""Checked by mypy and pyright, never run: the types of schedulers and triggers."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from typing_extensions import assert_type

from poolder_trio import (
    At,
    Cron,
    Every,
    Exit,
    Pool,
    Reschedule,
    Scheduler,
    ScheduleStatistics,
    ShutdownReport,
    Trigger,
    Worker,
    cron,
    every,
)

NOW = datetime.now(timezone.utc)


class Upkeep(Scheduler):
    jobs = {"prune": "*/15 * * * *", "ping": 5.0, "report": timedelta(hours=1), "once": At(NOW)}
    timezone = "Europe/Paris"

    async def prune(self) -> Reschedule | None:
        return Reschedule("ping", 10.0)

    async def ping(self) -> Exit:
        return Exit()

    @every(60, jitter=5.0)
    async def often(self) -> None: ...

    @cron("30 2 * * *", timezone="UTC")
    async def nightly(self) -> None: ...

    async def handle_job(self, name: str) -> object:
        return None


class Yearly:
    def next(self, after: datetime) -> datetime | None:
        return after + timedelta(days=365)


async def greet(name: str, times: int) -> None: ...


def plain() -> None: ...


async def scheduling() -> None:
    async with Upkeep(overlap="skip", misfire_grace=60.0, coalesce="all") as upkeep:
        assert_type(upkeep, Upkeep)
        upkeep.schedule("greet", 5, greet, "you", 3)
        upkeep.schedule("prune", "@hourly")
        upkeep.schedule("date", NOW, greet, "you", 3)
        upkeep.schedule("own", Yearly(), greet, "you", 3)
        upkeep.reschedule({"ping": Every(3), "prune": Cron("@daily", "Asia/Tokyo")})
        assert_type(upkeep.next_fire("prune"), "datetime | None")
        assert_type(upkeep.statistics(), ScheduleStatistics)
        upkeep.schedule("greet", 5, greet, 3, "you")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        upkeep.schedule("greet", 5, plain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        upkeep.schedule("greet", None, greet, "you", 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(upkeep.report, ShutdownReport[str])
    assert_type(await upkeep.often(), None)
    trigger: Trigger = Yearly()
    assert_type(trigger.next(NOW), "datetime | None")
    Scheduler(overlaps="skip")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    every("5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Periodic(Worker[str, int]):
    async def handle_job(self, job: str) -> int:
        return len(job)

    async def handle_periodic_job(self, event: str) -> Reschedule:
        return Reschedule(2 * 3600)


class Both(Pool[str, int]):
    worker = Periodic
    schedules = {"tick": 10.0, "nightly": "30 2 * * *"}
    timezone = "UTC"
