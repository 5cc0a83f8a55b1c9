"""How Hypothesis runs: without deadlines everywhere, and the same examples each time on CI.

And a Redis server, for the tests of whatever talks to one.
"""

import os
import shutil
import socket
import subprocess
import time

import pytest
from hypothesis import settings

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


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
