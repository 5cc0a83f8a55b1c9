"""A waiting room with so many at once for one key, against a model that looks at every item."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio import Queue

LIMIT = 2
KEYS = st.sampled_from(["a", "b", "c", None])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.integers(0, 3)),
        st.tuples(st.just("pop"), st.none(), st.none()),
        st.tuples(st.just("release"), st.integers(0, 9), st.none()),
        st.tuples(st.just("discard"), st.integers(0, 9), st.none()),
    ),
    max_size=60,
)


class Item:
    """An item, by identity."""

    def __init__(self, number, key, priority):
        self.number, self.key, self.priority = number, key, priority


class Model:
    """What waits and what is out, as plain lists."""

    def __init__(self, order):
        self.order = order
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
        return item.key is None or out < LIMIT

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
@given(steps=STEPS)
def test_the_room_serves_what_the_model_serves(order, steps):
    room, model = Queue(max=math.inf, order=order).build(LIMIT), Model(order)
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


def test_the_bound_is_for_all_keys_together():
    room = Queue(max=2, overflow="drop_oldest").build(1)
    assert room.put("a", 0, key="a") == room.put("b", 0, key="b") == []
    assert room.put("c", 0, key="c") == ["a"]
    assert [room.pop(), room.pop()] == ["b", "c"]


def test_withdrawn_items_do_not_pile_up():
    room = Queue(max=math.inf).build(1)
    room.begin("k")
    for _ in range(1000):
        item = object()
        room.put(item, 0, key="k")
        room.discard(item)
    assert not room._heaps
    assert not room._offers
