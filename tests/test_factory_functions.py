"""Children of a factory that are plain async functions with an inbox."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poolder_trio import Closed, FactoryPool, JobAbandoned, Request, Restart, Worker, WorkerCrashed


class Downs(FactoryPool):
    def __init__(self, **options):
        super().__init__(**options)
        self.downs = []

    async def handle_down(self, ref, reason):
        self.downs.append((ref, reason))


class Same(Worker):
    async def handle_job(self, job):
        return "worker"


async def double(inbox):
    async for request in inbox:
        assert isinstance(request, Request)
        request.reply(request.message * 2)


async def test_a_function_answers_calls_and_receives_casts():
    seen = []

    async def remember(inbox, *, prefix):
        async for request in inbox:
            seen.append((prefix + request.message, request.called))
            request.reply(len(seen))

    async with FactoryPool() as factory:
        ref = await factory.start_child("a", remember, prefix="> ")
        await factory.cast(ref, "one")
        assert await factory.call(ref, "two") == 2
        await factory.dispatch("a", "three")
        await factory.broadcast("a", "four")
    assert seen == [("> one", False), ("> two", True), ("> three", False), ("> four", False)]
    assert factory.report.completed == 4


async def test_functions_and_workers_may_be_in_one_group():
    async with FactoryPool() as factory:
        one = await factory.start_child("a", double)
        two = await factory.start_child("a", Same)
        assert (await one.call(4), await two.call(4)) == (8, "worker")


async def test_a_reply_goes_to_its_own_caller_and_a_late_one_to_nobody(autojump_clock):
    async def slow(inbox):
        async for request in inbox:
            await trio.sleep(5)
            request.reply(request.message)

    async with FactoryPool() as factory:
        ref = await factory.start_child("a", slow)
        with trio.move_on_after(1) as scope:
            await ref.call("given up")
        assert scope.cancelled_caught
        assert await ref.call("next") == "next"
        assert trio.current_time() == pytest.approx(10)
    assert (factory.report.completed, factory.report.cancelled) == (1, 1)


async def test_a_second_reply_is_refused():
    async def twice(inbox):
        async for request in inbox:
            request.reply(1)
            with pytest.raises(RuntimeError, match="answered already"):
                request.reply(2)

    async with FactoryPool() as factory:
        ref = await factory.start_child("a", twice)
        assert await ref.call("x") == 1
        await ref.cast("y")


async def test_a_cast_runs_until_the_function_asks_for_the_next(autojump_clock):
    async def slow(inbox):
        async for _ in inbox:
            await trio.sleep(5)

    async with FactoryPool() as factory:
        ref = await factory.start_child("a", slow)
        await ref.cast("x")
        await wait_all_tasks_blocked()
        assert factory.statistics().running == 1
        await factory.wait_idle()
        assert trio.current_time() == pytest.approx(5)


async def test_a_function_that_returns_has_exited(autojump_clock):
    async def until_stop(inbox):
        async for request in inbox:
            await trio.sleep(1)
            if request.message == "stop":
                return

    async with Downs() as factory:
        ref = await factory.start_child("a", until_stop)
        await ref.cast("stop")
        await ref.cast("never")
        await factory.wait_idle()
        await wait_all_tasks_blocked()
        assert factory.downs == [(ref, "exit")]
        assert not ref.alive
        assert factory.count("a") == 0
    assert factory.report.completed == 1
    assert factory.report.abandoned == ("never",)


async def test_a_function_that_returns_while_it_rests_has_exited(autojump_clock):
    async def ends(inbox):
        with trio.move_on_after(3):
            await inbox.receive()

    async with Downs() as factory:
        ref = await factory.start_child("a", ends)
        await wait_all_tasks_blocked()
        await trio.sleep(4)
        assert factory.downs == [(ref, "exit")]
        with pytest.raises(Closed):
            await ref.cast("x")


async def test_a_function_that_raises_has_crashed_and_its_cast_failed(caplog):
    async def breaks(inbox):
        async for _ in inbox:
            raise KeyError("inside")

    async with Downs() as factory:
        ref = await factory.start_child("a", breaks)
        await ref.cast("x")
        await factory.wait_idle()
        ((down, reason),) = factory.downs
        assert (down, type(reason)) == (ref, KeyError)
        assert factory.statistics().failed == 1
    assert len(caplog.records) == 1


async def test_a_function_that_raises_while_it_rests_has_crashed(caplog, autojump_clock):
    async def breaks(inbox):
        await trio.sleep(1)
        raise KeyError("alone")

    async with Downs() as factory:
        ref = await factory.start_child("a", breaks)
        await trio.sleep(2)
        ((down, reason),) = factory.downs
        assert (down, type(reason)) == (ref, KeyError)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("how", ["return", "raise"])
async def test_callers_of_a_function_that_ends_without_an_answer_are_told(
    how, caplog, autojump_clock
):
    async def mute(inbox):
        await inbox.receive()
        await trio.sleep(1)
        if how == "raise":
            raise KeyError("inside")

    told = []

    async def ask():
        try:
            await ref.call("x")
        except (WorkerCrashed, JobAbandoned) as error:
            told.append(error)

    async with Downs() as factory:
        ref = await factory.start_child("a", mute)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        assert trio.current_time() == pytest.approx(1)
        assert sorted(type(error).__name__ for error in told) == [
            "JobAbandoned",
            "JobAbandoned",
            "WorkerCrashed",
        ]
        (crash,) = [error for error in told if isinstance(error, WorkerCrashed)]
        assert isinstance(crash.__cause__, KeyError) is (how == "raise")
        await wait_all_tasks_blocked()
        ((_, reason),) = factory.downs
        assert (reason == "exit") is (how == "return")


async def test_what_a_function_did_not_take_before_it_ended_is_anothers(autojump_clock):
    async def answers_and_ends(inbox):
        request = await inbox.receive()
        request.reply("first")
        await trio.sleep(1)

    async with FactoryPool() as factory:
        one = await factory.start_child("a", answers_and_ends)
        await factory.start_child("a", Same)
        assert await one.call("x") == "first"
        assert await one.call("y") == "worker"
        assert trio.current_time() == pytest.approx(1)
    assert factory.report.completed == 2
    assert factory.report.failed == 0


async def test_a_function_is_started_again_as_its_restart_says(caplog):
    started = []

    async def counts(inbox, *, tag):
        started.append(tag)
        async with inbox:
            async for request in inbox:
                if request.message == "break":
                    raise KeyError("inside")
                if request.message == "end":
                    return
                request.reply(len(started))

    async with Downs(restart=Restart(5)) as factory:
        ref = await factory.start_child("a", counts, tag="x")
        await ref.cast("break")
        await ref.cast("ignored")
        assert await ref.call("how many") == 2
        assert started == ["x", "x"]
        assert factory.downs == []
        await ref.cast("end")
        await factory.wait_idle()
        await wait_all_tasks_blocked()
        assert factory.downs == [(ref, "exit")]


async def test_a_permanent_function_that_returns_is_started_again():
    started = []

    async def once(inbox):
        started.append(None)
        request = await inbox.receive()
        request.reply(len(started))

    async with Downs(restart=Restart(5, mode="permanent")) as factory:
        ref = await factory.start_child("a", once)
        assert [await ref.call("x") for _ in range(3)] == [1, 2, 3]
        assert factory.downs == []


async def test_terminate_waits_for_the_function_and_cancels_it_after_grace(autojump_clock):
    cut = []

    async def stubborn(inbox):
        async for _ in inbox:
            pass
        try:
            await trio.sleep_forever()
        finally:
            cut.append(trio.current_time())

    async with Downs(grace=3) as factory:
        ref = await factory.start_child("a", stubborn)
        await factory.terminate(ref)
        assert cut == pytest.approx([3])
        assert factory.downs == [(ref, "terminated")]


async def test_what_the_clean_up_of_a_cancelled_function_raises_is_not_lost(caplog, autojump_clock):
    async def messy(inbox):
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("clean-up")

    async with Downs(grace=1) as factory:
        ref = await factory.start_child("a", messy)
        await factory.terminate(ref)
        ((_, reason),) = factory.downs
        assert isinstance(reason, KeyError)
    assert len(caplog.records) == 1


async def test_a_function_that_calls_itself_is_refused():
    async def selfish(inbox):
        async for request in inbox:
            with pytest.raises(RuntimeError, match="that very handler"):
                await ref.call("again")
            request.reply("refused")

    async with FactoryPool() as factory:
        ref = await factory.start_child("a", selfish)
        assert await ref.call("x") == "refused"


@pytest.mark.parametrize("end", ["close", "cancel"])
async def test_leaving_ends_functions_that_rest(end, autojump_clock):
    async with Downs() as factory:
        ref = await factory.start_child("a", double)
        getattr(factory, end)()
        await factory.wait_closed()
        assert not ref.alive
    assert factory.downs == []
