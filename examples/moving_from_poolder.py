"""Move from Poolder: state, tries, callbacks, and the end of a worker.

    python examples/moving_from_poolder.py

What this does was, in Elixir (docs/moving.md has more words):

    use Poolder.Worker, retry: [count: 5, backoff: 1000], callback: [push: {Hall, :announce}]
    def handle_job(:leave, state), do: {:exit, state}
    def handle_job(text, state), do: {:push, [Hall.open!(state.hall), text], state}
    def handle_call(:where, _from, state), do: {:set, state.hall, state}
    def handle_error(_job, 1, _error, _state), do: {:backoff, 5000}
    def handle_error(_job, _attempt, _error, state), do: {:retry, %{state | hall: "lobby"}}
"""

import trio
from trio.testing import MockClock

from poolder_trio import RETRY, Backoff, Emit, ErrorVerdict, Exit, Pool, Retry, Worker


async def announce(hall: str, text: str) -> None:
    """Print what is said, where and when."""
    print(f"{text!r} in the {hall} after {trio.current_time():.0f} s")


class Speaker(Worker[str, str]):
    """Says what it is told, where it is."""

    retry = Retry(attempts=5, backoff=1.0)
    callbacks = {"push": announce}
    hall = ""  # the state is self

    async def handle_job(self, text: str) -> Emit | Exit:
        """Say something, or leave."""
        if not (text == "leave" or self.hall):
            raise LookupError("there is no hall")
        return Exit() if text == "leave" else Emit("push", self.hall, text)

    async def handle_call(self, _: str) -> str:
        """Tell where it is."""
        return self.hall

    async def handle_error(self, _: str, attempt: int, error: Exception) -> ErrorVerdict | Backoff:
        """Wait after the first try; then find a hall."""
        print(f"try {attempt}: {error}")
        self.hall = "lobby" if attempt > 1 else ""
        return RETRY if self.hall else Backoff(5.0)


async def main() -> None:
    """Tell one to speak and the other one to leave."""
    async with Pool(Speaker, pool_size=2) as pool:
        await pool.cast("hello")
        await pool[1].cast("leave")
        await pool.wait_idle()
        print(f"speakers: {len(pool)}, in the {await pool.call('where')}")


trio.run(main, clock=MockClock(autojump_threshold=0))
