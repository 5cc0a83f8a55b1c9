"""What was handled, failed or cut is gone when its owner has let go: no collector has to run."""

import functools
import gc
import logging
import sys
import weakref
from contextlib import suppress
from contextvars import ContextVar

import pytest
import trio
import trio.testing

from poolder_trio import (
    AsyncPool,
    Batcher,
    GenPool,
    JobError,
    JobPool,
    Pool,
    Restart,
    Retry,
    Tasker,
    Worker,
)

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

VARIABLE = ContextVar("VARIABLE")
FORGIVING = Restart(mode="temporary")


class Thing:
    """Something that is to go."""


@pytest.fixture
def things(monkeypatch):
    """Weak references to what is to go; nothing but its owners lets it go."""
    monkeypatch.setattr(logging, "raiseExceptions", True)
    logging.disable()  # a test's own log keeps errors
    gc.collect()
    gc.disable()
    yield []
    gc.enable()
    logging.disable(logging.NOTSET)


class Case:
    """Makes messages, handles them as their second part says, and knows what has to go."""

    def __init__(self, things):
        self.things = things

    def note(self, thing):
        self.things.append(weakref.ref(thing))
        return thing

    def message(self, kind):
        return self.note(Thing()), kind

    async def handle(self, message):
        here = self.note(Thing())
        if message[1] == "fails":
            raise ValueError
        await trio.sleep(100 if message[1] == "is cut" else 0)
        return here is None

    async def handle_batch(self, batch):
        here = self.note(Thing())
        if "by item" in [kind for _, kind in batch]:
            return [ValueError() for _ in batch]
        return [await self.handle(each) for each in batch] if here else None

    def worker(self):
        handle = self.handle

        class Handling(Worker):
            async def handle_job(self, job):
                return await handle(job)

        return Handling

    def server(self, **options):
        handle = self.handle

        class Serving(GenPool):
            async def init(self):
                return 0

            async def handle_call(self, request, state):
                return await handle(request), state + 1

            async def handle_cast(self, request, state):
                await handle(request)
                return state + 1

        return Serving(**options)


COMPONENTS = {
    "Pool": lambda case: Pool(case.worker(), restart=FORGIVING),
    "Pool, available": lambda case: Pool(case.worker(), mode="available", restart=FORGIVING),
    "Pool, timed": lambda case: Pool(case.worker(), job_timeout=50, restart=FORGIVING),
    "GenPool, shared": lambda case: case.server(shared_state=True),
    "GenPool, own": lambda case: case.server(shared_state=False),
    "Tasker": lambda _: Tasker(restart=FORGIVING),
    "Tasker, keyed": lambda _: Tasker(limit_per_key=1, restart=FORGIVING),
    "Tasker, timed": lambda _: Tasker(job_timeout=50, restart=FORGIVING),
    "Tasker, retry": lambda _: Tasker(retry=Retry(attempts=3, backoff=1), restart=FORGIVING),
    "Tasker, hibernating": lambda _: Tasker(hibernate_after=5, restart=FORGIVING),
    "JobPool": lambda _: JobPool("none stays", restart=FORGIVING),
    "Batcher": lambda case: Batcher(case.handle_batch, timeout=1, restart=FORGIVING),
    "Batcher, retry": lambda case: Batcher(
        case.handle_batch, timeout=1, retry=Retry(attempts=3, backoff=1), restart=FORGIVING
    ),
}


async def called(case, component, kind):
    """Call, and let go."""
    fn = (case.handle,) if isinstance(component, (Tasker, JobPool)) else ()
    with suppress(ValueError, JobError):
        await component.call(*fn, case.message(kind))


async def sent(case, component, kind):
    """Send what nobody waits for."""
    if isinstance(component, Batcher):
        await component.push(case.message(kind))
    elif isinstance(component, (Tasker, JobPool)):
        await component.execute(case.handle, case.message(kind))
    else:
        await component.cast(case.message(kind))


async def waited_for(case, component, kind):
    """Submit, wait, look, and let go: of a job as well as of the frame that has it."""
    if not isinstance(component, (Tasker, JobPool)):
        return
    job = await component.submit(case.handle, case.message(kind))
    for _ in range(2):
        with suppress(ValueError, JobError):
            await job.wait()
    with suppress(ValueError, JobError):
        job.result()


@pytest.mark.parametrize("form", [called, sent, waited_for])
@pytest.mark.parametrize("kind", ["is done", "fails", "is cut", "by item"])
@pytest.mark.parametrize("make", COMPONENTS.values(), ids=COMPONENTS.keys())
async def test_nothing_stays(make, kind, form, things, autojump_clock):
    case = Case(things)
    with suppress(ExceptionGroup):  # of a server whose cast fails
        async with make(case) as component:
            for _ in range(3):
                if kind == "is cut":
                    with trio.move_on_after(10):
                        await form(case, component, kind)
                else:
                    await form(case, component, kind)
            await trio.sleep(500)
            assert not [thing for thing in things if thing() is not None]


@pytest.mark.parametrize("make", [Tasker, functools.partial(JobPool, "idle")])
async def test_an_idle_component_keeps_no_function_and_no_context(make, things, autojump_clock):
    class Bound:
        async def method(self):
            await trio.sleep(1)

    async def takes(thing):
        await trio.sleep(1)

    async def use(component):
        bound = Bound()
        VARIABLE.set(note(Thing()))
        things.append(weakref.ref(bound))
        await component.call(bound.method)
        await component.submit(functools.partial(takes, note(Thing())))
        await component.execute(functools.partial(takes, note(Thing())))
        VARIABLE.set(None)

    note = Case(things).note
    async with make() as component:
        await use(component)
        await component.wait_idle()
        await trio.testing.wait_all_tasks_blocked()
        assert not [thing for thing in things if thing() is not None]


async def test_a_broadcast_that_fails_leaves_nothing(things, autojump_clock):
    case = Case(things)
    async with Pool(case.worker()) as pool:
        with suppress(ExceptionGroup):
            await pool.broadcast_call(case.message("fails"))
        await trio.testing.wait_all_tasks_blocked()
        assert not [thing for thing in things if thing() is not None]


@pytest.mark.parametrize("kind", ["is done", "fails"])
async def test_a_completion_that_was_looked_at_leaves_nothing(kind, things, autojump_clock):
    case = Case(things)

    async def look(completion):
        with suppress(ValueError):
            assert completion.value is not None

    async with AsyncPool(case.handle) as pool:
        for _ in range(3):
            await pool.add_task(case.message(kind))
            await look(await pool.results.receive())
        await trio.testing.wait_all_tasks_blocked()
        assert not [thing for thing in things if thing() is not None]
