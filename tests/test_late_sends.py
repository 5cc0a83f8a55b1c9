"""What comes late, to a component that closes and has not ended: refused, or in its report."""

import datetime as dt
import inspect

import pytest
import trio

from poolder_trio import (
    Application,
    AsyncPool,
    Batcher,
    Broker,
    Closed,
    FactoryPool,
    GenPool,
    JobAbandoned,
    JobPool,
    Pool,
    Queue,
    Scheduler,
    Tasker,
    Worker,
    named,
)

NOON = dt.time(12)
ran = []


async def late(*_):
    ran.append("late")


class Doing(Worker):
    async def handle_job(self, job):
        await job()


class Serving(GenPool):
    async def handle_call(self, request, state):
        await request()
        return None, state

    async def handle_cast(self, request, state):
        await request()
        return state

    async def handle_info(self, message, state):
        await message()
        return state


async def do_all(batch):
    for each in batch:
        await each()
    return [None] * len(batch)


async def do(job):
    await job()


async def begin(component, job):
    """Let a component do ``job``."""
    if isinstance(component, FactoryPool):
        component.ref = await component.start_child("g", Doing)
        await component.start_child("g", Doing)
        await component.cast(component.ref, job)
    elif isinstance(component, Batcher):
        await component.push(job)
    elif isinstance(component, AsyncPool):
        await component.add_task(job)
    elif isinstance(component, Scheduler):
        component.schedule("late", 1000, late)
        component.schedule("job", 1000, job)
        component.fire("job")
    elif isinstance(component, Tasker):
        await component.execute(job)
    elif isinstance(component, Application):
        await begin(component["child"], job)
    else:
        await component.cast(job)


POOL = {
    "cast": lambda it: it.cast(late),
    "cast_nowait": lambda it: it.cast_nowait(late),
    "cast_many": lambda it: it.cast_many([late]),
    "call": lambda it: it.call(late),
}
SEATS = {
    "broadcast": lambda it: it.broadcast(late),
    "[i].cast": lambda it: it[1].cast(late),
    "[i].cast_nowait": lambda it: it[1].cast_nowait(late),
    "[i].call": lambda it: it[1].call(late),
}
TASKER = {
    "execute": lambda it: it.execute(late),
    "execute_nowait": lambda it: it.execute_nowait(late),
    "submit": lambda it: it.submit(late),
    "submit_nowait": lambda it: it.submit_nowait(late),
    "call": lambda it: it.call(late),
}
JOBS = {
    "perform": lambda it: it.perform(late),
    "perform_nowait": lambda it: it.perform_nowait(late),
    "async_perform": lambda it: it.async_perform(late),
    "async_perform_nowait": lambda it: it.async_perform_nowait(late),
    "perform_many": lambda it: it.perform_many(late, [1]),
    "async_perform_many": lambda it: it.async_perform_many(late, [1]),
    "perform_after": lambda it: it.perform_after(5, late),
    "perform_after 0": lambda it: it.perform_after(0, late),
    "perform_at": lambda it: it.perform_at(NOON, late),
    "perform_many_after": lambda it: it.perform_many_after(5, late, [1]),
    "perform_many_at": lambda it: it.perform_many_at(NOON, late, [1]),
    "named.perform": lambda _: named.perform("p", late),
    "named.async_perform": lambda _: named.async_perform("p", late),
    "named.perform_many": lambda _: named.perform_many("p", late, [1]),
    "named.async_perform_many": lambda _: named.async_perform_many("p", late, [1]),
    "named.perform_after": lambda _: named.perform_after("p", 5, late),
    "named.perform_at": lambda _: named.perform_at("p", NOON, late),
    "named.perform_many_after": lambda _: named.perform_many_after("p", 5, late, [1]),
    "named.perform_many_at": lambda _: named.perform_many_at("p", NOON, late, [1]),
}
SERVER = {
    "call": lambda it: it.call(late),
    "cast": lambda it: it.cast(late),
    "cast_nowait": lambda it: it.cast_nowait(late),
    "send_info": lambda it: it.send_info(late),
}
WAYS = [
    *(
        (f"Pool {mode}", lambda mode=mode: Pool(Doing, pool_size=2, mode=mode), ways)
        for mode, ways in {
            "round_robin": {**POOL, **SEATS},
            "least_loaded": {**POOL, **SEATS},
            "available": POOL,
        }.items()
    ),
    (
        "Pool phash",
        lambda: Pool(Doing, pool_size=2, mode="phash", key=id),
        {**POOL, **SEATS, "cast, key": lambda it: it.cast(late, key="k")},
    ),
    (
        "Pool broadcast",
        lambda: Pool(Doing, pool_size=1, mode="broadcast"),
        {name: way for name, way in POOL.items() if name != "call"},
    ),
    ("Pool max=0", lambda: Pool(Doing, pool_size=2, queue=Queue(max=0)), {**POOL, **SEATS}),
    (
        "Pool reject",
        lambda: Pool(Doing, pool_size=2, queue=Queue(max=1, overflow="reject")),
        {**POOL, **SEATS},
    ),
    (
        "FactoryPool",
        FactoryPool,
        {
            "cast": lambda it: it.cast(it.ref, late),
            "call": lambda it: it.call(it.children("g")[1], late),
            "dispatch": lambda it: it.dispatch("g", late),
            "broadcast": lambda it: it.broadcast("g", late),
            "ref.cast": lambda it: it.children("g")[1].cast(late),
            "ref.cast_nowait": lambda it: it.children("g")[1].cast_nowait(late),
        },
    ),
    ("GenPool", Serving, SERVER),
    ("GenPool own states", lambda: Serving(shared_state=False), SERVER),
    ("GenPool wait", lambda: Serving(broker=Broker(overflow="wait", max=1)), SERVER),
    ("Tasker", Tasker, TASKER),
    ("Tasker limit=1", lambda: Tasker(limit=1), TASKER),
    ("JobPool", lambda: JobPool("p"), {**TASKER, **JOBS}),
    (
        "AsyncPool",
        lambda: AsyncPool(do),
        {
            "add_task": lambda it: it.add_task(late),
            "add_task_nowait": lambda it: it.add_task_nowait(late),
        },
    ),
    (
        "Batcher",
        lambda: Batcher(do_all, limit=1),
        {
            "push": lambda it: it.push(late),
            "push_nowait": lambda it: it.push_nowait(late),
            "push_many": lambda it: it.push_many([late]),
            "push_front": lambda it: it.push_front(late),
            "call": lambda it: it.call(late),
        },
    ),
    ("Scheduler", Scheduler, {"fire": lambda it: it.fire("late")}),
]
CASES = [
    pytest.param(make, way, id=f"{title} {name}")
    for title, make, ways in WAYS
    for name, way in ways.items()
]
#: In an Application, which closes its children.
CHILDREN = {
    "Pool": (lambda: Pool(Doing, name="child"), lambda it: it.cast(late)),
    "JobPool": (lambda: JobPool("child"), lambda it: it.perform_after(5, late)),
    "Batcher": (lambda: Batcher(do_all, name="child", limit=1), lambda it: it.push(late)),
    "GenPool": (lambda: Serving(name="child"), lambda it: it.cast(late)),
    "AsyncPool": (lambda: AsyncPool(do, name="child"), lambda it: it.add_task(late)),
    "Scheduler": (lambda: Scheduler(name="child"), lambda it: it.fire("late")),
}


@pytest.fixture(autouse=True)
def _nothing_ran():
    ran.clear()


async def send(sent):
    return await sent if inspect.isawaitable(sent) else sent


async def closing(component, then, *, close=None):
    """Close ``component`` while it does a job that ends when ``then`` has returned.

    ``then`` is called by that job, or by who closes.
    """
    begun, over = trio.Event(), trio.Event()

    async def job():
        begun.set()
        await over.wait()
        if then.inside:
            await then()

    with trio.fail_after(2000):
        async with component:
            await begin(component, job)
            await begun.wait()
            (close or component.close)()
            await trio.testing.wait_all_tasks_blocked()
            if not then.inside:
                await then()
            over.set()


class Then:
    """A send, by a stranger or from inside, and what came of it."""

    def __init__(self, component, way, *, inside):
        self.component, self.way, self.inside = component, way, inside
        self.raised = None

    async def __call__(self):
        before = self.component.statistics().submitted
        try:
            await send(self.way(self.component))
        except (Closed, JobAbandoned, RuntimeError) as error:
            self.raised = error
        self.submitted = self.component.statistics().submitted - before


@pytest.mark.parametrize(("make", "way"), CASES)
async def test_a_strangers_is_refused_by_whoever_closes(make, way, autojump_clock):
    then = Then(make(), way, inside=False)
    await closing(then.component, then)
    assert isinstance(then.raised, Closed), repr(then.raised)
    assert then.submitted == 0
    assert then.component.report.abandoned == ()
    assert ran == []


@pytest.mark.parametrize(("make", "way"), CASES)
async def test_that_of_a_handler_is_abandoned_and_told(make, way, autojump_clock):
    then = Then(make(), way, inside=True)
    await closing(then.component, then)
    if isinstance(then.raised, RuntimeError):
        assert "wait for that very handler" in str(then.raised)  # as it would, open or not
        return
    assert then.raised is None or isinstance(then.raised, JobAbandoned), repr(then.raised)
    assert then.submitted == len(then.component.report.abandoned) == 1
    assert ran == []


@pytest.mark.parametrize("name", CHILDREN)
@pytest.mark.parametrize("inside", [False, True], ids=["stranger", "handler"])
async def test_so_are_those_to_a_child_of_an_application(name, inside, autojump_clock):
    make, way = CHILDREN[name]
    child = make()
    app = Application(child, default_pool=False)
    then = Then(child, way, inside=inside)
    await closing(app, then)
    assert isinstance(then.raised, Closed) is not inside, repr(then.raised)
    assert then.submitted == len(child.report.abandoned) == inside
    assert ran == []
