"""Where a Redis server is, as its URL says: what messages may show of it, and whether it is up."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from typing_extensions import Self

_NUMBER = re.compile("[0-9]{1,9}")
#: What may follow a ``?``. Whoever reads the URL passes over other names in silence, and over a
#: database that is no number.
_OPTIONS: Final = {"db", "client_name", "connect_timeout", "stream_timeout", "max_idle_time"}
_NUMBERS: Final = {"db", "max_idle_time"}
_SECONDS: Final = {"connect_timeout", "stream_timeout"}
_TLS: Final = {"ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_check_hostname", "ssl_cert_reqs"}


@attrs.frozen
class Server:
    """A server, without user and password: ``str`` of it is how messages call it."""

    host: str
    port: int
    database: str
    path: str

    @classmethod
    def of(cls, url: str) -> Self:
        """Return the server of ``url``.

        Raises:
            ValueError: it is not the URL of one. The message has nothing of it: what stands where
                a host or a port should may be part of a password.
        """
        try:
            return cls._of(url)
        except ValueError:
            pass  # it may show the URL, so that the one below must not come from it
        raise ValueError(
            "url must be redis://[user:password@]host[:port][/db], rediss://... or "
            "unix://[user:password@]/path[?db=...], where db is a number, with / # ? @ : in a "
            f"password written as %2F and so on, and with no options but {_known(_OPTIONS)} and, "
            f"of rediss, {_known(_TLS)}; it is not shown, as it may hold a password (RedisState)"
        )

    @classmethod
    def _of(cls, url: str) -> Self:
        """Read ``url``; the message of a ``ValueError`` may have some of it."""
        # `urlsplit` drops some of these, and joins what stood beside them.
        if any(char.isspace() or not char.isprintable() for char in url):
            raise ValueError(url)
        parts = urlsplit(url)
        host, port, path = unquote(parts.hostname or ""), parts.port, unquote(parts.path)
        options = _options(parts)
        database = options.get("db", "")
        if parts.scheme == "unix":
            # What stands before the path as if it were a host is the beginning of a relative path.
            if path in {"", "/"} or host or port is not None:
                raise ValueError(url)
            return cls("", 0, database and f"/{database}", path)
        path = path.removeprefix("/").removesuffix("/")
        if parts.scheme not in {"redis", "rediss"} or not host or port == 0:
            raise ValueError(url)
        if path:
            if database or not _NUMBER.fullmatch(path):
                raise ValueError(url)
            database = path
        return cls(host, port or 6379, database and f"/{database}", "")

    def __str__(self) -> str:
        return f"Redis at {self.path or f'{self.host}:{self.port}{self.database}'}"

    async def reach(self) -> None:
        """Connect and disconnect.

        Raises:
            OSError: nobody is there.
        """
        if self.path:
            stream: trio.SocketStream = await trio.open_unix_socket(self.path)
        else:
            stream = await trio.open_tcp_stream(self.host, self.port)
        await stream.aclose()


def _known(names: AbstractSet[str]) -> str:
    return " ".join(sorted(names))


def _options(parts: SplitResult) -> Mapping[str, str]:
    """Return what follows the ``?``; raise ``ValueError`` if not all of that means something."""
    if parts.fragment:
        raise ValueError(parts.fragment)
    pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    options = dict(pairs)
    known = _OPTIONS | _TLS if parts.scheme == "rediss" else _OPTIONS
    if len(options) < len(pairs) or not options.keys() <= known:
        raise ValueError(parts.query)
    for name, value in options.items():
        if not value or (name in _NUMBERS and not _NUMBER.fullmatch(value)):
            raise ValueError(parts.query)
        if name in _SECONDS and not 0 < float(value) < math.inf:
            raise ValueError(parts.query)
    return options
