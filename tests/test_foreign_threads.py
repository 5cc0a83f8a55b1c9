"""Whoever is outside of the Trio run is told so before anything changes, and all goes on."""

import sys
import threading

import pytest
import trio
import trio.testing

from poolder_trio import (
    AsyncPool,
    Batcher,
    FactoryPool,
    GenPool,
    JobPool,
    Pool,
    Queue,
    Rate,
    Scheduler,
    Tasker,
    Worker,
)

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


class Echo(Worker):
    async def handle_job(self, job):
        return job


async def echo(value=None):
    return value


async def handle(batch):
    return list(batch)


class Server(GenPool):
    async def handle_call(self, request, state):
        return request, state

    async def handle_cast(self, request, state):
        return state


def in_thread(fn):
    """Call a function in another thread; return what it raised."""
    raised = []

    def run():
        try:
            fn()
        except BaseException as error:  # noqa: BLE001  # looked at below
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


def in_another_run(fn):
    async def main():
        fn()

    return in_thread(lambda: trio.run(main))


LIFE = {name: name for name in ("pause", "resume", "close", "cancel")}


def life(component):
    return {name: getattr(component, name) for name in LIFE}


def pool(**options):
    it = Pool(Echo, pool_size=2, **options)
    sends = {"cast_nowait": lambda: it.cast_nowait(1)}
    return it, sends | life(it), lambda: it.call(1)


def pool_by_ref():
    it = Pool(Echo, pool_size=2)
    return it, {"ref.cast_nowait": lambda: it[0].cast_nowait(1)}, lambda: it.call(1)


def tasker(**options):
    it = Tasker(limit=2, **options)
    jobs = []

    def cancel():
        jobs[0].cancel()

    async def alive():
        jobs.append(await it.submit(trio.sleep, 0.01))
        assert type(in_thread(cancel)[0]) is RuntimeError
        await jobs.pop().wait()
        return await it.call(echo)

    sends = {
        "submit_nowait": lambda: it.submit_nowait(echo),
        "execute_nowait": lambda: it.execute_nowait(echo),
        "limit": lambda: setattr(it, "limit", 5),
    }
    return it, sends | life(it), alive


def job_pool():
    it = JobPool(pool_size=2)
    return it, {"perform_nowait": lambda: it.perform_nowait(echo)} | life(it), lambda: it.call(echo)


def async_pool():
    it = AsyncPool(echo, max_workers=2)
    return it, {"add_task_nowait": lambda: it.add_task_nowait(1)} | life(it), lambda: it.add_task(1)


def batcher(**options):
    it = Batcher(handle, limit=1, **options)
    sends = {"push_nowait": lambda: it.push_nowait(1), "pop_at": lambda: it.pop_at(0)}
    return it, sends | life(it), lambda: it.call(1)


def gen_pool():
    it = Server(pool_size=2)
    sends = {
        "cast_nowait": lambda: it.cast_nowait(1),
        "send_info": lambda: it.send_info(1),
        "stop": it.stop,
    }
    return it, sends | life(it), lambda: it.call(1)


def scheduler():
    it = Scheduler()

    async def alive():
        it.schedule("job", 1000.0, echo)
        it.fire("job")
        await it.wait_idle()

    sends = {
        "schedule": lambda: it.schedule("other", 0.1, echo),
        "fire": lambda: it.fire("job"),
        "unschedule": lambda: it.unschedule("job"),
        "reschedule": lambda: it.reschedule({}),
    }
    return it, sends | life(it), alive


def factory_pool():
    it = FactoryPool()

    async def alive():
        return await it.call(await it.start_child(None, Echo), 1)

    return it, life(it), alive


EVERYWHERE = {
    "pool": pool,
    "available": lambda: pool(mode="available"),
    "broadcast": lambda: pool(mode="broadcast"),
    "priority": lambda: pool(queue=Queue(order="priority")),
    "aged": lambda: pool(queue=Queue(timeout=5)),
    "rate": lambda: pool(rate=Rate(1000)),
    "ref": pool_by_ref,
    "tasker": tasker,
    "keyed": lambda: tasker(limit_per_key=1, rate=Rate(1000)),
    "job_pool": job_pool,
    "async_pool": async_pool,
    "batcher": batcher,
    "heavy": lambda: batcher(weight=lambda _: 1.0, max_weight=5),
    "gen_pool": gen_pool,
    "scheduler": scheduler,
    "factory_pool": factory_pool,
}


def counts(component):
    stats = component.statistics()
    return stats.submitted, stats.running, stats.waiting, stats.cancelled


@pytest.mark.parametrize("outside", [in_thread, in_another_run])
@pytest.mark.parametrize("kind", EVERYWHERE)
async def test_a_foreign_thread_is_told_and_the_component_goes_on(kind, outside):
    """In real time, as real threads are: nothing in here waits for long."""
    component, sends, alive = EVERYWHERE[kind]()
    with trio.fail_after(30):
        async with component:
            await trio.testing.wait_all_tasks_blocked()
            before = counts(component)
            for name, send in sends.items():
                (error,) = outside(send)
                while isinstance(error, BaseExceptionGroup):
                    (error,) = error.exceptions
                assert type(error) is RuntimeError, name
                assert "outside of the Trio run that it is open in" in str(error), name
                assert counts(component) == before, name
            await alive()
    assert component.report.abandoned == ()


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_after_the_run_a_component_may_be_closed_from_anywhere(kind):
    component, _, _ = EVERYWHERE[kind]()

    async def main():
        async with component:
            pass

    component.close()
    trio.run(main)
    component.close()
    component.cancel()
    assert in_thread(component.close) == []
    assert component.statistics().submitted == 0
