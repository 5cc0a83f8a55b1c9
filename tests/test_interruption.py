"""What is no failure, such as Ctrl-C or SystemExit, in a handler: it leaves the block alone."""

import sys
from contextlib import asynccontextmanager

import pytest
import trio

from poolder_trio import (
    AsyncPool,
    Batcher,
    FactoryPool,
    GenPool,
    Instrument,
    JobCancelled,
    JobPool,
    Pool,
    Retry,
    Scheduler,
    Tasker,
    Worker,
)

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


class Halt(BaseException):
    """One of the user's own."""


def leaves(error):
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


async def act(request):
    """Do what is asked; it is what all handlers do."""
    await trio.sleep(1)
    if isinstance(request, type) and issubclass(request, BaseException):
        raise request
    if request == "nursery":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise Halt
    return request


class Acting(Worker):
    async def handle_call(self, request):
        return await act(request)

    async def handle_job(self, job):
        await act(job)


class Server(GenPool):
    async def init(self):
        return 0

    async def handle_call(self, request, state):
        return await act(request), state

    async def handle_cast(self, request, state):
        return state


class Two(Server):
    pool_size = 2


async def all_of(batch):
    return [await act(item) for item in batch]


@asynccontextmanager
async def tasker(limit):
    async with Tasker(limit=limit) as it:
        yield it, lambda request: it.call(act, request), lambda request: it.submit(act, request)


@asynccontextmanager
async def job_pool(limit):
    async with JobPool("email", pool_size=limit) as it:
        yield (
            it,
            None,
            lambda request: it.async_perform(act, request),
        )


@asynccontextmanager
async def pool(limit):
    async with Pool(Acting, pool_size=limit) as it:
        yield it, it.call, None


@asynccontextmanager
async def shared_pool(limit):
    async with Pool(Acting, pool_size=limit, mode="available") as it:
        yield it, it.call, None


@asynccontextmanager
async def batcher(limit):
    async with Batcher(all_of, limit=1, concurrency=limit) as it:
        yield it, it.call, it.submit if hasattr(it, "submit") else None


@asynccontextmanager
async def gen_pool(limit):
    async with (Server if limit == 1 else Two)() as it:
        yield it, it.call, None


@asynccontextmanager
async def gen_pool_of_owners(limit):
    async with (Server if limit == 1 else Two)(shared_state=False) as it:
        yield it, it.call, None


@asynccontextmanager
async def factory(limit):
    async with FactoryPool() as it:
        children = [await it.start_child("group", Acting) for _ in range(limit)]
        yield it, lambda request: it.call(children[-1], request), None


@asynccontextmanager
async def factory_of_functions(limit):
    async def child(inbox):
        async for request in inbox:
            request.reply(await act(request.message))

    async with FactoryPool() as it:
        children = [await it.start_child("group", child) for _ in range(limit)]
        yield it, lambda request: it.call(children[-1], request), None


CALLERS = [tasker, pool, shared_pool, batcher, gen_pool, gen_pool_of_owners, factory]
CALLERS += [factory_of_functions]
RAISED = [(KeyboardInterrupt, KeyboardInterrupt), (SystemExit, SystemExit), (Halt, Halt)]
RAISED += [("nursery", Halt)]


@pytest.mark.parametrize(("request_", "kind"), RAISED, ids=str)
@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("make", CALLERS, ids=lambda each: each.__name__)
async def test_it_leaves_the_block_alone_whoever_waits_in_there(
    make, limit, request_, kind, autojump_clock
):
    told = []

    async def call(fn, what):
        try:
            await fn(what)
        except Exception as error:
            told.append(error)
            raise

    with trio.fail_after(100), pytest.raises(BaseException) as caught:  # noqa: PT011
        async with make(limit) as (it, fn, _):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, fn, "beside")  # and one that waits, in most of them
                nursery.start_soon(call, fn, "behind")
                await fn(request_)
    assert {type(each) for each in leaves(caught.value)} == {kind}
    assert told == []
    stats = it.statistics()
    assert stats.running == stats.waiting == 0


class Pressed(BaseException):
    """Ctrl-C comes while a copy of it is made."""

    def __reduce_ex__(self, _):
        raise KeyboardInterrupt


@pytest.mark.parametrize("make", CALLERS, ids=lambda each: each.__name__)
async def test_an_interrupt_while_it_is_copied_leaves_nobody_waiting(make, autojump_clock):
    told = []

    async def outside(fn):
        try:
            await fn(Pressed)
        except BaseException as error:  # noqa: BLE001  # it is what is looked at
            told.extend(leaves(error))

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            with pytest.raises(BaseException) as caught:  # noqa: PT011
                async with make(1) as (_, fn, _):
                    nursery.start_soon(outside, fn)
                    await trio.sleep_forever()
    assert {type(each) for each in leaves(caught.value)} <= {Pressed, KeyboardInterrupt}
    assert {type(each) for each in told} <= {Pressed, KeyboardInterrupt}
    assert told


class Copied(Exception):
    """Ctrl-C comes while a copy of this failure is made."""

    def __reduce_ex__(self, _):
        raise KeyboardInterrupt


class Submitted(Instrument):
    def __init__(self):
        self.jobs = []

    def job_submitted(self, source, job):
        self.jobs.append(job)


async def map_one(instrument):
    async with (
        Tasker(instruments=[instrument]) as tasker,
        tasker.map(act, [Copied], outcomes=True) as results,
    ):
        return [result async for result in results]


async def add_one(instrument):
    async with AsyncPool(act, instruments=[instrument]) as it:
        await it.add_task(Copied)
    return [completion.outcome async for completion in it.results]


@pytest.mark.parametrize("use", [map_one, add_one])
async def test_a_failure_that_becomes_an_outcome_wakes_all_who_wait_for_it(use, autojump_clock):
    instrument = Submitted()
    woken = []

    async def watch():
        await trio.sleep(0.5)
        await instrument.jobs[0].wait_done()
        woken.append(trio.current_time())

    # Where it breaks, the interrupt leaves the block, and the watcher waits on.
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            (result,) = await use(instrument)
    with pytest.raises(Copied):
        result.unwrap()
    assert woken == [1]


@pytest.mark.parametrize(("request_", "kind"), RAISED, ids=str)
@pytest.mark.parametrize("make", CALLERS, ids=lambda each: each.__name__)
async def test_a_caller_outside_the_block_gets_it(make, request_, kind, autojump_clock):
    told = []

    async def outside(channel):
        fn = await channel.receive()
        try:
            await fn(request_)
        except trio.Cancelled:
            raise
        except BaseException as error:
            told.extend(leaves(error))
            raise

    send, receive = trio.open_memory_channel(0)
    with trio.fail_after(100), pytest.raises(BaseException) as caught:  # noqa: PT011
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outside, receive)
            with trio.CancelScope(shield=True):
                async with make(1) as (_, fn, _):
                    await send.send(fn)
                    await trio.sleep_forever()
    assert {type(each) for each in leaves(caught.value)} == {kind}
    assert [type(each) for each in told] == [kind]


@pytest.mark.parametrize("make", [tasker, job_pool], ids=lambda each: each.__name__)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Halt])
async def test_who_waits_for_a_job_in_the_block_is_cancelled_with_it(make, kind, autojump_clock):
    jobs = []
    with trio.fail_after(100), pytest.raises(BaseException) as caught:  # noqa: PT011
        async with make(1) as (_, _, submit):
            jobs.append(await submit(kind))
            await jobs[0].wait()
    assert {type(each) for each in leaves(caught.value)} == {kind}
    assert jobs[0].status == "failed"
    with pytest.raises(kind):
        jobs[0].result()


async def test_who_awaits_a_job_outside_gets_it(autojump_clock):
    told = []
    jobs = []

    async def outside():
        await trio.sleep(0.5)
        try:
            await jobs[0].wait()
        except SystemExit as error:
            told.append(error.code)

    async def leave():
        await trio.sleep(1)
        sys.exit(3)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outside)
        with trio.fail_after(100), pytest.raises(BaseException) as caught:  # noqa: PT011
            async with Tasker() as tasker:
                jobs.append(await tasker.submit(leave))
                await trio.sleep_forever()
    assert caught.group_contains(SystemExit)
    assert told == [3]


async def test_a_shielded_caller_in_the_block_gets_it(autojump_clock):
    with trio.fail_after(100), pytest.raises(BaseException) as caught:  # noqa: PT011
        async with Tasker() as tasker:
            with trio.CancelScope(shield=True):
                await tasker.call(act, Halt)
    assert {type(each) for each in leaves(caught.value)} == {Halt}


async def test_a_run_of_a_schedule_leaves_alone(autojump_clock):
    async def run():
        raise Halt

    with trio.fail_after(100), pytest.raises(BaseException) as caught:  # noqa: PT011
        async with Scheduler(jobs={}) as scheduler:
            scheduler.schedule("prune", 5, run)
            await trio.sleep_forever()
    assert {type(each) for each in leaves(caught.value)} == {Halt}


async def test_a_task_of_an_async_pool_leaves_alone(autojump_clock):
    with trio.fail_after(100), pytest.raises(BaseException) as caught:  # noqa: PT011
        async with AsyncPool(act, max_workers=1) as it:
            await it.add_task(Halt)
            await it.results.receive()
    assert {type(each) for each in leaves(caught.value)} == {Halt}


class Described:
    """A message whose repr is interrupted."""

    def __init__(self, kind):
        self.kind = kind

    def __repr__(self):
        raise self.kind


async def fail(_):
    await trio.sleep(1)
    raise ValueError


class Failing(Worker):
    async def handle_job(self, job):
        await fail(job)


class Cleaning(Worker):
    async def handle_job(self, job):
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError


class FailingServer(Server):
    async def handle_call(self, request, state):
        await fail(request)


class Timed(Pool):
    job_timeout = 1


async def one_that_fails(batch):
    return [ValueError() for _ in batch]


DESCRIBING = {
    "tasker": (lambda: Tasker(limit=1), lambda it, m: it.call(fail, m)),
    "retried": (
        lambda: Tasker(limit=1, retry=Retry(attempts=2, backoff=1)),
        lambda it, m: it.call(fail, m),
    ),
    "keyed": (
        lambda: Tasker(limit=1, limit_per_key=1),
        lambda it, m: it.call(fail, m, key=1),
    ),
    "pool": (lambda: Pool(Failing, pool_size=1), lambda it, m: it.call(m)),
    "pool with a clock": (lambda: Timed(Cleaning, pool_size=1), lambda it, m: it.call(m)),
    "gen_pool": (FailingServer, lambda it, m: it.call(m)),
    "batcher": (lambda: Batcher(fail, limit=1), lambda it, m: it.call(m)),
    "batch of errors": (lambda: Batcher(one_that_fails, limit=1), lambda it, m: it.call(m)),
}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("name", DESCRIBING)
async def test_an_interrupt_while_a_message_is_described_leaves_nobody_waiting(
    name, kind, autojump_clock
):
    make, call = DESCRIBING[name]
    ended = []

    async def outside(it):
        try:
            await call(it, Described(kind))
        finally:
            ended.append(it)

    with trio.fail_after(100), pytest.raises(BaseException) as caught:  # noqa: PT011
        async with trio.open_nursery() as nursery:
            async with make() as it:
                nursery.start_soon(outside, it)
                await trio.sleep_forever()
    assert {type(each) for each in leaves(caught.value)} == {kind}
    assert ended == [it]
    stats = it.statistics()
    assert (stats.submitted, stats.running, stats.waiting) == (1, 0, 0)


class Watching(Instrument):
    """Notes what it is told, and raises at a chosen hook."""

    def __init__(self, hook="", kind=SystemExit):
        self.heard = []
        self.hook = hook
        self.kind = kind

    def _hear(self, hook, what):
        self.heard.append((hook, what))
        if hook == self.hook:
            self.hook = ""
            raise self.kind

    def job_submitted(self, source, job):
        self._hear("submitted", job.message)

    def job_started(self, source, job, worker):
        self._hear("started", job.message)

    def job_done(self, source, job):
        self._hear("done", job.message)

    def job_dropped(self, source, job, reason):
        self._hear("dropped", job.message)


class Sleeping(Worker):
    async def handle_job(self, job):
        await trio.sleep(5)


async def sleep_well(batch):
    await trio.sleep(5)
    return list(batch)


CUT = {
    "pool": (lambda w: Pool(Sleeping, pool_size=1, instruments=[w]), lambda it, m: it.call(m)),
    "shared": (
        lambda w: Pool(Sleeping, pool_size=1, mode="available", instruments=[w]),
        lambda it, m: it.call(m),
    ),
    "batcher": (lambda w: Batcher(sleep_well, limit=1, instruments=[w]), lambda it, m: it.call(m)),
}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("name", CUT)
async def test_an_instrument_that_exits_when_a_call_is_taken_back_does_not_break_trio(
    name, kind, autojump_clock
):
    make, call = CUT[name]
    watching = Watching("dropped", kind)
    with trio.fail_after(100), pytest.raises(BaseException) as caught:  # noqa: PT011
        async with make(watching) as it:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, it, "first")
                await trio.sleep(1)
                with trio.move_on_after(1):
                    await call(it, "second")
                await trio.sleep_forever()
    assert {type(each) for each in leaves(caught.value)} == {kind}
    assert it.statistics().waiting == 0


@pytest.mark.parametrize("name", CUT)
async def test_an_instrument_hears_of_a_call_that_was_taken_back_before_its_caller_goes_on(
    name, autojump_clock
):
    make, call = CUT[name]
    watching = Watching()
    async with make(watching) as it, trio.open_nursery() as nursery:
        nursery.start_soon(call, it, "first")
        await trio.sleep(1)
        with trio.move_on_after(1) as scope:
            await call(it, "second")
        assert scope.cancelled_caught
        dropped = [what for hook, what in watching.heard if hook == "dropped"]
        assert len(dropped) == 1
        assert it.statistics().cancelled == 1
    assert [what for hook, what in watching.heard if hook == "dropped"] == dropped


async def test_the_accounts_change_at_once_when_callers_are_cancelled(autojump_clock):
    watching = Watching()
    async with Pool(Sleeping, pool_size=1, instruments=[watching]) as it:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.call, 0)
            await trio.sleep(1)
            for number in range(1, 4):
                nursery.start_soon(it.call, number)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
            assert it.statistics().cancelled == 3
            assert ("dropped", 1) not in watching.heard
    assert sorted(what for hook, what in watching.heard if hook == "dropped") == [0, 1, 2, 3]
    assert all(watching.heard.count(each) == 1 for each in watching.heard)


async def test_a_job_that_was_cut_is_cancelled_as_before(autojump_clock):
    async with Tasker() as tasker:
        job = await tasker.submit(trio.sleep, 10)
        await trio.sleep(1)
        job.cancel()
        with pytest.raises(JobCancelled):
            await job.wait()


class Leaver(Instrument):
    """Ends the program when a worker ends."""

    def __init__(self, kind):
        self.kind = kind

    def worker_stopped(self, source, worker):
        raise self.kind


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Halt])
@pytest.mark.parametrize("component", ["pool", "factory", "gen_pool"])
async def test_an_instrument_that_exits_when_a_worker_stops_leaves_its_handle_stop(
    component, kind, autojump_clock
):
    stopped = []

    class Stopping(Acting):
        async def handle_stop(self):
            stopped.append(self)

    class Owner(Server):
        async def terminate(self, reason, state):
            stopped.append(self)

    with trio.fail_after(100), pytest.raises(BaseException) as caught:  # noqa: PT011
        if component == "pool":
            async with Pool(Stopping, pool_size=1, instruments=[Leaver(kind)]) as pool:
                await pool.call(1)
        elif component == "factory":
            async with FactoryPool(instruments=[Leaver(kind)]) as factory:
                await factory.call(await factory.start_child("group", Stopping), 1)
        else:
            async with Owner(shared_state=False, pool_size=1, instruments=[Leaver(kind)]) as server:
                await server.call(1)
    assert {type(each) for each in leaves(caught.value)} == {kind}
    assert len(stopped) == 1
