"""A state in Redis: no server, a lost one, a silent one, a wrong password, and foreign keys."""

import importlib.util
import signal
import socket
import traceback
import uuid
from functools import partial

import pytest
import trio
from exceptiongroup import BaseExceptionGroup

from poolder_trio import GenPool, RedisState
from poolder_trio.backends import redis, redis_url
from poolder_trio.backends.line import Line
from poolder_trio.backends.redis_url import Server
from poolder_trio.kernel import shared_state

server = pytest.mark.server


@pytest.fixture
def key():
    return str(uuid.uuid4())


@pytest.fixture
def own_server(make_redis):
    """A server that may be stopped."""
    with make_redis() as server:
        yield server


def seconds(monkeypatch, patience):
    monkeypatch.setattr(Line, "PATIENCE", patience)
    monkeypatch.setattr(shared_state, "PATIENCE", patience)


# -- the server goes away


@server
async def test_a_server_that_comes_back_is_used_again(own_server, key):
    with trio.fail_after(60):
        async with RedisState(own_server.url, key).open() as state:
            for round_ in range(3):
                assert await state.store(round_, 0)
                own_server.stop()
                with pytest.raises(ConnectionError, match="can't be reached"):
                    await state.load()
                with pytest.raises(ConnectionError, match="can't be reached"):
                    await state.store("lost", 1)
                own_server.start()  # without what it held
                assert await state.load() == (None, 0)


@server
async def test_a_server_that_was_back_before_anyone_asked_is_used_without_a_word(own_server, key):
    with trio.fail_after(60):
        async with RedisState(own_server.url, key).open() as state:
            assert await state.store("state", 0)
            own_server.stop()
            own_server.start()
            await trio.sleep(0.05)
            assert await state.store("state", 0)


@server
async def test_a_connection_that_is_cut_is_made_anew(own_server, key):
    with trio.fail_after(60):
        async with RedisState(own_server.url, key).open() as state:
            for version in range(20):
                assert await state.store(version, version)
                own_server.command("CLIENT KILL TYPE normal SKIPME yes")
                await trio.sleep(0.01)
            assert await state.load() == (19, 20)


@server
async def test_a_server_that_does_not_answer_is_told_in_time(own_server, key, monkeypatch):
    with trio.fail_after(60):
        async with RedisState(own_server.url, key).open() as state:
            assert await state.store("state", 0)
            seconds(monkeypatch, 0.2)
            own_server.process.send_signal(signal.SIGSTOP)
            try:
                with pytest.raises(TimeoutError, match=r"not answered for 0\.2 s; .* may have"):
                    await state.store("doubtful", 1)
                with pytest.raises(TimeoutError, match=r"has not answered for 0\.2 s$"):
                    await state.load()  # it gets no connection
            finally:
                own_server.process.send_signal(signal.SIGCONT)
            seconds(monkeypatch, 10)
            value, version = await state.load()
            assert (value, version) in [("state", 1), ("doubtful", 2)]
            assert await state.store("next", version)


@server
async def test_whoever_is_cancelled_while_the_server_is_silent_leaves_in_time(
    own_server, key, monkeypatch
):
    with trio.fail_after(60):
        async with RedisState(own_server.url, key).open() as state:
            assert await state.store("state", 0)
            seconds(monkeypatch, 0.5)
            own_server.process.send_signal(signal.SIGSTOP)
            try:
                with pytest.raises(BaseExceptionGroup) as caught:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(state.store, "doubtful", 7)
                        await trio.sleep(0.05)
                        nursery.start_soon(state.load)
                        nursery.start_soon(state.store, "never", 1)
                        await trio.sleep(0.05)
                        nursery.cancel_scope.cancel()
                # The first was on its way, and hears in the end; the others waited, and left.
                assert [type(error) for error in caught.value.exceptions] == [TimeoutError]
            finally:
                own_server.process.send_signal(signal.SIGCONT)
            seconds(monkeypatch, 10)
            assert await state.load() == ("state", 1)


@server
async def test_who_waits_for_a_silent_server_waits_for_the_patience_once(
    own_server, key, monkeypatch
):
    """A call and, behind it, those that wait for its connection and then for a new one."""
    with trio.fail_after(60):
        async with RedisState(own_server.url, key).open() as state:
            assert await state.store("state", 0)
            seconds(monkeypatch, 2.0)
            own_server.process.send_signal(signal.SIGSTOP)
            took = []

            async def store(version):
                begun = trio.current_time()
                with pytest.raises(TimeoutError):
                    await state.store("next", version)
                took.append(trio.current_time() - begun)

            try:
                async with trio.open_nursery() as nursery:
                    for version in range(1, 5):
                        nursery.start_soon(store, version)
                        await trio.sleep(0.2)
            finally:
                own_server.process.send_signal(signal.SIGCONT)
            assert len(took) == 4
            assert all(1.9 < each < 3.0 for each in took), took


@server
@pytest.mark.parametrize("leaves", ["the caller", "the block"])
async def test_a_silent_server_holds_who_is_cancelled_for_the_patience_once(
    own_server, key, monkeypatch, leaves
):
    class Counter(GenPool):
        async def init(self):
            return 0

        async def handle_call(self, request, state):
            return state, state + request

    with trio.fail_after(60):
        begun = trio.current_time()
        with trio.move_on_after(1.2 if leaves == "the block" else 60) as scope:
            async with Counter(backend=RedisState(own_server.url, key), pool_size=4) as pool:
                await pool.call(1)
                seconds(monkeypatch, 2.0)
                own_server.process.send_signal(signal.SIGSTOP)
                begun = trio.current_time()
                scope.deadline = min(scope.deadline, begun + 0.2)
                try:
                    with trio.move_on_after(0.2):
                        async with trio.open_nursery() as nursery:
                            for _ in range(8):
                                nursery.start_soon(pool.call, 1)
                                await trio.sleep(0.01)
                except BaseExceptionGroup as group:
                    assert group.split(TimeoutError)[1] is None  # noqa: PT017
                finally:
                    took = trio.current_time() - begun
                    if leaves == "the caller":
                        own_server.process.send_signal(signal.SIGCONT)
                        seconds(monkeypatch, 10)
        if leaves == "the block":
            took = trio.current_time() - begun
            own_server.process.send_signal(signal.SIGCONT)
        assert took < 3.5


@server
async def test_a_script_that_the_server_forgot_is_sent_again(own_server, key):
    async with RedisState(own_server.url, key).open() as state:
        assert await state.store("state", 0)
        own_server.command("SCRIPT FLUSH")
        assert await state.store("next", 1)


@server
async def test_any_number_of_cancelled_calls_leaves_one_connection(own_server, key):
    def connections():
        return own_server.command("CLIENT LIST TYPE normal").count(b" addr=") - 1  # without its own

    with trio.fail_after(120):
        async with RedisState(own_server.url, key).open() as state:
            for number in range(300):
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(state.load)
                    for _ in range(number % 7):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
            assert await state.load() == (None, 0)
            assert connections() == 1
        await trio.sleep(0.05)
        assert connections() == 0


@server
async def test_many_calls_go_to_the_server_together(own_server, key):
    async with RedisState(own_server.url, key).open() as state:
        await state.load()
        before = own_server.command("INFO commandstats")
        async with trio.open_nursery() as nursery:
            for _ in range(250):
                nursery.start_soon(state.load)

        def scripts(info):
            [line] = [each for each in info.split(b"\r\n") if b"cmdstat_evalsha:" in each]
            return int(line.partition(b"calls=")[2].partition(b",")[0])

        assert 3 <= scripts(own_server.command("INFO commandstats")) - scripts(before) <= 6


# -- what is refused


@server
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("SET {} theirs", "it is a string"),
        ("RPUSH {} theirs", "it is a list"),
        ("HSET {} field theirs", "it is a hash of another program"),
        ("HSET {} format theirs version 1 data x", "it is a hash of another program"),
        (f"HSET {{}} format {redis.FORMAT} version x", "its version has been changed"),
    ],
)
async def test_a_key_of_another_program_is_left_alone(redis_server, key, command, message):
    redis_server.command(command.format(key))
    held = redis_server.command(f"DUMP {key}")
    described = RedisState(redis_server.url, key)
    for call in (described.load, partial(described.store, "state", 0)):
        with pytest.raises(ValueError, match=f"is left as it is: {message}") as caught:
            await call()
        assert key in str(caught.value)
        assert f"127.0.0.1:{redis_server.port}" in str(caught.value)
    assert redis_server.command(f"DUMP {key}") == held


@server
async def test_what_the_server_refuses_is_told_and_the_next_call_works(own_server, key):
    async with RedisState(own_server.url, key).open() as state:
        assert await state.store("state", 0)
        own_server.command("CONFIG SET maxmemory 1")
        with pytest.raises(OSError, match=r"can't be used: .*maxmemory"):
            await state.store("more", 1)
        own_server.command("CONFIG SET maxmemory 0")
        assert await state.load() == ("state", 1)


@server
async def test_a_database_is_chosen_by_the_url(redis_server, key):
    assert await RedisState(f"{redis_server.url}/3", key).store("third", 0)
    assert await RedisState(f"{redis_server.url}/3", key).load() == ("third", 1)
    assert await RedisState(redis_server.url, key).load() == (None, 0)
    with pytest.raises(OSError, match="DB index is out of range"):
        await RedisState(f"{redis_server.url}/99", key).load()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


async def test_a_server_that_is_not_there_is_told(key):
    port = free_port()
    with trio.fail_after(60):
        for call in ("load", "store"):
            described = RedisState(f"redis://user:hidden@127.0.0.1:{port}/1", key)
            args = ("state", 0) if call == "store" else ()
            with pytest.raises(ConnectionError, match=rf"127\.0\.0\.1:{port}/1 can't be") as caught:
                await getattr(described, call)(*args)
            assert key in str(caught.value)
            assert "hidden" not in "".join(traceback.format_exception(caught.value))


async def test_a_socket_that_is_not_there_is_told(key, tmp_path):
    with pytest.raises(ConnectionError, match=r"Redis at .*nobody.sock can't be reached"):
        await RedisState(f"unix://{tmp_path}/nobody.sock", key).load()


@server
async def test_a_socket_works_as_a_port_does(make_redis, key, tmp_path):
    path = tmp_path / "redis.sock"
    with make_redis("--unixsocket", str(path)):
        assert await RedisState(f"unix://{path}", key).store("state", 0)
        assert await RedisState(f"unix://{path}?db=1", key).load() == (None, 0)
        assert await RedisState(f"unix://{path}", key).load() == ("state", 1)


@server
async def test_a_password_is_needed_checked_and_never_shown(make_redis, key, caplog):
    with make_redis("--requirepass", "se/cret#1") as server:
        place = f"127.0.0.1:{server.port}"
        right = RedisState(f"redis://:se%2Fcret%231@{place}", key)
        assert await right.store("state", 0)
        assert await right.load() == ("state", 1)
        wrong = {
            f"redis://:hush%2Fhush@{place}": "invalid username-password pair",
            f"redis://somebody:hush%2Fhush@{place}": "invalid username-password pair",
            f"redis://{place}": "needs a password",
        }
        for url, message in wrong.items():
            with pytest.raises(PermissionError, match=message) as caught:
                await RedisState(url, key).store("state", 1)
            assert place in str(caught.value)
            assert key in str(caught.value)
            assert "hush" not in "".join(traceback.format_exception(caught.value)) + caplog.text
        assert await right.load() == ("state", 1)


@pytest.mark.parametrize(
    "url",
    [
        "http://:hush@host",
        "hush",
        "redis://",
        "redis://:hush/hush@host:6379",
        "redis://:12/hush@host:6379",
        "redis://user:hush#@host",
        "redis://:hush@host:port",
        "redis://[hush",
        "unix://",
        # Read without a look, these are other databases or options than whoever wrote them meant.
        "redis://:hush@host/prod",
        "redis://:hush@host/1x",
        "redis://:hush@host/1/2",
        "redis://:hush@host//1",
        "redis://:hush@host/-1",
        "redis://:hush@host/+1",
        "redis://:hush@host/1_0",
        "redis://:hush@host/\u0661",
        "redis://:hush@host/1%20",
        "redis://:hush@host/1\n2",
        "redis://:hush@host\t/1",
        "redis://:hush@host/1 ",
        "redis://:hush@host/1#2",
        "redis://:hush@host/1?db=2",
        "redis://:hush@host?db=prod",
        "redis://:hush@host?db=",
        "redis://:hush@host?db=1&db=2",
        "redis://:hush@host?database=1",
        "redis://:hush@host?DB=1",
        "redis://:hush@host?1",
        "redis://:hush@host?max_connections=9",
        "redis://:hush@host?connect_timeout=soon",
        "redis://:hush@host?connect_timeout=nan",
        "redis://:hush@host?ssl_cert_reqs=none",
        "redis://:hush@host:0",
        "unix://:hush@run/redis.sock",
        "unix://:hush@/run/redis.sock?db=prod",
    ],
)
def test_a_url_that_is_none_is_refused_and_not_shown(url):
    with pytest.raises(ValueError, match=r"url must be redis://.*\(RedisState\)") as caught:
        RedisState(url, "key")
    assert "hush" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://host", "host:6379"),
        ("redis://host/", "host:6379"),
        ("redis://host/12", "host:6379/12"),
        ("redis://host/12/", "host:6379/12"),
        ("redis://host:1?db=3&connect_timeout=2.5&client_name=me", "host:1/3"),
        ("rediss://[::1]/1?ssl_cert_reqs=none", "::1:6379/1"),
        ("unix:///run/r.sock?db=3", "/run/r.sock"),
    ],
)
def test_a_url_says_which_server_and_which_database(url, where):
    assert str(Server.of(url)) == f"Redis at {where}"
    assert repr(RedisState(url, "k")) == f"RedisState('k', Redis at {where})"


def test_options_of_the_wrong_type_are_refused():
    with pytest.raises(TypeError, match=r"url must be a str, got a bytes \(RedisState\)"):
        RedisState(b"redis://:hush@host", "key")
    with pytest.raises(TypeError, match=r"key must be a str that is not empty, got None"):
        RedisState("redis://host", None)
    with pytest.raises(ValueError, match=r"key must be a str that is not empty, got ''"):
        RedisState("redis://host", "")


def test_its_repr_has_no_user_and_no_password():
    assert repr(RedisState("redis://me:hush@host:7000/2", "k")) == (
        "RedisState('k', Redis at host:7000/2)"
    )
    assert str(Server.of("rediss://me:hush@host")) == "Redis at host:6379"
    assert str(Server.of("unix://me:hush@/run/r%20s.sock?db=1")) == "Redis at /run/r s.sock"


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(redis, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'poolder-trio\[redis\]'") as caught:
        RedisState("redis://host", "key")
    assert caught.value.name == "coredis"
    assert importlib.util.find_spec("coredis") is not None
    assert redis_url.Server.of("redis://host").port == 6379
