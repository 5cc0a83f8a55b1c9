"""A program of components: orders come by the clock, are looked up, and stored in batches.

python examples/program.py
"""

import trio

import poolder_trio
from poolder_trio import Application, Batcher, Pool, Scheduler, Worker, every

ORDERS = 25


class Store(Batcher[str, None]):
    """Is opened before those who push to it, and closed after them."""

    limit = 10

    async def handle_batch(self, batch: list[str]) -> None:
        """Store the rows of a batch."""
        print(f"{len(batch)} rows stored")


class Clerk(Worker[int, None]):
    """Looks an order up, which takes a while."""

    async def handle_job(self, order: int) -> None:
        """Look up one order and send it on."""
        await trio.sleep(0.05)
        await app[Store].push(f"order {order}")


class Clerks(Pool[int, None]):
    """Five of them."""

    worker = Clerk
    pool_size = 5


class Shop(Scheduler):
    """Takes an order every hundredth of a second, and closes when there are enough."""

    taken = 0

    @every(0.01)
    async def serve(self) -> None:
        """Take an order."""
        await app[Clerks].cast(self.taken)
        self.taken += 1
        if self.taken == ORDERS:
            app.close()


app = Application(Store, Clerks, Shop, default_pool=False, grace=10.0)

if __name__ == "__main__":
    report = poolder_trio.run(app)  # or: python -m poolder_trio run program:app
    for name, its in report.children.items():
        print(f"{name}: {its.completed} done")
