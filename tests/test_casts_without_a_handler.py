"""What nobody has a handler for is refused where it is sent, and says what to write."""

import pytest
import trio

from poolder_trio import (
    Application,
    Broker,
    FactoryPool,
    GenPool,
    JobPool,
    MemoryState,
    Pool,
    Queue,
    Worker,
)
from poolder_trio.abc import Instrument

NO_JOB = r"Answering has no handle_job: write async def handle_job\(self, job\).*'hello'"


class Answering(Worker):
    async def handle_call(self, request):
        return request.upper()


class Handling(Worker):
    async def handle_job(self, job):
        return job.upper()


SENDS = {
    "cast": lambda pool: pool.cast("hello"),
    "cast_nowait": lambda pool: pool.cast_nowait("hello"),
    "cast_many": lambda pool: pool.cast_many(["hello"]),
    "broadcast": lambda pool: pool.broadcast("hello"),
    "pool[i].cast": lambda pool: pool[1].cast("hello"),
    "pool[i].cast_nowait": lambda pool: pool[-1].cast_nowait("hello"),
    "for ref in pool: ref.cast": lambda pool: next(iter(pool)).cast("hello"),
}
OPTIONS = {
    "plain": {},
    "random": {"mode": "random"},
    "broadcast": {"mode": "broadcast"},
    "fair": {"mode": "phash", "queue": Queue(order="fair")},
    "max=0": {"queue": Queue(max=0)},
    "drop_oldest": {"queue": Queue(order="priority", overflow="drop_oldest")},
    "ages": {"queue": Queue(timeout=5)},
    "instruments": {"instruments": [Instrument()]},
    "job_timeout": {"job_timeout": 5},
}
SHARED = [(name, {"mode": "available"}) for name in ("cast", "cast_nowait", "cast_many")]


async def send(how, component):
    sent = how(component)
    if sent is not None:
        await sent


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(
            pytest.param(name, options, id=f"{name} {how}")
            for name in SENDS
            for how, options in OPTIONS.items()
        ),
        *(pytest.param(name, options, id=f"{name} available") for name, options in SHARED),
    ],
)
async def test_a_cast_to_workers_that_only_answer_is_refused_where_it_is_sent(
    name, options, autojump_clock
):
    async with Pool(Answering, pool_size=2, **options) as pool:
        for _ in range(3):
            with pytest.raises(TypeError, match=NO_JOB):
                await send(SENDS[name], pool)
        replies = await pool.call("hello")  # and calls go on
        assert replies == (["HELLO"] * 2 if options.get("mode") == "broadcast" else "HELLO")
        assert pool.statistics().submitted == pool.statistics().completed


async def test_it_is_refused_by_a_paused_pool_a_full_one_and_one_that_grows(autojump_clock):
    async with Pool(Answering, pool_size=1, dynamic=True, queue=Queue(max=1)) as pool:
        pool.pause()
        with pytest.raises(TypeError, match=NO_JOB):
            await pool.cast("hello")
        pool.resume()
        ref = await pool.start_child()
        for how in (ref.cast, pool.cast, pool.broadcast):
            with pytest.raises(TypeError, match=NO_JOB):
                await how("hello")


async def test_one_that_is_not_open_says_that_first():
    pool = Pool(Answering)
    with pytest.raises(trio.ClosedResourceError, match="is not open"):
        pool.cast_nowait("hello")


async def test_a_worker_inherits_its_handler_or_lacks_it(autojump_clock):
    class Both(Handling, Answering):
        """Has one of its own, and one of a mixin."""

    class Neither(Answering):
        """Has none either."""

    async with Pool(Both) as pool, Pool(Neither) as other:
        await pool.cast("hello")
        with pytest.raises(TypeError, match="Neither has no handle_job"):
            await other.cast("hello")


@pytest.mark.parametrize("mode", ["round_robin", "random", "phash", "least_loaded"])
async def test_of_a_group_each_child_counts_for_itself(mode, autojump_clock):
    async with FactoryPool(mode=mode) as factory:
        answering = await factory.start_child("mixed", Answering)
        for _ in range(2):
            with pytest.raises(TypeError, match=NO_JOB):
                await factory.dispatch("mixed", "hello")
        handling = await factory.start_child("mixed", Handling)
        with pytest.raises(TypeError, match=NO_JOB):
            await factory.cast(answering, "hello")
        with pytest.raises(TypeError, match=NO_JOB):
            answering.cast_nowait("hello")
        with pytest.raises(TypeError, match=NO_JOB):
            await factory.broadcast("mixed", "hello")
        assert factory.statistics().submitted == 0  # of a broadcast nobody got anything
        await factory.cast(handling, "hello")
        assert await factory.call(answering, "hello") == "HELLO"
        await factory.terminate(answering)
        await factory.broadcast("mixed", "hello")
        await factory.dispatch("mixed", "hello")


async def test_of_a_group_with_one_inbox_somebody_has_to_handle_casts(autojump_clock):
    async with FactoryPool(mode="available") as factory:
        await factory.start_group("shared", Answering, pool_size=2)
        with pytest.raises(TypeError, match=NO_JOB):
            await factory.dispatch("shared", "hello")
        handling = await factory.start_child("shared", Handling)
        await factory.terminate(handling)
        with pytest.raises(TypeError, match=NO_JOB):
            await factory.dispatch("shared", "hello")


async def test_a_child_that_is_a_function_takes_both(autojump_clock):
    got = []

    async def child(inbox):
        got.extend([request.message async for request in inbox])

    async with FactoryPool() as factory:
        ref = await factory.start_child("functions", child)
        await factory.cast(ref, "hello")
        await factory.dispatch("functions", "hello")
        await factory.broadcast("functions", "hello")
        await factory.wait_idle()
    assert got == ["hello"] * 3


async def test_a_worker_is_handed_a_job_and_answers_with_it(autojump_clock):
    async with Pool(Handling) as pool, FactoryPool() as factory:
        assert await pool.call("hello") == "HELLO"
        assert await factory.call(await factory.start_child("g", Handling), "hello") == "HELLO"


class Asked(GenPool):
    async def handle_call(self, request, state):
        return request, state


class Told(GenPool):
    async def handle_cast(self, request, state):
        return (state or 0) + 1


class Informed(GenPool):
    async def handle_info(self, message, state):
        return (state or 0) + 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shared_state": False},
        {"isolation": "optimistic"},
        {"broker": Broker(order="priority")},
        {"instruments": [Instrument()]},
        {"backend": MemoryState()},
    ],
    ids=["plain", "own states", "optimistic", "priority", "instruments", "memory"],
)
async def test_a_server_refuses_what_it_has_no_handler_for(options, autojump_clock):
    async with Asked(**options) as server:
        for _ in range(2):
            with pytest.raises(TypeError, match=r"Asked has no handle_cast: write async .*'hello'"):
                await server.cast("hello")
            with pytest.raises(TypeError, match="Asked has no handle_cast: write async def"):
                server.cast_nowait("hello")
        assert await server.call("hello") == "hello"
        server.send_info("ignored")
    async with Told(**options) as server:
        with pytest.raises(TypeError, match=r"Told has no handle_call: write async .*'hello'"):
            await server.call("hello")
        await server.cast("hello")
        server.cast_nowait("hello")
    assert server.statistics().completed == server.statistics().submitted == 2
    async with Informed(**options) as server:
        with pytest.raises(TypeError, match="Informed has no handle_call"):
            await server.call("hello")
        with pytest.raises(TypeError, match="Informed has no handle_cast"):
            await server.cast("hello")
        server.send_info("hello")


async def test_a_server_that_is_not_open_says_that_first(autojump_clock):
    server = Asked()
    with pytest.raises(trio.ClosedResourceError, match="is not open"):
        await server.cast("hello")
    async with server:
        """Open it once."""
    with pytest.raises(trio.ClosedResourceError, match="has ended"):
        server.cast_nowait("hello")


async def test_a_handler_that_leaves_it_to_the_base_class_fails_with_the_same_words(autojump_clock):
    class Deferring(Worker):
        async def handle_job(self, job):
            return await super().handle_job(job)

    class Continuing(GenPool):
        async def handle_call(self, request, state):
            return await super().handle_call(request, state)

        async def handle_continue(self, arg, state):
            return await super().handle_continue(arg, state)

    async with Pool(Deferring) as pool, Continuing() as server:
        with pytest.raises(NotImplementedError, match="Deferring has no handle_job: write"):
            await pool.call("hello")
        with pytest.raises(NotImplementedError, match="Continuing has no handle_call: write"):
            await server.call("hello")


def test_schedules_need_a_worker_with_a_handler_for_them():
    for make in (
        lambda: Pool(Handling, schedules={"tick": 1.0}),
        lambda: type("Ticking", (Pool,), {"worker": Answering, "schedules": {"tick": 1.0}}),
    ):
        with pytest.raises(TypeError, match="handle_periodic_job"):
            make()


async def test_children_of_an_application_refuse_it_as_well(autojump_clock):
    async with Application(Pool(Answering, name="answers"), JobPool("jobs")) as app:
        with pytest.raises(TypeError, match=NO_JOB):
            await app["answers"].cast("hello")
