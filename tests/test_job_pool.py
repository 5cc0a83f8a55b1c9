"""Functions on a named pool: fire and forget, awaited, many at once, and by name."""

import contextvars
import itertools
import math
import re

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import poolder_trio
from poolder_trio import (
    Closed,
    Instrument,
    JobPool,
    Queue,
    QueueFull,
    Rate,
    Restart,
    Tasker,
    ThreadExecutor,
    TooManyRequests,
    async_perform,
    async_perform_many,
    await_many,
    perform,
    perform_many,
    whereis,
)
from poolder_trio.testing import CancelAt


def without_address(value):
    """A name for a case that is the same in every process."""
    return re.sub(r" at 0x\w+", "", str(value))


async def double(number):
    await trio.lowlevel.checkpoint()
    return 2 * number


async def sleep_and_note(seconds, notes):
    await trio.sleep(seconds)
    notes.append(seconds)


def names(calls):
    return [call.args[0] for call in calls]


# -- what the README of the original shows


async def test_readme_perform_runs_a_job_that_nobody_waits_for():
    done = []

    async def work(what):
        done.append(what)

    async with JobPool("job", pool_size=1) as pool:
        await pool.perform(work, "a")
        await perform("job", work, "b")
        pool.perform_nowait(work, "c")
    assert done == ["a", "b", "c"]


async def test_readme_a_pool_has_five_workers_unless_told_otherwise(autojump_clock):
    async with JobPool("work") as five, JobPool("email", pool_size=2) as two:
        for pool in (five, two):
            for _ in range(10):
                await pool.perform(trio.sleep, 1)
        await wait_all_tasks_blocked()
        assert five.statistics().running == 5
        assert two.statistics().running == 2


async def test_readme_async_perform_and_await_give_the_result():
    async def get_data(user):
        return f"data of {user}"

    sent = []

    async def send_email(user, data):
        sent.append((user, data))

    async with JobPool("external_app"), JobPool("email"):
        job = await async_perform("external_app", get_data, "ann")
        data = await job.wait()
        await perform("email", send_email, "ann", data)
    assert sent == [("ann", "data of ann")]


async def test_readme_any_name_that_is_free_will_do_and_a_taken_one_will_not():
    async with JobPool("email") as pool:
        assert whereis("email") is pool
        with pytest.raises(poolder_trio.DuplicateName):
            async with JobPool("email"):
                pass


async def test_readme_jobs_beyond_the_workers_wait_first_in_first_out(autojump_clock):
    notes = []
    async with JobPool("job", pool_size=1) as pool:
        for seconds in (3, 1, 2):
            await pool.perform(sleep_and_note, seconds, notes)
    assert notes == [3, 1, 2]


async def test_readme_perform_does_not_care_about_success_and_async_perform_does(caplog):
    async def fail():
        raise ValueError("no")

    async with JobPool("job") as pool:
        await pool.perform(fail)
        job = await pool.async_perform(fail)
        with pytest.raises(ValueError, match="no"):
            await job.wait()
    assert pool.report.failed == 2
    assert [record.name for record in caplog.records] == ["poolder_trio.job_pool"]


# -- bugs of the original


@pytest.mark.parametrize("count", [1_000, 4_000])
async def test_a_burst_takes_as_many_steps_per_job_however_long_it_is(count):
    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task):
            self.count += 1

    steps = Steps()
    async with JobPool(queue=Queue(max=math.inf)) as pool:
        trio.lowlevel.add_instrument(steps)
        for number in range(count):
            pool.perform_nowait(double, number)
        await pool.wait_idle()
        trio.lowlevel.remove_instrument(steps)
    assert pool.report.completed == count
    assert count <= steps.count < 2 * count


async def test_sixteen_failing_jobs_and_more_do_not_end_the_pool(caplog):
    async def fail():
        raise ValueError

    async with JobPool("job") as pool:
        for _ in range(50):
            await pool.perform(fail)
        await pool.wait_idle()
        assert await (await pool.async_perform(double, 4)).wait() == 8
    assert pool.report.failed == 50
    assert len(caplog.records) == 50


async def test_a_failing_awaited_job_leaves_its_caller_alone_until_the_block_is_left():
    lived = []

    async def fail():
        raise ValueError("nobody looked")

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="nobody looked")):
        async with JobPool("job") as pool:
            await pool.async_perform(fail)
            await pool.wait_idle()
            lived.append(await (await pool.async_perform(double, 1)).wait())
    assert lived == [2]


# -- options


def test_a_declared_pool_has_its_name_and_its_size():
    class Emails(JobPool):
        name = "email"
        pool_size = 3

    pool = Emails()
    assert (pool.name, pool.pool_size, pool.limit) == ("email", 3, 3)
    assert Emails("other").name == "other"
    assert repr(pool) == "<email, pool_size 3, new>"


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: JobPool(pool_size=0), ValueError, "pool_size must be an int >= 1, got 0"),
        (lambda: JobPool(5), TypeError, "name must be a str or None, got 5"),
        (lambda: JobPool("a", name="b"), TypeError, "expected one name, got 'a' and 'b'"),
        (lambda: JobPool(limit=5), TypeError, "JobPool has no option 'limit'"),
        (lambda: JobPool(timezone="Mars/Base"), ValueError, "IANA name.*, got 'Mars/Base'"),
        (lambda: JobPool(timezone="Europe"), ValueError, "IANA name.*, got 'Europe'"),
        (lambda: JobPool(timezone="../x"), ValueError, "IANA name.*, got '../x'"),
        (lambda: JobPool(timezone=1), TypeError, "timezone must be the IANA name"),
        (lambda: JobPool(clock="noon"), TypeError, "clock must be a function that returns"),
        (lambda: type("P", (JobPool,), {"limit": 5}), TypeError, "did you mean 'pool_size'"),
        (lambda: type("P", (JobPool,), {"timezone": "?"}), ValueError, "timezone must be"),
    ],
)
def test_a_wrong_option_says_what_was_expected(make, error, text):
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize("word", ["pool_size", "limit"])
async def test_the_size_can_be_set_while_the_pool_is_open(word, autojump_clock):
    async with JobPool(pool_size=1) as pool:
        await pool.perform_many(trio.sleep, [1] * 4)
        await wait_all_tasks_blocked()
        setattr(pool, word, 3)
        await wait_all_tasks_blocked()
        assert pool.statistics().running == 3
        assert (pool.pool_size, pool.limit) == (3, 3)
    assert trio.current_time() == 2


async def test_restart_can_say_that_a_failure_leaves_the_block():
    async def fail():
        raise ValueError

    with pytest.RaisesGroup(ValueError):
        async with JobPool(restart=Restart()) as pool:
            await pool.perform(fail)
            await trio.sleep_forever()


# -- many


async def test_many_take_one_input_each_and_keep_the_order():
    async with JobPool("job", pool_size=3) as pool:
        jobs = await pool.async_perform_many(double, range(100))
        assert await await_many(jobs) == [2 * number for number in range(100)]
        jobs = await async_perform_many("job", double, (1, 2))
        assert await await_many(jobs) == [2, 4]
        assert await pool.async_perform_many(double, []) == []
        await pool.perform_many(double, iter([1, 2, 3]))
        await perform_many("job", double, [4])
    assert pool.report.completed == 106


QUEUES = [Queue(max=2, order=order) for order in ("fifo", "lifo", "priority", "fair")]


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.order)
async def test_many_wait_for_room_for_one_and_then_all_are_in(queue, awaited, autojump_clock):
    ran = []

    async def note(number):
        ran.append(number)
        await trio.sleep(1)

    async with JobPool(pool_size=1, queue=queue) as pool, trio.open_nursery() as nursery:
        await pool.perform_many(note, [0, 0, 0, 0])  # one runs, three wait
        send = pool.async_perform_many if awaited else pool.perform_many
        nursery.start_soon(send, note, range(1, 6))
        await trio.sleep(1.5)
        assert pool.statistics().submitted == 4  # two wait: there is no room yet
        with pytest.raises(QueueFull):
            pool.perform_nowait(note, 9)
        await trio.sleep(1)
        assert pool.statistics().submitted == 9
        with pytest.raises(QueueFull):
            pool.perform_nowait(note, 9)
    rest = ran[ran.index(1) if queue.order != "lifo" else ran.index(5) :]
    assert [n for n in rest if n] == ([5, 4, 3, 2, 1] if queue.order == "lifo" else [1, 2, 3, 4, 5])


async def test_nothing_comes_between_the_jobs_of_many(autojump_clock):
    ran = []

    async def note(number):
        ran.append(number)

    async with JobPool(pool_size=1, queue=Queue(max=1)) as pool, trio.open_nursery() as nursery:
        await pool.perform_many(trio.sleep, [1, 1])
        for start in (0, 10, 20):
            nursery.start_soon(pool.perform_many, note, range(start, start + 5))
    runs = [ran[at : at + 5] for at in (0, 5, 10)]
    assert sorted(runs) == [list(range(start, start + 5)) for start in (0, 10, 20)]


@pytest.mark.parametrize("awaited", [False, True])
async def test_many_are_refused_together_where_the_rule_is_to_reject(awaited, autojump_clock):
    async with JobPool(pool_size=1, queue=Queue(max=1, overflow="reject")) as pool:
        await pool.perform_many(trio.sleep, [1, 1])
        send = pool.async_perform_many if awaited else pool.perform_many
        with pytest.raises(TooManyRequests):
            await send(trio.sleep, [1, 1, 1])
        assert pool.statistics().dropped == 3
    assert pool.report.completed == 2


@pytest.mark.parametrize(
    ("overflow", "kept"), [("drop_oldest", [1, 4, 5]), ("drop_newest", [1, 2, 3])]
)
async def test_many_are_dropped_one_by_one_where_the_rule_is_to_drop(overflow, kept):
    ran = []

    async def note(number):
        ran.append(number)

    async with JobPool(pool_size=1, queue=Queue(max=2, overflow=overflow)) as pool:
        jobs = await pool.async_perform_many(note, [1, 2, 3, 4, 5])
        await pool.wait_idle()
        assert [n for n, job in enumerate(jobs, 1) if job.status == "done"] == kept
    assert ran == kept
    assert pool.report.dropped == 2


async def test_many_run_in_their_submitters_context_each_in_a_copy():
    who = contextvars.ContextVar("who")
    seen = []

    async def look(number):
        seen.append(who.get())
        who.set(number)

    async with JobPool(pool_size=1) as pool:
        who.set("me")
        await pool.perform_many(look, [1, 2])
        who.set("you")
        await pool.wait_idle()
        assert who.get() == "you"
    assert seen == ["me", "me"]


@pytest.mark.parametrize(
    "options",
    [
        {"rate": Rate(1000, per=1.0)},
        *({"queue": queue} for queue in (*QUEUES, Queue(max=0), Queue(overflow="drop_oldest"))),
        {"limit_per_key": 2},
        {"job_timeout": 5.0},
        {"instruments": [Instrument()]},
    ],
    ids=without_address,
)
async def test_many_work_under_every_rule(options, autojump_clock):
    async with JobPool(pool_size=2, **options) as pool:
        jobs = await pool.async_perform_many(double, range(20))
        assert await await_many(jobs) == [2 * number for number in range(20)]
        await pool.perform_many(double, range(20))
    assert pool.report.completed == 40


async def test_many_of_a_paused_pool_wait_and_can_be_taken_back():
    async with JobPool(pool_size=2) as pool:
        pool.pause()
        jobs = await pool.async_perform_many(double, range(10))
        for job in jobs[::2]:
            job.cancel()
        assert names(pool.jobs().queued) == [1, 3, 5, 7, 9]
        pool.resume()
    assert (pool.report.completed, pool.report.cancelled) == (5, 5)


async def test_instruments_see_every_job_of_many():
    class Seen(Instrument):
        def __init__(self):
            self.submitted = []

        def job_submitted(self, component, job):
            self.submitted.append(job)

    seen = Seen()
    async with JobPool(instruments=[seen]) as pool:
        jobs = await pool.async_perform_many(double, range(3))
    assert seen.submitted == jobs


@pytest.mark.parametrize("awaited", [False, True])
async def test_many_are_sent_all_or_not_at_all_at_every_step(awaited, autojump_clock):
    whole = 0
    for step in itertools.count(1):
        async with JobPool(pool_size=1, queue=Queue(max=1)) as pool:
            await pool.perform_many(trio.sleep, [1, 1])
            with CancelAt(step) as cut:
                send = pool.async_perform_many if awaited else pool.perform_many
                await send(double, [1, 2, 3])
            sent = pool.statistics().submitted - 2
            assert sent in (0, 3)
            whole += bool(sent)
            await pool.wait_idle()
        assert pool.report.completed == 2 + sent
        if not cut.reached:
            break
    assert whole
    assert step > 2


async def test_performing_is_a_checkpoint_and_a_cancelled_one_sends_nothing():
    async with JobPool("job") as pool:
        for send in (
            lambda: pool.perform(double, 1),
            lambda: pool.async_perform(double, 1),
            lambda: pool.perform_many(double, [1]),
            lambda: pool.async_perform_many(double, [1]),
            lambda: pool.perform_after(1, double, 1),
            lambda: perform("job", double, 1),
        ):
            with trio.CancelScope() as scope:
                scope.cancel()
                await send()
            assert scope.cancelled_caught
            with trio.testing.assert_checkpoints():
                await pool.perform_many(double, [])
        assert pool.statistics().submitted == 0
        assert pool.jobs().delayed == ()


async def test_a_job_pool_that_is_not_open_takes_nothing():
    pool = JobPool()

    async def refused():
        for send in (pool.perform, pool.async_perform):
            with pytest.raises(Closed):
                await send(double, 1)
        for send in (pool.perform_many, pool.async_perform_many):
            with pytest.raises(Closed):
                await send(double, [1])
        for send in (pool.perform_nowait, pool.async_perform_nowait):
            with pytest.raises(Closed):
                send(double, 1)
        with pytest.raises(Closed):
            pool.workers()
        with pytest.raises(Closed):
            pool.jobs()

    await refused()
    async with pool:
        pass
    await refused()


async def test_what_a_closing_pool_s_own_job_sends_is_abandoned(autojump_clock):
    sent = []

    async def late():
        await trio.sleep(1)
        await pool.perform_many(double, [1, 2])
        sent.extend(await pool.async_perform_many(double, [3, 4]))

    async with JobPool() as pool:
        await pool.perform(late)
        await trio.sleep(0.5)
        pool.close()
        with pytest.raises(Closed):
            await pool.perform_many(double, [9])
    assert [job.status for job in sent] == ["abandoned", "abandoned"]
    assert names(pool.report.abandoned) == [1, 2, 3, 4]


# -- by name


async def test_a_registered_function_can_be_performed_by_its_name(autojump_clock):
    pool = JobPool("email", pool_size=1)
    sent = []

    @pool.job
    async def send_email(to):
        sent.append(to)
        return to

    assert await send_email("direct") == "direct"
    async with pool:
        await pool.perform("send_email", "a")
        await perform("email", "send_email", "b")
        pool.perform_nowait("send_email", "c")
        assert await (await pool.async_perform("send_email", "d")).wait() == "d"
        assert await pool.async_perform_nowait("send_email", "e").wait() == "e"
        await pool.perform_many("send_email", ["f"])
        jobs = await pool.async_perform_many("send_email", ["g"])
        assert await await_many(jobs) == ["g"]
        await pool.perform_after(1, "send_email", "h")
        await trio.sleep(2)
    assert sent == ["direct", *"abcdefgh"]


async def test_an_unknown_name_is_a_lookup_error_with_the_nearest_first():
    async with JobPool("email") as pool:
        with pytest.raises(LookupError, match=r"no job named 'x'; it has: none: register"):
            await pool.perform("x")
        for name in ("clean", "send_email"):

            async def fn():
                pass

            fn.__name__ = name
            pool.job(fn)
        with pytest.raises(LookupError, match="'sendemail'; it has: 'send_email', 'clean'"):
            await pool.perform("sendemail")


def test_what_cannot_be_registered_is_refused_at_the_decoration():
    pool = JobPool("email")
    pool.job(double)
    with pytest.raises(ValueError, match="email has a job 'double' already"):
        pool.job(double)
    with pytest.raises(TypeError, match="expected an async function"):
        pool.job(lambda: None)
    with pytest.raises(TypeError, match="expected an async function"):

        @pool.job
        def plain():
            pass

    class Callable:
        async def __call__(self):
            pass

    with pytest.raises(TypeError, match="expected a function with a name"):
        pool.job(Callable())


@pytest.mark.server
async def test_with_an_executor_plain_functions_are_registered_and_performed():
    pool = JobPool(executor=ThreadExecutor())

    @pool.job
    def square(number):
        return number * number

    with pytest.raises(TypeError):
        pool.job(double)
    async with pool:
        jobs = await pool.async_perform_many("square", [1, 2, 3])
        assert await await_many(jobs) == [1, 4, 9]


async def test_a_sync_function_is_refused_at_the_call():
    async with JobPool() as pool:
        for refused in (
            lambda: pool.perform(len, []),
            lambda: pool.async_perform(len, []),
            lambda: pool.perform_many(len, []),
            lambda: pool.perform_after(1, len, []),
        ):
            with pytest.raises(TypeError, match="expected an async function"):
                await refused()


async def test_a_name_that_is_no_job_pool_is_refused():
    async with Tasker(name="tasker"):
        with pytest.raises(TypeError, match=r"expected the name of a JobPool, but 'tasker' is <"):
            await perform("tasker", double, 1)
    with pytest.raises(LookupError, match="no open component is named 'tasker'"):
        await perform("tasker", double, 1)


# -- seeing inside


async def test_workers_say_what_each_of_them_runs():
    async with JobPool("job", pool_size=3) as pool:
        assert [info.job for info in pool.workers()] == [None] * 3
        stop = trio.Event()

        async def until(what):
            await stop.wait()

        await pool.perform(until, "a")
        job = await pool.async_perform(until, "b")
        await wait_all_tasks_blocked()
        infos = pool.workers()
        assert [info.name for info in infos] == ["job[0]", "job[1]", "job[2]"]
        assert [info.job and info.job.args for info in infos] == [("a",), ("b",), None]
        assert infos[0].job.fn is until
        stop.set()
        await job.wait()
        await pool.wait_idle()
        assert [info.job for info in pool.workers()] == [None] * 3


async def test_workers_beyond_a_lowered_size_are_shown_until_they_are_done(autojump_clock):
    async with JobPool(pool_size=3) as pool:
        await pool.perform_many(trio.sleep, [1, 2, 3])
        await wait_all_tasks_blocked()
        pool.pool_size = 1
        await wait_all_tasks_blocked()
        assert [info.job.args for info in pool.workers()] == [(1,), (2,), (3,)]
        await trio.sleep(1.5)
        assert [info.job and info.job.args for info in pool.workers()] == [None, (2,), (3,)]
        await trio.sleep(2)
        assert [info.job for info in pool.workers()] == [None]


async def test_jobs_are_what_waits_in_order_and_what_is_delayed(autojump_clock):
    async with JobPool(pool_size=1) as pool:
        await pool.perform_many(trio.sleep, [9, 1, 2])
        await pool.async_perform(trio.sleep, 3)
        later = await pool.perform_after(8, trio.sleep, 0)
        sooner = await pool.perform_after(7, trio.sleep, 0)
        waiting = pool.jobs()
        assert names(waiting.queued) == [1, 2, 3]
        assert waiting.delayed == (sooner, later)
        await trio.sleep(7.5)
        assert names(pool.jobs().queued) == [1, 2, 3, 0]
        assert pool.jobs().delayed == (later,)


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority", "fair"])
async def test_jobs_are_shown_the_oldest_first_in_any_order_of_service(order):
    async with JobPool(pool_size=1, queue=Queue(order=order)) as pool:
        pool.pause()
        jobs = [await pool.async_perform(double, number) for number in range(4)]
        jobs[1].cancel()
        assert names(pool.jobs().queued) == [0, 2, 3]
