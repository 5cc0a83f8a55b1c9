"""Checked by mypy and pyright, never run: the types of applications."""

from __future__ import annotations

from typing_extensions import assert_type

from poolder_trio import (
    Application,
    ApplicationReport,
    JobPool,
    Pool,
    ShutdownReport,
    Tasker,
    Worker,
    run,
)
from poolder_trio.kernel.service import Service


class Echo(Worker[str, int]):
    async def handle_job(self, job: str) -> int:
        return len(job)


class MyPool(Pool[str, int]):
    worker = Echo


class MyApp(Application):
    children = [MyPool, Tasker(name="mytasker")]
    default_pool = False


async def main() -> None:
    app = Application(MyPool, Tasker(name="mytasker", limit=5), default_pool="job", pool_size=5)
    async with app as same:
        assert_type(same, Application)
        assert_type(app[MyPool], MyPool)
        assert_type(app[JobPool], JobPool)
        assert_type(app["mytasker"], Service)
        assert_type(await app[MyPool].call("a"), int)
        await app[MyPool].cast(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(app.names, "tuple[str, ...]")
    assert_type(MyApp.from_toml("pyproject.toml"), MyApp)
    assert_type(app.report.children["MyPool"], ShutdownReport[object])
    Application(default_pool=False, extra_pools=["email"], options={"email": {"pool_size": 2}})
    Application(default_pool=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Application(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Application(Echo)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Application(poolsize=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


report = run(MyApp())
assert_type(report, ApplicationReport)
assert_type(report.cut, bool)
