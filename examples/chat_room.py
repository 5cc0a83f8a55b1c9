"""A chat room: visitors come and go, and what one says all in the room hear.

python examples/chat_room.py
"""

from collections import Counter

import trio

from poolder_trio import Exit, FactoryPool, Request, Worker, WorkerRef


class Visitor(Worker[str, list[str]]):
    """Hears what is said in a room."""

    async def handle_init(self, *, nick: str) -> None:
        """Begin to listen."""
        self.nick, self.heard = nick, list[str]()

    async def handle_job(self, line: str) -> Exit | None:
        """Listen, and go when the line says so."""
        self.heard.append(line)
        return Exit() if line == f"bye, {self.nick}" else None

    async def handle_call(self, _: str) -> list[str]:
        """Tell what was heard."""
        return self.heard


async def count(inbox: trio.abc.ReceiveChannel[Request[str, object]]) -> None:
    """Count the words that are said: a child may be a function."""
    words = Counter[str]()
    async for request in inbox:
        words.update(request.message.split())
        request.reply(words.most_common(1))


class Chat(FactoryPool):
    """Rooms, and who is in them."""

    async def handle_down(self, ref: WorkerRef[object, object], reason: Exception | str) -> None:
        """Say who has left."""
        print(f"{ref} has left: {reason}")


async def main() -> None:
    """Let two visitors hear what is said."""
    async with Chat(name="chat") as chat:
        host = await chat.start_child("hosts", count)
        ada, _ = [await chat.start_child("tea room", Visitor, nick=n) for n in ("ada", "bob")]
        for line in ("hello ada", "bye, bob", "hello again"):
            await chat.broadcast("tea room", line)
            await chat.cast(host, line)
        await chat.wait_idle()
        print(f"ada heard {await chat.call(ada, 'what did you hear?')}")
        print(f"said most: {await chat.call(host, '')}, in the room: {chat.count('tea room')}")


trio.run(main)
