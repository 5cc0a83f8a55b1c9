"""Groups of workers that come and go."""

import collections
import gc
import itertools
import logging
import math
import sys
import weakref

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from poolder_trio import (
    Closed,
    DuplicateName,
    Exit,
    FactoryPool,
    JobAbandoned,
    JobError,
    Queue,
    Restart,
    RestartLimitExceeded,
    Stop,
    Worker,
    whereis,
)
from poolder_trio.testing import CancelAt

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


class EchoWorker(Worker):
    """The seed's worker."""

    async def handle_init(self, *, initial=False):
        self.state = {"initial": initial}

    async def handle_call(self, request):
        assert request == "ping"
        return "pong"

    async def handle_job(self, job):
        if job == "print":
            printed.append(self.state)
        else:
            self.state = job[1]


printed = []


class Acts(Worker):
    """Does what it is told; a call is answered with the worker's own number."""

    numbers = itertools.count()

    async def handle_init(self, *, log=None):
        self.log = [] if log is None else log
        self.number = next(self.numbers)

    async def handle_job(self, job):
        kind, *args = job if isinstance(job, tuple) else (job,)
        self.log.append(("begun", job))
        if kind == "fail":
            raise ValueError("broken")
        if kind == "nap":
            await trio.sleep(args[0])
        elif kind == "do":
            await args[0](self)
        self.log.append(("ended", job))
        return {"exit": Exit(), "stop": Stop()}.get(kind, self.number)


class Other(Acts):
    async def handle_call(self, request):
        return "other"


class Downs(FactoryPool):
    """Remembers who went down, and why."""

    def __init__(self, **options):
        super().__init__(**options)
        self.downs = []

    async def handle_down(self, ref, reason):
        assert not ref.alive
        self.downs.append((ref, reason))


def accounts(factory):
    stats = factory.statistics()
    ended = stats.completed + stats.failed + stats.cancelled + stats.dropped + stats.abandoned
    assert stats.submitted == ended + stats.running + stats.waiting
    return stats


@pytest.fixture
def quiet(caplog):
    caplog.set_level(logging.CRITICAL, "poolder_trio.factory_pool")


# -- what the seed's README shows, line by line


async def test_start_link_is_entering_the_block():
    async with FactoryPool(name="WillyWonkaFactory") as factory:
        assert whereis("WillyWonkaFactory") is factory


async def test_start_child_with_a_group_a_worker_and_its_initial_state():
    async with FactoryPool() as factory:
        milton = await factory.start_child("hersheys", EchoWorker, initial=True)
        assert milton.alive
        await factory.cast(milton, "print")
        await factory.wait_idle()
        assert printed.pop() == {"initial": True}


async def test_count_of_a_group():
    async with FactoryPool() as factory:
        await factory.start_child("hersheys", EchoWorker, initial=True)
        await factory.start_child("feastables", EchoWorker, initial=True)
        await factory.start_child("feastables", EchoWorker, initial=True)
        assert factory.count("feastables") == 2
        assert factory.count_all() == 3
        assert factory.count("nobody") == 0


async def test_call_of_a_child_returns_pong():
    async with FactoryPool() as factory:
        milton = await factory.start_child("hersheys", EchoWorker, initial=True)
        assert await factory.call(milton, "ping") == "pong"


async def test_cast_broadcast_and_print_show_each_childs_own_state():
    printed.clear()
    async with FactoryPool() as factory:
        milton = await factory.start_child("hersheys", EchoWorker, initial=True)
        mrbeast = await factory.start_child("feastables", EchoWorker, initial=True)
        nolan = await factory.start_child("feastables", EchoWorker, initial=True)
        await factory.cast(milton, ("set", {"products": ["Reese's"]}))
        await factory.broadcast("feastables", ("set", {"flavors": ["Milk Chocolate"]}))
        for ref in (milton, mrbeast, nolan):
            await factory.cast(ref, "print")
    assert sorted(printed, key=str) == [
        {"flavors": ["Milk Chocolate"]},
        {"flavors": ["Milk Chocolate"]},
        {"products": ["Reese's"]},
    ]


# -- the bugs of the original


async def test_children_are_listed_with_two_groups():
    async with FactoryPool() as factory:
        one = await factory.start_child("a", Acts)
        two = await factory.start_child("b", Acts)
        three = await factory.start_child("a", Acts)
        assert set(factory.children()) == {one, two, three}
        assert factory.children("a") == [one, three]
        assert factory.children("nobody") == []


async def test_a_group_outlives_whoever_started_it_first():
    async with FactoryPool() as factory:
        async with trio.open_nursery() as nursery:

            async def starter():
                refs.append(await factory.start_child("a", Acts))
                await trio.sleep_forever()

            refs = []
            nursery.start_soon(starter)
            await wait_all_tasks_blocked()
            refs.append(await factory.start_child("a", Acts))
            nursery.cancel_scope.cancel()
        assert factory.children("a") == refs
        assert await refs[0].call("ok") != await refs[1].call("ok")


async def test_a_group_outlives_the_child_that_started_it_and_is_not_inside_of_it():
    async def start_another(worker):
        worker.log.append(await worker.pool.start_child("b", Acts))

    async def ask_back(worker):
        worker.log.append(await worker.pool.call(first, "ok"))

    async with FactoryPool() as factory:
        log = []
        first = await factory.start_child("a", Acts, log=log)
        await first.call(("do", start_another))
        second = log[1]
        # If it counted as inside of the first one's handler, this would be refused.
        await second.call(("do", ask_back))
        await factory.terminate(first)
        assert second.alive


# -- guards, names, kinds


async def test_none_is_the_group_named_default():
    async with FactoryPool() as factory:
        ref = await factory.start_child(None, Acts)
        assert factory.children("default") == [ref]
        assert factory.count() == factory.count("default") == 1
        await factory.dispatch(None, "ok")
        await factory.broadcast(None, "ok")
        await factory.cast(ref, "ok", group="default")
        await factory.wait_idle()
        await factory.terminate_group()
        assert factory.count() == 0


async def test_a_guard_refuses_a_ref_of_another_group_or_factory():
    async with FactoryPool() as factory, FactoryPool() as elsewhere:
        ref = await factory.start_child("a", Acts)
        await factory.call(ref, "ok", group="a")
        for send in (factory.call, factory.cast):
            with pytest.raises(LookupError, match="of group 'a', not of 'b'"):
                await send(ref, "ok", group="b")
            with pytest.raises(LookupError, match="is no child of"):
                await getattr(elsewhere, send.__name__)(ref, "ok")
        with pytest.raises(LookupError, match="is no child of"):
            await elsewhere.terminate(ref)
        assert accounts(factory).submitted == 1


async def test_children_of_one_group_may_be_of_different_classes():
    async with FactoryPool() as factory:
        one = await factory.start_child("a", Acts)
        two = await factory.start_child("a", Other)
        assert await one.call("ok") != "other"
        assert await two.call("ok") == "other"


@pytest.mark.parametrize("worker", [int, Worker, 5, lambda inbox: None])
async def test_what_is_no_worker_is_refused(worker):
    async with FactoryPool() as factory:
        with pytest.raises((TypeError, ValueError)):
            await factory.start_child("a", worker)
        assert factory.count_all() == 0


async def test_a_child_that_cannot_start_raises_its_error_and_nothing_is_left(autojump_clock):
    class Refuses(Acts):
        async def handle_init(self):
            await trio.sleep(1)
            raise KeyError("init")

    async with Downs() as factory:
        tasks = trio.lowlevel.current_statistics().tasks_living
        with pytest.raises(KeyError):
            await factory.start_child("a", Refuses)
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        with pytest.raises(LookupError):
            await factory.broadcast("a", "ok")
    assert factory.downs == []


async def test_a_worker_finds_the_factory_as_its_pool():
    async def look(worker):
        assert worker.pool is factory
        assert worker.name == "Wonka/a[0]"

    async with FactoryPool(name="Wonka") as factory:
        ref = await factory.start_child("a", Acts)
        await ref.call(("do", look))


# -- dispatch and broadcast


async def test_dispatch_goes_to_one_child_by_the_groups_mode():
    async with FactoryPool() as factory:
        logs = [[], [], []]
        for log in logs:
            await factory.start_child("a", Acts, log=log)
        for number in range(6):
            await factory.dispatch("a", number)
    assert [[job for what, job in log if what == "ended"] for log in logs] == [
        [0, 3],
        [1, 4],
        [2, 5],
    ]


async def test_there_is_no_sending_to_a_group_that_is_not_there():
    async with FactoryPool() as factory:
        for act in (
            factory.dispatch("a", 1),
            factory.broadcast("a", 1),
            factory.terminate_group("a"),
            factory.configure_group("a", mode="random"),
        ):
            with pytest.raises(LookupError, match="has no group 'a'"):
                await act


# -- crashes


async def test_a_crash_is_logged_counted_and_told_and_hurts_nobody_else(caplog):
    async with Downs() as factory:
        one = await factory.start_child("a", Acts)
        two = await factory.start_child("a", Acts)
        three = await factory.start_child("b", Acts)
        await factory.cast(one, "fail")
        await factory.wait_idle()
        assert factory.count("a") == 1
        assert two.alive
        assert three.alive
        with pytest.raises(Closed):
            await factory.call(one, "ok")
        assert accounts(factory).failed == 1
    ((ref, reason),) = factory.downs
    assert ref == one
    assert isinstance(reason, ValueError)
    (record,) = caplog.records
    assert record.name == "poolder_trio.factory_pool"


@pytest.mark.parametrize("mode", ["transient", "permanent"])
async def test_a_replaced_child_is_a_new_one_of_the_same_class_and_args(mode, caplog):
    async with Downs(restart=Restart(5, mode=mode)) as factory:
        log = []
        await factory.start_child("a", Other, log=log)
        ref = await factory.start_child("a", Acts, log=log)
        before = await ref.call("ok")
        await ref.cast("fail")
        await factory.wait_idle()
        assert ref.alive
        assert await ref.call("ok") != before
        assert log.count(("ended", "ok")) == 2
        await ref.call("exit")
        await factory.wait_idle()
        assert ref.alive is (mode == "permanent")
        assert factory.downs == ([] if mode == "permanent" else [(ref, "exit")])


async def test_too_many_crashes_leave_the_block(caplog):
    with pytest.raises(ExceptionGroup) as caught:
        async with FactoryPool(restart=Restart(1)) as factory:
            ref = await factory.start_child("a", Acts)
            await ref.cast("fail")
            await ref.cast("fail")
            await trio.sleep_forever()
    error = caught.value
    while isinstance(error, ExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, RestartLimitExceeded)


# -- handle_down


async def test_handle_down_is_told_once_and_why(quiet, autojump_clock):
    async with Downs() as factory:
        refs = {
            kind: await factory.start_child(kind, Acts)
            for kind in ("fail", "exit", "stop", "terminate", "group", "stays")
        }
        for kind in ("fail", "exit", "stop"):
            await refs[kind].cast(kind)
        await factory.wait_idle()
        await factory.terminate(refs["terminate"])
        assert factory.downs[-1] == (refs["terminate"], "terminated")
        await factory.terminate_group("group")
        assert factory.downs[-1] == (refs["group"], "terminated")
        await wait_all_tasks_blocked()
    told = dict(factory.downs)
    assert len(told) == len(factory.downs) == 5
    assert isinstance(told.pop(refs["fail"]), ValueError)
    assert told == {
        refs["exit"]: "exit",
        refs["stop"]: "stopped",
        refs["terminate"]: "terminated",
        refs["group"]: "terminated",
    }


@pytest.mark.parametrize("how", ["leave", "close", "cancel", "grace", "raise"])
async def test_the_end_of_the_factory_is_no_childs_own(how, autojump_clock):
    factory = Downs(grace=1 if how == "grace" else math.inf)
    try:
        async with factory:
            ref = await factory.start_child("a", Acts)
            await ref.cast(("nap", 5))
            if how in ("close", "cancel"):
                getattr(factory, how)()
            elif how == "raise":
                raise KeyError
    except ExceptionGroup:
        assert how == "raise"
    assert factory.downs == []
    assert factory.report.completed == (how in ("leave", "close"))


async def test_a_handle_down_that_raises_leaves_the_block(quiet):
    class Broken(FactoryPool):
        async def handle_down(self, ref, reason):
            raise KeyError("down")

    with pytest.raises(ExceptionGroup) as caught:
        async with Broken() as factory:
            ref = await factory.start_child("a", Acts)
            await ref.cast("fail")
            await trio.sleep_forever()
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


async def test_handle_down_may_start_another_and_need_not_look_whether_it_is_late(quiet):
    class Again(FactoryPool):
        async def handle_down(self, ref, reason):
            await self.start_child("a", Acts)

    async with Again() as factory:
        ref = await factory.start_child("a", Acts)
        await ref.cast("fail")
        await factory.wait_idle()
        (other,) = factory.children("a")
        assert other != ref
        await other.cast("fail")
        factory.close()
    assert accounts(factory).failed == 2


async def test_handle_down_that_waits_for_the_factory_is_refused():
    class Waits(FactoryPool):
        async def handle_down(self, ref, reason):
            for wait in (self.wait_idle, self.wait_closed):
                with pytest.raises(RuntimeError, match="that very handler"):
                    await wait()
            refused.append(ref)

    refused = []
    async with Waits() as factory:
        ref = await factory.start_child("a", Acts)
        await factory.terminate(ref)
    assert refused == [ref]


# -- terminate


async def test_terminate_lets_a_busy_child_finish_and_its_waiting_jobs_move(autojump_clock):
    async with Downs() as factory:
        log, others = [], []
        one = await factory.start_child("a", Acts, log=log)
        await factory.start_child("a", Acts, log=others)
        for job in (("nap", 5), "next"):
            await factory.cast(one, job)
        await wait_all_tasks_blocked()
        await factory.terminate(one)
        assert trio.current_time() == pytest.approx(5)
        assert factory.downs == [(one, "terminated")]
    assert log == [("begun", ("nap", 5)), ("ended", ("nap", 5))]
    assert ("ended", "next") in others


async def test_terminate_cancels_a_job_that_takes_longer_than_grace(autojump_clock):
    async with FactoryPool(grace=2) as factory:
        one = await factory.start_child("a", Acts)
        await factory.cast(one, ("nap", 50))
        await factory.cast(one, "next")
        await wait_all_tasks_blocked()
        await factory.terminate(one)
        assert trio.current_time() == pytest.approx(2)
        assert factory.count("a") == 0
        stats = accounts(factory)
        assert (stats.cancelled, stats.abandoned) == (1, 1)
    assert factory.report.abandoned == ("next",)


async def test_the_grace_of_a_child_holds_though_its_terminator_leaves(autojump_clock):
    async with FactoryPool(grace=2) as factory:
        one = await factory.start_child("a", Acts)
        await factory.cast(one, ("nap", 50))
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await factory.terminate(one)
        assert factory.count("a") == 0
        await factory.wait_idle()
        assert trio.current_time() == pytest.approx(2)


async def test_two_may_terminate_a_child_at_once_and_a_third_comes_too_late(autojump_clock):
    async with Downs() as factory:
        one = await factory.start_child("a", Acts)
        await factory.cast(one, ("nap", 5))
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(factory.terminate, one)
            nursery.start_soon(factory.terminate, one)
        assert trio.current_time() == pytest.approx(5)
        with pytest.raises(LookupError, match="has ended already"):
            await factory.terminate(one)
    assert len(factory.downs) == 1


async def test_a_child_may_not_terminate_itself_or_its_group():
    async def selfish(worker):
        ref = worker.pool.children("a")[0]
        for act in (worker.pool.terminate(ref), worker.pool.terminate_group("a")):
            with pytest.raises(RuntimeError, match="that very handler"):
                await act
        for wait in (worker.pool.wait_idle, worker.pool.wait_closed):
            with pytest.raises(RuntimeError, match="that very handler"):
                await wait()

    async with Downs() as factory:
        ref = await factory.start_child("a", Acts)
        await ref.call(("do", selfish))
        assert ref.alive
    assert factory.downs == []


async def test_a_child_may_terminate_another_group():
    async def harsh(worker):
        await worker.pool.terminate_group("b")

    async with FactoryPool() as factory:
        one = await factory.start_child("a", Acts)
        two = await factory.start_child("b", Acts)
        await one.call(("do", harsh))
        assert not two.alive


async def test_terminate_group_ends_all_and_abandons_what_waits(autojump_clock):
    async with Downs(grace=3) as factory:
        refs = [await factory.start_child("a", Acts) for _ in range(3)]
        for nap, ref in zip((1, 2, 50), refs, strict=True):
            await ref.cast(("nap", nap))
            await ref.cast("next")
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(factory.terminate_group, "a")
            nursery.start_soon(factory.terminate_group, "a")
            await wait_all_tasks_blocked()
            assert factory.count("a") == factory.count_all() == 0
            assert factory.children() == []
            assert accounts(factory).running == 3
        assert trio.current_time() == pytest.approx(3)
        with pytest.raises(LookupError):
            await factory.terminate_group("a")
        stats = accounts(factory)
        assert (stats.completed, stats.cancelled, stats.abandoned) == (2, 1, 3)
    assert sorted(factory.downs, key=lambda down: down[0].index) == [
        (ref, "terminated") for ref in refs
    ]
    assert factory.report.abandoned == ("next",) * 3


async def test_a_call_that_waits_in_a_terminated_group_is_told(autojump_clock):
    async with FactoryPool() as factory:
        ref = await factory.start_child("a", Acts)
        await ref.cast(("nap", 5))
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:

            async def ask():
                with pytest.raises(JobAbandoned):
                    await factory.call(ref, "ok")
                assert trio.current_time() == pytest.approx(0)

            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            await factory.terminate_group("a")


async def test_a_child_that_starts_while_its_group_is_terminated_is_refused(autojump_clock):
    class Slow(Acts):
        async def handle_init(self):
            await trio.sleep(10)

    async with Downs() as factory:
        old = await factory.start_child("a", Acts)
        async with trio.open_nursery() as nursery:

            async def late():
                with pytest.raises(Closed):
                    await factory.start_child("a", Slow)

            nursery.start_soon(late)
            await wait_all_tasks_blocked()
            nursery.start_soon(factory.terminate_group, "a")
            await wait_all_tasks_blocked()
        assert trio.current_time() == pytest.approx(0)
        new = await factory.start_child("a", Acts)
        assert new != old
    assert factory.downs == [(old, "terminated")]


async def test_a_new_group_may_take_the_name_of_one_that_is_ending(autojump_clock):
    async with FactoryPool() as factory:
        old = await factory.start_child("a", Acts)
        await old.cast(("nap", 5))
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(factory.terminate_group, "a")
            await wait_all_tasks_blocked()
            new = await factory.start_child("a", Acts)
            assert factory.children("a") == [new]
        assert new.alive
        assert factory.count("a") == 1


# -- groups by themselves


async def test_a_group_that_was_started_stays_when_it_is_empty():
    async with FactoryPool() as factory:
        refs = await factory.start_group("a", Acts, pool_size=2, mode="least_loaded")
        assert factory.children("a") == refs
        for ref in refs:
            await factory.terminate(ref)
        await factory.broadcast("a", "to nobody")
        with pytest.raises(LookupError, match="no children to dispatch to"):
            await factory.dispatch("a", "ok")
        with pytest.raises(DuplicateName):
            await factory.start_group("a", Acts)
        ref = await factory.start_child("a", Acts)
        assert factory.children("a") == [ref]
        await factory.dispatch("a", "ok")
        await factory.wait_idle()
        await factory.terminate_group("a")
        with pytest.raises(LookupError):
            await factory.dispatch("a", "ok")
    assert factory.report.completed == 1


async def test_start_group_gives_its_children_args_and_overrides_the_factorys_options(caplog):
    log = []
    async with FactoryPool(queue=Queue(max=3)) as factory:
        await factory.start_group(
            "a", Acts, pool_size=1, args={"log": log}, restart=Restart(5), queue=Queue(max=7)
        )
        await factory.dispatch("a", "fail")
        await factory.wait_idle()
        assert factory.count("a") == 1
        await factory.dispatch("a", "ok")
    assert ("ended", "ok") in log


async def test_start_group_that_fails_leaves_no_group(quiet):
    class Third(Acts):
        made = 0

        async def handle_init(self):
            Third.made += 1
            if Third.made == 3:
                raise KeyError("third")

    async with FactoryPool() as factory:
        with pytest.raises(KeyError):
            await factory.start_group("a", Third, pool_size=5)
        assert factory.count_all() == 0
        with pytest.raises(LookupError):
            await factory.dispatch("a", 1)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"pool_size": 0}, ValueError),
        ({"mode": "nonsense"}, ValueError),
        ({"poolsize": 2}, TypeError),
        ({"dynamic": True}, TypeError),
    ],
)
async def test_wrong_options_of_a_group_are_refused(options, kind):
    async with FactoryPool() as factory:
        with pytest.raises(kind):
            await factory.start_group("a", Acts, **options)
        assert factory.count_all() == 0


async def test_configure_group_changes_mode_size_and_restart(caplog):
    async with FactoryPool() as factory:
        refs = await factory.start_group("a", Acts, pool_size=2)

        class Last:
            def pick(self, key, now, loads):
                return len(loads) - 1

        log = []
        await factory.configure_group(
            "a", mode=Last(), restart=Restart(9), pool_size=3, args={"log": log}
        )
        assert factory.count("a") == 3
        for job in range(4):
            await factory.dispatch("a", job)
        await factory.dispatch("a", "fail")
        await factory.wait_idle()
        assert [job for what, job in log if what == "ended"] == [0, 1, 2, 3]
        assert factory.count("a") == 3
        await factory.configure_group("a", pool_size=1, mode="random")
        assert factory.children("a") == refs[:1]
        await factory.dispatch("a", 4)


async def test_what_an_open_group_cannot_change_is_refused_and_nothing_is_changed():
    async with FactoryPool() as factory:
        await factory.start_child("a", Acts)
        with pytest.raises(TypeError, match="cannot change 'queue'"):
            await factory.configure_group("a", queue=Queue(max=1))
        with pytest.raises(TypeError, match="start_group"):
            await factory.configure_group("a", pool_size=2)
        with pytest.raises(ValueError, match="share one inbox"):
            await factory.configure_group("a", grace=1, mode="available")
        assert factory._groups["a"].grace == math.inf


async def test_a_group_of_start_child_goes_with_its_last_child(quiet):
    async with FactoryPool() as factory:
        tasks = trio.lowlevel.current_statistics().tasks_living
        ref = await factory.start_child("a", Acts)
        await ref.call("exit")
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        with pytest.raises(LookupError):
            await factory.dispatch("a", "ok")


# -- life


async def test_use_outside_of_the_block_is_closed_and_reads_are_not():
    factory = FactoryPool()
    for _ in range(2):
        for act in (
            factory.start_child("a", Acts),
            factory.start_group("a", Acts),
            factory.dispatch("a", 1),
            factory.broadcast("a", 1),
            factory.terminate_group("a"),
        ):
            with pytest.raises(Closed):
                await act
        with pytest.raises(Closed):
            factory.children()
        assert factory.count("a") == factory.count_all() == 0
        assert accounts(factory).submitted == 0
        assert factory.report.abandoned == ()
        factory.close()
        factory.cancel()
        await factory.wait_idle()
        await factory.wait_closed()
        async with factory:
            pass


async def test_leaving_waits_for_jobs_that_send_jobs_to_other_groups(autojump_clock):
    async def pass_on(worker):
        await trio.sleep(1)
        await worker.pool.dispatch("b", ("nap", 1))

    async with FactoryPool() as factory:
        await factory.start_child("b", Acts)
        one = await factory.start_child("a", Acts)
        await one.cast(("do", pass_on))
    assert factory.report.completed == 2
    assert trio.current_time() == pytest.approx(2)


async def test_once_closed_what_children_send_to_other_groups_is_abandoned(autojump_clock):
    async def pass_on(worker):
        await trio.sleep(1)
        await worker.pool.cast(other, "late")

    async with FactoryPool() as factory:
        other = await factory.start_child("b", Acts)
        await other.cast(("nap", 5))
        one = await factory.start_child("a", Acts)
        await one.cast(("do", pass_on))
        await wait_all_tasks_blocked()
        factory.close()
        with pytest.raises(Closed):
            await factory.cast(other, "outside")
    assert factory.report.completed == 2
    assert factory.report.abandoned == ("late",)


async def test_pause_is_for_all_groups_those_started_later_too(autojump_clock):
    async with FactoryPool() as factory:
        one = await factory.start_child("a", Acts)
        factory.pause()
        two = await factory.start_child("b", Acts)
        await one.cast("ok")
        await two.cast("ok")
        await trio.sleep(5)
        assert accounts(factory).waiting == 2
        factory.resume()
        await factory.wait_idle()
        assert accounts(factory).completed == 2


async def test_a_declared_factory_checks_its_options_and_hooks():
    with pytest.raises(TypeError, match="handle_down must be an async def"):
        type("Wrong", (FactoryPool,), {"handle_down": lambda self, ref, reason: None})
    with pytest.raises(ValueError, match="mode must be"):
        type("Wrong", (FactoryPool,), {"mode": "nonsense"})
    with pytest.raises(TypeError, match="no option 'graze'"):
        FactoryPool(graze=1)


async def test_a_thousand_groups_come_and_go_without_a_leak(quiet, autojump_clock):
    async with FactoryPool() as factory:
        tasks = trio.lowlevel.current_statistics().tasks_living
        kept = []
        for number in range(1000):
            ref = await factory.start_child(number, Acts)
            kept += [weakref.ref(ref.seat.worker), weakref.ref(factory._groups[number])]
            await ref.cast("exit" if number % 4 == 0 else "fail" if number % 4 == 1 else "ok")
            if number % 4 == 2:
                await factory.terminate(ref)
            elif number % 4 == 3:
                await factory.terminate_group(number)
        del ref
        await factory.wait_idle()
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert factory.count_all() == len(factory._groups) == len(factory.family.members) == 0
        gc.collect()
        assert sum(ref() is not None for ref in kept) <= 2
        assert accounts(factory).submitted == 1000


@pytest.mark.slow
async def test_cancelled_at_any_step_every_job_is_accounted_for():
    for step in itertools.count(1):
        factory = Downs(grace=5)
        log = []
        sent = 0
        before = trio.lowlevel.current_statistics().tasks_living
        with CancelAt(step) as cut:
            async with factory:
                refs = []
                for group in ("a", "a", "b"):
                    refs.append(await factory.start_child(group, Acts, log=log))  # noqa: PERF401
                for number, ref in enumerate(refs):
                    await factory.cast(ref, number)
                    sent += 1
                await factory.broadcast("a", "all")
                sent += 2
                await factory.terminate(refs[0])
                await factory.terminate_group("b")
                await refs[1].call("exit")
                sent += 1
        stats = accounts(factory)
        assert sent <= stats.submitted <= sent + 2
        assert stats.running == stats.waiting == 0
        ended = [job for what, job in log if what == "ended"]
        assert stats.completed == len(ended)
        assert len(set(factory.downs)) == len(factory.downs)
        assert trio.lowlevel.current_statistics().tasks_living == before
        if not cut.reached:
            assert len(factory.downs) == 3
            assert step > 20
            break


STEPS = st.one_of(
    st.tuples(st.just("start"), st.integers(0, 2)),
    st.tuples(st.just("start group"), st.integers(0, 2)),
    st.tuples(st.just("terminate"), st.integers(0, 9)),
    st.tuples(st.just("terminate group"), st.integers(0, 2)),
    st.tuples(
        st.just("cast"),
        st.integers(0, 9),
        st.sampled_from(["ok", "fail", "exit", ("nap", 1), ("nap", 9)]),
    ),
    st.tuples(st.just("call"), st.integers(0, 9)),
    st.tuples(st.just("dispatch"), st.integers(0, 2)),
    st.tuples(st.just("sleep"), st.sampled_from([0, 0.5, 2, 20])),
)


@settings(max_examples=100)
@given(
    mode=st.sampled_from(["temporary", "transient", "permanent"]),
    end=st.sampled_from(["leave", "close", "cancel"]),
    steps=st.lists(STEPS, max_size=30),
)
def test_counts_and_accounts_hold_whatever_happens(mode, end, steps):  # noqa: C901, PLR0915
    sent = 0
    born = []

    async def main():  # noqa: C901, PLR0915
        nonlocal sent

        async def ask(ref):
            nonlocal sent
            try:
                await factory.call(ref, "ok")
            except Closed:
                return
            except JobError:
                pass
            sent += 1

        def check(unsure=0):
            stats = accounts(factory)
            assert sent <= stats.submitted <= sent + unsure
            alive = [ref for ref in born if ref.alive]
            assert factory.count_all() == sum(factory.count(group) for group in range(3))
            assert set(factory.children()) <= set(alive)
            assert len(factory.children()) == factory.count_all()

        factory = Downs(restart=Restart(10**6, mode=mode), grace=3)
        calls = 0
        async with trio.open_nursery() as nursery, factory:
            for step, *args in steps:
                try:
                    if step == "start":
                        born.append(await factory.start_child(args[0], Acts))
                    elif step == "start group":
                        born.extend(await factory.start_group(args[0], Acts, pool_size=2))
                    elif step == "terminate" and born:
                        nursery.start_soon(late(factory.terminate), born[args[0] % len(born)])
                    elif step == "terminate group":
                        nursery.start_soon(late(factory.terminate_group), args[0])
                    elif step == "cast" and born:
                        await factory.cast(born[args[0] % len(born)], args[1])
                        sent += 1
                    elif step == "call" and born:
                        calls += 1
                        nursery.start_soon(ask, born[args[0] % len(born)])
                    elif step == "dispatch":
                        await factory.dispatch(args[0], "ok")
                        sent += 1
                    elif step == "sleep":
                        await trio.sleep(args[0])
                except (LookupError, Closed, DuplicateName):
                    pass
                check(calls)
            if end != "leave":
                getattr(factory, end)()
        stats = accounts(factory)
        assert stats.submitted == sent
        assert stats.running == stats.waiting == 0
        assert len(factory.report.abandoned) == stats.abandoned
        told = collections.Counter(ref for ref, _ in factory.downs)
        assert set(told.values()) <= {1}
        assert set(told) <= set(born)

    logging.getLogger("poolder_trio.factory_pool").disabled = True
    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    finally:
        logging.getLogger("poolder_trio.factory_pool").disabled = False


def late(act):
    async def do(target):
        try:
            await act(target)
        except (LookupError, Closed):
            pass

    return do
