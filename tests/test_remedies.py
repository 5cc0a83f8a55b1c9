"""What is used in a way that it is not meant for says in which it is."""

import pytest

from poolder_trio import Batcher, FactoryPool, GenPool, Pool, Scheduler, Tasker, Worker


async def double(x):
    return 2 * x


async def test_a_map_that_is_not_entered_says_how(autojump_clock):
    async with Tasker() as tasker:
        with pytest.raises(TypeError, match="async with pool"):
            async for _ in tasker.map(double, [1]):
                pass
        with pytest.raises(TypeError, match="async with pool"):
            await tasker.map(double, [1])
        with pytest.raises(TypeError, match="async with pool"):
            list(tasker.map(double, [1]))
        with pytest.raises(TypeError, match="async with pool"), tasker.map(double, [1]):
            pass


class Answering(GenPool):
    async def handle_call(self, request, state):
        return request, state


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Tasker, "limit"), (Scheduler, "jobs"), (FactoryPool, "mode"), (Answering, "pool_size")],
)
def test_an_option_by_position_says_its_name(kind, name):
    with pytest.raises(TypeError, match=f"options by keyword, got 10: write {name}=10"):
        kind(10)


@pytest.mark.parametrize("make", [Tasker, Scheduler, lambda: Batcher(double)])
def test_a_component_is_entered_with_async_with(make):
    with pytest.raises(TypeError, match="entered with `async with`"), make():
        pass


@pytest.mark.parametrize("name", ["call", "submit", "execute"])
async def test_keyword_arguments_of_a_function_say_what_to_write(name, autojump_clock):
    async with Tasker() as tasker:
        with pytest.raises(TypeError, match=r"pass functools.partial\(double, x=...\)"):
            await getattr(tasker, name)(double, x=1)
        with pytest.raises(TypeError, match=r"pass fn, \*args"):
            await getattr(tasker, name)(double(1))


def test_a_worker_takes_its_arguments_in_handle_init():
    class Connected(Worker):
        def __init__(self, host):
            self.host = host

        async def handle_job(self, job):
            """Do nothing."""

    with pytest.raises(TypeError, match=r"Connected.__init__ must take no .*handle_init.*args="):
        Pool(Connected)
