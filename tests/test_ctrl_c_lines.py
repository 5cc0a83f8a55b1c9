"""Ctrl-C at each line in turn: whatever the line, the program ends, and its accounts add up.

There is no real signal: what a signal would do at a line is done there, so that each run is alike.
"""

import math
import os
import signal
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

import poolder_trio
from poolder_trio import (
    Batcher,
    Broker,
    FactoryPool,
    GenPool,
    JobPool,
    MemoryState,
    Pool,
    Queue,
    Scheduler,
    Tasker,
    Worker,
    as_completed,
)
from poolder_trio.kernel.agenda import Agenda
from poolder_trio.kernel.outlet import Outlet
from poolder_trio.kernel.timers import Timers
from poolder_trio.kernel.waiters import Waiters

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

# Ctrl-C may hit between the making of a coroutine and its first step.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited"),
]

#: Lines of these are interrupted: ours, and what runs between them in our name.
_FOLDERS = (str(Path(poolder_trio.__file__).parent),)
#: Seconds of the clock on the wall after which a run has hung.
_PATIENCE = 30
#: Whether to take minutes, and leave no line out.
ALL = os.environ.get("CTRL_C") == "all"
#: How many lines of a scenario are chosen from those in other files than these.
SAMPLE = 100
CORE = {"waiters.py", "senders.py", "job.py", "mailbox.py", "routing.py", "agenda.py"}
CORE |= {"mapping.py", "groups.py", "turn.py", "intake.py"}


class Hung(Exception):
    """The program did not end."""


class Seen:
    """What a scenario tells of: components that it opens, and jobs that it sends."""

    def __init__(self):
        self.components = []
        self.begun = 0
        self.done = 0

    def add(self, component):
        self.components.append(component)
        return component

    @contextmanager
    def sending(self, count=1):
        """Surround a send: when it is interrupted, it may have been accepted, or not."""
        self.begun += count
        yield
        self.done += count


class _Tracer:
    """Calls ``act`` before the line that is to be interrupted, once."""

    def __init__(self, hit, act):
        self._hit = hit
        self._act = act
        self.lines = Counter()
        self.has_hit = False

    def __call__(self, frame, event, _):
        if event != "call" or not frame.f_code.co_filename.startswith(_FOLDERS):
            return None
        return self._line

    def _line(self, frame, event, _):
        if event == "line":
            line = (frame.f_code.co_filename, frame.f_lineno)
            self.lines[line] += 1
            if self._hit == (*line, self.lines[line]):
                self.has_hit = True
                sys.settrace(None)
                self._act(frame)
        return self._line


def _press_ctrl_c(frame):
    # Trio's own handler: it raises here, or, where there is protection, in the main task later.
    signal.getsignal(signal.SIGINT)(signal.SIGINT, frame)


@contextmanager
def default_sigint():
    """Let Trio handle Ctrl-C, also where it is ignored, as it is in a job in the background."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _limit(seconds):
    """End a run that hangs in spite of everything: what this raises breaks Trio's loop."""

    def give_up(*_):
        raise Hung

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _run(scenario, tracer):
    """Run a scenario; return what it has told, and what has left it."""
    seen = Seen()

    async def main():
        with trio.fail_after(100_000):
            await scenario(seen)

    left = None
    trio._core._run._r.seed(1)  # the order of tasks in a step: the same in each run
    before = sys.gettrace()
    clock = trio.testing.MockClock(autojump_threshold=0)
    with default_sigint(), _limit(_PATIENCE):
        sys.settrace(tracer)
        try:
            trio.run(main, clock=clock)
        except BaseException as error:  # noqa: BLE001  # it is what is looked at
            left = error
        finally:
            sys.settrace(before)
    return seen, left


def _leaves(error):
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _lines(scenario):
    """Run a scenario to its end; return how often it came to each line."""
    tracer = _Tracer(None, _press_ctrl_c)
    _, left = _run(scenario, tracer)
    if left is not None:
        raise left
    return tracer.lines


def _moments(scenario):
    """Choose when to interrupt: lines that no scenario before this one has come to.

    At the first visit and the last, all where tasks wait and what is decided is recorded, and so
    many of the others that it does not take too long. With CTRL_C=all, at all.
    """
    lines = _lines(scenario)
    known = set()
    if not ALL:
        before = SCENARIOS.index(scenario) if scenario in SCENARIOS else 0
        for other in SCENARIOS[:before]:
            known.update(_lines(other))
    moments = [
        (*line, visit)
        for line, count in sorted(lines.items())
        if line not in known
        for visit in sorted({1, count})
    ]
    core = [each for each in moments if ALL or Path(each[0]).name in CORE]
    others = [each for each in moments if each not in core]
    return core + others[:: max(1, len(others) // SAMPLE)]


def check_every_line(scenario):
    """Run ``scenario(seen)``, which ends by itself, once for each moment, interrupted there."""
    faults = []
    for moment in _moments(scenario):
        attempt = _Tracer(moment, _press_ctrl_c)
        seen, left = _run(scenario, attempt)
        fault = attempt.has_hit and _fault(seen, left)
        if fault:
            file, line, visit = moment
            faults.append(f"{Path(file).name}:{line}, visit {visit}: {fault}")
    assert not faults, "\n".join(["interrupted at", *faults])


def _fault(seen, left):
    """Say what is wrong after an interrupt; an empty text: nothing."""
    if left is None:
        return "Ctrl-C was lost"
    others = [each for each in _leaves(left) if not isinstance(each, KeyboardInterrupt)]
    if others:
        return f"beside KeyboardInterrupt there is {others!r}"
    total = 0
    for each in seen.components:
        counts = each.statistics()
        if counts.running or counts.waiting:
            return f"{each!r} still has {counts}"
        total += counts.submitted
    if seen.begun and not seen.done <= total <= seen.begun:
        return f"{seen.done} sends of {seen.begun} were done, but {total} jobs ended"
    return ""


# -- the programs


class Echo(Worker):
    async def handle_job(self, job):
        await trio.sleep(1)

    async def handle_call(self, request):
        await trio.sleep(1)
        return request


async def work(number=0):
    await trio.sleep(1)
    return number


async def calls(seen):
    async with seen.add(Pool(Echo, pool_size=2)) as pool:
        with seen.sending():
            await pool.call(1)
        with seen.sending():
            await pool.call(2)


async def a_call_that_is_cancelled(seen):
    async with seen.add(Tasker(limit=1)) as tasker:
        for limit in (0.5, 1.5):
            with seen.sending(), trio.move_on_after(limit):
                await tasker.call(work)


async def a_wait_for_a_job(seen):
    async with seen.add(Tasker(limit=1)) as tasker:
        with seen.sending():
            job = await tasker.submit(work)
        await job.wait()
        await job.wait_done()


async def casts_that_wait_for_room(seen):
    async with seen.add(Pool(Echo, pool_size=1, queue=Queue(max=1))) as pool:
        for number in range(4):
            with seen.sending():
                await pool.cast(number)
        with seen.sending(2):
            await pool.cast_many([1, 2])


async def pushes_that_wait_for_room(seen):
    async def handle(batch):
        await trio.sleep(1)

    async with seen.add(Batcher(handle, limit=1, queue=Queue(max=1))) as batcher:
        for number in range(4):
            with seen.sending():
                await batcher.push(number)


async def a_map(seen):
    async with seen.add(Tasker(limit=2)) as tasker:
        async with tasker.map(work, range(4)) as results:
            async for _ in results:
                break  # leaving it cancels the rest


async def jobs_as_completed(seen):
    async with seen.add(Tasker(limit=2)) as tasker:
        jobs = []
        for number in range(2):
            with seen.sending():
                jobs.append(await tasker.submit(work, number))
        async with as_completed(jobs) as ended:
            async for _ in ended:
                pass


async def waits_for_a_pool(seen):
    async with seen.add(Pool(Echo, pool_size=1, dynamic=True)) as pool:
        with seen.sending():
            await pool.cast(1)
        await pool.wait_idle()
        pool.pause()
        pool.resume()
        await pool.resize(2)
        await pool.resize(1)
        pool.close()
        await pool.wait_closed()


class Server(GenPool):
    pool_size = 2

    async def init(self):
        return 0

    async def handle_call(self, request, state):
        return request, state + 1

    async def handle_cast(self, request, state):
        return state + 1


async def a_server_with_a_state(seen):
    async with seen.add(Server(backend=MemoryState())) as server:
        with seen.sending():
            await server.call(1)
        with seen.sending():
            await server.cast(2)


async def senders_to_a_shared_room(seen):
    broker = Broker(max=1, overflow="wait", timeout=2).shared()
    async with seen.add(Server(broker=broker, pool_size=1)) as server:
        for number in range(3):
            with seen.sending():
                await server.cast(number)


async def children_of_a_factory(seen):
    async with seen.add(FactoryPool()) as factory:
        ref = await factory.start_child("group", Echo)
        with seen.sending():
            await factory.call(ref, 1)
        await factory.terminate(ref)


async def timers(seen):
    async with JobPool("jobs", pool_size=1) as pool:
        await pool.perform_after(1, work)
        await (await pool.perform_after(5, work)).cancel()
        await trio.sleep(3)


async def schedules(seen):
    async with Scheduler(jobs={}) as scheduler:
        scheduler.schedule("one", 5, work)
        scheduler.schedule("two", "* * * * *", work)
        scheduler.reschedule({"one": 7})
        await trio.sleep(8)
        scheduler.unschedule_all()


SCENARIOS = [
    calls,
    a_call_that_is_cancelled,
    a_wait_for_a_job,
    casts_that_wait_for_room,
    pushes_that_wait_for_room,
    a_map,
    jobs_as_completed,
    waits_for_a_pool,
    a_server_with_a_state,
    senders_to_a_shared_room,
    children_of_a_factory,
    timers,
    schedules,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_ctrl_c_at_any_line_ends_the_program_and_the_accounts_add_up(scenario):
    check_every_line(scenario)


# -- what the programs stand on, called without a protected caller around it


async def who_waits_in_line(seen):
    waiters = Waiters()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiters.park, "first")
            nursery.start_soon(waiters.park, "second")
            await trio.testing.wait_all_tasks_blocked()
            waiters.wake()
            waiters.wake()
    finally:
        while waiters:  # a dead task in here would break Trio
            waiters.wake()


async def who_waits_for_an_answer(seen):
    async with seen.add(Tasker(limit=1)) as tasker:
        with seen.sending():
            job = await tasker.submit(trio.sleep, 0.1)
        await job.answer()


async def what_stands_on_an_agenda(seen):
    class Entry:
        ticket = 0

    rung = []

    def ring(entry, due, now):
        rung.append(entry)
        return math.inf

    async with trio.open_nursery() as nursery:
        agenda = Agenda(Timers(nursery), trio.current_time, lambda seconds: seconds, ring)
        entry = Entry()
        try:
            agenda.put(entry, 1.0)
        finally:
            stands = entry.ticket != 0
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            assert (entry in rung) is stands
            agenda.stop()
            nursery.cancel_scope.cancel()


async def what_is_received_of_an_outlet(seen):
    taken = []
    outlet = Outlet(taken.append)
    for receive in (outlet.receive, outlet.receive_nowait):
        outlet.put("item")
        try:
            got = receive()
            if receive == outlet.receive:
                await got
        finally:
            left = len(outlet)
            assert len(taken) + left == 1
            taken.clear()
            if left:
                outlet.receive_nowait()
                taken.clear()


BARE = [
    who_waits_in_line,
    who_waits_for_an_answer,
    what_stands_on_an_agenda,
    what_is_received_of_an_outlet,
]


@pytest.mark.parametrize("scenario", BARE, ids=lambda each: each.__name__)
def test_it_is_whole_by_itself_whoever_calls_it(scenario):
    check_every_line(scenario)
