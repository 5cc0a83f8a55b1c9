"""Runs that can be had again: what is drawn from the seed, what is refused, what is given back."""

import contextvars
import math
import os
import random
import signal
import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest
import trio
import trio.testing
from trio import _threads as trio_threads
from trio._core import _run as trio_run

from poolder_trio import (
    GenPool,
    JobPool,
    Pool,
    ProcessExecutor,
    RedisState,
    Retry,
    Scheduler,
    SQLiteState,
    Tasker,
    ThreadExecutor,
    Worker,
)
from poolder_trio.testing import choices, simulate, wall_clock

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

SEEDS = range(8)


async def order_of_tasks():
    """Twenty tasks that are ready at once, three times."""
    order = []

    async def note(number):
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(note, number)
    return order


async def order_of_cancellation():
    """Tasks that are told, in Trio's abort functions, that they are cancelled at once."""
    order = []

    async def wait(number):
        def abort(_):
            order.append(number)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def wait_in_a_scope(number):
        with trio.CancelScope():
            await wait(number)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(wait, number)
            nursery.start_soon(wait_in_a_scope, 10 + number)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    return order


async def order_of_deadlines():
    """Scopes that end at one moment."""
    order = []

    async def wait(number):
        def abort(_):
            order.append(number)
            return trio.lowlevel.Abort.SUCCEEDED

        with trio.move_on_at(5):
            await trio.lowlevel.wait_task_rescheduled(abort)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(wait, number)
    return order


class Numbered(Worker):
    async def handle_job(self, job):
        job.append(self.index)


async def random_mode():
    """Who gets a job in the random mode."""
    taken = []
    async with Pool(Numbered, pool_size=5, mode="random") as pool:
        for _ in range(20):
            await pool.cast(taken)
    return taken


async def jitter():
    """When a job is tried again."""
    tries = []

    async def fail():
        tries.append(trio.current_time())
        raise LookupError

    async with Tasker(retry=Retry(attempts=10, backoff=1, jitter=0.5)) as tasker:
        with pytest.raises(LookupError):
            await tasker.call(fail)
    return tries


async def draws():
    """What the program draws."""
    return random.sample(range(1000), 5)


CHOICES = [
    order_of_tasks,
    order_of_cancellation,
    order_of_deadlines,
    random_mode,
    jitter,
    draws,
]


@pytest.mark.parametrize("main", CHOICES)
def test_the_same_seed_is_the_same_run(main):
    assert [simulate(main, seed=s) for s in SEEDS] == [simulate(main, seed=s) for s in SEEDS]


@pytest.mark.parametrize("main", CHOICES)
def test_another_seed_is_another_run(main):
    runs = {tuple(simulate(main, seed=seed)) for seed in SEEDS}
    assert len(runs) == len(SEEDS)


def test_scopes_of_one_deadline_end_in_the_order_in_which_they_were_entered():
    assert simulate(order_of_deadlines, seed=1) == [
        number for number in order_of_one_pass(1) if number >= 0
    ]


def order_of_one_pass(seed):
    """In which order twenty tasks begin."""

    async def main():
        order = []

        async def begin(number):
            order.append(number)
            with trio.move_on_at(5):
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(begin, number)
        return order

    return simulate(main, seed=seed)


PROGRAM = """
import hashlib, test_simulation as tests
from poolder_trio.testing import simulate
found = [simulate(main, seed=seed) for main in tests.CHOICES for seed in tests.SEEDS]
print(hashlib.sha256(repr(found).encode()).hexdigest())
"""


def in_a_process(program, hash_seed="random"):
    """What a program prints."""
    path = [str(Path(__file__).parent), *sys.path]
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
        timeout=60,
    ).stdout


@pytest.mark.server
@pytest.mark.slow
def test_the_same_seed_is_the_same_run_in_every_process():
    assert len({in_a_process(PROGRAM, hash_seed) for hash_seed in ("0", "1", "random")}) == 1


# What is given back.


def private():
    names = ("_r", "_ALLOW_DETERMINISTIC_SCHEDULING", "CancelStatus", "id")
    found = [vars(trio_run).get(name) for name in names]
    return [*found, trio_threads.start_thread_soon, random.getstate()]


async def returns():
    random.shuffle([1, 2, 3])


async def fails():
    raise OSError


async def is_interrupted():
    raise KeyboardInterrupt


async def exits():
    raise SystemExit(3)


async def presses_ctrl_c():
    signal.raise_signal(signal.SIGINT)
    await trio.sleep(1)


@pytest.mark.parametrize(
    ("main", "raised"),
    [
        (returns, None),
        (fails, OSError),
        (is_interrupted, KeyboardInterrupt),
        (exits, SystemExit),
        (presses_ctrl_c, KeyboardInterrupt),
        (trio.sleep_forever, RuntimeError),
    ],
)
def test_what_was_replaced_is_given_back(main, raised, own_sigint):
    before = private()
    if raised is None:
        simulate(main, seed=1)
    else:
        with pytest.raises(raised):
            simulate(main, seed=1)
    assert private() == before
    assert simulate(draws, seed=1) == simulate(draws, seed=1)


BROKEN = """
import test_simulation as tests, trio
from poolder_trio.testing import simulate

async def main():
    tests.trio_run.GLOBAL_RUN_CONTEXT.runner.clock.deadline_to_sleep_time = None
    await trio.sleep(1)

before = tests.private()
try:
    simulate(main, seed=1)
except trio.TrioInternalError:
    print(tests.private() == before)
"""


@pytest.mark.server
@pytest.mark.slow
def test_what_was_replaced_is_given_back_when_trio_itself_comes_down():
    assert in_a_process(BROKEN) == "True\n"


# One at a time.


async def test_a_simulation_inside_of_a_run_is_refused():
    with pytest.raises(RuntimeError, match="inside of one"):
        simulate(returns, seed=1)


def test_a_simulation_inside_of_a_simulation_is_refused():
    async def main():
        with pytest.raises(RuntimeError, match="inside of one"):
            simulate(returns, seed=1)
        return await draws()

    assert simulate(main, seed=1) == simulate(draws, seed=1)


def in_a_thread(fn):
    """Call it in a thread that is not Trio's, and return what it returns or raises."""
    answer = []

    def call():
        try:
            answer.append(fn())
        except RuntimeError as error:
            answer.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(20)
    return answer[0]


def test_a_simulation_in_another_thread_is_refused_meanwhile():
    async def main():
        before = private()
        refused = in_a_thread(lambda: simulate(returns, seed=1))
        assert private() == before
        return refused

    refused = simulate(main, seed=1)
    assert isinstance(refused, RuntimeError)
    assert "another simulation runs in this process" in str(refused)


def test_a_run_in_another_thread_neither_disturbs_nor_is_disturbed():
    async def beside():
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(trio.sleep, 0.001)
        return await trio.to_thread.run_sync(threading.get_ident)

    async def main():
        ran = []
        for _ in range(3):
            ran += await order_of_tasks()
            assert in_a_thread(lambda: trio.run(beside)) != threading.get_ident()
            ran += await order_of_cancellation()
        return ran

    async def alone():
        ran = []
        for _ in range(3):
            ran += await order_of_tasks()
            ran += await order_of_cancellation()
        return ran

    assert simulate(main, seed=1) == simulate(alone, seed=1)


# How it ends.


def test_it_returns_what_main_returns():
    async def main():
        await trio.sleep(10**6)
        return trio.current_time()

    assert simulate(main, seed=1) == 10**6
    assert simulate(main, seed=1, until=10**6 + 1) == 10**6


def test_main_is_cancelled_when_its_time_is_up():
    async def main():
        try:
            await trio.sleep(100)
        finally:
            ended.append(trio.current_time())

    ended = []
    with pytest.raises(trio.TooSlowError, match="not over after 60 s") as raised:
        simulate(main, seed=7, until=60)
    assert ended == [60]
    assert raised.value.__notes__ == ["in a simulation with seed=7"]


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt, SystemExit, pytest.fail.Exception])
def test_a_failure_names_its_seed(kind):
    async def main():
        raise kind

    with pytest.raises(kind) as raised:
        simulate(main, seed=41)
    assert raised.value.__notes__ == ["in a simulation with seed=41"]


def test_a_standstill_is_told_with_where_it_waits():
    async def wait_for_ever():
        await trio.Event().wait()

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_ever, name="the one who waits")
            await trio.sleep(5)

    with pytest.raises(RuntimeError, match="every task waits") as raised:
        simulate(main, seed=1)
    assert "the one who waits, " in str(raised.value)
    assert "in wait_for_ever" in str(raised.value)
    assert f"{__file__}:" in str(raised.value)


def test_a_standstill_is_told_whatever_main_makes_of_being_cut():
    async def main():
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise OSError from None

    with pytest.raises(RuntimeError, match="every task waits") as raised:
        simulate(main, seed=1)
    assert isinstance(raised.value.__context__, OSError)


def test_waiting_for_all_others_to_wait_is_no_standstill():
    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            for _ in range(5):
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        return "over"

    assert simulate(main, seed=1) == "over"


# Threads, processes, and what else is outside.

VARIABLE = contextvars.ContextVar("VARIABLE", default="nothing")


def where():
    return threading.get_ident(), VARIABLE.get()


def refuse():
    raise LookupError("no")


def makes_a_coroutine():
    return returns()


@pytest.mark.parametrize(
    ("executor", "seen"), [(ThreadExecutor(), "something"), (ProcessExecutor(), "nothing")]
)
def test_executors_call_where_they_stand(executor, seen):
    async def main():
        VARIABLE.set("something")
        async with Tasker(executor=executor) as tasker:
            with pytest.raises(LookupError, match="no"):
                await tasker.call(refuse)
            with pytest.raises(TypeError, match=r"coroutine|asynchronous"):
                await tasker.call(makes_a_coroutine)
            return await tasker.call(where)

    assert simulate(main, seed=1) == (threading.get_ident(), seen)


def test_functions_for_threads_are_called_at_once():
    async def main():
        with pytest.raises(LookupError, match="no"):
            await trio.to_thread.run_sync(refuse)
        with pytest.raises(RuntimeError, match="call it from a thread"):
            await trio.to_thread.run_sync(trio.from_thread.run_sync, where)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            at, (thread, _) = trio.current_time(), await trio.to_thread.run_sync(where)
            return thread, trio.current_time() - at

    assert simulate(main, seed=1) == (threading.get_ident(), 0)


@pytest.mark.parametrize(
    "state", [SQLiteState("state.db"), RedisState("redis://127.0.0.1:1", "key")]
)
def test_states_that_outlive_the_run_are_refused(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Server(GenPool):
        shared_state = True
        backend = state

        async def init(self):
            return 0

        async def handle_call(self, message, state):
            return state

    async def main(use):
        with pytest.raises((TypeError, ExceptionGroup)) as raised:
            await use()
        return raised.value

    async def open_a_pool():
        async with Server():
            pass

    for use in (open_a_pool, state.load):
        error = simulate(lambda use=use: main(use), seed=1)
        while isinstance(error, ExceptionGroup):
            (error,) = error.exceptions
        assert isinstance(error, TypeError)
        assert "MemoryState" in str(error)
    assert list(tmp_path.iterdir()) == []


# Dates.


def test_dates_begin_at_one_moment_and_go_on_for_all_components():
    async def main():
        begun = []

        async def note():
            begun.append(trio.current_time())

        async with Scheduler() as early:
            early.schedule("early", "30 1 * * *", note)
            await trio.sleep(3600)
            async with Scheduler() as late:
                late.schedule("late", "0 2 * * *", note)
                await trio.sleep(7200)
        return begun

    assert simulate(main, seed=1) == [5400, 7200]


def test_a_wall_clock_works_inside():
    async def main():
        clock = wall_clock(datetime(2024, 1, 1, 12, tzinfo=timezone.utc))
        fired = []

        async def note():
            fired.append(clock())

        async with JobPool(clock=clock) as pool:
            await pool.perform_at(datetime(2024, 2, 29, tzinfo=timezone.utc), note)
            await trio.sleep(366 * 24 * 3600)
        return fired

    assert simulate(main, seed=1) == [datetime(2024, 2, 29, tzinfo=timezone.utc)]


# What is refused.


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"seed": 1.0}, TypeError, r"seed must be an int, got 1\.0 \(simulate\)"),
        ({"seed": True}, TypeError, "seed must be an int, got True"),
        ({"seed": "1"}, TypeError, "seed must be an int, got '1'"),
        ({"seed": 1, "until": 0}, ValueError, "until must be a number of seconds > 0, got 0"),
        ({"seed": 1, "until": math.nan}, ValueError, "got nan"),
        ({"seed": 1, "until": None}, TypeError, "got None"),
        ({"seed": 1, "faults": None}, TypeError, "faults"),
        ({}, TypeError, "seed"),
    ],
)
def test_wrong_arguments_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        simulate(returns, **options)


def test_what_is_no_async_function_is_refused():
    with pytest.raises(TypeError, match="main must be an async function that takes no arguments"):
        simulate(None, seed=1)
    with pytest.raises(TypeError, match=r"main must be an async function, got .* returned 3"):
        simulate(lambda: 3, seed=1)
    coroutine = returns()
    with pytest.raises(TypeError, match="got <coroutine"):
        simulate(coroutine, seed=1)
    coroutine.close()


@pytest.mark.parametrize("names", ["_IN_RUN", "_IN_THREADS"])
@pytest.mark.parametrize("missing", ["_what_was_there", "CancelScope._what_was_there"])
def test_a_trio_that_has_not_what_is_needed_is_refused_in_one_message(names, missing, monkeypatch):
    monkeypatch.setattr(choices, names, (*getattr(choices, names), missing))
    before = private()
    with pytest.raises(RuntimeError, match=rf"Trio {trio.__version__} has not .*has no") as raised:
        simulate(returns, seed=1)
    assert isinstance(raised.value.__cause__, AttributeError)
    assert private() == before


def test_a_trio_without_one_of_its_modules_is_refused_in_the_same_message(monkeypatch):
    monkeypatch.setitem(sys.modules, "trio._threads", None)
    with pytest.raises(RuntimeError, match=rf"Trio {trio.__version__} has not .*_threads"):
        simulate(returns, seed=1)


def test_all_that_stands_in_for_trio_is_used():
    """Where Trio asks for something else, the same seed would no longer be the same run."""
    code = trio_run.Deadlines.add.__code__
    assert "id" in code.co_names
    assert "CancelStatus" in trio_run.CancelScope.__enter__.__code__.co_names
    unrolled = trio_run.unrolled_run.__code__.co_names
    assert {"_ALLOW_DETERMINISTIC_SCHEDULING", "_r", "shuffle"} <= {*unrolled}
    assert "start_thread_soon" in trio_threads.to_thread_run_sync.__code__.co_names


def test_a_standstill_under_a_shield_is_told_as_well():
    async def shielded():
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                with trio.CancelScope(shield=True):
                    await trio.sleep_forever()

    with pytest.raises(RuntimeError, match="every task waits"):
        simulate(shielded, seed=1)


def test_the_first_run_in_a_process_is_as_those_after_it():
    """Intervals are made once in a process, and must draw nothing when they are."""

    async def main():
        async with Scheduler() as scheduler:
            scheduler.schedule("made here for the first time", 7.03125, trio.sleep, 0)
            scheduler.schedule("never made before", "17 */3 */5 2 * *", trio.sleep, 0)
        return random.getrandbits(64)

    assert simulate(main, seed=1) == simulate(main, seed=1)
