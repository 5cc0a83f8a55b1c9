"""An exception that refuses attributes, notes or copies reaches its owner as it was raised."""

import dataclasses
import functools
import sys

import outcome
import pytest
import trio

from poolder_trio import (
    AsyncPool,
    Batcher,
    FactoryPool,
    GenPool,
    JobPool,
    MemoryState,
    Pool,
    Retry,
    SQLiteState,
    Tasker,
    ThreadExecutor,
    Worker,
    as_completed,
    await_many,
)

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """As people write errors that carry data."""

    code: int = 1


class Locked(Exception):
    """Has a rule against changes of its own, also for what Python itself may set."""

    __slots__ = ("code",)

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "code", 1)

    def __setattr__(self, name, value):
        raise TypeError(f"{name} is not to be set")

    def __copy__(self):
        raise TypeError("not to be copied")

    def __reduce_ex__(self, protocol):
        raise TypeError("not to be pickled")


class Hostile(Exception):
    """Refuses whatever can be refused."""

    def __init__(self):
        self.__dict__["__notes__"] = 3

    def __setattr__(self, name, value):
        raise ValueError(name)

    def add_note(self, note):
        raise ValueError(note)

    def __eq__(self, other):
        raise ValueError("not to be compared")

    __hash__ = None

    def __reduce_ex__(self, protocol):
        raise ValueError("not to be pickled")


each_kind = pytest.mark.parametrize("kind", [Frozen, Locked, Hostile])


async def handle(what):
    """What all handlers here do: raise what they are given, or call it."""
    if callable(what):
        return await what()
    raise what


class Handling(Worker):
    async def handle_job(self, job):
        return await handle(job)


class Serving(GenPool):
    async def init(self):
        return 0

    async def handle_call(self, request, state):
        return await handle(request), state


async def handle_batch(batch):
    return [await handle(each) for each in batch]


async def handle_by_item(batch):
    results = []
    for each in batch:
        try:
            results.append(await handle(each))
        except Exception as error:  # noqa: BLE001  # its caller gets it
            results.append(error)
    return results


def caller(component):
    """A function that lets a component handle something, as a caller who waits."""
    if isinstance(component, (Tasker, JobPool)):
        return functools.partial(component.call, handle)
    if not isinstance(component, AsyncPool):
        return component.call

    async def call(what):
        send, receive = trio.open_memory_channel(1)
        await component.add_task(what, reply_to=send)
        completion = await receive.receive()
        if isinstance(completion.outcome, outcome.Error):
            with pytest.raises(type(completion.outcome.error)):
                completion.value  # noqa: B018  # a property that raises
        return completion.outcome.unwrap()

    return call


COMPONENTS = {
    "Pool": lambda: Pool(Handling, pool_size=2),
    "Pool, available": lambda: Pool(Handling, pool_size=2, mode="available"),
    "Pool, timed": lambda: Pool(Handling, pool_size=2, job_timeout=9.0),
    "GenPool, shared": lambda: Serving(shared_state=True),
    "GenPool, own": lambda: Serving(shared_state=False),
    "Tasker": lambda: Tasker(limit=2),
    "Tasker, retry": lambda: Tasker(limit=2, retry=Retry(attempts=2)),
    "Tasker, keyed": lambda: Tasker(limit=2, limit_per_key=2),
    "JobPool": lambda: JobPool("refuses", pool_size=2),
    "AsyncPool": lambda: AsyncPool(handle, max_workers=2),
    "Batcher": lambda: Batcher(handle_batch, timeout=0.1, concurrency=2),
    "Batcher, keyed": lambda: Batcher(handle_batch, timeout=0.1, concurrency=2, key=type),
    "Batcher, by item": lambda: Batcher(handle_by_item, timeout=0.1, concurrency=2),
}
each_component = pytest.mark.parametrize("make", COMPONENTS.values(), ids=COMPONENTS.keys())


@each_component
@each_kind
async def test_a_caller_gets_it(kind, make, autojump_clock):
    error = kind()
    async with make() as component:
        with pytest.raises(kind) as caught:
            await caller(component)(error)
    assert caught.value is error


@each_component
@each_kind
async def test_a_caller_in_a_handler_gets_it(kind, make, autojump_clock):
    error = kind()
    async with make() as outer, make_other(make) as inner:
        takes_one_at_a_time = isinstance(outer, GenPool) and outer.shared_state
        for component in (inner,) if takes_one_at_a_time else (inner, outer):
            with pytest.raises(kind) as caught:
                await caller(outer)(functools.partial(caller(component), error))
            assert caught.value is error


def make_other(make):
    component = make()
    if isinstance(component, JobPool):
        return JobPool("others", pool_size=2)
    return component


@each_kind
async def test_who_waits_for_a_job_gets_it(kind, autojump_clock):
    async with Tasker(limit=3) as tasker:

        async def look(how):
            job = await tasker.submit(handle, kind())
            if how == "wait":
                await job.wait()
            elif how == "await_many":
                await await_many([job])
            else:
                async with as_completed([job]) as ended:
                    async for each in ended:
                        with pytest.raises(kind):
                            each.result()
                        each.result()

        for how in ("wait", "await_many", "as_completed"):
            with pytest.raises((kind, ExceptionGroup)):
                await look(how)
            with pytest.raises(kind):
                await tasker.call(look, how)


@each_kind
async def test_it_comes_out_of_a_thread(kind):
    async with Tasker(executor=ThreadExecutor()) as tasker:
        for _ in range(2):
            with pytest.raises(kind) as caught:
                await tasker.call(throw, error := kind())
            assert caught.value is error


def throw(error):
    raise error


@each_kind
async def test_it_leaves_the_block_that_it_ends(kind, autojump_clock):
    for make in COMPONENTS.values():
        with pytest.raises(ExceptionGroup) as caught:
            async with make():
                raise (error := kind())
        assert caught.value.exceptions[0] is error


@each_kind
@pytest.mark.parametrize("how", ["cast", "unseen", "map", "broadcast", "push"])
async def test_it_leaves_the_block_if_nobody_waits(kind, how, autojump_clock):
    error = kind()
    with pytest.raises(ExceptionGroup) as caught:
        if how in ("cast", "broadcast"):
            async with Pool(Handling, pool_size=1) as pool:
                await (pool.cast(error) if how == "cast" else pool.broadcast(error))
        elif how == "push":
            async with Batcher(handle_batch) as batcher:
                await batcher.push(error)
        else:
            async with Tasker() as tasker:
                if how == "unseen":
                    await tasker.submit(handle, error)
                else:
                    async with tasker.map(handle, [error]) as results:
                        async for _ in results:
                            raise AssertionError("it has a result")
    assert [each is error for each in leaves(caught.value)] == [True]


def leaves(group):
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from leaves(each)
        else:
            yield each


@each_kind
async def test_handle_error_may_raise_it(kind, autojump_clock):
    second = kind()

    class Strict(Tasker):
        async def handle_error(self, call, attempt, error):
            raise second

    async with Strict() as tasker:
        with pytest.raises(kind) as caught:
            await tasker.call(handle, ValueError("first"))
    assert caught.value is second
    assert isinstance(caught.value.__context__, ValueError)


@each_kind
async def test_an_opening_may_fail_with_it(kind, autojump_clock):
    error = kind()

    class Failing(Serving):
        async def init(self):
            raise error

    class FailingBatcher(Batcher):
        handle_batch = staticmethod(handle_batch)

        async def handle_init(self):
            raise error

    class FailingWorker(Handling):
        async def handle_init(self):
            raise error

    openings = [
        Failing(shared_state=True),
        Failing(shared_state=False),
        FailingBatcher(),
        Pool(FailingWorker),
    ]
    for component in openings:
        with pytest.raises((kind, ExceptionGroup)) as caught:
            async with component:
                raise AssertionError("it is open")
        group = caught.value
        assert (list(leaves(group)) if isinstance(group, ExceptionGroup) else [group])[0] is error


@each_kind
@pytest.mark.parametrize("start", ["start_child", "resize", "factory"])
async def test_a_start_may_fail_with_it(kind, start, autojump_clock):
    class Choosy(Worker[object, object]):
        async def handle_init(self, error=None):
            await trio.lowlevel.checkpoint()
            if error is not None or self.index:
                raise kind()

        async def handle_job(self, job):
            """Do nothing."""

    async with Pool(Choosy, pool_size=1, dynamic=True) as pool, FactoryPool() as factory:
        with pytest.raises(kind) as caught:
            if start == "start_child":
                await pool.start_child(error=1)
            elif start == "resize":
                await pool.resize(3)
            else:
                await factory.start_child("group", Choosy, error=1)
        assert "handle_init" in [entry.name for entry in caught.traceback]


@each_kind
@pytest.mark.parametrize("state", ["memory", "sqlite"])
async def test_it_leaves_the_block_of_a_state(kind, state, tmp_path):
    backend = MemoryState() if state == "memory" else SQLiteState(tmp_path / "state.db")
    with pytest.raises(kind):
        async with backend.open():
            raise kind


@each_kind
async def test_a_codec_may_raise_it(kind, tmp_path):
    class Choosy:
        def encode(self, state):
            raise kind

        def decode(self, data):
            raise kind

    with pytest.raises(kind):
        await SQLiteState(tmp_path / "state.db", codec=Choosy()).store(1, 0)


@each_kind
async def test_it_leaves_the_stack_of_a_worker_that_has_a_state_open(kind, tmp_path):
    class Keeper(Worker[object, object]):
        async def handle_init(self):
            backend = SQLiteState(tmp_path / "state.db")
            self.state = await self.stack.enter_async_context(backend.open())

        async def handle_job(self, job):
            raise kind

    with pytest.raises(ExceptionGroup) as caught:
        async with Pool(Keeper, pool_size=1) as pool:
            await pool.cast(1)
    (error,) = caught.value.exceptions
    assert isinstance(error, kind)
