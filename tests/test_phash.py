"""The same key at the same seat: in every process, on every Python, and as seats are added."""

import dataclasses
import datetime as dt
import enum
import importlib
import math
import os
import subprocess
import sys
import time
import types
from collections import Counter, OrderedDict, defaultdict, namedtuple
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolder_trio import phash

UTC = dt.timezone.utc
PARIS = dt.timezone(dt.timedelta(hours=1))
KABUL = dt.timezone(dt.timedelta(hours=4, minutes=30))


def wide(key):
    """Return a seat among so many that two keys hardly ever share one by chance."""
    return phash(key, 2**40)


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796  # an alias
    BLUE = 2


class Fruit(enum.Enum):
    RED = 1


class Word(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()
    RUN = enum.auto()


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass
class Spot:
    x: Any
    y: Any = 0


@attrs.frozen
class Place:
    x: Any
    y: Any = 0


Pair = namedtuple("Pair", ["x", "y"])  # noqa: PYI024  # for nothing but its equality


# Each key with its seats of 10 and of 1000. They never change: seats hold state.
PINNED = [
    ("", 9, 671),
    ("a", 0, 895),
    ("user:42", 4, 628),
    ("na\xefve \u2713", 8, 8),
    ("\ud800", 0, 962),
    (b"", 0, 780),
    (b"a", 7, 524),
    (0, 3, 606),
    (1, 8, 532),
    (-1, 3, 604),
    (2**64, 1, 948),
    (10**30, 7, 110),
    (0.5, 5, 856),
    (0.1, 0, 323),
    (1e300, 0, 721),
    (math.inf, 3, 92),
    (Decimal("0.1"), 5, 906),
    (Fraction(1, 3), 2, 680),
    (None, 2, 151),
    (Colour.RED, 1, 420),
    (Word.RED, 1, 475),
    (UUID(int=1), 6, 55),
    (dt.date(2024, 2, 29), 5, 948),
    (dt.datetime(2024, 2, 29, 12, 30), 7, 102),  # noqa: DTZ001  # no zone
    (dt.datetime(2024, 2, 29, 12, 30, 0, 1, tzinfo=KABUL), 7, 397),
    (dt.time(12, 30), 0, 491),
    (dt.timedelta(days=-1, microseconds=1), 0, 123),
    ((), 1, 633),
    (("a", 1), 4, 671),
    ([1, 2], 8, 719),
    (frozenset(["a", "b", "c"]), 2, 507),
    ({"b": 1, "a": [2]}, 2, 218),
    (Point(1, ("a", None)), 1, 674),
    (Place(1, ("a", None)), 6, 392),
    (Pair(1, 2), 8, 260),
]


# -- keys to draw

numbers = (
    st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.fractions()
)
zones = st.sampled_from([None, UTC, PARIS, KABUL])
leaves = (
    st.none()
    | numbers
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.dates()
    | st.datetimes(timezones=zones)
    | st.times(timezones=zones)
    | st.timedeltas()
    | st.uuids()
    | st.sampled_from([*Colour, *Fruit, *Word, *Level])
)
keys = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(leaves, max_size=3)
        | st.dictionaries(leaves, inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Place, inner, inner)
    ),
    max_leaves=6,
)


# -- seats


@given(keys, st.integers(1, 1000))
def test_a_seat_is_an_index(key, size):
    seat = phash(key, size)
    assert type(seat) is int
    assert 0 <= seat < size


@given(keys, st.integers(1, 300))
def test_when_a_seat_is_added_a_key_stays_or_moves_to_the_new_one(key, size):
    assert phash(key, size + 1) in {phash(key, size), size}


@pytest.mark.parametrize("size", [1, 2, 9, 99])
def test_when_a_seat_is_added_only_its_share_of_the_keys_moves(size):
    count = 10_000
    moved = sum(phash(key, size) != phash(key, size + 1) for key in range(count))
    share = 1 / (size + 1)
    assert abs(moved - count * share) < 5 * math.sqrt(count * share * (1 - share))


@pytest.mark.parametrize("size", [2, 10, 64])
@pytest.mark.parametrize("kind", [int, str, "user:{}".format, lambda n: ("tenant", n)])
def test_ten_thousand_keys_are_spread_evenly(kind, size):
    counts = Counter(phash(kind(number), size) for number in range(10_000))
    even = 10_000 / size
    chi_square = sum((counts[seat] - even) ** 2 / even for seat in range(size))
    assert abs(chi_square - (size - 1)) < 5 * math.sqrt(2 * (size - 1))


@pytest.mark.parametrize(
    ("digest", "size", "seat"),
    [(1, 1, 0), (42, 57, 43), (0xDEAD10CC, 1, 0), (0xDEAD10CC, 666, 361), (256, 1024, 520)],
)
def test_seats_are_chosen_as_other_implementations_of_jump_hash_do(digest, size, seat, monkeypatch):
    def blake2b(content, digest_size):
        return types.SimpleNamespace(digest=lambda: digest.to_bytes(digest_size, "big"))

    module = importlib.import_module("poolder_trio.policies.phash")
    monkeypatch.setattr(module, "hashlib", types.SimpleNamespace(blake2b=blake2b))
    assert phash("any", size) == seat


@pytest.mark.parametrize("size", [0, -1])
def test_there_must_be_a_seat(size):
    with pytest.raises(ValueError, match=rf"size must be an int >= 1, got {size} \(phash\)"):
        phash("key", size)


@pytest.mark.parametrize("size", [2.5, 2.0, math.nan, "10", None])
def test_the_number_of_seats_is_a_whole_one(size):
    with pytest.raises(TypeError):
        phash("key", size)


# -- the same everywhere


def named(key):
    """A name for a case that is the same in every process."""
    return ascii(sorted(key) if isinstance(key, frozenset) else key)


@pytest.mark.parametrize(
    ("key", "of_10", "of_1000"),
    PINNED,
    ids=[named(pin[0]) for pin in PINNED],
)
def test_seats_are_the_same_on_every_python_and_in_every_release(key, of_10, of_1000):
    assert phash(key, 10) == of_10
    assert phash(key, 1000) == of_1000


def test_a_combined_flag_has_the_same_seat_on_every_python_whatever_its_name_is_there():
    both = Access.READ | Access.WRITE
    assert (phash(both, 10), phash(both, 1000)) == (8, 13)


@pytest.mark.server
@pytest.mark.parametrize("seed", ["0", "4294967295"])
def test_seats_are_the_same_in_a_process_that_hashes_otherwise(seed):
    keys = ["a", b"a", ("a", 1), set("abcdef"), {"b": {"x", "y", "z"}, "a": 1}]
    code = f"from poolder_trio import phash; print([phash(key, 1000) for key in {keys!r}])"
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert there.stdout.strip() == str([phash(key, 1000) for key in keys])


# -- equal keys agree, others do not


@given(keys, keys)
def test_two_keys_agree_if_and_only_if_they_are_equal(one, other):
    assert (wide(one) == wide(other)) == (one == other)


@given(numbers)
def test_numbers_that_are_equal_agree_whatever_their_types(number):
    agreeing = {wide(number)}
    if not math.isinf(number):
        exact = Fraction(number)
        agreeing.add(wide(exact))
        if exact.denominator == 1:
            agreeing |= {wide(int(number)), wide(Decimal(int(number)))}
        if abs(exact) < 1e300 and float(exact) == exact:
            agreeing |= {wide(float(number)), wide(Decimal(float(number)))}
    assert len(agreeing) == 1


ALIKE = [
    pytest.param([1, 1.0, True, Decimal(1), Decimal("1.00"), Fraction(1), Level.LOW], id="one"),
    pytest.param([0, 0.0, -0.0, False, Decimal("-0"), Fraction(0)], id="zero"),
    pytest.param([-2, -2.0, Decimal("-2E0"), Fraction(-4, 2)], id="minus two"),
    pytest.param([0.5, Decimal("0.5"), Fraction(1, 2)], id="half"),
    pytest.param([2**70, float(2**70), Decimal(2**70), Fraction(2**70)], id="large"),
    pytest.param([10**400, Decimal("1E400"), Fraction(10**400)], id="larger than any float"),
    pytest.param([math.inf, Decimal("Infinity")], id="infinity"),
    pytest.param(["red", Word.RED], id="a str enum is a str"),
    pytest.param([b"a", bytearray(b"a"), memoryview(b"a")], id="bytes"),
    pytest.param([(1, 2), Pair(1, 2), (True, Decimal(2))], id="a named tuple is a tuple"),
    pytest.param(
        [{"a", "b", 1}, frozenset(["b", 1.0, "a"]), {1: 0, "b": 0, "a": 0}.keys()], id="sets"
    ),
    pytest.param(
        [
            {"a": 1, "b": 2},
            {"b": 2.0, "a": True},
            OrderedDict(b=2, a=1),
            defaultdict(int, a=1, b=2),
            types.MappingProxyType({"b": 2, "a": 1}),
        ],
        id="mappings",
    ),
    pytest.param([Colour.RED, Colour.CRIMSON], id="an alias is its member"),
    pytest.param([Access.READ | Access.WRITE, Access.WRITE | Access.READ], id="flags"),
    pytest.param([Point(1, "a"), Point(1.0, "a"), Point(y="a", x=True)], id="dataclasses"),
    pytest.param([Place(1, "a"), Place(1.0, "a"), Place(y="a", x=True)], id="attrs classes"),
    pytest.param(
        [
            dt.datetime(2024, 2, 29, 12, tzinfo=UTC),
            dt.datetime(2024, 2, 29, 13, tzinfo=PARIS),
            dt.datetime(2024, 2, 29, 16, 30, tzinfo=KABUL),
        ],
        id="datetimes in different zones",
    ),
    pytest.param(
        [
            dt.datetime.min.replace(tzinfo=PARIS),
            dt.datetime.min.replace(tzinfo=KABUL) + dt.timedelta(hours=3, minutes=30),
        ],
        id="datetimes before the first there is in UTC",
    ),
    pytest.param(
        [
            dt.time(12, tzinfo=UTC),
            dt.time(13, tzinfo=PARIS),
            dt.time(16, 30, tzinfo=KABUL),
        ],
        id="times in different zones",
    ),
    pytest.param(
        [dt.timedelta(days=1, microseconds=1), dt.timedelta(seconds=86_400, microseconds=1)],
        id="timedeltas",
    ),
    pytest.param([UUID(int=7), UUID("00000000-0000-0000-0000-000000000007")], id="uuids"),
]


@pytest.mark.parametrize("alike", ALIKE)
def test_keys_that_are_equal_agree(alike):
    assert all(key == alike[0] for key in alike)
    assert len({wide(key) for key in alike}) == 1
    assert len({wide((key, [key])) for key in alike}) == 1


class Autumn(dt.tzinfo):
    """A zone in which the clock was put back from 3:00 to 2:00."""

    def utcoffset(self, when):
        return dt.timedelta(hours=1 if when.fold else 2)

    def dst(self, when):
        return None

    def tzname(self, when):
        return "autumn"


def test_an_hour_that_the_clock_repeats_is_equal_to_itself():
    zone = Autumn()
    first = dt.datetime(2024, 10, 27, 2, 30, tzinfo=zone)
    second = first.replace(fold=1)
    assert first == second
    assert wide(first) == wide(second)


DIFFERENT = [
    *("", "a", "ab", "a\0", "\0a", "A", "1", "None", "s1:a", "0", "inf", "é", "e\u0301", "\ud800"),
    *(b"", b"a", b"1", b"s1:a"),
    *(0, 1, -1, 10, 16, 0x10F, 1.5, Decimal("0.1"), 0.1, Fraction(1, 10**20), math.inf, -math.inf),
    *(None, (), [], frozenset(), {}, ("",), [""], (None,), ((),), ([],), [()], [[]], {"": ""}),
    *(("a", "b"), ("ab",), ("b", "a"), ("a", ("b",)), (("a",), "b"), (("a", "b"),), ["a", "b"]),
    *(frozenset("ab"), {"a": "b"}, {"b": "a"}, [("a", "b")], frozenset([("a", "b")])),
    *({"a": None}, {"a": {}}, {"a": ["b"]}, {"a": "b", "c": "d"}, {"a": "d", "c": "b"}),
    *((1, 2), (1, (2,)), (12,), (-1, 2), ("1", 2), ("1", "2"), (b"1", 2)),
    *(Colour.RED, Colour.BLUE, Fruit.RED, "RED", ("Colour", "RED")),
    *(Access.READ, Access.WRITE, Access(0)),
    *(Access.READ | Access.WRITE, Access.READ | Access.RUN, ~Access(0)),
    *(Point(1, 2), Point(2, 1), Point((1, 2)), Spot(1, 2), Place(1, 2), ("Point", 1, 2)),
    *(dt.date(2024, 2, 29), dt.datetime(2024, 2, 29), "2024-02-29"),  # noqa: DTZ001  # no zone
    *(dt.datetime(2024, 2, 29, tzinfo=UTC), dt.datetime(2024, 2, 29, tzinfo=PARIS)),
    *(dt.time(12), dt.time(12, tzinfo=UTC), dt.time(12, tzinfo=PARIS)),
    *(dt.timedelta(), dt.timedelta(1), dt.timedelta(microseconds=1), 86_400),
    *(UUID(int=1), str(UUID(int=1)), UUID(int=1).bytes),
]


def test_keys_that_differ_do_not_agree():
    seen = {}
    for key in DIFFERENT:
        assert seen.setdefault(wide(key), key) is key


def test_a_nan_has_a_seat_like_any_other_number():
    assert wide(math.nan) == wide(Decimal("NaN")) != wide(math.inf)


# -- dataclasses and attrs classes: what they compare by


def test_fields_that_are_not_compared_do_not_count():
    @dataclasses.dataclass
    class Cached:
        name: str
        cache: Any = dataclasses.field(default=None, compare=False)

    @attrs.define
    class Held:
        name: str
        lock: Any = attrs.field(default=None, eq=False)

    assert wide(Cached("a", object())) == wide(Cached("a", 1)) != wide(Cached("b", 1))
    assert wide(Held("a", object())) == wide(Held("a", 1)) != wide(Held("b", 1))


def test_class_variables_of_a_dataclass_are_no_content():
    @dataclasses.dataclass
    class Counted:
        name: str
        made: ClassVar[Any] = 0

    before = wide(Counted("a"))
    Counted.made = object()
    assert wide(Counted("a")) == before


def test_arguments_that_a_dataclass_does_not_keep_are_no_content():
    @dataclasses.dataclass
    class Parsed:
        name: str = dataclasses.field(init=False)
        text: dataclasses.InitVar[str]

        def __post_init__(self, text):
            self.name = text.strip()

    assert wide(Parsed(" a")) == wide(Parsed("a ")) != wide(Parsed("b"))


def test_a_field_that_is_compared_by_a_function_of_it_counts_as_that():
    @attrs.define
    class Mail:
        address: str = attrs.field(eq=str.lower)

    assert Mail("A@b.c") == Mail("a@b.c")
    assert wide(Mail("A@b.c")) == wide(Mail("a@b.c")) != wide(Mail("a@b.d"))


def test_inherited_fields_count():
    @dataclasses.dataclass
    class Solid(Spot):
        z: int = 0

    assert wide(Solid(1, 2, 3)) == wide(Solid(1, 2, 3))
    assert len({wide(Solid(*at)) for at in [(1, 2, 3), (1, 2, 4), (1, 0, 3), (0, 2, 3)]}) == 4


def test_slots_hold_content_as_well():
    @attrs.define(slots=True)
    class Slotted:
        x: int

    @dataclasses.dataclass(slots=True)
    class Tight:
        x: int

    for kind in (Slotted, Tight):
        assert wide(kind(1)) == wide(kind(1)) != wide(kind(2))


# -- what has no content


class Plain:
    pass


class Equal:
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1

    def method(self):
        """Do nothing."""


@dataclasses.dataclass(eq=False)
class Entity:
    x: int = 1


@attrs.define(eq=False)
class Record:
    x: int = 1


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(object(), id="object"),
        pytest.param(Plain(), id="instance"),
        pytest.param(Equal(), id="instance with an equality of its own"),
        pytest.param(Entity(), id="dataclass compared by identity"),
        pytest.param(Record(), id="attrs class compared by identity"),
        pytest.param(lambda: None, id="lambda"),
        pytest.param(print, id="builtin"),
        pytest.param(Equal().method, id="method"),
        pytest.param(Plain, id="class"),
        pytest.param(Point, id="dataclass itself"),
        pytest.param(Place, id="attrs class itself"),
        pytest.param(Colour, id="enum itself"),
        pytest.param(math, id="module"),
        pytest.param(iter([1]), id="iterator"),
        pytest.param(OSError("a"), id="exception"),
        pytest.param(..., id="ellipsis"),
    ],
)
@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda key: key, id="itself"),
        pytest.param(lambda key: ("a", [key]), id="nested"),
        pytest.param(lambda key: {"a": key}, id="in a mapping"),
        pytest.param(Point, id="in a dataclass"),
        pytest.param(Place, id="in an attrs instance"),
    ],
)
def test_what_has_no_stable_content_is_refused(wrap, key):
    with pytest.raises(TypeError, match=r"no content .* give the pool a key= function") as caught:
        phash(wrap(key), 10)
    assert str(caught.value).startswith(type(key).__qualname__)


def test_it_is_refused_even_if_there_is_one_seat_only():
    with pytest.raises(TypeError, match="key="):
        phash(object(), 1)


def test_a_signalling_nan_is_refused_as_hash_refuses_it():
    with pytest.raises(TypeError):
        phash(Decimal("sNaN"), 10)


# -- what would hold up the program


def nested(depth, wrap):
    key = 1
    for _ in range(depth):
        key = wrap(key)
    return key


def with_itself(holder, put):
    put(holder)
    return holder


def cycle_in_an_instance():
    inner = []
    point = Point(inner)
    inner.append(point)
    return point


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda: Decimal("1e3999999"), id="a large decimal"),
        pytest.param(lambda: Decimal("-1e999999999999999"), id="one that no memory would hold"),
        pytest.param(lambda: Decimal("1e-3999999"), id="a small one"),
        pytest.param(lambda: Decimal("1." + "3" * 200_000), id="a long one"),
        pytest.param(lambda: ("a", [Decimal("1e3999999")]), id="a large one inside"),
        pytest.param(lambda: nested(5000, lambda key: (key,)), id="tuples"),
        pytest.param(lambda: nested(5000, lambda key: [key]), id="lists"),
        pytest.param(lambda: nested(5000, lambda key: {"a": key}), id="mappings"),
        pytest.param(lambda: nested(400, lambda key: frozenset([key])), id="sets"),
        pytest.param(lambda: nested(5000, Point), id="dataclasses"),
        pytest.param(lambda: nested(60, lambda key: (key, key)), id="twice in each of sixty"),
        pytest.param(lambda: with_itself([], lambda key: key.append(key)), id="a cycle of a list"),
        pytest.param(
            lambda: with_itself({}, lambda key: key.update(a=key, b=key)), id="of a mapping"
        ),
        pytest.param(cycle_in_an_instance, id="of a dataclass"),
        pytest.param(lambda: [None] * 1_000_000, id="a million values"),
    ],
)
def test_a_key_that_would_hold_up_the_program_is_refused_in_time(key):
    made = key()
    began = time.perf_counter()
    with pytest.raises(TypeError, match="give the pool a key= function"):
        phash(made, 10)
    assert time.perf_counter() - began < 5


def test_a_key_is_refused_as_such_where_the_stack_is_nearly_full():
    def at(depth):
        return at(depth - 1) if depth else phash(nested(200, lambda key: (key,)), 10)

    refused = 0
    for depth in range(0, sys.getrecursionlimit(), 20):
        try:
            at(depth)
        except TypeError:
            refused += 1
        except RecursionError:  # there was no room for `at` itself
            break
    assert refused


@pytest.mark.parametrize("zero", ["0e3999999", "-0e-3999999", "0." + "0" * 20_000])
def test_a_zero_is_zero_whatever_its_exponent(zero):
    assert wide(Decimal(zero)) == wide(0)


def test_a_number_that_is_long_and_not_too_long_has_a_seat():
    assert wide(Decimal("1e5000")) == wide(10**5000)
    assert wide(Decimal("1e-300")) == wide(Fraction(1, 10**300))
