"""Every component while it opens and while it closes: pauses, early ends, and checkpoints."""

import itertools
import sys

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poolder_trio import (
    Application,
    AsyncPool,
    Batcher,
    Closed,
    Exit,
    FactoryPool,
    GenPool,
    JobPool,
    Pool,
    Scheduler,
    Stop,
    Tasker,
    Worker,
)
from poolder_trio.testing import CancelAt

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


class Kind:
    """One component, how something is sent to it, and what it has handled."""

    def __init__(self, name):
        self.name = name
        self.done = []

    async def handle(self, item):
        await trio.sleep(1)
        self.done.append(item)
        return item

    def in_order(self):
        # The jobs of a scheduler run at the same time.
        return sorted(self.done) if self.name == "scheduler" else self.done

    def make(self, **options):
        return getattr(self, f"make_{self.name}")(**options)

    async def send(self, component, item):
        await getattr(self, f"send_{self.name}")(component, item)

    def worker(self):
        async def handle_job(_, item):
            return await self.handle(item)

        return type("Handling", (Worker,), {"handle_job": handle_job})

    def make_pool(self, **options):
        return Pool(self.worker(), pool_size=1, **options)

    def make_available(self, **options):
        return Pool(self.worker(), pool_size=1, mode="available", **options)

    async def send_pool(self, pool, item):
        pool.cast_nowait(item)

    send_available = send_pool

    def make_gen_pool(self, **options):
        async def handle_cast(_, request, state):
            await self.handle(request)
            return state

        return type("Server", (GenPool,), {"handle_cast": handle_cast})(pool_size=1, **options)

    send_gen_pool = send_pool

    def make_tasker(self, **options):
        return Tasker(limit=1, **options)

    async def send_tasker(self, tasker, item):
        tasker.execute_nowait(self.handle, item)

    def make_job_pool(self, **options):
        return JobPool(pool_size=1, **options)

    async def send_job_pool(self, pool, item):
        pool.perform_nowait(self.handle, item)

    def make_async_pool(self, **options):
        return AsyncPool(self.handle, max_workers=1, **options)

    async def send_async_pool(self, pool, item):
        await pool.add_task(item)

    def make_batcher(self, **options):
        async def handle_batch(batch):
            await trio.sleep(1)
            self.done.extend(batch)

        return Batcher(handle_batch, limit=1, **options)

    async def send_batcher(self, batcher, item):
        batcher.push_nowait(item)

    def make_scheduler(self, **options):
        async def handle_job(_, name):
            await self.handle(int(name))

        jobs = {str(number): 1e6 for number in range(5)}
        return type("Jobs", (Scheduler,), {"handle_job": handle_job, "jobs": jobs})(**options)

    async def send_scheduler(self, scheduler, item):
        scheduler.fire(str(item))

    def make_factory(self, **options):
        return FactoryPool(**options)

    async def send_factory(self, factory, item):
        if not factory.count("them"):
            await factory.start_child("them", self.worker())
            await wait_all_tasks_blocked()
        factory.children("them")[0].cast_nowait(item)

    def make_application(self, **options):
        self.child = self.make_pool()
        return Application(self.child, default_pool=False, **options)

    async def send_application(self, _, item):
        self.child.cast_nowait(item)


NAMES = [
    "pool",
    "available",
    "gen_pool",
    "tasker",
    "job_pool",
    "async_pool",
    "batcher",
    "scheduler",
    "factory",
    "application",
]
EVERY = pytest.mark.parametrize("kind", [*map(Kind, NAMES)], ids=NAMES)


@pytest.fixture(autouse=True)
def fresh(request):
    if "kind" in request.fixturenames:
        request.getfixturevalue("kind").done.clear()


# -- pauses


def takes_what_waits(kind):
    # Where nothing waits, a paused pool takes what a free worker could begin, and no more.
    return 1 if kind.name == "async_pool" else 3


@EVERY
@pytest.mark.parametrize("before", [0, 1])
async def test_closing_a_paused_component_finishes_what_it_has_accepted(
    kind, before, autojump_clock
):
    with trio.fail_after(100):
        async with kind.make() as component:
            await wait_all_tasks_blocked()
            if kind.name == "factory":
                await component.start_child("them", kind.worker())
                await wait_all_tasks_blocked()
            count = takes_what_waits(kind)
            if kind.name == "async_pool" or before:
                await kind.send(component, 0)
            component.pause()
            for item in range(1 if kind.name == "async_pool" or before else 0, count):
                await kind.send(component, item)
            component.close()
            await component.wait_closed()
            assert kind.in_order() == list(range(count))
            component.pause()  # of no effect
    assert component.report.completed == count


@EVERY
async def test_run_ends_when_a_paused_component_is_closed(kind, autojump_clock):
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            component = await nursery.start(kind.make().run)
            component.pause()
            if kind.name != "async_pool":
                await kind.send(component, 1)
            await trio.sleep(0.01)
            assert not kind.done
            component.close()
    assert component.report.completed == len(kind.done) == (kind.name != "async_pool")


@EVERY
async def test_what_was_handed_to_a_free_worker_waits_while_there_is_a_pause(kind, autojump_clock):
    async with kind.make() as component:
        if kind.name == "factory":
            await component.start_child("them", kind.worker())
        await wait_all_tasks_blocked()
        for item in range(takes_what_waits(kind)):
            await kind.send(component, item)
        component.pause()
        await trio.sleep(0.01)
        assert not kind.done
        stats = component.statistics()
        assert (stats.running, stats.waiting) == (0, takes_what_waits(kind))
        component.resume()
        component.pause()
        component.resume()
        await component.wait_idle()
        assert kind.in_order() == list(range(takes_what_waits(kind)))


@EVERY
async def test_cancelling_a_paused_component_abandons_what_waits(kind, autojump_clock):
    async with kind.make() as component:
        if kind.name == "factory":
            await component.start_child("them", kind.worker())
        await wait_all_tasks_blocked()
        component.pause()
        if kind.name != "async_pool":
            await kind.send(component, 1)
        component.cancel()
        with trio.fail_after(1):
            await component.wait_closed()
    assert not kind.done
    report = component.report
    assert len(report.abandoned) == (kind.name != "async_pool")
    assert report.cancelled == report.completed == 0


@pytest.mark.parametrize("end", ["cancel", "stop_child"])
@pytest.mark.parametrize("mode", ["round_robin", "available"])
async def test_what_a_worker_keeps_during_a_pause_is_anothers_when_it_goes(
    end, mode, autojump_clock
):
    kind = Kind("pool")
    pool = Pool(kind.worker(), pool_size=2, mode=mode, dynamic=True)
    async with pool:
        await wait_all_tasks_blocked()
        pool.cast_nowait(0)
        pool.cast_nowait(1)
        pool.pause()
        await wait_all_tasks_blocked()
        with trio.fail_after(1):
            if end == "stop_child":
                await pool.stop_child()
            else:
                pool.cancel()
                await pool.wait_closed()
        assert kind.done == []
    assert sorted(kind.done) == ([0, 1] if end == "stop_child" else [])
    assert sorted(pool.report.abandoned) == ([0, 1] if end == "cancel" else [])
    assert pool.statistics().waiting == 0


async def test_a_job_that_a_worker_keeps_during_a_pause_may_be_taken_back(autojump_clock):
    kind = Kind("tasker")
    async with Tasker(limit=2) as tasker:
        for parked in (False, True):
            jobs = [tasker.submit_nowait(kind.handle, number) for number in range(2)]
            tasker.pause()
            await wait_all_tasks_blocked()
            assert [job.status for job in jobs] == ["waiting", "waiting"]
            for job in jobs:
                job.cancel()
            with trio.fail_after(1):
                await tasker.wait_idle()
            tasker.resume()
            assert await tasker.call(kind.handle, parked) == parked
    assert kind.done == [False, True]
    assert tasker.report.cancelled == 4


async def test_lowering_the_limit_during_a_pause_loses_nothing(autojump_clock):
    kind = Kind("tasker")
    async with Tasker(limit=4) as tasker:
        for item in range(4):
            tasker.execute_nowait(kind.handle, item)
        tasker.pause()
        await wait_all_tasks_blocked()
        tasker.limit = 1
        await wait_all_tasks_blocked()
        assert tasker.statistics().waiting == 4
        tasker.resume()
        await tasker.wait_idle()
        assert trio.current_time() == 4
    assert sorted(kind.done) == [0, 1, 2, 3]


async def test_a_child_that_receives_no_more_lets_others_have_what_it_keeps(autojump_clock):
    got = []

    async def child(inbox, *, leaves):
        if leaves:
            await trio.sleep(1)
            return
        got.extend([request.message async for request in inbox])

    async with FactoryPool() as factory:
        first = await factory.start_child("them", child, leaves=True)
        await factory.start_child("them", child, leaves=False)
        await wait_all_tasks_blocked()
        await factory.cast(first, "x")
        factory.pause()
        await trio.sleep(2)
        assert got == []
        factory.resume()
    assert got == ["x"]


async def test_stop_ends_a_pool_that_is_paused(autojump_clock):
    done = []

    class Stopping(Worker):
        async def handle_job(self, job):
            await trio.sleep(1)
            done.append(job)
            return Stop() if job == 0 else None

    with trio.fail_after(10):
        async with Pool(Stopping, pool_size=1) as pool:
            for job in range(3):
                pool.cast_nowait(job)
            await wait_all_tasks_blocked()
            pool.pause()
            await pool.wait_closed()
    assert done == [0, 1, 2]


async def test_children_that_others_need_are_not_paused_while_an_application_closes(
    autojump_clock,
):
    first = Tasker()

    async def handle_batch(batch):
        await first.call(trio.sleep, 1)

    second = Batcher(handle_batch)
    with trio.fail_after(10):
        async with Application(first, second, default_pool=False) as app:
            app.pause()
            second.push_nowait(1)
            app.close()
            await app.wait_closed()
    assert second.report.completed == first.report.completed == 1


# -- opening


class Hook:
    """A ``handle_init`` that takes long, and what became of it."""

    def __init__(self):
        self.begun = trio.Event()
        self.ended = self.cut = False

    async def run(self):
        self.begun.set()
        try:
            await trio.sleep(50)
        except trio.Cancelled:
            self.cut = True
            raise
        self.ended = True


def slow_to_open(name, hook):
    """Return a component whose opening takes as long as ``hook``."""

    async def run(self, **args):
        await hook.run()

    async def handle(self, *args):
        return args[-1]

    sleepy = type("Sleepy", (Worker,), {"handle_init": run, "handle_job": handle})
    prompt = type("Prompt", (Worker,), {"handle_job": handle})
    kinds = {
        "worker": lambda: Pool(sleepy, pool_size=2),
        "pool": lambda: type("P", (Pool,), {"handle_init": run, "worker": prompt})(pool_size=1),
        "batcher": type("B", (Batcher,), {"handle_init": run, "handle_batch": handle}),
        "scheduler": type("S", (Scheduler,), {"handle_init": run}),
        "factory": type("F", (FactoryPool,), {"handle_init": run}),
        "gen_pool": type("G", (GenPool,), {"init": run, "handle_call": handle}),
        "gen_pool_own": lambda: type("G", (GenPool,), {"init": run, "handle_call": handle})(
            shared_state=False
        ),
        "application": lambda: Application(
            Tasker, slow_to_open("batcher", hook), JobPool("late"), default_pool=False
        ),
        "application_of_pools": lambda: Application(Tasker, slow_to_open("worker", hook)),
    }
    return kinds[name]()


SLOW = [
    "worker",
    "pool",
    "batcher",
    "scheduler",
    "factory",
    "gen_pool",
    "gen_pool_own",
    "application",
    "application_of_pools",
]


@pytest.mark.parametrize("name", SLOW)
async def test_cancelling_a_component_that_opens_takes_effect_at_once(name, autojump_clock):
    hook = Hook()
    component = slow_to_open(name, hook)
    body = False

    async def enter():
        nonlocal body
        async with component:
            body = True
            await trio.sleep(1)  # the block goes on
        assert trio.current_time() == 6

    async with trio.open_nursery() as nursery:
        nursery.start_soon(enter)
        await hook.begun.wait()
        nursery.start_soon(component.wait_closed)
        nursery.start_soon(component.wait_idle)
        await trio.sleep(5)
        component.cancel()
        with trio.fail_after(0.5):
            await component.wait_closed()
        await wait_all_tasks_blocked()
        assert body
        with pytest.raises(RuntimeError, match="open already"):
            await component.__aenter__()
    assert hook.cut
    assert not hook.ended
    stats = component.statistics()
    assert (stats.submitted, stats.running, stats.waiting) == (0, 0, 0)
    hook.begun = trio.Event()
    async with component:  # and it may be opened again
        assert hook.ended


@pytest.mark.parametrize("name", SLOW)
async def test_closing_a_component_that_opens_takes_effect_when_it_is_open(name, autojump_clock):
    hook = Hook()
    component = slow_to_open(name, hook)
    with trio.fail_after(70):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(component.run)
            await hook.begun.wait()
            component.close()
            await component.wait_closed()
    assert hook.ended


async def test_an_error_in_the_block_of_what_was_cancelled_while_it_opened_is_in_a_group(
    autojump_clock,
):
    class Early(FactoryPool):
        async def handle_init(self):
            self.cancel()
            await trio.sleep(1)

    with pytest.raises(ExceptionGroup) as caught:
        async with Early():
            raise KeyError("mine")
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


async def test_cancelling_in_the_last_step_of_the_opening_does_not_cut_the_block():
    class Late(FactoryPool):
        async def handle_init(self):
            self.cancel()

    async with Late() as factory:
        await trio.lowlevel.checkpoint()
        with pytest.raises(Closed):
            await factory.start_child("a", Kind("pool").worker())


@pytest.mark.parametrize("name", [*SLOW])
async def test_what_is_waited_for_before_it_is_open_may_not_wait_for_the_end(name, autojump_clock):
    hook = Hook()
    refused = []

    async def ask():
        hook.begun.set()
        for each in (component, *([component["B"]] if name == "application" else [])):
            try:
                await each.wait_closed()
            except RuntimeError as error:
                refused.append(str(error))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_below, each)

    async def ask_below(each):
        try:
            await each.wait_closed()
        except RuntimeError as error:
            refused.append(str(error))

    hook.run = ask
    component = slow_to_open(name, hook)
    with trio.fail_after(10):
        async with component:
            pass
    assert len(refused) >= 2
    assert all("would wait for that very" in text for text in refused)


async def test_a_task_around_the_opening_that_its_hook_starts_may_wait_for_the_end(autojump_clock):
    ended = []

    class Watched(FactoryPool):
        async def handle_init(self):
            nursery.start_soon(self.watch)
            await trio.sleep(1)

        async def watch(self):
            await self.wait_closed()
            ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        async with Watched():
            await trio.sleep(1)
    assert ended == [2]


@pytest.mark.parametrize("shared", [True, False])
async def test_who_waits_for_a_server_whose_init_raises_is_told(shared, autojump_clock):
    class Failing(GenPool):
        async def init(self):
            await trio.sleep(1)
            raise OSError("no state")

        async def handle_call(self, request, state):
            return state, state

    server = Failing(shared_state=shared)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:

            async def enter():
                with pytest.raises(ExceptionGroup) as caught:
                    async with server:
                        pass
                assert caught.group_contains(OSError)

            nursery.start_soon(enter)
            await wait_all_tasks_blocked()
            nursery.start_soon(server.wait_idle)
            await server.wait_closed()
            assert trio.current_time() == 1


@pytest.mark.parametrize("name", SLOW)
async def test_who_waits_for_a_component_that_fails_to_open_is_told(name, autojump_clock):
    hook = Hook()

    async def fail():
        hook.begun.set()
        await trio.sleep(1)
        raise OSError("no")

    hook.run = fail
    component = slow_to_open(name, hook)

    async def enter():
        with pytest.raises(ExceptionGroup) as caught:
            async with component:
                pass
        assert caught.group_contains(OSError)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(enter)
            await hook.begun.wait()
            nursery.start_soon(component.wait_idle)
            await component.wait_closed()


# -- checkpoints


@EVERY
async def test_entering_leaving_and_running_are_checkpoints(kind):
    component = kind.make()
    with trio.testing.assert_checkpoints():
        await component.__aenter__()
    with trio.testing.assert_checkpoints():
        await component.__aexit__(None, None, None)
    component = kind.make()
    async with trio.open_nursery() as nursery:
        with trio.testing.assert_checkpoints():
            await nursery.start(component.run)
        component.close()
        with trio.testing.assert_checkpoints():
            await component.wait_closed()


@EVERY
async def test_entering_under_a_cancelled_scope_enters_nothing(kind):
    component = kind.make()
    with trio.CancelScope() as scope:
        scope.cancel()
        async with component:
            raise AssertionError
    assert scope.cancelled_caught


@EVERY
async def test_an_early_end_at_any_step_leaves_nothing_half_open(kind, autojump_clock):
    for step in itertools.count(1):
        component = kind.make()

        async def open_it(component=component):
            async with component:
                await trio.sleep(1)

        with trio.fail_after(100):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(open_it)
                with CancelAt(step) as cut:
                    await trio.sleep(0.5)
                component.cancel()
                await component.wait_closed()
        assert component.statistics().running == 0
        if not cut.reached:
            break
    assert step > 2


async def test_what_a_scheduler_or_worker_ends_by_exit_is_no_hang(autojump_clock):
    class Leaving(Worker):
        async def handle_job(self, job):
            return Exit()

    with trio.fail_after(10):
        async with Pool(Leaving, pool_size=1) as pool:
            pool.cast_nowait(1)
            await wait_all_tasks_blocked()
            await pool.wait_closed()
