"""A server: its handlers, its workers, and how it ends."""

import itertools
import math
import sys

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from poolder_trio import (
    Broker,
    Closed,
    Continue,
    GenPool,
    GenPoolWorker,
    Instrument,
    JobCancelled,
    JobTimeout,
    MemoryState,
    QueueFull,
    Restart,
    RestartLimitExceeded,
    SQLiteState,
    Stop,
    TooManyRequests,
    Update,
    WorkerCrashed,
    reads_state,
    whereis,
)
from poolder_trio.testing import CancelAt

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

BOTH = pytest.mark.parametrize("shared", [True, False])


class ExampleGenPool(GenPool):
    """The example of the seed's README."""

    pool_size = 5
    shared_state = True
    broker = Broker()
    backend = MemoryState()

    async def init(self):
        return {"count": 0}

    async def handle_call(self, request, state):
        _, value = request
        return state["count"] + value, {**state, "count": state["count"] + value}

    async def handle_cast(self, request, state):
        _, value = request
        return {**state, "count": state["count"] + value}


class MyGenPoolBroker(GenPool):
    """The broker of the seed's README: ``filo`` is our ``lifo``."""

    broker = Broker(workers="lifo", order="fifo", timeout=10.0, min=0, max=math.inf)

    async def handle_call(self, request, state):
        return request, state


async def test_readme_running_in_iex():
    async with ExampleGenPool(name="ExampleGenPool") as pool:
        assert await pool.call(("add", 5)) == 5
        assert await pool.cast(("add", 5)) is None
        await pool.wait_idle()
        assert await pool.call(("add", 5)) == 15


async def test_readme_start_link():
    async with trio.open_nursery() as nursery:
        pool = await nursery.start(ExampleGenPool(name="example").run)
        assert await pool.get_state() == {"count": 0}
        pool.close()


async def test_readme_add_finds_the_server_by_its_name():
    async with ExampleGenPool(name="example"):
        assert await whereis("example").call(("add", 1)) == 1


async def test_readme_add_casting():
    async with ExampleGenPool() as pool:
        pool.cast_nowait(("add", 3))
        await pool.wait_idle()
        assert await pool.get_state() == {"count": 3}


async def test_readme_own_broker():
    async with MyGenPoolBroker() as pool:
        assert await pool.call("echo") == "echo"


async def test_readme_max_throws_too_many_requests_on_casts_and_calls():
    class Full(ExampleGenPool):
        broker = Broker(max=2)

    async with Full() as pool:
        pool.pause()
        for _ in range(2):
            await pool.cast(("add", 1))
        with pytest.raises(TooManyRequests, match="reject"):
            await pool.cast(("add", 1))
        with pytest.raises(TooManyRequests, match="reject"):
            pool.cast_nowait(("add", 1))
        with pytest.raises(TooManyRequests, match="reject"):
            await pool.call(("add", 1))
        assert pool.statistics().dropped == 3
    assert pool.report.completed == 2


class Counter(GenPool):
    """Counts; what to do comes as a function of the state."""

    pool_size = 3

    async def init(self, start=0):
        await trio.lowlevel.checkpoint()
        return start

    async def handle_call(self, request, state):
        return await request(state)

    async def handle_cast(self, request, state):
        return await request(state)

    async def handle_continue(self, arg, state):
        return await arg(state)


async def add_one(state):
    await trio.lowlevel.checkpoint()
    return state + 1


async def count(state):
    await trio.lowlevel.checkpoint()
    return state + 1, state + 1


async def read(state):
    return state, state


async def fail(state):
    await trio.lowlevel.checkpoint()
    raise ValueError("broken")


# -- handlers


@BOTH
async def test_the_state_is_there_as_soon_as_the_block_is_entered(shared):
    async with Counter(shared_state=shared, args={"start": 7}) as pool:
        assert await pool.call(read) == 7


async def test_what_init_raises_fails_the_entering():
    class Unable(Counter):
        async def init(self):
            raise ValueError("no")

    for shared in (True, False):
        with pytest.raises(ExceptionGroup):
            async with Unable(shared_state=shared, restart=Restart(5)):
                pytest.fail("it was entered")


async def test_a_handlers_exception_reaches_its_caller_and_changes_nothing():
    async with Counter() as pool:
        await pool.call(count)
        with pytest.raises(ValueError, match="broken") as caught:
            await pool.call(fail)
        assert "Counter[" in caught.value.__notes__[0]
        assert await pool.get_state() == 1
        assert len(pool.children()) == 3
    assert pool.report.failed == 1


@pytest.mark.parametrize("wrong", [5, None, (1,), (1, 2, 3), [1, 2]])
async def test_a_call_that_is_not_answered_with_a_pair_says_what_is_expected(wrong):
    async def handle(state):
        return wrong

    async with Counter() as pool:
        with pytest.raises(TypeError, match=r"handle_call must return \(reply, new_state\)"):
            await pool.call(handle)
        assert await pool.get_state() == 0


async def test_info_is_ignored_unless_it_is_handled():
    class Informed(Counter):
        async def handle_info(self, message, state):
            return state + message

    for kind, expected in ((Counter, 0), (Informed, 5)):
        async with kind() as pool:
            pool.send_info(5)
            await pool.wait_idle()
            assert await pool.get_state() == expected


@BOTH
async def test_continue_runs_after_the_reply_and_before_other_requests_of_the_worker(
    shared, autojump_clock
):
    order = []

    async def first(state):
        order.append("call")
        return Continue(then, state=state + 1, reply="at once")

    async def then(state):
        order.append("continued")
        await trio.sleep(1)
        order.append("end")
        return state + 10

    async def other(state):
        order.append(f"other at {state}")
        return state, state

    async with Counter(shared_state=shared, pool_size=1) as pool:
        async with trio.open_nursery() as nursery:

            async def call():
                assert await pool.call(first) == "at once"
                assert trio.current_time() < 0.5

            nursery.start_soon(call)
            await wait_all_tasks_blocked()
            nursery.start_soon(pool.call, other)
        assert order == ["call", "continued", "end", "other at 11"]
    assert pool.report.completed == 3


@BOTH
async def test_continue_from_init_is_done_when_the_block_is_entered(shared):
    class Loading(Counter):
        async def init(self):
            return Continue("load", state=1)

        async def handle_continue(self, arg, state):
            if arg == "load":
                return Continue("more", state=state + 1)
            return state * 10

    async with Loading(shared_state=shared) as pool:
        assert await pool.call(read) == 20


@BOTH
async def test_continue_from_init_needs_a_state(shared):
    class Stateless(Counter):
        async def init(self):
            return Continue("load")

    with pytest.raises(ExceptionGroup) as caught:
        async with Stateless(shared_state=shared):
            pass
    error = caught.value
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    assert "needs the first state" in str(error)


@BOTH
async def test_an_update_changes_the_state_and_may_make_the_reply_of_it(shared):
    async def change(state):
        return Update(lambda n: n + 5, reply=lambda n: f"now {n}")

    async def plain(state):
        return Update(lambda n: n + 1, reply="done")

    async with Counter(shared_state=shared, pool_size=1) as pool:
        assert await pool.call(change) == "now 5"
        assert await pool.call(plain) == "done"
        await pool.cast(plain)
        await pool.wait_idle()
        assert await pool.call(read) == 7


def test_an_update_takes_a_plain_function():
    async def change(state):
        return state

    for wrong in (5, None, change):
        with pytest.raises(TypeError, match="plain function"):
            Update(wrong)


async def test_an_update_that_raises_changes_nothing():
    async def change(state):
        return Update(lambda n: n / 0)

    async def bad_reply(state):
        return Update(lambda n: n + 1, reply=lambda n: n / 0)

    async with Counter() as pool:
        for handler in (change, bad_reply):
            with pytest.raises(ZeroDivisionError):
                await pool.call(handler)
        assert await pool.get_state() == 0


# -- crashes


@BOTH
async def test_a_crash_is_restarted_and_a_shared_state_survives(shared, caplog):
    async with Counter(shared_state=shared, pool_size=1, restart=Restart(3)) as pool:
        await pool.call(count)
        before = pool.children()
        await pool.cast(fail)
        await pool.wait_idle()
        assert pool.children() == before == [GenPoolWorker(0, "Counter[0]", busy=False)]
        assert await pool.call(read) == (1 if shared else 0)
    assert len(caplog.records) == 1


async def test_a_crash_leaves_the_block_and_the_limit_counts():
    with pytest.raises(ExceptionGroup) as caught:
        async with Counter() as pool:
            await pool.cast(fail)
            await trio.sleep_forever()
    assert isinstance(caught.value.exceptions[0], ValueError)
    with pytest.raises(ExceptionGroup) as caught:
        async with Counter(restart=Restart(2)) as pool:
            for _ in range(3):
                await pool.cast(fail)
            await trio.sleep_forever()
    assert isinstance(caught.value.exceptions[0], RestartLimitExceeded)


async def test_children_are_right_while_workers_crash(caplog):
    async with Counter(pool_size=4, restart=Restart(100)) as pool:
        for _ in range(20):
            await pool.cast(fail)
        await pool.wait_idle()
        assert [child.index for child in pool.children()] == [0, 1, 2, 3]


@pytest.mark.parametrize("isolation", ["lock", "optimistic"])
async def test_a_caller_whose_worker_is_ended_gets_an_error(isolation, autojump_clock):
    told = []

    async def slow(state):
        await trio.sleep(10)
        return 1, state + 1

    async def call():
        try:
            await pool.call(slow)
        except JobCancelled as error:
            told.append(error)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            async with Counter(isolation=isolation) as pool:
                for _ in range(3):
                    nursery.start_soon(call)
                await wait_all_tasks_blocked()
                assert sum(child.busy for child in pool.children()) == 3
                pool.cancel()
    assert len(told) == 3


async def test_a_caller_whose_worker_crashes_under_its_request_is_told(autojump_clock):
    class Dying(Counter):
        async def init(self):
            return self

        async def handle_call(self, request, state):
            worker = state._crew.seats[0].worker
            worker.stack.push_async_callback(self.die)
            state._crew.seats[0].life.cancel()
            await trio.sleep_forever()

        async def die(self):
            raise KeyError("broken stack")

    with pytest.raises((WorkerCrashed, JobCancelled, ExceptionGroup)):
        with trio.fail_after(5):
            async with Dying(pool_size=1) as pool:
                await pool.call("x")


async def test_a_job_timeout_is_told_to_the_caller(autojump_clock):
    async def slow(state):
        await trio.sleep(10)
        return 1, state + 1

    async with Counter(job_timeout=2.0) as pool:
        with pytest.raises(JobTimeout):
            await pool.call(slow)
        assert await pool.call(count) == 1


# -- the end


class Ending(Counter):
    ended: list

    async def init(self):
        self.ended = []
        return 0

    async def terminate(self, reason, state):
        await trio.sleep(1)
        self.ended.append((reason, state))


async def test_stop_finishes_what_was_accepted_and_then_terminates(autojump_clock):
    async with Ending() as pool:
        for _ in range(5):
            await pool.cast(add_one)
        pool.stop("enough")
        with pytest.raises(Closed):
            await pool.call(count)
        await pool.wait_closed()
        assert pool.ended == [("enough", 5)]
    assert pool.ended == [("enough", 5)]


async def test_the_verdict_stop_replies_ends_the_server_and_not_the_block(autojump_clock):
    async def last(state):
        return Stop("bye")

    async with Ending() as pool:
        assert await pool.call(last) == "bye"
        await pool.wait_closed()
        assert pool.ended == [("normal", 0)]

    async def last_and_change(state):
        return Stop("bye"), state + 1

    async with pool:
        assert await pool.call(last_and_change) == "bye"
    assert pool.ended == [("normal", 1)]


async def test_terminate_runs_however_the_server_ends(autojump_clock):
    async with Ending() as pool:
        await pool.call(count)
    assert pool.ended == [("normal", 1)]
    with pytest.raises(ExceptionGroup):
        async with pool:
            raise KeyError("body")
    (reason, _), *others = pool.ended
    assert isinstance(reason, KeyError)
    assert not others
    with pytest.raises(ExceptionGroup):
        async with pool:
            await pool.cast(fail)
            await trio.sleep_forever()
    ((reason, _),) = pool.ended
    assert isinstance(reason, ValueError)
    async with pool:
        pool.cancel()
        await pool.wait_closed()
        assert pool.ended == [("cancelled", 0)]


async def test_each_worker_terminates_its_own_state(autojump_clock, caplog):
    ended = []

    class Own(Counter):
        shared_state = False
        pool_size = 1
        restart = Restart(3)

        async def terminate(self, reason, state):
            ended.append((reason, state))

    async with Own() as pool:
        await pool.call(count)
        await pool.cast(fail)
        await pool.wait_idle()
        await pool.cast(add_one)
    (first, one), second = ended
    assert isinstance(first, ValueError)
    assert (one, second) == (1, ("normal", 1))


async def test_what_terminate_raises_leaves_the_block_in_a_group():
    class Grumpy(Counter):
        async def terminate(self, reason, state):
            raise LookupError("not yet")

    with pytest.raises(ExceptionGroup) as caught:
        async with Grumpy():
            pass
    assert [type(error) for error in caught.value.exceptions] == [LookupError]
    with pytest.raises(ExceptionGroup) as caught:
        async with Grumpy():
            raise KeyError("body")
    assert {type(error) for error in caught.value.exceptions} == {KeyError, LookupError}


async def test_a_terminate_that_hangs_is_cut_when_grace_is_over(autojump_clock):
    class Hanging(Counter):
        async def terminate(self, reason, state):
            await trio.sleep_forever()

    with trio.fail_after(10):
        async with Hanging(grace=2.0):
            pass
    assert trio.current_time() == pytest.approx(2.0)


# -- waiting for oneself


@pytest.mark.parametrize("isolation", ["lock", "optimistic"])
async def test_a_handler_that_would_wait_for_its_own_server_is_refused(isolation):
    told = []

    async def selfish(state):
        for wait in (pool.wait_idle, pool.wait_closed):
            with pytest.raises(RuntimeError, match="for ever"):
                await wait()
        if isolation == "lock":
            with pytest.raises(RuntimeError, match="for ever"):
                await pool.call(count)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(in_a_nursery)
        told.append(await pool.get_state())
        await pool.cast(add_one)
        return "done", state

    async def in_a_nursery():
        with pytest.raises(RuntimeError, match="for ever"):
            await pool.call(count)

    with trio.fail_after(5):
        async with Counter(isolation=isolation) as pool:
            assert await pool.call(selfish) == "done"
            await pool.wait_idle()
            assert await pool.get_state() == 1
    assert told == [0]


async def test_a_handler_that_reads_may_call_its_server():
    class Reading(GenPool):
        pool_size = 2

        @reads_state
        async def handle_call(self, request, state):
            return (await self.call(request - 1) if request else "deep"), state

    async with Reading() as pool:
        assert await pool.call(1) == "deep"
        with pytest.raises(RuntimeError, match="for ever"):
            await pool.call(2)


async def test_a_cast_to_a_full_broker_by_who_has_the_lock_is_refused():
    async def greedy(state):
        for _ in range(3):
            await pool.cast(add_one)
        return None, state

    with trio.fail_after(5):
        async with Counter(broker=Broker(max=0, overflow="wait"), pool_size=3) as pool:
            await wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="cast to a full broker"):
                await pool.call(greedy)


# -- what is refused


def test_options_are_checked_where_they_are_written():
    with pytest.raises(TypeError, match="broker must be a Broker"):
        Counter(broker=5)
    with pytest.raises(ValueError, match="isolation must be one of 'lock', 'optimistic'"):
        Counter(isolation="none")
    with pytest.raises(TypeError, match="backend must be a StateBackend"):
        Counter(backend=MemoryState)
    with pytest.raises(ValueError, match="shared_state=False"):
        Counter(shared_state=False, backend=SQLiteState("x"))
    with pytest.raises(TypeError, match="needs a handler"):
        GenPool()
    with pytest.raises(TypeError, match="handle_call must be an async def"):
        type("Wrong", (GenPool,), {"handle_call": lambda self, request, state: None})
    with pytest.raises(ValueError, match="pool_size must be"):
        type("Wrong", (Counter,), {"pool_size": 0})
    with pytest.raises(TypeError, match="did you mean 'broker'"):
        Counter(brokers=5)
    with pytest.raises(TypeError, match="reads_state marks an async def"):
        reads_state(lambda state: None)


async def test_use_outside_of_the_block_is_closed():
    pool = Counter()
    for _ in range(2):
        for use in (pool.call, pool.cast):
            with pytest.raises(Closed):
                await use(count)
        with pytest.raises(Closed):
            pool.cast_nowait(count)
        with pytest.raises(Closed):
            pool.send_info(1)
        with pytest.raises(Closed):
            await pool.get_state()
        with pytest.raises(Closed):
            pool.children()
        pool.stop()
        pool.close()
        pool.cancel()
        await pool.wait_closed()
        async with pool:
            assert await pool.call(count) == 1


async def test_get_state_asks_for_a_worker_where_each_has_its_own():
    async with Counter(shared_state=False, pool_size=2) as pool:
        assert await pool.get_state(1) == 0
        with pytest.raises(TypeError, match="each worker has its own"):
            await pool.get_state()
        with pytest.raises(IndexError):
            await pool.get_state(2)
    async with Counter() as pool:
        with pytest.raises(TypeError, match="all workers have one"):
            await pool.get_state(0)


async def test_public_methods_are_checkpoints():
    async with Counter() as pool:
        for method in (pool.call, pool.cast):
            with assert_checkpoints():
                await method(count if method == pool.call else add_one)
        with assert_checkpoints():
            await pool.get_state()
        pool.close()
        with assert_checkpoints():
            await pool.wait_closed()


async def test_instruments_see_calls_casts_and_workers():
    seen = []

    class Watching(Instrument):
        def job_done(self, source, job):
            seen.append(job.message)

        def worker_started(self, source, worker):
            seen.append("started")

    async with Counter(pool_size=2, instruments=[Watching()]) as pool:
        await pool.call(count)
        await pool.cast(add_one)
        await pool.wait_idle()
        assert await pool.get_state() == 2
    assert seen == ["started", "started", count, add_one]


async def test_two_servers_on_the_default_broker_never_answer_each_others_calls():
    class Named(GenPool):
        async def init(self, who):
            return who

        async def handle_call(self, request, state):
            await trio.lowlevel.checkpoint()
            return (state, request), state

    async def ask(pool, who, number):
        assert await pool.call(number) == (who, number)

    async with Named(args={"who": "a"}) as a, Named(args={"who": "b"}) as b:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ask, a, "a", number)
                nursery.start_soon(ask, b, "b", number)


async def test_a_full_broker_that_waits_makes_casts_wait_and_the_nowait_form_says_so():
    async with Counter(broker=Broker(max=1, overflow="wait", timeout=math.inf)) as pool:
        pool.pause()
        await pool.cast(add_one)
        with pytest.raises(QueueFull):
            pool.cast_nowait(add_one)
        pool.resume()
        await pool.cast(add_one)
    assert pool.report.completed == 2


async def test_a_server_cancelled_at_any_step_of_its_opening_and_end_leaves_nothing():
    for step in itertools.count(1):
        pool = Counter(pool_size=2)
        with CancelAt(step) as cut:
            async with pool:
                await pool.call(count)
                await pool.cast(add_one)
        stats = pool.statistics()
        assert not stats.running
        assert not stats.waiting
        if not cut.reached:
            assert step > 10
            break


async def test_continue_is_obeyed_where_instruments_see_every_job(autojump_clock):
    order = []

    async def first(state):
        return Continue(then, state=state + 1, reply="at once")

    async def then(state):
        order.append("continued")
        return state + 10

    async def other(state):
        order.append("other")
        return state

    options = {"pool_size": 1, "instruments": [Instrument()], "job_timeout": 5.0}
    async with Counter(broker=Broker(order="priority"), **options) as pool:
        pool.pause()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.call, first)
            await wait_all_tasks_blocked()
            await pool.cast(other)
            pool.resume()
        await pool.wait_idle()
        assert await pool.get_state() == 11
    assert order == ["continued", "other"]
