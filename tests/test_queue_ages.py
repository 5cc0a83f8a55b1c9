"""Waiting rooms that drop by age: against recorded traces, and against lists that are searched."""

import gc
import gzip
import itertools
import math
import weakref
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolder_trio import CoDel, Queue
from poolder_trio.policies.aged import Aged
from poolder_trio.policies.codel import Control

TRACES = Path(__file__).parent / "data" / "queue_traces" / "traces.txt.gz"
MS = 10**6  # whole nanoseconds
ORDERS = ["fifo", "lifo", "priority", "fair"]

every_order = pytest.mark.parametrize("order", ORDERS)


# -- recorded traces


def number(text):
    return math.inf if text == "infinity" else int(text)


def read_traces():
    traces = []
    for line in gzip.decompress(TRACES.read_bytes()).decode().splitlines():
        operation, *words = line.split()
        fields = dict(word.split("=") for word in words if "=" in word)
        if operation == "T":
            traces.append((fields, []))
        else:
            traces[-1][1].append((operation, fields))
    return traces


def described(fields):
    ages = (
        {"codel": CoDel(number(fields["target"]) * MS, number(fields["interval"]) * MS)}
        if "target" in fields
        else {"timeout": number(fields["timeout"]) * MS}
    )
    return Queue(
        max=number(fields["max"]),
        order={"out": "fifo", "out_r": "lifo"}[fields["out"]],
        overflow={"drop": "drop_oldest", "drop_r": "reject"}[fields["drop"]],
        min=int(fields["min"]),
        **ages,
    )


def replay(room, operation, fields):
    """Do what was recorded; return what came out, and what was dropped."""
    now = int(fields["t"])
    if operation == "in":
        return None, room.put(fields["id"], now)
    if operation == "out":
        return room.get(now)
    if operation == "timeout":
        return None, room.expire(now)
    assert (fields["id"] in room.items()) is (fields["ok"] == "1")
    return None, room.remove(fields["id"], now)


def test_a_room_does_what_was_recorded():
    count = 0
    for settings_of_trace, operations in read_traces():
        room = described(settings_of_trace).build()
        for operation, fields in operations:
            where = (settings_of_trace, operation, fields)
            got, dropped = replay(room, operation, fields)
            recorded = [each for each in fields["drops"][1:-1].split(",") if each]
            assert sorted(dropped) == sorted(recorded), where
            assert len(room) == int(fields["len"]), where
            if operation == "out":
                assert got == (None if fields["got"] == "none" else fields["got"]), where
            # What was recorded may be set for an item that has left: it is early then.
            due, recorded_due = room.next_expiry(int(fields["t"])), number(fields["next"])
            assert due >= recorded_due, where
            assert (due == math.inf) is (recorded_due == math.inf), where
            count += 1
    assert count == 10_443


def test_the_traces_cover_every_kind_and_setting():
    seen = {tuple(sorted(fields)): set() for fields, _ in read_traces()}
    for fields, _ in read_traces():
        seen[tuple(sorted(fields))].add(
            (fields["out"], fields["drop"], fields["max"] == "infinity")
        )
    assert {len(combinations) for combinations in seen.values()} == {8}
    assert len(seen) == 2


# -- any order against a list


class Item:
    """An item that equals no other."""

    def __init__(self, ident, key=None, priority=0):
        self.ident, self.key, self.priority = ident, key, priority

    def __repr__(self):
        return f"<{self.ident} key={self.key} priority={self.priority}>"


class Model:
    """A room with a timeout as the docs describe it; the CoDel of a queue of its own beside it."""

    def __init__(self, queue):
        self.queue = queue
        self.room = Queue(max=queue.max, order=queue.order, overflow=queue.overflow).build()
        self.since = {}  # in order of arrival
        self.control = None if queue.codel is None else Control(queue.codel)

    def put(self, item, now):
        dropped = []
        full = len(self.since) + self.room.reserved >= self.queue.max
        if full and self.queue.overflow != "drop_oldest":
            dropped = self.age(now)
        out = self.room.put(item, now, key=item.key, priority=item.priority)
        for other in out:
            self.since.pop(other, None)
        if item in out:
            return dropped + out
        self.since[item] = now
        return dropped + out + self.age(now)

    def restore(self, item, now):
        self.room.restore(item, now, key=item.key, priority=item.priority)
        self.since[item] = now

    def drop_first(self):
        item = next(iter(self.since))
        self.leave(item)
        return item

    def leave(self, item):
        del self.since[item]
        self.room.remove(item, 0)

    def age(self, now):
        queue, dropped = self.queue, []
        while len(self.since) > queue.min and now >= min(self.since.values()) + queue.timeout:
            dropped.append(self.drop_first())
        if self.control and len(self.since) > queue.min:
            more = self.control.drop(min(self.since.values()), now)
            while more:
                dropped.append(self.drop_first())
                more = len(self.since) > queue.min and self.control.drop_another(now)
        return dropped

    def get(self, now):
        dropped = self.age(now)
        if self.control:
            in_time = self.since and not self.control.is_late(min(self.since.values()), now)
            if len(self.since) <= self.queue.min or (in_time and self.queue.order != "lifo"):
                self.control.relax()
        if not self.since:
            return None, dropped
        item = self.room.pop()
        del self.since[item]
        return item, dropped


STEP = st.tuples(
    st.sampled_from(
        ["put", "put", "put", "restore", "reserve", "get", "expire", "remove", "discard"]
    ),
    st.integers(0, 3),
    st.sampled_from([0, 0, 1, 2, 5, 20]),
)
STEPS = st.lists(STEP, max_size=60) | st.lists(STEP, min_size=30, max_size=60)
QUEUES = st.builds(
    Queue,
    max=st.sampled_from([0, 1, 3, 6, math.inf]),
    order=st.sampled_from(ORDERS),
    overflow=st.sampled_from(["wait", "reject", "drop_oldest", "drop_newest"]),
    timeout=st.sampled_from([0, 1, 4, 10, math.inf]),
    min=st.sampled_from([0, 0, 1, 3]),
    codel=st.none() | st.builds(CoDel, st.sampled_from([0, 1, 3]), st.sampled_from([1, 2, 0.5])),
)


@every_order
@pytest.mark.parametrize("ages", [{"timeout": 9}, {"codel": CoDel()}], ids=str)
@pytest.mark.parametrize(
    ("rule", "left"),
    [("wait", "ab"), ("reject", "ab"), ("drop_newest", "ab"), ("drop_oldest", "bc")],
)
def test_what_backs_off_keeps_its_place_in_the_bound(order, ages, rule, left):
    room = Queue(max=3, order=order, overflow=rule, **ages).build()
    room.reserved = 1
    dropped = [each for item in "abc" for each in room.put(item, 0)]
    assert "".join(room.items()) == left
    assert dropped == [item for item in "abc" if item not in left]
    room.reserved = 0
    assert room.put("d", 0) == []


@settings(max_examples=400)
@given(QUEUES, STEPS)
def test_a_room_of_any_order_does_what_a_list_does(queue, steps):
    room, model = queue.build(), Model(queue)
    now = 0
    for ident, (what, number, later) in enumerate(steps):
        now += later
        item = Item(ident, number % 3, number)
        waiting = list(model.since)
        if what == "put":
            assert room.put(item, now, key=item.key, priority=item.priority) == model.put(item, now)
        elif what == "restore":
            room.restore(item, now, key=item.key, priority=item.priority)
            model.restore(item, now)
        elif what == "reserve":
            room.reserved = model.room.reserved = number
        elif what == "get":
            assert room.get(now) == model.get(now)
        elif what == "expire":
            assert room.expire(now) == model.age(now)
        elif waiting and what == "remove":
            model.leave(waiting[number % len(waiting)])
            assert room.remove(waiting[number % len(waiting)], now) == model.age(now)
        elif waiting:
            model.leave(waiting[number % len(waiting)])
            room.discard(waiting[number % len(waiting)])
        assert len(room) == len(model.since)
        assert room.ready is bool(model.since)
        assert room.items() == list(model.since)
        if queue.codel is None:
            late = [since + queue.timeout for since in model.since.values()]
            assert room.next_expiry(now) == (min(late) if len(late) > queue.min else math.inf)
    assert sorted(room.drain(), key=id) == sorted(model.since, key=id)
    assert len(room) == 0
    assert not room.ready


@settings(max_examples=400)
@given(QUEUES, STEPS)
def test_there_is_nothing_to_do_before_it_is_due_and_nothing_left_when_that_is_done(queue, steps):
    lazy, busy = queue.build(), queue.build()
    now = 0
    for ident, (what, number, later) in enumerate(steps):
        end = now + later
        while True:
            due = max(lazy.next_expiry(now), now)
            too_early = (now + min(due, end)) / 2
            if too_early < due:
                assert busy.expire(too_early) == []
            if due > end:
                break
            now = due
            assert lazy.expire(now) == busy.expire(now)
            assert lazy.next_expiry(now) > now
        now = end
        item = Item(ident, number % 3, number)
        if what in ("put", "restore"):
            first, second = (
                getattr(room, what)(item, now, key=item.key, priority=item.priority)
                for room in (lazy, busy)
            )
            assert first == second
        else:
            assert lazy.get(now) == busy.get(now)
        assert lazy.items() == busy.items()


@every_order
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "get", "release"]),
            st.sampled_from(["a", "b", None]),
            st.integers(0, 4),
        ),
        max_size=50,
    )
)
def test_with_a_limit_for_each_key_the_oldest_is_dropped_though_it_may_not_begin(order, steps):
    room = Queue(max=math.inf, order=order, timeout=5).build(1)
    plain = Queue(max=math.inf, order=order).build(1)
    since, out, now = {}, [], 0
    for ident, (what, key, later) in enumerate(steps):
        now += later
        if what == "release":
            if out:
                done = out.pop(0)
                room.release(done)
                plain.release(done)
            continue
        late = [item for item, came in since.items() if came + 5 <= now]
        item = Item(ident, key)
        if what == "put":  # it comes first: its key may keep the turn of what is dropped
            plain.put(item, now, key=key)
        for other in late:
            del since[other]
            plain.discard(other)
        if what == "put":
            assert room.put(item, now, key=key) == late
            since[item] = now
        else:
            taken = plain.pop() if plain.ready else None
            assert room.get(now) == (taken, late)
            if taken is not None:
                del since[taken]
                out.append(taken.key)
        assert room.items() == list(since)


# -- by hand


def fill(room, items, now, **rank):
    for item in items:
        assert room.put(item, now, **rank) == []


@every_order
def test_what_waits_for_as_long_as_the_timeout_is_dropped(order):
    room = Queue(order=order, timeout=10).build()
    fill(room, "ab", 0)
    fill(room, "c", 4)
    assert room.next_expiry(4) == 10
    assert room.expire(9.9) == []
    assert room.expire(10) == ["a", "b"]
    assert room.get(11) == ("c", [])
    assert room.next_expiry(11) == math.inf


@every_order
def test_no_more_than_min_are_safe_from_their_age(order):
    room = Queue(order=order, timeout=10, min=2).build()
    fill(room, "ab", 0)
    assert room.next_expiry(50) == math.inf
    assert room.expire(50) == []
    assert room.put("c", 50) == ["a"]
    assert len(room) == 2


def test_what_has_expired_makes_room_for_a_newcomer():
    for overflow in ("wait", "reject", "drop_newest"):
        room = Queue(max=2, overflow=overflow, timeout=10).build()
        fill(room, "a", 0)
        fill(room, "b", 5)
        assert room.put("c", 9) == ["c"]
        assert room.put("d", 10) == ["a"]
        assert room.get(10) == ("b", [])


def test_nothing_waits_where_the_timeout_is_0():
    room = Queue(timeout=0).build()
    assert room.put("a", 3) == ["a"]
    assert len(room) == 0


@every_order
def test_what_comes_back_is_as_new(order):
    room = Queue(order=order, timeout=10).build()
    fill(room, "ab", 0)
    item, _ = room.get(5)
    room.restore(item, 8)
    assert len(room.expire(10)) == 1
    assert room.expire(17) == []
    assert room.expire(18) == [item]


def test_each_drop_says_by_which_rule_and_how_long_it_waited():
    queue = Queue(max=3, overflow="drop_oldest", timeout=100, codel=CoDel(2, 10))
    room = queue.build()
    assert isinstance(room, Aged)
    for item, now in [("a", 0), ("b", 5), ("c", 6)]:
        assert room.arrive(item, now) == []

    def told(drops):
        return [(drop.item, drop.rule, drop.waited) for drop in drops]

    assert told(room.arrive("d", 7)) == [("a", "drop_oldest", 7)]
    assert told(room.age(17)) == [("b", "codel", 12)]
    assert told(room.age(200)) == [("c", "timeout", 194), ("d", "timeout", 193)]


def test_a_rank_that_can_not_be_used_costs_nobody_a_place():
    room = Queue(order="priority", timeout=10).build()
    fill(room, "a", 0)
    with pytest.raises(TypeError):
        room.put("b", 50, priority="high")
    assert room.expire(50) == ["a"]


# -- CoDel


def test_codel_lets_a_burst_pass_that_is_gone_within_the_interval():
    room = Queue(max=math.inf, codel=CoDel(target=1, interval=10)).build()
    fill(room, range(100), 0)
    now = 0.0
    for _ in range(100):
        now += 0.1
        assert room.get(now)[1] == []
    assert len(room) == 0


def test_codel_drops_ever_faster_while_the_oldest_is_late():
    room = Queue(max=math.inf, codel=CoDel(target=1, interval=10)).build()
    fill(room, range(100), 0.0)
    drops, now = [], 0.0
    while len(drops) < 10:
        now = room.next_expiry(now)
        drops += [now] * len(room.expire(now))
    assert drops[:2] == [11, 21]
    pauses = [later - sooner for sooner, later in itertools.pairwise(drops[1:])]
    assert pauses == pytest.approx([10 / math.sqrt(count) for count in range(2, 10)])


def test_codel_keeps_delay_near_its_target_where_a_plain_queue_lets_it_grow():
    def longest_wait(queue):
        """Serve 10 a second while 12 arrive, for 300 s; return the longest wait in the last 100."""
        room, longest = queue.build(), 0.0
        arrivals = [(n / 12, "in") for n in range(3600)]
        takes = [(n / 10, "out") for n in range(3000)]
        for now, what in sorted(arrivals + takes):
            if what == "in":
                room.put(now, now)
            else:
                came, _ = room.get(now)
                if came is not None and now > 200:
                    longest = max(longest, now - came)
        return longest

    assert longest_wait(Queue(max=math.inf)) > 45
    assert longest_wait(Queue(max=math.inf, codel=CoDel(0.1, 1.0))) < 5
    assert longest_wait(Queue(max=math.inf, timeout=1)) <= 1


def test_a_taker_that_finds_nothing_ends_the_dropping():
    def dropping():
        room = Queue(max=math.inf, codel=CoDel(target=1, interval=10)).build()
        fill(room, "ab", 0)
        for now in (1, 11, 21):
            room.expire(now)
        assert len(room) == 0
        return room

    room = dropping()
    assert room.put("c", 100) == []
    assert room.expire(101) == ["c"]  # it went on
    room = dropping()
    assert room.get(50) == (None, [])
    assert room.put("c", 100) == []
    assert room.expire(101) == []
    assert room.expire(111) == ["c"]


def test_times_that_are_no_whole_numbers_are_not_rounded():
    room = Queue(max=math.inf, codel=CoDel(target=0, interval=1)).build()
    fill(room, range(10), 0.0)
    times, now = [], 0.0
    while len(room):
        now = room.next_expiry(now)
        times += [now] * len(room.expire(now))
    assert len(set(times)) == 10


# -- what it costs


class Untouchable(Item):
    """Must not be compared: it may be anything that a user sends."""

    def __eq__(self, other):
        raise AssertionError

    __hash__ = None


@every_order
@pytest.mark.parametrize("way", ["discard", "remove"])
@pytest.mark.parametrize("step", [1, -1, 7])
def test_withdrawing_looks_at_no_other_item_however_many_wait(order, way, step):
    room = Queue(max=math.inf, order=order, timeout=10, codel=CoDel()).build()
    count = 10_000
    items = [Untouchable(ident, ident % 100, ident % 7) for ident in range(count)]
    for item in items:
        room.put(item, 0.0, key=item.key, priority=item.priority)
    for ident in range(count - 1):
        item = items[ident * step % count]
        if way == "discard":
            room.discard(item)
        else:
            room.remove(item, 0.0)
    assert len(room) == 1


@every_order
def test_an_item_that_is_in_here_twice_is_removed_once(order):
    room = Queue(order=order, timeout=10).build()
    fill(room, ["a", "b", "a"], 0)
    assert room.remove("a", 1) == []
    assert room.items() == ["b", "a"]
    assert room.remove("a", 1) == []
    assert room.remove("c", 1) == []
    assert room.items() == ["b"]


@every_order
def test_what_left_the_room_is_let_go_though_it_is_never_empty(order):
    room = Queue(max=math.inf, order=order, timeout=10, min=1).build()
    room.put("there all the time", math.inf, priority=-1)
    gone = []
    for ident in range(1000):
        item = Item(ident, ident % 3)
        gone.append(weakref.ref(item))
        room.put(item, ident, key=item.key, priority=item.priority)
        if ident % 3:
            room.remove(item, ident)
        else:
            room.get(ident)
    del item
    gc.collect()
    assert sum(ref() is not None for ref in gone) < 100


# -- the description


def test_a_queue_without_ages_builds_the_same_rooms_as_ever():
    for order in ORDERS:
        assert type(Queue(order=order, min=3).build()) is type(Queue(order=order).build())
        assert not isinstance(Queue(order=order).build(), Aged)
    assert Queue(min=3).build().line is not None
    assert Queue(timeout=1).build().line is None


def test_codel_only_describes():
    queue = Queue(codel=CoDel(target=1, interval=10))
    first, second = queue.build(), queue.build()
    for room in (first, second):
        fill(room, "ab", 0)
    first.expire(1)
    assert first.next_expiry(1) == 11
    assert second.next_expiry(1) == 1
    assert queue.codel == CoDel(target=1, interval=10)
    assert CoDel() == CoDel(target=0.1, interval=1.0)
    assert Queue() == Queue(timeout=math.inf, min=0, codel=None)


@pytest.mark.parametrize(
    ("option", "value", "error", "expected"),
    [
        ("timeout", -1, ValueError, "a number of seconds >= 0"),
        ("timeout", math.nan, ValueError, "a number of seconds >= 0"),
        ("timeout", None, TypeError, "a number of seconds >= 0"),
        ("min", -1, ValueError, "an int >= 0"),
        ("min", 1.0, TypeError, "an int >= 0"),
        ("min", math.inf, TypeError, "an int >= 0"),
        ("codel", 0.1, TypeError, "a CoDel or None"),
        ("codel", CoDel, TypeError, "a CoDel or None"),
        ("target", -0.1, ValueError, "a finite number of seconds >= 0"),
        ("target", math.inf, ValueError, "a finite number of seconds >= 0"),
        ("interval", 0, ValueError, "a finite number of seconds > 0"),
        ("interval", True, TypeError, "a finite number of seconds > 0"),
    ],
)
def test_a_wrong_option_is_refused_where_it_is_written(option, value, error, expected):
    kind = CoDel if option in ("target", "interval") else Queue
    with pytest.raises(error) as caught:
        kind(**{option: value})
    assert str(caught.value) == f"{option} must be {expected}, got {value!r} ({kind.__name__})"
