"""A waiting room with so many at once for one key, against a model that looks at every item."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio import Queue

KEYS = st.sampled_from(["a", "b", "c", None])
STEP = st.one_of(
    st.tuples(st.just("put"), KEYS, st.integers(0, 3)),
    st.tuples(st.just("pop"), st.none(), st.none()),
    st.tuples(st.just("release"), st.integers(0, 9), st.none()),
    st.tuples(st.just("discard"), st.integers(0, 9), st.none()),
)
# Left to themselves, lists have six steps or so: too few for an item to be passed by twice.
STEPS = st.lists(STEP, max_size=60) | st.lists(STEP, min_size=30, max_size=60)


class Item:
    """An item, by identity."""

    def __init__(self, number, key, priority):
        self.number, self.key, self.priority = number, key, priority


class Model:
    """What waits and what is out, as plain lists."""

    def __init__(self, order, limit):
        self.order, self.limit = order, limit
        self.waiting, self.out = [], []
        self.served = {}
        self.clock = 0

    def put(self, item):
        self.clock += 1
        if not any(other.key == item.key for other in self.waiting):
            self.served[item.key] = self.clock
        self.waiting.append(item)

    def may(self, item):
        out = sum(1 for other in self.out if other.key == item.key)
        return item.key is None or out < self.limit

    def rank(self, item):
        return {
            "fifo": (item.number,),
            "lifo": (-item.number,),
            "priority": (-item.priority, item.number),
            "fair": (self.served[item.key], item.number),
        }[self.order]

    def pop(self):
        self.clock += 1
        item = min(filter(self.may, self.waiting), key=self.rank, default=None)
        if item is not None:
            self.waiting.remove(item)
            self.out.append(item)
            self.served[item.key] = self.clock
        return item


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority", "fair"])
@given(limit=st.integers(1, 2), steps=STEPS)
def test_the_room_serves_what_the_model_serves(order, limit, steps):
    room, model = Queue(max=math.inf, order=order).build(limit), Model(order, limit)
    for number, (what, one, two) in enumerate(steps):
        if what == "put":
            item = Item(number, one, two)
            assert room.put(item, 0, key=item.key, priority=item.priority) == []
            model.put(item)
        elif what == "pop":
            wanted = model.pop()
            assert room.ready is (wanted is not None)
            if wanted is None:
                with pytest.raises(IndexError):
                    room.pop()
            else:
                assert room.pop() is wanted
        elif what == "release" and model.out:
            item = model.out.pop(one % len(model.out))
            room.release(item.key)
        elif what == "discard" and model.waiting:
            item = model.waiting.pop(one % len(model.waiting))
            room.discard(item)
        assert len(room) == len(model.waiting)
        assert room.ready is any(map(model.may, model.waiting))
    assert room.drain() == model.waiting
    assert len(room) == 0
    assert not room.ready


@pytest.mark.parametrize("order", ["lifo", "priority"])
def test_an_item_that_was_passed_by_is_offered_again(order):
    room = Queue(max=math.inf, order=order).build(1)
    for priority, item in enumerate(("first", "second", "third")):
        room.put(item, 0, key="k", priority=priority)
    for item in ("third", "second", "first"):
        assert room.ready
        assert room.pop() == item
        assert not room.ready  # its key is full: what was offered of it before is looked at
        room.release("k")
    assert not room.ready


@pytest.mark.parametrize("order", ["lifo", "priority"])
def test_an_item_that_was_taken_may_come_back_and_is_offered_again(order):
    room = Queue(max=math.inf, order=order).build(1)
    for _ in range(3):
        room.put("job", 0, key="k")
        assert room.pop() == "job"
        room.put("other", 0, key="k")
        assert not room.ready
        room.release("k")
        assert room.pop() == "other"
        room.release("k")


def test_the_bound_is_for_all_keys_together():
    room = Queue(max=2, overflow="drop_oldest").build(1)
    assert room.put("a", 0, key="a") == room.put("b", 0, key="b") == []
    assert room.put("c", 0, key="c") == ["a"]
    assert [room.pop(), room.pop()] == ["b", "c"]


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority", "fair"])
def test_items_that_were_taken_do_not_pile_up(order):
    room = Queue(max=math.inf, order=order).build(1)
    for _ in range(1000):
        room.put(object(), 0, key="k")
        room.pop()
        room.release("k")
    assert not room._offered
    assert not room._offers
    assert not room._heaps


def test_withdrawn_items_do_not_pile_up():
    room = Queue(max=math.inf).build(1)
    room.begin("k")
    for _ in range(1000):
        item = object()
        room.put(item, 0, key="k")
        room.discard(item)
    assert not room._heaps
    assert not room._offers
