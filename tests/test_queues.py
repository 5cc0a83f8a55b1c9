"""Waiting rooms against a plain list: every order, every overflow rule, and what is taken out."""

import gc
import math
import random
import sys
import weakref
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from poolder_trio import Queue

ORDERS = ["fifo", "lifo", "priority", "fair"]
RULES = ["wait", "reject", "drop_oldest", "drop_newest"]

every_order = pytest.mark.parametrize("order", ORDERS)


class Item:
    """Equal to every item of the same value, and still told apart by `is`."""

    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f"{self.value}@{id(self):x}"

    def __eq__(self, other):
        return isinstance(other, Item) and self.value == other.value

    def __hash__(self):
        return hash(self.value)


class Model:
    """A waiting room as the docs describe it: a list in order of arrival, searched each time."""

    def __init__(self, limit, order, overflow):
        self.limit = limit
        self.order = order
        self.overflow = overflow
        self.reserved = 0
        self.entries = []  # (item, key, priority)
        self.turns = []  # keys that wait, the next one first

    def put(self, item, key, priority):
        dropped = []
        if len(self.entries) + self.reserved >= self.limit:
            if self.overflow != "drop_oldest" or not self.entries:
                return [item]
            dropped = [self.leave(0)]
        self.restore(item, key, priority)
        return dropped

    def restore(self, item, key, priority):
        self.entries.append((item, key, priority))
        if key not in self.turns:
            self.turns.append(key)

    def next(self):
        if self.order == "fifo":
            return 0
        if self.order == "lifo":
            return len(self.entries) - 1
        if self.order == "priority":
            priorities = [priority for _, _, priority in self.entries]
            return priorities.index(max(priorities))
        return [key for _, key, _ in self.entries].index(self.turns[0])

    def get(self):
        if not self.entries:
            return None
        index = self.next()
        key = self.entries[index][1]
        self.turns.remove(key)
        self.turns.append(key)
        return self.leave(index)

    def remove(self, value):
        places = [place for place, entry in enumerate(self.entries) if entry[0].value == value]
        if places:
            self.leave(places[0])

    def discard(self, item):
        self.leave([id(other) for other, _, _ in self.entries].index(id(item)))

    def leave(self, index):
        item, key, _ = self.entries.pop(index)
        if all(other != key for _, other, _ in self.entries):
            self.turns.remove(key)
        return item


values = st.integers(0, 3)
arrivals = st.tuples(
    st.sampled_from(["put", "put", "restore"]), values, st.integers(0, 2), st.integers(-1, 1)
)
departures = st.tuples(st.sampled_from(["get", "pop", "remove", "discard"]), values)
reservations = st.tuples(st.just("reserve"), st.integers(0, 2))
operation = arrivals | departures | reservations
operations = st.lists(operation, max_size=40) | st.lists(operation, min_size=20, max_size=40)
limits = st.integers(0, 5) | st.just(math.inf)


def same(some, others):
    """Tell whether two lists hold the very same objects."""
    return list(map(id, some)) == list(map(id, others))


def operate(room, model, operation, argument, *rank):
    """Do the same to both, and compare what they answer."""
    if operation in {"put", "restore"}:
        item = Item(argument)
        key, priority = rank
        mine = getattr(room, operation)(item, 0.0, key=key, priority=priority)
        theirs = getattr(model, operation)(item, key, priority)
        assert mine == theirs is None or same(mine, theirs)
    elif operation == "get":
        taken, dropped = room.get(0.0)
        assert taken is model.get()
        assert dropped == []
    elif operation == "pop":
        expected = model.get()
        if expected is None:
            with pytest.raises(IndexError):
                room.pop()
        else:
            assert room.pop() is expected
    elif operation == "remove":
        assert room.remove(Item(argument), 0.0) == []
        model.remove(argument)
    elif operation == "discard":
        if model.entries:
            item = model.entries[argument % len(model.entries)][0]
            room.discard(item)
            model.discard(item)
    else:
        room.reserved = model.reserved = argument


@settings(max_examples=300)
@given(st.sampled_from(ORDERS), st.sampled_from(RULES), limits, operations)
@example("lifo", "wait", 9, [("put", 1, 0, 0), ("put", 2, 0, 0), ("remove", 1), ("put", 1, 0, 0)])
@example("lifo", "drop_oldest", 3, [("put", n, 0, 0) for n in (1, 2, 1)] + [("remove", 1)])
def test_a_room_does_what_a_list_does(order, rule, limit, operations):
    room = Queue(max=limit, order=order, overflow=rule).build()
    model = Model(limit, order, rule)
    for operation in operations:
        operate(room, model, *operation)
        assert len(room) == len(model.entries)
        if room.line is not None:
            assert same(room.line, [item for item, _, _ in model.entries])
    while model.entries:
        assert room.pop() is model.get()
    assert room.get(0.0) == (None, [])


@every_order
@pytest.mark.parametrize("rule", ["wait", "drop_oldest"])
def test_a_large_room_does_what_a_list_does(order, rule):
    chance = random.Random(order)  # noqa: S311  # it chooses what is done to the room
    room = Queue(max=150, order=order, overflow=rule).build()
    model = Model(150, order, rule)
    for number in range(3000):
        value, key, priority = (chance.randrange(n) for n in (40, 5, 4))
        if chance.random() * 3000 > number:  # at first more come than leave
            operate(room, model, "put", value, key, priority)
        else:
            operate(room, model, chance.choice(["pop", "remove", "discard", "discard"]), value)
        assert len(room) == len(model.entries)
    while model.entries:
        assert room.pop() is model.get()


def fill(room, items, **rank):
    for item in items:
        assert room.put(item, 0.0, **rank) == []


def drain(room):
    return [room.pop() for _ in range(len(room))]


# -- orders by hand


def test_fifo_is_first_in_first_out():
    room = Queue(order="fifo").build()
    fill(room, "abc")
    assert drain(room) == ["a", "b", "c"]


def test_lifo_is_last_in_first_out():
    room = Queue(order="lifo").build()
    fill(room, "abc")
    assert drain(room) == ["c", "b", "a"]


def test_the_greatest_priority_comes_first_and_the_oldest_among_equals():
    room = Queue(order="priority").build()
    for item, priority in [("a", 0), ("b", 2.5), ("c", -math.inf), ("d", 2.5), ("e", math.inf)]:
        room.put(item, 0.0, priority=priority)
    assert drain(room) == ["e", "b", "d", "a", "c"]


def test_fair_takes_from_each_key_in_turn():
    room = Queue(order="fair").build()
    fill(room, ["a1", "a2", "a3"], key="a")
    fill(room, ["b1"], key="b")
    fill(room, ["c1", "c2"], key="c")
    assert drain(room) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_a_key_that_comes_late_or_comes_back_waits_for_its_turn():
    room = Queue(order="fair").build()
    fill(room, ["a1", "a2"], key="a")
    assert room.pop() == "a1"
    fill(room, ["b1"], key="b")
    assert [room.pop(), room.pop()] == ["a2", "b1"]
    fill(room, ["b2"], key="b")
    fill(room, ["a3"], key="a")
    assert drain(room) == ["b2", "a3"]


def test_a_busy_key_does_not_hold_up_the_others():
    room = Queue(max=math.inf, order="fair").build()
    fill(room, range(5000), key="busy")
    fill(room, ["quiet"], key="quiet")
    assert room.pop() == 0
    assert room.pop() == "quiet"


def test_only_the_order_that_looks_at_it_goes_by_a_key_or_a_priority():
    for order, expected in [("fifo", "abc"), ("lifo", "cba"), ("fair", "abc")]:
        room = Queue(order=order).build()
        for priority, item in enumerate("abc"):
            room.put(item, 0.0, priority=priority)
        assert drain(room) == list(expected)


# -- when it is full


@every_order
@pytest.mark.parametrize("rule", ["wait", "reject", "drop_newest"])
def test_a_full_room_refuses_the_newcomer(order, rule):
    room = Queue(max=2, order=order, overflow=rule).build()
    fill(room, "ab")
    assert room.put("c", 0.0, priority=9) == ["c"]
    assert sorted(drain(room)) == ["a", "b"]


@every_order
def test_a_full_room_that_drops_the_oldest_drops_what_came_first(order):
    room = Queue(max=2, order=order, overflow="drop_oldest").build()
    room.put("a", 0.0, priority=9)
    room.put("b", 0.0, priority=1)
    assert room.put("c", 0.0, priority=5) == ["a"]
    assert room.put("d", 0.0, priority=0) == ["b"]
    assert sorted(drain(room)) == ["c", "d"]


@every_order
@pytest.mark.parametrize("rule", RULES)
def test_a_room_for_nothing_refuses_everything(order, rule):
    room = Queue(max=0, order=order, overflow=rule).build()
    assert room.put("a", 0.0) == ["a"]
    assert len(room) == 0


@every_order
def test_a_room_without_bound_takes_everything(order):
    room = Queue(max=math.inf, order=order).build()
    fill(room, range(5000))
    assert len(room) == 5000


@every_order
@pytest.mark.parametrize("rule", RULES)
def test_places_that_are_reserved_are_taken(order, rule):
    room = Queue(max=3, order=order, overflow=rule).build()
    room.reserved = 2
    fill(room, "a")
    assert room.put("b", 0.0) == (["a"] if rule == "drop_oldest" else ["b"])
    room.reserved = 3
    drain(room)
    assert room.put("c", 0.0) == ["c"]
    room.reserved = 0
    fill(room, "def")


@every_order
@pytest.mark.parametrize("rule", RULES)
def test_what_was_accepted_before_comes_back_into_a_full_room(order, rule):
    room = Queue(max=1, order=order, overflow=rule).build()
    fill(room, "a")
    room.restore("b", 0.0)
    assert sorted(drain(room)) == ["a", "b"]


@pytest.mark.parametrize(
    ("order", "rank", "error"),
    [
        ("fair", {"key": ["no", "hash"]}, TypeError),
        ("priority", {"priority": "high"}, TypeError),
        ("priority", {"priority": math.nan}, ValueError),
    ],
)
def test_a_rank_that_can_not_be_used_costs_nobody_a_place(order, rank, error):
    room = Queue(max=1, order=order, overflow="drop_oldest").build()
    fill(room, "a")
    with pytest.raises(error):
        room.put("b", 0.0, **rank)
    assert len(room) == 1
    assert drain(room) == ["a"]
    assert room.get(0.0) == (None, [])


# -- taking out


@every_order
def test_removing_takes_out_one_of_several_equal_items(order):
    room = Queue(order=order).build()
    fill(room, ["a", "b", "a"])
    room.remove("a", 0.0)
    assert Counter(drain(room)) == {"a": 1, "b": 1}


@every_order
def test_removing_what_is_not_there_does_nothing(order):
    room = Queue(order=order).build()
    room.remove("a", 0.0)
    fill(room, "ab")
    for absent in ("c", ["a"], None):
        assert room.remove(absent, 0.0) == []
    assert sorted(drain(room)) == ["a", "b"]
    assert room.remove("a", 0.0) == []
    assert len(room) == 0


@every_order
def test_what_was_removed_can_come_back(order):
    room = Queue(order=order).build()
    fill(room, "ab")
    for _ in range(3):
        room.remove("a", 0.0)
        assert len(room) == 1
        fill(room, "a")
    assert sorted(drain(room)) == ["a", "b"]


def test_removing_makes_room():
    for order in ORDERS:
        room = Queue(max=2, order=order).build()
        fill(room, "ab")
        room.remove("a", 0.0)
        fill(room, "c")
        assert room.put("d", 0.0) == ["d"]


def test_a_key_whose_last_item_was_removed_loses_its_turn():
    room = Queue(order="fair").build()
    fill(room, ["a1"], key="a")
    fill(room, ["b1"], key="b")
    room.remove("a1", 0.0)
    fill(room, ["a2"], key="a")
    assert drain(room) == ["b1", "a2"]


# -- what it costs


class Untouchable:
    """Must not be compared: it may be anything that a user sends."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        raise AssertionError

    __hash__ = None


@every_order
@pytest.mark.parametrize("step", [1, -1, 7])
def test_discarding_looks_at_no_other_item_however_many_wait(order, step):
    room = Queue(max=math.inf, order=order).build()
    count = 20_000
    items = [Untouchable(number) for number in range(count)]
    for item in items:
        room.put(item, 0.0, key=item.number % 100, priority=item.number % 7)
    kept = items[-1]
    for number in range(count):
        item = items[number * step % count]
        if item is not kept:
            room.discard(item)
    assert len(room) == 1
    assert drain(room)[0] is kept


@every_order
def test_what_was_discarded_is_let_go_though_the_room_is_never_empty(order):
    room = Queue(max=10, order=order).build()
    room.put("there all the time", 0.0, priority=-1)
    removed = []
    for number in range(3000):
        item = Item(number)
        room.put(item, 0.0, key=number % 3, priority=number % 5)
        room.discard(item)
        removed.append(weakref.ref(item))
    del item
    gc.collect()
    held = sum(ref() is not None for ref in removed)
    assert held < 100
    assert len(room) == 1


@every_order
@pytest.mark.parametrize("rule", ["wait", "drop_oldest"])
def test_what_left_the_room_is_let_go(order, rule):
    room = Queue(max=3, order=order, overflow=rule).build()
    items = [Item(number) for number in range(10)]
    refs = list(map(weakref.ref, items))
    for item in items:
        room.put(item, 0.0)
    room.remove(items[8], 0.0)
    room.remove(items[1], 0.0)
    drain(room)
    del items, item
    gc.collect()
    assert [ref() for ref in refs if ref() is not None] == []


def size(room):
    """Return the bytes of what a room keeps, the items themselves not counted."""
    slots = [slot for kind in type(room).__mro__ for slot in getattr(kind, "__slots__", ())]
    return sum(sys.getsizeof(getattr(room, slot)) for slot in slots)


@every_order
@pytest.mark.parametrize("way", ["pop", "remove", "discard", "drop"])
def test_a_room_does_not_grow_with_what_passed_through_it(order, way):
    limit = 2 if way == "drop" else math.inf
    room = Queue(max=limit, order=order, overflow="drop_oldest").build()
    sizes = []
    kept = [Item(number) for number in range(5000)]  # each has an id of its own
    for item in kept:
        room.put(item, 0.0, key=item.value % 7, priority=item.value % 5)
        if way == "pop" and len(room) > 1:
            room.pop()
        elif way == "remove" and len(room) > 1:
            room.remove(item, 0.0)
        elif way == "discard" and len(room) > 1:
            room.discard(item)
        sizes.append(size(room))
    assert max(sizes[4000:]) <= max(sizes[:1000])


# -- the rest of what a room can do


@every_order
def test_nothing_expires_where_no_time_limit_is_given(order):
    room = Queue(order=order).build()
    fill(room, "ab")
    assert room.next_expiry(0.0) == math.inf
    assert room.expire(1e9) == []
    assert len(room) == 2


def test_the_line_of_a_fifo_room_is_the_room():
    room = Queue(max=5).build()
    fill(room, "ab")
    room.line.append("c")
    assert len(room) == 3
    assert room.line.popleft() == "a"
    assert drain(room) == ["b", "c"]


def test_there_is_no_line_while_there_is_anything_to_skip_in_it():
    room = Queue().build()
    items = ["a", "b", "c"]
    fill(room, items)
    line = room.line
    room.discard(items[0])
    assert room.line is None
    assert drain(room) == ["b", "c"]
    assert room.line is line
    assert not line


@pytest.mark.parametrize("order", ["lifo", "priority", "fair"])
def test_there_is_no_line_where_the_order_is_another(order):
    assert Queue(order=order).build().line is None


# -- the description


def test_a_queue_only_describes():
    queue = Queue(max=3)
    first, second = queue.build(), queue.build()
    fill(first, "abc")
    assert (len(first), len(second)) == (3, 0)
    assert queue == Queue(max=3)


def test_the_default_is_a_thousand_in_the_order_they_came_and_the_next_one_waits():
    assert Queue() == Queue(max=1000, order="fifo", overflow="wait")


@pytest.mark.parametrize(
    ("option", "value", "error", "expected"),
    [
        ("max", -1, ValueError, "an int >= 0 or math.inf"),
        ("max", -math.inf, TypeError, "an int >= 0 or math.inf"),
        ("max", 2.5, TypeError, "an int >= 0 or math.inf"),
        ("max", 10.0, TypeError, "an int >= 0 or math.inf"),
        ("max", math.nan, TypeError, "an int >= 0 or math.inf"),
        ("max", True, TypeError, "an int >= 0 or math.inf"),
        ("max", "10", TypeError, "an int >= 0 or math.inf"),
        ("max", None, TypeError, "an int >= 0 or math.inf"),
        ("max", Decimal("Infinity"), TypeError, "an int >= 0 or math.inf"),
        ("order", "FIFO", ValueError, "one of 'fifo', 'lifo', 'priority', 'fair'"),
        ("order", None, TypeError, "one of 'fifo', 'lifo', 'priority', 'fair'"),
        ("overflow", "drop", ValueError, "one of 'wait', 'reject', 'drop_oldest', 'drop_newest'"),
        ("overflow", 1, TypeError, "one of 'wait', 'reject', 'drop_oldest', 'drop_newest'"),
    ],
)
def test_a_wrong_option_is_refused_where_it_is_written(option, value, error, expected):
    with pytest.raises(error) as caught:
        Queue(**{option: value})
    assert str(caught.value) == f"{option} must be {expected}, got {value!r} (Queue)"
