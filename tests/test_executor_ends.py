"""How functions in processes and threads end that do not return, and whom a Ctrl-C reaches."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
import trio

from poolder_trio import ProcessExecutor, Retry, Tasker, ThreadExecutor, WorkerCrashed

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("own_sigint")]

# Processes import it: what stands in a test's own file is out of their reach.
WAYS = """
import os
import signal
import sys

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup


class Grave(BaseException):
    pass


def stop_it():
    sys.exit(3)


def interrupt():
    raise KeyboardInterrupt("by hand")


def be_grave():
    raise Grave("indeed")


def fail_in_a_group():
    raise BaseExceptionGroup("some", [KeyboardInterrupt("one"), ValueError("two")])


class Hard(BaseExceptionGroup):
    def __new__(cls, number):
        group = super().__new__(
            cls, "hard", [BaseExceptionGroup("inner", [Grave("in")]), ValueError("out")]
        )
        group.number = number
        group.__notes__ = ["noted"]
        return group

    def __init__(self, number):
        pass


def fail_in_a_group_of_its_own():
    raise Hard(7) from Grave("the cause")


def fail_in_a_group_of_errors():
    raise ExceptionGroup("some", [OSError("one"), ValueError("two")])


def end(code):
    os._exit(code)


def kill(number):
    os.kill(os.getpid(), number)


def mask():
    return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ways")
    (folder / "ways_of_processes.py").write_text(WAYS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import ways_of_processes  # noqa: PLC0415

        yield ways_of_processes
        del sys.modules["ways_of_processes"]


def leaves(error):
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [error]


EXECUTORS = [ProcessExecutor(), ThreadExecutor()]


@pytest.mark.parametrize("executor", EXECUTORS, ids=["process", "thread"])
@pytest.mark.parametrize(
    ("way", "kinds"),
    [
        ("stop_it", ["SystemExit"]),
        ("interrupt", ["KeyboardInterrupt"]),
        ("be_grave", ["Grave"]),
        ("fail_in_a_group", ["KeyboardInterrupt", "ValueError"]),
    ],
)
async def test_what_is_no_exception_leaves_the_block_as_it_was_raised(executor, way, kinds, ways):
    tries = []

    class Counting(Tasker):
        async def handle_error(self, call, attempt, error):
            tries.append((call, attempt, error))

    with trio.fail_after(60), pytest.raises(BaseExceptionGroup) as caught:
        async with Counting(executor=executor, retry=Retry(attempts=3)) as tasker:
            await tasker.execute(getattr(ways, way))
    assert [type(leaf).__name__ for leaf in leaves(caught.value)] == kinds
    assert tries == []


async def test_a_group_in_a_process_keeps_all_that_it_has(ways):
    with trio.fail_after(60):
        async with ProcessExecutor().open(idle=60) as run:
            with pytest.raises(ways.Hard) as caught:
                await run(ways.fail_in_a_group_of_its_own, ())
    group = caught.value
    assert (group.number, group.__notes__, group.message) == (7, ["noted"], "hard")
    assert isinstance(group.__cause__, ways.Grave)
    assert group.__traceback__ is not None
    inner, other = group.exceptions
    assert type(inner) is BaseExceptionGroup
    assert [str(each) for each in (*inner.exceptions, other)] == ["in", "out"]


@pytest.mark.parametrize("executor", EXECUTORS, ids=["process", "thread"])
async def test_a_group_of_exceptions_reaches_its_caller(executor, ways):
    with trio.fail_after(60):
        async with Tasker(executor=executor) as tasker:
            with pytest.RaisesGroup(OSError, ValueError):
                await tasker.call(ways.fail_in_a_group_of_errors)


@pytest.mark.parametrize(
    ("way", "arg", "text"),
    [
        ("end", 0, "exit code 0"),
        ("end", 3, "exit code 3"),
        ("kill", signal.SIGKILL, "signal SIGKILL"),
        ("kill", signal.SIGSEGV, "signal SIGSEGV"),
        ("kill", signal.SIGTERM, "signal SIGTERM"),
    ],
)
async def test_a_dead_process_says_how_it_ended_and_the_next_job_has_a_new_one(
    way, arg, text, ways
):
    with trio.fail_after(60):
        async with Tasker(executor=ProcessExecutor()) as tasker:
            with pytest.raises(WorkerCrashed, match=rf"{way} died under it: {text}(\n|$)"):
                await tasker.call(getattr(ways, way), arg)
            assert await tasker.call(os.getpid) != os.getpid()


@pytest.mark.skipif(sys.platform == "win32", reason="has no signal masks")
async def test_processes_have_sigint_blocked_and_threads_do_not(ways):
    with trio.fail_after(60):
        async with Tasker(executor=ProcessExecutor()) as tasker:
            for _ in range(2):
                assert signal.SIGINT in await tasker.call(ways.mask)
                with pytest.raises(WorkerCrashed):
                    await tasker.call(ways.end, 1)
        # The threads that started them are used again by others.
        assert await trio.to_thread.run_sync(ways.mask) == ways.mask()


PROGRAM = r"""
import signal, sys, time

import trio

from poolder_trio import ProcessExecutor, Tasker

if __name__ != "__main__":
    sys.stdout.write("a process starts\n")  # in one piece, whether buffered or not
    sys.stdout.flush()
    time.sleep(0.7)


def work(number):
    return number


async def main():
    signal.signal(signal.SIGINT, lambda *_: None)  # a stop that lets work end
    async with Tasker(executor=ProcessExecutor()) as tasker:
        jobs = [await tasker.submit(work, number) for number in range(2)]
        print([await job.wait() for job in jobs], flush=True)


if __name__ == "__main__":
    trio.run(main)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no process groups")
def test_ctrl_c_while_processes_start_does_not_kill_them(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(PROGRAM))
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as program:
        try:
            for _ in range(2):
                assert program.stdout.readline() == "a process starts\n"
            os.killpg(program.pid, signal.SIGINT)
            out, err = program.communicate(timeout=60)
        finally:
            program.kill()
    assert (out, err, program.returncode) == ("[0, 1]\n", "", 0)
