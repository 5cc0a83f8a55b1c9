"""The state of a server: atomic on every backend, whoever is cancelled, and whoever else has it."""

import inspect
import itertools
import math
import os
import signal
import sys
import uuid
from collections import Counter as Multiset
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poolder_trio import (
    Broker,
    Closed,
    GenPool,
    JobAbandoned,
    JobCancelled,
    MemoryState,
    RedisState,
    Restart,
    SQLiteState,
    Update,
    reads_state,
)
from poolder_trio.testing import CancelAt

SERVER = pytest.mark.server
SHARED = [pytest.param("sqlite"), pytest.param("redis", marks=SERVER)]
ALL = [pytest.param("memory"), *SHARED]
PATIENT = Broker(timeout=math.inf)


@pytest.fixture
def backend(request, tmp_path):
    """A description of a state."""
    kind = request.param
    if kind == "memory":
        return MemoryState()
    if kind == "sqlite":
        return SQLiteState(tmp_path / "state.db")
    return RedisState(request.getfixturevalue("redis_server").url, str(uuid.uuid4()))


every = pytest.mark.parametrize("backend", ALL, indirect=True)
lasting = pytest.mark.parametrize("backend", SHARED, indirect=True)
isolations = pytest.mark.parametrize("isolation", ["lock", "optimistic"])


class Counter(GenPool):
    """Adds what it is told to, and waits in between."""

    broker = PATIENT

    async def init(self):
        return 0

    async def handle_call(self, request, state):
        await wander(request)
        return state + request, state + request

    async def handle_cast(self, request, state):
        await wander(request)
        return state + request


async def wander(number):
    await trio.lowlevel.checkpoint()
    if number % 7 == 0:
        await trio.lowlevel.checkpoint()


class Updater(Counter):
    """Adds by updates."""

    async def handle_call(self, request, state):
        await wander(request)
        return Update(lambda n: n + request, reply=lambda n: n)

    async def handle_cast(self, request, state):
        await wander(request)
        return Update(lambda n: n + request)


@every
@isolations
@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("kind", [Counter, Updater])
async def test_ten_thousand_calls_and_ten_thousand_casts_end_exactly(backend, isolation, kind):
    replies = []

    async def call():
        replies.append(await pool.call(1))

    with trio.fail_after(200):
        async with kind(backend=backend, isolation=isolation) as pool:
            async with trio.open_nursery() as nursery:
                for _ in range(10_000):
                    nursery.start_soon(call)
                    pool.cast_nowait(1)
            await pool.wait_idle()
            assert await pool.get_state() == 20_000
    assert len(set(replies)) == len(replies) == 10_000


class Journal(GenPool):
    """Keeps what it was told, in order; the reply is how many there were before."""

    pool_size = 3
    broker = PATIENT

    async def init(self):
        return []

    async def handle_call(self, request, state):
        if request is None:
            return state, state
        await trio.lowlevel.checkpoint()
        await wander(request)
        return len(state), [*state, request]

    async def handle_cast(self, request, state):
        return (await self.handle_call(request, state))[1]


class Appending(Journal):
    async def handle_call(self, request, state):
        await wander(request)
        return Update(lambda told: [*told, request], reply=lambda told: len(told) - 1)

    async def handle_cast(self, request, state):
        return await self.handle_call(request, state)


def check_journal(state, answered, sent):
    """The state is what some order of the requests gives, each of the answered in its place."""
    assert len(state) == len(set(state)), "a request was applied twice"
    assert set(state) <= sent
    for request, place in answered.items():
        assert state[place] == request


kinds = pytest.mark.parametrize("kind", [Journal, Appending])


@isolations
@kinds
@pytest.mark.parametrize("backend", ["memory", "sqlite"], indirect=True)
async def test_a_caller_cancelled_at_any_step_agrees_with_the_state(backend, isolation, kind):
    async with kind(backend=backend, isolation=isolation) as pool:
        answered, cast = {}, set()
        numbers = itertools.count()

        async def others(*, task_status):
            for _ in range(3):
                number = next(numbers)
                cast.add(number)
                pool.cast_nowait(number)
            task_status.started()
            number = next(numbers)
            answered[number] = await pool.call(number)

        sent = set()
        for step in itertools.count(1):
            async with trio.open_nursery() as nursery:
                await nursery.start(others)
                mine = next(numbers)
                sent.add(mine)
                with CancelAt(step) as cut:
                    answered[mine] = await pool.call(mine)
            await pool.wait_idle()
            if not cut.reached:
                break
            assert step < 500
        state = await pool.get_state()
        check_journal(state, answered, set(range(next(numbers))))
        assert cast <= set(state)
        # Who is not answered has no part in it: the handler was cut before it returned.
        assert set(state) == cast | set(answered)
        assert step > 3


@isolations
@kinds
@pytest.mark.parametrize("backend", ["memory", "sqlite"], indirect=True)
async def test_a_server_cancelled_at_any_step_agrees_with_the_state_and_answers_all(  # noqa: C901  # one story
    backend, isolation, kind
):
    numbers = itertools.count()
    answered, told = {}, Multiset()

    async def call(pool, number):
        try:
            place = await pool.call(number)
        except (JobCancelled, JobAbandoned, Closed):
            told[number] += 1
        else:
            told[number] += 1
            answered[number] = place

    for step in itertools.count(1):
        final = []

        class Seen(kind):
            async def terminate(self, reason, state, final=final):
                final.append(state)

        pool = Seen(backend=backend, isolation=isolation)
        answered.clear()
        with CancelAt(step) as cut:
            async with pool, trio.open_nursery() as nursery:
                kept = await pool.get_state()
                for _ in range(6):
                    nursery.start_soon(call, pool, next(numbers))
                    try:
                        pool.cast_nowait(next(numbers))
                    except Closed:
                        assert cut.reached
        after = next(numbers)
        if final:
            (state,) = final
            check_journal(state, answered, set(range(after)))
            if answered and isinstance(backend, SQLiteState):
                assert (await backend.load())[0] == state
            if not cut.reached:
                assert len(state) == len(kept) + 12
        assert max(told.values(), default=1) == 1
        if not cut.reached:
            break
        assert step < 500
    assert step > 20


@isolations
async def test_a_worker_ended_at_any_step_answers_its_caller(isolation):
    """The seat of a worker is cut, as nothing but the end of a server does, and at every step."""
    for step in itertools.count(1):
        outcome = []

        async def call(pool, outcome=outcome):
            try:
                outcome.append(await pool.call(1))
            except (JobCancelled, JobAbandoned, Closed) as error:
                outcome.append(error)

        class Cut(trio.abc.Instrument):
            steps = 0

            def before_task_step(self, task, step=step):
                self.steps += 1
                if self.steps == step:
                    pool._crew.seats[0].life.cancel()

        with trio.fail_after(5):
            async with Journal(pool_size=1, isolation=isolation) as pool:
                cut = Cut()
                trio.lowlevel.add_instrument(cut)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(call, pool)
                trio.lowlevel.remove_instrument(cut)
                state = await pool.get_state()
        assert len(outcome) == 1
        assert state == ([1] if outcome == [0] else [])
        if cut.steps < step:
            break
    assert step > 4


# -- who overlaps with whom


async def test_five_slow_updates_run_at_once_under_the_lock(autojump_clock):
    class Slow(GenPool):
        pool_size = 5

        async def init(self):
            return 0

        async def handle_call(self, request, state):
            await trio.sleep(1)
            return Update(lambda n: n + 1, reply=lambda n: n)

    async with Slow() as pool:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(pool.call, "slow")
        assert trio.current_time() == pytest.approx(1)
        assert await pool.get_state() == 5


class Runs(GenPool):
    """Counts how often its handler is run."""

    pool_size = 5
    runs = most = now = 0

    async def init(self):
        return 0

    async def handle_call(self, request, state):
        self.runs += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await trio.sleep(1)
        finally:
            self.now -= 1
        return state, state + 1


async def test_under_the_lock_handlers_run_one_at_a_time_and_once(autojump_clock):
    async with Runs(broker=PATIENT) as pool:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(pool.call, 0)
    assert (pool.runs, pool.most) == (20, 1)
    assert trio.current_time() == pytest.approx(20)


async def test_optimistic_handlers_overlap_and_the_losers_run_again(autojump_clock):
    async with Runs(broker=PATIENT, isolation="optimistic") as pool:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(pool.call, 0)
        assert await pool.get_state() == 20
    assert pool.most == 5
    assert 20 < pool.runs <= 20 * 6


async def test_after_five_losses_a_handler_takes_the_lock_and_loses_no_more(autojump_clock):
    runs = []

    class Contested(GenPool):
        pool_size = 2
        isolation = "optimistic"
        broker = PATIENT

        async def init(self):
            return 0

        async def handle_call(self, request, state):
            runs.append(request)
            await trio.sleep(10 if request == "slow" else 1)
            return state, state + 1

    async with Contested() as pool:

        async def contest():
            while "slow" in running:
                await pool.call("quick")

        running = {"slow"}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(contest)
            await pool.call("slow")
            running.clear()
    assert runs.count("slow") == 6
    assert trio.current_time() < 75


async def test_handlers_that_read_do_not_wait_for_the_lock(autojump_clock):
    class Reading(Runs):
        @reads_state
        async def handle_info(self, message, state):
            message.append((state, trio.current_time()))
            return state

    seen = []
    async with Reading() as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.call, 0)
            await wait_all_tasks_blocked()
            pool.send_info(seen)
    assert seen == [(0, 0.0)]


async def test_a_handler_marked_as_reading_may_update_but_makes_no_new_state():
    class Reading(GenPool):
        async def init(self):
            return 0

        @reads_state
        async def handle_call(self, request, state):
            return Update(lambda n: n + 1) if request == "update" else (None, state + 1)

    async with Reading() as pool:
        await pool.call("update")
        with pytest.raises(TypeError, match="marked with @reads_state"):
            await pool.call("new")
        assert await pool.get_state() == 1


async def test_the_very_same_state_is_no_change():
    stores = []

    class Recording:
        def __init__(self):
            self.memory = MemoryState()

        async def load(self):
            return await self.memory.load()

        async def store(self, state, expected_version):
            stores.append(state)
            return await self.memory.store(state, expected_version)

    class Same(GenPool):
        async def init(self):
            return [1]

        async def handle_call(self, request, state):
            return "reply", state if request == "same" else [1]

        async def handle_cast(self, request, state):
            return Update(lambda s: s)

    async with Same(backend=Recording()) as pool:
        await pool.call("same")
        await pool.cast("x")
        await pool.wait_idle()
        assert stores == [[1]]
        await pool.call("equal")
    assert stores == [[1], [1]]


async def test_a_handler_that_is_cancelled_gives_the_lock_back(autojump_clock):
    async with Runs() as pool:
        with trio.move_on_after(0.5):
            await pool.call(0)
        with trio.fail_after(2):
            await pool.call(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.call, 0)
            await wait_all_tasks_blocked()
            with trio.move_on_after(0.5) as scope:
                await pool.call(0)  # it waits for the lock
            assert scope.cancelled_caught
        assert await pool.get_state() == 2


async def test_a_worker_that_crashes_gives_the_lock_back(autojump_clock, caplog):
    class Failing(Runs):
        async def handle_cast(self, request, state):
            await trio.sleep(1)
            raise ValueError(request)

    with trio.fail_after(10):
        async with Failing(restart=Restart(5)) as pool:
            for number in range(3):
                await pool.cast(number)
            await pool.call(0)
            await pool.wait_idle()
            assert await pool.get_state() == 1


# -- backends


@every
async def test_init_runs_only_where_there_is_no_state(backend):
    class Once(Counter):
        runs = 0

        async def init(self, start):
            self.runs += 1
            return start

    first, second = (Once(backend=backend, args={"start": n}) for n in (5, 9))
    async with first:
        assert await first.get_state() == 5
        assert await first.call(1) == 6
    async with second:
        assert await second.get_state() == (9 if isinstance(backend, MemoryState) else 6)
    assert (first.runs, second.runs) == (1, 1 if isinstance(backend, MemoryState) else 0)


@lasting
@isolations
async def test_two_servers_on_one_state_add_up_and_read_what_the_other_wrote(backend, isolation):
    def server():
        return Counter(backend=backend, isolation=isolation)

    async with server() as one, server() as other:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(one.call, 10**6 + number)
                nursery.start_soon(other.call, 1 - number)
        expected = 100 * 10**6 + 100
        assert await one.get_state() == await other.get_state() == expected
        for number in range(5):
            await one.call(1)
            assert await other.get_state() == expected + number + 1
            assert await other.call(0) == expected + number + 1


async def test_changes_of_others_are_neither_lost_nor_applied_twice_when_stores_are_refused():
    """Others come between any two calls of the backend, with changes that do not commute."""

    class Contested:
        def __init__(self):
            self.memory = MemoryState()
            self.told = 0

        async def load(self):
            return await self.memory.load()

        async def store(self, state, expected_version):
            if self.told < 50 and expected_version % 3 == 1:
                told, version = await self.memory.load()
                self.told += await self.memory.store([*told, f"other {self.told}"], version)
            await trio.lowlevel.checkpoint()
            return await self.memory.store(state, expected_version)

    for kind, isolation in itertools.product([Journal, Appending], ["lock", "optimistic"]):
        backend = Contested()
        async with kind(backend=backend, isolation=isolation) as pool:
            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(pool.call, number)
            state = await pool.get_state()
        assert len(state) == len(set(state)) == 100 + backend.told
        assert backend.told > 10
        others = [told for told in state if isinstance(told, str)]
        assert others == [f"other {number}" for number in range(backend.told)]


@lasting
async def test_a_state_that_can_not_be_stored_fails_its_own_caller_alone(backend):
    class Any(GenPool):
        pool_size = 5

        async def init(self):
            return []

        async def handle_call(self, request, state):
            return len(state), [*state, request]

    failed, answered = [], {}

    async def call(request):
        try:
            answered[request] = await pool.call(request)
        except TypeError as error:
            failed.append((request, "can't be kept as JSON" in str(error)))

    async with Any(backend=backend) as pool:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(call, (number,) if number % 5 == 0 else number)
        state = await pool.get_state()
    assert sorted(failed) == [((number,), True) for number in (0, 5, 10, 15)]
    assert all(state[place] == request for request, place in answered.items())
    assert len(state) == len(answered) == 16


async def test_a_backend_that_fails_raises_at_the_callers_and_works_again():
    class Flaky:
        broken = False

        def __init__(self):
            self.memory = MemoryState()

        async def load(self):
            if self.broken:
                raise OSError("away")
            return await self.memory.load()

        async def store(self, state, expected_version):
            await trio.lowlevel.checkpoint()
            if self.broken:
                raise OSError("away")
            return await self.memory.store(state, expected_version)

    backend = Flaky()
    async with Counter(backend=backend) as pool:
        assert await pool.call(1) == 1
        backend.broken = True
        errors = []

        async def call():
            with pytest.raises(OSError, match="away") as caught:
                await pool.call(1)
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(call)
        assert len({id(error) for error in errors}) == 5
        backend.broken = False
        assert await pool.call(1) == 2


async def test_a_backend_that_hangs_is_given_up_after_a_while(autojump_clock):
    class Hanging:
        def __init__(self):
            self.memory = MemoryState()

        async def load(self):
            return await self.memory.load()

        async def store(self, state, expected_version):
            if expected_version:
                await trio.sleep_forever()
            return await self.memory.store(state, expected_version)

    async with Counter(backend=Hanging()) as pool:
        with pytest.raises(TimeoutError):
            await pool.call(1)
        with trio.move_on_after(1):
            with pytest.raises(TimeoutError):
                await pool.call(1)
        assert await pool.get_state() == 0
    assert trio.current_time() <= 20


@pytest.mark.parametrize("looks", [True, False], ids=["a load hangs as well", "a load does not"])
@pytest.mark.parametrize("isolation", ["lock", "optimistic"])
async def test_a_backend_that_hangs_holds_a_cancelled_block_for_ten_seconds_in_all(
    autojump_clock, isolation, looks
):
    class Hanging:
        hangs = False

        def __init__(self):
            self.memory = MemoryState()

        async def load(self):
            if self.hangs and looks:
                await trio.sleep_forever()
            return await self.memory.load()

        async def store(self, state, expected_version):
            if self.hangs:
                await trio.sleep(9)
                raise OSError
            return await self.memory.store(state, expected_version)

    with trio.move_on_after(1):
        async with Counter(backend=Hanging(), isolation=isolation, pool_size=8) as pool:
            await pool.call(1)
            pool._state.hangs = True
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(pool.call, 1)
                    await trio.sleep(0.01)
    assert trio.current_time() <= 11


async def test_a_reader_is_not_told_of_a_change_that_is_not_stored(autojump_clock):
    class Slow:
        def __init__(self):
            self.memory = MemoryState()

        async def load(self):
            return await self.memory.load()

        async def store(self, state, expected_version):
            if expected_version:
                await trio.sleep(5)
            return await self.memory.store(state, expected_version)

    class Reading(Counter):
        @reads_state
        async def handle_info(self, message, state):
            await trio.lowlevel.checkpoint()
            return state

    async with Reading(backend=Slow()) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.call, 1)
            await wait_all_tasks_blocked()
            before = trio.current_time()
            assert await pool.get_state() == 1
            assert trio.current_time() == pytest.approx(before + 5)


async def test_a_state_that_others_removed_is_missed_and_said_so():
    backend = MemoryState()

    class Own:
        load, store = backend.load, backend.store

    async with Counter(backend=Own()) as pool:
        await pool.call(1)
        backend._state, backend._version = None, 0
        with pytest.raises(LookupError, match="is gone from its backend"):
            await pool.call(1)
        with pytest.raises(LookupError, match="is gone from its backend"):
            await pool.get_state()
        pool.cancel()
        backend._state, backend._version = 5, 1


# -- processes

CHILD = f"""
import math, sys, trio
from poolder_trio import Broker, GenPool, RedisState, SQLiteState

PATIENT = Broker(timeout=math.inf)

{inspect.getsource(wander)}
{inspect.getsource(Counter)}

async def main(kind, place, key, isolation, count):
    backend = SQLiteState(place, key=key) if kind == "sqlite" else RedisState(place, key)
    async with Counter(backend=backend, isolation=isolation) as pool:
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(pool.call, 1)
                pool.cast_nowait(1)

*args, count = sys.argv[1:]
trio.run(main, *args, int(count))
"""

KILLED = f"""
import math, sys, trio
from poolder_trio import Broker, GenPool, SQLiteState

PATIENT = Broker(timeout=math.inf)

{inspect.getsource(wander)}
{inspect.getsource(Counter)}

async def main(path):
    async with Counter(backend=SQLiteState(path)) as pool:
        print("ready", flush=True)
        while True:
            print(await pool.call(1), flush=True)

trio.run(main, sys.argv[1])
"""


@asynccontextmanager
async def child(code, *args):
    """A process that runs ``code``; its end, for better or worse, is the block's."""
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, stdin=-1, stdout=-1, check=False)
        process = await nursery.start(run, [sys.executable, "-W", "error", "-c", code, *args])
        got = await process.stdout.receive_some()
        assert got.startswith(b"ready")
        yield process


@SERVER
@pytest.mark.slow
@pytest.mark.once
@lasting
@isolations
async def test_two_processes_add_up_to_twenty_thousand(backend, isolation):
    if isinstance(backend, SQLiteState):
        args = ["sqlite", str(backend.path), backend.key, isolation, "5000"]
    else:
        args = ["redis", backend.url, backend.key, isolation, "5000"]
    with trio.fail_after(250):
        async with child(CHILD, *args) as one, child(CHILD, *args) as other:
            for process in (one, other):
                await process.stdin.send_all(b"go\n")
        assert (one.returncode, other.returncode) == (0, 0)
    assert (await backend.load())[0] == 20_000


@SERVER
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal here")
async def test_after_a_kill_the_state_is_the_last_that_was_answered_or_the_one_in_flight(tmp_path):
    path = tmp_path / "state.db"
    total = 0
    with trio.fail_after(100):
        for tries in range(5):
            said = b""
            async with child(KILLED, os.fspath(path)) as process:
                while said.count(b"\n") < 20 + 7 * tries:
                    said += await process.stdout.receive_some()
                process.kill()
                async for more in process.stdout:
                    said += more
            last = int(said.rpartition(b"\n")[0].split()[-1])
            total, _ = await SQLiteState(path).load()
            assert last <= total <= last + 1
    assert total > 100
