"""A mixed application does the same before and after a change of structure: its journal is kept.

Who took which job, when, and with what end, for ten seeds, in ``data/journals``: as a simulation
has it on every Python and every Trio. A change that means to alter behaviour writes them anew, and
its diff shows what that was: ``JOURNALS=write pytest tests/test_journal.py``.
"""

import datetime as dt
import functools
import os
import random
import sys
from pathlib import Path

import pytest
import trio

from poolder_trio import (
    HALT,
    AsyncPool,
    Backoff,
    Batcher,
    Broker,
    Every,
    Exit,
    FactoryPool,
    GenPool,
    JobPool,
    Pool,
    Queue,
    Rate,
    Restart,
    Retry,
    Scheduler,
    Tasker,
    Update,
    Worker,
)
from poolder_trio.testing import simulate

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

KEPT = Path(__file__).parent / "data" / "journals"
SEEDS = range(10)
COUNTS = ("submitted", "completed", "failed", "cancelled", "dropped", "abandoned")


class Journal:
    """Lines of what happened."""

    def __init__(self):
        self.lines = []

    def note(self, where, *words):
        self.lines.append(f"{trio.current_time():9.4f} {where}: {' '.join(map(str, words))}")

    def counts(self, where, component):
        counts = component.statistics()
        self.note(where, *(f"{name}={getattr(counts, name)}" for name in COUNTS))

    async def answer(self, where, what, call, *args, patience=float("inf")):
        """Await a call, and note how it ends."""
        with trio.move_on_after(patience) as scope:
            try:
                self.note(where, what, "->", await call(*args))
            except Exception as error:  # noqa: BLE001  # whatever it is, it is noted
                self.note(where, what, "!", type(error).__name__)
        if scope.cancelled_caught:
            self.note(where, what, "given up")


async def takes_a_while(most=0.8):
    await trio.sleep(random.uniform(0, most))  # noqa: S311  # it is drawn from the seed


def chance(share):
    return random.random() < share  # noqa: S311  # as above


def make_worker(journal, where):
    class Teller(Worker):
        retry = Retry(attempts=3, backoff=0.2, factor=2, jitter=0.5)

        async def handle_init(self):
            journal.note(where, f"{self.index} begins")

        async def handle_job(self, job):
            journal.note(where, self.index, "takes", job)
            await takes_a_while()
            if chance(0.25):
                raise OSError
            journal.note(where, self.index, "has done", job)
            return Exit(job) if chance(0.05) else job

        async def handle_error(self, job, attempt, error):
            verdict = random.choice([None, None, Backoff(0.1), HALT])  # noqa: S311  # as above
            journal.note(where, self.index, "failed", job, attempt, verdict)
            return verdict

    return Teller


async def one_pool(journal, mode, **options):
    where = f"pool {mode}"
    pool = Pool(
        make_worker(journal, where),
        pool_size=3,
        mode=mode,
        restart=Restart(max_restarts=1000, mode="permanent"),
        **options,
    )
    async with pool, trio.open_nursery() as nursery:
        for number in range(8):
            if mode == "broadcast" or chance(0.4):
                await journal.answer(where, f"cast {number}", pool.cast, number)
            else:
                patience = 0.7 if chance(0.3) else float("inf")
                ask = functools.partial(journal.answer, patience=patience)
                nursery.start_soon(ask, where, f"call {number}", pool.call, number)
            await takes_a_while(0.4)
            if number == 4:
                pool.pause()
                await takes_a_while()
                pool.resume()
    journal.counts(where, pool)


async def pools(journal):
    async with trio.open_nursery() as nursery:
        for mode in ("round_robin", "random", "phash", "least_loaded", "broadcast"):
            nursery.start_soon(one_pool, journal, mode)
        full = Queue(max=2, overflow="drop_oldest", order="lifo")
        nursery.start_soon(functools.partial(one_pool, journal, "available", queue=full))


async def work(journal, where, job):
    journal.note(where, "takes", job)
    await takes_a_while()
    if chance(0.2):
        raise LookupError(job)
    journal.note(where, "has done", job)
    return job


async def functions(journal):
    where = "tasker"
    do = functools.partial(work, journal, where)
    limits = {"limit_per_key": 1, "rate": Rate(5, per=1), "queue": Queue(order="fair")}
    retry = Retry(attempts=2, backoff=0.1, jitter=0.9)
    async with (
        Tasker(limit=3, retry=retry, restart=Restart(max_restarts=1000), **limits) as tasker,
        trio.open_nursery() as nursery,
    ):
        for number in range(6):
            tasker_call = functools.partial(tasker.call, key=number % 2)
            nursery.start_soon(journal.answer, where, f"call {number}", tasker_call, do, number)
            await tasker.execute(do, f"x{number}", key="x")
        job = await tasker.submit(do, "taken back")
        job.cancel()
        async with tasker.map(do, range(10, 16), outcomes=True, ordered=chance(0.5)) as outcomes:
            async for each in outcomes:
                journal.note(where, "outcome", type(each).__name__)
        tasker.limit = 1
        await journal.answer(where, "last", tasker.call, do, "last")
    journal.counts(where, tasker)


async def jobs(journal):
    where = "job pool"
    do = functools.partial(work, journal, where)
    async with JobPool("later", pool_size=2, job_timeout=0.6) as pool:
        timers = [await pool.perform_after(seconds, do, f"in {seconds}") for seconds in (1, 2, 9)]
        await pool.perform_at(dt.time(0, 0, 3), do, "at 00:00:03")
        await pool.perform_many(do, "abc")
        handles = await pool.async_perform_many(do, "def")
        for handle, name in zip(handles, "def", strict=True):
            await journal.answer(where, f"job {name}", handle.wait)
        left = await timers[2].cancel()
        journal.note(where, f"cancelled with {left:.4f} left", handles[0].status)
        await trio.sleep(4)
    journal.counts(where, pool)


async def batches(journal):
    where = "batcher"

    async def handle(batch):
        journal.note(where, "takes", batch.reason, batch.key, list(batch))
        await takes_a_while()
        if chance(0.2):
            raise OSError
        return [KeyError() if item == 7 else item * 2 for item in batch]

    async with (
        Batcher(
            handle,
            limit=4,
            timeout=0.5,
            concurrency=2,
            key=lambda item: item % 2,
            retry=Retry(attempts=2, backoff=0.3, jitter=0.2),
            restart=Restart(max_restarts=1000),
        ) as batcher,
        trio.open_nursery() as nursery,
    ):
        for number in range(16):
            if chance(0.5):
                await batcher.push(number)
            else:
                patience = 0.5 if chance(0.2) else float("inf")
                ask = functools.partial(journal.answer, patience=patience)
                nursery.start_soon(ask, where, f"call {number}", batcher.call, number)
            await takes_a_while(0.15)
        await batcher.flush()
        journal.note(where, "flushed")
        await batcher.push_many(range(20, 24))
    journal.counts(where, batcher)


async def schedules(journal):
    where = "scheduler"

    async def tick(name):
        journal.note(where, name, "takes")
        await takes_a_while(1.5)
        if chance(0.2):
            raise OSError
        journal.note(where, name, "has done")

    async with Scheduler(overlap="queue", restart=Restart(max_restarts=1000)) as scheduler:
        scheduler.schedule("each second", 1.0, tick, "each second")
        scheduler.schedule("jittered", Every(2, jitter=1), tick, "jittered")
        scheduler.schedule("cron", "*/3 * * * * *", tick, "cron")
        await trio.sleep(5)
        scheduler.unschedule("each second")
        scheduler.fire("cron")
        await trio.sleep(4)
    journal.counts(where, scheduler)


async def servers(journal):
    where = "server"

    class Counter(GenPool):
        pool_size = 3
        shared_state = True
        broker = Broker(max=4, timeout=1.0)

        async def init(self):
            return 0

        async def handle_call(self, request, state):
            await takes_a_while()
            journal.note(where, "answers", request, state)
            if chance(0.1):
                raise OSError
            if chance(0.5):
                return Update(lambda now: now + 1, reply=request)
            return state + 1, state + 1

        async def handle_cast(self, request, state):
            await takes_a_while(0.2)
            return state + 10

    async with Counter() as counter, trio.open_nursery() as nursery:
        for number in range(15):
            nursery.start_soon(journal.answer, where, f"call {number}", counter.call, number)
            await takes_a_while(0.3)
            if chance(0.2):
                await journal.answer(where, f"cast {number}", counter.cast, number)
    journal.counts(where, counter)


async def groups(journal):
    where = "factory"

    class Watching(FactoryPool):
        async def handle_down(self, ref, reason):
            journal.note(where, "down", type(reason).__name__)

    async with Watching(grace=1.0) as factory:
        await factory.start_group("a", make_worker(journal, "group a"), pool_size=2, mode="random")
        child = await factory.start_child("b", make_worker(journal, "group b"))
        for number in range(8):
            await journal.answer(where, f"dispatch {number}", factory.dispatch, "a", number)
            await takes_a_while(0.3)
        await journal.answer(where, "call", factory.call, child, "b")
        await journal.answer(where, "terminate", factory.terminate, child)
        await factory.configure_group("a", pool_size=3)
        await journal.answer(where, "broadcast", factory.broadcast, "a", "all")
    journal.counts(where, factory)


async def results(journal):
    where = "async pool"
    async with (
        AsyncPool(functools.partial(work, journal, where), max_workers=2) as pool,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def receive():
            for _ in range(6):
                completion = await pool.results.receive()
                journal.note(where, completion.ref, type(completion.outcome).__name__)

        for number in range(6):
            journal.note(where, "added", await pool.add_task(number))
    journal.counts(where, pool)


def ends_of(error):
    """The names of all that a group holds."""
    if not isinstance(error, ExceptionGroup):
        return [type(error).__name__]
    return [name for inner in error.exceptions for name in ends_of(inner)]


async def downfall(journal):
    """What leaves the block of a pool that has no restarts left."""
    where = "downfall"
    try:
        teller = make_worker(journal, where)
        teller.retry = Retry()
        async with Pool(teller, pool_size=2, restart=Restart(max_restarts=2, within=60)) as pool:
            for number in range(40):
                await pool.cast(number)
                await takes_a_while(0.3)
    except ExceptionGroup as error:
        journal.note(where, *sorted(ends_of(error)))
    journal.counts(where, pool)


PARTS = [pools, functions, jobs, batches, schedules, servers, groups, results, downfall]


def journal_of(seed):
    """What is kept of one run."""
    journal = Journal()

    async def main():
        with trio.move_on_after(40):
            async with trio.open_nursery() as nursery:
                for part in PARTS:
                    nursery.start_soon(part, journal)
        journal.note("all", "over")

    simulate(main, seed=seed, until=100)
    return "\n".join(journal.lines) + "\n"


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level("CRITICAL", logger="poolder_trio")


@pytest.mark.parametrize("seed", SEEDS)
def test_the_journal_is_as_it_was(seed):
    found, path = journal_of(seed), KEPT / f"{seed}.txt"
    if os.environ.get("JOURNALS") == "write":
        path.write_text(found, encoding="utf-8")
    assert found.splitlines() == path.read_text(encoding="utf-8").splitlines(), (
        "if that is meant, write them anew: JOURNALS=write pytest tests/test_journal.py"
    )


def test_the_journals_differ_and_have_all_components_and_ends():
    texts = [path.read_text(encoding="utf-8") for path in KEPT.glob("*.txt")]
    assert len({*texts}) == len(texts) == len(SEEDS)
    for text in texts:
        assert "all: over" in text
        for part in ("pool random", "tasker", "job pool", "batcher", "scheduler", "server"):
            assert f" {part}: submitted=" in text
    ends = ("given up", "JobHalted", "TooManyRequests", "OSError", "RestartLimitExceeded", "down")
    assert [end for end in ends if not any(end in text for text in texts)] == []
