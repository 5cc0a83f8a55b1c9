"""A map whose inputs have keys, of which only so many run at once: a full key holds up no other."""

import itertools
import time
from collections import Counter

import pytest
import trio

from poolder_trio import Queue, Retry, Tasker, ThreadExecutor

#: Forty inputs of eight hosts, those of one host together.
SORTED = [(host, page) for host in "abcdefgh" for page in range(5)]


def host_of(visit):
    return visit[0]


class Web:
    """Hosts that answer in a second, and count how many they answer at once."""

    def __init__(self):
        self.running = Counter()
        self.most = Counter()
        self.visits = []

    async def visit(self, visit):
        host = visit[0]
        self.running[host] += 1
        self.running[None] += 1
        for each in (host, None):
            self.most[each] = max(self.most[each], self.running[each])
        try:
            await trio.sleep(1)
        finally:
            self.running[host] -= 1
            self.running[None] -= 1
        self.visits.append(visit)
        return visit


async def stream(inputs):
    for each in inputs:
        yield each
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("options", [{}, {"ordered": True}, {"outcomes": True}])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "case",
    [(10, 1, 5), (8, 1, 5), (16, 2, 3), (100, 5, 1), (100, 100, 1), (40, 3, 2)],
)
async def test_sorted_inputs_take_no_longer_than_mixed_ones(
    case, options, is_async, autojump_clock
):
    limit, per_key, best = case
    web = Web()
    async with Tasker(limit=limit, limit_per_key=per_key) as tasker:
        inputs = stream(SORTED) if is_async else SORTED
        async with tasker.map(web.visit, inputs, key=host_of, **options) as results:
            got = [each.unwrap() if "outcomes" in options else each async for each in results]
    assert trio.current_time() == pytest.approx(best)
    assert got == SORTED if "ordered" in options else sorted(got) == SORTED
    assert max(web.most[host] for host in "abcdefgh") == min(per_key, 5)
    assert web.most[None] <= limit


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7])
async def test_with_fewer_workers_than_keys_none_of_them_rests_while_it_could_work(
    limit, autojump_clock
):
    # With so few, the last host's inputs are what remains: it is at them for five seconds.
    web = Web()
    async with Tasker(limit=limit, limit_per_key=1) as tasker:
        async with tasker.map(web.visit, SORTED, key=host_of) as results:
            async for _ in results:
                pass
    best = {1: 40, 2: 20, 3: 15, 5: 10, 7: 10}[limit]
    assert trio.current_time() == pytest.approx(best)
    assert web.most[None] == limit


@pytest.mark.parametrize("queue", [Queue(max=0), Queue(max=1), Queue(max=3, overflow="reject")])
async def test_inputs_of_a_full_key_take_no_place_of_others_in_the_queue(queue, autojump_clock):
    web = Web()
    async with Tasker(limit=10, limit_per_key=1, queue=queue) as tasker:
        async with tasker.map(web.visit, SORTED, key=host_of) as results:
            await trio.sleep(0.5)
            assert tasker.statistics().waiting == 0
            assert sorted([each async for each in results]) == SORTED
    assert trio.current_time() == pytest.approx(5)


async def test_inputs_of_a_full_key_do_not_grow_old_in_the_queue(autojump_clock):
    web = Web()
    async with Tasker(limit=10, limit_per_key=1, queue=Queue(timeout=0.5)) as tasker:
        async with tasker.map(web.visit, SORTED, key=host_of) as results:
            assert sorted([each async for each in results]) == SORTED


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority", "fair"])
async def test_inputs_of_one_key_are_sent_in_their_order(order, autojump_clock):
    web = Web()
    async with Tasker(limit=10, limit_per_key=1, queue=Queue(order=order)) as tasker:
        async with tasker.map(web.visit, SORTED, key=host_of) as results:
            async for _ in results:
                pass
    for host in "abcdefgh":
        assert [page for its, page in web.visits if its == host] == list(range(5))
    assert trio.current_time() == pytest.approx(5)


async def test_a_key_that_strangers_fill_holds_up_no_other(autojump_clock):
    web = Web()
    async with Tasker(limit=10, limit_per_key=2) as tasker:
        for _ in range(2):
            await tasker.execute(trio.sleep, 100, key="a")
        async with tasker.map(web.visit, SORTED, key=host_of) as results:
            got = [await results.receive() for _ in range(35)]
            assert trio.current_time() == pytest.approx(5, abs=1)
            assert sorted(got) == SORTED[5:]
            assert sorted([each async for each in results]) == SORTED[:5]
            assert trio.current_time() == pytest.approx(103)


async def test_two_maps_of_one_tasker_share_its_keys(autojump_clock):
    web = Web()

    async def use():
        async with tasker.map(web.visit, SORTED, key=host_of) as results:
            assert sorted([each async for each in results]) == SORTED

    async with Tasker(limit=16, limit_per_key=2) as tasker:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            nursery.start_soon(use)
    assert trio.current_time() == pytest.approx(5)
    assert max(web.most[host] for host in "abcdefgh") == 2


async def test_inputs_that_come_slowly_do_not_hold_up_those_that_wait_for_their_key(
    autojump_clock,
):
    async def slow():
        for page in range(5):
            yield ("a", page)
        await trio.sleep(100)
        yield ("b", 0)

    web = Web()
    async with Tasker(limit=3, limit_per_key=1) as tasker:
        async with tasker.map(web.visit, slow(), key=host_of) as results:
            for page in range(5):
                assert await results.receive() == ("a", page)
                assert trio.current_time() == pytest.approx(page + 1)
            assert await results.receive() == ("b", 0)
            assert trio.current_time() == pytest.approx(101)
            with pytest.raises(trio.EndOfChannel):
                await results.receive()


async def test_inputs_without_a_key_are_under_no_limit_of_keys(autojump_clock):
    web = Web()
    inputs = [(None, page) for page in range(10)] + SORTED[:5]
    async with Tasker(limit=20, limit_per_key=1) as tasker:
        async with tasker.map(web.visit, inputs, key=host_of) as results:
            assert len([each async for each in results]) == 15
    assert trio.current_time() == pytest.approx(5)


async def test_a_job_that_backs_off_holds_up_no_other_key(autojump_clock):
    failed = []

    async def visit(visit):
        await trio.sleep(1)
        if visit[0] == "a" and visit not in failed:
            failed.append(visit)
            raise OSError
        return visit

    async with Tasker(limit=10, limit_per_key=1, retry=Retry(attempts=2, backoff=50)) as tasker:
        async with tasker.map(visit, SORTED, key=host_of) as results:
            got = [await results.receive() for _ in range(35)]
            assert sorted(got) == SORTED[5:]
            assert trio.current_time() == pytest.approx(5)
            assert len([each async for each in results]) == 5


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
async def test_of_a_full_key_a_thousand_inputs_are_read_ahead_and_no_more(
    ordered, is_async, autojump_clock
):
    read = []

    def endless():
        for number in itertools.count():
            read.append(number)
            yield ("a", number)

    web = Web()
    async with Tasker(limit=4, limit_per_key=1) as tasker:
        inputs = stream(endless()) if is_async else endless()
        async with tasker.map(web.visit, inputs, key=host_of, ordered=ordered) as results:
            await trio.sleep(0.5)
            assert 1000 <= len(read) <= 1004
            for count in range(1, 6):
                await results.receive()
                await trio.sleep(0.1)
                assert 1000 <= len(read) <= 1004 + count
        assert trio.current_time() < 10


@pytest.mark.parametrize("ordered", [False, True])
async def test_results_that_nobody_receives_stop_a_map_with_keys(ordered, autojump_clock):
    web = Web()
    inputs = ((str(number), number) for number in itertools.count())
    async with Tasker(limit=4, limit_per_key=1) as tasker:
        async with tasker.map(web.visit, inputs, key=host_of, ordered=ordered) as results:
            await trio.sleep(100)
            assert len(web.visits) == 4
            assert tasker.statistics().submitted == 4
            for _ in range(8):
                await results.receive()


async def test_results_in_order_behind_a_full_key_are_bounded(autojump_clock):
    """The first takes long; those of its key wait for it, and what others gave, for their turn."""

    async def visit(visit):
        await trio.sleep(10_000 if visit == ("a", 0) else 1)
        return visit

    read = []

    def inputs():
        for number in itertools.count():
            read.append(number)
            yield ("a" if number < 5 else str(number), number)

    async with Tasker(limit=10, limit_per_key=1) as tasker:
        async with tasker.map(visit, inputs(), key=host_of, ordered=True) as results:
            await trio.sleep(9_000)
            assert 1000 <= len(read) <= 1011
            assert [(await results.receive())[1] for _ in range(1500)] == list(range(1500))


@pytest.mark.parametrize("key", [lambda _: [], lambda _: 1 / 0], ids=["no hash", "raises"])
async def test_a_wrong_key_leaves_the_block(key, autojump_clock):
    async with Tasker(limit_per_key=1) as tasker:
        with pytest.RaisesGroup(pytest.RaisesExc((TypeError, ZeroDivisionError))):
            async with tasker.map(trio.sleep, [1, 2], key=key) as results:
                await results.receive()


async def test_a_failure_of_one_key_cancels_what_waits_for_its_key(autojump_clock):
    begun = []

    async def visit(visit):
        begun.append(visit)
        await trio.sleep(1)
        raise ValueError(visit)

    async with Tasker(limit=10, limit_per_key=1) as tasker:
        with pytest.RaisesGroup(ValueError):
            async with tasker.map(visit, SORTED, key=host_of) as results:
                await results.receive()
        assert trio.current_time() == 1
        assert len(begun) == 8
        assert tasker.statistics().submitted == 8


async def test_a_limit_that_is_raised_lets_a_map_read_on(autojump_clock):
    web = Web()
    async with Tasker(limit=1, limit_per_key=1) as tasker:
        async with tasker.map(web.visit, SORTED, key=host_of) as results:
            await results.receive()
            tasker.limit = 10
            async for _ in results:
                pass
    assert trio.current_time() == pytest.approx(6)


@pytest.mark.server
async def test_a_full_key_holds_up_no_other_in_threads():
    def visit(visit):
        time.sleep(0.2)
        return visit

    async with Tasker(limit=10, limit_per_key=1, executor=ThreadExecutor()) as tasker:
        begun = trio.current_time()
        async with tasker.map(visit, SORTED, key=host_of) as results:
            assert sorted([each async for each in results]) == SORTED
        assert trio.current_time() - begun < 2.0  # one after the other of two hosts takes 2.4
