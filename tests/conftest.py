"""How Hypothesis runs: without deadlines everywhere, and the same examples each time on CI.

A limit of seconds for each test, and a Redis server, for the tests of whatever talks to one.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import traceback

import pytest
import trio
from hypothesis import settings

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


#: Seconds of real time. What hangs fails then, alone, and says where; on a busy machine the quick
#: tests take a fifth of it.
LIMIT = float(os.environ.get("TEST_LIMIT", "40"))
LIMIT_OF_SLOW_ONES = 200.0
SECONDS_TO_END = 2.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    slow = any(item.get_closest_marker(name) for name in ("slow", "server", "once"))
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        return (yield)  # `faulthandler_timeout` is left
    with Limit(LIMIT_OF_SLOW_ONES if slow else LIMIT):
        return (yield)


class TookTooLong(Exception):
    """Raised wherever the test hangs."""


class Limit:
    """Ends what takes longer than some seconds: by a cancellation, or else by an exception.

    A signal, since it is no more than a thread could do that wakes the one that hangs, and leaves
    the process and the other tests alone. A Trio run is cancelled, under shields as well: to raise
    in its midst would leave tasks behind, for later tests to stumble over. Whoever holds the loop
    hears of no cancellation, and is where the exception is raised.
    """

    def __init__(self, seconds):
        self.seconds = seconds
        self.places = []
        self.cancelled = False

    def __enter__(self):
        self.before = signal.signal(signal.SIGALRM, self.ring)
        signal.setitimer(signal.ITIMER_REAL, self.seconds, SECONDS_TO_END)

    def __exit__(self, exc_type, exc, tb):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)
        if self.places:
            end_runs(tb)
            pytest.fail(f"took longer than {self.seconds:g} s; it was at\n{self.places[0]}")

    def ring(self, number, frame):
        running = trio.lowlevel.in_trio_run()
        place = "".join(traceback.format_stack(frame, limit=-8))
        if running:
            root = trio.lowlevel.current_root_task()
            place += "".join(tasks_below(root))
        self.places.append(place)
        if running and (len(self.places) == 1 or (self.cancelled and len(self.places) == 2)):
            trio.lowlevel.current_trio_token().run_sync_soon(self.cancel, root)
        else:
            raise TookTooLong

    def cancel(self, root):
        if self.cancelled:
            for task in all_below(root):
                status = task._cancel_status
                while status is not None:
                    status._scope.shield = False
                    status = status._parent
        self.cancelled = True
        root.child_nurseries[-1].cancel_scope.cancel()


def end_runs(tb):
    """End each Trio run that an exception has left in the midst, and not in its time.

    Until its frames are collected it would count as running, and later tests could not run.
    """
    for frame, _ in traceback.walk_tb(tb):
        if frame.f_code is trio.run.__code__ and "gen" in frame.f_locals:
            with contextlib.suppress(trio.TrioInternalError):
                frame.f_locals["gen"].close()


def all_below(task):
    """Yield each task in its nurseries, and in theirs."""
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield child
            yield from all_below(child)


def tasks_below(task):
    """Where each task waits."""
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda task: task.name):
            frames = [(frame, line) for frame, line in child.iter_await_frames()]
            stack = traceback.StackSummary.extract(iter(frames), limit=-8)
            yield f"  task {child.name}:\n" + "".join(stack.format())
            yield from tasks_below(child)


class RedisServer:
    """A server of our own, on a free port of loopback, which writes nothing to its folder."""

    def __init__(self, folder, *options):
        self.folder = folder
        self.options = options
        self.port = 0
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def start(self):
        """Start it: on a free port the first time, and then on the same one."""
        chosen = bool(self.port)
        for _ in range(5):  # between its choice and its use somebody may take a port
            if not chosen:
                with socket.create_server(("127.0.0.1", 0)) as free:
                    self.port = free.getsockname()[1]
            self.process = subprocess.Popen(
                [
                    *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1"),
                    *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
                    *self.options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if self.answers():
                return
            self.stop()
        raise RuntimeError("redis-server is installed, but does not start")

    def answers(self):
        """Whether it gets to answer before it ends."""
        until = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < until:
            try:
                return self.command("PING") != b""
            except OSError:
                time.sleep(0.02)
        return False

    def command(self, *words):
        """Send a command, and return the first part of the answer as it comes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(1 << 16)

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def own_sigint():
    """A shell's background job ignores Ctrl-C, and so would Trio, and what this starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def make_redis(tmp_path_factory):
    """Return a function that makes a server with options of its own, to be entered."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server: install Debian's package of that name, or Redis")
    return lambda *options: RedisServer(tmp_path_factory.mktemp("redis"), *options)


@pytest.fixture(scope="session")
def redis_server(make_redis):
    """A server that is shared: use keys of your own, and leave it running."""
    with make_redis() as server:
        yield server
