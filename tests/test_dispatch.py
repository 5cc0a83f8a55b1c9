"""Which worker is picked, mode by mode."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio import Dispatch, phash
from poolder_trio.policies.dispatch import MODES, PICKING, dispatch

sizes = st.integers(1, 20)
loads_of_some = st.lists(st.integers(0, 5), min_size=1, max_size=20)
times = st.floats(0, 1e9)
keys = st.integers() | st.text(max_size=5) | st.tuples(st.integers(), st.binary(max_size=3))


def picks(mode, size, count):
    """Return ``count`` picks among ``size`` workers that have nothing to do."""
    return [mode.pick(None, 0.0, [0] * size) for _ in range(count)]


class Seats(Sequence):
    """Loads that are looked up when they are read, as a pool's are."""

    def __init__(self, loads):
        self._loads = loads

    def __len__(self):
        return len(self._loads)

    def __getitem__(self, index):
        return self._loads[index]


def test_the_modes_are_those_of_the_docs():
    assert PICKING == ("round_robin", "random", "monotonic", "phash", "least_loaded")
    assert set(MODES) - set(PICKING) == {"broadcast", "available"}


@pytest.mark.parametrize("name", PICKING)
def test_each_picking_mode_is_a_dispatch(name):
    assert isinstance(dispatch(name), Dispatch)


@given(st.sampled_from(PICKING), st.lists(st.tuples(loads_of_some, times, keys), max_size=6))
def test_a_pick_is_an_index_whatever_the_number_of_workers(name, rounds):
    mode = dispatch(name)
    for loads, now, key in rounds:
        index = mode.pick(key, now, tuple(loads))
        assert type(index) is int
        assert 0 <= index < len(loads)


@pytest.mark.parametrize("name", PICKING)
def test_of_one_worker_each_mode_picks_that_one(name):
    mode = dispatch(name)
    assert {mode.pick("key", now / 7, [now]) for now in range(20)} == {0}


# -- round robin


@given(sizes, st.integers(0, 100))
def test_round_robin_takes_turns_from_index_0(size, count):
    assert picks(dispatch("round_robin"), size, count) == [n % size for n in range(count)]


@given(loads_of_some, st.integers(0, 100))
def test_round_robin_is_fair_whatever_the_loads(loads, count):
    mode = dispatch("round_robin")
    counts = Counter(dict.fromkeys(range(len(loads)), 0))
    counts.update(mode.pick(None, 0.0, loads) for _ in range(count))
    assert max(counts.values()) - min(counts.values()) <= 1


@given(st.lists(st.tuples(sizes, st.integers(0, 30)), max_size=10))
def test_round_robin_stays_fair_between_changes_of_size(rounds):
    mode = dispatch("round_robin")
    for size, count in rounds:
        dealt = picks(mode, size, count)
        for start in range(count - size + 1):
            assert sorted(dealt[start : start + size]) == list(range(size))


@pytest.mark.parametrize(
    ("before", "count", "after", "expected"),
    [
        pytest.param(4, 2, 6, [2, 3, 4, 5, 0, 1], id="grown in the middle of a round"),
        pytest.param(4, 1, 3, [1, 2, 0, 1], id="shrunk, but not past the next"),
        pytest.param(4, 3, 3, [0, 1, 2, 0], id="shrunk past the next"),
        pytest.param(1, 5, 3, [0, 1, 2, 0], id="grown from one"),
        pytest.param(3, 5, 1, [0, 0, 0], id="shrunk to one"),
    ],
)
def test_round_robin_goes_on_where_it_was_when_the_size_changes(before, count, after, expected):
    mode = dispatch("round_robin")
    picks(mode, before, count)
    assert picks(mode, after, len(expected)) == expected


@given(sizes, st.lists(st.booleans(), max_size=30))
def test_round_robin_skips_nobody_when_it_is_told_a_size_that_it_has(size, resizes):
    mode = dispatch("round_robin")
    turns = mode.deal(range(size))
    dealt = []
    for resize in resizes:
        if resize:
            turns = mode.deal(range(size))
        dealt.append(next(turns))
    assert dealt == [n % size for n in range(len(resizes))]


@given(sizes, st.lists(st.booleans(), max_size=30))
def test_a_turn_is_a_pick(size, quick):
    mode = dispatch("round_robin")
    turns = mode.deal(range(size))
    dealt = [next(turns) if turn else mode.pick(None, 0.0, [0] * size) for turn in quick]
    assert dealt == [n % size for n in range(len(quick))]


# -- random


def test_random_is_uniform():
    counts = Counter(picks(dispatch("random", seed=1), 10, 10_000))
    chi_square = sum((counts[index] - 1000) ** 2 / 1000 for index in range(10))
    assert 1 < chi_square < 28  # nine degrees of freedom: outside by chance once in 1,000 seeds


@pytest.mark.parametrize("seed", [0, 7, "seven", b"bytes"])
def test_random_is_repeatable_by_its_seed(seed):
    first, second = (picks(dispatch("random", seed), 10, 100) for _ in range(2))
    assert first == second


def test_random_differs_between_seeds():
    seeds = [0, 1, "0", b"1", None, None]
    assert len({tuple(picks(dispatch("random", seed), 10, 100)) for seed in seeds}) == len(seeds)


# -- monotonic


@given(sizes, times)
def test_monotonic_goes_by_the_clocks_nanoseconds(size, now):
    assert dispatch("monotonic").pick(None, now, [0] * size) == int(now * 1_000_000_000) % size


def test_monotonic_by_hand():
    mode = dispatch("monotonic")
    assert [mode.pick(None, ns / 1e9, [0] * 3) for ns in range(6)] == [0, 1, 2, 0, 1, 2]
    assert mode.pick(None, 12.5, [0] * 7) == 12_500_000_000 % 7


# -- phash


@given(keys, sizes, times)
def test_phash_is_the_keys_seat_whatever_the_time_and_the_loads(key, size, now):
    mode = dispatch("phash")
    assert mode.pick(key, now, [3] * size) == mode.pick(key, 0.0, [0] * size) == phash(key, size)


def test_phash_refuses_a_key_without_content():
    with pytest.raises(TypeError, match="key= function"):
        dispatch("phash").pick(object(), 0.0, [0, 0])


def test_only_phash_counts_the_seats_of_those_who_ended():
    by_seat = [name for name in PICKING if getattr(dispatch(name), "by_seat", False)]
    assert by_seat == ["phash"]


# -- least loaded


@given(loads_of_some)
def test_least_loaded_is_the_lowest_index_of_the_smallest_load(loads):
    index = dispatch("least_loaded").pick(None, 0.0, Seats(loads))
    assert loads[index] == min(loads)
    assert loads[index] not in loads[:index]


def test_least_loaded_looks_at_the_loads_each_time():
    mode = dispatch("least_loaded")
    loads = [0, 0, 0]
    for _ in range(30):
        loads[mode.pick(None, 0.0, loads)] += 1
    assert loads == [10, 10, 10]
    loads[1] -= 1
    assert mode.pick(None, 0.0, loads) == 1


# -- all of them


@pytest.mark.parametrize("name", ["round_robin", "random"])
def test_two_openings_take_turns_of_their_own(name):
    first, second = dispatch(name, seed=3), dispatch(name, seed=3)
    expected = picks(dispatch(name, seed=3), 5, 12)
    mixed = [(picks(first, 5, 1)[0], picks(second, 5, 1)[0]) for _ in range(12)]
    assert mixed == [(index, index) for index in expected]
