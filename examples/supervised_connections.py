"""Ask a server that hangs up: workers crash, fresh ones take over, and no request is lost.

python examples/supervised_connections.py
"""

import logging
from collections import Counter

import trio

from poolder_trio import Pool, Restart, Worker

connections, answers = list[trio.SocketStream](), Counter[int]()


async def serve(stream: trio.SocketStream) -> None:
    """Answer 255 - n to the byte n, seven times; hang up when asked once more."""
    connections.append(stream)
    async with stream:
        for _ in range(7):
            request = await stream.receive_some(1)
            await stream.send_all(bytes(255 - number for number in request))
        await stream.receive_some(1)  # it does not act on this one: so it may be asked again


class Client(Worker[int, None]):
    """Has one connection, and is of no use without it."""

    async def handle_init(self, *, port: int) -> None:
        """Connect; a worker that replaces another one does so, too."""
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        self.stream = await self.stack.enter_async_context(stream)

    async def handle_job(self, request: int) -> None:
        """Ask, and note the answer."""
        await self.stream.send_all(bytes([request]))
        [answer] = await self.stream.receive_some(1)  # a ValueError if the server has hung up
        answers[answer] += 1

    async def handle_error(self, request: int, *_: object) -> None:
        """Put the request back for the others; with no try left for it here, this one crashes."""
        self.pool.cast_nowait(request)


async def main() -> None:
    """Send a hundred requests, and say what that took."""
    logging.disable()  # each crash is logged, with its traceback; here it is enough to count them
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    args = {"port": listeners[0].socket.getsockname()[1]}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        async with Pool(Client, mode="available", restart=Restart(20), args=args) as pool:
            await pool.cast_many(range(100))
        nursery.cancel_scope.cancel()
    print(f"{answers.total()} answers: {len(answers)} numbers, {min(answers)} to {max(answers)}")
    print(f"{len(connections)} connections: 10, and one after each of {pool.report.failed} crashes")


trio.run(main)
