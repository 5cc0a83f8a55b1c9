"""How many there are: errors that leave a block, and stores that changes share."""

import pytest
import trio

from poolder_trio import GenPool, MemoryState, Tasker


async def fail(number):
    raise ValueError(number)


@pytest.mark.parametrize("count", [99, 100, 101, 150])
async def test_the_first_hundred_errors_that_nobody_saw_leave_the_block(count, autojump_clock):
    with pytest.raises(BaseException, match="nobody looked at them") as caught:
        async with Tasker(limit=1) as tasker:
            for number in range(count):
                await tasker.submit(fail, number)
    seen = [error.args[0] for error in caught.value.exceptions if type(error) is ValueError]
    assert seen == list(range(min(count, 100)))


class Slow:
    """A backend whose stores take a second."""

    def __init__(self):
        self.state, self.version = None, 0

    async def load(self):
        await trio.lowlevel.checkpoint()
        return self.state, self.version

    async def store(self, state, expected_version):
        await trio.sleep(1)
        if expected_version != self.version:
            return False
        self.state, self.version = state, self.version + 1
        return True


class Counter(GenPool):
    async def init(self):
        return 0

    async def handle_call(self, request, state):
        return state, state + 1


async def test_ten_changes_at_once_share_stores(autojump_clock):
    backend = Slow()
    with trio.fail_after(100):
        async with Counter(backend=backend, pool_size=10) as counter:
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(counter.call, None)
    assert backend.state == 10
    assert backend.version <= 4  # the first state, the first change, and those made meanwhile


@pytest.mark.parametrize("args", [(1,), (None,), ({"n": 1}, 3)])
def test_a_memory_state_takes_nothing(args):
    with pytest.raises(TypeError):
        MemoryState(*args)
