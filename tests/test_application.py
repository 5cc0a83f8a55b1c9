"""Applications: children in order, by name and class, opened and closed as one; and from TOML."""

import functools
import itertools
import logging
import math
import signal
import sys
import threading
import types

import pytest
import trio

import poolder_trio
from poolder_trio import (
    Application,
    ApplicationReport,
    Batcher,
    Closed,
    DuplicateName,
    FactoryPool,
    JobPool,
    Pool,
    Queue,
    Retry,
    Scheduler,
    Tasker,
    Worker,
    async_perform,
    every,
    perform,
    whereis,
)
from poolder_trio.running import Signals
from poolder_trio.testing import CancelAt

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

virtual = functools.partial(trio.testing.MockClock, autojump_threshold=0)

pytestmark = pytest.mark.usefixtures("own_sigint")


class Echo(Worker):
    async def handle_job(self, job):
        await trio.sleep(1)
        return job


class MyPool(Pool):
    worker = Echo
    pool_size = 2


class MyBatcher(Batcher):
    limit = 3

    async def handle_batch(self, batch):
        return list(batch)


class MyPeriodicJobs(Scheduler):
    @every(10.0)
    async def look(self):
        pass


class WillyWonkaFactory(FactoryPool):
    pass


@pytest.fixture
def chocolate(monkeypatch):
    """A module of the user's, to be named in configuration."""
    module = types.ModuleType("chocolate")
    module.MyPool, module.MyBatcher, module.app = MyPool, MyBatcher, Application()
    module.number, module.tasker = 5, Tasker(name="made")
    monkeypatch.setitem(sys.modules, "chocolate", module)
    return module


@pytest.fixture
def toml(tmp_path):
    """Write a configuration file and return its path."""

    def write(text, name="poolder.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


class Diary:
    """Components that write down when they are opened and have ended."""

    def __init__(self):
        self.lines = []

    def pool(self, name, *, fails=None, seconds=0.0, **options):
        lines = self.lines

        class Noted(Worker):
            async def handle_init(self):
                lines.append(f"{name} opens")
                await trio.sleep(seconds)
                if fails is not None:
                    raise fails

            async def handle_job(self, job):
                result = job()
                if result is not None:
                    await result
                lines.append(f"{name} did it")

            async def handle_stop(self):
                lines.append(f"{name} ends")

        return Pool(Noted, pool_size=1, name=name, **options)


def sizes(app):
    return {name: app[name].pool_size for name in app.names}


# -- what the seeds' READMEs install and configure


async def test_odd_job_starts_a_pool_of_five_workers_named_job_out_of_the_box():
    async with Application() as app:
        assert sizes(app) == {"job": 5}
        assert whereis("job") is app["job"]
        done = []

        async def do_some_work():
            done.append(1)

        await perform("job", do_some_work)
    assert done == [1]


@pytest.mark.parametrize("way", ["passed", "toml"])
def test_odd_job_config_default_pool_work_pool_size_10(way, toml):
    if way == "toml":
        path = toml('default_pool = "work"\npool_size = 10\nextra_pools = ["email"]')
        app = Application.from_toml(path, environ={})
    else:
        app = Application(default_pool="work", pool_size=10, extra_pools=["email"])
    assert sizes(app) == {"work": 10, "email": 10}  # "the size of all pools"


@pytest.mark.parametrize("way", ["passed", "toml"])
def test_odd_job_config_extra_pools_email_and_external_app(way, toml):
    if way == "toml":
        app = Application.from_toml(toml('extra_pools = ["email", "external_app"]'), environ={})
    else:
        app = Application(extra_pools=["email", "external_app"])
    assert sizes(app) == {"job": 5, "email": 5, "external_app": 5}


@pytest.mark.parametrize("way", ["passed", "toml"])
async def test_odd_job_config_default_pool_false(way, toml):
    if way == "toml":
        app = Application.from_toml(toml("default_pool = false"), environ={})
    else:
        app = Application(default_pool=False)
    async with app:
        assert app.names == ()
        with pytest.raises(LookupError):
            whereis("job")


async def test_odd_job_pools_as_children_of_ones_own_application():
    app = Application(JobPool("email"), JobPool("external_app"), default_pool=False)
    assert sizes(app) == {"email": 5, "external_app": 5}
    async with app:
        assert [whereis(name) for name in app.names] == list(app)


async def test_odd_job_options_can_be_combined_and_any_pool_is_sent_jobs_by_its_name():
    sent = []

    async def get_data(user):
        return f"data of {user}"

    async def send_email(user, data):
        sent.append((user, data))

    app = Application(JobPool("external_app"), default_pool="work", extra_pools=["email"])
    async with app:
        job = await async_perform("external_app", get_data, "ada")
        await perform("email", send_email, "ada", await job.wait())
    assert sent == [("ada", "data of ada")]
    assert app.names == ("work", "email", "external_app")


async def test_poolder_pool_installation_takes_pool_batcher_tasker_scheduler_and_factory():
    app = Application(
        MyPool,
        MyBatcher,
        Tasker(name="mytasker", limit=5, hibernate_after=60.0),
        MyPeriodicJobs,
        WillyWonkaFactory,
        name="MyApp",
    )
    async with app:
        assert whereis("MyApp") is app
        assert app["mytasker"] is whereis("mytasker")
        assert app["mytasker"].limit == 5
        await app[MyPool].cast("a message")
        await app[MyBatcher].push("an item")
        await app[WillyWonkaFactory].start_child("room", Echo)
    assert app.report.children["MyBatcher"].completed == 1
    assert app.names == (
        *("job", "MyPool", "MyBatcher", "mytasker", "MyPeriodicJobs", "WillyWonkaFactory"),
    )


# -- children


async def test_children_open_in_order_and_close_in_reverse():
    diary = Diary()
    async with Application(*map(diary.pool, "abc"), default_pool=False):
        assert diary.lines == ["a opens", "b opens", "c opens"]
    assert diary.lines[3:] == ["c ends", "b ends", "a ends"]


def test_children_are_found_by_name_and_by_class():
    tasker = Tasker(name="mytasker")
    app = Application(MyPool, tasker)
    assert app["mytasker"] is app[Tasker] is tasker  # exactly that class: JobPool is one, too
    assert app[MyPool] is app[Pool] is app["MyPool"]
    assert app[JobPool] is app["job"]
    assert list(app) == [app["job"], app[MyPool], tasker]
    assert len(app) == 3
    assert "mytasker" in app
    assert MyPool in app
    assert tasker in app
    assert "other" not in app
    assert Batcher not in app


def test_a_child_that_is_not_there_is_a_lookup_error_that_says_what_is():
    app = Application(MyPool, extra_pools=["email"])
    with pytest.raises(LookupError, match="no child 'emial': did you mean 'email'"):
        app["emial"]
    with pytest.raises(LookupError, match=r"one child of Batcher .* there is none"):
        app[Batcher]
    with pytest.raises(LookupError, match=r"one child of JobPool .* there is 'job', 'email'"):
        app[JobPool]


async def test_children_and_options_can_be_declared():
    class MyApp(Application):
        children = [MyPool, MyBatcher]
        default_pool = False
        grace = 3.0

    app = MyApp()
    assert app.names == ("MyPool", "MyBatcher")
    assert app.grace == 3.0
    assert MyApp(Tasker).names == ("Tasker",)


def test_options_by_name_go_to_pools_and_to_children_that_are_classes():
    app = Application(
        MyPool,
        extra_pools=["email"],
        options={"email": {"pool_size": 2}, "MyPool": {"pool_size": 7}},
    )
    assert (app["email"].pool_size, app["job"].pool_size, app[MyPool].pool_size) == (2, 5, 7)


async def test_an_application_may_have_an_application():
    inner = Application(MyPool, default_pool=False, name="inner")
    async with Application(inner) as app:
        await app["inner"][MyPool].cast(1)
    assert app.report.completed == 1
    assert app.report.children["inner"].children["MyPool"].completed == 1


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: Application(5), TypeError, "children must be components.*got 5"),
        (lambda: Application(Echo), TypeError, "children must be components.*Echo"),
        (lambda: Application(Pool), TypeError, "child 'Pool' of Application: "),
        (lambda: Application(Tasker, Tasker), DuplicateName, "two children .* 'Tasker'"),
        (lambda: Application(JobPool("job")), DuplicateName, "two children .* 'job'"),
        (lambda: Application(poolsize=3), TypeError, "did you mean 'pool_size'"),
        (lambda: Application(pool_size=0), ValueError, r"an int >= 1, got 0 \(Application\)"),
        (lambda: Application(default_pool=True), TypeError, "a str, or False for none"),
        (lambda: Application(default_pool=""), ValueError, "a str, or False for none"),
        (lambda: Application(extra_pools="email"), TypeError, "a list or tuple"),
        (lambda: Application(extra_pools=["a", "a"]), ValueError, "different names"),
        (lambda: Application(MyPool, children=[MyPool]), TypeError, "given twice"),
        (lambda: Application(options={"jbo": {}}), ValueError, "did you mean 'job'"),
        (
            lambda: Application(options={"job": {"poolsize": 1}}),
            TypeError,
            "child 'job' of Application: .*did you mean 'pool_size'",
        ),
        (
            lambda: Application(options={"job": {"name": "other"}}),
            ValueError,
            "must not name it otherwise",
        ),
        (
            lambda: Application(Tasker(name="x"), options={"x": {"limit": 1}}),
            TypeError,
            "too late",
        ),
        (
            lambda: Application(Application(Tasker, name="inner")),
            DuplicateName,
            "'inner.job' and 'job' would both be open under the name 'job'",
        ),
        (
            lambda: Application(Tasker(name="shop"), name="shop"),
            DuplicateName,
            "'shop' and the application itself would both be open",
        ),
        (
            lambda: Application(shared := Tasker(), Application(shared, default_pool=False)),
            DuplicateName,
            "'Application.Tasker' and 'Tasker' are the same component",
        ),
    ],
)
def test_what_is_wrong_is_said_where_it_is_made(make, kind, text):
    with pytest.raises(kind, match=text):
        make()


def test_what_is_wrong_in_a_declaration_is_said_by_the_class_statement():
    with pytest.raises(TypeError, match=r"children must be .*\(Wrong\)"):

        class Wrong(Application):
            children = [5]


# -- failing


async def test_a_child_that_fails_to_start_takes_down_those_started_in_reverse_and_is_named():
    diary = Diary()
    error = ValueError("no")
    children = [
        diary.pool("a"),
        diary.pool("b"),
        diary.pool("c", fails=error),
        diary.pool("d"),
    ]
    with pytest.raises(ExceptionGroup) as caught:
        async with Application(*children):
            pytest.fail("it was entered")
    assert diary.lines == ["a opens", "b opens", "c opens", "b ends", "a ends"]
    assert caught.value.exceptions == (error,)  # one group, not one for each child
    assert any("'c', a child of Application" in note for note in caught.value.__notes__)
    for name in "abcd":
        with pytest.raises(LookupError):
            whereis(name)


async def test_a_child_that_is_open_elsewhere_is_left_alone(autojump_clock):
    shared = Tasker(limit=1)
    async with Application(shared, default_pool=False):
        for _ in range(3):
            await shared.execute(trio.sleep, 1)
        second = Application(shared)
        with pytest.raises(ExceptionGroup) as caught:
            async with second:
                pytest.fail("it was entered")
        assert caught.group_contains(RuntimeError, match="open already")
        assert list(second.report.children) == ["job"]
        await trio.testing.wait_all_tasks_blocked()
        await shared.execute(trio.sleep, 1)
    assert shared.report.completed == 4


async def test_a_child_whose_name_is_taken_reports_nothing_of_its_last_opening(autojump_clock):
    app = Application()
    async with app:
        await perform("job", trio.sleep, 1)
    assert app.report.completed == 1
    async with JobPool("job"):
        with pytest.raises(ExceptionGroup):
            async with app:
                pytest.fail("it was entered")
    assert app.report.completed == 0


async def test_the_report_stays_when_a_child_is_opened_elsewhere(autojump_clock):
    shared = Tasker()
    app = Application(shared, default_pool=False)
    async with app:
        await shared.execute(trio.sleep, 1)
    report, counts = app.report, app.statistics()
    async with shared:
        for _ in range(3):
            await shared.execute(trio.sleep, 1)
        shared.cancel()
        app.close()
        app.cancel()
        assert (app.report, app.statistics()) == (report, counts)
    assert (app.report, app.statistics()) == (report, counts)
    assert not app.report.cut


async def test_a_child_that_crashes_takes_the_application_down():
    async def crash():
        raise KeyError("crash")

    app = Application(MyPool, Tasker, MyBatcher)
    with pytest.raises(ExceptionGroup) as caught:
        async with app:
            await app[Tasker].execute(crash)
            await trio.sleep_forever()
    assert [type(error) for error in caught.value.exceptions] == [KeyError]
    assert app.report.failed == 1


async def test_leaving_by_an_error_cancels_the_last_child_first(autojump_clock):
    diary = Diary()
    app = Application(*map(diary.pool, "ab"), default_pool=False)
    with pytest.raises(ExceptionGroup) as caught:
        async with app:
            await app["a"].cast(trio.sleep_forever)
            await app["b"].cast(trio.sleep_forever)
            await trio.sleep(1)
            raise KeyError("body")
    assert [type(error) for error in caught.value.exceptions] == [KeyError]
    assert diary.lines[2:] == ["b ends", "a ends"]
    assert app.report.cancelled == 2
    assert app.report.cut


# -- leaving and closing


@pytest.mark.parametrize("way", ["leave", "close"])
async def test_each_child_finishes_before_the_one_before_it_closes(way, autojump_clock):
    written = []

    async def write(rows):
        await trio.sleep(1)
        written.extend(rows)

    async def fetch(number):
        await trio.sleep(5)
        await app["rows"].push(number)

    app = Application(Batcher(write, name="rows", limit=100), Tasker(name="fetching", limit=2))
    async with app:
        for number in range(6):
            await app["fetching"].execute(fetch, number)
        if way == "close":
            app.close()
            with pytest.raises(Closed):
                await app["fetching"].execute(fetch, 6)
            await app.wait_closed()
    assert sorted(written) == list(range(6))
    assert trio.current_time() == pytest.approx(16)
    assert app.report.completed == 12
    assert not app.report.cut


@pytest.mark.parametrize("way", ["leave", "close"])
async def test_grace_is_for_all_children_together(way, autojump_clock):
    app = Application(
        Tasker(name="first", limit=1), Tasker(name="second", limit=1), default_pool=False, grace=5
    )
    async with app:
        for name in app.names:
            for _ in range(2):
                await app[name].execute(trio.sleep, 4)
        if way == "close":
            app.close()
    assert trio.current_time() == pytest.approx(5)
    report = app.report
    # Both ran beside one another: at 5 s each has done one, and has begun the other.
    assert (report.completed, report.cancelled, report.abandoned) == (2, 2, ())
    assert report.cut


async def test_leaving_lets_children_accept_until_they_are_idle_and_closing_does_not(
    autojump_clock,
):
    crawled = []

    async def crawl(page):
        await trio.sleep(1)
        crawled.append(page)
        if page < 5:
            await app[Tasker].execute(crawl, page + 1)

    app = Application(Tasker)
    async with app:
        await app[Tasker].execute(crawl, 0)
    assert crawled == [0, 1, 2, 3, 4, 5]
    crawled.clear()
    async with app:
        await app[Tasker].execute(crawl, 0)
        await trio.sleep(1.5)
        app.close()
    assert crawled == [0, 1]
    assert len(app.report.abandoned) == 1
    assert app.report.cut


async def test_cancel_cuts_and_the_block_goes_on(autojump_clock):
    app = Application(MyPool)
    async with app:
        for number in range(6):
            await app[MyPool].cast(number)
        await trio.sleep(0.5)
        app.cancel()
        await app.wait_closed()
        assert trio.current_time() == pytest.approx(0.5)
        await trio.sleep(1)
    assert (app.report.cancelled, len(app.report.abandoned)) == (2, 4)
    assert app.report.cut


async def test_what_was_cancelled_before_the_end_was_not_cut_by_it(autojump_clock):
    app = Application(Tasker)
    async with app:
        job = await app[Tasker].submit(trio.sleep_forever)
        await trio.sleep(1)
        job.cancel()
        await job.wait_done()
        assert not app.report.cut
    assert app.report.cancelled == 1
    assert not app.report.cut


async def test_the_report_has_the_totals_and_each_child(autojump_clock):
    app = Application(MyPool, Tasker, default_pool=False)
    assert app.report.children == {}
    assert app.statistics().submitted == 0
    async with app:
        await app[MyPool].cast(1)
        await app[Tasker].execute(trio.sleep, 1)
        assert app.statistics().submitted == 2
        assert app.statistics().waiting + app.statistics().running == 2
    report = app.report
    assert isinstance(report, ApplicationReport)
    assert {name: its.completed for name, its in report.children.items()} == {
        "MyPool": 1,
        "Tasker": 1,
    }
    assert report.completed == app.statistics().completed == 2


async def test_it_may_be_opened_again_but_not_twice_at_once(autojump_clock):
    app = Application(MyPool)
    for _ in range(2):
        async with app:
            await app[MyPool].cast(1)
            with pytest.raises(RuntimeError, match="open already"):
                await app.__aenter__()
        assert app.report.completed == 1


async def test_idle_is_when_no_child_has_anything_to_do(autojump_clock):
    async def hand_over():
        await trio.sleep(1)
        await app["second"].execute(trio.sleep, 2)

    async def hand_back():
        await trio.sleep(1)
        await app["first"].execute(trio.sleep, 3)

    app = Application(Tasker(name="first"), Tasker(name="second"))
    async with app:
        await app.wait_idle()
        await app["first"].execute(hand_over)
        await app["second"].execute(hand_back)
        await app.wait_idle()
        assert trio.current_time() == pytest.approx(4)


async def test_paused_it_starts_nothing_and_leaving_resumes(autojump_clock):
    app = Application(MyPool, Tasker)
    async with app:
        app.pause()
        await app[MyPool].cast(1)
        await app[Tasker].execute(trio.sleep, 1)
        await trio.sleep(5)
        assert app.statistics().waiting == 2
        app.resume()
        await trio.sleep(2)
        assert app.statistics().completed == 2
        app.pause()
        await app[MyPool].cast(1)
    assert app.report.completed == 3
    with pytest.raises(Closed):
        app.pause()


async def test_a_handler_may_close_the_application_but_not_wait_for_it(autojump_clock):
    refused = []

    async def last():
        app.close()
        for wait in (app.wait_closed, app.wait_idle):
            try:
                await wait()
            except RuntimeError:
                refused.append(wait)
        await trio.sleep(1)

    app = Application(MyPool, Tasker)
    async with trio.open_nursery() as nursery:
        await nursery.start(app.run)
        await app[MyPool].cast(1)
        await app[Tasker].execute(last)
    assert refused == [app.wait_closed, app.wait_idle]
    assert app.report.completed == 2


async def test_closed_while_it_opens_it_opens_no_more_children(autojump_clock):
    diary = Diary()
    app = Application(diary.pool("a"), diary.pool("b", seconds=5), diary.pool("c"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(app.run)
        await trio.sleep(1)
        app.close()
    assert diary.lines == ["a opens", "b opens", "b ends", "a ends"]
    assert list(app.report.children) == ["job", "a", "b"]


async def test_idle_can_be_waited_for_while_children_open(autojump_clock):
    diary = Diary()
    app = Application(Tasker(name="first"), diary.pool("a", seconds=2), diary.pool("b", seconds=2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(app.run)
        await trio.sleep(1)
        await app["first"].execute(trio.sleep, 2)
        await app.wait_idle()
        assert trio.current_time() == pytest.approx(3)
        app.close()


async def test_run_as_a_task_it_ends_within_grace_of_being_closed(autojump_clock):
    app = Application(Tasker, default_pool=False, grace=5)
    async with trio.open_nursery() as nursery:
        assert await nursery.start(app.run) is app
        for seconds in (3, 30):
            await app[Tasker].execute(trio.sleep, seconds)
        await trio.sleep(1)
        app.close()
    assert trio.current_time() == pytest.approx(6)
    assert (app.report.completed, app.report.cancelled, app.report.cut) == (1, 1, True)


async def test_a_child_that_ended_by_itself_is_no_hindrance(autojump_clock):
    app = Application(MyPool, Tasker)
    async with app:
        app[MyPool].close()
        await app[MyPool].wait_closed()
        app.pause()
        app.resume()
        await app[Tasker].call(trio.sleep, 1)
        await app.wait_idle()
    assert app.report.completed == 1


async def test_while_it_is_left_those_that_have_ended_are_not_resumed(autojump_clock):
    async def late():
        await trio.sleep(5)
        app.pause()  # without effect while the block is left
        app.resume()

    app = Application(Tasker(name="first"), Tasker(name="second"))
    async with app:
        await app["first"].execute(late)
    assert app.report.completed == 1


async def test_it_logs_what_it_opens_and_closes(caplog):
    caplog.set_level(logging.INFO, "poolder_trio.application")
    async with Application(MyPool, default_pool=False, name="shop") as app:
        app.close()
    assert [record.message for record in caplog.records] == [
        "application=shop child=MyPool event=opened",
        "application=shop child=MyPool event=closed",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["leave", "close"])
async def test_cancelled_at_any_step_it_accounts_for_every_job(way):
    for step in itertools.count(1):
        begun, ended = [], []

        async def hand_on(number, begun=begun, ended=ended):
            begun.append(number)
            await trio.lowlevel.checkpoint()
            await app["last"].execute(keep, number)  # noqa: B023  # in this turn
            ended.append(number)

        async def keep(number, begun=begun, ended=ended):
            begun.append(-number)
            await trio.lowlevel.checkpoint()
            ended.append(-number)

        app = Application(Tasker(name="last"), Tasker(name="first", limit=2), default_pool=False)
        with CancelAt(step) as cut:
            async with app:
                for number in range(1, 6):
                    await app["first"].execute(hand_on, number)
                if way == "close":
                    app.close()
                    await app.wait_closed()
                else:
                    await app.wait_idle()
        counts = app.statistics()
        assert counts.running == counts.waiting == 0
        assert counts.submitted == counts.completed + counts.cancelled + counts.abandoned
        assert counts.completed == len(ended)
        assert len(begun) == len(set(begun)) <= counts.submitted
        with pytest.raises(LookupError):
            whereis("first")
        if not cut.reached:
            assert len(ended) == 10
            assert step > 20
            break


# -- run


def test_run_returns_the_report_when_the_application_is_closed():
    async def work():
        await trio.sleep(100)
        app.close()

    class Begins(Scheduler):
        async def handle_init(self):
            await perform("job", work)

    app = Application(Begins)
    report = poolder_trio.run(app, clock=virtual())
    assert report.completed == 1
    assert not report.cut


def test_what_is_left_after_grace_of_being_closed_is_cut():
    async def work():
        await perform("job", trio.sleep, 100)
        app.close()

    class Begins(Scheduler):
        async def handle_init(self):
            await perform("job", work)

    clock, app = virtual(), Application(Begins, grace=5.0)
    report = poolder_trio.run(app, clock=clock)
    assert clock.current_time() == pytest.approx(5)
    assert (report.completed, report.cancelled, report.cut) == (1, 1, True)


def test_signals_wake_nobody_when_trio_closes_what_they_wake_it_by():
    class Looks(trio.abc.Instrument):
        def task_exited(self, task):
            fd = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(fd)
            fds.append(fd)

    class Ends(Scheduler):
        @every(1.0)
        async def end(self):
            app.close()

    fds, app = [], Application(Ends)
    poolder_trio.run(app, clock=virtual(), instruments=[Looks()])
    assert fds[0] != -1
    assert fds[-1] == -1


def test_a_signal_after_the_first_that_finds_nothing_to_cancel_is_not_raised_again():
    raised = []
    before = signal.signal(signal.SIGTERM, lambda number, _: raised.append(number))
    try:
        with Signals() as signals:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert trio.run(signals.next) is signal.SIGTERM
        signals.pass_on()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert raised == []


def test_a_signal_that_stopped_nothing_is_raised_again():
    raised = []

    before = signal.signal(signal.SIGTERM, lambda *_: raised.append(1))
    try:
        with Signals() as signals:
            signal.raise_signal(signal.SIGTERM)
        signals.pass_on()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert raised == [1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_first_signal_lets_all_that_was_accepted_finish(number):
    done = []

    async def work():
        await trio.sleep(10)
        done.append(trio.current_time())

    class Begins(Scheduler):
        @every(1.0)
        async def begin(self):
            for _ in range(12):
                await perform("job", work)
            signal.raise_signal(number)
            self.unschedule("begin")

    before = signal.getsignal(number)
    report = poolder_trio.run(Application(Begins), clock=virtual())
    assert signal.getsignal(number) is before
    assert len(done) == 12
    assert report.completed == 13
    assert not report.cut


def test_what_is_left_after_grace_is_cut():
    class Begins(Scheduler):
        @every(1.0)
        async def begin(self):
            for _ in range(7):
                await perform("job", trio.sleep, 20)
            signal.raise_signal(signal.SIGTERM)
            self.unschedule("begin")

    clock = virtual()
    report = poolder_trio.run(Application(Begins, grace=5.0), clock=clock)
    assert clock.current_time() == pytest.approx(6)
    assert (report.children["job"].cancelled, len(report.children["job"].abandoned)) == (5, 2)
    assert report.cut


def test_a_second_signal_cancels():
    async def signals():
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep(3)
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    class Begins(Scheduler):
        async def handle_init(self):
            for _ in range(6):
                await perform("job", trio.sleep, math.inf)
            await perform("job", trio.sleep, 0)
            await async_perform("signals", signals)

    clock = virtual()
    app = Application(Begins, extra_pools=["signals"])
    report = poolder_trio.run(app, clock=clock)
    assert clock.current_time() == pytest.approx(3)
    assert (report.cancelled, len(report.abandoned)) == (6, 2)
    assert report.cut


@pytest.mark.parametrize("signals", [1, 2])
def test_signals_while_a_child_opens_are_heard(signals):
    diary = Diary()

    class Told(Scheduler):
        async def handle_init(self):
            for _ in range(signals):
                signal.raise_signal(signal.SIGTERM)
                await trio.sleep(1)
            await trio.sleep_forever()

    clock = virtual()
    app = Application(diary.pool("a"), Told, diary.pool("b"), grace=60)
    report = poolder_trio.run(app, clock=clock)
    assert diary.lines == ["a opens", "a ends"]
    assert clock.current_time() == pytest.approx(60 if signals == 1 else 2, abs=1)
    assert "b" not in report.children


def test_what_fails_leaves_run_in_one_group():
    async def fail():
        raise KeyError("fail")

    class Begins(Scheduler):
        async def handle_init(self):
            self.schedule("fail", 1.0, fail)

    with pytest.raises(BaseExceptionGroup) as caught:
        poolder_trio.run(Application(MyPool, Begins), clock=virtual())
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


def test_in_another_thread_it_runs_without_signals():
    class Ends(Scheduler):
        @every(1.0)
        async def end(self):
            app.close()

    app = Application(Ends)
    reports = []
    thread = threading.Thread(target=lambda: reports.append(poolder_trio.run(app, clock=virtual())))
    thread.start()
    thread.join(30)
    assert reports[0].completed == 1


def test_run_refuses_what_is_no_application():
    with pytest.raises(TypeError, match="run needs an Application, got <MyPool"):
        poolder_trio.run(MyPool())


# -- TOML and the environment


def test_a_file_describes_children_and_their_options(chocolate, toml):
    path = toml(
        """
        [project]
        name = "shop"

        [tool.poolder-trio]
        name = "shop"
        grace = 30.0
        children = [
            "chocolate:MyPool",
            "chocolate:tasker",
            { use = "poolder_trio:Tasker", name = "mytasker", limit = 7, retry = { attempts = 5 } },
        ]

        [tool.poolder-trio.options.MyPool]
        pool_size = 4
        queue = { max = 10, overflow = "reject" }

        [tool.poolder-trio.options.job]
        job_timeout = 5.0
        """,
        "pyproject.toml",
    )
    app = Application.from_toml(path, environ={})
    assert app.names == ("job", "MyPool", "made", "mytasker")
    assert (app.name, app.grace, app["job"].job_timeout) == ("shop", 30.0, 5.0)
    assert (app[MyPool].pool_size, app[MyPool].queue) == (4, Queue(max=10, overflow="reject"))
    assert (app["mytasker"].limit, app["mytasker"].retry) == (7, Retry(attempts=5))
    assert app["made"] is chocolate.tasker


def test_a_subclass_declares_what_the_file_does_not_say(toml):
    class Mine(Application):
        children = [MyPool]
        pool_size = 2

    app = Mine.from_toml(toml("default_pool = 'work'"), environ={})
    assert type(app) is Mine
    assert app.names == ("work", "MyPool")
    assert app["work"].pool_size == 2


def test_the_environment_overrides_the_file(toml):
    path = toml('pool_size = 2\nextra_pools = ["email"]\ngrace = 5')
    environ = {
        "POOLDER_TRIO_POOL_SIZE": "9",
        "POOLDER_TRIO_EXTRA_POOLS": "sms, fax",
        "POOLDER_TRIO_DEFAULT_POOL": "work",
        "POOLDER_TRIO_GRACE": "inf",
        "POOLDER_TRIO_NAME": "shop",
        "PATH": "/bin",
    }
    app = Application.from_toml(path, environ=environ)
    assert sizes(app) == {"work": 9, "sms": 9, "fax": 9}
    assert (app.grace, app.name) == (math.inf, "shop")
    none = {"POOLDER_TRIO_DEFAULT_POOL": "false", "POOLDER_TRIO_EXTRA_POOLS": ""}
    assert len(Application.from_toml(path, environ=none)) == 0


def test_the_environment_of_the_process_is_looked_at(toml, monkeypatch):
    monkeypatch.setenv("POOLDER_TRIO_POOL_SIZE", "3")
    assert sizes(Application.from_toml(toml(""))) == {"job": 3}
    assert sizes(Application()) == {"job": 5}  # what a program says itself, it means


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("pool_size =", ValueError, "is no TOML file"),
        ("poolsize = 3", ValueError, "unknown key 'poolsize': did you mean 'pool_size'"),
        ("pool_size = 0", ValueError, "an int >= 1, got 0"),
        ("pool_size = '3'", TypeError, "an int >= 1, got '3'"),
        ("children = 'chocolate:MyPool'", TypeError, "children must be an array"),
        ("children = ['chocolate']", ValueError, "'module:attribute', got 'chocolate'"),
        ("children = ['a b:c']", ValueError, "'module:attribute', got 'a b:c'"),
        ("children = ['chocolat:MyPool']", ImportError, "no module 'chocolat'"),
        ("children = ['chocolate:MyPol']", ImportError, "did you mean 'MyPool'"),
        ("children = ['chocolate:number']", TypeError, "must be components.*got 5"),
        ("children = [3]", TypeError, "under 'use'.*got 3"),
        ("children = [{use='chocolate:number', limit=1}]", TypeError, "only a class of components"),
        (
            "children = [{use='poolder_trio:Tasker', limits=1}]",
            TypeError,
            r"children\[0\]: .*did you mean 'limit'",
        ),
        (
            "children = [{use='poolder_trio:Tasker', queue={max=-1}}]",
            ValueError,
            r"^[^:]*: children\[0\].queue: max must be",
        ),
        ("options = 3", TypeError, "options must be a table"),
        ("[options.jbo]\npool_size = 1", ValueError, "did you mean 'job'"),
        ("[options.job]\npoolsize = 1", TypeError, "did you mean 'pool_size'"),
        ("[options.job]\nretry = {attempt=1}", TypeError, "options.job.retry: .*attempt"),
        ("[options.job]\nretry = 3", TypeError, "retry must be a Retry, got 3"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(text, kind, says, toml, chocolate):
    path = toml(text)
    with pytest.raises(kind, match=says) as caught:
        Application.from_toml(path, environ={})
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pyproject_without_our_table_is_refused(toml):
    with pytest.raises(ValueError, match=r"no table \[tool.poolder-trio\]"):
        Application.from_toml(toml("[project]\nname = 'x'", "pyproject.toml"), environ={})


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Application.from_toml(tmp_path / "none.toml", environ={})


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("POOLDER_TRIO_DEFAULT_POOL", "", "^POOLDER_TRIO_DEFAULT_POOL must be a str"),
        ("POOLDER_TRIO_EXTRA_POOLS", "a,a", "^POOLDER_TRIO_EXTRA_POOLS must be .*different"),
        ("POOLDER_TRIO_POOL_SIZE", "many", "POOLDER_TRIO_POOL_SIZE must be an int >= 1, got"),
        ("POOLDER_TRIO_POOL_SIZE", "0", "^POOLDER_TRIO_POOL_SIZE must be an int >= 1, got 0"),
        ("POOLDER_TRIO_GRACE", "-1", "^POOLDER_TRIO_GRACE must be .*seconds >= 0, got -1"),
        ("POOLDER_TRIO_POOLSIZE", "3", "did you mean 'POOLDER_TRIO_POOL_SIZE'"),
        ("POOLDER_TRIO_CHILDREN", "os:system", "unknown POOLDER_TRIO_CHILDREN"),
    ],
)
def test_a_wrong_variable_is_refused(variable, text, says, toml):
    with pytest.raises(ValueError, match=says):
        Application.from_toml(toml(""), environ={variable: text})


def test_a_module_that_imports_what_is_not_there_says_so_itself(toml, tmp_path, monkeypatch):
    (tmp_path / "imports_nothing.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        Application.from_toml(toml("children = ['imports_nothing:x']"), environ={})
