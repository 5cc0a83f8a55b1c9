"""Senders that wait for room: the queue's order says who is let in."""

import gc
import time
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from poolder_trio import (
    Batcher,
    Broker,
    GenPool,
    Pool,
    Queue,
    Rate,
    Tasker,
    Worker,
)

ORDERS = ["fifo", "lifo", "priority", "fair"]
#: What is sent while the room is full: a name, a key and a priority.
SENT = [("a1", "a", 0), ("a2", "a", 5), ("b1", "b", 5), ("a3", "a", 9), ("c1", "c", 0)]
FIRST = {
    "fifo": ["a1", "a2", "b1", "a3", "c1"],
    "lifo": ["c1", "a3", "b1", "a2", "a1"],
    "priority": ["a3", "a2", "b1", "a1", "c1"],
    "fair": ["a1", "b1", "c1", "a2", "a3"],
}


async def nap(log, name, seconds=1):
    log.append(name)
    await trio.sleep(seconds)


class Napping(Worker):
    async def handle_job(self, job):
        await nap(*job)

    async def handle_call(self, job):
        await nap(*job)


class Server(GenPool):
    pool_size = 1

    async def init(self):
        return 0

    async def handle_call(self, request, state):
        await nap(*request)
        return None, state

    async def handle_cast(self, request, state):
        await nap(*request)
        return state


def options(order, key, priority):
    return {"priority": {"priority": priority}, "fair": {"key": key}}.get(order, {})


def tasker(queue):
    it = Tasker(limit=1, queue=queue)
    return it, lambda log, name, **more: it.execute(nap, log, name, **more)


def tasker_calls(queue):
    it = Tasker(limit=1, queue=queue)
    return it, lambda log, name, **more: it.call(nap, log, name, **more)


def tasker_submits(queue):
    it = Tasker(limit=1, queue=queue)
    return it, lambda log, name, **more: it.submit(nap, log, name, **more)


def tasker_with_rate(queue):
    it = Tasker(limit=1, queue=queue, rate=Rate(1))
    return it, lambda log, name, **more: it.execute(nap, log, name, **more)


def tasker_that_ages(queue):
    it = Tasker(limit=1, queue=Queue(max=queue.max, order=queue.order, timeout=1000))
    return it, lambda log, name, **more: it.execute(nap, log, name, **more)


def pool(queue):
    it = Pool(Napping, pool_size=1, queue=queue)
    return it, lambda log, name, **more: it.cast((log, name), **more)


def shared_pool(queue):
    it = Pool(Napping, pool_size=1, queue=queue, mode="available")
    return it, lambda log, name, **more: it.call((log, name), **more)


COMPONENTS = [tasker, tasker_calls, tasker_submits, tasker_with_rate, tasker_that_ages]
COMPONENTS += [pool, shared_pool]


async def send_in_order(nursery, send, log, order):
    for name, key, priority in SENT:
        nursery.start_soon(partial(send, log, name, **options(order, key, priority)))
        await wait_all_tasks_blocked()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("most", [0, 1])
@pytest.mark.parametrize("make", COMPONENTS, ids=lambda each: each.__name__)
async def test_what_the_queue_would_start_first_is_let_in_first(make, most, order, autojump_clock):
    log = []
    component, send = make(Queue(max=most, order=order))
    with trio.fail_after(100):
        async with component, trio.open_nursery() as nursery:
            for number in range(most + 1):
                nursery.start_soon(partial(send, log, number, **options(order, "first", 99)))
                await wait_all_tasks_blocked()
            await send_in_order(nursery, send, log, order)
    assert log[most + 1 :] == FIRST[order]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("order", ["fifo", "lifo", "fair"])
async def test_senders_to_a_server_are_let_in_in_the_order_of_its_broker(
    order, shared, autojump_clock
):
    log = []
    broker = Broker(max=1, order=order, overflow="wait", timeout=1000)

    async def send(log, name, **more):
        await server.cast((log, name), **more)

    async with Server(broker=broker.shared() if shared else broker) as server:
        async with trio.open_nursery() as nursery:
            for number in range(2):
                nursery.start_soon(lambda n=number: send(log, n))
                await wait_all_tasks_blocked()
            for name, _, _ in SENT:
                nursery.start_soon(lambda n=name: send(log, n))
                await wait_all_tasks_blocked()
    # Without keys, fair is first come, first served.
    assert log[2:] == FIRST["fifo" if order == "fair" else order]


async def test_several_that_are_sent_together_have_the_rank_of_their_priority(autojump_clock):
    log = []
    queue = Queue(max=1, order="priority")

    async def send(priority, names):
        await it.cast_many([(log, name) for name in names], priority=priority)

    async with Pool(Napping, pool_size=1, mode="available", queue=queue) as it:
        async with trio.open_nursery() as nursery:
            for priority, names in [(0, "xy"), (0, "ab"), (3, "cd"), (1, "ef"), (3, "gh")]:
                nursery.start_soon(send, priority, names)
                await wait_all_tasks_blocked()
    assert "".join(log) == "xycdghefab"


@pytest.mark.parametrize("most", [0, 1, 2])
@pytest.mark.parametrize("order", ORDERS)
async def test_who_waits_for_a_key_holds_up_no_other_sender(most, order, autojump_clock):
    log = []
    async with Tasker(limit=2, limit_per_key=1, queue=Queue(max=most, order=order)) as it:

        async def send(name, key, seconds):
            begun = trio.current_time()
            await it.call(nap, log, name, seconds, key=key)
            ends[name] = trio.current_time() - begun

        ends = {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, "a0", "a", 100)
            await wait_all_tasks_blocked()
            nursery.start_soon(send, "b0", "b", 1)
            await wait_all_tasks_blocked()
            for number in range(most + 2):
                nursery.start_soon(send, f"a{number + 1}", "a", 1)
                await wait_all_tasks_blocked()
            for number in range(3):
                nursery.start_soon(send, f"c{number}", "c", 1)
                nursery.start_soon(send, f"d{number}", "d", 1)
                await wait_all_tasks_blocked()
    late = {name for name, end in ends.items() if end > 50}
    assert late == {f"a{number}" for number in range(most + 3)}


async def test_of_those_who_wait_for_one_key_the_urgent_is_let_in_first(autojump_clock):
    log = []
    queue = Queue(max=1, order="priority")
    async with Tasker(limit=1, limit_per_key=1, queue=queue) as it, trio.open_nursery() as nursery:
        for name, priority in [("run", 0), ("wait", 0), ("low", 1), ("high", 2), ("low2", 1)]:
            nursery.start_soon(lambda n=name, p=priority: it.call(nap, log, n, key=1, priority=p))
            await wait_all_tasks_blocked()
    assert log == ["run", "wait", "high", "low", "low2"]


async def test_what_is_pushed_to_the_front_of_a_batcher_is_let_in_first(autojump_clock):
    log = []

    async def handle(batch):
        log.extend(batch)
        await trio.sleep(1)

    async with Batcher(handle, limit=1, queue=Queue(max=1)) as it, trio.open_nursery() as nursery:
        for number in range(2):
            await it.push(number)
            await wait_all_tasks_blocked()
        for number in range(2, 5):
            nursery.start_soon(it.push, number)
            await wait_all_tasks_blocked()
        nursery.start_soon(it.push_front, "front")
        await wait_all_tasks_blocked()
    assert log == [0, 1, "front", 2, 3, 4]


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("order", ORDERS)
async def test_cancelled_senders_leave_the_others_in_their_order(order, keyed, autojump_clock):
    log = []
    more = {"limit_per_key": 5} if keyed else {}
    async with Tasker(limit=1, queue=Queue(max=1, order=order), **more) as it:
        await it.execute(nap, log, 0)
        await it.execute(nap, log, 1)
        async with trio.open_nursery() as nursery:
            scopes = {}

            async def send(name, options):
                with trio.CancelScope() as scope:
                    scopes[name] = scope
                    await it.execute(nap, log, name, **options)

            for name, key, priority in SENT:
                nursery.start_soon(send, name, options(order, key, priority))
                nursery.start_soon(send, name + "!", options(order, key, priority))
                await wait_all_tasks_blocked()
            await wait_all_tasks_blocked()
            for name in FIRST["fifo"]:
                scopes[name + "!"].cancel()
            await wait_all_tasks_blocked()
    assert log[2:] == FIRST[order]


def seconds_for(count, order, more):
    """How long it takes to cancel so many senders that wait."""
    log = []

    async def main():
        async with Tasker(limit=1, queue=Queue(max=1, order=order), **more) as it:
            await it.execute(nap, log, 0)
            await it.execute(nap, log, 1)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    for number in range(count):
                        given = options(order, number % 7, number % 11)
                        nursery.start_soon(lambda o=given: it.execute(nap, log, 2, **o))
                    await wait_all_tasks_blocked()
                    begun = time.process_time()
                    scope.cancel()
            return time.process_time() - begun

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("more", [{}, {"limit_per_key": 2}], ids=["", "keyed"])
@pytest.mark.parametrize("order", ORDERS)
def test_senders_that_are_cancelled_together_cost_the_same_each(order, more):
    gc.collect()
    gc.disable()  # what it costs is by all that the process holds
    try:
        few = min(seconds_for(250, order, more) for _ in range(3))
        assert min(seconds_for(2_000, order, more) for _ in range(3)) < 24 * few
    finally:
        gc.enable()
