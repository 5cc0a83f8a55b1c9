"""Functions in processes: a process that dies takes one job along, and none outlives the block."""

import math
import multiprocessing
import operator
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import asynccontextmanager
from importlib.util import find_spec

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from trio_parallel import BrokenWorkerError

from poolder_trio.abc import Executor
from poolder_trio.errors import WorkerCrashed
from poolder_trio.executors.process import ProcessExecutor

# Processes import it: what stands in a test's own file is out of their reach.
ERRANDS = """
import threading


class Twofold(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class Unloadable:
    def __reduce__(self):
        return int, ("no number",)


class Unfit(Exception):
    __reduce__ = Unloadable.__reduce__


def stumble(error):
    try:
        1 / 0
    except ZeroDivisionError:
        raise error  # this very line


def stumble_twofold():
    raise Twofold(1, 2)


def stumble_with_a_lock():
    error = ValueError("held")
    error.lock = threading.Lock()
    raise error


def stumble_unfit():
    raise Unfit("held")


async def wander():
    pass


def returns_a_coroutine():
    return wander()
"""


@pytest.fixture(scope="module")
def errands(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errands")
    (folder / "errands_of_processes.py").write_text(ERRANDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import errands_of_processes  # noqa: PLC0415

        yield errands_of_processes
        del sys.modules["errands_of_processes"]


@asynccontextmanager
async def processes(idle=math.inf):
    with trio.fail_after(60):
        async with ProcessExecutor().open(idle=idle) as run:
            yield run


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def kill_idle():
    [process] = multiprocessing.active_children()
    process.kill()
    process.join()


def text_of(error):
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


# -- results and errors


@pytest.mark.server
async def test_a_function_runs_in_a_process_that_stays_warm_for_the_next():
    async with processes() as run:
        assert await run(math.factorial, (5,)) == 120
        pid = await run(os.getpid, ())
        assert pid != os.getpid()
        assert await run(os.getpid, ()) == pid


@pytest.mark.server
async def test_functions_run_side_by_side():
    async with processes() as run:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, time.sleep, (0.1,))
            nursery.start_soon(run, time.sleep, (0.1,))
        assert len(multiprocessing.active_children()) == 2


@pytest.mark.server
async def test_an_exception_brings_its_traceback_and_its_context(errands):
    async with processes() as run:
        with pytest.raises(KeyError, match="lost") as caught:
            await run(errands.stumble, (KeyError("lost"),))
    assert "raise error  # this very line" in text_of(caught.value)
    assert isinstance(caught.value.__context__, ZeroDivisionError)


@pytest.mark.server
async def test_an_exception_may_have_arguments_of_its_own(errands):
    async with processes() as run:
        with pytest.raises(errands.Twofold, match="1 and 2"):
            await run(errands.stumble_twofold, ())


@pytest.mark.server
@pytest.mark.parametrize(
    ("fn", "kind"), [("stumble_with_a_lock", "ValueError"), ("stumble_unfit", "Unfit")]
)
async def test_an_exception_that_cannot_be_pickled_comes_as_text(errands, fn, kind):
    async with processes() as run:
        with pytest.raises(TypeError, match=f"{fn} raised {kind}, which can't be") as caught:
            await run(getattr(errands, fn), ())
        assert await run(abs, (-1,)) == 1
    [note] = caught.value.__notes__
    assert f"{kind}: held" in note
    assert f"in {fn}" in note


# -- crashes


@pytest.mark.server
@pytest.mark.parametrize(
    ("fn", "arg"), [(os._exit, 3), (signal.raise_signal, signal.SIGTERM)], ids=["exit", "signal"]
)
async def test_a_crash_fails_its_job_alone_and_the_next_has_a_new_process(fn, arg):
    async with processes() as run:
        pid = await run(os.getpid, ())
        with pytest.raises(WorkerCrashed, match=f"that ran {fn.__name__} died") as caught:
            await run(fn, (arg,))
        assert isinstance(caught.value.__cause__, BrokenWorkerError)
        assert await run(os.getpid, ()) != pid


@pytest.mark.server
async def test_a_process_killed_while_idle_is_replaced_and_fails_no_job():
    async with processes() as run:
        pid = await run(os.getpid, ())
        kill_idle()
        assert await run(os.getpid, ()) != pid


# -- cancelling and leaving


@pytest.mark.server
async def test_cancelling_a_job_kills_its_process():
    async with processes() as run:
        pid = await run(os.getpid, ())
        with trio.fail_after(5):
            with trio.move_on_after(0.1) as scope:
                await run(time.sleep, (20,))
        assert scope.cancelled_caught
        assert is_gone(pid)
        assert await run(os.getpid, ()) != pid


@pytest.mark.server
async def test_its_processes_are_gone_when_the_block_is_left():
    async with processes() as run:
        pid = await run(os.getpid, ())
    assert is_gone(pid)


@pytest.mark.server
async def test_its_processes_are_gone_when_the_block_is_cancelled():
    pids = []
    with trio.CancelScope() as scope:
        async with processes() as run, trio.open_nursery() as nursery:
            pids.append(await run(os.getpid, ()))
            nursery.start_soon(run, time.sleep, (20,))
            await wait_all_tasks_blocked()
            pids.append(await run(os.getpid, ()))
            scope.cancel()
    assert len(set(pids)) == 2
    assert all(map(is_gone, pids))


@pytest.mark.server
async def test_a_process_killed_while_idle_does_not_disturb_leaving():
    async with processes() as run:
        pid = await run(os.getpid, ())
        kill_idle()
    assert is_gone(pid)


@pytest.mark.server
async def test_an_error_in_the_block_is_not_hidden_by_a_killed_process():
    async def block():
        async with processes() as run:
            await run(abs, (-1,))
            kill_idle()
            raise BrokenWorkerError("of the block")

    with pytest.raises(BrokenWorkerError, match="of the block"):
        await block()


@pytest.mark.server
async def test_an_idle_process_ends_after_its_time_and_comes_back_when_needed():
    async with processes(idle=0.05) as run:
        pid = await run(os.getpid, ())
        [process] = multiprocessing.active_children()
        await trio.to_thread.run_sync(process.join, 30)
        assert is_gone(pid)
        assert await run(os.getpid, ()) != pid


# -- pickling


@pytest.mark.server
async def test_an_argument_that_cannot_be_pickled_is_named():
    async with processes() as run:
        with pytest.raises(TypeError, match=r"argument 2 \(`<unlocked .*`\) of add can't be pick"):
            await run(operator.add, (1, threading.Lock()))
        assert await run(operator.add, (1, 2)) == 3


@pytest.mark.server
async def test_an_argument_that_the_process_cannot_load_is_named(errands):
    async with processes() as run:
        with pytest.raises(TypeError, match=r"argument 1 \(.*\) of abs can't be .*: invalid lit"):
            await run(abs, (errands.Unloadable(),))


@pytest.mark.server
async def test_a_function_that_cannot_be_pickled_is_named():
    async with processes() as run:
        with pytest.raises(TypeError, match=r"^lock\.acquire can't be pickled .* top of a module"):
            await run(threading.Lock().acquire, ())


@pytest.mark.server
@pytest.mark.skipif(bool(find_spec("cloudpickle")), reason="cloudpickle takes any function")
async def test_a_lambda_is_refused_with_what_to_do():
    async with processes() as run:
        with pytest.raises(TypeError, match=r"<lambda> can't be pickled .*top of a module"):
            await run(lambda: 1, ())


@pytest.mark.server
@pytest.mark.skipif(not find_spec("cloudpickle"), reason="pickle refuses lambdas")
async def test_a_lambda_runs_where_cloudpickle_is_installed():
    async with processes() as run:
        assert await run(lambda: 1, ()) == 1


@pytest.mark.server
async def test_a_result_that_cannot_be_pickled_is_told_from_arguments(errands):
    async with processes() as run:
        with pytest.raises(TypeError, match=r"what .*lock returned can't be pickled .*'_thread"):
            await run(threading.Lock, ())
        with pytest.raises(TypeError, match=r"what Unloadable returned .* loaded here: invalid"):
            await run(errands.Unloadable, ())
        assert await run(abs, (-1,)) == 1


@pytest.mark.server
async def test_a_coroutine_as_result_is_refused(errands):
    async with processes() as run:
        with pytest.raises(TypeError, match="returns_a_coroutine returned a coroutine: async"):
            await run(errands.returns_a_coroutine, ())


# -- what it is


def test_async_functions_are_refused():
    with pytest.raises(TypeError, match="got the async sleep: async functions run without"):
        ProcessExecutor().check(trio.sleep)
    ProcessExecutor().check(time.sleep)


def test_it_is_an_executor_without_state():
    assert isinstance(ProcessExecutor(), Executor)
    assert ProcessExecutor() == ProcessExecutor()


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "trio_parallel", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'poolder-trio\[process\]'"):
        ProcessExecutor()
