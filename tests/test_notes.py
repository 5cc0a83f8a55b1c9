"""Notes on exceptions, and short descriptions of whatever was sent."""

import dataclasses
import sys
import traceback

import pytest

from poolder_trio.kernel.notes import add_note, describe


@pytest.mark.parametrize("message", [1, "a", b"b", None, ("a", 1), [1], {"a": 1}, {1}])
def test_a_short_message_is_described_by_its_repr(message):
    assert describe(message) == repr(message)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("a" * 10_000, id="str"),
        pytest.param(b"a" * 10_000, id="bytes"),
        pytest.param(10**4000, id="int"),
        pytest.param(list(range(10_000)), id="list"),
        pytest.param({str(n): "b" * 1000 for n in range(1000)}, id="dict"),
        pytest.param([[["a" * 50] * 10] * 10] * 10, id="nested"),
        pytest.param({"rows": [{"id": "a" * 50, "tags": ["b" * 50] * 9}] * 9}, id="as from JSON"),
    ],
)
def test_a_long_message_is_described_shortly(message):
    assert len(describe(message)) <= 500


@pytest.mark.parametrize("name", ["Broken", "list", "dict", "array", "deque", "set", "str"])
def test_a_message_whose_repr_fails_is_described_all_the_same(name):
    def fail(self):
        raise RuntimeError

    broken = type(name, (), {"__repr__": fail})()
    assert name in describe(broken)


def test_a_message_that_contains_itself_is_described():
    message = []
    message.append(message)
    assert describe(message).startswith("[")


def test_notes_are_kept_in_order_and_the_same_one_once():
    error = ValueError("no")
    for note in ("one", "two", "one"):
        add_note(error, note)
    assert error.__notes__ == ["one", "two"]


def test_a_note_joins_those_that_are_there():
    error = ValueError("no")
    error.__notes__ = ["theirs"]
    add_note(error, "ours")
    assert error.__notes__ == ["theirs", "ours"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tracebacks show notes from Python 3.11 on")
def test_a_note_is_shown_with_the_traceback():
    error = ValueError("no")
    add_note(error, "job 7 on pool[0]")
    assert traceback.format_exception(error)[-1] == "job 7 on pool[0]\n"


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int = 7


class Own(Exception):
    __notes__ = None


class Secretive(Exception):
    def __getattribute__(self, name):
        raise RuntimeError(name)


@pytest.mark.parametrize("kind", [Frozen, Own, Secretive])
def test_an_exception_that_takes_no_note_does_without(kind):
    # A note that failed would take the place of the error that it is for.
    add_note(kind(), "job 7 on pool[0]")
