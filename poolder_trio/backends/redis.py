"""A state in Redis."""

from __future__ import annotations

import hashlib
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import attrs
import trio

from poolder_trio.backends.codec import CODEC, JSONCodec
from poolder_trio.backends.described import Described, Opened
from poolder_trio.backends.line import Line, attended
from poolder_trio.backends.redis_url import Server
from poolder_trio.kernel.blocks import block
from poolder_trio.kernel.simulated import refuse_simulated
from poolder_trio.policies.checks import Check

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from coredis import ConnectionPool
    from coredis.connection import BaseConnection

    from poolder_trio.abc import Codec
    from poolder_trio.backends.line import Answer, Ask

__all__ = ["RedisState"]

#: How much one script is given to do, as nothing else runs in Redis meanwhile. One store may be
#: larger.
MOST, MOST_BYTES = 100, 1 << 20

FORMAT = "poolder_trio.state/1"
#: KEYS[1] is a hash of ours, or nothing yet. After the format, ARGV has a pair for each call: a
#: store's expected version and data, or two empty strings for a load. It does as `line.settle`.
SCRIPT = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'hash' then
    return redis.error_reply('FOREIGN it is a ' .. kind)
end
local held = redis.call('HMGET', KEYS[1], 'format', 'version', 'data')
if kind == 'hash' and held[1] ~= ARGV[1] then
    return redis.error_reply('FOREIGN it is a hash of another program, or of another layout')
end
local version, data = tonumber(held[2] or 0), held[3] or ''
if not version then
    return redis.error_reply('FOREIGN its version has been changed by other hands')
end
local before, answers = version, {}
for i = 2, #ARGV, 2 do
    if ARGV[i] == '' then
        table.insert(answers, {version, data})
    elseif tonumber(ARGV[i]) == version then
        version, data = version + 1, ARGV[i + 1]
        table.insert(answers, 1)
    else
        table.insert(answers, 0)
    end
end
if version ~= before then
    redis.call('HSET', KEYS[1],
        'format', ARGV[1], 'version', string.format('%.0f', version), 'data', data)
end
return answers
"""
_DIGEST = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()  # as Redis names it


def _check_url(_instance: object, _attribute: object, value: str) -> None:
    if not isinstance(value, str):
        # Not shown: bytes, say, would show the password.
        raise TypeError(f"url must be a str, got a {type(value).__qualname__} (RedisState)")
    Server.of(value)


_KEY = Check("a str that is not empty", lambda value: isinstance(value, str), bool)


@attrs.frozen
class RedisState(Described):
    """Keeps a state under a key of a Redis server, which any number of processes may share.

    Calls that wait at the same time go to the server together, as one script, in the order in
    which they came, so a store may expect the version that one before it is about to make. How
    durable a state is depends on how the server is configured. A connection that is lost is
    made anew with the next call.

    Args:
        url: ``redis://[user:password@]host[:port][/db]``, ``rediss://...`` or ``unix:///path``,
            with percent-encoding.
        key: the key of the state.
        codec: turns the state to bytes; JSON by default.

    Raises:
        TypeError, ValueError: one of them is wrong.
        ModuleNotFoundError: the extra ``redis`` is not installed.
        ValueError: (when opened or used) under the key is something that is not ours.
        ConnectionError: (when used) the server can't be reached, or the connection was lost.
        TimeoutError: (when used) it has not answered for ten seconds.
        PermissionError: (when used) it refuses the user, the password or the command.
        OSError: (when used) it refuses to serve, for instance as it is out of memory.
    """

    url: str = attrs.field(repr=False, validator=_check_url)
    key: str = attrs.field(validator=_KEY.field)
    codec: Codec = attrs.field(factory=JSONCodec, validator=CODEC.field)

    def __attrs_post_init__(self) -> None:
        if find_spec("coredis") is None:
            raise ModuleNotFoundError(
                "RedisState needs the package coredis, which is not installed: "
                "pip install 'poolder-trio[redis]'",
                name="coredis",
            )

    def __repr__(self) -> str:
        return f"RedisState({self.key!r}, {Server.of(self.url)})"

    @block
    async def open(self) -> AsyncGenerator[Opened]:
        """Open it. A call waits for the connection, which is made for the first one."""
        refuse_simulated(self, "MemoryState()")
        server = Server.of(self.url)
        line = Line(f"the state {self.key!r} in {server}", trio.current_time)
        async with attended(line, _Attendant(self.url, server, self.key, line).attend):
            yield Opened(line, self.codec)


@attrs.frozen
class _Attendant:
    """Serves a line over one connection after the other, each in a pool of its own.

    It alone calls coredis. Cancelling a call, or losing a connection, may leave coredis' pool with
    a slot less, and in the end that hangs without a word: so nobody calls it who may be cancelled,
    and at the first sign of trouble the pool is given up.
    """

    url: str
    server: Server
    key: str
    line: Line

    async def attend(self) -> None:
        while await self.line.some():
            try:
                await self._serve()
            except Exception as error:  # noqa: BLE001  # those who wait raise it
                # That one has waited for too long says little to who has just come.
                too_slow = isinstance(error, trio.TooSlowError)
                asks = self.line.take_overdue() if too_slow else self.line.take()
                self.line.fail(asks, partial(_told, error, self.line.where))

    async def _serve(self) -> None:
        """Serve over one connection, until the line is closed or the connection is of no use."""
        from coredis import ConnectionPool  # noqa: PLC0415  # an extra

        with trio.fail_after(self.line.left()):
            # Where nobody is there, coredis would leave streams behind that are never closed.
            await self.server.reach()
        failure: Exception | None = None
        pool = ConnectionPool.from_url(self.url, decode_components=True, max_connections=1)
        async with pool:  # what leaves it does so in a group
            try:
                connection = await _connection(pool, self.line.left())
            except Exception as error:  # noqa: BLE001  # raised below
                failure = error
            else:
                await self._serve_over(connection)
        if failure:
            raise failure

    async def _serve_over(self, connection: BaseConnection) -> None:
        from coredis.exceptions import RedisError  # noqa: PLC0415  # an extra

        while await self.line.some() and connection.usable:
            asks = self.line.take(MOST, MOST_BYTES)
            try:
                with trio.fail_after(self.line.left(asks)):
                    answers = await self._run(connection, asks)
            except Exception as error:  # noqa: BLE001  # those who asked raise it
                self.line.fail(asks, partial(_told, error, self.line.where, sent=True))
                if not isinstance(error, RedisError):
                    return  # an answer may still come, and would be taken for the next one's
            else:
                self.line.answer(asks, answers)

    async def _run(self, connection: BaseConnection, asks: Sequence[Ask]) -> list[Answer]:
        from coredis.exceptions import NoScriptError  # noqa: PLC0415  # an extra

        args: list[str | bytes | int] = [1, self.key, FORMAT]
        for ask in asks:
            args += ("", b"") if ask.expected is None else (ask.expected, ask.data)
        try:
            reply = await connection.create_request(b"EVALSHA", _DIGEST, *args)
        except NoScriptError:
            reply = await connection.create_request(b"EVAL", SCRIPT, *args)
        return [_answer(each) for each in cast("list[object]", reply)]


async def _connection(pool: ConnectionPool[Any], seconds: float) -> BaseConnection:
    scope = trio.CancelScope(deadline=trio.current_time() + seconds)
    try:
        with scope:
            return cast("BaseConnection", await pool.get_connection())
    except Exception:
        if not scope.cancel_called:  # else coredis made an error of its own of being cut
            raise
    raise trio.TooSlowError


def _answer(reply: object) -> Answer:
    if isinstance(reply, list):
        version, data = cast("tuple[int, bytes]", reply)
        return data, version
    return reply == 1


def _told(error: Exception, where: str, *, sent: bool = False) -> Exception:
    """Return what to raise to those who asked: what went wrong, and where."""
    from coredis import exceptions as redis  # noqa: PLC0415  # an extra

    doubt = "; a store that was on its way may have been done" if sent else ""
    told: Exception
    if isinstance(error, redis.AuthenticationRequiredError):
        told = PermissionError(f"{where} needs a password, and url has none")
    elif isinstance(error, (redis.AuthenticationError, redis.AuthorizationError)):
        told = PermissionError(f"{where} is refused: {error}")
    elif isinstance(error, (trio.TooSlowError, TimeoutError)):
        told = TimeoutError(f"{where} has not answered for {Line.PATIENCE:g} s{doubt}")
    elif isinstance(error, (redis.ConnectionError, OSError)):
        told = ConnectionError(f"{where} can't be reached: {error}{doubt}")
    elif isinstance(error, redis.RedisError) and str(error).startswith("FOREIGN "):
        what = str(error).removeprefix("FOREIGN ")
        told = ValueError(f"{where} can't be used, and is left as it is: {what}")
    elif isinstance(error, redis.RedisError):
        told = OSError(f"{where} can't be used: {error}")
    else:
        told = RuntimeError(f"{where} can't be used: {error!r}{doubt}")
    told.__cause__ = error
    return told
