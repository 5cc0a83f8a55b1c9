"""What holds for every component that takes work: one suite for all of them."""

import itertools
import math
import sys

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio import (
    AsyncPool,
    Batcher,
    Closed,
    DuplicateName,
    JobPool,
    Pool,
    Queue,
    QueueFull,
    Restart,
    RestartLimitExceeded,
    Retry,
    Tasker,
    Worker,
    whereis,
)
from poolder_trio.testing import CancelAt

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


class Runs(Worker):
    """A worker that calls its messages."""

    async def handle_job(self, fn):
        return await fn()


async def apply(fn):
    return await fn()


async def apply_all(batch):
    """Call each item; where all batches have one, they are what jobs are elsewhere."""
    for fn in batch:
        await fn()


@attrs.frozen
class Kind:
    """How one kind of component is made and sent a function of no arguments."""

    name: str
    make: object
    send: object
    send_nowait: object

    def __str__(self):
        return self.name


def pool(mode):
    def make(size=2, retry=None, **options):
        worker = Runs if retry is None else type("Tries", (Runs,), {"retry": retry})
        return Pool(worker, pool_size=size, mode=mode, **options)

    return Kind(f"Pool {mode}", make, Pool.cast, Pool.cast_nowait)


def keywords(options):
    return {name: value for name, value in options.items() if value is not None}


KINDS = [
    pool("round_robin"),
    pool("least_loaded"),
    pool("available"),
    Kind(
        "Tasker",
        lambda size=2, **options: Tasker(limit=size, **keywords(options)),
        Tasker.execute,
        Tasker.execute_nowait,
    ),
    Kind(
        "JobPool",
        lambda size=2, **options: JobPool(
            pool_size=size, **{"restart": Restart(), **keywords(options)}
        ),
        JobPool.perform,
        JobPool.perform_nowait,
    ),
    Kind(
        "Batcher",
        lambda size=2, **options: Batcher(
            apply_all, limit=1, concurrency=size, **keywords(options)
        ),
        Batcher.push,
        Batcher.push_nowait,
    ),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


class Work:
    """Functions that take a second, and what became of them."""

    def __init__(self, seconds=1.0):
        self.seconds = seconds
        self.begun, self.ended, self.cut = [], [], []

    def piece(self, number):
        async def work():
            self.begun.append(number)
            try:
                await trio.sleep(self.seconds)
            except trio.Cancelled:
                self.cut.append(number)
                raise
            self.ended.append(number)

        return work


async def fail():
    await trio.lowlevel.checkpoint()
    raise ValueError("broken")


def accounts(component):
    stats = component.statistics()
    ended = stats.completed + stats.failed + stats.cancelled + stats.dropped + stats.abandoned
    assert stats.submitted == ended + stats.running + stats.waiting
    return stats


@every_kind
async def test_leaving_waits_for_all_that_was_accepted(kind, autojump_clock):
    work = Work()
    async with kind.make() as component:
        for number in range(6):
            await kind.send(component, work.piece(number))
        assert accounts(component).submitted == 6
    assert sorted(work.ended) == list(range(6))
    assert trio.current_time() == pytest.approx(3.0)
    assert component.report.completed == accounts(component).completed == 6


@every_kind
async def test_leaving_by_an_error_cancels_at_once(kind, autojump_clock):
    work = Work()
    with pytest.raises(ExceptionGroup) as caught:
        async with kind.make() as component:
            for number in range(6):
                await kind.send(component, work.piece(number))
            await trio.sleep(0.5)
            raise KeyError("body")
    assert [type(error) for error in caught.value.exceptions] == [KeyError]
    assert trio.current_time() == pytest.approx(0.5)
    assert sorted(work.begun) == sorted(work.cut)
    assert (component.report.cancelled, len(component.report.abandoned)) == (2, 4)


@every_kind
async def test_grace_bounds_the_wait(kind, autojump_clock):
    work = Work(10)
    async with kind.make(grace=2.0) as component:
        for number in range(3):
            await kind.send(component, work.piece(number))
    assert trio.current_time() == pytest.approx(2.0)
    assert (component.report.cancelled, len(component.report.abandoned)) == (2, 1)


@every_kind
async def test_close_finishes_and_refuses(kind, autojump_clock):
    work = Work()
    async with kind.make() as component:
        for number in range(3):
            await kind.send(component, work.piece(number))
        component.close()
        component.close()
        with pytest.raises(Closed):
            await kind.send(component, work.piece(9))
        with pytest.raises(Closed):
            kind.send_nowait(component, work.piece(9))
        await component.wait_closed()
        assert sorted(work.ended) == [0, 1, 2]


@every_kind
async def test_cancel_cuts_and_the_block_goes_on(kind, autojump_clock):
    work = Work()
    async with kind.make() as component:
        for number in range(5):
            await kind.send(component, work.piece(number))
        await trio.sleep(0.5)
        component.cancel()
        await component.wait_closed()
        assert trio.current_time() == pytest.approx(0.5)
        await trio.sleep(1)
    assert (component.report.cancelled, len(component.report.abandoned)) == (2, 3)


@every_kind
async def test_use_outside_of_the_block_is_closed_and_reads_are_not(kind):
    component = kind.make()
    for _ in range(2):
        with pytest.raises(Closed):
            await kind.send(component, fail)
        with pytest.raises(Closed):
            kind.send_nowait(component, fail)
        with pytest.raises(Closed):
            component.pause()
        component.close()
        component.cancel()
        await component.wait_idle()
        await component.wait_closed()
        assert accounts(component).submitted == 0
        async with component:
            pass


@every_kind
async def test_opening_twice_is_refused_and_opening_again_starts_afresh(kind, autojump_clock):
    component = kind.make()
    async with component:
        await kind.send(component, Work().piece(1))
        with pytest.raises(RuntimeError, match="open already"):
            async with component:
                pass
    async with component:
        assert accounts(component).submitted == 0
        await kind.send(component, Work().piece(1))
    assert component.report.completed == 1


@every_kind
async def test_it_is_found_by_its_name(kind):
    with pytest.raises(LookupError):
        whereis("some name")
    async with kind.make(name="some name") as component:
        assert whereis("some name") is component
        with pytest.raises(DuplicateName):
            await kind.make(name="some name").__aenter__()
    with pytest.raises(LookupError):
        whereis("some name")


@every_kind
async def test_it_runs_in_a_nursery_until_it_is_closed(kind, autojump_clock):
    work = Work()
    async with trio.open_nursery() as nursery:
        component = await nursery.start(kind.make().run)
        await kind.send(component, work.piece(1))
        component.close()
    assert work.ended == [1]


@every_kind
async def test_idle_is_when_nothing_waits_or_runs(kind, autojump_clock):
    async with kind.make() as component:
        await component.wait_idle()
        assert trio.current_time() == pytest.approx(0)
        for number in range(4):
            await kind.send(component, Work().piece(number))
        await component.wait_idle()
        assert trio.current_time() == pytest.approx(2.0)


@every_kind
async def test_it_refuses_to_wait_for_itself(kind, autojump_clock):
    async def selfish():
        with pytest.raises(RuntimeError):
            await component.wait_idle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused)

    async def refused():
        with pytest.raises(RuntimeError):
            await component.wait_closed()

    async with kind.make() as component:
        await kind.send(component, selfish)


@every_kind
async def test_paused_it_starts_nothing_and_leaving_resumes(kind, autojump_clock):
    work = Work()
    async with kind.make() as component:
        component.pause()
        for number in range(3):
            await kind.send(component, work.piece(number))
        await trio.sleep(5)
        assert not work.begun
        assert accounts(component).waiting == 3
    assert sorted(work.ended) == [0, 1, 2]


@every_kind
async def test_a_full_queue_makes_senders_wait_and_those_that_cannot_are_told(kind, autojump_clock):
    work = Work()
    async with kind.make(size=1, queue=Queue(max=2)) as component:
        await trio.testing.wait_all_tasks_blocked()
        for number in range(3):
            kind.send_nowait(component, work.piece(number))
        with pytest.raises(QueueFull):
            kind.send_nowait(component, work.piece(9))
        with trio.move_on_after(0.5) as scope:
            await kind.send(component, work.piece(9))
        assert scope.cancelled_caught
        assert accounts(component).submitted == 3
        await kind.send(component, work.piece(3))
        assert trio.current_time() == pytest.approx(1.0)
    assert work.ended == [0, 1, 2, 3]


@every_kind
async def test_a_crash_leaves_the_block_in_a_group(kind):
    with pytest.raises(ExceptionGroup) as caught:
        async with kind.make() as component:
            await kind.send(component, fail)
            await trio.sleep_forever()
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert any("restart=" in note for note in caught.value.exceptions[0].__notes__)
    assert component.report.failed == 1


@every_kind
async def test_crashes_are_forgiven_up_to_a_limit(kind, caplog):
    with pytest.raises(ExceptionGroup) as caught:
        async with kind.make(restart=Restart(max_restarts=2)) as component:
            for _ in range(3):
                await kind.send(component, fail)
            await trio.sleep_forever()
    (error,) = caught.value.exceptions
    assert isinstance(error, RestartLimitExceeded)
    assert len(error.crashes) == 3
    assert len(caplog.records) == 2


@every_kind
async def test_a_failing_job_has_its_tries_and_its_worker_is_free_between_them(
    kind, autojump_clock
):
    tries = []

    async def flaky():
        tries.append(trio.current_time())
        if len(tries) < 3:
            raise ValueError(len(tries))

    work = Work()
    retry = Retry(attempts=3, backoff=10.0, factor=2.0)
    async with kind.make(size=1, retry=retry) as component:
        await kind.send(component, flaky)
        await kind.send(component, work.piece(1))
        await trio.sleep(5)
        assert work.ended == [1]
        assert accounts(component).waiting == 1
    assert tries == pytest.approx([0.0, 10.0, 30.0])


@every_kind
@given(
    size=st.integers(1, 3),
    maximum=st.sampled_from([1, 3, math.inf]),
    steps=st.lists(
        st.sampled_from(["send", "try", "fail", "wait", "pause", "resume"]), max_size=25
    ),
)
def test_the_accounts_hold_at_every_moment(kind, size, maximum, steps):
    async def main():
        sent = 0
        rule = Restart(max_restarts=1000)
        async with kind.make(size=size, queue=Queue(max=maximum), restart=rule) as component:
            for step in steps:
                if step == "wait":
                    await trio.sleep(1.5)
                elif step in ("pause", "resume"):
                    getattr(component, step)()
                elif step == "send":
                    with trio.move_on_after(0.1) as scope:
                        await kind.send(component, Work().piece(0))
                    sent += not scope.cancelled_caught
                else:
                    try:
                        kind.send_nowait(component, fail if step == "fail" else Work().piece(0))
                        sent += 1
                    except QueueFull:
                        pass
                assert accounts(component).submitted == sent
        assert accounts(component).submitted == sent
        assert component.report.completed + component.report.failed == sent

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.slow
@pytest.mark.parametrize("keyed", [False, True])
async def test_a_tasker_that_is_cancelled_at_any_step_accounts_for_every_function(keyed):
    for step in itertools.count(1):
        begun, ended, sent = [], [], []

        async def work(number, begun=begun, ended=ended):
            begun.append(number)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            ended.append(number)

        keys = {"limit_per_key": 1} if keyed else {}
        tasker = Tasker(limit=2, queue=Queue(max=2), **keys)
        with CancelAt(step) as cut:
            async with tasker:
                for number in range(8):
                    key = {"key": number % 3} if keyed else {}
                    if number % 2:
                        await tasker.submit(work, number, **key)
                    else:
                        await tasker.execute(work, number, **key)
                    sent.append(number)
                    if number == 3:
                        tasker.limit = 1
                    if number == 5:
                        tasker.limit = 3
        report = tasker.report
        total = report.completed + report.cancelled + len(report.abandoned)
        assert accounts(tasker).submitted == total
        assert len(sent) <= total <= len(sent) + 1
        assert report.completed == len(ended) == len(set(ended))
        assert len(begun) == len(set(begun))
        assert not {call.args[0] for call in report.abandoned} & set(begun)
        if not cut.reached:
            assert sorted(ended) == list(range(8))
            assert step > 30
            break


async def test_an_async_pool_keeps_the_same_life(autojump_clock):
    work = Work()
    async with AsyncPool(apply, max_workers=2, name="some name", grace=3.5) as pool:
        assert whereis("some name") is pool
        for number in range(9):
            await pool.add_task(work.piece(number))
    assert len(work.ended) == 9
    assert accounts(pool).completed == 9
