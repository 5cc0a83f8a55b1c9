"""The tree of errors: as drawn, as caught, and what each of them says."""

import copy
import pickle
import re

import pytest
import trio

import poolder_trio
from poolder_trio import (
    Closed,
    DuplicateName,
    JobCancelled,
    JobTimeout,
    PoolderError,
    QueueFull,
    RestartLimitExceeded,
    TooManyRequests,
    WorkerCrashed,
    errors,
)

ALL = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, PoolderError)
}
WITH_MORE_TO_SAY = {"TooManyRequests", "RestartLimitExceeded"}
EXAMPLES = [
    TooManyRequests("drop_oldest", waited=1.5, waiting=7),
    RestartLimitExceeded("more than 3 crashes", [OSError("one"), OSError("two")]),
    *(ALL[name]("as it stands") for name in sorted(ALL.keys() - WITH_MORE_TO_SAY)),
]


def drawing():
    """Return the names of each error's bases, as the docstring of the module draws them."""
    branch = re.compile(r"((?:[│ ]   )*(?:[├└]── )?)(\w+)(?: +\(also ([\w.]+)\))?")
    path = []
    bases = {}
    for line in errors.__doc__.partition("::\n\n")[2].splitlines():
        trunk, name, also = branch.match(line.removeprefix("    ")).groups()
        del path[len(trunk) // 4 :]
        bases[name] = [*path[-1:], *([also] if also else [])]
        path.append(name)
    return bases


def full_name(kind):
    module = "trio." if issubclass(kind, Exception) and hasattr(trio, kind.__name__) else ""
    return module + kind.__name__


def through_pickle(error):
    return pickle.loads(pickle.dumps(error))  # noqa: S301  # our own


def test_the_tree_is_as_drawn():
    bases = {name: [full_name(base) for base in kind.__bases__] for name, kind in ALL.items()}
    assert drawing() | {"PoolderError": ["Exception"]} == bases


def test_every_error_is_on_the_face():
    assert ALL.keys() <= set(poolder_trio.__all__)


@pytest.mark.parametrize(
    ("error", "known_as"),
    [
        (Closed("gone"), trio.ClosedResourceError),
        (QueueFull("full"), trio.WouldBlock),
        (JobTimeout("late"), trio.TooSlowError),
        (DuplicateName("twice"), ValueError),
    ],
)
def test_who_catches_the_error_that_trio_or_python_has_for_it_catches_ours(error, known_as):
    with pytest.raises(known_as, match=str(error)):
        raise error


@pytest.mark.parametrize("error", [JobCancelled("cut"), JobTimeout("late"), WorkerCrashed("died")])
def test_none_of_ours_is_taken_for_a_cancellation(error):
    assert not isinstance(error, trio.Cancelled)


def test_a_refusal_is_no_full_queue_that_one_could_wait_for():
    assert not issubclass(TooManyRequests, (QueueFull, trio.WouldBlock))


def test_too_many_requests_says_the_rule_how_long_it_waited_and_how_many_wait():
    error = TooManyRequests("drop_oldest", waited=1.2345, waiting=7)
    assert (error.rule, error.waited, error.waiting) == ("drop_oldest", 1.2345, 7)
    assert str(error) == "dropped by the queue's rule 'drop_oldest' after 1.23 s, with 7 waiting"


def test_too_many_requests_does_not_say_how_long_where_nobody_looked():
    error = TooManyRequests("reject", waited=None, waiting=0)
    assert str(error) == "dropped by the queue's rule 'reject', with 0 waiting"


def test_what_did_not_wait_waited_zero_seconds():
    assert "after 0 s" in str(TooManyRequests("reject", waited=0.0, waiting=3))


def test_a_restart_limit_carries_the_crashes_and_not_the_callers_list():
    crashes = [OSError("one"), OSError("two")]
    error = RestartLimitExceeded("more than 1 crash within 5 s", crashes)
    given = tuple(crashes)
    crashes.clear()
    assert error.crashes == given
    assert str(error) == "more than 1 crash within 5 s"


@pytest.mark.parametrize("copied", [copy.copy, through_pickle])
@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_can_be_copied_and_sent_to_another_process(error, copied):
    other = copied(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other).keys() == vars(error).keys()
    for name in {"rule", "waited", "waiting"} & vars(error).keys():
        assert getattr(other, name) == getattr(error, name)
    assert list(map(str, vars(other).get("crashes", ()))) == [
        str(crash) for crash in vars(error).get("crashes", ())
    ]
