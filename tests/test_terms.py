"""What a function is called with, however it was sent and wherever it runs; what a job keeps."""

import contextlib
import contextvars
import gc
import weakref

import pytest
import trio

from poolder_trio import (
    AsyncPool,
    Instrument,
    JobCancelled,
    JobPool,
    Pool,
    Queue,
    Retry,
    Tasker,
    ThreadExecutor,
    Worker,
    await_many,
)
from poolder_trio.kernel.job import record
from poolder_trio.kernel.terms import ALL, AWAITED, MESSAGE, ONE, SENT, Terms, form_of, packed


class Pair(tuple):
    """A tuple that is one argument, like any other."""

    __slots__ = ()


#: Arguments that a shortcut for one of them would mix up with none or several.
ARGUMENTS = {
    "none": (),
    "one": (1,),
    "None": (None,),
    "an empty tuple": ((),),
    "a tuple of one": ((1,),),
    "a tuple of two": ((1, 2),),
    "a kind of tuple": (Pair((1, 2)),),
    "two": (1, 2),
    "two tuples": ((1,), ()),
}
each_arguments = pytest.mark.parametrize("args", ARGUMENTS.values(), ids=ARGUMENTS.keys())
#: Where functions take the quickest way, and where something looks at each of them.
WAYS = {
    "quick": {},
    "instruments": {"instruments": (Instrument(),)},
    "a limit for each key": {"limit_per_key": 3},
    "job_timeout": {"job_timeout": 60.0},
    "by priority": {"queue": Queue(order="priority")},
    "fair": {"queue": Queue(order="fair")},
    "dropping": {"queue": Queue(max=100, overflow="drop_newest")},
    "a thread": {"executor": ThreadExecutor()},
}
each_way = pytest.mark.parametrize("options", WAYS.values(), ids=WAYS.keys())


async def called_with(*args):
    return args


def called_in_a_thread_with(*args):
    return args


@each_way
@each_arguments
async def test_a_function_is_called_with_what_was_submitted(args, options, autojump_clock):
    fn = called_in_a_thread_with if "executor" in options else called_with
    async with Tasker(limit=2, **options) as tasker:
        jobs = [tasker.submit_nowait(fn, *args) for _ in range(5)]
        jobs.append(await tasker.submit(fn, *args))
        assert [job.args for job in jobs] == [args] * 6
        assert await await_many(jobs) == [args] * 6
        assert await tasker.call(fn, *args) == args
    for job in jobs:
        assert job.args == args
        assert type(job.result()) is tuple
        assert f"{fn.__name__}(" in repr(job)


@each_way
@each_arguments
async def test_a_function_is_called_with_what_was_executed(args, options, autojump_clock):
    seen = []

    async def note(*args):
        seen.append(args)

    def note_in_a_thread(*args):
        seen.append(args)

    fn = note_in_a_thread if "executor" in options else note
    async with Tasker(limit=2, **options) as tasker:
        for _ in range(5):
            tasker.execute_nowait(fn, *args)
        await tasker.execute(fn, *args)
    assert seen == [args] * 6
    assert tasker.report.completed == 6


@pytest.mark.parametrize(
    "options", [way for way in WAYS.values() if "executor" not in way], ids=list(WAYS)[:-1]
)
@each_arguments
async def test_ctrl_c_finds_a_function_as_other_user_code(args, options):
    async def is_protected(*_):
        before = trio.lowlevel.currently_ki_protected()
        await trio.lowlevel.checkpoint()
        return before or trio.lowlevel.currently_ki_protected()

    async with Tasker(limit=1, **options) as tasker:
        jobs = [tasker.submit_nowait(is_protected, *args) for _ in range(3)]
        assert await await_many(jobs) == [False] * 3


@each_way
@each_arguments
async def test_it_is_called_with_the_same_in_every_try(args, options, autojump_clock):
    seen, asked = [], []

    class Asking(Tasker):
        async def handle_error(self, call, attempt, error):
            asked.append((call.fn, call.args, attempt))

    async def fail_twice(*args):
        seen.append(args)
        if len(seen) % 3:
            raise ValueError(args)
        return args

    def fail_twice_in_a_thread(*args):
        seen.append(args)
        if len(seen) % 3:
            raise ValueError(args)
        return args

    fn = fail_twice_in_a_thread if "executor" in options else fail_twice
    async with Asking(limit=1, retry=Retry(attempts=3, backoff=1.0), **options) as tasker:
        job = tasker.submit_nowait(fn, *args)
        assert await job.wait() == args
        assert job.attempt == 3
        await tasker.execute(fn, *args)
    assert seen == [args] * 6
    assert asked == [(fn, args, 1), (fn, args, 2)] * 2


@pytest.mark.parametrize("name", ["perform_many", "async_perform_many"])
async def test_each_input_of_many_is_one_argument(name):
    seen = []

    async def note(value):
        seen.append(value)

    inputs = [args[0] for args in ARGUMENTS.values() if len(args) == 1]
    async with JobPool(pool_size=1) as pool:
        await getattr(pool, name)(note, inputs)
        await pool.wait_idle()
    assert seen == inputs
    assert list(map(type, seen)) == list(map(type, inputs))


async def test_each_input_of_a_map_and_of_a_stream_is_one_argument(autojump_clock):
    inputs = [args[0] for args in ARGUMENTS.values() if len(args) == 1]
    async with Tasker(limit=3) as tasker, tasker.map(called_with, inputs, ordered=True) as results:
        assert [result async for result in results] == [(value,) for value in inputs]
    async with AsyncPool(called_with, max_workers=1) as pool:
        for value in inputs:
            await pool.add_task(value)
        pool.close()
        assert [done.value async for done in pool.results] == [(value,) for value in inputs]


@each_arguments
async def test_what_never_ran_is_in_the_report_as_it_was_sent(args):
    async with Tasker(limit=1) as tasker:
        tasker.pause()
        tasker.submit_nowait(called_with, *args)
        tasker.execute_nowait(called_with, *args)
        tasker.cancel()
    assert [(call.fn, call.args) for call in tasker.report.abandoned] == [(called_with, args)] * 2


@each_arguments
async def test_what_waits_and_what_runs_is_shown_as_it_was_sent(args):
    async with JobPool(pool_size=1) as pool:
        go = trio.Event()

        async def wait(*_):
            await go.wait()

        pool.perform_nowait(wait, *args)
        pool.async_perform_nowait(wait, *args)
        await trio.testing.wait_all_tasks_blocked()
        assert [info.job.args for info in pool.workers()] == [args]
        assert [call.args for call in pool.jobs().queued] == [args]
        go.set()


@each_way
@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.parametrize("ending", ["done", "failed", "cancelled", "failed when cancelled"])
async def test_a_job_that_has_ended_does_not_hold_on_to_its_submitters_context(
    ending, attempts, options, autojump_clock
):
    if "executor" in options:
        pytest.skip("the context of a thread is Trio's")

    class Thing:
        pass

    var = contextvars.ContextVar("var")

    async def end(how):
        if how == "failed":
            raise ValueError(how)
        if "cancelled" in how:
            try:
                await trio.sleep_forever()
            finally:
                if "failed" in how:
                    raise ValueError(how)

    async def submit():
        thing = Thing()
        var.set(thing)
        refs.append(weakref.ref(thing))
        jobs.append(tasker.submit_nowait(end, ending))

    jobs, refs = [], []
    async with Tasker(limit=1, retry=Retry(attempts=attempts), **options) as tasker:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit)
        await trio.testing.wait_all_tasks_blocked()
        jobs[0].cancel()
        with trio.move_on_after(1), contextlib.suppress(ValueError, JobCancelled):
            await jobs[0].wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tasker.call, called_with)
        await tasker.wait_idle()
        gc.collect()
        assert jobs[0].status == ending.partition(" ")[0]
        assert refs[0]() is None


async def test_a_worker_that_goes_on_waiting_holds_on_to_no_job_that_was_taken_back():
    class Thing:
        pass

    thing = Thing()
    ref = weakref.ref(thing)
    async with Tasker(limit=1) as tasker:
        await tasker.call(called_with)
        await trio.testing.wait_all_tasks_blocked()
        tasker.submit_nowait(called_with, thing).cancel()
        await trio.testing.wait_all_tasks_blocked()
        del thing
        gc.collect()
        assert ref() is None


@pytest.mark.parametrize("order", ["fifo", "priority", "fair"])
async def test_a_call_that_is_sent_as_a_message_is_one(order):
    seen = []

    class Undertaker(Worker):
        async def handle_job(self, job):
            seen.append(job)

        handle_call = handle_job

    async with Tasker(limit=1) as tasker:
        tasker.pause()
        tasker.execute_nowait(called_with, 1)
        tasker.cancel()
    (call,) = tasker.report.abandoned
    async with Pool(Undertaker, queue=Queue(order=order), mode="available") as pool:
        pool.cast_nowait(call)
        await pool.cast(call)
        await pool.call(call)
    assert seen == [call] * 3


@each_arguments
def test_a_job_keeps_arguments_in_the_form_that_its_terms_say(args):
    job = record(called_with, None, Terms(form=form_of(args)), packed(args))
    assert job.args == args
    assert job.terms.form is (ONE if len(args) == 1 else ALL)


def test_a_message_has_no_arguments():
    assert record("message", None).args is None


@pytest.mark.parametrize("awaited", [True, False])
@pytest.mark.parametrize("form", [MESSAGE, ONE, ALL], ids=["message", "one", "all"])
def test_what_is_left_of_terms_is_who_waits_and_the_form(form, awaited):
    context = contextvars.copy_context()
    left = Terms(awaited, form, context, "key", 3, 0.5).ended
    assert (left.awaited, left.form) == (awaited, form)
    assert (left.context, left.key, left.priority, left.since) == (None, None, 0, None)
    assert left is left.ended


def test_messages_share_their_terms():
    assert Terms().ended is SENT
    assert Terms(awaited=True).ended is AWAITED
