"""Batch the requests of many callers for a model that is charged per call.

    python examples/request_batching.py

Each caller asks about one text, and gets its own answer. The model takes as many texts at once as
there are, up to 32, and no caller waits for others longer than 20 milliseconds.
"""

from __future__ import annotations

import random
from collections import Counter

import trio

from poolder_trio import Batch, Batcher

CALLERS = 500


class Model:
    """Stands for a model on a server: it takes vectors of texts, and each call has its price."""

    calls = 0

    async def embed(self, texts: list[str]) -> list[Counter[str]]:
        """Return what is in each text, after a while."""
        self.calls += 1
        await trio.sleep(0.01)
        return [Counter(text) for text in texts]


async def main() -> None:
    """Serve all callers, and say what that took."""
    model, right = Model(), 0

    async def embed(batch: Batch[str]) -> list[Counter[str]]:
        return await model.embed(batch)

    batcher: Batcher[str, Counter[str]] = Batcher(embed, limit=32, timeout=0.02, concurrency=4)

    async def ask(text: str) -> None:
        nonlocal right
        await trio.sleep(random.uniform(0, 0.2))  # noqa: S311  # callers come when they like
        if await batcher.call(text) == Counter(text):
            right += 1

    async with batcher, trio.open_nursery() as nursery:
        for number in range(CALLERS):
            nursery.start_soon(ask, f"request {number:b}")
    print(f"{right} of {CALLERS} callers got their own answer, by {model.calls} calls of the model")


if __name__ == "__main__":
    trio.run(main)
