"""Windows against a model: which items go together, when, and why."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio.policies.window import Batch, BatchStream, Windows


def shown(batches):
    return [(batch.key, list(batch), batch.reason) for batch in batches]


def test_a_window_is_a_batch_when_it_has_as_many_items_as_allowed():
    windows = Windows(3)
    assert [windows.add(item, 0) for item in "ab"] == [[], []]
    assert shown(windows.add("c", 0)) == [(None, ["a", "b", "c"], "size")]
    assert len(windows) == 0


def test_its_clock_starts_with_its_first_item_and_that_may_be_taken_away():
    windows = Windows(9, timeout=5)
    assert windows.next_due() == math.inf
    windows.add("a", 1.0)
    windows.add("b", 4.0)
    assert windows.pop_at(0) == "a"
    assert windows.next_due() == 6.0
    assert windows.expire(5.9) == []
    assert shown(windows.expire(6.0)) == [(None, ["b"], "timeout")]
    windows.add("c", 7.0)
    windows.pop_at(0)
    windows.add("d", 8.0)
    assert windows.next_due() == 13.0


def test_no_batch_is_too_heavy_and_one_that_is_just_heavy_enough_goes():
    windows = Windows(9, max_weight=10)
    assert windows.add("six", 0, weight=6) == []
    assert shown(windows.add("five", 0, weight=5)) == [(None, ["six"], "weight")]
    assert shown(windows.add("five too", 0, weight=5)) == [(None, ["five", "five too"], "weight")]
    windows.add("one", 0, weight=1)
    full = windows.add("ten", 0, weight=10)
    assert shown(full) == [(None, ["one"], "weight"), (None, ["ten"], "weight")]


def test_what_is_taken_away_weighs_nothing():
    windows = Windows(9, max_weight=10)
    windows.add("six", 0, weight=6)
    windows.add("two", 0, weight=2)
    windows.pop_at(0)
    assert windows.add("seven", 0, weight=7) == []
    assert len(windows) == 2


def test_each_key_has_a_window_and_the_oldest_is_due_first():
    windows = Windows(2, timeout=10)
    windows.add("a1", 0, key="a")
    windows.add("b1", 1, key="b")
    assert shown(windows.add("a2", 2, key="a")) == [("a", ["a1", "a2"], "size")]
    windows.add("a3", 3, key="a")
    assert windows.next_due() == 11
    assert shown(windows.flush("close")) == [("b", ["b1"], "close"), ("a", ["a3"], "close")]


def test_positions_are_those_of_a_list():
    windows = Windows(9)
    for item in "abc":
        windows.add(item, 0)
    windows.add("z", 0, front=True)
    assert windows.pop_at(-1) == "c"
    assert windows.pop_at(0) == "z"
    for index in (2, -3):
        with pytest.raises(IndexError, match="2 items are in the window"):
            windows.pop_at(index)
    with pytest.raises(IndexError, match="0 items"):
        windows.pop_at(0, key="other")
    with pytest.raises(IndexError):
        Windows(1).pop_oldest()


def test_what_is_appended_by_hand_counts():
    windows = Windows(4, keyed=False)
    assert windows.line is None
    windows.add("a", 0)
    windows.line.extend("bc")
    assert len(windows) == 3
    assert shown(windows.add("d", 0)) == [(None, list("abcd"), "size")]
    weighed = Windows(4, max_weight=3, keyed=False)
    weighed.add("a", 0, weight=1)
    assert weighed.line is None


def test_a_batch_is_a_list_and_a_stream_an_iterator_that_say_why():
    batch = Batch("ab", "size", "k")
    assert batch == ["a", "b"]
    stream = BatchStream(batch)
    assert (stream.reason, stream.key) == ("size", "k")
    assert (next(stream), list(stream), list(stream)) == ("a", ["b"], [])


class Model:
    """The same by lists that are searched."""

    def __init__(self, limit, timeout, max_weight):
        self.limit, self.timeout, self.max_weight = limit, timeout, max_weight
        self.windows = []  # [key, since, [(item, weight), ...]], oldest first

    def find(self, key):
        return next((window for window in self.windows if window[0] == key), None)

    def emit(self, window, reason):
        self.windows.remove(window)
        return window[0], [item for item, _ in window[2]], reason

    def add(self, item, now, key, weight, front):
        out = []
        window = self.find(key)
        if window and sum(w for _, w in window[2]) + weight > self.max_weight:
            out.append(self.emit(window, "weight"))
            window = None
        if not window:
            window = [key, now, []]
            self.windows.append(window)
        window[2].insert(0 if front else len(window[2]), (item, weight))
        if len(window[2]) == self.limit:
            out.append(self.emit(window, "size"))
        elif sum(w for _, w in window[2]) == self.max_weight:
            out.append(self.emit(window, "weight"))
        return out

    def expire(self, now):
        due = [window for window in self.windows if window[1] + self.timeout <= now]
        return [self.emit(window, "timeout") for window in due]

    def pop_at(self, index, key):
        window = self.find(key)
        if window is None:
            raise IndexError
        item, _ = window[2].pop(index)
        if not window[2]:
            self.windows.remove(window)
        return item

    def flush(self):
        return [self.emit(window, "flush") for window in list(self.windows)]


STEP = st.one_of(
    st.tuples(st.just("add"), st.sampled_from("xyz"), st.integers(0, 6), st.booleans()),
    st.tuples(st.just("pop"), st.sampled_from("xyz"), st.integers(-3, 3)),
    st.tuples(st.just("discard"), st.integers(0, 20)),
    st.tuples(st.just("wait"), st.integers(0, 7)),
    st.just(("flush",)),
)


@given(
    limit=st.integers(1, 5),
    timeout=st.sampled_from([3, 10, math.inf]),
    max_weight=st.sampled_from([6, 9, math.inf]),
    steps=st.lists(STEP, max_size=40) | st.lists(STEP, min_size=20, max_size=40),
)
def test_windows_do_as_the_model_does(limit, timeout, max_weight, steps):
    windows, model = Windows(limit, timeout, max_weight), Model(limit, timeout, max_weight)
    numbers = itertools.count()
    now = 0
    for what, *args in steps:
        if what == "add":
            key, weight, front = args
            item = (next(numbers),)
            got = windows.add(item, now, key=key, weight=weight, front=front)
            assert shown(got) == model.add(item, now, key, weight, front)
            assert all(got)
        elif what == "pop":
            key, index = args
            try:
                expected = model.pop_at(index, key)
            except IndexError:
                with pytest.raises(IndexError):
                    windows.pop_at(index, key=key)
            else:
                assert windows.pop_at(index, key=key) is expected
        elif what == "discard":
            waiting = [(w[0], n, i) for w in model.windows for n, (i, _) in enumerate(w[2])]
            if waiting:
                key, index, item = waiting[args[0] % len(waiting)]
                assert model.pop_at(index, key) is item
                windows.discard(item, key=key)
        elif what == "wait":
            now += args[0]
            assert shown(windows.expire(now)) == model.expire(now)
        else:
            assert shown(windows.flush()) == model.flush()
        assert len(windows) == sum(len(window[2]) for window in model.windows)
        oldest = min((window[1] for window in model.windows), default=math.inf)
        assert windows.next_due() == oldest + timeout
