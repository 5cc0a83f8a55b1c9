"""User code is found by Ctrl-C as it is anywhere: interruptible, whoever calls it."""

import json
from collections import defaultdict
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import pytest
import trio

from poolder_trio import (
    HALT,
    Application,
    AsyncPool,
    Batcher,
    Emit,
    Every,
    FactoryPool,
    GenPool,
    Instrument,
    JobPool,
    MemoryState,
    Pool,
    Retry,
    Scheduler,
    SQLiteState,
    Tasker,
    Update,
    Worker,
)

#: Whether Ctrl-C was held off, by the place where it was asked.
seen = defaultdict(set)


def look(place):
    seen[place].add(trio.lowlevel.currently_ki_protected())


def looks(place, value=None):
    """A function that looks, and returns ``value``, or its argument."""

    def fn(*args):
        look(place)
        return args[0] if value is None else value

    return fn


class Chooser:
    """A dispatch."""

    def pick(self, key, now, loads):
        look("dispatch")
        return 0


@contextmanager
def block(place):
    look(f"{place} enters")
    try:
        yield
    finally:
        look(f"{place} leaves")


@asynccontextmanager
async def async_block(place):
    look(f"{place} enters")
    await trio.lowlevel.checkpoint()
    look(f"{place} goes on")
    try:
        yield
    finally:
        look(f"{place} leaves")
        await trio.lowlevel.checkpoint()
        look(f"{place} is left")


async def leaves_async(*_):
    look("async exit")
    await trio.lowlevel.checkpoint()
    look("async exit")


async def fill(stack):
    stack.enter_context(block("block"))
    await stack.enter_async_context(async_block("async block"))
    stack.callback(looks("callback", 1))
    stack.push(looks("exit", False))  # noqa: FBT003
    stack.push_async_exit(leaves_async)
    stack.push_async_callback(leaves_async)


#: What is left of a stack, or was entered.
STACK = {
    *(f"block {each}" for each in ("enters", "leaves")),
    *(f"async block {each}" for each in ("enters", "goes on", "leaves", "is left")),
    "callback",
    "exit",
    "async exit",
}


class Watch(Instrument):
    pass


def _hook(name):
    return lambda self, *args: look(f"instrument {name}")


HOOKS = [name for name in vars(Instrument) if not name.startswith("_")]
for name in HOOKS:
    setattr(Watch, name, _hook(name))


def hooks(*names, **answers):
    """A class body of hooks that look before and after a wait."""

    def make(name):
        async def hook(self, *args, **kwargs):
            look(name)
            await trio.lowlevel.checkpoint()
            look(name)
            answer = answers.get(name)
            return answer(self, *args) if answer else None

        return hook

    return {name: make(name) for name in names}


failed = []


def fail(self, job, *_):
    if job == "fail" and not failed:
        failed.append(job)
        raise ValueError(job)
    if job == "emit":
        return Emit("told", 1)
    return None


async def init(self, **args):
    look("handle_init")
    await fill(self.stack)
    look("handle_init")


WORKER = ("handle_job", "handle_call", "handle_periodic_job", "handle_error")
WORKER += ("handle_hibernate", "handle_stop")
Looker = type(
    "Looker",
    (Worker,),
    {
        **hooks(*WORKER, handle_job=fail, handle_error=lambda *_: None),
        "handle_init": init,
        "retry": Retry(attempts=2, backoff=looks("backoff", 0.1)),
        "callbacks": {"told": looks("emitted")},
        "hibernate_after": 1,
    },
)


async def worker():
    options = {"schedules": {"tick": Every(5)}, "instruments": [Watch()]}
    dispatch = Chooser()
    pool = type("Looking", (Pool,), {"handle_init": init, "worker": Looker})
    async with pool(mode=dispatch, key=looks("key"), pool_size=2, **options) as it:
        await it.cast("job")
        it.cast_nowait("job")
        await it.call("call")
        await it.cast("emit")
        await it.cast("fail")
        await trio.sleep(20)
    return {*WORKER, "handle_init", "backoff", "emitted", "dispatch", "key"} | STACK


async def factory():
    factory = type("F", (FactoryPool,), {"handle_init": init, **hooks("handle_down")})

    async def child(inbox):
        look("child")
        async for request in inbox:
            look("child")
            request.reply(1)

    async with factory(key=looks("key"), mode=Chooser()) as it:
        ref = await it.start_child("group", Looker)
        await it.call(ref, "call")
        await it.dispatch("group", "job")
        other = await it.start_child("others", child)
        await it.call(other, "call")
        await it.terminate(ref)
    return {"handle_init", "handle_down", "child", "key", "dispatch"} | STACK


async def work(value=0):
    look("function")
    await trio.lowlevel.checkpoint()
    look("function")
    return value


async def broken():
    raise ValueError


def inputs():
    for number in range(3):
        look("inputs")
        yield number


async def async_inputs():
    for number in range(3):
        look("async inputs")
        yield number


class Place:
    """An executor of one's own."""

    def check(self, fn):
        look("executor check")

    @asynccontextmanager
    async def open(self, *, idle):
        look("executor opens")
        await trio.lowlevel.checkpoint()
        look("executor opens")

        async def run(fn, args):
            look("executor runs")
            await trio.lowlevel.checkpoint()
            return fn(*args)

        try:
            yield run
        finally:
            look("executor leaves")


async def functions():
    answer = hooks("handle_error", handle_error=lambda *_: HALT)
    retry = Retry(attempts=2, backoff=looks("backoff", 0.1))
    tasker = type("T", (Tasker,), answer)
    async with tasker(limit=2, limit_per_key=1, retry=retry, instruments=[Watch()]) as it:
        await it.call(work)
        await it.execute(work)
        await (await it.submit(work)).wait()
        job = await it.submit(broken)
        with pytest.raises(Exception):  # noqa: B017, PT011
            await job.wait()
        for given in (inputs(), async_inputs()):
            async with it.map(work, given, key=looks("map key")) as results:
                async for _ in results:
                    pass
    async with Tasker(limit=1, executor=Place()) as it:
        await it.call(looks("in the executor", 1))
    async with JobPool("jobs", pool_size=1) as it:

        @it.job
        async def named():
            look("named")

        await it.perform_after(1, named)
        await it.perform(named)
        await it.wait_idle()
    async with AsyncPool(work, max_workers=2) as it:
        await it.add_task(1)
    places = {"function", "handle_error", "inputs", "async inputs", "map key"}
    places |= {"executor check", "executor opens", "executor runs", "executor leaves", "named"}
    return places


async def batcher():
    names = ("handle_batch", "handle_error", "handle_hibernate")
    own = hooks(*names, handle_batch=lambda _, batch: fail(_, batch[0]))
    kind = type("B", (Batcher,), {**own, "handle_init": init, "hibernate_after": 1})
    more = {"weight": looks("weight", 1), "key": looks("batch key", 1), "max_weight": 5}
    async with kind(limit=1, retry=Retry(attempts=2, backoff=looks("backoff", 0.1)), **more) as it:
        await it.push(1)
        it.push_nowait(1)
        await it.push("fail")
        await trio.sleep(10)
    return {*names, "handle_init", "weight", "batch key"} | STACK


async def scheduler():
    names = ("handle_job", "handle_error", "handle_hibernate")
    own = hooks(*names, handle_job=fail, handle_error=lambda *_: HALT)
    kind = type("S", (Scheduler,), {**own, "handle_init": init})

    class Trigger:
        def next(self, after):
            look("trigger")
            return after + timedelta(seconds=5)

    async with kind(jobs={"one": Trigger()}, hibernate_after=1, instruments=[Watch()]) as it:
        it.schedule("two", 5, work)
        it.schedule("four", 5)
        it.schedule("fail", 5)
        it.schedule("three", Trigger(), work)
        await trio.sleep(20)
        it.reschedule({"three": Trigger()})
    return {*names, "handle_init", "trigger", "function"} | STACK


class State:
    """A backend of one's own."""

    def __init__(self):
        self.kept, self.version = None, 0

    @asynccontextmanager
    async def open(self):
        look("backend opens")
        await trio.lowlevel.checkpoint()
        look("backend opens")
        try:
            yield self
        finally:
            look("backend leaves")

    async def load(self):
        look("load")
        await trio.lowlevel.checkpoint()
        look("load")
        return self.kept, self.version

    async def store(self, state, expected_version):
        look("store")
        await trio.lowlevel.checkpoint()
        look("store")
        if expected_version != self.version:
            return False
        self.kept, self.version = state, self.version + 1
        return True


class Coding:
    """A codec."""

    def encode(self, state):
        look("encode")
        return json.dumps(state).encode()

    def decode(self, data):
        look("decode")
        return json.loads(data)


async def server():
    def change(self, request, state):
        if request == "update":
            return Update(looks("update"), reply=looks("reply"))
        return (1, state) if request == "call" else state

    names = ("init", "handle_call", "handle_cast", "handle_info", "terminate")
    answers = {"init": lambda *_: {"n": 0}, "handle_call": change, "handle_cast": change}
    body = hooks(*names, **answers)
    del body["handle_info"]
    kind = type("G", (GenPool,), body)
    backends = [State(), MemoryState(), SQLiteState(PATH[0], codec=Coding())]
    for isolation in ("lock", "optimistic"):
        for backend in backends:
            async with kind(backend=backend, isolation=isolation) as it:
                await it.call("call")
                await it.call("update")
                await it.cast("cast")
                await it.wait_idle()
    async with kind(backend=SQLiteState(PATH[0], codec=Coding())) as it:
        await it.call("call")  # of what was stored
    async with kind(shared_state=False) as it:
        await it.call("call")
        await it.cast("cast")
    return {"init", "handle_call", "handle_cast", "terminate", "update", "reply"} | {
        "backend opens",
        "backend leaves",
        "encode",
        "decode",
        "load",
        "store",
    }


async def application():
    kind = type("P", (Pool,), {"handle_init": init, "worker": Looker})
    async with Application(kind(pool_size=1, name="pool")) as app:
        await app["pool"].call("call")
    return {"handle_init", "handle_call", "handle_stop"} | STACK


PATH = [None]
PROGRAMS = [worker, factory, functions, batcher, scheduler, server, application]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: each.__name__)
def test_user_code_is_interruptible(program, tmp_path):
    seen.clear()
    failed.clear()
    PATH[0] = tmp_path / "state.db"
    expected = set()

    async def main():
        with trio.fail_after(1000):
            expected.update(await program())

    # With a real thread a clock that jumps would run ahead of it; nothing sleeps there.
    clock = None if program is server else trio.testing.MockClock(autojump_threshold=0)
    trio.run(main, clock=clock)
    assert expected - seen.keys() == set()
    assert sorted(place for place, found in seen.items() if True in found) == []
