"""Brokers: what waits for a server, who of its idle workers is served first, and shared rooms."""

import itertools
import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from poolder_trio import Broker, CoDel, GenPool, Queue, TooManyRequests
from poolder_trio.testing import CancelAt


class Server(GenPool):
    """Says which worker it was that served a request, and takes as long as it is told."""

    pool_size = 3

    async def init(self):
        self.served = []

    async def handle_call(self, request, state):
        self.served.append(request)
        busy = [child.index for child in self.children() if child.busy]
        await trio.sleep(request if isinstance(request, (int, float)) else 0)
        return busy[0], state

    async def handle_cast(self, request, state):
        self.served.append(request)
        await trio.sleep(request if isinstance(request, (int, float)) else 0)
        return state


class Beside(Server):
    """Its handlers overlap."""

    isolation = "optimistic"


def test_the_defaults_are_those_of_a_server():
    broker = Broker()
    assert isinstance(broker, Queue)
    assert (broker.max, broker.timeout, broker.min) == (math.inf, 5.0, 0)
    assert (broker.order, broker.overflow, broker.workers) == ("fifo", "reject", "lifo")


def test_a_wrong_value_is_refused_where_it_is_written():
    for wrong, message in (
        ({"workers": "random"}, r"workers must be one of 'lifo', 'fifo', got 'random' \(Broker\)"),
        ({"order": "filo"}, "order must be one of"),
        ({"max": -1}, "max must be"),
        ({"overflow": "ignore"}, "overflow must be one of"),
        ({"timeout": -1}, "timeout must be"),
    ):
        with pytest.raises(ValueError, match=message):
            Broker(**wrong)


# -- who is served


@pytest.mark.parametrize("workers", ["lifo", "fifo"])
async def test_idle_workers_are_served_in_the_order_that_the_broker_says(workers, autojump_clock):
    who = []
    async with Beside(broker=Broker(workers=workers)) as pool:
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            for seconds in (1, 2, 3):  # so that they fall idle one after the other
                nursery.start_soon(pool.call, seconds)
        order = []

        async def note(number):
            order.append((number, await pool.call(0)))

        for number in range(6):
            await note(number)
            await trio.sleep(1)
        who = [worker for _, worker in order]
    if workers == "lifo":
        assert len(set(who)) == 1
    else:
        assert who[:3] == who[3:]
        assert sorted(who[:3]) == [0, 1, 2]


async def test_a_worker_that_ends_is_not_served(autojump_clock):
    for step in itertools.count(1):
        with trio.fail_after(50):
            pool = Beside(broker=Broker(timeout=math.inf))
            with CancelAt(step) as cut:
                async with pool:
                    for number in range(6):
                        await pool.cast(number % 2)
                        await pool.call(0)
        stats = pool.statistics()
        assert not stats.running
        assert not stats.waiting
        if not cut.reached:
            assert stats.completed == 12
            break


# -- age and bound


async def test_a_call_that_waits_too_long_is_told_and_a_cast_is_counted(autojump_clock):
    async with Server(pool_size=1) as pool:
        await pool.cast(100)
        await wait_all_tasks_blocked()
        await pool.cast("late")
        with pytest.raises(TooManyRequests) as caught:
            await pool.call("late")
        assert (caught.value.rule, caught.value.waited) == ("timeout", pytest.approx(5.0))
        assert trio.current_time() == pytest.approx(5.0)
        assert pool.statistics().dropped == 2
    assert pool.served == [100]


async def test_codel_sheds_what_is_too_much(autojump_clock):
    told = []

    async def call(number):
        try:
            await pool.call(0.01)
        except TooManyRequests as error:
            told.append(error.rule)

    broker = Broker(timeout=math.inf, codel=CoDel(0.05, 0.5))
    async with Server(pool_size=1, broker=broker) as pool:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(call, number)
                await trio.sleep(0.005)
        assert set(told) == {"codel"}
        assert pool.statistics().completed + len(told) == 200


@pytest.mark.parametrize("order", ["priority", "fair"])
async def test_orders_that_look_at_requests_are_kept(order, autojump_clock):
    broker = Broker(order=order)
    async with Server(pool_size=1, broker=broker, key=lambda request: request[0]) as pool:
        pool.pause()
        for number, name in enumerate(["a1", "a2", "b1"]):
            if order == "priority":
                await pool.cast(name, priority=number)
            else:
                await pool.cast(name)
        pool.resume()
        await pool.wait_idle()
        assert pool.served == (["b1", "a2", "a1"] if order == "priority" else ["a1", "b1", "a2"])


# -- one room for several servers


async def test_a_shared_room_has_one_bound_and_each_server_serves_its_own():
    room = Broker(max=3).shared()
    async with Server(broker=room) as one, Server(broker=room) as other:
        one.pause()
        other.pause()
        await one.cast("a")
        await other.cast("b")
        await other.cast("c")
        for server in (one, other):
            with pytest.raises(TooManyRequests, match="reject"):
                await server.cast("d")
        assert (one.statistics().waiting, other.statistics().waiting) == (1, 2)
        other.resume()
        await other.wait_idle()
        await one.cast("e")
        assert sorted(other.served) == ["b", "c"]
    assert sorted(one.served) == ["a", "e"]
    assert (one.report.dropped, other.report.dropped) == (1, 1)


async def test_rooms_are_apart_unless_they_are_shared():
    broker = Broker(max=1)
    for rooms, together in (((broker, broker), 2), ((broker.shared(), broker.shared()), 2)):
        async with Server(broker=rooms[0]) as one, Server(broker=rooms[1]) as other:
            for server in (one, other):
                server.pause()
                await server.cast("x")
            assert one.statistics().waiting + other.statistics().waiting == together


async def test_in_a_shared_room_the_oldest_of_all_is_dropped_and_its_own_caller_told():
    room = Broker(max=2, overflow="drop_oldest").shared()
    told = []

    async def call(server, name):
        try:
            await server.call(name)
        except TooManyRequests as error:
            told.append((name, error.rule))

    async with trio.open_nursery() as nursery:
        async with Server(broker=room) as one, Server(broker=room) as other:
            one.pause()
            other.pause()
            nursery.start_soon(call, one, "a")
            await wait_all_tasks_blocked()
            await other.cast("b")
            await other.cast("c")
            await wait_all_tasks_blocked()
            assert told == [("a", "drop_oldest")]
            await one.cast("d")
    assert (one.served, other.served) == (["d"], ["c"])
    assert (one.report.dropped, other.report.dropped) == (1, 1)


async def test_in_a_shared_room_ages_and_min_are_of_all_that_wait(autojump_clock):
    room = Broker(timeout=2.0, min=1).shared()
    async with Server(broker=room) as one, Server(broker=room) as other:
        one.pause()
        other.pause()
        await one.cast("a")
        await trio.sleep(10)
        assert one.statistics().waiting == 1  # no more than `min` wait
        await other.cast("b")
        assert one.statistics().dropped == 1
        await trio.sleep(10)
        assert other.statistics().waiting == 1
    assert (one.served, other.served) == ([], ["b"])


async def test_in_a_shared_room_who_waits_for_a_place_gets_one_that_others_leave(autojump_clock):
    room = Broker(max=1, overflow="wait", timeout=math.inf).shared()
    async with Server(broker=room) as one, Server(broker=room) as other:
        one.pause()
        other.pause()
        await one.cast("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.cast, "b")
            await trio.sleep(1)
            assert other.statistics().waiting == 0
            one.resume()
            await trio.sleep(1)
            assert other.statistics().waiting == 1
    assert (one.served, other.served) == (["a"], ["b"])


async def test_a_server_that_ends_leaves_a_shared_room_to_the_others():
    room = Broker(max=2).shared()
    async with Server(broker=room) as one:
        async with Server(broker=room) as other:
            one.pause()
            other.pause()
            await other.cast("b")
            await one.cast("a")
            other.cancel()
        await one.cast("c")
    assert sorted(one.served) == ["a", "c"]
    assert other.report.abandoned == ("b",)
    async with Server(broker=room) as again:
        await again.call("d")


STEP = st.tuples(st.integers(0, 2), st.sampled_from(["cast", "wait", "pause", "resume"]))


@given(
    steps=st.lists(STEP, max_size=40) | st.lists(STEP, min_size=20, max_size=40),
    maximum=st.integers(0, 4),
    rule=st.sampled_from(["reject", "drop_oldest", "drop_newest"]),
    timeout=st.sampled_from([1.5, math.inf]),
)
def test_the_accounts_of_all_that_share_a_room_hold_at_every_moment(steps, maximum, rule, timeout):
    async def main():
        room = Broker(max=maximum, overflow=rule, timeout=timeout).shared()
        servers = [Server(broker=room, pool_size=1) for _ in range(3)]
        sent = [0, 0, 0]
        async with servers[0], servers[1], servers[2]:
            for who, step in steps:
                server = servers[who]
                if step == "wait":
                    await trio.sleep(1)
                elif step == "cast":
                    sent[who] += 1
                    try:
                        server.cast_nowait(0.7)
                    except TooManyRequests:
                        assert rule == "reject"
                else:
                    getattr(server, step)()
                waiting = 0
                for number, each in enumerate(servers):
                    stats = each.statistics()
                    ended = stats.completed + stats.dropped + stats.cancelled + stats.abandoned
                    assert stats.submitted == sent[number]
                    assert stats.submitted == ended + stats.running + stats.waiting
                    waiting += len(each._crew.shared.room)
                assert waiting <= maximum

    trio.run(main, clock=MockClock(autojump_threshold=0))
