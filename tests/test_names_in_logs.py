"""What users call things is a word in a log's line, and never a line, or a field, of its own."""

import datetime as dt
import re

import pytest
import trio

from poolder_trio import (
    Application,
    AsyncPool,
    Batcher,
    FactoryPool,
    GenPool,
    Instrument,
    JobPool,
    Pool,
    Restart,
    Scheduler,
    Tasker,
    Worker,
    cli,
)
from poolder_trio.kernel.notes import describe, printable, shown
from poolder_trio.overview import overview

LINE = "a\nlevel=ERROR event=forged"
EVIL = [LINE, "a\r\x1b[2Jb", "a\u2028b\u2029c\x85d", "a\udc80", "a\x00\x7f\u202eb"]
SUPERVISED = Restart(mode="temporary")


class Failing(Worker):
    async def handle_job(self, job):
        raise OSError("no")


class FailingServer(GenPool):
    async def handle_cast(self, request, state):
        raise OSError("no")


class Loud(Instrument):
    def __repr__(self):
        return LINE

    def job_submitted(self, job):
        raise OSError("no")

    def job_done(self, job, value):
        raise OSError("no")


async def fail(*_):
    raise OSError("no")


async def succeed(*_):
    return None


async def of_a_pool(name):
    async with Pool(Failing, name=name, pool_size=1, restart=SUPERVISED, dynamic=True) as pool:
        await pool.cast(1)


async def of_a_server(name):
    async with FailingServer(name=name, restart=SUPERVISED) as server:
        await server.cast(1)


async def of_a_tasker(name):
    async with Tasker(name=name, restart=SUPERVISED) as tasker:
        await tasker.execute(fail)


async def of_a_job_pool(name):
    async with JobPool(name) as pool:
        await pool.perform(fail)


async def of_a_batcher(name):
    async with Batcher(fail, name=name, restart=SUPERVISED) as batcher:
        await batcher.push(1)


async def of_a_scheduler(name):
    async with Scheduler(name=name, restart=SUPERVISED) as scheduler:
        scheduler.schedule("job", 1.0, fail)
        await trio.sleep(1.5)


async def of_a_job(name):
    async with Scheduler(overlap="skip") as scheduler:
        scheduler.schedule(name, 1.0, trio.sleep, 5.0)
        await trio.sleep(3.5)
        scheduler.unschedule_all()


async def of_a_group(name):
    async with FactoryPool() as factory:
        child = await factory.start_child(name, Failing)
        await factory.cast(child, 1)
        await factory.wait_idle()


async def of_a_job_that_overruns(name):
    async with Tasker(name=name, overrun_warning=1.0) as tasker:
        await tasker.execute(trio.sleep, 5.0)


async def of_an_instrument(name):
    async with AsyncPool(succeed, name=name, instruments=[Loud()]) as pool:
        await pool.add_task(1)


async def of_a_child(name):
    async with Application(Tasker(name=name), name=f"{name} of it"):
        pass


@pytest.mark.parametrize("name", EVIL, ids=ascii)
@pytest.mark.parametrize(
    "act",
    [
        of_a_pool,
        of_a_server,
        of_a_tasker,
        of_a_job_pool,
        of_a_batcher,
        of_a_scheduler,
        of_a_job,
        of_a_group,
        of_a_job_that_overruns,
        of_an_instrument,
        of_a_child,
    ],
)
async def test_a_name_forges_no_line_and_no_field_of_a_log(act, name, caplog, autojump_clock):
    caplog.set_level("INFO", "poolder_trio")
    with trio.fail_after(60):
        await act(name)
    assert caplog.records
    for record in caplog.records:
        line, _, stack = record.getMessage().partition("\n")
        assert line.isprintable()
        assert "event=forged" not in re.sub(r'"(\\.|[^"\\])*"', "", line)
        assert not stack or "event=overrun" in line
        for note in getattr((record.exc_info or (None, None))[1], "__notes__", ()):
            assert note.isprintable()


async def test_what_an_error_says_of_a_name_is_on_one_line(autojump_clock):
    async with Pool(Failing, name=LINE, pool_size=1) as pool:
        with pytest.raises(OSError, match="no") as caught:
            await pool.call(1)
    assert caught.value.__notes__
    assert all(note.isprintable() for note in caught.value.__notes__)


class Odd:
    def __repr__(self):
        return LINE


@pytest.mark.parametrize("name", EVIL, ids=ascii)
def test_check_has_a_line_for_each_thing_whatever_it_is_called(name):
    class Upkeep(Scheduler):
        jobs = {name: 5.0}

        async def handle_job(self, name):
            """Do nothing."""

    app = Application(
        Upkeep(name=f"{name} of it"),
        Pool(type("Host", (Failing,), {"handle_init": lambda_init}), args={"host": Odd()}),
        name=name,
        default_pool=False,
    )
    now = dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)
    assert all(line.isprintable() for line in overview(app, now, everything=True))


async def lambda_init(self, **args):
    """Take whatever comes."""


async def test_the_exit_report_has_a_line_for_each_child_whatever_it_is_called(
    capsys, autojump_clock
):
    app = Application(Tasker(name=LINE), default_pool=False)
    async with app:
        pass
    cli._tell(app.report)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == [printable(LINE), "all"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("pool[0]", "pool[0]"),
        ("größe", "größe"),
        ("my pool[0]", '"my pool[0]"'),
        ("a=b", '"a=b"'),
        ('a"b', r'"a\"b"'),
        ("", '""'),
        ("a\nb", r"a\nb"),
        (("a", 1), "\"('a', 1)\""),
    ],
)
def test_a_name_is_one_word_of_a_log(name, word):
    assert shown(name) == word


def test_a_description_is_on_one_line():
    assert describe(Odd()) == printable(LINE) == r"a\nlevel=ERROR event=forged"
