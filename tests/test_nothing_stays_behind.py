"""What was withdrawn, cancelled, unscheduled or left is gone as well, with no collector."""

import gc
import itertools
import weakref
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime, time, timedelta, timezone
from functools import partial

import pytest
import trio
import trio.testing

from poolder_trio import At, Exit, JobError, JobPool, Rate, Retry, Scheduler, Tasker

NOON = datetime(2024, 3, 1, 12, tzinfo=timezone.utc)
VARIABLE = ContextVar("VARIABLE", default=None)


class Thing:
    """Something that is to go."""


@pytest.fixture
def things():
    gc.collect()
    gc.disable()
    yield []
    gc.enable()


@pytest.fixture
def note(things):
    def note(thing=None):
        thing = Thing() if thing is None else thing
        things.append(weakref.ref(thing))
        return thing

    return note


def alive(things):
    assert things
    return [thing() for thing in things if thing() is not None]


# -- maps


def bound(note, fails_at=None):
    class Bound:
        async def method(self, item):
            local = note()
            if item[0] == fails_at:
                raise ValueError(item)
            await trio.sleep(1 + item[0] % 3)
            return note(), local is None

    return note(Bound()).method


MAPS = {
    "plain": {},
    "ordered": {"ordered": True},
    "outcomes": {"outcomes": True},
}


ENDS = ["all", "early", "raises", "cancelled", "fails", "inputs fail"]


class Inputs:
    """Numbers with a thing each; from the fifth on there are none if they fail."""

    def __init__(self, note, end):
        self._note = note
        self._fails = end == "inputs fail"

    def __iter__(self):
        for number in range(9):
            if self._fails and number == 5:
                raise ValueError(number)
            yield number, self._note()


async def one_by_one(inputs):
    for item in inputs:
        await trio.lowlevel.checkpoint()
        yield item


async def use_a_map(tasker, fn, inputs, end, options):
    """Enter a map, and end it somehow."""
    count = 0
    with suppress(Exception), trio.move_on_after(3 if end == "cancelled" else 1000):
        async with tasker.map(fn, inputs, **options) as results:
            async for _ in results:
                count += 1
                if end == "early" and count == 3:
                    break
                if end == "raises" and count == 3:
                    raise ValueError


@pytest.mark.parametrize("form", [iter, one_by_one])
@pytest.mark.parametrize("case", [*itertools.product(ENDS, (False, True), MAPS.values())])
async def test_of_a_map_that_was_left_nothing_stays(case, form, things, note, autojump_clock):
    end, keyed, options = case
    limits = {"limit_per_key": 1} if keyed else {}
    if keyed:
        options = {**options, "key": lambda item: item[0] % 2}

    async def use(tasker):
        VARIABLE.set(note())
        fn = bound(note, fails_at=4 if end == "fails" else None)
        await use_a_map(tasker, fn, form(Inputs(note, end)), end, options)

    async with Tasker(limit=3, **limits) as tasker:
        with trio.fail_after(2000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(use, tasker)
            await tasker.wait_idle()
            await trio.testing.wait_all_tasks_blocked()
        assert len(things) > 5
        assert not alive(things)


async def test_a_map_that_was_never_entered_is_gone(things, note, autojump_clock):
    async with Tasker() as tasker:
        tasker.map(bound(note), [note()])
        assert not alive(things)


async def test_results_that_were_not_received_are_gone_while_the_channel_is_held(
    things, note, autojump_clock
):
    async with Tasker() as tasker:
        async with tasker.map(bound(note), [(number, note()) for number in range(3)]) as results:
            await trio.sleep(10)
        await trio.testing.wait_all_tasks_blocked()
        assert not alive(things)
        with pytest.raises(trio.ClosedResourceError):
            await results.receive()


# -- timers, schedules and what is withdrawn during a pause


async def function(*args):
    await trio.sleep(1)


@pytest.mark.parametrize("way", ["after", "at", "many after"])
async def test_a_timer_that_was_cancelled_keeps_nothing(way, things, note, autojump_clock):
    async def use(pool):
        VARIABLE.set(note())
        if way == "after":
            timer = await pool.perform_after(100, bound(note), note())
        elif way == "at":
            timer = await pool.perform_at(time(3), bound(note), note())
        else:
            timer = await pool.perform_many_after(100, bound(note), [note(), note()])
        await timer.cancel()
        assert timer.calls
        assert "cancelled" in repr(timer)

    async with JobPool("lean") as pool, trio.open_nursery() as nursery:
        await pool.perform_after(1, function)
        nursery.start_soon(use, pool)
        await trio.testing.wait_all_tasks_blocked()
        assert not alive(things)


@pytest.mark.parametrize("way", ["unscheduled", "exits", "once", "replaced", "moved first"])
@pytest.mark.parametrize("trigger", [100.0, "0 3 * * *"])
async def test_a_job_that_is_scheduled_no_more_keeps_nothing(
    way, trigger, things, note, autojump_clock
):
    class Bound:
        async def method(self, *_):
            return Exit() if way == "exits" else None

    async def use(scheduler):
        VARIABLE.set(note())
        when = At(scheduler_now() + timedelta(seconds=5)) if way == "once" else trigger
        scheduler.schedule("other", when, note(Bound()).method, note())
        VARIABLE.set(None)
        if way == "moved first":
            scheduler.schedule("other", 50.0)
        if way == "replaced":
            scheduler.schedule("other", 77.0, function)
        elif way not in ("exits", "once"):
            scheduler.unschedule("other")

    def scheduler_now():
        return NOON + timedelta(seconds=trio.current_time() - began)

    began = trio.current_time()
    async with Scheduler(clock=scheduler_now) as scheduler:
        scheduler.schedule("keeps the agenda", 1000.0, function)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, scheduler)
        await trio.sleep(100_000 if way in ("exits", "once") else 0)
        await trio.testing.wait_all_tasks_blocked()
        assert not alive(things)


@pytest.mark.parametrize("what", ["paused", "rate", "backs off"])
@pytest.mark.parametrize("make", [Tasker, partial(JobPool, "lean")], ids=["Tasker", "JobPool"])
async def test_a_function_that_was_withdrawn_before_it_ran_is_gone(
    make, what, things, note, autojump_clock
):
    options = {}
    if what == "rate":
        options["rate"] = Rate(1, per=100)
    elif what == "backs off":
        options["retry"] = Retry(attempts=3, backoff=100)

    async def use(component):
        VARIABLE.set(note())
        fn = bound(note, fails_at=0)
        for submit in (component.submit, component.submit):
            job = await submit(fn, (0, note()))
            await trio.sleep(1)
            job.cancel()
            with suppress(JobError):
                await job.wait()
        with trio.move_on_after(1):
            await component.call(fn, (0, note()))

    async with make(**options) as component:
        await component.call(function)
        if what == "paused":
            component.pause()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, component)
        await component.wait_idle()
        await trio.testing.wait_all_tasks_blocked()
        assert not alive(things)
        component.resume()
