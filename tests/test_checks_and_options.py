"""Options: declared or passed, checked either way, and what is said about a wrong one."""

import contextlib
import functools
import math
import re
from decimal import Decimal
from fractions import Fraction
from unittest import mock

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from poolder_trio import Instrument, Pool, Queue, Rate, Restart, Retry, Worker
from poolder_trio.policies import checks


def without_address(value):
    """A name for a case that is the same in every process."""
    return re.sub(r" at 0x\w+", "", str(value))


class Resizer(Worker):
    async def handle_job(self, job):
        return job


class Resizers(Pool):
    worker = Resizer


class Third:
    def pick(self, key, now, loads):
        return 2


def declare(base, **attributes):
    """Run a class statement with these attributes."""
    return type(base)("Thumbnails", (base,), attributes)


# -- checks


@pytest.mark.parametrize(
    ("check", "right", "wrong_value", "wrong_type"),
    [
        pytest.param(
            checks.COUNT, [1, 2, 10**30], [0, -1], [1.0, 2.5, math.inf, True, "1", None], id="count"
        ),
        pytest.param(
            checks.NATURAL, [0, 1, 10**30], [-1], [0.0, math.nan, False, "0", None], id="natural"
        ),
        pytest.param(
            checks.COUNT_FROM_0_OR_INF,
            [0, 1, 10**30, math.inf],
            [-1],
            [1.0, -math.inf, math.nan, True, "inf", None, Decimal("Infinity"), mock.ANY],
            id="a bound",
        ),
        pytest.param(
            checks.SECONDS,
            [0, 0.0, 1, 0.5, math.inf],
            [-1, -0.5, math.nan, -math.inf],
            [True, "1", None, 1j, Decimal(1), Fraction(1, 2)],
            id="seconds",
        ),
        pytest.param(
            checks.POSITIVE_SECONDS,
            [1, 0.5, 5e-324, math.inf],
            [0, 0.0, -0.0, -1, math.nan],
            [True, "1", None],
            id="positive seconds",
        ),
        pytest.param(
            checks.FINITE_POSITIVE_SECONDS,
            [1, 0.5, 1.7e308],
            [0, -1, math.nan, math.inf, 10**400],
            [True, "1", None],
            id="finite positive seconds",
        ),
        pytest.param(checks.FLAG, [True, False], [], [1, 0, None, "True"], id="flag"),
        pytest.param(
            checks.one_of("a", "b"), ["a", "b"], ["A", "", "ab"], [None, 1, ["a"]], id="one of"
        ),
        pytest.param(
            checks.instance_of(Retry, "a Retry"), [Retry()], [], [Retry, None, 3], id="instance"
        ),
    ],
)
def test_a_check_tells_the_right_from_wrong_values_and_from_wrong_types(
    check, right, wrong_value, wrong_type
):
    for value in right:
        check("size", value, "Here")
    for values, error in [(wrong_value, ValueError), (wrong_type, TypeError)]:
        for value in values:
            with pytest.raises(error) as caught:
                check("size", value, "Here")
            assert str(caught.value) == f"size must be {check.expected}, got {value!r} (Here)"


@given(
    st.sampled_from([check for check in vars(checks).values() if isinstance(check, checks.Check)]),
    st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.decimals()
    | st.fractions()
    | st.booleans()
    | st.none()
    | st.text(max_size=3)
    | st.lists(st.none(), max_size=1),
)
@example(checks.COUNT_FROM_0_OR_INF, Decimal("Infinity"))
@example(checks.FINITE_POSITIVE_SECONDS, 10**400)
def test_a_check_raises_a_type_error_or_a_value_error_or_nothing(check, value):
    with contextlib.suppress(TypeError, ValueError):
        check("size", value, "Here")


@given(st.integers() | st.floats() | st.booleans())
def test_a_count_is_a_whole_number_from_one_on_and_no_flag(value):
    counts = type(value) is int and value >= 1
    if counts:
        checks.COUNT("size", value, "Here")
    else:
        with pytest.raises((TypeError, ValueError)):
            checks.COUNT("size", value, "Here")


# -- declared or passed

WRONG = [
    ("pool_size", 0, ValueError, "an int >= 1"),
    ("pool_size", -3, ValueError, "an int >= 1"),
    ("pool_size", 2.5, TypeError, "an int >= 1"),
    ("pool_size", 4.0, TypeError, "an int >= 1"),
    ("pool_size", True, TypeError, "an int >= 1"),
    ("pool_size", math.nan, TypeError, "an int >= 1"),
    ("pool_size", math.inf, TypeError, "an int >= 1"),
    ("pool_size", "4", TypeError, "an int >= 1"),
    ("pool_size", None, TypeError, "an int >= 1"),
    ("mode", "roundrobin", ValueError, "one of 'round_robin', 'random'"),
    ("mode", "", ValueError, "one of 'round_robin', 'random'"),
    ("mode", None, TypeError, "one of 'round_robin', 'random'"),
    ("mode", Third, TypeError, "one of 'round_robin', 'random'"),
    ("mode", lambda key, now, loads: 0, TypeError, "one of 'round_robin', 'random'"),
    ("seed", 1.5, TypeError, "an int, str, bytes or None"),
    ("dynamic", 1, TypeError, "True or False"),
    ("args", ["host"], TypeError, "a dict of handle_init's arguments by name"),
    ("args", {1: "host"}, TypeError, "a dict of handle_init's arguments by name"),
    ("key", "id", TypeError, "a function of a job, or None"),
    ("queue", "fifo", TypeError, "a Queue"),
    ("queue", 100, TypeError, "a Queue"),
    ("queue", Queue, TypeError, "a Queue"),
    ("restart", 3, TypeError, "a Restart"),
    ("restart", "permanent", TypeError, "a Restart"),
    ("rate", 10, TypeError, "a Rate or None"),
    ("job_timeout", 0, ValueError, "a number of seconds > 0"),
    ("job_timeout", -1.0, ValueError, "a number of seconds > 0"),
    ("job_timeout", math.nan, ValueError, "a number of seconds > 0"),
    ("job_timeout", None, TypeError, "a number of seconds > 0"),
    ("job_timeout", True, TypeError, "a number of seconds > 0"),
    ("overrun_warning", 0, ValueError, "a number of seconds > 0"),
    ("name", 7, TypeError, "a str or None"),
    ("name", b"pool", TypeError, "a str or None"),
    ("grace", -1, ValueError, "a number of seconds >= 0"),
    ("grace", math.nan, ValueError, "a number of seconds >= 0"),
    ("grace", False, TypeError, "a number of seconds >= 0"),
    ("instruments", Instrument(), TypeError, "a list or tuple of Instrument objects"),
    ("instruments", [Instrument], TypeError, "a list or tuple of Instrument objects"),
    ("worker", Resizer(), TypeError, "a Worker subclass"),
    ("worker", Third, TypeError, "a Worker subclass"),
    ("worker", Worker, ValueError, "a Worker subclass with a handle_job or handle_call of its own"),
]
RIGHT = [
    ("pool_size", 1),
    ("mode", "available"),
    ("mode", Third()),
    ("seed", "seed"),
    ("dynamic", True),
    ("args", {"host": "here"}),
    ("key", len),
    ("key", None),
    ("queue", Queue(max=0)),
    ("restart", Restart(max_restarts=3)),
    ("rate", Rate(5)),
    ("job_timeout", 0.001),
    ("overrun_warning", math.inf),
    ("name", "thumbnails"),
    ("grace", 0),
    ("instruments", (Instrument(),)),
    ("worker", declare(Resizer)),
]


@pytest.mark.parametrize(("option", "value", "error", "expected"), WRONG, ids=without_address)
def test_a_wrong_value_is_refused_when_the_class_statement_runs(option, value, error, expected):
    with pytest.raises(error) as caught:
        declare(Resizers, **{option: value})
    assert str(caught.value).startswith(f"{option} must be {expected}")
    assert str(caught.value).endswith(f", got {value!r} (Thumbnails)")


@pytest.mark.parametrize(("option", "value", "error", "expected"), WRONG, ids=without_address)
def test_a_wrong_value_is_refused_at_the_call(option, value, error, expected):
    with pytest.raises(error) as caught:
        Resizers(**{option: value})
    assert str(caught.value).startswith(f"{option} must be {expected}")
    assert str(caught.value).endswith(f", got {value!r} (Resizers)")


@pytest.mark.parametrize(("option", "value"), RIGHT, ids=without_address)
def test_an_option_may_be_declared_or_passed(option, value):
    declared = declare(Resizers, **{option: value})()
    passed = Resizers(**{option: value})
    assert getattr(declared, option) is getattr(passed, option) is value


def test_the_message_says_what_was_expected_what_came_and_where():
    with pytest.raises(ValueError, match=r"^pool_size must be an int >= 1, got 0 \(Thumbnails\)$"):

        class Thumbnails(Pool):
            pool_size = 0


def test_what_is_passed_goes_before_what_is_declared_and_that_before_the_default():
    class Thumbnails(Resizers):
        pool_size = 4
        mode = "random"

    pool = Thumbnails(pool_size=2)
    assert (pool.pool_size, pool.mode, pool.grace) == (2, "random", math.inf)
    assert (Thumbnails.pool_size, Thumbnails().pool_size, Resizers().pool_size) == (4, 4, 10)


def test_options_are_inherited_and_may_be_declared_anew():
    class Small(Resizers):
        pool_size = 2

    class Named(Small):
        name = "named"

    assert (Named().pool_size, Named().name, Small().name) == (2, "named", None)
    with pytest.raises(ValueError, match=r"got 0 \(Thumbnails\)"):
        declare(Named, pool_size=0)


def test_the_worker_may_be_a_class_in_the_class():
    class Thumbnails(Pool):
        class worker(Worker):  # noqa: N801  # the option's name
            retry = Retry(attempts=3)

            async def handle_job(self, job):
                return job

    assert Thumbnails().worker.retry.attempts == 3


def test_a_pool_that_is_told_its_types_is_checked_like_any_other():
    with pytest.raises(ValueError, match=r"got 0 \(Pool\)"):
        Pool[int, str](Resizer, pool_size=0)
    with pytest.raises(ValueError, match=r"got 0 \(Thumbnails\)"):

        class Thumbnails(Pool[int, str]):
            pool_size = 0


def test_a_pool_without_a_worker_says_how_to_give_it_one():
    with pytest.raises(TypeError, match=r"Pool needs a worker: Pool\(MyWorker\), or worker = "):
        Pool()
    with pytest.raises(TypeError, match=r"^Pool needs a worker"):
        Pool(pool_size=3)
    with pytest.raises(TypeError, match="worker must be a Worker subclass"):
        declare(Pool, worker=None)


def test_a_wrong_value_from_a_mixin_is_refused():
    class Sized:
        pool_size = 0

    with pytest.raises(ValueError, match=r"pool_size must be an int >= 1, got 0 \(Thumbnails\)"):

        class Thumbnails(Sized, Resizers):
            pass


def test_a_wrong_value_that_is_set_on_the_class_later_is_refused_at_the_call():
    class Thumbnails(Resizers):
        pass

    Thumbnails.pool_size = 0
    with pytest.raises(ValueError, match=r"pool_size must be an int >= 1, got 0 \(Thumbnails\)"):
        Thumbnails()


@pytest.mark.parametrize(
    ("option", "value", "error", "expected"),
    [
        ("retry", 3, TypeError, "a Retry"),
        ("retry", Retry, TypeError, "a Retry"),
        ("callbacks", [print], TypeError, "a mapping of names to functions"),
        ("callbacks", {"event": None}, TypeError, "a mapping of names to functions"),
        ("callbacks", {print: "event"}, TypeError, "a mapping of names to functions"),
        ("priority", "urgent", ValueError, "one of 'low', 'normal', 'high', 'max'"),
        ("priority", 1, TypeError, "one of 'low', 'normal', 'high', 'max'"),
        ("hibernate_after", 0, ValueError, "a number of seconds > 0"),
        ("hibernate_after", math.nan, ValueError, "a number of seconds > 0"),
        ("hibernate_after", None, TypeError, "a number of seconds > 0"),
    ],
)
def test_a_workers_options_are_checked_when_its_class_statement_runs(
    option, value, error, expected
):
    with pytest.raises(error) as caught:
        declare(Resizer, **{option: value})
    assert str(caught.value) == f"{option} must be {expected}, got {value!r} (Thumbnails)"


def test_a_wrong_value_for_a_worker_from_a_mixin_is_refused():
    class Urgent:
        priority = "urgent"

    with pytest.raises(ValueError, match="priority must be one of"):

        class Mailer(Urgent, Resizer):
            pass


# -- misspelt


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("poolsize", "pool_size"),
        ("pool_szie", "pool_size"),
        ("size", "pool_size"),
        ("modes", "mode"),
        ("job_time_out", "job_timeout"),
        ("timeout", "job_timeout"),
        ("instrument", "instruments"),
        ("Queue", "queue"),
        ("workers", "worker"),
    ],
)
def test_an_unknown_option_is_refused_at_the_call_which_names_the_nearest(option, nearest):
    with pytest.raises(TypeError) as caught:
        Resizers(**{option: 4})
    message = f"Resizers has no option {option!r}: did you mean {nearest!r}?"
    assert str(caught.value) == message


def test_an_option_like_none_that_there_is_gets_the_list_of_them():
    with pytest.raises(
        TypeError, match="no option 'xyzzy'; it has: args, clock, dynamic, grace"
    ) as caught:
        Resizers(xyzzy=1)
    assert all(option in str(caught.value) for option in Pool.OPTIONS)


@pytest.mark.parametrize(
    ("base", "name", "nearest"),
    [
        (Pool, "poolsize", "pool_size"),
        (Pool, "PoolSize", "pool_size"),
        (Pool, "POOL_SIZE", "pool_size"),
        (Pool, "pool_sizes", "pool_size"),
        (Pool, "pol_size", "pool_size"),
        (Pool, "pool_szie", "pool_size"),
        (Pool, "restrat", "restart"),
        (Pool, "jobtimeout", "job_timeout"),
        (Pool, "job_timout", "job_timeout"),
        (Pool, "over_run_warning", "overrun_warning"),
        (Pool, "instrument", "instruments"),
        (Pool, "handle_inti", "handle_init"),
        (Worker, "hibernateafter", "hibernate_after"),
        (Worker, "hibernate_afer", "hibernate_after"),
        (Worker, "callback", "callbacks"),
        (Worker, "priorty", "priority"),
        (Worker, "handle_jobs", "handle_job"),
        (Worker, "handel_job", "handle_job"),
        (Worker, "handleCall", "handle_call"),
        (Worker, "handle_eror", "handle_error"),
    ],
)
def test_a_class_attribute_that_nearly_spells_an_option_is_refused(base, name, nearest):
    with pytest.raises(TypeError, match=rf"^Thumbnails\.{name} nearly spells '{nearest}'"):
        declare(base, **{name: 4})


def test_it_is_refused_in_a_class_of_any_generation():
    with pytest.raises(TypeError, match="nearly spells 'pool_size'"):
        declare(declare(Resizers), poolsize=4)


@pytest.mark.parametrize(
    "name",
    [
        *("keys", "gate", "node", "log", "work", "gracefully", "handle", "run_job"),
        *("model", "models", "mean", "demo"),  # an insertion or a permutation of a short one
    ],
)
def test_an_attribute_with_a_name_of_its_own_is_left_alone(name):
    assert getattr(declare(Resizers, **{name: 4})(), name) == 4


def test_what_is_private_is_left_alone():
    assert declare(Resizers, _poolsize=4)._poolsize == 4


def test_what_a_base_class_has_may_be_overridden_whatever_it_nearly_spells():
    class Odd:
        poolsize = 4

    class Thumbnails(Odd, Resizers):
        poolsize = 5

    assert Thumbnails().poolsize == 5


# -- handlers


def sync_handler(self, *args):
    """Return at once."""


async def generator(self, *args):
    yield


@pytest.mark.parametrize("hook", Worker.HOOKS)
@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(sync_handler, id="function"),
        pytest.param(lambda self, *args: None, id="lambda"),
        pytest.param(staticmethod(sync_handler), id="static method"),
        pytest.param(generator, id="async generator"),
        pytest.param(None, id="none"),
    ],
)
def test_a_handler_that_is_not_async_is_refused_at_the_class_statement(hook, handler):
    with pytest.raises(TypeError, match=rf"^{hook} must be an async def function.*\(Thumbnails\)$"):
        declare(Worker, **{hook: handler})


def test_so_is_a_pools_own():
    with pytest.raises(TypeError, match="handle_init must be an async def function"):
        declare(Pool, handle_init=sync_handler)


def test_a_handler_from_a_mixin_that_is_not_async_is_refused_at_the_class_statement():
    class Resizing:
        def handle_job(self, job):
            return job

    with pytest.raises(TypeError, match="handle_job must be an async def function"):

        class Mailer(Resizing, Worker):
            pass


def test_an_async_handler_may_be_static():
    class Static(Worker):
        @staticmethod
        async def handle_job(job):
            return job

    assert Pool(Static).worker is Static


@pytest.mark.parametrize("name", ["own", "inherited", "mixin", "static"])
async def test_a_handler_is_interruptible_by_ctrl_c_wherever_it_comes_from(name):
    class Own(Worker):
        async def handle_job(self, job):
            return trio.lowlevel.currently_ki_protected()

    class Inherited(Own):
        pass

    class Handling:
        async def handle_job(self, job):
            return trio.lowlevel.currently_ki_protected()

    class Mixin(Handling, Worker):
        pass

    class Static(Worker):
        @staticmethod
        async def handle_job(job):
            return trio.lowlevel.currently_ki_protected()

    kinds = {"own": Own, "inherited": Inherited, "mixin": Mixin, "static": Static}
    async with Pool(kinds[name], pool_size=1) as pool:
        assert await pool.call("are you protected?") is False


def test_a_handler_for_calls_alone_is_enough():
    class Answering(Worker):
        async def handle_call(self, request):
            return request

    assert Pool(Answering).worker is Answering


# -- functions as options


def test_a_function_that_is_declared_as_an_option_is_not_bound():
    def function(job):
        return job["id"]

    class Declared(Resizers):
        key = function

    class Inherited(Declared):
        pass

    class Static(Resizers):
        key = staticmethod(function)

    for kind in (Declared, Inherited, Static):
        pool = kind()
        assert pool.key is function
        assert pool.key({"id": 7}) == 7


def test_whatever_can_be_called_is_a_function():
    class Callable:
        def __call__(self, job):
            return job

    for function in (str, len, "a".join, functools.partial(max, 3), Callable(), lambda job: job):
        assert declare(Resizers, key=function)().key is function
        assert Resizers(key=function).key is function


def test_descriptions_are_shared_and_what_they_build_is_not():
    first, second = Resizers(), Resizers()
    assert first.queue is second.queue
    assert first.queue.build() is not second.queue.build()


class Connected(Worker[str, str]):
    async def handle_init(self, *, host, port=80):
        pass

    async def handle_job(self, job):
        return job


@pytest.mark.parametrize(
    ("args", "what"),
    [({}, "missing a required .*argument: 'host'"), ({"host": "x", "prot": 1}, "'prot'")],
)
def test_args_that_handle_init_does_not_take_are_refused_where_they_are_given(args, what):
    with pytest.raises(TypeError, match=rf"args must fit Connected.handle_init.*{what}.*\(Pool\)"):
        Pool(Connected, args=args)
    Pool(Connected, args={"host": "x"})


def test_values_of_args_are_not_shown_for_they_may_be_secrets():
    with pytest.raises(TypeError, match="'password'") as raised:
        Pool(Connected, args={"host": "x", "password": "hunter2"})
    assert "hunter2" not in str(raised.value)
