"""Where a Redis server is, as its URL says: what messages may show of it, and whether it is up."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import attrs
import trio

if TYPE_CHECKING:
    from typing_extensions import Self


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
            parts = urlsplit(url)
            host, port = unquote(parts.hostname or ""), parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        path = unquote(parts.path)
        if parts.scheme == "unix" and path:
            return cls("", 0, "", path)
        if parts.scheme in {"redis", "rediss"} and host:
            return cls(host, port or 6379, path.rstrip("/"), "")
        raise ValueError(
            "url must be redis://[user:password@]host[:port][/db], rediss://... or unix:///path, "
            "with / # ? @ : in a password written as %2F and so on; "
            "it is not shown, as it may hold one (RedisState)"
        )

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
