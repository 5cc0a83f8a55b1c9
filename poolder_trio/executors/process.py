"""Functions in processes."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
import trio

from poolder_trio.errors import WorkerCrashed
from poolder_trio.executors.calls import Raised, call
from poolder_trio.executors.children import deafen, how_it_ended
from poolder_trio.executors.functions import name_of, refuse_async
from poolder_trio.executors.inline import run_inline
from poolder_trio.kernel.blocks import block
from poolder_trio.kernel.notes import describe
from poolder_trio.kernel.simulated import is_simulated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from poolder_trio.abc import Run

__all__ = ["ProcessExecutor"]

T = TypeVar("T")

# The component bounds how many run at once. Any async context manager will do, says trio-parallel.
_NO_LIMIT: Any = nullcontext()
# Leaving is shielded, so this is the longest that it can hold up a cancelled block.
_SECONDS_TO_LEAVE = 5.0


@attrs.frozen
class ProcessExecutor:
    """Runs functions in processes of their own, in parallel: for those that compute.

    A process starts when a job finds none idle, and serves jobs until the component closes.
    A cancelled job's process is killed. Functions, arguments, results and exceptions travel by
    pickle, so functions stand at the top of a module; with cloudpickle installed, anywhere.
    Nothing is unpickled that does not come from these processes. An exception brings along its
    traceback. As with `multiprocessing`, a script needs ``if __name__ == "__main__":``. Processes
    have SIGINT blocked from their start: Ctrl-C is this process's to handle.

    Raises:
        ModuleNotFoundError: the extra ``process`` is not installed; raised here, where the code
            asks for it, and not at the first use. The package itself is loaded by `open`, since
            each process that imports the program comes by this line too.
    """

    def __attrs_post_init__(self) -> None:
        if find_spec("trio_parallel") is None:
            raise ModuleNotFoundError(
                "ProcessExecutor needs the package trio-parallel, which is not installed: "
                "pip install 'poolder-trio[process]'",
                name="trio_parallel",
            )

    def check(self, fn: object) -> None:
        """Raise ``TypeError`` if ``fn`` is async, or cannot be called."""
        refuse_async(fn, self)

    @block
    async def open(self, *, idle: float) -> AsyncGenerator[Run]:
        """Open it; a process that is idle for ``idle`` seconds ends. When it closes, all have."""
        if is_simulated():
            yield run_inline
            return
        from trio_parallel import BrokenWorkerError, open_worker_context  # noqa: PLC0415

        manager = open_worker_context(idle_timeout=idle, grace_period=_SECONDS_TO_LEAVE)
        processes = await manager.__aenter__()
        send = partial(processes.run_sync, call, kill_on_cancel=True, limiter=_NO_LIMIT)

        async def run(fn: Callable[..., T], args: tuple[object, ...]) -> T:
            try:
                result = await send(fn, args)
            except BrokenWorkerError as error:
                end = how_it_ended(error)
                raise WorkerCrashed(
                    f"the process that ran {name_of(fn)} died under it{end}"
                ) from error
            except (OSError, trio.ClosedResourceError):
                raise  # no process could be had
            except Exception as error:
                raise await _lost(send, fn, args, error) from error
            if type(result) is Raised:
                raise result.error
            return cast("T", result)

        try:
            deafen(processes)
            yield run
        finally:
            # An idle process that was killed is nobody's loss: all others have ended as well.
            with suppress(BrokenWorkerError):
                await manager.__aexit__(None, None, None)


async def _lost(
    send: Callable[..., Awaitable[object]],
    fn: object,
    args: tuple[object, ...],
    error: Exception,
) -> TypeError:
    """Say what of a call did not get through; to find out here costs calls that succeed nothing.

    What passes to a process alone is not to blame, so in the end it is what came back.
    """
    name = name_of(fn)
    parts = [(fn, name, "move it to the top of a module, where a process can import it")]
    for number, arg in enumerate(args, 1):
        what = f"argument {number} (`{describe(arg)}`) of {name}"
        parts.append((arg, what, "pass what can, such as a path instead of an open file"))
    for part, what, remedy in parts:
        try:
            await send(id, (part,))
        except Exception as why:  # noqa: BLE001  # unpickling runs code of any kind
            return TypeError(f"{what} can't be pickled for a process: {why}; {remedy}")
    return TypeError(
        f"what {name} returned can't be pickled in its process, or loaded here: {error}; "
        f"return what can, such as plain data"
    )
