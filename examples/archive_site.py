"""Archive a web site into a SQLite database, breadth-first.

    python examples/archive_site.py
    python examples/archive_site.py --url https://example.org/ --limit 500 --delay 0.2
    python examples/archive_site.py --resume

With no address it archives the standard library of the Python that runs it, from a server of its
own. Ctrl-C stops it: what was fetched is stored, and the summary says what is left. A page is
stored in one transaction with what it leads to, so --resume goes on after any end, in the order
found; it tries again what was given up. Without --resume all is fetched anew, and a page replaces
its row. A redirect is a page, too. Links are followed within one scheme, host and port. It reads
no robots.txt: use it on sites that are yours.
"""

import argparse
import math
import sqlite3
import time
from collections import deque
from collections.abc import Iterable

import httpx
import rich.progress
import trio
from archive_site_parts import LINK, command_line, examine, number, opened, tell

import poolder_trio
from poolder_trio import Application, Batcher, Pool, Queue, Rate, Retry, Scheduler, Tasker, Worker
from poolder_trio.verdicts import HALT, ErrorVerdict

PAGE = "INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?, ?, ?)"
FAILURE = "INSERT OR REPLACE INTO failures VALUES (?, ?, ?)"
Row = list[tuple[str, tuple[object, ...]]]  # statements that belong together, and their values


class Rows(Batcher[Row, None]):
    """Writes to the database: a batch is a transaction."""

    limit = 100
    timeout = 1.0
    queue = Queue(max=100)

    def __init__(self, database: sqlite3.Connection) -> None:
        super().__init__()
        self.database = database

    async def handle_init(self) -> None:
        """See to it that what was pushed is written, even if everything is cancelled."""
        self.stack.callback(lambda: self.write(self.report.abandoned))

    async def handle_batch(self, batch: list[Row]) -> None:
        """Write in a thread; once begun, it is not cut."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self.write, batch)

    def write(self, rows: Iterable[Row]) -> None:
        """Write rows in one transaction."""
        with self.database:
            for row in rows:
                for statement, values in row:
                    self.database.execute(statement, values)


class Fetcher(Worker[str, None]):
    """Fetches pages, with an HTTP client of its own."""

    retry = Retry(attempts=4, backoff=0.5, factor=2.0, jitter=0.2, on=httpx.HTTPError)

    async def handle_init(self) -> None:
        """Open the client; it is closed when this worker ends."""
        self.crawl: Crawl = self.pool
        direct = {"all://127.0.0.1": None, "all://localhost": None}  # whatever proxy there is
        client = httpx.AsyncClient(verify=self.crawl.tls, mounts=direct, timeout=10.0)
        self.client = await self.stack.enter_async_context(client)

    async def handle_job(self, url: str) -> None:
        """Fetch a page, have it read and stored, and take up its links."""
        began = time.time()
        page = await self.client.get(url)
        if page.is_server_error:
            page.raise_for_status()
        sha256, links = await self.crawl.reading.call(examine, page)
        body, seconds = page.content, page.elapsed.total_seconds()
        values = (url, page.status_code, len(body), sha256, body, began, seconds)
        found = [(LINK, (link,)) for link in links]
        await self.crawl.rows.push([(PAGE, values), *found])
        # Nothing is awaited from here on: what will be stored is what the pool counts as completed,
        # and no page is stored before the one that leads to it.
        self.crawl.bytes += len(body)
        self.crawl.find(links)

    async def handle_error(self, url: str, attempt: int, error: Exception) -> ErrorVerdict | None:
        """Count retries, and note what is given up. Any other error is a bug, and crashes."""
        if not isinstance(error, httpx.HTTPError):
            return None
        if attempt < self.retry.attempts:
            self.crawl.retries += 1
            return None
        await self.crawl.rows.push([(FAILURE, (url, repr(error), time.time()))])
        self.crawl.places += 1  # the limit counts pages, and this is none
        self.crawl.find()
        return HALT


class Crawl(Pool[str, None]):
    """The fetchers, and what they share."""

    worker = Fetcher
    # One queue for all, first in, first out, makes the crawl breadth-first. It has no bound, for
    # those who fill it are those who empty it: waiting for space, they would wait for themselves.
    mode = "available"
    queue = Queue(max=math.inf)
    bytes = retries = 0

    def __init__(self, rows: Rows, reading: Tasker, options: argparse.Namespace) -> None:
        rate = Rate(1, per=options.delay) if options.delay > 0 else None
        super().__init__(pool_size=options.workers, rate=rate)
        self.rows, self.reading = rows, reading
        self.limit = self.places = options.limit
        links = rows.database.execute("SELECT url, stored FROM links ORDER BY rowid").fetchall()
        self.known = {url for url, _ in links}
        self.beyond = deque(url for url, stored in links if not stored)  # those without a place
        self.tls = httpx.create_ssl_context()  # one for all, as it reads every root certificate

    async def handle_init(self) -> None:
        """Begin with what is known and not stored."""
        self.find()

    def find(self, links: Iterable[str] = ()) -> None:
        """Take up what is new, and queue URLs in the order found while there are places."""
        new = [url for url in links if url not in self.known]
        self.known.update(new)
        self.beyond.extend(new)
        while self.beyond and self.places:
            self.places -= 1
            self.cast_nowait(self.beyond.popleft())


class Progress(Scheduler):
    """Draws the bar, and closes the application when there is nothing left to do."""

    jobs = {"draw": 0.1}

    def __init__(self, crawl: Crawl, bar: rich.progress.Progress) -> None:
        super().__init__()
        self.crawl, self.bar, self.task = crawl, bar, bar.add_task("")

    async def draw(self) -> None:
        """Look how far the crawl is."""
        counts = self.crawl.statistics()
        ahead = counts.waiting + counts.running
        total = min(self.crawl.limit, counts.completed + ahead + len(self.crawl.beyond))
        self.bar.update(self.task, completed=counts.completed, total=total)
        if not ahead:
            poolder_trio.whereis("archive").close()


class Archive(Application):
    """Opens each component after those that it uses, and closes it before them."""

    name = "archive"
    default_pool = False

    def close(self) -> None:
        """Cut the crawl, if it is not done; what has come will be stored."""
        super().close()
        self[Crawl].cancel()


def archive(url: str, database: sqlite3.Connection, options: argparse.Namespace) -> None:
    """Archive a site, and say what came of it."""
    rows, reading = Rows(database), Tasker(name="reading", executor=poolder_trio.ThreadExecutor())
    crawl, began = Crawl(rows, reading, options), time.perf_counter()
    with rich.progress.Progress() as bar:
        report = poolder_trio.run(Archive(rows, reading, crawl, Progress(crawl, bar)))
    its, seconds = crawl.report, time.perf_counter() - began
    unstored = number(database, "SELECT count(*) FROM links WHERE NOT stored")
    counts = {
        "pages": its.completed,
        "bytes": crawl.bytes,
        "retries": crawl.retries,
        "failures": its.failed,
        "pages/s": round(its.completed / seconds, 1),
        "left: known, not fetched": unstored - its.failed,
        "in the database, with older pages": number(database, "SELECT count(*) FROM pages"),
    }
    tell(f"{'stopped' if report.cut else 'done'} {url}", counts, options.db)


def main() -> None:
    """Run the command."""
    parser, options = command_line()
    with opened(parser, options) as (url, database):
        archive(url, database, options)


if __name__ == "__main__":
    main()
