"""What is raised for a job that failed: as it was raised first, and a copy where it can be one."""

import dataclasses
import sys

import pytest

from poolder_trio.kernel.failure import Failure, copied

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


class Slotted(Exception):
    __slots__ = ("code", "empty")


class Rewritten(Exception):
    """Its copy would say ``no. no. 3``."""

    def __init__(self, code):
        super().__init__(f"no. {code}")


class Needing(Exception):
    def __init__(self, *, code):
        super().__init__()
        self.code = code


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


def raised(error):
    with pytest.raises(type(error)):
        try:
            {}["context"]
        except KeyError:
            raise error from LookupError("cause")
    return error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a", 1),
        OSError("away"),
        OSError(2, "no such file", "name"),
        UnicodeDecodeError("utf-8", b"ab", 0, 1, "why"),
        ImportError("what", name="name", path="path"),
        AttributeError("what", name="name", obj=[]),
        StopIteration(3),
        ExceptionGroup("both", [ValueError(1), ExceptionGroup("in", [OSError()])]),
        Frozen(3),
        Slotted("a"),
    ],
    ids=repr,
)
def test_a_copy_is_as_the_original(error):
    if isinstance(error, Slotted):
        error.code = 3
    error.__dict__["own"] = own = [1]
    error.__dict__["__notes__"] = ["a note"]
    twin = copied(raised(error))
    assert twin is not error
    assert type(twin) is type(error)
    assert (str(twin), repr(twin), twin.args) == (str(error), repr(error), error.args)
    assert vars(twin) == vars(error)
    assert twin.own is own
    for name in ("errno", "filename", "object", "reason", "name", "path", "obj", "value", "code"):
        assert getattr(twin, name, None) is getattr(error, name, None)
    assert twin.__traceback__ is None
    assert (twin.__cause__, twin.__context__) == (error.__cause__, error.__context__)
    assert twin.__suppress_context__
    twin.__notes__.append("another")
    assert error.__notes__ == ["a note"]


@pytest.mark.parametrize("error", [Rewritten(3), Needing(code=3)])
def test_what_cannot_be_copied_as_it_is_is_not_copied(error):
    assert copied(error) is None
    failure = Failure(raised(error))
    depth = frames(error)
    for _ in range(10):
        with pytest.raises(type(error)) as caught:
            raise failure.again()
        assert caught.value is error
        assert frames(error) == depth + 1


def frames(error):
    traceback, count = error.__traceback__, 0
    while traceback is not None:
        traceback, count = traceback.tb_next, count + 1
    return count


def test_the_first_to_ask_gets_the_original_and_all_the_first_traceback():
    error = raised(ValueError(1))
    failure = Failure(error)
    got = [failure.again() for _ in range(3)]
    assert got[0] is error
    assert len(set(map(id, got))) == 3
    assert {each.__traceback__ for each in got} == {error.__traceback__}


def test_the_last_who_shares_it_leaves_no_copy():
    error = ValueError(1)
    failure = Failure(error, sharers=2)
    first, last = failure.once(), failure.once()
    assert first is error
    assert last is failure.error is not error
