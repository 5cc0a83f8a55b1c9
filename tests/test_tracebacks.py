"""What is raised where somebody looks at a failure, and what that leaves behind."""

import contextlib
import gc
import sys
import traceback
import weakref
from contextvars import Context

import pytest
import trio
import trio.testing

from poolder_trio import (
    AsyncPool,
    Batcher,
    Instrument,
    JobPool,
    Pool,
    Scheduler,
    Tasker,
    Worker,
    as_completed,
    await_many,
)
from poolder_trio.kernel.shared_state import SharedState

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


class Thing:
    """Stands for what somebody has in a variable."""


class Needing(ValueError):
    """It can't be copied."""

    def __init__(self, *, code):
        super().__init__(code)


async def fail(error):
    raise error


async def fail_anew():
    raise ValueError


async def fail_anew_without_a_copy():
    raise Needing(code=1)


def frames(error):
    return len(traceback.extract_tb(error.__traceback__))


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def by_result(job):
    job.result()


async def by_wait(job):
    await job.wait()


async def by_await_many(job):
    await await_many([job])


async def by_as_completed(job):
    async with as_completed([job]) as ended:
        async for each in ended:
            each.result()


async def look(how, source):
    """Look at a failure with something in a variable; return that, and the traceback's length."""
    thing = Thing()
    try:
        await how(source)
    except (ValueError, ExceptionGroup) as error:
        return weakref.ref(thing), frames(error)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("how", [by_result, by_wait, by_await_many, by_as_completed])
async def test_each_look_at_a_job_is_as_the_first(how, no_collector, autojump_clock):
    async with Tasker() as tasker:
        job = await tasker.submit(fail_anew)
        await job.wait_done()
        looks = [await look(how, job) for _ in range(1000)]
    assert len({length for _, length in looks}) == 1
    assert not [1 for thing, _ in looks if thing() is not None]


async def test_each_look_at_an_error_that_cannot_be_copied_is_as_the_first(
    no_collector, autojump_clock
):
    async with Tasker() as tasker:
        job = await tasker.submit(fail_anew_without_a_copy)
        looks = [await look(by_wait, job) for _ in range(1000)]
    assert len({length for _, length in looks}) == 1
    assert len([1 for thing, _ in looks if thing() is not None]) == 1


async def test_each_look_at_a_completion_is_as_the_first(no_collector, autojump_clock):
    async def value(completion):
        return completion.value

    async with AsyncPool(fail) as pool:
        await pool.add_task(ValueError())
        completion = await pool.results.receive()
        looks = [await look(value, completion) for _ in range(1000)]
    assert len({length for _, length in looks}) == 1
    assert not [1 for thing, _ in looks if thing() is not None]


async def test_many_who_wait_for_one_job_get_errors_of_their_own(autojump_clock):
    got = []

    async def wait(job):
        try:
            await job.wait()
        except ValueError as error:
            got.append(error)

    async def fail_later():
        await trio.sleep(1)
        raise ValueError

    async with Tasker() as tasker, trio.open_nursery() as nursery:
        job = await tasker.submit(fail_later)
        for _ in range(100):
            nursery.start_soon(wait, job)
    assert len(set(map(id, got))) == 100
    assert len(set(map(frames, got))) == 1


def by_batch(error):
    async def handle(batch):
        await fail(error)

    batcher = Batcher(handle, limit=100)
    return batcher, batcher.call


@contextlib.asynccontextmanager
async def changes_of(state):
    """The changes that a store under way keeps waiting fail by the next one, all together."""
    await state.load()
    yield


def by_store(error):
    class Backend:
        version = 1

        async def load(self):
            await trio.lowlevel.checkpoint()
            return 0, self.version

        async def store(self, state, version):
            await trio.sleep(1)
            self.version += 1
            raise error

    state = SharedState(Backend(), "state", alone=True, bounded=True)

    async def call(n):
        await state.confirm(state.propose(state.seen(), n))

    return changes_of(state), call


@pytest.mark.parametrize("error", [ValueError("no"), Needing(code=1)], ids=repr)
@pytest.mark.parametrize("by", [by_batch, by_store])
async def test_a_failure_of_many_callers_makes_a_short_report(error, by, autojump_clock):
    got = []

    async def call(n):
        try:
            await one(n)
        except ValueError as caught:
            got.append(caught)

    component, one = by(error)
    async with component, trio.open_nursery() as nursery:
        for n in range(100):
            nursery.start_soon(call, n)
    assert len(got) == 100
    assert sum(len(traceback.format_exception(each)) for each in got) < 100 * 40
    if type(error) is ValueError:
        assert len(set(map(id, got))) == 100
        assert max(map(frames, got)) == min(map(frames, got))


async def test_the_one_caller_of_a_batch_gets_the_error_itself(autojump_clock):
    async def handle(batch):
        raise error

    error = ValueError("no")
    async with Batcher(handle, limit=1) as batcher:
        with pytest.raises(ValueError, match="no") as caught:
            await batcher.call(1)
    assert caught.value is error


class Watching(Instrument):
    """Awaits each job that it is told of, with tasks of its own."""

    def __init__(self, nursery, hook):
        self.nursery = nursery
        self.seen = []
        setattr(self, hook, self.watch)

    def watch(self, component, job, *_):
        for _ in range(3):
            # In the worker's context it would be a part of the handler, which it would wait for.
            Context().run(self.nursery.start_soon, self.wait, job)

    async def wait(self, job):
        await job.wait_done()
        self.seen.append(job.status)


class Sleeping(Worker):
    async def handle_job(self, seconds):
        await trio.sleep(seconds)
        return seconds


@pytest.mark.parametrize("hook", ["job_submitted", "job_started"])
@pytest.mark.parametrize("cancelled", [False, True], ids=["", "cancelled"])
async def test_those_who_watch_a_job_leave_its_caller_alone(hook, cancelled, autojump_clock):
    async def sleep_all(batch):
        await trio.sleep(max(batch))
        return batch

    async with trio.open_nursery() as nursery:
        components = [
            Pool(Sleeping, instruments=(watching := Watching(nursery, hook),)),
            Tasker(instruments=(watching,)),
            JobPool("watched", instruments=(watching,)),
            Batcher(sleep_all, limit=1, instruments=(watching,)),
        ]
        for component in components:
            watching.seen.clear()
            async with component:
                sleep = (trio.sleep,) if isinstance(component, (Tasker, JobPool)) else ()
                with trio.fail_after(100), trio.move_on_after(2 if cancelled else 50):
                    await component.call(*sleep, 5)
                    assert not cancelled
            await trio.testing.wait_all_tasks_blocked()
            assert len(watching.seen) == 3


async def test_those_who_watch_a_map_leave_it_alone(autojump_clock):
    async with trio.open_nursery() as nursery:
        watching = Watching(nursery, "job_started")
        async with Tasker(instruments=(watching,)) as tasker:
            with trio.fail_after(100):
                async with tasker.map(trio.sleep, [1, 2, 3]) as results:
                    assert [each async for each in results] == [None] * 3


@pytest.mark.parametrize("hook", ["job_submitted", "job_started"])
@pytest.mark.parametrize("overlap", ["queue", "skip", "replace"])
async def test_those_who_watch_a_run_leave_its_schedule_alone(hook, overlap, autojump_clock):
    runs = []

    async def run():
        runs.append(trio.current_time())
        await trio.sleep(15)

    async with trio.open_nursery() as nursery:
        watching = Watching(nursery, hook)
        scheduler = Scheduler(instruments=(watching,), overlap=overlap)
        async with scheduler:
            scheduler.schedule("sleeps", 10.0, run)
            await trio.sleep(200)
            scheduler.unschedule_all()
        nursery.cancel_scope.cancel()
    assert len(runs) >= 9


async def test_who_watches_does_not_change_who_is_told_of_a_failure(autojump_clock):
    async def fail_later():
        await trio.sleep(1)
        raise ValueError("no")

    async with trio.open_nursery() as nursery:
        watching = Watching(nursery, "job_started")
        async with Tasker(instruments=(watching,)) as tasker:
            with pytest.raises(ValueError, match="no"), trio.fail_after(10):
                await tasker.call(fail_later)
            with contextlib.suppress(ValueError):
                await tasker.call(fail_later)
