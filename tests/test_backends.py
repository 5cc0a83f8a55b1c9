"""Every backend: states with versions, which change by compare-and-set, whoever is cancelled."""

import inspect
import itertools
import math
import sys
import uuid
from contextlib import asynccontextmanager
from enum import IntEnum
from functools import partial

import pytest
import trio
from trio.testing import assert_checkpoints

from poolder_trio import (
    Closed,
    Codec,
    JSONCodec,
    MemoryState,
    RedisState,
    SQLiteState,
    StateBackend,
)
from poolder_trio.abc import StateSource
from poolder_trio.backends.described import opened
from poolder_trio.backends.line import Ask, settle
from poolder_trio.testing import CancelAt

SERVER = pytest.mark.server
SHARED = [pytest.param("sqlite"), pytest.param("redis", marks=SERVER)]
ALL = [pytest.param("memory"), *SHARED]


@pytest.fixture
def describe(request, tmp_path):
    """A function that describes the same state each time, of the backend of the parameter."""
    kind = request.param
    if kind == "memory":
        return MemoryState
    if kind == "sqlite":
        return lambda *codec: SQLiteState(tmp_path / "state.db", *codec)
    url, key = request.getfixturevalue("redis_server").url, str(uuid.uuid4())
    return lambda *codec: RedisState(url, key, *codec)


@pytest.fixture
async def state(describe):
    """An open backend."""
    async with describe().open() as state:
        yield state


every = pytest.mark.parametrize("describe", ALL, indirect=True)
shared = pytest.mark.parametrize("describe", SHARED, indirect=True)


# -- states and versions


@every
async def test_a_backend_without_a_state_says_so_by_its_version(state):
    assert await state.load() == (None, 0)


@every
async def test_each_store_makes_the_next_version(state):
    for version, value in enumerate(["a", {"b": [1, 2.5, None, True]}, [], -1, "ü\ud800"]):
        assert await state.store(value, version) is True
        assert await state.load() == (value, version + 1)


@every
async def test_a_store_over_another_version_is_refused_and_changes_nothing(state):
    assert await state.store("first", 1) is False
    assert await state.load() == (None, 0)
    assert await state.store("first", 0)
    for version in (0, 2, 10**15):
        assert await state.store("other", version) is False
    assert await state.load() == ("first", 1)


@every
async def test_none_is_a_state_like_any_other(state):
    assert await state.store(None, 0)
    assert await state.load() == (None, 1)
    assert await state.store("first", 0) is False


@every
async def test_an_expected_version_is_a_natural_number(state):
    for wrong, error in ((-1, ValueError), ("0", TypeError), (None, TypeError), (True, TypeError)):
        with pytest.raises(error, match="expected_version must be an int >= 0"):
            await state.store("state", wrong)
    assert await state.load() == (None, 0)


@every
async def test_a_large_state_comes_back(state):
    large = ["x" * 1000] * 3000
    assert await state.store(large, 0)
    assert (await state.load())[0] == large


@every
async def test_each_call_is_a_checkpoint(state):
    for version in range(2):
        with assert_checkpoints():
            await state.load()
        with assert_checkpoints():
            await state.store("state", version)
        with assert_checkpoints():
            assert not await state.store("state", 10)


# -- descriptions and openings


@every
def test_what_is_described_is_a_backend_that_can_be_opened(describe):
    assert isinstance(describe(), StateBackend)
    assert isinstance(describe(), StateSource)


@every
async def test_an_open_one_is_a_backend(state):
    assert isinstance(state, StateBackend)


@shared
async def test_a_state_outlives_its_openings(describe):
    async with describe().open() as state:
        assert await state.store("kept", 0)
    async with describe().open() as first, describe().open() as second:
        assert await first.load() == await second.load() == ("kept", 1)
        assert await first.store("changed", 1)
        assert not await second.store("lost", 1)
        assert await second.load() == ("changed", 2)


async def test_each_opening_of_a_state_in_memory_has_its_own():
    described = MemoryState()
    async with described.open() as first, described.open() as second:
        assert await first.store("first", 0)
        assert await second.load() == (None, 0)
    assert await described.load() == (None, 0)


@every
async def test_a_description_can_be_used_as_it_is(describe):
    described = describe()
    assert await described.load() == (None, 0)
    assert await described.store("state", 0)
    assert not await described.store("state", 0)
    assert await described.load() == ("state", 1)


class Own:
    """A backend as users write it, with two methods."""

    async def load(self):
        return "own", 1

    async def store(self, state, expected_version):
        return False


@every
async def test_whoever_uses_backends_opens_descriptions_and_takes_others_as_they_are(describe):
    described = describe()
    async with opened(described) as state:
        assert state is not described
        assert await state.store(1, 0)
    own = Own()
    assert isinstance(own, StateBackend)
    async with opened(own) as state:
        assert state is own


# -- many at once


class Head:
    """Adds one as a component does that knows what is on its way: each store over the last."""

    def __init__(self, backend):
        self.backend = backend
        self.reading = trio.Lock()
        self.known = None

    async def add_one(self):
        while True:
            if self.known is None:
                async with self.reading:
                    if self.known is None:
                        self.known = await self.backend.load()
            value, version = self.known
            self.known = ((value or 0) + 1, version + 1)
            if await self.backend.store((value or 0) + 1, version):
                return
            self.known = None


async def load_and_store(backend):
    while True:
        value, version = await backend.load()
        if await backend.store((value or 0) + 1, version):
            return


@every
async def test_ten_thousand_concurrent_increments_end_exactly(state):
    head = Head(state)
    async with trio.open_nursery() as nursery:
        for _ in range(10_000):
            nursery.start_soon(head.add_one)
    assert await state.load() == (10_000, 10_000)


@every
async def test_of_those_who_load_and_store_at_once_each_gets_its_turn(state):
    async def several():
        for _ in range(20):
            await load_and_store(state)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(several)
    assert await state.load() == (400, 400)


CHILD = f"""
import sys, trio
from poolder_trio import RedisState, SQLiteState

{inspect.getsource(Head)}

async def main(kind, place, key, count):
    backend = SQLiteState(place, key=key) if kind == "sqlite" else RedisState(place, key)
    async with backend.open() as state:
        assert await state.load() is not None
        print("ready", flush=True)
        sys.stdin.readline()
        head, limit = Head(state), trio.CapacityLimiter(50)

        async def add_one():
            async with limit:
                await head.add_one()

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(add_one)

kind, place, key, count = sys.argv[1:]
trio.run(main, kind, place, key, int(count))
"""


@asynccontextmanager
async def child(code, *args):
    """A process that runs ``code``; its end, for better or worse, is the block's."""
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, stdin=-1, stdout=-1)
        process = await nursery.start(run, [sys.executable, "-W", "error", "-c", code, *args])
        assert b"ready" in await process.stdout.receive_some()
        yield process


@SERVER
@pytest.mark.slow
@pytest.mark.once
@shared
async def test_two_processes_add_up_to_ten_thousand(describe):
    described = describe()
    if isinstance(described, SQLiteState):
        args = ["sqlite", str(described.path), described.key, "5000"]
    else:
        args = ["redis", described.url, described.key, "5000"]
    with trio.fail_after(200):
        async with child(CHILD, *args) as one, child(CHILD, *args) as other:
            for process in (one, other):
                await process.stdin.send_all(b"go\n")
    assert await described.load() == (10_000, 10_000)


# -- cancellation, and leaving


async def at_every_step(block):
    for step in itertools.count(1):
        assert step < 1000
        with CancelAt(step) as cut:
            await block()
        if not cut.reached:
            return


@every
async def test_a_store_cancelled_at_any_step_is_done_if_and_only_if_it_says_so(state):
    version = 0
    results = set()
    for step in itertools.count(1):
        result = None
        with CancelAt(step) as cut:
            result = await state.store(version, version)
        version += result is True
        results.add(result)
        assert await state.load() == ((version - 1) if version else None, version)
        if not cut.reached:
            break
    assert True in results
    with trio.CancelScope() as scope:
        scope.cancel()
        await state.store("late", version)
    assert scope.cancelled_caught
    assert (await state.load())[1] == version


@every
async def test_an_opening_cancelled_at_any_step_leaves_nothing_behind(describe):
    described = describe()
    with trio.fail_after(60):

        async def block():
            async with described.open() as state:
                _, version = await state.load()
                await state.store("state", version)
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(state.load)

        await at_every_step(block)
        async with described.open() as state:
            _, version = await state.load()
            assert await state.store("last", version)


@every
async def test_whoever_is_cancelled_while_many_wait_takes_nobody_along(state):
    done = []

    async def store(number, scope):
        with scope:
            done.append((number, await state.store(number, number)))

    scopes = [trio.CancelScope() for _ in range(100)]
    async with trio.open_nursery() as nursery:
        for number, scope in enumerate(scopes):
            nursery.start_soon(store, number, scope)
        await trio.lowlevel.checkpoint()
        for scope in scopes[::2]:
            scope.cancel()
    stored = {number for number, result in done if result}
    _, version = await state.load()
    assert version == len(stored)
    assert {number for number, _ in done} >= set(range(1, 100, 2))


@shared
async def test_a_cancelled_block_can_still_store_what_it_must(describe):
    with trio.fail_after(60), trio.CancelScope() as scope:
        async with describe().open() as state:
            try:
                scope.cancel()
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    assert await state.store("last words", 0)
    assert scope.cancelled_caught
    assert await describe().load() == ("last words", 1)


@every
async def test_what_a_block_raises_leaves_it_as_it_is(describe):
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with describe().open() as state:
            await state.load()
            raise error
    assert caught.value is error


@shared
async def test_what_is_closed_is_refused(describe):
    async with describe().open() as state:
        pass
    for call in (state.load(), state.store(1, 0)):
        with pytest.raises(Closed, match="block that opened it was left"):
            await call
    assert await describe().load() == (None, 0)


@shared
async def test_whoever_waits_when_the_block_is_left_is_told_and_does_not_hang(describe):
    async def call():
        try:
            told.append(await state.load())
        except Closed as error:
            told.append(error)

    told = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            async with describe().open() as state:
                await state.load()
                for _ in range(3):
                    nursery.start_soon(call)
                await trio.lowlevel.checkpoint()
    assert len(told) == 3


# -- codecs


class Broken:
    """A codec with one fault."""

    def __init__(self, encode=lambda state: b"{}", decode=bytes):
        self.encode, self.decode = encode, decode


def stumble(_):
    raise LookupError("no such thing")


@shared
async def test_a_codec_that_returns_no_bytes_is_named_and_nothing_is_written(describe):
    await describe().store("good", 0)
    for wrong in ("text", None, bytearray(b"1")):
        with pytest.raises(TypeError, match=r"Broken.*encode must return bytes, got .* for the st"):
            await describe(Broken(encode=lambda _, wrong=wrong: wrong)).store("bad", 1)
    assert await describe().load() == ("good", 1)


@shared
async def test_what_a_codec_raises_is_raised_with_a_note_and_nothing_is_written(describe):
    await describe().store("good", 0)
    with pytest.raises(LookupError, match="no such thing") as caught:
        await describe(Broken(encode=stumble)).store("bad", 1)
    assert "nothing was written" in caught.value.__notes__[0]
    assert await describe().load() == ("good", 1)


@shared
async def test_what_a_codec_can_not_decode_is_named_with_where_it_is(describe):
    await describe(Broken()).store("state", 0)
    with pytest.raises(ValueError, match=r"can't decode the state '.*' in .*no such thing") as got:
        await describe(Broken(decode=stumble)).load()
    assert isinstance(got.value.__cause__, LookupError)
    await describe(Broken(lambda _: b"\xff{")).store("state", 1)
    with pytest.raises(ValueError, match=r"JSONCodec\(\) can't decode the state"):
        await describe().load()
    assert await describe(Broken()).load() == (b"\xff{", 2)


@shared
def test_an_option_that_is_no_codec_is_refused(describe):
    for wrong in ("pickle", JSONCodec, object(), None):
        with pytest.raises(TypeError, match=r"codec must be a Codec, .*, got .*State\)"):
            describe(wrong)


def test_the_default_is_json():
    assert isinstance(JSONCodec(), Codec)
    assert JSONCodec().encode({"a": [1, None]}) == b'{"a":[1,null]}'
    assert SQLiteState("x").codec == RedisState("redis://x", "x").codec == JSONCodec()


class Color(IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


circle = []
circle.append(circle)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ((1, 2), r"state can't be kept as JSON: \(1, 2\), a tuple, would change its type"),
        ({"a": [0, (1,)]}, r"state\['a'\]\[1\] can't be kept as JSON: \(1,\), a tuple"),
        ({"a": {1: 2}}, r"a key of state\['a'\] can't be kept as JSON: 1 would become a str"),
        ({None: 2}, "a key of state can't be"),
        ([Color.RED], r"state\[0\] .* a Color, would"),
        ([Text("a")], r"state\[0\] .* a Text, would"),
        ({Text("a"): 1}, "a key of state can't be"),
        (b"bytes", "bytes is not JSON serializable"),
        ({1, 2}, "set is not JSON serializable"),
        (object(), "object is not JSON serializable"),
        ([math.nan], "not JSON compliant"),
        (-math.inf, "not JSON compliant"),
        (circle, "Circular reference"),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
@every
async def test_json_refuses_what_it_would_change(describe, state, message):
    if describe is MemoryState:  # it keeps what it is given
        async with describe().open() as memory:
            assert await memory.store(state, 0)
            assert (await memory.load())[0] is state
        return
    with pytest.raises(TypeError, match=message) as caught:
        await describe().store(state, 0)
    assert "codec=" in str(caught.value)
    assert await describe().load() == (None, 0)


# -- the decision, which SQLite's thread makes and Redis' script repeats


def test_calls_are_settled_in_order_over_what_is_held():
    asks = [Ask(), Ask(3, b"a"), Ask(3, b"b"), Ask(4, b"c"), Ask()]
    assert settle(b"z", 3, asks) == (
        [(b"z", 3), True, False, True, (b"c", 5)],
        b"c",
        5,
    )
    assert settle(b"", 0, []) == ([], b"", 0)
