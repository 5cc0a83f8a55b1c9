"""A handler that changes the state that it was given, in place: stored or told, never lost."""

import copy
import itertools
import json

import pytest
import trio

from poolder_trio import GenPool, MemoryState, SQLiteState, Update


class Salted:
    """A codec that never writes the same twice."""

    def __init__(self):
        self.salt = itertools.count()

    def encode(self, state):
        return json.dumps([next(self.salt), state]).encode()

    def decode(self, data):
        return json.loads(data)[1]


def in_place(state):
    state["n"] += 1
    return state


class Counter(GenPool):
    async def init(self):
        return {"n": 0}

    async def handle_call(self, request, state):
        if request == "new":
            return state["n"] + 1, {"n": state["n"] + 1}
        if request == "update in place":
            return Update(in_place, reply="done")
        if request == "read":
            return state["n"], state
        in_place(state)
        if request == "fail":
            raise OSError("no")
        if request == "wait":
            await trio.sleep(1)
        if request == "and update":
            return Update(lambda state: {"n": state["n"] + 1})
        return (state["n"], copy.deepcopy(state)) if request == "copy" else (state["n"], state)

    async def handle_cast(self, request, state):
        return in_place(state)


ISOLATION = pytest.mark.parametrize("isolation", ["lock", "optimistic"])


@ISOLATION
@pytest.mark.parametrize("request_", ["in place", "update in place", "and update"])
async def test_where_a_codec_can_tell_it_is_an_error_and_nothing_is_stored(
    isolation, request_, tmp_path
):
    state = SQLiteState(tmp_path / "state.db")
    async with Counter(backend=state, isolation=isolation) as counter:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="changed the state in place") as caught:
                await counter.call(request_)
            assert "return a new one" in str(caught.value)
            assert await counter.get_state() == {"n": 0}
        assert await counter.call("new") == 1
    assert await state.load() == ({"n": 1}, 2)


@ISOLATION
async def test_a_cast_that_does_it_is_a_crash(isolation, tmp_path):
    with pytest.raises(BaseException, match="nursery") as caught:
        async with Counter(backend=SQLiteState(tmp_path / "s.db"), isolation=isolation) as counter:
            await counter.cast("in place")
    assert "changed the state in place" in str(caught.value.exceptions)


@ISOLATION
async def test_what_a_handler_changed_that_fails_or_is_cut_is_not_there(isolation, tmp_path):
    state = SQLiteState(tmp_path / "state.db")
    async with Counter(backend=state, isolation=isolation) as counter:
        with pytest.raises(OSError, match="no"):
            await counter.call("fail")
        assert await counter.call("read") == 0
        with trio.move_on_after(0.05):
            await counter.call("wait")
        assert await counter.call("read") == 0
        assert await counter.call("copy") == 1
        assert await counter.call("read") == 1


@ISOLATION
async def test_in_memory_the_change_is_there(isolation):
    async with Counter(backend=MemoryState(), isolation=isolation) as counter:
        assert [await counter.call("in place") for _ in range(3)] == [1, 2, 3]
        assert await counter.get_state() == {"n": 3}


async def test_a_codec_that_never_writes_the_same_twice_accuses_nobody(tmp_path):
    async with Counter(backend=SQLiteState(tmp_path / "state.db", Salted())) as counter:
        assert await counter.call("read") == 0
        assert await counter.call("new") == 1
        assert await counter.call("read") == 1
