"""Workers whose own stack absorbs what ended them, and workers that are cut as they get ready."""

import itertools
import sys
from contextlib import suppress

import pytest
import trio

from poolder_trio import (
    Batcher,
    FactoryPool,
    GenPool,
    JobCancelled,
    JobError,
    Pool,
    Restart,
    Worker,
    WorkerCrashed,
)
from poolder_trio.testing import CancelAt

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

RULES = [
    Restart(mode="permanent"),
    Restart(mode="transient"),
    Restart(mode="temporary"),
    Restart(mode="permanent", max_restarts=5),
    Restart(mode="transient", max_restarts=5),
]
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.mode}-{r.max_restarts}")


@every_rule
@pytest.mark.parametrize("send", ["call", "cast"])
@pytest.mark.parametrize("mode", ["round_robin", "available", "phash", "broadcast"])
@pytest.mark.parametrize("how", ["scope", "nursery"])
async def test_the_job_in_hand_is_settled_when_a_stack_absorbs_what_ended_its_worker(
    rule, send, mode, how, autojump_clock
):
    class Odd(Worker):
        async def handle_init(self):
            if how == "scope":
                self.scope = self.stack.enter_context(trio.CancelScope())
            else:
                self.stack.enter_context(suppress(ExceptionGroup))
                self.nursery = await self.stack.enter_async_context(trio.open_nursery())

        async def fail(self):
            raise OSError("the connection is lost")

        async def handle_job(self, job):
            if job == "odd":
                if how == "scope":
                    self.scope.cancel()
                else:
                    self.nursery.start_soon(self.fail)
            await trio.sleep(1)
            return job

    with trio.fail_after(50):
        async with Pool(Odd, pool_size=2, mode=mode, restart=rule) as pool:
            if send == "call" and mode != "broadcast":
                with pytest.raises((JobCancelled, WorkerCrashed)):
                    await pool.call("odd")
            else:
                await pool.cast("odd")
            await pool.wait_idle()
            stats = pool.statistics()
            assert (stats.running, stats.waiting) == (0, 0)
            assert stats.cancelled == (2 if mode == "broadcast" else 1)
            if rule.mode == "permanent":
                assert len(pool) == 2
                for job in range(4):
                    await pool.cast(job)
    assert pool.statistics().running == pool.statistics().waiting == 0


@pytest.mark.parametrize("kind", ["call", "cast"])
async def test_a_server_and_a_child_settle_what_their_worker_had_in_hand(kind, autojump_clock):
    downs = []

    class Odd(Worker):
        async def handle_init(self):
            self.scope = self.stack.enter_context(trio.CancelScope())

        async def handle_job(self, job):
            self.scope.cancel()
            await trio.sleep(1)

    class Factory(FactoryPool):
        async def handle_down(self, ref, reason):
            downs.append(reason)

    async with Factory() as factory:
        child = await factory.start_child("them", Odd)
        with trio.fail_after(10):
            if kind == "call":
                with pytest.raises(JobCancelled):
                    await child.call(1)
            else:
                await child.cast(1)
            await factory.wait_idle()
    assert downs == ["exit"]
    assert factory.report.cancelled == 1


@every_rule
@pytest.mark.parametrize("error", [OSError, None])
async def test_an_init_whose_stack_absorbs_its_end_fails_the_entering(rule, error, autojump_clock):
    class Odd(Worker):
        async def handle_init(self):
            if error is None:
                self.stack.enter_context(trio.move_on_after(1))
                await trio.sleep(10)
            else:
                self.stack.enter_context(suppress(error))
                raise error

        async def handle_job(self, job):
            raise AssertionError

    with trio.fail_after(50):
        with pytest.raises(ExceptionGroup) as caught:
            async with Pool(Odd, pool_size=2, restart=rule):
                raise AssertionError
        assert caught.group_contains(RuntimeError, match="was never ready")
        async with FactoryPool(restart=rule) as factory:
            with pytest.raises(RuntimeError, match="was never ready"):
                await factory.start_child("a", Odd)
            assert factory.count_all() == 0


@pytest.mark.parametrize("mode", ["permanent", "transient"])
async def test_a_replacement_whose_stack_absorbs_its_end_is_a_crash(mode, autojump_clock):
    starts = itertools.count(1)

    class Odd(Worker):
        async def handle_init(self):
            if next(starts) > 1:
                self.stack.enter_context(suppress(OSError))
                raise OSError

        async def handle_job(self, job):
            raise ValueError(job)

    rule = Restart(max_restarts=3, mode=mode)
    with trio.fail_after(50):
        with pytest.raises(ExceptionGroup) as caught:
            async with Pool(Odd, pool_size=1, restart=rule) as pool:
                await pool.cast(1)
                await trio.sleep(10)
        assert next(starts) == 5
    assert "max_restarts=3" in repr(caught.value.exceptions[0])


async def test_a_stack_that_suppresses_what_a_handler_raises_is_replaced_where_permanent(
    autojump_clock,
):
    class Odd(Worker):
        async def handle_init(self):
            self.stack.enter_context(suppress(OSError))

        async def handle_job(self, job):
            if job == "odd":
                raise OSError(job)
            return job

    with trio.fail_after(50):
        async with Pool(Odd, pool_size=1, restart=Restart(mode="permanent")) as pool:
            await pool.cast("odd")
            assert await pool.call(1) == 1
    assert (pool.report.failed, pool.report.completed) == (1, 1)


# -- cut at the moment when they get ready


class Ready(Worker):
    """Its ``handle_init`` returns in the very step in which it is woken."""

    async def handle_init(self):
        self.log = self.pool.log
        self.log.append(("init", self.index))
        await trio.sleep(1)

    async def handle_job(self, job):
        await trio.sleep(0.5)
        return job

    async def handle_stop(self):
        self.log.append(("stop", self.index))


class Starting(Pool):
    worker = Ready
    dynamic = True
    pool_size = 1


@pytest.mark.parametrize("mode", ["available", "round_robin", "phash", "least_loaded"])
@pytest.mark.parametrize("how", ["start_child", "resize"])
async def test_who_is_cut_while_workers_start_takes_nobodys_job_at_any_step(
    mode, how, autojump_clock
):
    async def grow(pool, step):
        with CancelAt(step) as cut:
            await (pool.start_child() if how == "start_child" else pool.resize(4))
        return cut.reached

    async def ask(pool, job):
        answers.append(await pool.call(job))

    for step in itertools.count(1):
        answers = []
        pool = Starting(mode=mode)
        pool.log = []
        with trio.fail_after(100):
            async with pool:
                async with trio.open_nursery() as nursery:
                    for job in range(6):
                        nursery.start_soon(ask, pool, job)
                    reached = await grow(pool, step)
                    count = len(pool)
                assert sorted(answers) == list(range(6))
                assert len(pool) == count
                begun = [what for what, _ in pool.log].count("init")
                ended = [what for what, _ in pool.log].count("stop")
                assert begun - ended >= count
                await pool.resize(3)
                assert [ref.alive for ref in pool] == [True] * 3
        assert pool.report.completed == 6
        assert pool.report.cancelled == 0
        if not reached:
            break
    assert step > 4


@pytest.mark.parametrize("mode", ["available", "round_robin"])
@pytest.mark.parametrize("what", ["start_child", "start_group", "configure_group"])
async def test_who_is_cut_while_children_start_takes_nobodys_job_at_any_step(
    mode, what, autojump_clock
):
    async def ask(factory, job):
        answers.append(await next(iter(factory._groups.values())).call(job))

    for step in itertools.count(1):
        answers = []
        factory = FactoryPool(mode=mode)
        factory.log = []
        with trio.fail_after(100):
            async with factory:
                await factory.start_group("them", Ready, pool_size=1)
                async with trio.open_nursery() as nursery:
                    for job in range(4):
                        nursery.start_soon(ask, factory, job)
                    is_done = False
                    with CancelAt(step) as cut:
                        if what == "start_child":
                            await factory.start_child("them", Ready)
                        elif what == "configure_group":
                            await factory.configure_group("them", pool_size=3)
                        else:
                            await factory.start_group("others", Ready, pool_size=3)
                        is_done = True
                assert sorted(answers) == list(range(4))
                if what == "start_group":
                    assert factory.count("others") == (3 if is_done else 0)
                await factory.configure_group("them", pool_size=2)
                assert factory.count("them") == 2
        assert factory.report.cancelled == 0
        if not cut.reached:
            break
    assert step > 4


async def test_a_worker_that_is_cut_when_it_has_got_ready_is_stopped_and_was_never_there():
    log = []

    class Odd(Worker):
        async def handle_init(self):
            if self.index:
                scope.cancel()
            log.append("init")

        async def handle_job(self, job):
            raise AssertionError

        async def handle_stop(self):
            log.append("stop")

    async with Pool(Odd, pool_size=1, dynamic=True, mode="available") as pool:
        with trio.CancelScope() as scope:
            await pool.start_child()
        assert scope.cancelled_caught
        assert len(pool) == 1
        assert log == ["init", "init", "stop"]


async def test_batches_and_servers_are_accounted_for_when_their_tasks_are_cut(autojump_clock):
    class Server(GenPool):
        async def handle_call(self, request, state):
            if request == "odd":
                server._crew.seats[0].life.cancel()
            await trio.sleep(1)
            return request, state

    async with Server(pool_size=1, restart=Restart(mode="permanent")) as server:
        with pytest.raises(JobError):
            await server.call("odd")
    assert server.report.cancelled == 1

    async def handle(batch):
        batcher._crew.seats[0].life.cancel()
        await trio.sleep(1)

    async with Batcher(handle, limit=1) as batcher:
        with pytest.raises(JobError):
            await batcher.call(1)
    assert batcher.statistics().running == batcher.statistics().waiting == 0
    assert batcher.report.cancelled == 1
