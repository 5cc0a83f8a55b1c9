"""A hook that is never called, an option that nothing looks at: told where it is written."""

from contextlib import nullcontext

import pytest

from poolder_trio import (
    Application,
    AsyncPool,
    Batcher,
    FactoryPool,
    GenPool,
    JobPool,
    Pool,
    Restart,
    Scheduler,
    Tasker,
    Worker,
    every,
)
from poolder_trio.kernel.options import BELONGS

KINDS = [
    Worker,
    Pool,
    FactoryPool,
    GenPool,
    Tasker,
    JobPool,
    AsyncPool,
    Batcher,
    Scheduler,
    Application,
]


class Doubler(Worker):
    async def handle_job(self, job):
        return 2 * job


class Server(GenPool):
    async def handle_call(self, request, state):
        return request, state


async def double(x):
    return 2 * x


MAKERS = [
    lambda kind=Pool: kind(Doubler),
    lambda kind=FactoryPool: kind(),
    lambda kind=Server: kind(),
    lambda kind=Tasker: kind(),
    lambda kind=JobPool: kind(),
    lambda kind=AsyncPool: kind(double),
    lambda kind=Batcher: kind(double),
    lambda kind=Scheduler: kind(),
    lambda kind=Application: kind(),
]
COMPONENTS = pytest.mark.parametrize(
    "make", MAKERS, ids=[make.__defaults__[0].__name__ for make in MAKERS]
)


async def hook(self, *args):
    """Take whatever comes."""


def declare(base, *others, **attributes):
    return type(base)("Mine", (*others, base), attributes)


# -- hooks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BELONGS)
def test_a_hook_that_a_class_does_not_have_is_refused_at_the_class_statement(kind, name):
    class Mixin:
        pass

    setattr(Mixin, name, hook)
    if name in kind.HOOKS:
        declare(kind, **{name: hook})
        declare(kind, Mixin)
        return
    for others, attributes in [((), {name: hook}), ((Mixin,), {}), ((), {name: None})]:
        with pytest.raises(TypeError, match=f"^Mine.{name} would never be called") as caught:
            declare(kind, *others, **attributes)
        assert f"a hook of {BELONGS[name]}, and Mine is a {kind.__name__}" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["handle_inits", "handleinit", "handle_batchs", "handle_stops"])
def test_so_is_one_that_nearly_spells_a_hook_of_whatever_class(kind, name):
    with pytest.raises(TypeError, match=f"Mine.{name} nearly spells 'handle_"):
        declare(kind, **{name: hook})


@pytest.mark.parametrize("name", ["handle_request", "handle_done", "handler", "handle", "init"])
@pytest.mark.parametrize("kind", [Worker, Pool, Tasker, Batcher, Scheduler])
def test_a_method_of_a_users_own_is_left_alone(kind, name):
    assert getattr(declare(kind, **{name: hook}), name) is hook


def test_a_job_may_be_called_as_a_hook_of_another_class():
    class Upkeep(Scheduler):
        jobs = {"handle_batch": 5.0, "jobss": 7.0}

        async def handle_batch(self):
            """Run."""

        async def jobss(self):
            """Run."""

        @every(5)
        async def handle_stop(self):
            """Run."""

    class More(Upkeep):
        async def handle_stop(self):
            """Run, too."""

    assert More().jobs


@COMPONENTS
def test_a_hook_that_is_set_on_an_instance_and_never_called_is_refused(make):
    component = make()
    for name in BELONGS.keys() - set(type(component).HOOKS):
        with pytest.raises(AttributeError, match=f"{name} would never be called"):
            setattr(component, name, hook)


# -- options


@COMPONENTS
def test_options_of_an_instance_are_fixed_but_for_those_that_are_live(make):
    component = make()
    for name in component.OPTIONS:
        before = getattr(component, name)
        if name in component.LIMITS:
            setattr(component, name, before)
        else:
            with pytest.raises(AttributeError, match=rf"^{name} of an? .* can't be set .*{name}="):
                setattr(component, name, before)
        with pytest.raises(AttributeError, match=f"{name} of an? .* can't be deleted"):
            delattr(component, name)
        assert getattr(component, name) is before


@pytest.mark.parametrize(
    ("kind", "name"), [(Tasker, "limit"), (JobPool, "pool_size"), (AsyncPool, "max_workers")]
)
def test_a_live_option_that_is_set_before_there_are_options_is_refused_and_not_lost(kind, name):
    class Mine(kind):
        def __init__(self):
            setattr(self, name, 7)
            super().__init__(**({"callback": hook} if kind is AsyncPool else {}))

    with pytest.raises(AttributeError, match=rf"{name} of a Mine .*super\(\).__init__\({name}=7\)"):
        Mine()


@COMPONENTS
async def test_so_they_are_while_it_is_open(make, autojump_clock):
    async with make() as component:
        with pytest.raises(AttributeError, match="grace of a"):
            component.grace = 1.0
        with pytest.raises(AttributeError, match="name of a"):
            component.name = "other"


@COMPONENTS
@pytest.mark.parametrize("name", ["gracee", "Grace", "garce", "handle_errors"])
def test_what_nearly_spells_an_option_is_refused_on_an_instance(make, name):
    component = make()
    with pytest.raises(AttributeError, match=f"has no '{name}': did you mean '"):
        setattr(component, name, 3)
    assert not hasattr(component, name)


@pytest.mark.parametrize("name", ["limt", "lmit", "limits", "Limit", "limti"])
@pytest.mark.parametrize("kind", [Tasker, JobPool])
def test_a_slip_in_a_short_word_is_one_too(kind, name):
    with pytest.raises(AttributeError, match=f"has no '{name}': did you mean 'limit'"):
        setattr(kind(), name, 3)
    with pytest.raises(TypeError, match=f"Mine.{name} nearly spells 'limit'"):
        declare(kind, **{name: 3})


@pytest.mark.parametrize("name", ["pool_sise", "instrunents", "scheduler"])
def test_another_letter_in_a_long_word_is_a_slip(name):
    wrong = name != "scheduler"  # which is a word of its own, beside "schedules"
    with pytest.raises(TypeError, match="nearly spells") if wrong else nullcontext():
        declare(Pool, **{name: 3})


@COMPONENTS
@pytest.mark.parametrize("name", ["lock", "model", "database", "_limt", "race", "raced", "counts"])
def test_attributes_of_a_users_own_can_be_set_and_deleted(make, name):
    component = make()
    for value in (1, 2):
        setattr(component, name, value)
        assert getattr(component, name) == value
    delattr(component, name)
    assert not hasattr(component, name)


@pytest.mark.parametrize("wrong", ["3", 0, -1, 2.5, None, True])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Tasker, "limit"),
        (JobPool, "pool_size"),
        (JobPool, "limit"),
        (lambda: AsyncPool(double), "max_workers"),
    ],
)
def test_a_live_option_is_checked_when_it_is_set(make, name, wrong):
    component = make()
    before = getattr(component, name)
    with pytest.raises((TypeError, ValueError), match=f"{name} must be an int >= 1, got"):
        setattr(component, name, wrong)
    assert getattr(component, name) == before


def test_what_is_set_before_the_base_class_is_initialised_is_refused_too():
    class Mine(Tasker):
        def __init__(self):
            self.job_timeout = 3.0  # it would be overwritten
            super().__init__()

    with pytest.raises(AttributeError, match=r"job_timeout of a Mine can't be set"):
        Mine()


async def test_a_group_is_configured_as_ever(autojump_clock):
    async with FactoryPool() as factory:
        await factory.start_group("doublers", Doubler, pool_size=1)
        await factory.configure_group("doublers", restart=Restart(max_restarts=3), grace=5.0)
        assert factory.count("doublers") == 1


# -- an init of one's own


@COMPONENTS
async def test_a_class_that_forgets_to_initialise_its_base_is_told_so(make):
    kind = make.__defaults__[0]
    attributes = {} if kind is not Pool else {"worker": Doubler}
    base = declare(kind, **attributes)

    class Forgetful(base):
        def __init__(self, host):
            self.host = host

    with pytest.raises(TypeError, match=r"Forgetful.__init__ must call super\(\).__init__\(\)"):
        Forgetful("localhost")

    class Late(Forgetful):
        def __init__(self):
            """Forget, too."""

    with pytest.raises(TypeError, match=r"Late.__init__ must call super\(\).__init__\(\)"):
        Late()


async def test_so_is_one_whose_init_comes_after_the_class_statement():
    class Forgetful(Tasker):
        pass

    def init(self):
        self.host = "localhost"

    Forgetful.__init__ = init
    with pytest.raises(TypeError, match=r"Forgetful.__init__ must call super"):
        async with Forgetful():
            pass
