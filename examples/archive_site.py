"""Archive a web site into a SQLite database, breadth-first, with a pool of workers.

    python examples/archive_site.py
    python examples/archive_site.py --url https://example.org/ --limit 500 --delay 0.2

With no argument it serves the standard library of the Python that runs it, thousands of real
files, on a free port of this machine, and archives that. Ctrl-C stops it: what was fetched is in
the database, and the summary says what was left.

A database that exists is added to: a page that is fetched again replaces its row, and one that is
given up is noted beside it. (The server of the standard library has another port in each run, so
its pages are new ones each time.) A redirect is stored like any page, and where it leads is one
more link. Links are followed within one scheme, host and port. Nothing here reads robots.txt: use
it on sites that are yours.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import math
import shlex
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import time
from collections import deque
from functools import partial
from html.parser import HTMLParser
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urljoin

import httpx
import rich
import trio
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from poolder_trio import HALT, Batch, Batcher, Pool, Queue, Rate, Retry, Scheduler, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from rich.progress import TaskID

    from poolder_trio.verdicts import ErrorVerdict

SCHEMA = """
CREATE TABLE IF NOT EXISTS pages (url TEXT PRIMARY KEY, status INTEGER, size INTEGER, sha256 TEXT,
                                  body BLOB, fetched_at REAL, seconds REAL);
CREATE TABLE IF NOT EXISTS failures (url TEXT, error TEXT, failed_at REAL);
"""
PAGE = "INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?, ?, ?)"
FAILURE = "INSERT INTO failures VALUES (?, ?, ?)"
LOOK = (
    "SELECT status, count(*), sum(size) FROM pages GROUP BY status",
    "SELECT url, size, sha256, datetime(fetched_at, 'unixepoch') FROM pages LIMIT 20",
    "SELECT url, error FROM failures",
)
Row: TypeAlias = "tuple[str, tuple[object, ...]]"  # one of the two INSERTs, and its values
BATCH = 100  # rows in a transaction, at most


class Fetcher(Worker[str, None]):
    """Fetches the page at a URL, with an HTTP client of its own."""

    retry = Retry(attempts=4, backoff=0.5, factor=2.0, jitter=0.2, on=httpx.HTTPError)

    async def handle_init(self) -> None:
        """Open the client; it is closed when this worker ends."""
        self.crawl: Crawl = self.pool
        # Whatever proxy the environment names, it is not for this machine.
        direct = {"all://127.0.0.1": None, "all://localhost": None}
        client = httpx.AsyncClient(verify=self.crawl.tls, mounts=direct, timeout=10.0)
        self.client = await self.stack.enter_async_context(client)

    async def handle_job(self, url: str) -> None:
        """Fetch a page, hand it over to be stored, and take up its links."""
        fetched_at, began = time.time(), trio.current_time()
        response = await self.client.get(url)
        if response.is_server_error:
            response.raise_for_status()
        seconds = trio.current_time() - began
        status, body = response.status_code, response.content
        # In a thread: a page of a thousand links must not hold up the other workers.
        sha256, links = await trio.to_thread.run_sync(examine, response)
        values = (url, status, len(body), sha256, body, fetched_at, seconds)
        await self.crawl.rows.push((PAGE, values))
        # Nothing is awaited from here on: wherever Ctrl-C cuts this handler, the pages that were
        # handed over are those that the pool counts as completed.
        self.crawl.bytes += len(body)
        self.crawl.find(links)

    async def handle_error(self, url: str, attempt: int, error: Exception) -> ErrorVerdict | None:
        """Count retries, and note what is given up. Any other error is a bug, and crashes."""
        if not isinstance(error, httpx.HTTPError):
            return None
        if attempt < self.retry.attempts:
            self.crawl.retries += 1
            return None
        await self.crawl.rows.push((FAILURE, (url, repr(error), time.time())))
        self.crawl.places += 1  # the limit counts pages, and this is none
        self.crawl.find([])
        return HALT


class Crawl(Pool[str, None]):
    """The pool, and what its workers share."""

    worker = Fetcher
    # One queue for all, first in, first out, makes the crawl breadth-first. It has no bound, for
    # those who fill it are those who empty it: waiting for space, they would wait for themselves.
    mode = "available"
    queue = Queue(max=math.inf)

    def __init__(
        self, url: str, rows: Batcher[Row, object], limit: int, workers: int, delay: float
    ) -> None:
        super().__init__(pool_size=workers, rate=Rate(1, per=delay) if delay > 0 else None)
        self.url = str(normalised(url, ""))
        self.rows = rows
        self.limit = self.places = limit
        self.known: set[str] = set()
        self.beyond: deque[str] = deque()  # known, but without a place
        self.bytes = self.retries = 0
        self.tls = httpx.create_ssl_context()  # one for all, as it reads every root certificate

    async def handle_init(self) -> None:
        """Send the first job."""
        self.find([self.url])

    def find(self, urls: Iterable[str]) -> None:
        """Queue the URLs that are new, in order, as long as there are places."""
        for url in urls:
            if url not in self.known:
                self.known.add(url)
                self.beyond.append(url)
        while self.beyond and self.places:
            self.places -= 1
            self.cast_nowait(self.beyond.popleft())


class Links(HTMLParser):
    """Collects the URLs to which a page leads."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.found: list[httpx.URL] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take every href and src."""
        for name, value in attrs:
            if value and name in ("href", "src"):
                with contextlib.suppress(httpx.InvalidURL, ValueError):
                    url = normalised(value, self.base)
                    if tag == "base":
                        self.base = str(url)
                    else:
                        self.found.append(url)


def normalised(link: str, base: str) -> httpx.URL:
    """Return the one spelling of the URL that a link means: no fragment, / for an empty path."""
    url = httpx.URL(urljoin(base, link.strip()))
    return url.copy_with(raw_path=url.raw_path, fragment=None)


def examine(response: httpx.Response) -> tuple[str, list[str]]:
    """Return the SHA-256 of a page, and the URLs on the same site to which it leads."""
    here, page, links = response.url, response.content, Links(str(response.url))
    if response.has_redirect_location:
        links.handle_starttag("a", [("href", response.headers["location"])])
    elif response.headers.get("content-type", "").lower().startswith("text/html"):
        try:
            text = page.decode(response.charset_encoding or "utf-8", "replace")
        except (LookupError, ValueError):  # no such encoding, or none of text
            text = page.decode("latin-1")
        with contextlib.suppress(AssertionError):  # so html.parser refuses "<![nonsense["
            links.feed(text)
            links.close()
    same = [url for url in links.found if (url.scheme, url.netloc) == (here.scheme, here.netloc)]
    return hashlib.sha256(page).hexdigest(), [str(url) for url in same]


def insert(database: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Write rows in one transaction."""
    with database:
        for statement, values in rows:
            database.execute(statement, values)


async def serve_library(*, task_status: trio.TaskStatus[str]) -> None:
    """Serve the standard library on loopback, by a process that ends with this task."""
    # HTTP/1.0, its default, is the faster here: on a connection that is kept, the server's body
    # would wait 40 ms for its headers to be acknowledged.
    command = [sys.executable, "-I", "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    run = partial(
        trio.run_process,
        [*command, "--directory", sysconfig.get_path("stdlib")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # keeps the terminal's Ctrl-C from the server
    )
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)
        if process.stdout is not None:  # it is the pipe that was asked for
            said = await process.stdout.receive_some()  # "... port 8000 (http://...) ..."
            task_status.started(said.split()[6].decode().strip("()"))


async def show(crawl: Crawl, progress: Progress, task: TaskID) -> None:
    """Bring the progress bar up to date."""
    counts = crawl.statistics()
    total = min(crawl.limit, len(crawl.known) - counts.failed)
    progress.update(task, completed=counts.completed, total=total)


async def stop_on_signal(signals: AsyncIterator[int], crawl: Crawl) -> None:
    """Cut the crawl at the first Ctrl-C, and everything at the second."""
    await anext(signals)
    crawl.cancel()
    await anext(signals)
    raise KeyboardInterrupt


async def archive(options: argparse.Namespace, database: sqlite3.Connection) -> None:
    """Crawl a site, and say what came of it when all is stored."""

    async def write(batch: Batch[Row]) -> None:
        await trio.to_thread.run_sync(insert, database, batch)

    rows = Batcher(write, limit=BATCH, timeout=1.0, queue=Queue(max=BATCH))
    with (
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
        Progress(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as progress,
    ):
        async with trio.open_nursery() as nursery:
            url: str = options.url or await nursery.start(serve_library)
            began = trio.current_time()
            crawl = Crawl(url, rows, options.limit, options.workers, options.delay)
            try:
                async with Scheduler() as reports, rows, crawl:
                    reports.schedule("progress", 0.1, show, crawl, progress, progress.add_task(""))
                    nursery.start_soon(stop_on_signal, signals, crawl)
                    # Leaving the blocks waits until no URL is left, while workers cast what they
                    # find, and then until all rows are written.
            finally:
                # An error, or a second Ctrl-C, cancels everything: what was fetched is stored.
                insert(database, rows.report.abandoned)
                progress.update(progress.task_ids[0], completed=crawl.report.completed)
            nursery.cancel_scope.cancel()
    report, seconds = crawl.report, trio.current_time() - began
    left = len(report.abandoned) + report.cancelled + len(crawl.beyond)
    (stored,) = database.execute("SELECT count(*) FROM pages").fetchone()
    table = Table("stopped" if report.abandoned or report.cancelled else "done", escape(crawl.url))
    table.add_row("pages", f"{report.completed:,}")
    table.add_row("bytes", f"{crawl.bytes:,}")
    table.add_row("retries", f"{crawl.retries:,}")
    table.add_row("failures", f"{report.failed:,}")
    table.add_row("pages/s", f"{report.completed / seconds:,.1f}")
    table.add_row("left: known, not fetched", f"{left:,}")
    table.add_row("in the database, with older pages", f"{stored:,}")
    rich.print(table)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Archive a web site into a SQLite database.")
    add = parser.add_argument
    add("--url", help="where to start (default: serves Python's standard library)")
    add("--limit", type=int, default=2000, help="pages to store (default: 2000)")
    add("--workers", type=int, default=10, help="pages to fetch at once (default: 10)")
    add("--db", default="archive.db", help="the database (default: archive.db in this folder)")
    add("--delay", type=float, default=0.0, help="seconds from request to request, all workers")
    options = parser.parse_args()
    if min(options.limit, options.workers) < 1:
        parser.error("--limit and --workers must be at least 1")
    if options.url and not options.url.startswith(("http://", "https://")):
        parser.error("--url must start with http:// or https://")
    with contextlib.closing(sqlite3.connect(options.db, check_same_thread=False)) as database:
        database.executescript(SCHEMA)
        trio.run(archive, options, database)
    print("To look into the database:")
    for query in LOOK:
        print(f'  sqlite3 {shlex.quote(options.db)} "{query}"')


if __name__ == "__main__":
    main()
