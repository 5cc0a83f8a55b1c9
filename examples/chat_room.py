"""A chat room: visitors come and go, and what one says all in the room hear.

python examples/chat_room.py
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import trio

from poolder_trio import Exit, FactoryPool, Request, Worker, WorkerRef


class Visitor(Worker[str, list[str]]):
    """Hears what is said in a room."""

    async def handle_init(self, *, nick: str) -> None:
        """Begin to listen."""
        self.nick, self.heard = nick, list[str]()

    async def handle_job(self, line: str) -> Exit | list[str]:
        """Listen, and go when the line says so."""
        self.heard += [line] if line else []
        return Exit() if line == f"bye, {self.nick}" else self.heard


async def count(inbox: trio.abc.ReceiveChannel[Request[str, Counter[str]]]) -> None:
    """Count the words that are said; a child may be a function."""
    words = Counter[str]()
    async for request in inbox:
        words.update(request.message.split())
        request.reply(words)


class Chat(FactoryPool):
    """Rooms, and who is in them."""

    async def handle_down(self, ref: WorkerRef[Any, Any], reason: Exception | str) -> None:
        """Say who has left."""
        print(f"{ref} has left: {reason}")


async def main() -> None:
    """Let two visitors talk."""
    async with Chat(name="chat") as chat:
        host = await chat.start_child("hosts", count)
        ada = await chat.start_child("tea room", Visitor, nick="ada")
        await chat.start_child("tea room", Visitor, nick="bob")
        for line in ("hello ada", "bye, bob", "hello again"):
            await chat.broadcast("tea room", line)
            words = await chat.call(host, line)
            await chat.wait_idle()
        print(f"ada heard {await chat.call(ada, '')}")
        print(f"said most: {words.most_common(1)}, in the room: {chat.count('tea room')}")


trio.run(main)
