"""Functions in threads: they see and reach Trio, and cancelling waits for them or lets them go."""

import functools
import math
import threading
from contextvars import ContextVar

import pytest
import trio

from poolder_trio.abc import Executor
from poolder_trio.executors.thread import ThreadExecutor

name = ContextVar("name", default="nobody")


class AsyncCallable:
    async def __call__(self):
        pass


async def stream():
    yield 1


async def test_a_function_runs_in_another_thread_and_its_result_comes_back():
    async with ThreadExecutor().open(idle=math.inf) as run:
        assert await run(math.factorial, (5,)) == 120
        assert await run(threading.get_ident, ()) != threading.get_ident()


async def test_what_it_raises_is_raised():
    async with ThreadExecutor().open(idle=0) as run:
        with pytest.raises(ValueError, match="factorial"):
            await run(math.factorial, (-1,))


async def test_it_sees_the_context_variables_of_its_job():
    name.set("Ada")
    async with ThreadExecutor().open(idle=math.inf) as run:
        assert await run(name.get, ()) == "Ada"


async def test_trio_can_be_reached_from_the_thread():
    async with ThreadExecutor().open(idle=math.inf) as run:
        there = await run(trio.from_thread.run_sync, (threading.get_ident,))
    assert there == threading.get_ident()


async def test_other_users_of_threads_do_not_take_its_places():
    limiter = trio.to_thread.current_default_thread_limiter()
    for borrower in range(int(limiter.total_tokens)):
        await limiter.acquire_on_behalf_of(borrower)
    with trio.fail_after(10):
        async with ThreadExecutor().open(idle=math.inf) as run:
            assert await run(abs, (-1,)) == 1


async def test_a_cancelled_function_is_waited_for_and_its_result_stands():
    begun, go_on = trio.Event(), threading.Event()

    def work():
        trio.from_thread.run_sync(begun.set)
        assert go_on.wait(10)
        return "done"

    async with ThreadExecutor().open(idle=math.inf) as run:
        results = []

        async def job():
            results.append(await run(work, ()))

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(job)
                await begun.wait()
                nursery.cancel_scope.cancel()
                go_on.set()
    assert results == ["done"]


async def test_a_cancelled_function_may_ask_whether_it_is():
    begun = trio.Event()

    def work():
        trio.from_thread.run_sync(begun.set)
        while True:
            trio.from_thread.check_cancelled()

    async with ThreadExecutor().open(idle=math.inf) as run:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, work, ())
                await begun.wait()
                nursery.cancel_scope.cancel()


async def test_a_cancelled_function_is_abandoned_if_so_asked():
    begun, go_on, ended = trio.Event(), threading.Event(), threading.Event()

    def work():
        trio.from_thread.run_sync(begun.set)
        assert go_on.wait(10)
        ended.set()

    with trio.fail_after(10):
        async with ThreadExecutor(abandon_on_cancel=True).open(idle=math.inf) as run:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, work, ())
                await begun.wait()
                nursery.cancel_scope.cancel()
    assert not ended.is_set()
    go_on.set()
    assert ended.wait(10)


@pytest.mark.parametrize(
    "fn", [trio.sleep, functools.partial(trio.sleep, 1), AsyncCallable(), stream]
)
def test_async_functions_are_refused(fn):
    with pytest.raises(TypeError, match=r"got the async .*: async functions run without an exec"):
        ThreadExecutor().check(fn)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match=r"got 'abs', which cannot be called: pass the function"):
        ThreadExecutor().check("abs")


@pytest.mark.parametrize("fn", [abs, int, AsyncCallable, functools.partial(pow, 2), lambda: 1])
def test_other_callables_are_accepted(fn):
    ThreadExecutor().check(fn)


def test_it_is_an_executor_whose_option_is_checked():
    assert isinstance(ThreadExecutor(), Executor)
    assert ThreadExecutor() == ThreadExecutor(abandon_on_cancel=False)
    with pytest.raises(TypeError, match="abandon_on_cancel must be True or False, got 1"):
        ThreadExecutor(abandon_on_cancel=1)
